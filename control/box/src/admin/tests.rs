use super::*;
use crate::observe::counts::{Flows as FlowCounts, PortSettings};
use axum::body::Body;
use axum::http::Request;
use common::admin::{Flows, Sort};
use pipeline::flow::table::{FlowTable, TableSize};
use pipeline::observe::reasons::Reason;
use pipeline::state::pairs::Pair;
use pipeline::state::policies::{Mode, OutboundAction, Policy};
use pipeline::state::rules::PathConfig;
use pipeline::state::snapshot::SnapshotCell;
use protocol::five_tuple::FiveTuple;
use protocol::prseq::MasterKey;
use serde_json::Value;
use std::time::Duration;
use tower::ServiceExt as _;

const SECOND: u64 = 1_000_000_000;

/// Flow number `n`: of a host of its own on the inside, to one of two outside.
fn tuple(n: u32) -> FiveTuple {
    let mut tuple = FiveTuple { src: [0x20; 16], sport: n as u16, dst: [0x21; 16], dport: 443, protocol: 17 };
    tuple.src[12..].copy_from_slice(&n.to_be_bytes());
    tuple.dst[15] = (n % 2) as u8;
    tuple
}

/// With so many flows, of which the one of number `n` was seen `n` milliseconds after the start.
fn shared(flows: u32, first_policy: &str) -> Arc<Shared> {
    let named = |name: &str, port: u16| Policy {
        name: name.into(),
        ports: vec![(port, port)],
        ..Policy::everything(Mode::Clear)
    };
    let policies = vec![named(first_policy, 443), named("mail", 25)];
    let lasting = Policy { lifetime_ns: Some(3600 * SECOND), ..named("lasting", 1) };
    let passing = Policy { outbound: OutboundAction::Pass, ..named("passing", 2) };
    let off = Policy { mode: Mode::Off, ..named("off", 3) };
    let policies = [policies, vec![lasting, passing, off]].concat();
    let odd = Pair { name: "odd".into(), inside: vec![], outside: vec!["2121::/16".parse().expect("a prefix")] };
    let pairs =
        vec![odd, Pair { name: "none".into(), inside: vec!["::/128".parse().expect("a prefix")], outside: vec![] }];
    let config = PathConfig { policies, pairs, outside_mtu: 1500, ..PathConfig::default() };
    let table = FlowTable::new(TableSize { capacity: (flows as usize).max(64), tombstones: 64 }, [7; 16]);
    let shared = Shared::new(config, table, SnapshotCell::default(), MasterKey::new([9; 32]), 1);
    for n in 0..flows {
        let (tuple, at) = (tuple(n), SECOND + u64::from(n) * 1_000_000);
        let hash = shared.table.hash(&tuple.words());
        let done = shared
            .table
            .insert(&tuple, hash, 0, at, |flow, _, _| flow.begin(0, protocol::sender::Numbers::start(1, 1)));
        assert!(done.is_ok(), "flow {n}: {:?}", done.err());
    }
    Arc::new(shared)
}

pub(super) fn admin(flows: u32) -> Admin {
    admin_of(flows, "west", "web")
}

pub(super) fn admin_of(flows: u32, node: &'static str, first_policy: &str) -> Admin {
    let (shared, worker) = (shared(flows, first_policy), Arc::new(WorkerCounters::new(0)));
    worker.outbound.received.add(10);
    worker.outbound.dropped[Reason::TxFull as usize].add(3);
    worker.bursts.add(1);
    worker.empty_polls.add(3);
    let (of_counts, workers) = (Arc::clone(&shared), vec![worker]);
    let counted = workers.clone();
    let counts = move || Counts {
        node: node.into(),
        flows: FlowCounts { in_table: u64::from(flows), ..FlowCounts::default() },
        port_settings: vec![PortSettings::default(); 2],
        now_ns: 100 * SECOND,
        ..Counts::of(&counted, &of_counts.snapshots.rules())
    };
    Admin::new(World {
        counts: Box::new(counts),
        shared,
        workers,
        now: Box::new(|| 100 * SECOND),
        cores: vec![0],
        reload: Box::new(|| Ok(Reloaded { changed: vec!["policy".into()], warnings: vec![] })),
        take_over: Box::new(|| Ok(Successor { process: 2, from_process: 1 })),
        stop: Arc::default(),
    })
}

async fn ask(admin: &Admin, request: Request<Body>) -> (StatusCode, Value) {
    let answer = alone(admin.clone()).oneshot(request).await.expect("an answer");
    let (status, body) = (answer.status(), answer.into_body());
    let octets = axum::body::to_bytes(body, 64 << 20).await.expect("whole");
    (status, serde_json::from_slice(&octets).expect("JSON"))
}

pub(super) async fn get(admin: &Admin, path: &str) -> (StatusCode, Value) {
    ask(admin, Request::get(path).body(Body::empty()).expect("a request")).await
}

async fn flows_of(admin: &Admin, query: &str) -> Flows {
    let (status, answer) = get(admin, &format!("/v1/flows?{query}")).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    serde_json::from_value(answer).expect("flows")
}

#[tokio::test]
async fn flows_are_found_by_what_they_are_and_come_in_order() {
    let admin = admin(1000);
    let all = flows_of(&admin, "").await;
    assert_eq!((all.in_table, all.matching, all.flows.len()), (1000, 1000, 100));
    let longest = flows_of(&admin, "sort=idle&limit=3").await;
    let ports = |flows: &Flows| flows.flows.iter().map(|flow| flow.inside_port).collect::<Vec<_>>();
    assert_eq!(ports(&longest), [0, 1, 2]);
    assert!(longest.flows[0].idle_ns.abs_diff(99 * SECOND) < SECOND, "{longest:?}");
    let newest = flows_of(&admin, "sort=idle&order=asc&limit=2").await;
    assert_eq!(ports(&newest), [999, 998]);
    let one = flows_of(&admin, "port=7").await;
    assert_eq!((one.matching, one.flows[0].policy.as_deref()), (1, Some("web")));
    assert_eq!(flows_of(&admin, &format!("address={}", one.flows[0].inside)).await, one);
    assert_eq!(flows_of(&admin, &format!("prefix={}/128", one.flows[0].outside)).await.matching, 500);
    for (query, matching) in
        [("policy=web", 1000), ("policy=mail", 0), ("protocol=udp", 1000), ("protocol=6", 0), ("port=443", 1000)]
    {
        assert_eq!(flows_of(&admin, query).await.matching, matching, "{query}");
    }
    for (name, _) in Sort::ALL {
        assert_eq!(flows_of(&admin, &format!("sort={name}&limit=10000")).await.flows.len(), 1000, "{name}");
    }
}

#[tokio::test]
async fn what_there_is_not_is_told_with_what_there_is() {
    let admin = admin(1);
    let (status, answer) = get(&admin, "/v1/flows?policy=wbe").await;
    assert_eq!(
        (status, &answer["known"]),
        (StatusCode::BAD_REQUEST, &serde_json::json!(["web", "mail", "lasting", "passing", "off"]))
    );
    let (status, answer) = get(&admin, "/v1/histograms?policy=wbe").await;
    assert_eq!(
        (status, &answer["known"]),
        (StatusCode::BAD_REQUEST, &serde_json::json!(["web", "mail", "lasting", "passing", "off"]))
    );
    let (status, answer) = get(&admin, "/v1/status?pretty=1").await;
    assert_eq!((status, &answer["error"]), (StatusCode::BAD_REQUEST, &"there is no parameter 'pretty'".into()));
    let (status, answer) = get(&admin, "/v2/status").await;
    assert_eq!((status, &answer["known"]), (StatusCode::NOT_FOUND, &serde_json::json!(PATHS)));
    let request = Request::delete("/v1/flows").body(Body::empty()).expect("a request");
    assert_eq!(ask(&admin, request).await.0, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn the_status_says_why_packets_are_lost_and_what_to_do() {
    let admin = admin(2);
    let (_, answer) = get(&admin, "/v1/status").await;
    assert_eq!((&answer["interval_seconds"], &answer["workers"][0]["load"]), (&Value::Null, &Value::Null));
    admin.rates.take(&admin.world.workers);
    std::thread::sleep(Duration::from_millis(2));
    admin.world.workers[0].outbound.dropped[Reason::TxFull as usize].add(2);
    admin.world.workers[0].bursts.add(1);
    admin.world.workers[0].empty_polls.add(3);
    admin.rates.take(&admin.world.workers);
    let (_, answer) = get(&admin, "/v1/status").await;
    let reason = &answer["reasons"][0];
    assert_eq!(
        (&reason["reason"], &reason["packets"], &reason["outcome"]),
        (&"tx_full".into(), &5.into(), &"dropped".into())
    );
    assert!(reason["remedy"].as_str().is_some_and(|remedy| remedy.contains("tx_descriptors")), "{answer}");
    assert!(reason["per_second"].as_f64().is_some_and(|rate| rate > 0.0), "{answer}");
    assert_eq!((&answer["workers"][0]["load"], &answer["workers"][0]["bursts"]), (&0.25.into(), &2.into()));
}

#[tokio::test]
async fn histograms_hold_what_was_recorded() {
    let admin = admin(1);
    let rules = admin.world.shared.snapshots.rules();
    let (_, standing) = rules.policies().next().expect("a policy");
    (1..=100).for_each(|ms| standing.counters[0].server_delay.record(ms * 1_000_000));
    let (_, answer) = get(&admin, "/v1/histograms?policy=web").await;
    assert_eq!(answer["histograms"].as_array().map(Vec::len), Some(3));
    let delay = &answer["histograms"][1];
    assert_eq!((&delay["of"], &delay["quantiles"]["count"]), (&"server_delay".into(), &100.into()));
    let buckets = delay["buckets"].as_array().expect("buckets");
    assert_eq!(buckets.iter().filter_map(|bucket| bucket["count"].as_u64()).sum::<u64>(), 100);
    let (_, policies) = get(&admin, "/v1/policies").await;
    assert_eq!(policies["policies"][0]["server_delay"], delay["quantiles"]);
    let p50 = delay["quantiles"]["p50_ns"].as_u64().expect("a time");
    assert!(p50.abs_diff(50_000_000) < 2_000_000, "{p50}");
    assert_eq!(get(&admin, "/v1/histograms").await.1["histograms"].as_array().map(Vec::len), Some(2 + 5 * 3));
}

async fn order(admin: &Admin, path: &str) -> (StatusCode, Value) {
    ask(admin, Request::post(path).body(Body::empty()).expect("a request")).await
}

#[tokio::test]
async fn policies_are_started_and_stopped_over_the_socket_and_nowhere_else() {
    let admin = admin(1);
    let ends = async |name: &str| {
        let (_, answer) = get(&admin, "/v1/policies").await;
        let policies = answer["policies"].as_array().expect("policies").clone();
        policies.into_iter().find(|policy| policy["name"] == name).expect("it")["ends_in_seconds"].clone()
    };
    assert_eq!((ends("web").await, ends("lasting").await), (Value::Null, 3500.0.into()));
    let (status, answer) = order(&admin, "/v1/policies/start?policy=web&for_seconds=60").await;
    assert_eq!((status, &answer["name"], &answer["ends_in_seconds"]), (StatusCode::OK, &"web".into(), &60.0.into()));
    assert_eq!(ends("web").await, 60.0);
    let (_, answer) = order(&admin, "/v1/policies/start?policy=lasting").await;
    assert_eq!(answer["ends_in_seconds"], 3600.0, "its lifetime, from now on");
    let (_, answer) = order(&admin, "/v1/policies/stop?policy=lasting").await;
    assert_eq!((&answer["ends_in_seconds"], ends("lasting").await), (&0.0.into(), 0.0.into()));
    order(&admin, "/v1/policies/start?policy=web").await;
    assert_eq!(ends("web").await, Value::Null, "it has no lifetime");
    for (path, said) in [
        ("start?policy=wbe", "there is no policy 'wbe'"),
        ("stop?policy=wbe", "there is no policy 'wbe'"),
        ("start?policy=off", "mode = \"off\""),
        ("start?policy=passing", "outbound = \"pass\""),
        ("start", "it is not said which"),
        ("stop", "it is not said which"),
        ("start?policy=web&for_seconds=0", "for_seconds: '0'"),
        ("start?policy=web&for_seconds=9999999999", "for_seconds"),
    ] {
        let (status, answer) = order(&admin, &format!("/v1/policies/{path}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}");
        assert!(answer["error"].as_str().is_some_and(|error| error.contains(said)), "{path}: {answer}");
    }
    assert_eq!(ends("web").await, Value::Null, "what was refused has changed nothing");
    assert_eq!(get(&admin, "/v1/policies/stop?policy=web").await.0, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(
        order(&admin, "/v1/reload").await,
        (StatusCode::OK, serde_json::json!({"changed": ["policy"], "warnings": []}))
    );
    assert_eq!(order(&admin, "/v1/reload?now=1").await.0, StatusCode::BAD_REQUEST);
    let started = serde_json::json!({"process": 2, "from_process": 1});
    assert_eq!(order(&admin, "/v1/take-over").await, (StatusCode::OK, started));
    assert_eq!(order(&admin, "/v1/take-over?now=1").await.0, StatusCode::BAD_REQUEST);
    let request = Request::post("/v1/policies/stop?policy=web").body(Body::empty()).expect("a request");
    let answer = router(admin.clone()).oneshot(request).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::NOT_FOUND, "what is read-only has no such path");
}

#[tokio::test]
async fn pairs_are_told_and_flows_found_by_them() {
    let admin = admin(100);
    let rules = admin.world.shared.snapshots.rules();
    let (status, answer) = get(&admin, "/v1/flows?pair=wst").await;
    assert_eq!((status, &answer["known"]), (StatusCode::BAD_REQUEST, &serde_json::json!(["odd", "none"])));
    assert_eq!(flows_of(&admin, "pair=none").await.matching, 0);
    let (_, standing) = rules.pairs().next().expect("a pair");
    standing.counters()[0][0].accepted.add(5);
    let (_, pairs) = get(&admin, "/v1/pairs").await;
    assert_eq!((&pairs["pairs"][0]["name"], &pairs["pairs"][0]["accepted"]), (&"odd".into(), &5.into()));
    assert_eq!(pairs["pairs"][1]["accepted"], 0);
    let (_, policies) = get(&admin, "/v1/policies").await;
    assert_eq!(policies["policies"][0]["accepted"], 5, "they are the policy's too");
}

/// Answers that nobody reads take a bounded memory, and others are told.
#[tokio::test]
async fn unread_answers_have_a_bound() {
    let admin = admin(10_000);
    let mut unread = Vec::new();
    let refused = loop {
        let request = Request::get("/v1/flows?limit=10000").body(Body::empty()).expect("a request");
        let answer = alone(admin.clone()).oneshot(request).await.expect("an answer");
        if answer.status() != StatusCode::OK {
            break answer.status();
        }
        unread.push(answer);
        assert!(unread.len() < 64, "there is no bound");
    };
    assert_eq!(refused, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(get(&admin, "/v1/status").await.0, StatusCode::OK, "small ones are still answered");
    unread.pop();
    assert_eq!(get(&admin, "/v1/flows?limit=10000").await.0, StatusCode::OK, "what is given up is free again");
}

/// `cargo test --release -p middlebox -- --nocapture a_million` says how long it takes: nothing is asserted of that.
#[tokio::test]
async fn a_million_flows_are_gone_through_and_the_best_of_them_shown() {
    let flows = if cfg!(debug_assertions) { 50_000 } else { 1_000_000 };
    let admin = admin(flows);
    for query in
        ["sort=rtt&limit=20", "sort=idle&limit=20", "sort=idle&order=asc&limit=10000", "prefix=2020::/16&limit=20"]
    {
        let start = std::time::Instant::now();
        let answer = flows_of(&admin, query).await;
        eprintln!("{flows} flows, {query}: {:?}", start.elapsed());
        assert_eq!(answer.matching, u64::from(flows));
        assert!(answer.flows.len() >= 20);
    }
}

#[test]
fn every_path_that_is_answered_is_described_and_no_other() {
    let document: Value = serde_json::from_str(OPENAPI).expect("JSON");
    let mut described: Vec<_> = document["paths"].as_object().expect("paths").keys().map(String::as_str).collect();
    let mut answered = PATHS.to_vec();
    described.sort_unstable();
    answered.sort_unstable();
    assert_eq!(described, answered);
}
