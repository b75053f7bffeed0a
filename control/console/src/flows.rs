//! `pdmv2 flows`: the flows that somebody looks for, in the order that matters to him.

use crate::client::{Client, Which, with_parameters};
use crate::units::{columns, many, per_cent, plain, time};
use common::admin::{Flow, Flows, MOST_FLOWS, Sort};
use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// What flows are sorted by here: also what only two answers tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum By {
    /// The round trip between the boxes
    Rtt,
    /// The other side's delay
    ServerDelay,
    /// The part of the packets that never came
    Loss,
    /// Packets that came back, a second (of the 10,000 flows with the most packets)
    Rate,
    /// Packets that came behind a later one
    Late,
    /// Time since the last packet
    Idle,
    /// Packets that came back
    Received,
}

impl By {
    /// What the box sorts by.
    #[must_use]
    pub fn asked(self) -> Sort {
        match self {
            Self::Rtt => Sort::Rtt,
            Self::ServerDelay => Sort::ServerDelay,
            Self::Loss => Sort::Loss,
            Self::Late => Sort::Late,
            Self::Idle => Sort::Idle,
            Self::Rate | Self::Received => Sort::Received,
        }
    }
}

/// Which flows.
#[derive(Clone, PartialEq, Eq, Debug, Default, clap::Args)]
pub struct Filter {
    /// Only flows with this IPv6 address at either end
    #[arg(long, value_name = "ADDRESS")]
    pub address: Option<String>,
    /// Only flows with an address of this prefix at either end
    #[arg(long, value_name = "PREFIX")]
    pub prefix: Option<String>,
    /// Only flows with this port at either end
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Only flows of this policy
    #[arg(long, value_name = "NAME")]
    pub policy: Option<String>,
    /// Only flows of this protocol: tcp, udp, icmpv6, or another's name or number
    #[arg(long, value_name = "PROTOCOL")]
    pub protocol: Option<String>,
}

impl Filter {
    /// What is given of it, as parameters.
    pub fn parameters(&self) -> impl Iterator<Item = (&'static str, String)> + use<> {
        let filters = [
            ("address", self.address.clone()),
            ("prefix", self.prefix.clone()),
            ("port", self.port.map(|port| port.to_string())),
            ("policy", self.policy.clone()),
            ("protocol", self.protocol.clone()),
        ];
        filters.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }
}

/// Which flows, where pairs of prefixes are told apart too.
#[derive(Clone, PartialEq, Eq, Debug, Default, clap::Args)]
pub struct Wanted {
    /// By address, port, policy and protocol
    #[command(flatten)]
    pub filter: Filter,
    /// Only flows of this pair of prefixes
    #[arg(long, value_name = "NAME")]
    pub pair: Option<String>,
}

impl Wanted {
    /// The path that asks for them.
    #[must_use]
    pub fn path(&self, by: By, ascending: bool, limit: usize) -> String {
        // Which of them are the fastest only a second answer tells.
        let order = (ascending && by != By::Rate).then(|| ("order", "asc".to_owned()));
        let pair = self.pair.clone().map(|pair| ("pair", pair));
        let given = self.filter.parameters().chain(pair).chain(order);
        let limit = if by == By::Rate { MOST_FLOWS } else { limit };
        let rest = [("sort", by.asked().name().to_owned()), ("limit", limit.clamp(1, MOST_FLOWS).to_string())];
        with_parameters("/v1/flows", given.chain(rest))
    }
}

/// The command.
#[derive(Debug, clap::Args)]
pub struct FlowsArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    wanted: Wanted,
    /// What comes first
    #[arg(long, value_enum, default_value = "received")]
    sort: By,
    /// The least first
    #[arg(long)]
    reverse: bool,
    /// How many, at most 10000
    #[arg(short = 'n', default_value_t = 20, value_name = "FLOWS", value_parser = clap::value_parser!(u16).range(1..=MOST_FLOWS as i64))]
    number: u16,
    /// Print the answer as JSON, one object in a line
    #[arg(long)]
    json: bool,
    /// Again and again, every so many seconds, until Ctrl-C
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1", value_parser = clap::value_parser!(u16).range(1..=3600))]
    watch: Option<u16>,
}

/// Prints the flows, once or until it is stopped.
///
/// # Errors
/// The box cannot be asked, or does not understand.
pub fn run(args: &FlowsArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let client = Client::new(&args.which)?;
    let path = args.wanted.path(args.sort, args.reverse, usize::from(args.number));
    let mut rates = Rates::default();
    if args.sort == By::Rate {
        rates.next(&client.ask::<Flows>(&path)?.flows, Instant::now());
        std::thread::sleep(Duration::from_secs(1));
    }
    let clears = args.watch.is_some() && !args.json && std::io::stdout().is_terminal();
    loop {
        let mut flows: Flows = client.ask(&path)?;
        rates.next(&flows.flows, Instant::now());
        if args.sort == By::Rate {
            rates.sort(&mut flows.flows, args.reverse);
            flows.flows.truncate(usize::from(args.number));
        }
        if clears {
            out.write_all(b"\x1b[H\x1b[2J")?;
        }
        if args.json {
            writeln!(out, "{}", serde_json::to_string(&flows)?)?;
        } else {
            out.write_all(text(&flows, &rates).as_bytes())?;
        }
        out.flush()?;
        let Some(seconds) = args.watch else { return Ok(()) };
        std::thread::sleep(Duration::from_secs(u64::from(seconds)));
    }
}

/// Packets a second of flows, from one answer to the next.
#[derive(Debug, Default)]
pub struct Rates {
    before: Option<(Instant, HashMap<String, u64>)>,
    now: HashMap<String, f64>,
}

impl Rates {
    /// The next answer has come.
    pub fn next(&mut self, flows: &[Flow], at: Instant) {
        let received: HashMap<_, _> = flows.iter().map(|flow| (flow.name(), flow.received)).collect();
        self.now.clear();
        if let Some((then, before)) = &self.before {
            let seconds = at.saturating_duration_since(*then).as_secs_f64();
            let rate = |(name, received): (&String, &u64)| {
                let grown = received.saturating_sub(*before.get(name)?);
                (seconds > 0.0).then(|| (name.clone(), grown as f64 / seconds))
            };
            self.now = received.iter().filter_map(rate).collect();
        }
        self.before = Some((at, received));
    }

    /// Of this flow. `None`: it was not in the answer before.
    #[must_use]
    pub fn of(&self, flow: &Flow) -> Option<f64> {
        self.now.get(&flow.name()).copied()
    }

    /// The fastest first; those that are new last.
    pub fn sort(&self, flows: &mut [Flow], reverse: bool) {
        let key = |flow: &Flow| match self.of(flow) {
            Some(rate) => {
                if reverse {
                    rate
                } else {
                    -rate
                }
            }
            None => f64::INFINITY,
        };
        flows.sort_by(|a, b| key(a).total_cmp(&key(b)));
    }
}

/// The table.
#[must_use]
pub fn text(flows: &Flows, rates: &Rates) -> String {
    let heads =
        ["flow", "policy", "rtt", "server delay", "end to end", "loss", "late", "received", "packets/s", "idle"];
    let row = |flow: &Flow| {
        let rate = rates.of(flow).map_or_else(|| "-".to_owned(), many);
        let [rtt, server, both] =
            [&flow.round_trip, &flow.server_delay, &flow.end_to_end].map(|times| time(times.smoothed_ns));
        let policy = plain(flow.policy.as_deref().unwrap_or("-"));
        let (late, received) = (flow.late.to_string(), flow.received.to_string());
        vec![
            plain(&flow.name()),
            policy,
            rtt,
            server,
            both,
            per_cent(flow.loss),
            late,
            received,
            rate,
            time(flow.idle_ns),
        ]
    };
    let head = heads.map(str::to_owned).to_vec();
    let rows: Vec<_> = std::iter::once(head).chain(flows.flows.iter().map(row)).collect();
    let shown = flows.flows.len();
    format!("{}{shown} of {} flows that match, {} in the table\n", columns(&rows), flows.matching, flows.in_table)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use common::admin::Times;

    /// Flow number `n`.
    pub fn example(n: u16) -> Flow {
        let times = |ms: u64| {
            let ns = ms * 1_000_000 * u64::from(n);
            Times { samples: 5, last_ns: ns, smoothed_ns: ns, least_ns: ns / 2, greatest_ns: ns * 2 }
        };
        Flow {
            inside: "2001:db8:a::1".into(),
            inside_port: 1000 + n,
            outside: "2001:db8:b::1".into(),
            outside_port: 443,
            protocol: "tcp".into(),
            policy: Some("web".into()),
            pair: None,
            worker: 0,
            idle_ns: 5_000_000,
            received: 1000 * u64::from(n),
            lost: 10,
            loss: 0.0123,
            duplicates: 1,
            late: 2,
            failed: 0,
            round_trip: times(10),
            server_delay: times(1),
            end_to_end: times(11),
            peer_packets_per_second: None,
        }
    }

    #[test]
    fn a_table_of_flows() {
        let flows = Flows { in_table: 9, matching: 2, flows: vec![example(1), example(2)] };
        let text = text(&flows, &Rates::default());
        let line = "[2001:db8:a::1]:1001 > [2001:db8:b::1]:443 tcp     web  10.0 ms       1.00 ms     11.0 ms  1.23%     2      1000          -  5.00 ms\n";
        assert!(text.contains(line), "{text}");
        assert!(text.ends_with("\n2 of 2 flows that match, 9 in the table\n"), "{text}");
    }

    #[test]
    fn rates_are_of_two_answers() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        let mut flows = vec![example(1), example(2)];
        rates.next(&flows, start);
        assert_eq!(rates.of(&flows[0]), None);
        flows[0].received += 500;
        flows[1].received += 100;
        flows.insert(0, example(3));
        rates.next(&flows, start + Duration::from_secs(2));
        assert_eq!([0, 1, 2].map(|i| rates.of(&flows[i])), [None, Some(250.0), Some(50.0)]);
        rates.sort(&mut flows, false);
        assert_eq!(flows.iter().map(|flow| flow.inside_port).collect::<Vec<_>>(), [1001, 1002, 1003]);
        rates.sort(&mut flows, true);
        assert_eq!(flows.iter().map(|flow| flow.inside_port).collect::<Vec<_>>(), [1002, 1001, 1003]);
    }

    #[test]
    fn what_is_asked_for() {
        let filter = Filter { prefix: Some("2001:db8::/32".into()), port: Some(443), ..Filter::default() };
        let filter = Wanted { filter, pair: Some("west lab".into()) };
        let expected = "/v1/flows?prefix=2001%3Adb8%3A%3A%2F32&port=443&pair=west+lab&order=asc&sort=loss&limit=20";
        assert_eq!(filter.path(By::Loss, true, 20), expected);
        assert_eq!(Wanted::default().path(By::Rate, true, 20), "/v1/flows?sort=received&limit=10000");
    }
}
