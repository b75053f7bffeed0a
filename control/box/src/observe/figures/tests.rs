//! That the table is whole, and what is made of it.

use super::super::counts::{ExportCount, MemoryCount, PortLink, PortSettings, RegistrationCounts};
use super::super::sums::{CountedPair, CountedPolicy, Sums};
use super::*;
use common::metrics::{Kind, docs, prometheus};
use crossbeam_utils::CachePadded;
use pipeline::observe::counters::{DirectionCounters, Outcome, PolicyCounters, WorkerCounters};
use pipeline::state::rules::Rules;
use pipeline::state::standing::CountersByWorker;
use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::Arc;

/// A box of which everything has something to tell.
fn full() -> Counts {
    let worker = WorkerCounters::default();
    for direction in [&worker.outbound, &worker.inbound] {
        direction.received.add(1000);
        for &reason in Reason::ALL {
            direction.count(Outcome::Passed(reason), 1);
            direction.count(Outcome::Stripped(reason), 2);
            direction.count(Outcome::Dropped(reason), 3);
        }
    }
    worker.outbound.added[2].add(12);
    worker.outbound.count(Outcome::TooBig, 5);
    worker.inbound.removed[1].add(6);
    worker.inbound.verified[0].add(7);
    worker.quotations.iter().for_each(|finding| finding.add(4));
    worker.path_mtus_learnt.add(2);
    worker.rotations_sealed.add(8);
    worker.rotations.add(9);
    worker.round_trip.record(1_500_000);
    worker.server_delay.record(3_000);
    let mut counts = Counts::of(&[Arc::new(worker)], &Rules::default());
    counts.node = "a".into();
    let counters = Arc::from([CachePadded::new(PolicyCounters::default())]);
    let counters: CountersByWorker = counters;
    let sums = || Sums(vec![Arc::clone(&counters)]);
    counts.policies =
        vec![CountedPolicy { name: "all".into(), mode: "encrypted", ends_ns: Some(5_000_000_000), sums: sums() }];
    counts.pairs = vec![CountedPair { name: "west".into(), sums: sums() }];
    counts.now_ns = 2_000_000_000;
    counters[0].added.add(12);
    counters[0].skip(5);
    counters[0].find();
    counters[0].server_delay.record(2_000_000);
    counts.generation = Some(3);
    counts.registration =
        Some(RegistrationCounts { registered: true, out_of_touch: false, keys_expire_seconds: Some(60.0) });
    counts.resumptions = Cause::ALL.map(|cause| (cause.name(), 0)).into();
    counts.export = vec![ExportCount { to: "ipfix", sent: 6, unsent: 2, connected: true }];
    counts.link_follow = "rising";
    counts.ports.outside.link = PortLink { link_up: false, link_changes: 3, link_taken_down: true, device_gone: false };
    counts.ports.inside.link.link_up = true;
    let memory = |of, pages, octets| MemoryCount { of, pages, octets };
    counts.memory = vec![memory("records", "2M", 4 << 20), memory("records", "1G", 0), memory("index", "ordinary", 64)];
    let port = |driver: &str, rss_key| PortSettings {
        driver: driver.into(),
        offloads: "tx_mbuf_fast_free".into(),
        rss: RSS_FIELDS[1],
        rss_key,
        timestamps: TIMESTAMPS[usize::from(driver == "net_ice")],
        queues: 2,
        mtu: 1540,
        headroom: 128,
        rx_descriptors: 1024,
        tx_descriptors: 512,
        numa_node: "1".into(),
    };
    counts.port_settings = vec![port("net_ice", RSS_KEYS[1]), port("net_x", RSS_KEYS[2])];
    counts
}

/// The names of a structure's own fields.
fn fields(of: &impl Debug) -> Vec<String> {
    let text = format!("{of:#?}");
    let own = text.lines().filter_map(|line| line.strip_prefix("    "));
    let names = own.filter(|line| !line.starts_with([' ', ']', '}', ')'])).filter_map(|line| line.split_once(':'));
    names.map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn every_counter_of_the_workers_is_read() {
    let sources = [include_str!("../figures.rs"), include_str!("../counts.rs")];
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    // As rows read it: `w.trials`, and not a place in JSON, nor a method.
    let is_read = |field: &str| {
        let places =
            |source: &'static str, of: &str| source.match_indices(&format!("{of}.{field}")).collect::<Vec<_>>();
        let reads = |source: &'static str, (at, found): (usize, &str)| {
            let (before, after) = (source[..at].chars().next_back(), source[at + found.len()..].chars().next());
            !is_word(before) && !is_word(after) && after != Some('(')
        };
        let names = ["w", "d", "p", "worker"];
        sources
            .into_iter()
            .any(|source| names.iter().any(|of| places(source, of).into_iter().any(|p| reads(source, p))))
    };
    // Which worker it is, is no counter; what is lost is skipped and not found.
    let worker = fields(&WorkerCounters::default()).into_iter().filter(|field| field != "worker").collect();
    let policy = fields(&PolicyCounters::default()).into_iter().filter(|field| field != "lost").collect();
    let all = [worker, fields(&DirectionCounters::default()), policy].concat();
    assert!(all.len() > 25 && all.iter().any(|field| field == "trials"), "{all:?}");
    for field in all {
        assert!(is_read(&field), "no row of figures.rs shows '{field}'");
    }
}

#[test]
fn rows_do_not_contradict_each_other() {
    let (mut names, mut places, mut last) = (HashSet::new(), HashSet::new(), "");
    for figure in BOOK.figures {
        let what = [figure.name, figure.json].join(" ");
        assert!(!figure.help.is_empty() && !figure.help.contains('\n'), "{what}");
        assert!(figure.name.is_empty() || figure.name == last || names.insert(figure.name), "{what}");
        assert!(figure.json.is_empty() || places.insert(figure.json), "{what}");
        assert!(figure.name.is_empty() || figure.kind != Kind::Word, "{what}");
        assert_eq!(figure.name.ends_with("_total"), figure.kind == Kind::Counter && !figure.name.is_empty(), "{what}");
        last = figure.name;
        for label in figure.labels {
            assert!(BOOK.labels.iter().any(|l| l.name == *label), "{what}: {label}");
        }
    }
    for label in BOOK.labels {
        assert!(BOOK.figures.iter().any(|f| f.labels.contains(&label.name)), "nothing is divided by {}", label.name);
    }
    assert_eq!(docs::figures(&BOOK).lines().count(), BOOK.figures.len() + 2);
}

#[test]
fn prometheus_has_the_values_and_every_family_its_help() {
    let mut counts = full();
    let text = prometheus::text(&BOOK, &counts).expect("text");
    for line in [
        "pdmv2_sealing 1\n",
        "pdmv2_registration_state 1\n",
        "pdmv2_registration_keys_expire_seconds 60\n",
        "pdmv2_options_added_total{form=\"encrypted\"} 12\n",
        "pdmv2_packets_dropped_total{direction=\"inbound\",reason=\"replayed\"} 3\n",
        "pdmv2_policy_added_total{policy=\"all\",mode=\"encrypted\"} 12\n",
        "pdmv2_policy_lost_packets{policy=\"all\",mode=\"encrypted\"} 4\n",
        "pdmv2_policy_server_delay_seconds_sum{policy=\"all\",mode=\"encrypted\"} 0.002\n",
        "pdmv2_key_rotations_total{side=\"sealed\"} 8\npdmv2_key_rotations_total{side=\"opened\"} 9\n",
        "pdmv2_round_trip_seconds_bucket{le=\"0.001048576\"} 0\n",
        "pdmv2_round_trip_seconds_bucket{le=\"0.004194304\"} 1\n",
        "pdmv2_round_trip_seconds_sum 0.0015\n",
        "pdmv2_export_records_unsent_total{to=\"ipfix\"} 2\n",
        "pdmv2_link_follow_state{state=\"rising\"} 1\n",
        "pdmv2_link_follow_state{state=\"following\"} 0\n",
        "pdmv2_port_link_changes_total{port=\"outside\"} 3\n",
        "pdmv2_port_link_taken_down{port=\"outside\"} 1\n",
        "pdmv2_port_link_taken_down{port=\"inside\"} 0\n",
        "pdmv2_port_device_gone{port=\"outside\"} 0\n",
        "pdmv2_memory_bytes{of=\"records\",pages=\"2M\"} 4194304\npdmv2_memory_bytes{of=\"index\",pages=\"ordinary\"} 64\n",
        "{port=\"inside\",driver=\"net_ice\",offloads=\"tx_mbuf_fast_free\",rss=\"addresses\",rss_key=\"symmetric\",timestamps=\"device\",queues=\"2\",\
         mtu=\"1540\",headroom=\"128\",rx_descriptors=\"1024\",tx_descriptors=\"512\",numa_node=\"1\"} 1\n",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    assert!(text.contains(&format!("pdmv2_build_info{{version=\"{}\",dpdk=\"", env!("CARGO_PKG_VERSION"))), "{text}");
    let families = text.lines().filter(|l| l.starts_with("# TYPE")).count();
    assert_eq!(text.lines().filter(|l| l.starts_with("# HELP")).count(), families);
    assert!(families > 50, "{families}");
    (counts.registration, counts.generation) = (None, None);
    let text = prometheus::text(&BOOK, &counts).expect("text");
    assert!(!text.contains("pdmv2_registration"), "{text}");
    assert!(text.contains("pdmv2_sealing 0\n") && text.contains("pdmv2_generation 0\n"), "{text}");
}

#[test]
fn the_table_printed_at_the_end() {
    let mut counts = full();
    let table = counts.to_string();
    let lines: Vec<_> = table.lines().filter(|line| !line.contains(": ") || !line.starts_with("    ")).collect();
    let expected = [
        "a: generation 3, 1 worker(s), 0.0 s",
        "outbound (inside to outside): 1000 received, 137 forwarded, 120 dropped",
        "            12  added encrypted",
        "             5  answered with Packet Too Big",
        "inbound (outside to inside): 1000 received, 133 forwarded, 120 dropped",
        "             6  removed clear",
        "             7  verified pdm",
        "policy all (encrypted): 12 added, 0 accepted, 0 failed, 4 lost, 0 late, 0 again",
        "pair west: 12 added, 0 accepted, 0 failed, 4 lost, 0 late, 0 again",
        "flows: 0 of 0 in the table, 0 inserted, 0 expired, 0 tombstones",
        "sequence: 0 skipped, 0 reordered; rotations: 8 sealed, 9 opened",
        "path MTU: 2 learnt, 0 destinations known",
        "round-trip delay: mean 1500.0 us, p50 1490.9, p90 1490.9, p99 1490.9 (1 samples)",
        "server delay: mean 3.0 us, p50 3.0, p90 3.0, p99 3.0 (1 samples)",
        "port inside: rx 0 tx 0 missed 0 rx errors 0 tx errors 0 no buffer 0, link up, 0 change(s)",
        "port outside: rx 0 tx 0 missed 0 rx errors 0 tx errors 0 no buffer 0, link down, 3 change(s)",
    ];
    assert_eq!(lines, expected, "{table}");
    assert!(
        table.contains("forwarded, 120 dropped\n            12  added encrypted\n             1  passed: already_")
    );
    assert!(table.contains("             4  ICMPv6 errors that quote an option: mended\n"), "{table}");
    counts.generation = None;
    assert!(counts.to_string().starts_with("a: no key to seal with, 1 worker(s)"));
}

#[test]
fn json_has_every_place() {
    let json = serde_json::to_value(full()).expect("JSON");
    let names: Vec<_> = json.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let expected = "by_worker copied delays export flows generation inbound keys link_follow memory mss_clamped node outbound pairs path_mtu \
                    policies ports quotations registration resumptions rotations sequence take_over uptime_seconds workers";
    assert_eq!(names.join(" "), expected);
    let none = serde_json::json!({"count": 0, "mean_ns": 0, "p50_ns": 0, "p90_ns": 0, "p99_ns": 0});
    let policy = serde_json::json!({
        "name": "all", "mode": "encrypted", "added": 12, "accepted": 0, "failed": 0,
        "skipped": 5, "found": 1, "lost": 4, "late": 0, "duplicates": 0,
        "round_trip": none, "server_delay": json["policies"][0]["server_delay"], "end_to_end": none,
    });
    assert_eq!(json["policies"], serde_json::json!([policy]));
    assert_eq!(json["policies"][0]["server_delay"]["mean_ns"], 2_000_000);
    assert_eq!(json["registration"]["keys_expire_seconds"], 60.0);
    assert_eq!(json["rotations"], serde_json::json!({"sealed": 8, "opened": 9}));
    assert_eq!((&json["inbound"]["verified"]["pdm"], &json["inbound"]["added"]["pdm"]), (&7.into(), &0.into()));
    assert_eq!((&json["link_follow"], &json["ports"]["outside"]["link_up"]), (&"rising".into(), &false.into()));
    assert_eq!(json["memory"], serde_json::json!({"records": {"2M": 4 << 20}, "index": {"ordinary": 64}}));
    let outside = &json["ports"]["outside"];
    assert_eq!((&outside["driver"], &outside["rss_key"]), (&"net_x".into(), &"own".into()));
    let nothing = serde_json::to_value(Counts::default()).expect("JSON");
    for (place, empty) in [
        ("/policies", "[]"),
        ("/resumptions", "{}"),
        ("/quotations", "{}"),
        ("/outbound/passed", "{}"),
        ("/generation", "null"),
    ] {
        assert_eq!(nothing.pointer(place).map(ToString::to_string).as_deref(), Some(empty), "{place}");
    }
    assert!(nothing.get("registration").is_none());
}
