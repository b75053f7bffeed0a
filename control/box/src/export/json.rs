//! JSON lines: one object for each record.

use super::format::Format;
use super::record::FlowRecord;
use pipeline::flow::figures::Times;
use serde::Serialize;
use std::net::Ipv6Addr;
use std::time::{Instant, SystemTime};

/// So much is written at once.
const MOST: usize = 64 << 10;

/// Lines that wait to be written.
#[derive(Debug, Default)]
pub struct Lines {
    text: Vec<u8>,
    records: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    source: Ipv6Addr,
    source_port: u16,
    destination: Ipv6Addr,
    destination_port: u16,
    protocol: u8,
    policy: &'a str,
    start_ms: u64,
    end_ms: u64,
    end_reason: &'static str,
    packets: u64,
    received: u64,
    lost: u64,
    duplicates: u64,
    late: u64,
    failed: u64,
    round_trip: Option<Kind>,
    server_delay: Option<Kind>,
    end_to_end: Option<Kind>,
    told_end_to_end: Option<Kind>,
    peer_packets_per_second: Option<u64>,
}

#[derive(Serialize)]
struct Kind {
    samples: u64,
    last_ns: u64,
    smoothed_ns: u64,
    least_ns: u64,
    greatest_ns: u64,
}

impl Kind {
    fn of(times: Times) -> Option<Self> {
        let Times { samples, last_ns, smoothed_ns, least_ns, greatest_ns } = times;
        (samples > 0).then_some(Self { samples, last_ns, smoothed_ns, least_ns, greatest_ns })
    }
}

impl<'a> Line<'a> {
    fn of(record: &'a FlowRecord) -> Self {
        let FlowRecord { tuple, start_ms, end_ms, reason, policy, packets, figures } = record;
        Self {
            source: tuple.src.into(),
            source_port: tuple.sport,
            destination: tuple.dst.into(),
            destination_port: tuple.dport,
            protocol: tuple.protocol,
            policy,
            start_ms: *start_ms,
            end_ms: *end_ms,
            end_reason: reason.name(),
            packets: *packets,
            received: figures.received,
            lost: figures.lost,
            duplicates: figures.duplicates,
            late: figures.late,
            failed: figures.failed,
            round_trip: Kind::of(figures.round_trip),
            server_delay: Kind::of(figures.server_delay),
            end_to_end: Kind::of(figures.end_to_end),
            told_end_to_end: Kind::of(figures.told_end_to_end),
            peer_packets_per_second: figures.peer_packets_per_second,
        }
    }
}

impl Format for Lines {
    fn begin(&mut self) {
        self.clear();
    }

    fn repeat(&mut self) {}

    fn add(&mut self, record: &FlowRecord, _: Instant) -> bool {
        if self.text.len() >= MOST {
            return false;
        }
        let before = self.text.len();
        match serde_json::to_writer(&mut self.text, &Line::of(record)) {
            Ok(()) => self.text.push(b'\n'),
            Err(_) => self.text.truncate(before), // no value here can fail
        }
        self.records += 1;
        true
    }

    fn records(&self) -> u64 {
        self.records
    }

    fn finish(&mut self, _: SystemTime) -> &[u8] {
        &self.text
    }

    fn clear(&mut self) {
        self.text.clear();
        self.records = 0;
    }
}
