//! `pdmv2 decode`, the program itself: a capture of any length within bounded memory, and no bar where nobody sees it.

mod programs;

use common::capture::{LinkType, Writer};
use common::key_file::{KeyFile, Node, Scope, Side};
use programs::TOOL;
use protocol::aead::{self, Slot};
use protocol::delta_time;
use protocol::five_tuple::FiveTuple;
use protocol::key_schedule::SessionKey;
use protocol::suite::Suite;
use protocol::wire::dest_opts::insert_into_vec;
use protocol::wire::ipv6;
use protocol::wire::option::{Form, Metrics, Prefix6, emit_encrypted};
use std::io::{BufWriter, Read, Write};
use std::process::{Command, Stdio};
use testkit::frames::{A, B, udp_packet};

/// More flows than are looked at by default.
const FLOWS: u16 = 5000;
/// Octets of memory that are enough, whatever the capture.
const ENOUGH: u64 = 200 << 20;

fn keys() -> KeyFile {
    let node = |name: &str, side, id, prefix: &str| Node {
        name: name.to_owned(),
        id: [id; 16],
        side,
        prefixes: vec![prefix.parse().expect("prefix")],
    };
    let nodes =
        vec![node("box-a", Side::Client, 1, "2001:db8:a::/48"), node("box-b", Side::Server, 2, "2001:db8:b::/48")];
    KeyFile::generate(Suite::default(), Scope::Node, nodes).expect("keys")
}

/// One direction of a flow: what its packets have in common.
struct Sending {
    session: SessionKey,
    packet: Vec<u8>,
    option_at: usize,
}

impl Sending {
    fn new(keys: &KeyFile, node: &str, tuple: &FiveTuple) -> Self {
        let secret = keys.generation_keys(keys.node(node).expect("node"), 1).expect("keys");
        let mut packet = udp_packet(tuple, &[1, 2, 3, 4]);
        insert_into_vec(&mut packet, &emit_encrypted(&[0x0F, 34, 0x20, 0, 0, 2], &[0; 14], &[0; 16]), Form::Encrypted)
            .expect("fits");
        Self { session: secret.session(tuple, 0).expect("a key"), packet, option_at: 44 }
    }

    /// The packet of this number, sealed.
    fn packet(&mut self, keys: &KeyFile, psntp: u16, psnlr: u16, delay: u64, since: u64) -> &[u8] {
        let (tlr, tls) = (delta_time::from_nanos(delay), delta_time::from_nanos(since));
        let metrics = Metrics {
            scale_dtlr: tlr.scale,
            scale_dtls: tls.scale,
            global_pointer: 1,
            psntp,
            psnlr,
            delta_tlr: tlr.value,
            delta_tls: tls.value,
        };
        let prseq = psntp % 32_767 + 1;
        let mut slot = Slot::ZERO;
        slot.key = self.session.key;
        slot.nonce = self.session.nonce(prseq);
        slot.aad = Prefix6 { reserved: 0, prseq, f: 0 }.emit(Form::Encrypted);
        slot.text = metrics.emit();
        let slots = &mut [slot];
        aead::seal(keys.suite.aead, slots);
        let option = emit_encrypted(&slots[0].aad, &slots[0].text, &slots[0].tag);
        self.packet[self.option_at..self.option_at + option.len()].copy_from_slice(&option);
        &self.packet
    }
}

/// Writes so many packets: requests and their answers, of all flows in turn. The server takes 3 ms, the network 2.
fn write(out: impl Write, keys: &KeyFile, packets: u64) -> std::io::Result<()> {
    const MS: u64 = 1_000_000;
    let mut pcap = Writer::new(BufWriter::with_capacity(1 << 20, out), LinkType::RAW, true, 200)?;
    let tuple = |i: u16| FiveTuple { src: A, sport: 10_000 + i, dst: B, dport: 443, protocol: ipv6::UDP };
    let mut flows: Vec<_> = (0..FLOWS)
        .map(|i| (Sending::new(keys, "box-a", &tuple(i)), Sending::new(keys, "box-b", &tuple(i).reversed())))
        .collect();
    let mut written = 0;
    for turn in 1.. {
        for (i, (client, server)) in flows.iter_mut().enumerate() {
            if written >= packets {
                return pcap.finish().map(drop);
            }
            let now = 1_700_000_000_000 * MS + turn * 10 * MS + i as u64 * 1000;
            let (number, before) = (turn as u16, (turn - 1) as u16);
            let delay = if turn > 1 { 5 * MS } else { 0 };
            pcap.write(Some(now), client.packet(keys, number, before, delay, delay), 0)?;
            pcap.write(Some(now + 4 * MS), server.packet(keys, number, number, 3 * MS, 5 * MS), 0)?;
            written += 2;
        }
    }
    Ok(())
}

/// The most memory that a process has had.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// `PDMV2_PACKETS=10000000 cargo test --release …` for as many as docs/performance.md says.
#[test]
fn a_capture_of_any_length_takes_bounded_memory() {
    let packets = std::env::var("PDMV2_PACKETS").map_or(40_000, |n| n.parse().expect("a number"));
    let (dir, keys) = (tempfile::tempdir().expect("a directory"), keys());
    common::private_file::write_new(&dir.path().join("k.keys"), keys.to_toml().as_bytes()).expect("written");
    let began = std::time::Instant::now();
    let mut child = Command::new(TOOL)
        .args(["decode", "--flows", "--json", "--plot", "drawings", "--keys", "k.keys", "-"])
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(std::fs::File::create(dir.path().join("out")).expect("made"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("decode");
    let mut stdin = child.stdin.take().expect("piped");
    write(&mut stdin, &keys, packets).expect("read to its end");
    let peak = peak(child.id());
    drop(stdin);
    let mut said = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    assert!(child.wait().expect("ends").success(), "{said}");
    let took = began.elapsed();
    println!(
        "{packets} packets of {FLOWS} flows: {} MiB at most, {:.1} s with making them",
        peak >> 20,
        took.as_secs_f64()
    );
    assert!(peak <= ENOUGH, "{} MiB", peak >> 20);
    assert!(said.contains(&format!("{packets} encrypted ({packets} opened, 0 not)")), "{said}");
    assert!(said.contains("of more than 4096 flows") && said.contains("20 flows are drawn in drawings"), "{said}");
    assert!(!said.contains('\r'), "nobody sees a bar here: {said}");
    let out = std::fs::read_to_string(dir.path().join("out")).expect("text");
    assert_eq!(out.lines().count(), 4096);
    let first: serde_json::Value = serde_json::from_str(out.lines().next().expect("a line")).expect("JSON");
    assert_eq!(first["verdict"], "server", "{first}");
    let about = |what: &serde_json::Value, ms: u64| {
        let found = what["p50"].as_u64().unwrap_or_else(|| panic!("{first}"));
        assert!(found.abs_diff(ms * 1_000_000) < 50_000 * ms, "{found}: {first}");
    };
    about(&first["from_server"]["delay_ns"], 3);
    about(&first["from_client"]["round_trip_ns"], 2);
    assert_eq!(first["from_client"]["lost_before_capture"], 0);
}
