//! `pdmv2-middlebox replay`, the program itself: no root, no hugepages, no namespaces.

mod programs;

use programs::{ENCRYPTED, Site, TOOL, frames};
use std::collections::HashSet;
use std::process::Command;
use testkit::captures::by_hand::{MICRO, NANO, ORDERS, Order, Pcap, Pcapng};
use testkit::captures::{ETHERNET, Record, pcap, write_ethernet};
use testkit::frames::{A, B, udp};

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
        write_ethernet(&site.path("in.pcap"), &input);
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
    write_ethernet(&site.path("in.pcap"), &input);
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
    write_ethernet(&site.path("there.pcap"), &there);
    write_ethernet(&site.path("answers.pcap"), &answers);
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
    write_ethernet(&site.path("in.pcap"), &mixed());
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
    std::fs::write(site.path("precious"), "text").expect("file");
    // No writer names an interface that it has not described.
    let mut other_interface = Pcapng::new(Order::Little);
    other_interface.interface(1, 0, &[]).enhanced(1, 1, &frame);
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("cooked", pcap(113, [Record::whole(&frame)]), "link type 113"),
        ("raw", pcap(101, [Record::cut(&frame[14..], frame.len())]), "link type 101"),
        ("undescribed", other_interface.file, "octet 48"),
        ("cut", pcap(ETHERNET, [Record::whole(&frame)])[..100].to_vec(), "cut off"),
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
    let mut files = std::fs::read_dir(site.0.path()).expect("a directory").flatten();
    assert!(files.all(|f| f.path().extension().is_none_or(|e| e != "state")), "no generation was taken for it");
    let output = site.replay("a", &["--inside", "absent", "--out", "precious"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("absent"));
}

#[test]
fn snapped_and_jumbo_frames_are_counted_and_unchanged() {
    let site = Site::new(ENCRYPTED);
    let (frame, jumbo) = (udp(A, B, 1, 2, 200), udp(A, B, 1, 2, 9000));
    let cut = |kept: usize| Record::cut(&frame[..kept], frame.len());
    let records = [cut(70), cut(13), cut(0), cut(54), cut(frame.len()), Record::whole(&jumbo)];
    std::fs::write(site.path("in.pcap"), pcap(ETHERNET, records)).expect("capture");
    let counts = site.counters("a", &["--inside", "in.pcap", "--out", "wire.pcap"]);
    assert_eq!(counts["outbound"]["received"], 6);
    assert_eq!(counts["outbound"]["passed"]["truncated"], 2);
    assert_eq!(counts["outbound"]["passed"]["not_ipv6"], 2);
    assert_eq!(counts["outbound"]["added"]["encrypted"], 2);
    site.counters("b", &["--outside", "wire.pcap", "--out", "back.pcap"]);
    let back: Vec<Vec<u8>> = records.iter().map(|r| r.data.to_vec()).collect();
    assert_eq!(frames(&site.path("back.pcap")), back);
}

#[test]
fn an_mtu_keeps_large_packets_without_the_option() {
    let site = Site::new(ENCRYPTED);
    let input: Vec<_> = [1411, 1412, 1413, 1452].map(|n| udp(A, B, 1, 2, n)).into();
    write_ethernet(&site.path("in.pcap"), &input);
    let counts = site.counters("a", &["--inside", "in.pcap", "--out", "wire.pcap", "--mtu", "1500"]);
    assert_eq!(counts["outbound"]["added"]["encrypted"], 2);
    assert_eq!(counts["outbound"]["passed"]["oversize"], 2);
    assert_eq!(frames(&site.path("wire.pcap"))[2..], input[2..]);
}

/// Frames with their times.
fn timed(path: &std::path::Path) -> Vec<(u64, Vec<u8>)> {
    let mut frames = Vec::new();
    let mut capture = common::capture::Capture::open(path).expect("capture");
    while let Some(frame) = capture.next_frame().expect("a frame") {
        frames.push((frame.time_ns.unwrap_or_default(), frame.data.to_vec()));
    }
    frames
}

#[test]
fn captures_that_went_wrong_are_replayed_to_the_octet() {
    let site = Site::new(ENCRYPTED);
    for name in [
        "plain_snap_lt_caplen",
        "plain_ng_pb",
        "plain_ng_pb_epb",
        "plain_link_vlan9200",
        "plain_ng_two_snap",
        "plain_ng_snap_lt",
    ] {
        let path =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name).with_extension("pcap");
        let input = timed(&path);
        let out = site.counters("a", &["--inside", path.to_str().expect("text"), "--out", "wire.pcap"]);
        assert_eq!((input.len(), &out["outbound"]["added"]["encrypted"]), (3, &3.into()), "{name}");
        let lengths: Vec<_> = frames(&site.path("wire.pcap")).iter().map(Vec::len).collect();
        assert_eq!(lengths, input.iter().map(|(_, f)| f.len() + 40).collect::<Vec<_>>(), "{name}");
        site.counters("b", &["--outside", "wire.pcap", "--out", "back.pcap"]);
        assert_eq!(timed(&site.path("back.pcap")), input, "{name}");
    }
}

#[test]
fn every_kind_of_capture_comes_back_with_its_times() {
    let site = Site::new(ENCRYPTED);
    let frames: Vec<_> = [0, 1, 2, 3, 1400, 9000].map(|n| udp(A, B, 1, 2, n)).into();
    let longest = frames.iter().map(Vec::len).max().expect("frames") as u32;
    for order in ORDERS {
        // By hand: of snap lengths below what is there, in both byte orders and clocks, and with obsolete blocks.
        let mut files = Vec::new();
        // Header's or interface's snaplen below, at and above what the records hold, and none.
        for snaplen in [64, longest, 262_144, 0] {
            for magic in [MICRO, NANO] {
                let mut pcap = Pcap::new(order, magic, snaplen, 1);
                for f in &frames {
                    pcap.whole(1_700_000_000, 123_457, f);
                }
                files.push((pcap.file, if magic == NANO { 123_457 } else { 123_457_000 }));
            }
            for (resolution, ticks, nanos) in
                [(6, 1_700_000_000_123_457, 123_457_000), (9, 1_700_000_000_000_123_457, 123_457)]
            {
                let mut ng = Pcapng::new(order);
                ng.interface(1, snaplen, &[(9, &[resolution])]).interface(1, 96, &[(9, &[resolution])]);
                for (i, frame) in frames.iter().enumerate() {
                    if i % 2 == 0 {
                        ng.enhanced(i as u32 / 2 % 2, ticks, frame)
                    } else {
                        ng.packet(1, ticks, frame)
                    };
                }
                files.push((ng.file, nanos));
            }
        }
        for (file, nanos) in files {
            std::fs::write(site.path("in"), file).expect("a capture");
            let out = site.counters("a", &["--inside", "in", "--out", "wire.pcap"]);
            assert_eq!(out["outbound"]["added"]["encrypted"], frames.len());
            let expected: Vec<_> = frames.iter().map(|f| (1_700_000_000_000_000_000 + nanos, f.clone())).collect();
            let wire = timed(&site.path("wire.pcap"));
            assert!(wire.iter().zip(&expected).all(|((time, f), (at, g))| time == at && f.len() == g.len() + 40));
            site.counters("b", &["--outside", "wire.pcap", "--out", "back.pcap"]);
            assert!(timed(&site.path("back.pcap")) == expected);
        }
    }
}

#[test]
fn what_is_written_can_be_replayed_however_long_it_is() {
    let site = Site::new(ENCRYPTED);
    // The longest packet that takes an option, one that is too long for it, and what segmentation offload leaves.
    let mut input: Vec<_> = [65_000 - 62, 65_535 - 8 - 40, 65_535 - 8 - 39].map(|n| udp(A, B, 1, 2, n)).into();
    let mut offloaded = udp(A, B, 1, 2, 100);
    offloaded.resize(200_000, 7);
    input.push(offloaded);
    assert_eq!(input[0].len(), 65_000);
    write_ethernet(&site.path("in.pcap"), &input);
    let out = site.counters("a", &["--inside", "in.pcap", "--out", "wire.pcap"]);
    assert_eq!(
        (&out["outbound"]["added"]["encrypted"], &out["outbound"]["passed"]["oversize"]),
        (&3.into(), &1.into())
    );
    let lengths: Vec<_> = frames(&site.path("wire.pcap")).iter().map(Vec::len).collect();
    assert_eq!(lengths, [65_040, 65_589, 65_550, 200_040]);
    site.counters("b", &["--outside", "wire.pcap", "--out", "back.pcap"]);
    assert!(frames(&site.path("back.pcap")) == input);
}

#[test]
fn check_sequences_are_taken_off_as_by_a_nic() {
    let site = Site::new(ENCRYPTED);
    let frame = udp(A, B, 1, 2, 100);
    for (link, octets) in [(0x1400_0001, 2), (0x2400_0001, 4)] {
        let with_check_sequence = [&frame[..], &[0xFC; 4][..octets]].concat();
        std::fs::write(site.path("in.pcap"), pcap(link, [Record::whole(&with_check_sequence)])).expect("a capture");
        let output = site.replay("a", &["--inside", "in.pcap", "--out", "wire.pcap"]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && text.contains("1 of 1 frames had their check sequence behind them"),
            "{text}"
        );
        site.counters("b", &["--outside", "wire.pcap", "--out", "back.pcap"]);
        assert_eq!(frames(&site.path("back.pcap")), std::slice::from_ref(&frame));
    }
}

#[test]
fn a_cut_capture_is_said_and_stays_what_it_is() {
    let site = Site::new(ENCRYPTED);
    let frame = udp(A, B, 1, 2, 200);
    let records = [64, frame.len(), 96].map(|kept| Record::cut(&frame[..kept], frame.len()));
    std::fs::write(site.path("in.pcap"), pcap(ETHERNET, records)).expect("capture");
    let output = site.replay("a", &["--inside", "in.pcap", "--out", "wire.pcap"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("in.pcap: 2 of 3 frames were cut"), "{text}");
    // Octets and lengths are those that it had.
    let mut wire = common::capture::Capture::open(&site.path("wire.pcap")).expect("capture");
    for (captured, len) in [(64, 262), (302, 302), (96, 262)] {
        let frame = wire.next_frame().expect("readable").expect("a frame");
        assert_eq!((frame.data.len(), frame.original_len), (captured, len));
    }
    std::fs::write(site.path("precious"), "text").expect("file");
    let output = site.replay("a", &["--inside", "in.pcap", "--out", "precious", "--whole"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("2 of 3 frames were cut"), "{text}");
    assert_eq!(std::fs::read(site.path("precious")).expect("file"), b"text");
}

/// `[keys] log`: what a box seals with is written down when it takes it into use, and what its peer does when that is seen.
#[test]
fn a_key_log_opens_the_capture_that_was_made_with_it() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::new(ENCRYPTED);
    for node in ["a", "b"] {
        site.config(node, &format!("[keys]\nfile = \"pdmv2.keys\"\nlog = \"{node}.keylog\"\n"), ENCRYPTED);
    }
    let input: Vec<_> = (0..500u16).map(|i| udp(A, B, 1000 + i % 7, 443, 100)).collect();
    write_ethernet(&site.path("in.pcap"), &input);
    let lines =
        |node: &str| std::fs::read_to_string(site.path(&format!("{node}.keylog"))).expect("a log").lines().count();
    for generation in 1..=2 {
        site.counters("a", &["--inside", "in.pcap", "--out", "wire.pcap"]);
        let output = site.replay("b", &["--outside", "wire.pcap", "--out", "back.pcap"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("b.toml:") && said.contains("the key log"), "{said}");
        assert_eq!(lines("a"), generation, "what it seals with, and no more");
        let mode = std::fs::metadata(site.path("a.keylog")).expect("there").permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        for node in ["a", "b"] {
            let mut decode = Command::new(TOOL);
            decode.args(["decode", "wire.pcap", "--key-log", &format!("{node}.keylog")]).current_dir(site.0.path());
            let said = decode.output().expect("decode").stderr;
            let said = String::from_utf8_lossy(&said);
            assert!(said.contains("500 encrypted (500 opened, 0 not)"), "{node}: {said}");
        }
    }
    std::fs::set_permissions(site.path("a.keylog"), std::fs::Permissions::from_mode(0o644)).expect("chmod");
    let output = site.replay("a", &["--inside", "in.pcap", "--out", "wire.pcap"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("a.keylog: has mode 0644"), "{said}");
}
