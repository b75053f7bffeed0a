//! `pdmv2-middlebox replay`, the program itself: no root, no hugepages, no namespaces.

mod common;

use common::{A, B, ENCRYPTED, Site, capture, ethernet, frames, udp};
use std::collections::HashSet;

/// Frames of all kinds; some the box must not touch.
fn mixed() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for i in 0..60u16 {
        all.push(udp(A, B, 1000 + i % 7, 443, usize::from(i) * 20));
        let mut tagged = udp(A, B, 5, 6, 30);
        tagged.splice(12..12, [0x88, 0xA8, 0, 1, 0x81, 0, 0, 2]);
        all.push(tagged);
        let mut hop_by_hop = udp(A, B, 7, 8, 9);
        hop_by_hop.splice(54..54, [17, 0, 5, 2, 0, 0, 1, 0]);
        (hop_by_hop[20], hop_by_hop[19]) = (0, hop_by_hop[19] + 8);
        all.push(hop_by_hop);
        let mut options = udp(A, B, 9, 10, 11);
        options.splice(54..54, [17, 0, 0x1E, 2, 1, 2, 1, 0]);
        (options[20], options[19]) = (60, options[19] + 8);
        all.push(options);
        let mut fragment = udp(A, B, 9, 10, 11);
        fragment.splice(54..54, [17, 0, 0, 0, 0, 0, 0, 1]);
        (fragment[20], fragment[19]) = (44, fragment[19] + 8);
        all.push(fragment);
        let mut arp = vec![0xFF; 6];
        arp.extend_from_slice(&[2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        arp.resize(60, i as u8);
        all.push(arp);
        // Ethernet padding behind a short packet stays behind it.
        let mut padded = udp(A, B, 11, 12, 1);
        padded.extend_from_slice(&[0xEE; 9]);
        all.push(padded);
    }
    all
}

#[test]
fn through_both_boxes_every_frame_comes_back_octet_for_octet() {
    for (mode, form) in [("encrypted", "encrypted"), ("clear", "clear"), ("pdm", "pdm")] {
        let site = Site::new(&format!("[[policy]]\nname = \"all\"\nmode = \"{mode}\"\n"));
        let input = mixed();
        ethernet(&site.path("in.pcap"), &input);
        let out = site.counters("a", &["--inside", "in.pcap", "--out", "wire.pcap"]);
        let back = site.counters("b", &["--outside", "wire.pcap", "--out", "back.pcap"]);
        assert_eq!(out["outbound"]["received"], input.len());
        assert_eq!(out["outbound"]["forwarded"], input.len());
        assert_eq!(out["outbound"]["added"][form], 300);
        assert_eq!(
            (&out["outbound"]["passed"]["fragment"], &out["outbound"]["passed"]["not_ipv6"]),
            (&60.into(), &60.into())
        );
        assert_eq!(back["inbound"]["removed"][form], 300);
        let wire = frames(&site.path("wire.pcap"));
        assert_eq!((wire.len(), &wire[4..6]), (input.len(), &input[4..6]), "fragments and ARP are untouched");
        assert_ne!(wire[0], input[0]);
        assert!(frames(&site.path("back.pcap")) == input, "{mode}");
    }
}

#[test]
fn a_hundred_thousand_flows_at_once_in_the_default_configuration() {
    let site = Site::new(ENCRYPTED);
    let flow = |i: u32| {
        let mut src = A;
        src[12..].copy_from_slice(&(i / 50_000).to_be_bytes());
        udp(src, B, 1000 + (i % 50_000) as u16, 443, 10)
    };
    // Each flow twice, all of them in between: none has left the table meanwhile.
    let input: Vec<_> = (0..100_000).chain(0..100_000).map(flow).collect();
    ethernet(&site.path("in.pcap"), &input);
    let out = site.counters("a", &["--inside", "in.pcap", "--out", "wire.pcap"]);
    let back = site.counters("b", &["--outside", "wire.pcap", "--out", "back.pcap"]);
    assert_eq!((&out["outbound"]["added"]["encrypted"], &out["flows"]["in_table"]), (&200_000.into(), &100_000.into()));
    assert_eq!(
        (&back["inbound"]["removed"]["encrypted"], &back["flows"]["in_table"]),
        (&200_000.into(), &100_000.into())
    );
    assert_eq!(back["flows"]["unrecorded"], 0);
    assert!(frames(&site.path("back.pcap")) == input);
}

#[test]
fn both_directions_and_their_delays() {
    let site = Site::new(ENCRYPTED);
    let there: Vec<_> = (0..500).map(|i| udp(A, B, 1000 + i % 5, 443, 10)).collect();
    let answers: Vec<_> = (0..500).map(|i| udp(B, A, 443, 1000 + i % 5, 20)).collect();
    ethernet(&site.path("there.pcap"), &there);
    ethernet(&site.path("answers.pcap"), &answers);
    site.counters("b", &["--inside", "answers.pcap", "--out", "sealed.pcap"]);
    let both = ["--inside", "there.pcap", "--outside", "sealed.pcap", "--out", "wire.pcap", "--out-inside", "in.pcap"];
    let counts = site.counters("a", &both);
    assert_eq!((&counts["outbound"]["forwarded"], &counts["inbound"]["forwarded"]), (&500.into(), &500.into()));
    assert_eq!(frames(&site.path("in.pcap")), answers);
    assert_eq!(frames(&site.path("wire.pcap")).len(), 500);
    // Without --out-inside both are in one file, the network's first.
    site.counters("a", &["--inside", "there.pcap", "--outside", "answers.pcap", "--out", "one.pcap"]);
    let one = frames(&site.path("one.pcap"));
    assert_eq!((one.len(), &one[500..]), (1000, &answers[..]));
}

#[test]
fn every_replay_seals_under_a_generation_of_its_own() {
    let site = Site::new(ENCRYPTED);
    let audit = "[audit]\nfile = \"audit\"\n[keys]\nfile = \"pdmv2.keys\"\n";
    site.config("a", audit, ENCRYPTED);
    ethernet(&site.path("in.pcap"), &mixed());
    for generation in 1..=5 {
        let counts = site.counters("a", &["--inside", "in.pcap", "--out", "wire.pcap"]);
        assert_eq!(counts["generation"], generation);
        let back = site.counters("b", &["--outside", "wire.pcap", "--out", "back.pcap"]);
        assert_eq!(back["inbound"]["removed"]["encrypted"], 300);
        assert_eq!(back["generation"], serde_json::Value::Null, "a box that seals nothing takes no generation");
    }
    let audit = std::fs::read(site.path("audit")).expect("audit");
    let pairs: HashSet<_> = audit.chunks(28).collect();
    assert_eq!((pairs.len(), audit.len()), (1500, 1500 * 28), "no (key, nonce) pair twice");
}

#[test]
fn what_cannot_be_replayed_says_why_and_loses_nothing() {
    let site = Site::new(ENCRYPTED);
    let frame = udp(A, B, 1, 2, 100);
    let long = vec![0x55; 65_500];
    std::fs::write(site.path("precious"), "text").expect("file");
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("cooked", capture(113, &[(&frame, frame.len())]), "link type 113"),
        ("raw", capture(101, &[(&frame[14..], frame.len())]), "link type 101"),
        ("long", capture(1, &[(&long, long.len())]), "65500 octets"),
        ("cut", capture(1, &[(&frame, frame.len())])[..100].to_vec(), "cut off"),
        ("text", b"hello".to_vec(), "not a pcap"),
        ("none", Vec::new(), "not a pcap"),
    ];
    for (name, octets, message) in cases {
        std::fs::write(site.path(name), octets).expect("capture");
        let output = site.replay("a", &["--inside", name, "--out", "precious"]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains(message) && text.contains(name), "{name}: {text}");
        assert_eq!(std::fs::read(site.path("precious")).expect("file"), b"text");
    }
    let output = site.replay("a", &["--inside", "absent", "--out", "precious"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("absent"));
}

#[test]
fn snapped_and_jumbo_frames_are_counted_and_unchanged() {
    let site = Site::new(ENCRYPTED);
    let (frame, jumbo) = (udp(A, B, 1, 2, 200), udp(A, B, 1, 2, 9000));
    let records: Vec<(&[u8], usize)> = vec![
        (&frame[..70], 262),
        (&frame[..13], 262),
        (&[], 262),
        (&frame[..54], 262),
        (&frame, 262),
        (&jumbo, jumbo.len()),
    ];
    std::fs::write(site.path("in.pcap"), capture(1, &records)).expect("capture");
    let counts = site.counters("a", &["--inside", "in.pcap", "--out", "wire.pcap"]);
    assert_eq!(counts["outbound"]["received"], 6);
    assert_eq!(counts["outbound"]["passed"]["truncated"], 2);
    assert_eq!(counts["outbound"]["passed"]["not_ipv6"], 2);
    assert_eq!(counts["outbound"]["added"]["encrypted"], 2);
    site.counters("b", &["--outside", "wire.pcap", "--out", "back.pcap"]);
    let back: Vec<Vec<u8>> = records.iter().map(|r| r.0.to_vec()).collect();
    assert_eq!(frames(&site.path("back.pcap")), back);
}

#[test]
fn an_mtu_keeps_large_packets_without_the_option() {
    let site = Site::new(ENCRYPTED);
    let input: Vec<_> = [1411, 1412, 1413, 1452].map(|n| udp(A, B, 1, 2, n)).into();
    ethernet(&site.path("in.pcap"), &input);
    let counts = site.counters("a", &["--inside", "in.pcap", "--out", "wire.pcap", "--mtu", "1500"]);
    assert_eq!(counts["outbound"]["added"]["encrypted"], 2);
    assert_eq!(counts["outbound"]["passed"]["oversize"], 2);
    assert_eq!(frames(&site.path("wire.pcap"))[2..], input[2..]);
}
