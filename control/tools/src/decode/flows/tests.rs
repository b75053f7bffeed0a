//! Conversations over a wire whose delays and losses are known, as a capture somewhere on it sees them. The options are made
//! by the code that makes them in a box.

use super::*;
use protocol::delta_time;
use protocol::meter::Meter;
use protocol::wire::option::{Form, Metrics};

const MS: u64 = 1_000_000;
const START: u64 = 1_700_000_000_000_000_000;

/// A packet at the place of the capture: when, from the client, what it says.
type Captured = (u64, bool, Metrics);

/// One side's box.
#[derive(Default)]
struct Side {
    meter: Meter,
    psntp: u16,
}

impl Side {
    fn send(&mut self, now: u64) -> Metrics {
        self.psntp = self.psntp.wrapping_add(1);
        let times = self.meter.on_send(self.psntp, now);
        let [tlr, tls] = [times.delta_tlr_ns, times.delta_tls_ns].map(delta_time::from_nanos);
        Metrics {
            scale_dtlr: tlr.scale,
            scale_dtls: tls.scale,
            global_pointer: 1,
            psntp: self.psntp,
            psnlr: times.psnlr,
            delta_tlr: tlr.value,
            delta_tls: tls.value,
        }
    }

    fn receive(&self, m: &Metrics, now: u64) {
        self.meter.on_receive(m.psntp, m.psnlr, 0, now);
    }
}

/// What there is between the two, nanoseconds one way.
#[derive(Clone, Copy)]
struct Wire {
    near: u64,
    far: u64,
    server: u64,
    think: u64,
}

/// A request and an answer, so many times; `wire` says for each how long everything takes.
fn conversation(turns: u64, wire: impl Fn(u64) -> Wire) -> Vec<Captured> {
    let (mut client, mut server) = (Side { psntp: 65_500, ..Side::default() }, Side { psntp: 9, ..Side::default() });
    let (mut now, mut captured) = (1_000_000, Vec::new());
    for turn in 0..turns {
        let Wire { near, far, server: takes, think } = wire(turn);
        let request = client.send(now);
        captured.push((START + now + near, true, request));
        now += near + far;
        server.receive(&request, now);
        now += takes;
        let answer = server.send(now);
        captured.push((START + now + far, false, answer));
        now += near + far;
        client.receive(&answer, now);
        now += think;
    }
    captured
}

fn tuple() -> FiveTuple {
    FiveTuple { src: [1; 16], sport: 40_000, dst: [2; 16], dport: 443, protocol: 17 }
}

fn flow_of(captured: &[Captured], hops: impl Fn(usize) -> u8) -> Flow {
    flow_with(captured, hops, |_| false)
}

/// With TCP segments without data.
fn flow_with(captured: &[Captured], hops: impl Fn(usize) -> u8, is_bare: impl Fn(usize) -> bool) -> Flow {
    let mut flows = Flows::new(4, true);
    for (i, (time, from_client, metrics)) in captured.iter().enumerate() {
        flows.take(&Seen {
            frame: i as u64 + 1,
            time_ns: Some(*time),
            tuple: if *from_client { tuple() } else { tuple().reversed() },
            form: Some(Form::Clear),
            prefix: None,
            key: None,
            metrics: Some(*metrics),
            option: &[],
            within: Vec::new(),
            hop_limit: hops(i),
            segment: None,
            is_bare: is_bare(i),
        });
    }
    flows.finish().remove(0)
}

/// Within 5 per cent or 50 us of the truth, at the median.
fn about(histogram: &Histogram, truth: u64) {
    let found = histogram.quantile(500).expect("measured");
    assert!(found.abs_diff(truth) <= (truth / 20).max(50_000), "{found}, where {truth} is true");
}

#[test]
fn server_and_network_are_told_from_each_other() {
    for (server, near, far, verdict) in [
        (10 * MS, MS, 3 * MS / 2, Verdict::Server),
        (100 * MS, MS, MS, Verdict::Server),
        (MS, 20 * MS, 5 * MS, Verdict::Network),
        (MS / 10, MS / 10, 50 * MS, Verdict::Network),
    ] {
        let flow = flow_of(&conversation(300, |_| Wire { near, far, server, think: 7 * MS }), |_| 60);
        let [c, s] = &flow.directions;
        about(&s.delay, server);
        about(&c.delay, 7 * MS);
        about(&c.round_trip, 2 * (near + far));
        about(&s.round_trip, 2 * (near + far));
        about(&c.network, 2 * near);
        about(&s.network, 2 * far);
        let diagnosis = flow.diagnosis();
        assert_eq!(diagnosis.verdict, verdict, "{diagnosis:?}");
        assert_eq!(c.delay.count() + s.delay.count(), 599, "each packet but the first answers one");
        assert_eq!((c.sequence.lost, s.sequence.lost, c.hops), (0, 0, 0));
        assert!(!diagnosis.words.iter().any(|w| w.contains("became") || w.contains("Lost")), "{diagnosis:?}");
    }
    let slow_client = flow_of(&conversation(50, |_| Wire { near: MS, far: MS, server: MS, think: 900 * MS }), |_| 60);
    assert_eq!(slow_client.diagnosis().verdict, Verdict::Client);
}

/// A server that answers after 100 ms, and whose TCP acknowledges by itself after 40 ms.
#[test]
fn a_tcp_that_acknowledges_by_itself_is_not_the_server() {
    let (mut client, mut server) = (Side::default(), Side::default());
    let mut captured = Vec::new();
    for start in (0..50).map(|i| i * 200 * MS) {
        let request = client.send(start);
        server.receive(&request, start + 2 * MS);
        captured.push((START + start + MS, true, request));
        for sent in [start + 42 * MS, start + 102 * MS] {
            let packet = server.send(sent);
            client.receive(&packet, sent + 2 * MS);
            captured.push((START + sent + MS, false, packet));
        }
    }
    let flow = flow_with(&captured, |_| 60, |i| i % 3 == 1);
    let [client, server] = &flow.directions;
    about(&server.delay, 100 * MS);
    about(&client.delay, 96 * MS);
    about(&server.network, 2 * MS);
    assert_eq!((server.delay.count(), server.network.count()), (50, 100));
    assert_eq!(flow.diagnosis().verdict, Verdict::Server);
}

#[test]
fn what_changes_in_the_middle_is_said_with_its_time() {
    let of = |turn| Wire { near: MS, far: 2 * MS, server: if turn < 200 { 5 * MS } else { 80 * MS }, think: 0 };
    let diagnosis = flow_of(&conversation(400, of), |_| 60).diagnosis();
    assert_eq!(diagnosis.verdict, Verdict::Server, "since then, though not at the median");
    let words = diagnosis.words.join("\n");
    assert!(words.contains("79.998ms of 85.998ms, 93 per cent (since the last change, at least)"), "{words}");
    // Two hundred turns of 11 ms each.
    assert!(words.contains("The server became slower 2.2"), "{words}");
    assert!(words.contains("from 5.000ms to 80.000ms") || words.contains("from 4.999ms to 79.99"), "{words}");
    assert!(!words.contains("The way"), "{words}");
    let of = |turn| Wire { near: MS, far: if turn < 200 { 2 * MS } else { 9 * MS }, server: MS, think: 0 };
    let flow = flow_of(&conversation(400, of), |i| if i % 2 == 1 && i > 400 { 57 } else { 60 });
    let words = flow.diagnosis().words.join("\n");
    assert!(words.contains("The way between the capture and the server's side became slower 1.4"), "{words}");
    assert!(words.contains("The path from the server changed: its Hop Limit was 60 and is 57 1.4"), "{words}");
    assert!(!words.contains("The server became") && !words.contains("client's side became"), "{words}");
}

#[test]
fn loss_before_the_capture_copies_and_swaps_are_counted_exactly() {
    let mut captured = conversation(400, |_| Wire { near: MS, far: MS, server: MS, think: MS });
    let doubled = captured[101];
    captured.insert(102, doubled);
    captured.swap(300, 302);
    // Some requests are not seen, though they were answered.
    let mut requests = 0;
    let unseen = |c: &&Captured| {
        requests += u32::from(c.1);
        !(c.1 && requests % 20 == 10)
    };
    let kept: Vec<_> = captured.iter().filter(unseen).copied().collect();
    let lost = (captured.len() - kept.len()) as u64;
    assert_eq!(lost, 20);
    let flow = flow_of(&kept, |_| 60);
    let [c, s] = &flow.directions;
    assert_eq!((c.sequence.lost, s.sequence.lost), (lost, 0));
    assert_eq!((c.sequence.late + s.sequence.late, s.sequence.copies), (1, 1));
    let diagnosis = flow.diagnosis();
    assert_eq!(diagnosis.verdict, Verdict::LossBefore);
    let expected = format!("Lost between the client's side and the capture: {lost} of 400 packets.");
    assert_eq!(diagnosis.words[0], expected);
}

/// Many under way, an answer to every tenth: the packets that are named are still known.
#[test]
fn round_trips_of_a_bulk_flow_are_found() {
    const GAP: u64 = 20_000;
    let (mut client, mut server) = (Side::default(), Side::default());
    let (near, far) = (MS, 7 * MS);
    let mut events = Vec::new();
    let mut answers: Vec<(u64, Metrics)> = Vec::new();
    for i in 0..20_000u64 {
        let now = 1_000_000 + i * GAP;
        while let Some((at, answer)) = answers.first().copied().filter(|(at, _)| *at <= now) {
            client.receive(&answer, at);
            answers.remove(0);
        }
        let m = client.send(now);
        events.push((START + now + near, true, m));
        // In order: nothing else reaches the server in between.
        server.receive(&m, now + near + far);
        if i % 10 == 9 {
            let answer = server.send(now + near + far + 30_000);
            events.push((START + now + near + far + 30_000 + far, false, answer));
            answers.push((now + 2 * (near + far) + 30_000, answer));
        }
    }
    events.sort_by_key(|e| e.0);
    let flow = flow_of(&events, |_| 60);
    let [c, s] = &flow.directions;
    about(&s.network, 2 * far);
    about(&c.network, 2 * near);
    about(&c.round_trip, 2 * (near + far));
    about(&s.delay, 30_000);
    assert!(c.round_trip.count() > 1500, "{}", c.round_trip.count());
    assert_eq!(c.sequence.lost + s.sequence.lost, 0);
}

#[test]
fn flows_are_as_many_as_may_be_and_one_way_is_said() {
    let mut flows = Flows::new(2, false);
    let mut side = Side::default();
    for i in 0..6u16 {
        let seen = Seen {
            frame: 1,
            time_ns: Some(START + u64::from(i)),
            tuple: FiveTuple { sport: 443, dport: 50_000 + i % 3, ..tuple() },
            form: Some(Form::Clear),
            prefix: None,
            key: None,
            metrics: (i < 3).then(|| side.send(u64::from(i) + 1)),
            option: &[],
            within: Vec::new(),
            hop_limit: 64,
            segment: None,
            is_bare: false,
        };
        flows.take(&seen);
    }
    assert_eq!(flows.beyond, 2);
    let flows = flows.finish();
    assert_eq!((flows.len(), flows[0].tuple.dport, flows[0].directions[1].packets), (2, 443, 2));
    let diagnosis = flows[0].diagnosis();
    assert_eq!(diagnosis.verdict, Verdict::Unknown);
    let words = diagnosis.words.join(" ");
    assert!(words.contains("1 packets are sealed") && words.contains("Only packets of the server"), "{words}");
}

#[test]
fn a_flow_is_written_in_every_form() {
    let flow = flow_of(&conversation(30, |_| Wire { near: MS, far: MS, server: 9 * MS, think: MS }), |_| 60);
    let written = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("text")
    };
    let json = written(&|out| flow.write_json(out).expect("written"));
    let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&value["verdict"], &value["from_server"]["packets"]), (&"server".into(), &30.into()));
    assert!(value["from_server"]["delay_ns"]["p50"].as_u64().expect("a number").abs_diff(9 * MS) < MS / 2);
    let csv = written(&|out| {
        Flow::write_csv_head(out).expect("written");
        flow.write_csv(out).expect("written");
    });
    let columns: Vec<_> = csv.lines().map(|l| l.split(',').count()).collect();
    assert_eq!(columns, [9 + 2 * 16; 2], "{csv}");
    let text = written(&|out| flow.write_text(out).expect("written"));
    assert!(
        text.contains("in ") && text.contains(": SERVER\n") && text.contains("delay of the server        p50"),
        "{text}"
    );
    let dir = tempfile::tempdir().expect("a directory");
    let at = dir.path().join("drawings");
    assert_eq!(crate::decode::plot::draw(&[flow], &at).expect("drawn"), 1);
    for name in ["flow-01-delay.svg", "flow-01-distribution.svg"] {
        let svg = std::fs::read_to_string(at.join(name)).expect("drawn");
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>") && svg.contains("&gt;"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
