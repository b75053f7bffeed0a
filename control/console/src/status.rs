//! `pdmv2 status`: how a box stands, on one page.

use crate::client::{Client, Which};
use crate::units::{columns, many, octets, per_cent, plain, span, time};
use common::admin::{
    Direction, FlowTable, Keys, Measured, Pair, Pairs, Policies, Policy, Port, Registration, Status, TakeOver, Worker,
};
use serde::Serialize;
use std::fmt::Write as _;
use std::io::Write;

/// The command.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    #[command(flatten)]
    which: Which,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// How a box stands, and what it has measured.
#[derive(Clone, Debug, Serialize)]
pub struct Whole {
    /// The box.
    #[serde(flatten)]
    pub status: Status,
    /// Its policies.
    pub policies: Vec<Policy>,
    /// Its pairs of prefixes.
    pub pairs: Vec<Pair>,
}

/// Prints the status.
///
/// # Errors
/// The box cannot be asked.
pub fn run(args: &StatusArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let client = Client::new(&args.which)?;
    let Policies { policies } = client.ask("/v1/policies")?;
    let Pairs { pairs } = client.ask("/v1/pairs")?;
    let whole = Whole { status: client.ask("/v1/status")?, policies, pairs };
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&whole)?)?;
    } else {
        out.write_all(text(&whole).as_bytes())?;
    }
    Ok(())
}

/// A table of policies: when they end, and what was measured under them.
#[must_use]
pub fn policies(policies: &[Policy]) -> String {
    let row = |policy: &Policy| {
        let ends = match policy.ends_in_seconds {
            None => "-".to_owned(),
            Some(0.0) => "ENDED".to_owned(),
            Some(seconds) => span(seconds.ceil()),
        };
        [vec![plain(&policy.name), plain(&policy.mode), ends], measured(&policy.measured)].concat()
    };
    measured_table(&["policy", "mode", "ends in"], policies.iter().map(row))
}

fn pairs(pairs: &[Pair]) -> String {
    measured_table(&["pair"], pairs.iter().map(|pair| [vec![plain(&pair.name)], measured(&pair.measured)].concat()))
}

fn measured_table(names: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let figures = ["added", "accepted", "failed", "lost", "again", "late", "network p50", "p99", "server p50", "p99"];
    let head = [names, &figures].concat().into_iter().map(str::to_owned).collect();
    columns(&std::iter::once(head).chain(rows).collect::<Vec<Vec<String>>>())
}

fn measured(of: &Measured) -> Vec<String> {
    let counts = [of.added, of.accepted, of.failed, of.lost, of.duplicates, of.late].map(|count| count.to_string());
    let (network, server) = (&of.round_trip, &of.server_delay);
    counts.into_iter().chain([network.p50_ns, network.p99_ns, server.p50_ns, server.p99_ns].map(time)).collect()
}

/// The page.
#[must_use]
pub fn text(whole: &Whole) -> String {
    let Whole { status, .. } = whole;
    let mut text = String::new();
    let (node, version) = (plain(&status.node), plain(&status.version));
    let _ = writeln!(text, "{node}: up {}, version {version}, {}", span(status.uptime_seconds), keys(&status.keys));
    if status.resumptions > 0 {
        let _ = writeln!(text, "resumed from a snapshot, or cloned: {} time(s)", status.resumptions);
    }
    let TakeOver { process, from_process, gap_seconds, failed, last_failure } = &status.take_over;
    if let (Some(from), Some(gap)) = (from_process, gap_seconds) {
        let gap = gap * 1000.0;
        let _ = writeln!(
            text,
            "process {process}, which took over from process {from}: nobody had the ports for {gap:.1} ms"
        );
    }
    if let Some(why) = last_failure {
        let _ = writeln!(
            text,
            "{failed} time(s) another process did not take over from this one; the last time: {}",
            plain(why)
        );
    }
    let rows = |heads: &[&str], rows: Vec<Vec<String>>| {
        let head = heads.iter().map(|&head| head.to_owned()).collect();
        columns(&[vec![head], rows].concat())
    };
    text.push('\n');
    text += &rows(
        &["port", "link", "driver", "rx packets", "tx packets", "missed", "rx errors", "tx errors", "no buffer"],
        status.ports.iter().map(port).collect(),
    );
    let _ = writeln!(text, "following of links: {}\n", plain(&status.link_follow));
    text += &rows(
        &["direction", "received", "forwarded", "dropped", "received/s", "forwarded/s", "dropped/s"],
        status.directions.iter().map(direction).collect(),
    );
    text.push('\n');
    text += &rows(&["worker", "load", "packets", "packets/s"], status.workers.iter().map(worker).collect());
    let flows = &status.flows;
    let _ = writeln!(
        text,
        "\nflows: {} of {}, {} expired, {} resynced; the table takes {}",
        flows.in_table,
        flows.capacity,
        flows.expired,
        flows.resynced,
        octets(flows.memory_octets)
    );
    text += &split(flows);
    if !whole.policies.is_empty() {
        let _ = write!(text, "\n{}", policies(&whole.policies));
    }
    if !whole.pairs.is_empty() {
        let _ = write!(text, "\n{}", pairs(&whole.pairs));
    }
    text += &reasons(status);
    text
}

fn keys(keys: &Keys) -> String {
    let seals = match keys.generation {
        Some(generation) => format!("generation {generation}"),
        None => "NO KEY TO SEAL WITH".to_owned(),
    };
    match &keys.registration {
        None => seals,
        Some(Registration { registered, out_of_touch, keys_expire_seconds }) => {
            let stands = match (registered, out_of_touch) {
                (true, _) => "registered",
                (false, false) => "NOT REGISTERED",
                (false, true) => "OUT OF TOUCH WITH ITS REGISTRARS",
            };
            let until = keys_expire_seconds.map_or_else(String::new, |s| format!(", keys for {}", span(s)));
            format!("{seals}, {stands}{until}")
        }
    }
}

fn port(port: &Port) -> Vec<String> {
    let link = match port {
        Port { device_gone: true, .. } => "GONE",
        Port { link_up: true, .. } => "up",
        Port { link_taken_down: true, .. } => "taken down",
        Port { .. } => "DOWN",
    };
    let counts = [port.rx_packets, port.tx_packets, port.rx_missed, port.rx_errors, port.tx_errors, port.rx_no_buffer];
    let names = [plain(&port.port), link.to_owned(), plain(&port.driver)];
    names.into_iter().chain(counts.map(|count| count.to_string())).collect()
}

fn direction(direction: &Direction) -> Vec<String> {
    let counts = [direction.received, direction.forwarded, direction.dropped].map(|count| count.to_string());
    let rates = match direction.per_second {
        Some(rates) => [rates.received, rates.forwarded, rates.dropped].map(many),
        None => ["-"; 3].map(str::to_owned),
    };
    [plain(&direction.direction)].into_iter().chain(counts).chain(rates).collect()
}

fn worker(worker: &Worker) -> Vec<String> {
    let or_none = |rate: Option<f64>, show: fn(f64) -> String| rate.map_or_else(|| "-".to_owned(), show);
    let load = or_none(worker.load, per_cent);
    vec![worker.worker.to_string(), load, worker.received.to_string(), or_none(worker.per_second, many)]
}

/// What to do where many flows' packets come to more than one worker.
fn split(flows: &FlowTable) -> String {
    if flows.split < FEW_SPLIT || flows.split.saturating_mul(MANY_SPLIT) < flows.inserted {
        return String::new();
    }
    let share = per_cent(flows.split as f64 / flows.inserted.max(flows.split) as f64);
    format!(
        "packets of {} flows came to more than one worker ({share} of all since the start): slower, and right all the same\n      -> \
         Let both ports hash IPv6 packets by their addresses ([workers] rss = \"addresses\", the default); where \
         pdmv2_port_info says that one cannot, use fewer workers or another NIC (docs/ports.md).\n",
        flows.split
    )
}

/// Fewer flows that came to more than one worker are not worth a word.
const FEW_SPLIT: u64 = 100;
/// Nor is less than one in so many of all.
const MANY_SPLIT: u64 = 20;

/// Drops first: they are what harms.
fn reasons(status: &Status) -> String {
    let mut text = String::new();
    for (outcome, heading) in [
        ("dropped", "dropped"),
        ("stripped", "stripped (the option did not verify and was taken out)"),
        ("passed", "passed as they came"),
    ] {
        let mut first = true;
        for reason in status.reasons.iter().filter(|reason| reason.outcome == outcome) {
            if std::mem::take(&mut first) {
                let _ = writeln!(text, "\n{heading}:");
            }
            let rate =
                reason.per_second.filter(|rate| *rate > 0.0).map_or_else(String::new, |r| format!(", {}/s", many(r)));
            let (direction, name) = (plain(&reason.direction), plain(&reason.reason));
            let _ = writeln!(text, "  {} {direction} {name}{rate}: {}", reason.packets, plain(&reason.meaning));
            let _ = writeln!(text, "      -> {}", plain(&reason.remedy));
        }
    }
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use common::admin::{Quantiles, Rates, Unmeasured};

    fn port(name: &str, link_up: bool) -> Port {
        Port {
            port: name.into(),
            driver: "net_ice".into(),
            link_up,
            link_changes: 1,
            link_taken_down: false,
            device_gone: false,
            rx_packets: 1000,
            tx_packets: 990,
            rx_octets: 100_000,
            tx_octets: 99_000,
            rx_missed: 7,
            rx_errors: 0,
            tx_errors: 0,
            rx_no_buffer: 0,
        }
    }

    /// How a box may stand.
    pub fn example() -> Whole {
        let rates = Rates { received: 12_345.0, forwarded: 12_000.0, dropped: 345.0 };
        let reason = |outcome: &str, reason: &str, packets| Unmeasured {
            direction: "outbound".into(),
            outcome: outcome.into(),
            reason: reason.into(),
            packets,
            per_second: Some(1.5),
            meaning: "What it means.".into(),
            remedy: "What to do.".into(),
        };
        let status = Status {
            node: "west\x1b[31m".into(),
            version: "0.1.0".into(),
            uptime_seconds: 3700.0,
            keys: Keys { generation: Some(4), registration: None },
            ports: vec![port("inside", true), port("outside", false)],
            link_follow: "following".into(),
            directions: vec![
                Direction {
                    direction: "outbound".into(),
                    received: 1000,
                    forwarded: 990,
                    dropped: 10,
                    per_second: Some(rates),
                },
                Direction { direction: "inbound".into(), received: 5, forwarded: 5, dropped: 0, per_second: None },
            ],
            reasons: vec![reason("passed", "no_key", 20), reason("dropped", "tx_full", 10)],
            workers: vec![Worker {
                worker: 0,
                received: 1005,
                bursts: 9,
                empty_polls: 1,
                load: Some(0.123),
                per_second: None,
            }],
            flows: FlowTable {
                in_table: 3,
                capacity: 64,
                expired: 1,
                resynced: 0,
                inserted: 4,
                split: 0,
                memory_octets: 5 << 20,
            },
            interval_seconds: Some(1.0),
            resumptions: 0,
            take_over: TakeOver {
                process: 8,
                from_process: Some(7),
                gap_seconds: Some(0.0431),
                failed: 1,
                last_failure: Some("no\x1b port".into()),
            },
        };
        let times = |p50_ns| Quantiles { count: 9, p50_ns, p99_ns: 3 * p50_ns, ..Quantiles::default() };
        let (round_trip, server_delay) = (times(12_300_000), times(1_100_000));
        let measured = Measured { added: 980, accepted: 900, lost: 2, round_trip, server_delay, ..Measured::default() };
        let policy = |name: &str, ends_in_seconds| Policy {
            name: name.into(),
            mode: "encrypted".into(),
            ends_in_seconds,
            measured: measured.clone(),
        };
        let pairs = vec![Pair { name: "west-lab".into(), measured: measured.clone() }];
        Whole { status, policies: vec![policy("web\x1b", Some(3600.0)), policy("dns", Some(0.0))], pairs }
    }

    #[test]
    fn the_page_has_all_of_it_and_obeys_nobody() {
        let text = text(&example());
        for line in [
            "west?[31m: up 1 h 1 min, version 0.1.0, generation 4\n",
            "process 8, which took over from process 7: nobody had the ports for 43.1 ms\n",
            "1 time(s) another process did not take over from this one; the last time: no? port\n",
            "inside     up  net_ice        1000         990       7          0          0          0\n",
            "outside  DOWN  ",
            "outbound       1000        990       10      12.3 k       12.0 k        345\n",
            "0       12.3%     1005          -\n",
            "flows: 3 of 64, 1 expired, 0 resynced; the table takes 5 MiB\n",
            "policy       mode    ends in  added  accepted  failed  lost  again  late  network p50      p99  server p50      p99\n",
            "web?    encrypted  1 h 0 min    980       900       0     2      0     0      12.3 ms  36.9 ms     1.10 ms  3.30 ms\n",
            "dns     encrypted      ENDED    980 ",
            "west-lab    980       900       0     2 ",
            "dropped:\n  10 outbound tx_full, 1.5/s: What it means.\n      -> What to do.\n",
            "passed as they came:\n  20 outbound no_key",
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
        assert!(!text.contains('\x1b') && text.find("dropped:") < text.find("passed as"), "{text}");
    }

    #[test]
    fn flows_that_come_to_several_workers_are_told_of_where_there_are_many() {
        let text_with = |inserted, split| {
            let mut whole = example();
            whole.status.flows = FlowTable { inserted, split, ..whole.status.flows };
            text(&whole)
        };
        let many = text_with(1000, 500);
        let said = "packets of 500 flows came to more than one worker (50.0% of all since the start)";
        assert!(
            many.contains(said) && many.contains("-> Let both ports hash IPv6 packets by their addresses"),
            "{many}"
        );
        assert!(text_with(2000, 100).contains("packets of 100 flows"));
        for (inserted, split) in [(0, 0), (99, 99), (2001, 100), (u64::MAX, 100_000)] {
            assert!(!text_with(inserted, split).contains("more than one worker"), "{split} of {inserted}");
        }
    }

    #[test]
    fn what_is_wrong_with_keys_is_loud() {
        let with = |registered, out_of_touch| {
            let registration = Registration { registered, out_of_touch, keys_expire_seconds: Some(60.0) };
            keys(&Keys { generation: None, registration: Some(registration) })
        };
        assert_eq!(with(true, false), "NO KEY TO SEAL WITH, registered, keys for 1 min 0 s");
        assert!(with(false, false).contains("NOT REGISTERED") && with(false, true).contains("OUT OF TOUCH"));
    }
}
