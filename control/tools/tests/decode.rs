//! `pdmv2 decode` over captures made here, and over those in `data`.

use clap::Parser;
use common::key_file::{KeyFile, Node, Scope, Side};
use common::state_file::StateFile;
use protocol::aead::{self, Slot};
use protocol::five_tuple::FiveTuple;
use protocol::suite::Suite;
use protocol::wire::dest_opts::insert_into_vec;
use protocol::wire::ipv6;
use protocol::wire::option::{Form, Metrics, Prefix6, emit_clear, emit_encrypted, emit_pdm};
use std::path::{Path, PathBuf};
use std::time::Duration;
use testkit::captures::by_hand::{Order, Pcapng};
use testkit::captures::{self, Record};
use testkit::frames::{A, B, in_ethernet, udp_packet};
use tools::decode::{self, DecodeArgs, Summary};

const METRICS: Metrics = Metrics {
    // 1 ms and 1 s (profile section 3).
    scale_dtlr: 34,
    delta_tlr: 0xE35F,
    scale_dtls: 44,
    delta_tls: 0xDE0B,
    global_pointer: 17,
    psntp: 5,
    psnlr: 7,
};

#[derive(Parser)]
struct Decode {
    #[command(flatten)]
    args: DecodeArgs,
}

fn keys(scope: Scope) -> KeyFile {
    let node = |name: &str, side, id, prefix: &str| Node {
        name: name.to_owned(),
        id: [id; 16],
        side,
        prefixes: vec![prefix.parse().expect("prefix")],
    };
    let nodes =
        vec![node("box-a", Side::Client, 1, "2001:db8:a::/48"), node("box-b", Side::Server, 2, "2001:db8:b::/48")];
    KeyFile::generate(Suite::default(), scope, nodes).expect("keys")
}

fn save_keys(dir: &Path, keys: &KeyFile) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.join("k.keys");
    std::fs::write(&path, keys.to_toml().as_bytes()).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("mode");
    path
}

/// A flow of hosts behind both boxes.
fn flow(sport: u16) -> FiveTuple {
    FiveTuple { src: A, sport, dst: B, dport: 443, protocol: ipv6::UDP }
}

/// An IPv6 UDP packet of this flow with this option.
fn packet(flow: &FiveTuple, option: &[u8], form: Form) -> Vec<u8> {
    let mut packet = udp_packet(flow, &[1, 2, 3, 4]);
    insert_into_vec(&mut packet, option, form).expect("fits");
    packet
}

fn sealed(keys: &KeyFile, node: &str, flow: &FiveTuple, generation: u32, kri: u32) -> Vec<u8> {
    let prseq = 1000;
    let secret = keys.generation_keys(keys.node(node).expect("node"), generation).expect("keys");
    let session = secret.session(flow, kri).expect("a key");
    let mut slot = Slot::ZERO;
    slot.key = session.key;
    slot.nonce = session.nonce(prseq);
    slot.aad = Prefix6 { reserved: 0, prseq, f: (kri & 1) as u8 }.emit(Form::Encrypted);
    slot.text = METRICS.emit();
    let slots = &mut [slot];
    aead::seal(keys.suite.aead, slots);
    packet(flow, &emit_encrypted(&slots[0].aad, &slots[0].text, &slots[0].tag), Form::Encrypted)
}

/// A record a microsecond.
fn records(frames: &[Vec<u8>]) -> impl Iterator<Item = Record<'_>> {
    let time = |micros| Duration::from_secs(1_700_000_000) + Duration::from_micros(micros);
    frames.iter().zip(0..).map(move |(frame, i)| Record { time: time(i), ..Record::whole(frame) })
}

/// A pcap of this link type, microseconds.
fn pcap(link: u32, frames: &[Vec<u8>]) -> Vec<u8> {
    captures::pcap(link, records(frames))
}

/// A pcapng of raw IPv6, nanoseconds.
fn pcapng(frames: &[Vec<u8>]) -> Vec<u8> {
    let time = Duration::from_nanos(1_700_000_000_123_456_789);
    captures::pcapng(229, records(frames).map(|record| Record { time, ..record }))
}

fn run(dir: &Path, capture: &[u8], more: &[&str]) -> (Result<Summary, String>, Vec<String>) {
    let path = dir.join("capture");
    std::fs::write(&path, capture).expect("written");
    let args = ["decode", path.to_str().expect("text")].into_iter().chain(more.iter().copied());
    let mut out = Vec::new();
    let result = decode::run(&Decode::parse_from(args).args, &mut out).map_err(|e| format!("{e:#}"));
    (result, String::from_utf8(out).expect("text").lines().map(ToOwned::to_owned).collect())
}

#[test]
fn every_form_is_shown() {
    let (dir, keys) = (tempfile::tempdir().expect("directory"), keys(Scope::Node));
    let file = save_keys(dir.path(), &keys);
    let file = file.to_str().expect("text");
    let clear = emit_clear(&Prefix6 { reserved: 0, prseq: 9, f: 1 }, &METRICS);
    let good = sealed(&keys, "box-a", &flow(1), 3, 0);
    let mut tampered = good.clone();
    tampered[60] ^= 1;
    let mut malformed = good.clone();
    malformed[46] = 0x30; // version 3
    let frames: Vec<_> = [
        packet(&flow(1), &emit_pdm(&METRICS), Form::Pdm),
        packet(&flow(1), &clear, Form::Clear),
        good,
        tampered,
        malformed,
        sealed(&keys, "box-b", &flow(1).reversed(), 1, 1),
        // Sealed by a box that does not speak for this source: nobody opens it.
        sealed(&keys, "box-b", &flow(1), 1, 0),
    ]
    .iter()
    .map(|p| in_ethernet(&[5], p))
    .chain([vec![0; 60], vec![], vec![0x60]])
    .collect();
    let (result, lines) = run(dir.path(), &pcap(1, &frames), &["--keys", file]);
    let expected =
        Summary { frames: 10, pdm: 1, clear: 1, opened: 2, not_opened: 2, malformed: 1, ..Summary::default() };
    assert_eq!(result, Ok(expected));
    let metrics = "psntp 5 psnlr 7 dtlr 999.988us dtls 999.992ms";
    let to = "[2001:db8:a::1]:1 > [2001:db8:b::1]:443 udp";
    let from = "[2001:db8:b::1]:443 > [2001:db8:a::1]:1 udp";
    let expected = [
        format!("#1 1700000000.000000000 {to} pdm | {metrics}"),
        format!("#2 1700000000.000001000 {to} clear prseq 9 F 1 | pointer 17 {metrics}"),
        format!(
            "#3 1700000000.000002000 {to} encrypted prseq 1000 F 0 | box-a generation 3 kri 0 | pointer 17 {metrics}"
        ),
        format!("#4 1700000000.000003000 {to} encrypted prseq 1000 F 0 | not opened"),
        "#5 1700000000.000004000 [2001:db8:a::1]:0 > [2001:db8:b::1]:0".to_owned(),
        format!(
            "#6 1700000000.000005000 {from} encrypted prseq 1000 F 1 | box-b generation 1 kri 1 | pointer 17 {metrics}"
        ),
        format!("#7 1700000000.000006000 {to} encrypted prseq 1000 F 0 | not opened"),
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, expected) in lines.iter().zip(&expected) {
        assert!(line.starts_with(expected), "{line}\n{expected}");
    }
    assert!(lines[4].ends_with("malformed option"), "{}", lines[4]);

    let (result, lines) = run(dir.path(), &pcap(1, &frames), &["--json", "--count=3", "--keys", file]);
    assert_eq!(result.expect("read").opened, 1);
    let third: serde_json::Value = serde_json::from_str(&lines[2]).expect("JSON");
    assert_eq!(third["src"], "2001:db8:a::1");
    assert_eq!(third["key"], serde_json::json!({"node": "box-a", "generation": 3, "kri": 0}));
    assert_eq!(third["metrics"]["delta_tlr_ns"], 999_988);
    assert!(third["hex"].as_str().expect("hex").starts_with("0f2220"), "{third}");

    let (result, lines) = run(dir.path(), &pcap(1, &frames), &["--hex"]);
    assert_eq!(result.expect("read").not_opened, 4, "no keys");
    assert!(lines[2].contains("not opened | 0f2220"), "{}", lines[2]);
}

#[test]
fn keys_are_found_in_every_scope_and_along_rotations() {
    for scope in [Scope::Node, Scope::Client, Scope::Shared] {
        let (dir, keys) = (tempfile::tempdir().expect("directory"), keys(scope));
        let file = save_keys(dir.path(), &keys);
        // Kri 8 is the last that is tried at first; from there it goes on one by one, and back by one.
        let mut frames: Vec<_> = [8, 9, 10, 9, 11].map(|kri| sealed(&keys, "box-a", &flow(1), 16, kri)).into();
        frames.push(sealed(&keys, "box-a", &flow(2), 17, 0));
        frames.push(sealed(&keys, "box-b", &flow(3).reversed(), 1, 0));
        let (result, lines) = run(dir.path(), &pcapng(&frames), &["--keys", file.to_str().expect("text")]);
        let summary = result.expect("read");
        assert_eq!((summary.opened, summary.not_opened), (6, 1), "{lines:#?}");
        assert!(lines[0].starts_with("#1 1700000000.123456789 "), "{}", lines[0]);
        let more = ["--generation-max", "17", "--keys", file.to_str().expect("text")];
        assert_eq!(run(dir.path(), &pcapng(&frames), &more).0.expect("read").opened, 7);
    }
}

#[test]
fn state_files_say_where_to_look() {
    let (dir, keys) = (tempfile::tempdir().expect("directory"), keys(Scope::Node));
    let file = save_keys(dir.path(), &keys);
    let frames = [sealed(&keys, "box-b", &flow(1).reversed(), 5000, 0)];
    let args = ["--keys", file.to_str().expect("text")];
    assert_eq!(run(dir.path(), &pcap(101, &frames), &args).0.expect("read").opened, 0);
    let mut state = StateFile::open(dir.path(), &keys, keys.node("box-a").expect("node")).expect("state");
    state.record_opened(&[([2; 16], 4990)]).expect("recorded");
    assert_eq!(run(dir.path(), &pcap(101, &frames), &args).0.expect("read").opened, 1);
}

#[test]
fn broken_captures_give_errors_and_what_came_before() {
    let dir = tempfile::tempdir().expect("directory");
    let frames = vec![packet(&flow(1), &emit_pdm(&METRICS), Form::Pdm); 3];
    for whole in [pcap(101, &frames), pcapng(&frames)] {
        let (result, lines) = run(dir.path(), &whole, &[]);
        assert_eq!((result.expect("read").pdm, lines.len()), (3, 3));
        for len in 0..whole.len() {
            let (result, lines) = run(dir.path(), &whole[..len], &[]);
            match result {
                Ok(summary) => assert_eq!(summary.pdm as usize, lines.len(), "{len}"),
                Err(error) => assert!(error.contains("cut off") || error.contains("not a pcap"), "{len}: {error}"),
            }
        }
        // Any octet of it wrong: an error or fewer packets, never a crash.
        for at in 0..whole.len() {
            let mut wrong = whole.clone();
            wrong[at] = !wrong[at];
            let (_, lines) = run(dir.path(), &wrong, &["--hex"]);
            assert!(lines.len() <= 3, "octet {at}");
        }
    }
    for nothing in [&b""[..], b"#!/bin/sh\n", &[0; 4096]] {
        assert!(run(dir.path(), nothing, &[]).0.expect_err("refused").contains("not a pcap or pcapng file"));
    }
}

/// What is in `data`: nothing with a key, three frames each, and what is right for it.
#[test]
fn captures_that_went_wrong_are_read() {
    let dir = tempfile::tempdir().expect("directory");
    let data = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data").join(name).with_extension("pcap");
        std::fs::read(path).expect("a capture")
    };
    for name in [
        "snap_lt_caplen",
        "ng_pb",
        "ng_pb_epb",
        "ng_res2_10",
        "ng_res2_32",
        "fcs_p",
        "link_ppp",
        "link_sll2_vlan",
        "link_vlan9200",
    ] {
        let (result, lines) = run(dir.path(), &data(name), &[]);
        let summary = Summary { frames: 3, pdm: 3, ..Summary::default() };
        assert_eq!(result, Ok(summary), "{name}");
        let time = match name {
            "ng_res2_10" | "ng_res2_32" => " 1700000000.500000000 ",
            "ng_pb" | "ng_pb_epb" => " 1700000000.000007000 ",
            _ => " 1700000000.000005000 ",
        };
        assert!(lines.len() == 3 && lines.iter().all(|l| l.contains(time)), "{name}: {lines:#?}");
    }
    let (result, lines) = run(dir.path(), &data("ng_bad_if"), &[]);
    let error = result.expect_err("an interface that was not described");
    assert!(error.contains("octet 168") && error.contains("interface 7"), "{error}");
    assert_eq!(lines.len(), 1, "what came before is shown");
}

#[test]
fn every_form_is_read_behind_every_link_header() {
    let (dir, keys) = (tempfile::tempdir().expect("directory"), keys(Scope::Node));
    let file = save_keys(dir.path(), &keys);
    let clear = emit_clear(&Prefix6 { reserved: 0, prseq: 9, f: 1 }, &METRICS);
    let packets = [
        packet(&flow(1), &emit_pdm(&METRICS), Form::Pdm),
        packet(&flow(1), &clear, Form::Clear),
        sealed(&keys, "box-a", &flow(1), 3, 0),
    ];
    let mac = [2; 12];
    let sll = [0, 0, 0, 1, 0, 6, 2, 2, 2, 2, 2, 2, 0, 0];
    let sll2 = [0, 0, 0, 0, 0, 2, 0, 1, 0, 6, 2, 2, 2, 2, 2, 2, 0, 0];
    let (ip, tags) = ([0x86, 0xDD], [0x88, 0xA8, 0, 5, 0x81, 0, 0, 6]);
    let links: [(u32, Vec<u8>); 17] = [
        (1, [&mac[..], &ip].concat()),
        (1, [&mac[..], &tags, &ip].concat()),
        (1, [&mac[..], &[0x92, 0, 0, 5, 0x91, 0, 0, 6], &tags, &ip].concat()),
        (0x1400_0001, [&mac[..], &ip].concat()),
        (101, vec![]),
        (229, vec![]),
        (113, [&sll[..], &ip].concat()),
        (113, [&sll[..], &tags, &ip].concat()),
        (276, [&ip[..], &sll2].concat()),
        // The first tag's type stands in the header, the rest of it behind.
        (276, [&tags[..2], &sll2, &tags[2..], &ip].concat()),
        (276, [&[0x81, 0][..], &sll2, &[0, 5], &ip].concat()),
        (0, vec![10, 0, 0, 0]),
        (108, vec![0, 0, 0, 24]),
        (9, vec![0xFF, 3, 0, 0x57]),
        (9, vec![0x57]),
        (50, vec![0xFF, 3, 0, 0x57]),
        (51, vec![0x11, 0, 0, 1, 0, 80, 0, 0x57]),
    ];
    for (link, header) in links {
        let check_sequence: &[u8] = if link > 0xFFFF { b"FC" } else { b"" };
        let frames: Vec<_> = packets.iter().map(|p| [&header[..], p, check_sequence].concat()).collect();
        let (result, lines) = run(dir.path(), &pcap(link, &frames), &["--keys", file.to_str().expect("text")]);
        let expected = Summary { frames: 3, pdm: 1, clear: 1, opened: 1, ..Summary::default() };
        assert_eq!(result, Ok(expected), "{link}: {header:02x?}");
        assert_eq!(lines.len(), 3);
    }
}

#[test]
fn what_is_not_looked_into_is_said_once() {
    let dir = tempfile::tempdir().expect("directory");
    let packet = packet(&flow(1), &emit_pdm(&METRICS), Form::Pdm);
    let (result, lines) = run(dir.path(), &pcap(105, &vec![packet.clone(); 3]), &[]);
    let summary = result.expect("read");
    assert!(summary.nothing_known() && lines.is_empty());
    let text = summary.to_string();
    let said = "3 frames of link type 105 (IEEE 802.11) were not looked into";
    assert!(text.contains(said) && text.lines().count() == 2, "{text}");
    // Beside others it is said, and no failure. By hand: records without an interface, and of an obsolete kind.
    let mut ng = Pcapng::new(Order::Big);
    ng.interface(101, 0, &[]).interface(40_000, 0, &[]).enhanced(0, 1, &packet).enhanced(1, 1, &packet);
    ng.simple(&packet, packet.len()).packet(1, 1, &packet);
    let summary = run(dir.path(), &ng.file, &[]).0.expect("read");
    assert!((summary.pdm, summary.frames) == (2, 4) && !summary.nothing_known());
    assert!(summary.to_string().contains("2 frames of link type 40000 were not looked into"), "{summary}");
    // Nor is it a failure when there is nothing.
    assert!(!run(dir.path(), &pcap(105, &[]), &[]).0.expect("read").nothing_known());
    // Cut within its headers, and behind them.
    let cut = [50, packet.len() - 2].map(|kept| Record::cut(&packet[..kept], packet.len()));
    let summary = run(dir.path(), &captures::pcap(101, cut), &[]).0.expect("read");
    assert_eq!((summary.pdm, summary.cut), (1, 1), "{summary}");
    assert!(summary.to_string().contains("1 packets were cut within their headers"), "{summary}");
}

#[test]
fn compressed_captures_and_tunnels() {
    let dir = tempfile::tempdir().expect("directory");
    let inner = packet(&flow(7), &emit_pdm(&METRICS), Form::Pdm);
    let len = (inner.len() as u16 + 24).to_be_bytes();
    let gre =
        [&[0x45, 0, len[0], len[1], 0, 0, 0, 0, 64, 47, 0, 0][..], &[10; 8], &[0, 0, 0x86, 0xDD], &inner].concat();
    // The packet that carries it has an option of its own.
    let mut outer = inner.clone();
    outer[56 - 16] = 41;
    outer.truncate(56);
    outer.extend_from_slice(&inner);
    let payload = (outer.len() as u16 - 40).to_be_bytes();
    outer[4..6].copy_from_slice(&payload);
    let plain = pcap(101, &[gre, outer]);
    let zst = zstd::encode_all(&plain[..], 1).expect("packed");
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gz, &plain).expect("packed");
    for capture in [&plain, &zst, &gz.finish().expect("packed")] {
        let (result, lines) = run(dir.path(), capture, &[]);
        assert_eq!(result.expect("read").pdm, 3, "{lines:#?}");
        assert!(lines[0].starts_with("#1 1700000000.000000000 (GRE) [2001:db8:a::1]:7 > "), "{}", lines[0]);
        assert!(
            lines[1].contains(" ipv6 pdm | psntp 5") && lines[2].contains("(IPv6) [2001:db8:a::1]:7"),
            "{lines:#?}"
        );
        let (_, lines) = run(dir.path(), capture, &["--json"]);
        assert!(lines[0].contains(r#""within":["GRE"]"#) && !lines[1].contains("within"), "{lines:#?}");
    }
}

#[test]
fn a_key_log_opens_what_its_secrets_sealed() {
    use common::key_log::Writer;
    let (dir, keys) = (tempfile::tempdir().expect("directory"), keys(Scope::Node));
    let path = dir.path().join("keys.log");
    let mut log = Writer::open(&path).expect("made");
    let write = |log: &mut Writer, node: &str, called, generation| {
        let node = keys.node(node).expect("node");
        let secret = keys.generation_keys(node, generation).expect("keys");
        log.take(called, keys.scope, node.id, &secret).expect("taken");
        log.flush().expect("written");
    };
    write(&mut log, "box-a", 3, 3);
    write(&mut log, "box-b", 70, 70);
    let frames = [
        sealed(&keys, "box-a", &flow(1), 3, 0),
        sealed(&keys, "box-a", &flow(1), 3, 1),
        sealed(&keys, "box-b", &flow(1).reversed(), 70, 0),
        sealed(&keys, "box-b", &flow(1).reversed(), 71, 0),
        sealed(&keys, "box-a", &flow(2), 3, 9),
    ];
    let args = ["--key-log", path.to_str().expect("text")];
    let (result, lines) = run(dir.path(), &pcap(101, &frames), &args);
    let summary = result.expect("read");
    assert_eq!((summary.opened, summary.not_opened), (3, 2), "{lines:#?}");
    assert!(lines[1].contains("| 01010101010101010101010101010101 generation 3 kri 1 |"), "{}", lines[1]);
    // The same secret under two numbers: which it was cannot be told.
    write(&mut log, "box-a", 4, 3);
    std::fs::write(&path, [std::fs::read(&path).expect("read"), b"PDMV2 x\n".to_vec()].concat()).expect("written");
    let (result, lines) = run(dir.path(), &pcap(101, &frames), &[&args[..], &["--kri-max", "9"]].concat());
    let summary = result.expect("read");
    assert_eq!(summary.opened, 4);
    assert!(
        summary.to_string().contains("1 lines of the key log") && summary.to_string().contains("line 4"),
        "{summary}"
    );
    assert!(lines[0].contains("kri 0 (or another) |") && !lines[2].contains("another"), "{lines:#?}");
    let (_, lines) = run(dir.path(), &pcap(101, &frames), &[&args[..], &["--json"]].concat());
    assert!(lines[0].contains(r#""ambiguous":true"#) && !lines[2].contains("ambiguous"), "{lines:#?}");
}
