//! What a flow's figures mean, in plain words.

use super::direction::Direction;
use super::level::{Change, Level};
use super::{Flow, Histogram};
use crate::decode::record::show_ns;
use serde::Serialize;

/// Loss that is the first thing to look at: one packet in so many.
const LOSS_ONE_IN: u64 = 100;
/// A client that takes so many times as long as everything else is what the flow waits for.
const CLIENT_TIMES: u64 = 10;

/// Who is to be looked at first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The server takes most of the time.
    Server,
    /// The network does.
    Network,
    /// Neither: they wait for the client.
    Client,
    /// Packets are lost before the place of the capture.
    LossBefore,
    /// Packets are lost behind it.
    LossBehind,
    /// There is nothing that tells.
    Unknown,
}

impl Verdict {
    /// For people, and for CSV.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Network => "network",
            Self::Client => "client",
            Self::LossBefore => "loss before the capture",
            Self::LossBehind => "loss behind the capture",
            Self::Unknown => "unknown",
        }
    }
}

/// A diagnosis.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnosis {
    pub verdict: Verdict,
    /// Sentences, the most important first.
    pub words: Vec<String>,
}

/// The median.
fn median(histogram: &Histogram) -> Option<u64> {
    histogram.quantile(500)
}

/// How a delay stands: its median; or, where it has become twice as much as that for good, what it is at least since then.
fn standing(median: u64, levels: &[&Level]) -> (u64, bool) {
    let present = levels.iter().map(|level| level.base.unwrap_or(0)).sum();
    let changed = levels.iter().any(|level| level.changes > 0);
    if changed && present > median.saturating_mul(2) { (present, true) } else { (median, false) }
}

impl Flow {
    /// The round trip at the median: as the client's side measured it, else as the server's did, else what both parts of the
    /// way take together.
    pub fn round_trip_ns(&self) -> Option<u64> {
        let [client, server] = &self.directions;
        let parts = || Some(median(&client.network)? + median(&server.network)?);
        median(&client.round_trip).or_else(|| median(&server.round_trip)).or_else(parts)
    }

    /// What its figures mean.
    pub fn diagnosis(&self) -> Diagnosis {
        let mut words = Vec::new();
        let delays = self.who_takes_the_time(&mut words);
        let loss = self.loss(&mut words);
        self.changes(&mut words);
        self.reservations(&mut words);
        let verdict = loss.or(delays).unwrap_or(Verdict::Unknown);
        if let Some(at) = loss.and_then(|_| words.iter().position(|w| w.starts_with("Lost"))) {
            let first = words.remove(at);
            words.insert(0, first);
        }
        Diagnosis { verdict, words }
    }

    fn who_takes_the_time(&self, words: &mut Vec<String>) -> Option<Verdict> {
        let [client, server] = &self.directions;
        let (network, delay) = (self.round_trip_ns(), median(&server.delay));
        let (Some(network), Some(delay)) = (network, delay) else {
            // Half the way is better than nothing.
            if let (Some(delay), Some(part)) = (delay, median(&server.network)) {
                words.push(format!(
                    "The server answers after {}; from the capture to it and back the network takes {} (medians).",
                    show_ns(delay),
                    show_ns(part)
                ));
                return Some(if delay > part { Verdict::Server } else { Verdict::Network });
            }
            return None;
        };
        let (delay, later) = standing(delay, &[&server.delay_level]);
        let (network, later_too) = standing(network, &[&client.network_level, &server.network_level]);
        let how = if later || later_too { "since the last change, at least" } else { "medians" };
        let whole = network + delay;
        let think = median(&client.delay).unwrap_or(0);
        let (verdict, who, part) = match () {
            () if think > whole.saturating_mul(CLIENT_TIMES) => {
                words.push(format!(
                    "The client takes the time: {} pass before it goes on, and an answer takes {} ({how}).",
                    show_ns(think),
                    show_ns(whole)
                ));
                (Verdict::Client, if delay > network { "server" } else { "network" }, delay.max(network))
            }
            () if delay > network => (Verdict::Server, "server", delay),
            () => (Verdict::Network, "network", network),
        };
        let share = (part * 100).checked_div(whole).unwrap_or(0);
        words.push(format!(
            "The {who} takes most of an answer's time: {} of {}, {share} per cent ({how}).",
            show_ns(part),
            show_ns(whole)
        ));
        if let (Some(near), Some(far)) = (median(&client.network), median(&server.network)) {
            words.push(format!(
                "Of the way there and back {} lie between the capture and the client's side, {} between it and the server's.",
                show_ns(near),
                show_ns(far)
            ));
        }
        Some(verdict)
    }

    fn loss(&self, words: &mut Vec<String>) -> Option<Verdict> {
        let mut verdict = None;
        let of = [("client", "server"), ("server", "client")];
        for (direction, (from, to)) in self.directions.iter().zip(of) {
            let Direction { sequence, stream, packets, .. } = direction;
            let many = |n: u64| n * LOSS_ONE_IN >= packets + n && n > 0;
            if sequence.lost > 0 {
                let all = packets + sequence.lost;
                words.push(format!(
                    "Lost between the {from}'s side and the capture: {} of {all} packets{}.",
                    sequence.lost,
                    if stream.filled > 0 {
                        format!(" ({} segments were sent again)", stream.filled)
                    } else {
                        String::new()
                    }
                ));
            }
            if many(sequence.lost) {
                verdict = verdict.or(Some(Verdict::LossBefore));
            }
            if stream.resent > 0 {
                words.push(format!(
                    "Lost between the capture and the {to}, or acknowledged too late: {} of {packets} segments were sent again though \
                     they had passed here.",
                    stream.resent
                ));
            }
            if many(stream.resent) {
                verdict = verdict.or(Some(Verdict::LossBehind));
            }
            if sequence.late > 0 {
                words.push(format!("From the {from} {} packets were overtaken by later ones.", sequence.late));
            }
            if sequence.copies > 0 {
                words.push(format!(
                    "From the {from} {} packets came twice, or are parts of one that a NIC or the sender's system has cut.",
                    sequence.copies
                ));
            }
            if sequence.restarts > 0 {
                words.push(format!("The numbers of the {from}'s side began anew {} times.", sequence.restarts));
            }
        }
        verdict
    }

    fn changes(&self, words: &mut Vec<String>) {
        let [client, server] = &self.directions;
        let mut change = |what: &str, change: Option<Change>, times: u32| {
            let Some(Change { at_ns, from_ns, to_ns }) = change else { return };
            let (verb, more) = (
                if to_ns > from_ns { "slower" } else { "faster" },
                if times > 1 { format!(", the largest of {times} changes") } else { String::new() },
            );
            let (from, to) = (show_ns(from_ns), show_ns(to_ns));
            words.push(format!("{what} became {verb} {}: from {from} to {to} at least{more}.", self.when(at_ns)));
        };
        change("The server", server.delay_level.largest, server.delay_level.changes);
        let [near, far] = [client.network_level, server.network_level];
        change("The way between the capture and the client's side", near.largest, near.changes);
        change("The way between the capture and the server's side", far.largest, far.changes);
        for (direction, from) in self.directions.iter().zip(["client", "server"]) {
            if let Some((at, before, after)) = direction.last_hops {
                words.push(format!(
                    "The path from the {from} changed: its Hop Limit was {before} and is {after} {}{}.",
                    self.when(at),
                    if direction.hops > 1 {
                        format!(", the last of {} changes", direction.hops)
                    } else {
                        String::new()
                    }
                ));
            }
        }
    }

    /// What the figures do not tell, and why.
    fn reservations(&self, words: &mut Vec<String>) {
        let [client, server] = &self.directions;
        let sealed = client.sealed + server.sealed;
        if sealed > 0 {
            words.push(format!("{sealed} packets are sealed and were not opened: give --keys or --key-log."));
        }
        if client.packets == 0 || server.packets == 0 {
            let from = if client.packets == 0 { "server" } else { "client" };
            words.push(format!(
                "Only packets of the {from} have an option here: round trip and delay need both directions."
            ));
        } else if sealed < self.packets() && self.round_trip_ns().is_none() {
            words.push("No packet names one that was captured: no round trip can be told.".to_owned());
        }
    }

    /// A time, since the flow's first packet.
    fn when(&self, at_ns: u64) -> String {
        let since = at_ns.saturating_sub(self.first_ns.unwrap_or(0));
        format!("{}.{:03} s after its first packet", since / 1_000_000_000, since / 1_000_000 % 1000)
    }
}
