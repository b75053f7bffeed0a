//! The truth: when requests and answers passed both sides of each box, and what the boxes should make of it.
//!
//! A box takes a packet's time when it takes it from the port and when it numbers it, which is somewhere between the two captures
//! beside it. So a delay is a range, as wide as what the packets spent in the box and in front of it; what is told has to be within
//! the bound of that range: 5 per cent or 50 us, whichever is larger.

use super::talk;
use common::capture::{Capture, CaptureError, ipv6_offset};
use protocol::wire::{ext_chain, ipv6};
use rig::Side;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// From the least to the greatest that it can be, nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    pub low: u64,
    pub high: u64,
}

impl From<Option<u64>> for Range {
    /// What is told exactly; what is not told is no time that there is.
    fn from(ns: Option<u64>) -> Self {
        let ns = ns.unwrap_or(u64::MAX / 2);
        Self { low: ns, high: ns }
    }
}

/// When each message of a port passed a place: by its number, requests and answers.
#[derive(Debug, Default)]
pub struct Passed(pub [BTreeMap<u64, u64>; 2]);

/// By the servers' ports.
pub fn passed(path: &Path) -> HashMap<u16, Passed> {
    let mut all: HashMap<u16, Passed> = HashMap::new();
    let each = |frame: common::capture::Frame<'_>| {
        let Some((port, is_answer, number)) = message(&frame) else { return Ok(true) };
        let at = frame.time_ns.expect("a time");
        // A segment that is sent again is another matter.
        all.entry(port).or_default().0[usize::from(is_answer)].entry(number).or_insert(at);
        Ok::<_, CaptureError>(true)
    };
    Capture::open(path).expect("capture").for_each(each).expect("whole capture");
    all
}

fn message(frame: &common::capture::Frame<'_>) -> Option<(u16, bool, u64)> {
    let packet = &frame.data[ipv6_offset(frame.link, frame.data)?..];
    let chain = ext_chain::walk(packet, packet.len()).ok()?;
    let upper = &packet[chain.upper_offset..chain.payload_end.min(packet.len())];
    let header = match chain.five_tuple.protocol {
        ipv6::UDP => 8,
        ipv6::TCP => usize::from(upper.get(12)? >> 4) * 4,
        _ => return None,
    };
    let number = talk::number(upper.get(header..)?)?;
    let is_answer = chain.five_tuple.src[5] == 0x0b;
    let port = if is_answer { chain.five_tuple.sport } else { chain.five_tuple.dport };
    Some((port, is_answer, number))
}

/// What a box should tell of a flow: each of its answers.
#[derive(Debug, Default)]
pub struct Truth {
    server_delay: Vec<Range>,
    round_trip: Vec<Range>,
    end_to_end: Vec<Range>,
}

impl Truth {
    /// Of the box at this side; what passed at host A, both ends of the wire, and host B.
    pub fn of(side: Side, passed: [&Passed; 4]) -> Self {
        let mut truth = Self::default();
        let at = |place: usize, is_answer: usize, number: u64| passed[place].0[is_answer].get(&number).copied();
        // From left to right: this box's inside, its outside, the other's outside, its inside.
        let places = if side == Side::A { [0, 1, 2, 3] } else { [3, 2, 1, 0] };
        for &number in passed[0].0[0].keys() {
            // To box B the client's next request is the answer to the server's answer.
            let took = |place: usize| match side {
                Side::A => at(place, 1, number)?.checked_sub(at(place, 0, number)?),
                Side::B => at(place, 0, number + 1)?.checked_sub(at(place, 1, number)?),
            };
            let [Some(inside), Some(outside), Some(far_outside), Some(far_inside)] = places.map(took) else { continue };
            truth.server_delay.push(Range { low: far_inside, high: far_outside });
            truth.end_to_end.push(Range { low: outside, high: inside });
            truth
                .round_trip
                .push(Range { low: outside.saturating_sub(far_outside), high: inside.saturating_sub(far_inside) });
        }
        truth
    }

    pub fn requests(&self) -> usize {
        self.server_delay.len()
    }

    pub fn series(&self, of: &str) -> &[Range] {
        match of {
            "server_delay" => &self.server_delay,
            "round_trip" => &self.round_trip,
            _ => &self.end_to_end,
        }
    }
}

fn by_bound(series: &[Range], of: impl Fn(&[u64]) -> u64) -> Range {
    let bound = |bound: fn(&Range) -> u64| series.iter().map(bound).collect::<Vec<_>>();
    Range { low: of(&bound(|range| range.low)), high: of(&bound(|range| range.high)) }
}

pub fn median(series: &[Range]) -> Range {
    by_bound(series, |times| {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        sorted[sorted.len() / 2]
    })
}

pub fn last(series: &[Range]) -> Range {
    *series.last().expect("an answer")
}

/// The average in which the last ones count most, as flows have it.
pub fn smoothed(series: &[Range]) -> Range {
    by_bound(series, |times| {
        let mut times = times.iter().map(|&ns| ns as f64);
        let first = times.next().expect("an answer");
        times.fold(first, |before, ns| before + (ns - before) / 8.0) as u64
    })
}

/// All that there were.
pub fn all(series: &[Range]) -> Range {
    let low = series.iter().map(|range| range.low).min();
    Range { low: low.expect("an answer"), high: series.iter().map(|range| range.high).max().expect("an answer") }
}

/// What was compared, and what is not as it should be.
#[derive(Debug, Default)]
pub struct Findings {
    wrong: Vec<String>,
    /// By output: comparisons, and the furthest that one was off, as a part of what is allowed.
    by_output: BTreeMap<&'static str, (u32, f64, String)>,
}

impl Findings {
    /// Both ranges are within the bound of each other.
    pub fn hold(&mut self, output: &'static str, what: &str, truth: Range, told: Range) {
        let off = truth.low.saturating_sub(told.high).max(told.low.saturating_sub(truth.high));
        let allowed = (truth.low / 20).max(50_000);
        let part = off as f64 / allowed as f64;
        let line = format!("{what}: truth {} to {} ns, told {} to {}", truth.low, truth.high, told.low, told.high);
        let (n, most, which) = self.by_output.entry(output).or_default();
        *n += 1;
        if part >= *most {
            (*most, *which) = (part, line.clone());
        }
        if off > allowed {
            self.wrong.push(line);
        }
    }

    /// Both outputs tell the same.
    pub fn same(&mut self, what: &str, one: &Value, other: &Value) {
        if one != other || one.is_null() {
            self.wrong.push(format!("{what}: {one} and {other}"));
        }
    }

    /// What `decode --flows` tells of the same flow.
    pub fn decoded(&mut self, name: &str, side: Side, truth: &Truth, flow: &Value) {
        let (own, other) =
            if side == Side::A { ("from_client", "from_server") } else { ("from_server", "from_client") };
        for (of, told) in [("server_delay", &flow[other]["delay_ns"]), ("round_trip", &flow[own]["round_trip_ns"])] {
            let what = format!("{name} box {side:?} {of} decode p50");
            self.hold("decode --flows", &what, median(truth.series(of)), told["p50"].as_u64().into());
        }
    }

    /// Shows how far off what was, and ends the test if it was too far.
    pub fn end(self) {
        for (output, (n, most, which)) in &self.by_output {
            eprintln!("{output}: {n} compared; furthest at {:.0} % of what is allowed: {which}", most * 100.0);
        }
        assert!(self.wrong.is_empty(), "{} wrong:\n{}", self.wrong.len(), self.wrong.join("\n"));
    }
}
