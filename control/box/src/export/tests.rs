//! What is sent, read by a parser of its own; and that no destination holds anything up.

mod destinations;
mod parser;

use super::*;
use parser::{Collector, Fields};
use pipeline::flow::figures::{FlowFigures, Times};
use proptest::prelude::*;
use protocol::five_tuple::FiveTuple;
use std::time::UNIX_EPOCH;

/// For examples (RFC 5612).
const ENTERPRISE: u32 = 32473;

fn times() -> impl Strategy<Value = Times> {
    any::<[u64; 5]>().prop_map(|[samples, last_ns, smoothed_ns, least_ns, greatest_ns]| Times {
        samples,
        last_ns,
        smoothed_ns,
        least_ns,
        greatest_ns,
    })
}

fn tuple() -> impl Strategy<Value = FiveTuple> {
    any::<([u8; 16], u16, [u8; 16], u16, u8)>().prop_map(|(src, sport, dst, dport, protocol)| FiveTuple {
        src,
        sport,
        dst,
        dport,
        protocol,
    })
}

fn figures() -> impl Strategy<Value = FlowFigures> {
    let counts = any::<([u64; 7], u32, Option<u64>)>();
    let times = (times(), times(), times(), times());
    (tuple(), counts, times).prop_map(|(tuple, (counts, policy, rate), times)| {
        let [age_ns, idle_ns, received, lost, duplicates, late, failed] = counts;
        let (round_trip, server_delay, end_to_end, told_end_to_end) = times;
        FlowFigures {
            tuple,
            policy,
            owner: 0,
            age_ns,
            idle_ns,
            received,
            lost,
            duplicates,
            late,
            failed,
            round_trip,
            server_delay,
            end_to_end,
            told_end_to_end,
            peer_packets_per_second: rate,
        }
    })
}

fn reason() -> impl Strategy<Value = EndReason> {
    prop::sample::select(vec![EndReason::Idle, EndReason::Active, EndReason::Forced])
}

/// Any record, names of policies included that no configuration would take.
fn record() -> impl Strategy<Value = FlowRecord> {
    let now = any::<u32>().prop_map(|s| UNIX_EPOCH + Duration::from_secs(s.into()));
    (figures(), any::<u64>(), ".{0,300}", reason(), now)
        .prop_map(|(figures, told, policy, reason, now)| FlowRecord::new(figures, told, &policy, reason, now))
}

/// A record of a flow of this number.
fn example(n: u16) -> FlowRecord {
    let mut tuple = FiveTuple { sport: n, dport: 443, protocol: 17, ..FiveTuple::default() };
    (tuple.src, tuple.dst) = ([0x20; 16], [0x30; 16]);
    let none = Times::default();
    let figures = FlowFigures {
        tuple,
        policy: 0,
        owner: 0,
        age_ns: 9_000_000_000,
        idle_ns: 2_000_000_000,
        received: 100 + u64::from(n),
        lost: 3,
        duplicates: 2,
        late: 1,
        failed: 0,
        round_trip: Times { samples: 5, last_ns: 4, smoothed_ns: 3, least_ns: 2, greatest_ns: 6 },
        server_delay: none,
        end_to_end: none,
        told_end_to_end: none,
        peer_packets_per_second: None,
    };
    FlowRecord::new(figures, 40, "all", EndReason::Active, UNIX_EPOCH + Duration::from_secs(1_000_000))
}

fn octets(number: u64, length: usize) -> Vec<u8> {
    number.to_be_bytes()[8 - length..].to_vec()
}

/// What a collector must find of a record.
fn expected(record: &FlowRecord, enterprise: Option<u32>) -> Fields {
    let (tuple, f) = (&record.tuple, &record.figures);
    let mut fields = Fields::from([
        ((0, 27), tuple.src.to_vec()),
        ((0, 28), tuple.dst.to_vec()),
        ((0, 7), octets(tuple.sport.into(), 2)),
        ((0, 11), octets(tuple.dport.into(), 2)),
        ((0, 4), octets(tuple.protocol.into(), 1)),
        ((0, 60), vec![6]),
        ((0, 152), octets(record.start_ms, 8)),
        ((0, 153), octets(record.end_ms, 8)),
        ((0, 136), vec![record.reason as u8]),
        ((0, 2), octets(record.packets, 8)),
    ]);
    let Some(enterprise) = enterprise else { return fields };
    let mut text = record.policy.to_string();
    while text.len() > 254 {
        text.pop();
    }
    fields.insert((enterprise, 1), text.into_bytes());
    let counts = [f.received, f.lost, f.duplicates, f.late, f.failed, f.peer_packets_per_second.unwrap_or(0)];
    fields.extend((2..).zip(counts).map(|(id, count)| ((enterprise, id), octets(count, 8))));
    for (first, times) in [(16, f.round_trip), (24, f.server_delay), (32, f.end_to_end), (40, f.told_end_to_end)] {
        let five = [times.samples, times.last_ns, times.smoothed_ns, times.least_ns, times.greatest_ns];
        fields.extend((first..).zip(five).map(|(id, time)| ((enterprise, id), octets(time, 8))));
    }
    fields
}

/// The messages that an encoder makes of records.
fn messages(encoder: &mut Encoder, records: &[FlowRecord], now: Instant) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    let mut send = |encoder: &mut Encoder| {
        let message = encoder.finish(UNIX_EPOCH + Duration::from_secs(77)).to_vec();
        messages.extend(Some(message).filter(|message| !message.is_empty()));
        encoder.clear();
    };
    for record in records {
        if !encoder.add(record, now) {
            send(encoder);
            assert!(encoder.add(record, now), "an empty message has room for any record");
        }
    }
    send(encoder);
    messages
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_flows_make_messages_that_parse_back(
        records in prop::collection::vec(record(), 1..40),
        domain: u32,
        enterprise in prop::option::of(1u32..),
        repeats: bool,
    ) {
        let mut encoder = Encoder::new(domain, enterprise, repeats);
        encoder.begin();
        let (mut collector, mut seen) = (Collector::default(), Vec::new());
        for octets in messages(&mut encoder, &records, Instant::now()) {
            let message = collector.message(&octets);
            prop_assert!(message.octets <= LIMIT);
            prop_assert_eq!((message.export_time, message.domain), (77, domain));
            prop_assert_eq!(message.sequence as usize, seen.len(), "records before this message");
            prop_assert_eq!(message.templates, usize::from(seen.is_empty()));
            seen.extend(message.records);
        }
        let wanted: Vec<_> = records.iter().map(|record| expected(record, enterprise)).collect();
        prop_assert_eq!(seen, wanted);
    }

    #[test]
    fn any_flows_make_lines_of_json(records in prop::collection::vec(record(), 1..10)) {
        let mut lines = Lines::default();
        for record in &records {
            prop_assert!(lines.add(record, Instant::now()));
        }
        prop_assert_eq!(lines.records(), records.len() as u64);
        let text = String::from_utf8(lines.finish(UNIX_EPOCH).to_vec()).expect("UTF-8");
        prop_assert_eq!(text.lines().count(), records.len());
        for (line, record) in text.lines().zip(&records) {
            let json: serde_json::Value = serde_json::from_str(line).expect("JSON");
            prop_assert_eq!(json["packets"].as_u64(), Some(record.packets));
            prop_assert_eq!(json["policy"].as_str(), Some(&*record.policy));
            let round_trip = &record.figures.round_trip;
            let least = Some(round_trip.least_ns).filter(|_| round_trip.samples > 0);
            prop_assert_eq!(json["round_trip"]["least_ns"].as_u64(), least);
        }
    }
}

#[test]
fn a_record_tells_of_packets_from_the_far_end() {
    let record = example(7);
    assert_eq!((record.tuple.sport, record.tuple.dport), (443, 7));
    assert_eq!((record.tuple.src, record.tuple.dst), ([0x30; 16], [0x20; 16]));
    assert_eq!((record.start_ms, record.end_ms), (999_991_000, 999_998_000));
    assert_eq!((record.packets, record.figures.received), (67, 107), "40 were told before");
    let times = |age_ns, idle_ns| {
        let figures = FlowFigures { age_ns, idle_ns, ..record.figures.clone() };
        let record = FlowRecord::new(figures, u64::MAX, "", EndReason::Idle, UNIX_EPOCH + Duration::from_secs(5));
        (record.start_ms, record.end_ms, record.packets)
    };
    assert_eq!(times(1_000_000_000, 1_300_000_000), (4000, 4000, 0), "no flow ends before it begins");
    assert_eq!(times(u64::MAX, u64::MAX), (0, 0, 0), "nor before 1970");
}

#[test]
fn over_udp_the_template_comes_again_and_over_tcp_once() {
    let start = Instant::now();
    let has_template = |encoder: &mut Encoder, later: u64| {
        let messages = messages(encoder, &[example(1)], start + Duration::from_secs(later));
        let [message] = messages.as_slice() else { panic!("one message") };
        message[16..18] == [0, 2]
    };
    let mut udp = Encoder::new(0, None, true);
    udp.begin();
    let with: Vec<_> = (0..200).filter(|_| has_template(&mut udp, 0)).collect();
    assert_eq!(with, [0, 64, 128, 192]);
    assert!(!has_template(&mut udp, 599));
    assert!(has_template(&mut udp, 600) && !has_template(&mut udp, 601));
    udp.repeat();
    assert!(has_template(&mut udp, 602), "the collector was away");
    let mut tcp = Encoder::new(0, None, false);
    for connection in 0..2 {
        tcp.begin();
        let with: Vec<_> = (0..200).filter(|i| has_template(&mut tcp, i * 60)).collect();
        assert_eq!(with, [0], "connection {connection}");
    }
}

#[test]
fn what_was_given_up_is_missing_in_the_sequence_and_nothing_of_an_earlier_connection() {
    let mut encoder = Encoder::new(0, None, true);
    encoder.begin();
    let sequence = |encoder: &mut Encoder| {
        assert!(encoder.add(&example(1), Instant::now()));
        let message = encoder.finish(UNIX_EPOCH)[8..12].to_vec();
        encoder.clear();
        message
    };
    assert_eq!([(); 3].map(|()| sequence(&mut encoder)[3]), [0, 1, 2]);
    encoder.begin();
    assert_eq!(sequence(&mut encoder), [0; 4]);
}

/// `UPDATE_DOCS=1` writes it anew.
#[test]
fn the_document_has_the_elements_that_are_sent() {
    use common::metrics::docs::{UPDATE, replace};
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ipfix.md");
    let text = std::fs::read_to_string(path).expect("docs/ipfix.md");
    let with = replace(&text, "elements", &table()).expect("a place for the table");
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(path, &with).expect("docs/ipfix.md");
        return;
    }
    assert_eq!(text, with, "docs/ipfix.md is not up to date: UPDATE_DOCS=1 cargo test -p middlebox export");
}

#[test]
fn numbers_of_elements_are_there_once() {
    let mut numbers: Vec<_> = ELEMENTS.into_iter().flatten().map(|element| (element.ours, element.id)).collect();
    let count = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), count);
    assert!(numbers.iter().all(|&(_, id)| id > 0 && id < 1 << 15));
}
