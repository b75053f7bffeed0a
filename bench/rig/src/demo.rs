//! `bench demo`: two boxes between two hosts, shown on one screen.

mod keys;
pub(crate) mod screen;

use crate::capture::{Capturing, Limits};
use crate::command;
use crate::counters::{Counters, Crossing, contradictions};
use crate::forwarders::BoxConfig;
use crate::programs::{Programs, core};
use crate::running::Running;
use crate::side::Side;
use crate::topology::{Options, Rig};
use crate::traffic::{Pings, Tcp, Udp};
use anyhow::{Context, Result};
use clap::Args;
use keys::Source;
use rustix::process::Signal;
use screen::Screen;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is kept of the wire: enough frames for some of each kind, and of each what stands before the payload.
const WIRE: Limits = Limits { snap: 256, frames: 10_000 };
/// Time that a box may take to end.
const END: Duration = Duration::from_secs(15);

/// Arguments of `bench demo`.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Seconds of traffic
    #[arg(long, env = "DEMO_SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(5..=3600))]
    seconds: u32,
    /// Where pdmv2-middlebox and pdmv2 are [default: beside this program]
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// Keys from a key file instead of two registrars
    #[arg(long)]
    key_file: bool,
    /// Keep the capture of the wire in this directory, and with --key-file the file that opens it (keys from registrars
    /// are in memory only: nothing can open it afterwards)
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// What the hosts saw.
struct Talk {
    pings: [Pings; 2],
    udp: [Udp; 2],
    tcp: [Tcp; 2],
}

/// What the hosts' kernels counted at their taps: sent, received, and what did not fit the queue towards the box.
#[derive(Clone, Copy)]
struct Tap {
    sent: u64,
    received: u64,
    queue_full: u64,
}

/// Runs the demo; whether everything was as it should be.
///
/// # Errors
/// A program is missing, a box does not start, a command fails.
pub fn run(args: &DemoArgs) -> Result<bool> {
    let screen = Screen::new();
    let programs = Programs::find(args.bin_dir.as_deref())?;
    screen.title("Two boxes carry real traffic with sealed PDMv2 options");
    screen.text(
        "host A ── tap ── [box A] ── wire ── [box B] ── tap ── host B       (network namespaces on this machine)\n",
    );

    screen.step("making the namespaces and the wire");
    let rig = Rig::new(Options::default())?;
    let mut keys = Source::new(&screen, &rig, &programs, args.key_file)?;
    let mut boxes = Vec::new();
    for side in Side::BOTH {
        screen.step(&format!("starting {}", side.node()));
        let config = BoxConfig { core: core(side), keys: keys.of_boxes(), ..BoxConfig::default() };
        boxes.push(rig.start_box(side, &programs.middlebox, &rig.configure(side, &config)?)?);
    }
    keys.settle(&screen, &boxes.iter().collect::<Vec<_>>())?;
    screen.step("capturing the wire (tcpdump)");
    let captures = rig.capture_wire(WIRE)?;
    screen.step("waiting until the hosts reach each other");
    rig.connect(Duration::from_secs(20))?;

    let talk = talk(&rig, args.seconds, &screen, &mut keys, &boxes)?;

    screen.step("stopping the traffic, then the boxes");
    let [from_a, from_b] = captures.map(Capturing::stop);
    let wire = [from_a?.0, from_b?.0];
    rig.quiesce()?;
    let taps = [tap(&rig, Side::A)?, tap(&rig, Side::B)?];
    for running in &boxes {
        running.signal(Signal::TERM);
    }
    let mut counters = Vec::new();
    for (side, running) in Side::BOTH.iter().zip(&mut boxes) {
        let status = running.wait(END)?;
        anyhow::ensure!(status.success(), "{} ended with {status}:\n{}", side.node(), running.tail());
        counters.push(Counters::parse(&running.out()).with_context(|| format!("what {} printed", side.node()))?);
    }
    let [a, b] = [&counters[0], &counters[1]];

    keys.show(&screen);
    show_talk(&screen, &talk);
    let options = show_options(&screen, &programs.pdmv2, keys.file(), &wire)?;
    show_counters(&screen, a, b);
    show_delays(&screen, a, b);
    let passed = judge(&screen, &talk, &keys, &options, [a, b], taps)?;
    if let Some(dir) = &args.keep {
        let files = wire.iter().map(PathBuf::as_path).chain(keys.file());
        keep(dir, &files.collect::<Vec<_>>())?;
        let place = dir.display();
        let option = keys.file().map(|_| format!(" --keys {place}/pdmv2.keys")).unwrap_or_default();
        screen.text(&format!("\nThe wire: pdmv2 decode{option} --hex {place}/wire-from-a.pcap"));
        if keys.file().is_none() {
            screen.text("The keys were in the memory of registrars and boxes only; to open it afterwards: --key-file");
        }
    }
    Ok(passed)
}

/// All traffic, in the time there is.
fn talk(rig: &Rig, seconds: u32, screen: &Screen, keys: &mut Source, boxes: &[Running]) -> Result<Talk> {
    let ping = (seconds / 5).max(1);
    let udp = (seconds / 10).max(1);
    let tcp = (seconds.saturating_sub(ping + 2 * udp) / 2).max(1);
    let ping_ms = 20;
    let count = ping * 1000 / ping_ms / 2;
    screen.step(&format!("ping both ways, {count} each"));
    let pings =
        [rig.ping(Side::A, Side::B.address(), count, ping_ms)?, rig.ping(Side::B, Side::A.address(), count, ping_ms)?];
    screen.step(&format!("UDP both ways (iperf3, 5 Mbit/s), {udp} s each"));
    let udp = [rig.udp(Side::A, udp, 5_000_000, 1200)?, rig.udp(Side::B, udp, 5_000_000, 1200)?];
    let meanwhile = if keys.file().is_none() { "; new keys in the middle ('pdmv2 registrar rotate')" } else { "" };
    screen.step(&format!("TCP both ways (iperf3), {tcp} s each{meanwhile}"));
    let middle = Duration::from_secs(tcp.into()) / 2;
    let there = keys.roll_over_during(&boxes.iter().collect::<Vec<_>>(), middle, || rig.tcp(Side::A, tcp))?;
    let tcp = [there, rig.tcp(Side::B, tcp)?];
    Ok(Talk { pings, udp, tcp })
}

fn tap(rig: &Rig, side: Side) -> Result<Tap> {
    let counter = |name| rig.kernel_counter(rig.host(side), side.tap(), name);
    Ok(Tap { sent: counter("tx_packets")?, received: counter("rx_packets")?, queue_full: counter("tx_dropped")? })
}

fn keep(dir: &Path, files: &[&Path]) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    for file in files {
        let to = dir.join(file.file_name().unwrap_or_default());
        std::fs::copy(file, &to).with_context(|| format!("cannot write {}", to.display()))?;
    }
    Ok(())
}

const WAYS: [&str; 2] = ["A to B", "B to A"];

fn show_talk(screen: &Screen, talk: &Talk) {
    screen.heading("The hosts talk");
    for (way, p) in WAYS.iter().zip(&talk.pings) {
        screen
            .text(&format!("  ping {way}   {} sent, {} answered, round trip {:.3} ms", p.sent, p.received, p.mean_ms));
    }
    for (way, u) in WAYS.iter().zip(&talk.udp) {
        let rate = u.bits_per_second / 1e6;
        screen.text(&format!("  UDP  {way}   {} datagrams sent, {} lost, {rate:.1} Mbit/s", u.sent, u.lost));
    }
    for (way, t) in WAYS.iter().zip(&talk.tcp) {
        let rate = t.bits_per_second / 1e6;
        screen.text(&format!("  TCP  {way}   {rate:.0} Mbit/s, {} segments sent again", t.retransmits));
    }
}

/// The options in the capture of the wire.
#[derive(Default)]
struct OptionsSeen {
    sealed: u64,
    /// Of those.
    opened: u64,
    others: u64,
}

/// Shows one sealed option of each kind of packet, opened when there is a key file.
fn show_options(screen: &Screen, pdmv2: &Path, keys: Option<&Path>, wire: &[PathBuf]) -> Result<OptionsSeen> {
    screen.heading(if keys.is_some() {
        "On the wire: sealed options, and what is in them ('pdmv2 decode' with the key file)"
    } else {
        "On the wire: sealed options ('pdmv2 decode'); only the boxes have the keys to them"
    });
    let (pdmv2, keys) = (pdmv2.display().to_string(), keys.map(|k| k.display().to_string()));
    let mut seen = OptionsSeen::default();
    let mut shown: Vec<(String, Value)> = Vec::new();
    for capture in wire {
        let capture = capture.display().to_string();
        let mut line = vec![pdmv2.as_str(), "decode", "--json", &capture];
        line.extend(keys.iter().flat_map(|keys| ["--keys", keys]));
        for line in command::check(&line, Duration::from_secs(60))?.lines() {
            let record: Value = serde_json::from_str(line).context("pdmv2 decode prints no JSON")?;
            *(if record["form"] == "encrypted" { &mut seen.sealed } else { &mut seen.others }) += 1;
            seen.opened += u64::from(record["metrics"].is_object());
            let kind = format!("{} {}", record["protocol"], record["src"]);
            // One that answers another says more than a first one.
            let says_more = |r: &Value| r["metrics"]["psnlr"].as_u64().is_some_and(|n| n > 0);
            match shown.iter_mut().find(|(k, _)| *k == kind) {
                Some((_, old)) if !says_more(old) && says_more(&record) => *old = record,
                Some(_) => {}
                None => shown.push((kind, record)),
            }
        }
    }
    for (_, record) in shown.iter().take(6) {
        show_option(screen, record);
    }
    let OptionsSeen { sealed, opened, others } = seen;
    screen.text(&match keys {
        Some(_) => format!("  {opened} sealed options in the captured part opened, {} not", sealed + others - opened),
        None => format!("  {sealed} sealed options in the captured part, {others} others"),
    });
    Ok(seen)
}

fn show_option(screen: &Screen, record: &Value) {
    let text = |v: &Value| v.as_str().unwrap_or("?").to_owned();
    let hex = text(&record["hex"]);
    // Type and length, version and reserved, PRSEQ and F; ciphertext; tag.
    let parts: Vec<_> = [0..4, 4..8, 8..12, 12..40, 40..72].into_iter().filter_map(|r| hex.get(r)).collect();
    let protocol = match record["protocol"].as_u64() {
        Some(6) => "TCP".to_owned(),
        Some(17) => "UDP".to_owned(),
        Some(58) => "ICMPv6".to_owned(),
        _ => format!("protocol {}", record["protocol"]),
    };
    let end = |address: &str, port: &str| format!("[{}]:{}", text(&record[address]), record[port]);
    let flow = format!("{} > {}", end("src", "sport"), end("dst", "dport"));
    screen.text(&format!("  frame {}: {protocol} {flow}", record["frame"]));
    screen.text(&format!("    {}", parts.join(" ")));
    let (key, m) = (&record["key"], &record["metrics"]);
    if !m.is_object() {
        return screen.text(&format!("    PRSEQ {} F {} · encrypted", record["prseq"], record["f"]));
    }
    screen.text(&format!(
        "    PRSEQ {} F {} · sealed by {}, generation {}, Kri {} · global pointer {}",
        record["prseq"],
        record["f"],
        text(&key["node"]),
        key["generation"],
        key["kri"],
        m["global_pointer"]
    ));
    let time = |name: &str| screen::nanoseconds(m[name].as_u64().unwrap_or_default());
    screen.text(&format!(
        "    PSNTP {} PSNLR {} · since last received {} · since last sent {}",
        m["psntp"],
        m["psnlr"],
        time("delta_tlr_ns"),
        time("delta_tls_ns")
    ));
}

fn show_counters(screen: &Screen, a: &Counters, b: &Counters) {
    screen.heading("The boxes' counters");
    screen.row("", "box A", "box B");
    let row = |name: &str, of: &dyn Fn(&Counters) -> u64| screen.row(name, &of(a).to_string(), &of(b).to_string());
    row("out: packets from the host", &|c| c.get("/outbound/received"));
    row("out: options added, sealed", &|c| c.get("/outbound/added/encrypted"));
    row("out: passed without", &|c| c.sum("/outbound/passed"));
    row("out: dropped", &|c| c.get("/outbound/dropped_total"));
    row("in:  packets from the wire", &|c| c.get("/inbound/received"));
    row("in:  options opened and removed", &|c| c.get("/inbound/removed/encrypted"));
    row("in:  options refused", &|c| c.policies("failed"));
    row("in:  passed without", &|c| c.sum("/inbound/passed"));
    row("in:  option taken out unopened", &|c| c.sum("/inbound/stripped"));
    row("in:  dropped", &|c| c.get("/inbound/dropped_total"));
    row("flows", &|c| c.get("/flows/inserted"));
    row("key rotations, sealing", &|c| c.get("/rotations/sealed"));
    row("sequence numbers skipped", &|c| c.get("/sequence/skipped"));
    for direction in ["outbound", "inbound"] {
        for what in ["passed", "stripped", "dropped"] {
            let mut reasons: Vec<_> = [a, b].iter().flat_map(|c| c.names(&format!("/{direction}/{what}"))).collect();
            reasons.sort();
            reasons.dedup();
            for reason in reasons {
                row(&format!("  {what} {direction}: {reason}"), &|c| c.get(&format!("/{direction}/{what}/{reason}")));
            }
        }
    }
}

fn show_delays(screen: &Screen, a: &Counters, b: &Counters) {
    screen.heading("Measured from the options (RFC 8250)");
    screen.row("", "box A", "box B");
    for (name, place) in [("round trip, box to box", "round_trip"), ("delay behind the other box", "server_delay")] {
        for (what, key) in [("mean", "mean_ns"), ("half below", "p50_ns"), ("99 % below", "p99_ns")] {
            let of = |c: &Counters| screen::nanoseconds(c.get(&format!("/delays/{place}/{key}")));
            screen.row(&format!("{name}: {what}"), &of(a), &of(b));
        }
        let of = |c: &Counters| c.get(&format!("/delays/{place}/count")).to_string();
        screen.row(&format!("{name}: samples"), &of(a), &of(b));
    }
}

/// Says of each thing that must hold whether it does.
fn judge(
    screen: &Screen,
    talk: &Talk,
    keys: &Source,
    options: &OptionsSeen,
    boxes: [&Counters; 2],
    taps: [Tap; 2],
) -> Result<bool> {
    screen.heading("What must hold");
    let mut all = true;
    let mut check = |holds: bool, what: &str| {
        all &= holds;
        screen.verdict(holds, what);
    };
    let unanswered: u64 = talk.pings.iter().map(|p| p.sent - p.received.min(p.sent)).sum();
    check(unanswered == 0, &format!("ping lost nothing ({unanswered} lost)"));
    let lost: u64 = talk.udp.iter().map(|u| u.lost).sum();
    check(lost == 0 && talk.udp.iter().all(|u| u.sent > 0), &format!("UDP lost nothing ({lost} lost)"));
    check(talk.tcp.iter().all(|t| t.bits_per_second > 0.0), "TCP went both ways");
    let OptionsSeen { sealed, opened, others } = *options;
    if let Some((moved, what)) = keys.rolled_over() {
        check(sealed > 0 && opened + others == 0, "every option in the capture of the wire is sealed");
        check(moved, &what);
    } else {
        check(sealed > 0 && opened == sealed && others == 0, "every option in the capture opens with the key file");
    }
    for (side, (counters, tap)) in Side::BOTH.iter().zip(boxes.iter().zip(taps)) {
        let node = side.node();
        for contradiction in contradictions(node, counters) {
            check(false, &contradiction);
        }
        check(
            counters.get("/outbound/dropped_total") + counters.get("/inbound/dropped_total") == 0,
            &format!("{node} dropped nothing"),
        );
        check(counters.sum("/inbound/stripped") == 0, &format!("{node} took no option out unopened"));
        let (rx, tx) = (counters.get("/ports/inside/rx_packets"), counters.get("/ports/inside/tx_packets"));
        let (sent, received) = (tap.sent, tap.received);
        check(sent == rx, &format!("host {side:?} sent {sent} packets = {node} received {rx} from it"));
        check(received == tx, &format!("host {side:?} received {received} packets = {node} sent {tx} to it"));
        if tap.queue_full > 0 {
            let n = tap.queue_full;
            screen.text(&format!(
                "       ({n} more found the queue of host {side:?}'s interface full: TCP's way to find the rate)"
            ));
        }
    }
    for (way, [from, to]) in WAYS.iter().zip([boxes, [boxes[1], boxes[0]]]) {
        let c = Crossing::new(from, to)?;
        let found = format!("{} opened + {} refused", c.accepted, c.failed);
        check(
            c.adds_up(),
            &format!("{way}: {} options added = {found}, and {} packets lost on the wire", c.added, c.lost),
        );
    }
    Ok(all)
}
