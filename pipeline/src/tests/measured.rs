//! What is measured against what became of the packets on the wire: exactly as many are lost, come again or come late as the
//! wire made, whichever way packets go and whichever worker takes them into account.

use crate::flow::figures::FlowFigures;
use crate::observe::counters::{Outcome, PolicyCounters};
use crate::observe::histogram::{Histogram, Merged};
use crate::packet::buffer::VecBuf;
use crate::ports::BURST;
use crate::state::policies::Mode;
use crate::state::rules::{Diagnostics, PathConfig};
use crate::state::worker::Worker;
use crate::testing::{self, A, B, SMALL, Side, back, frame, frame_between, out};
use arrayvec::ArrayVec;
use proptest::prelude::*;
use std::collections::BTreeSet;

const MS: u64 = 1_000_000;

fn side(mode: Mode, is_a: bool, workers: usize) -> Side {
    testing::side(testing::config(vec![testing::policy(mode)]), testing::ring(is_a, 1, 1), SMALL, workers)
}

/// What becomes of a packet on the wire.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Comes,
    Lost,
    /// It comes behind so many later ones.
    Late(usize),
    /// It comes, and again behind so many later ones.
    Twice(usize),
}

fn fate(most: usize) -> impl Strategy<Value = Fate> {
    prop_oneof![
        12 => Just(Fate::Comes),
        2 => Just(Fate::Lost),
        2 => (1..most).prop_map(Fate::Late),
        2 => (0..most).prop_map(Fate::Twice),
    ]
}

/// The order in which packets come: numbers of those that were sent.
fn wire(fates: &[Fate]) -> Vec<usize> {
    let mut coming: Vec<(usize, usize)> = Vec::new();
    for (i, fate) in fates.iter().enumerate() {
        match *fate {
            Fate::Comes => coming.push((2 * i, i)),
            Fate::Lost => {}
            Fate::Late(by) => coming.push((2 * (i + by) + 1, i)),
            Fate::Twice(by) => coming.extend([(2 * i, i), (2 * (i + by) + 1, i)]),
        }
    }
    coming.sort_unstable();
    coming.into_iter().map(|(_, i)| i).collect()
}

/// What an observer of the wire counts of one flow: received, lost, copies, late. What comes before the first packet that came
/// is not known to be missing.
fn truth(came: &[usize]) -> [u64; 4] {
    let (mut seen, mut copies, mut late) = (BTreeSet::new(), 0, 0);
    for &n in came {
        late += u64::from(!seen.contains(&n) && seen.last().is_some_and(|&last| last > n));
        copies += u64::from(!seen.insert(n));
    }
    let (Some(&first), Some(&last)) = (came.first(), seen.last()) else { return [0; 4] };
    let there = seen.range(first..).count();
    [seen.len() as u64, (last - first + 1 - there) as u64, copies, late]
}

fn told(figures: &FlowFigures) -> [u64; 4] {
    [figures.received, figures.lost, figures.duplicates, figures.late]
}

fn policy_told(side: &Side) -> [u64; 3] {
    let rules = side.cell.rules();
    let (_, standing) = rules.policies().next().expect("a policy");
    let sum = |of: fn(&PolicyCounters) -> u64| standing.all().map(of).sum();
    let lost = PolicyCounters::lost_of(standing.all());
    [lost, sum(|c| c.duplicates.get()), sum(|c| c.late.get())]
}

/// Flows' packets, of which each has a fate, in the order in which they come: flow, number, packet.
fn traffic(mode: Mode, flows: &[Vec<Fate>]) -> Vec<(usize, usize, VecBuf)> {
    let mut a = Worker::new(side(mode, true, 1).shared, 0);
    let mut coming = Vec::new();
    for (f, fates) in flows.iter().enumerate() {
        let mut sent: Vec<VecBuf> = fates.iter().map(|_| VecBuf::new(&frame(1000 + f as u16, 10))).collect();
        for packet in &mut sent {
            assert!(matches!(out(&mut a, packet, 5), Outcome::Added(_)));
        }
        coming.extend(wire(fates).into_iter().enumerate().map(|(at, n)| (at, f, n, sent[n].clone())));
    }
    coming.sort_by_key(|&(at, f, ..)| (at, f));
    coming.into_iter().map(|(_, f, n, packet)| (f, n, packet)).collect()
}

fn counts_are_exact(mode: Mode, flows: &[Vec<Fate>], bursts: &[usize], several: bool, lanes: bool) {
    let b = side(mode, false, 2);
    let mut workers = [0, 1].map(|i| Worker::new(b.shared.clone(), i));
    if !lanes {
        workers.iter_mut().for_each(|w| w.lanes_back.resting.turn_off());
    }
    if mode != Mode::Encrypted {
        // An option in clear makes no state: the flow is there when the host on the inside has sent.
        for f in 0..flows.len() {
            out(&mut workers[0], &mut VecBuf::new(&frame_between(B, A, 443, 1000 + f as u16, 10)), 1);
        }
    }
    let coming = traffic(mode, flows);
    let mut came = vec![Vec::new(); flows.len()];
    coming.iter().for_each(|(f, n, _)| came[*f].push(*n));
    let mut packets: Vec<VecBuf> = coming.into_iter().map(|(.., packet)| packet).collect();
    let (mut rest, mut outcomes) = (&mut packets[..], ArrayVec::<Outcome, BURST>::new());
    for (i, len) in bursts.iter().cycle().enumerate() {
        if rest.is_empty() {
            break;
        }
        let (burst, others) = rest.split_at_mut((*len).min(rest.len()));
        outcomes.clear();
        workers[if several { i % 2 } else { 0 }].inbound(burst, &mut outcomes, &|| 9);
        rest = others;
    }
    let mut sums = [0; 3];
    for (f, came) in came.iter().enumerate().filter(|(_, came)| !came.is_empty()) {
        let port = 1000 + f as u16;
        let flow = b.shared.table.iter().find(|flow| flow.back.tuple().dport == port).expect("the flow");
        let wanted = truth(came);
        assert_eq!(told(&flow.figures(9)), wanted, "received, lost, copies, late of flow {f}: {came:?}");
        sums.iter_mut().zip(&wanted[1..]).for_each(|(sum, n)| *sum += n);
    }
    assert_eq!(policy_told(&b), sums, "lost, copies, late");
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 300, ..ProptestConfig::with_cases(200) })]
    #[test]
    fn what_the_wire_does_is_counted_exactly(
        flows in prop::collection::vec(prop::collection::vec(fate(60), 1..200), 1..5),
        bursts in prop::collection::vec(1..=BURST, 1..8),
        several: bool,
        lanes: bool,
    ) {
        counts_are_exact(Mode::Encrypted, &flows, &bursts, several, lanes);
    }

    #[test]
    fn so_is_it_of_options_in_clear(
        flows in prop::collection::vec(prop::collection::vec(fate(20), 1..200), 1..4),
        bursts in prop::collection::vec(1..=BURST, 1..8),
        several: bool,
        pdm: bool,
    ) {
        counts_are_exact(if pdm { Mode::Pdm } else { Mode::Clear }, &flows, &bursts, several, true);
    }
}

/// The first two packets change places, then one is lost: that one came before the first does not make up for it.
#[test]
fn a_packet_from_before_the_first_one_is_not_taken_off_the_lost() {
    use Fate::{Comes, Late, Lost};
    for mode in [Mode::Encrypted, Mode::Clear] {
        for lanes in [false, true] {
            counts_are_exact(mode, &[vec![Late(1), Comes, Comes, Lost, Comes]], &[1], false, lanes);
        }
    }
}

/// A burst of answers to one request: the first is the answer, the others tell how long the server goes on (RFC 8250 appendix
/// C.2.2). With the lanes and without.
#[test]
fn only_the_packet_that_answers_tells_times() {
    for lanes in [true, false] {
        let (a_side, b_side) = (side(Mode::Encrypted, true, 1), side(Mode::Encrypted, false, 1));
        let (mut a, mut b) = (Worker::new(a_side.shared.clone(), 0), Worker::new(b_side.shared.clone(), 0));
        if !lanes {
            a.lanes_back.resting.turn_off();
        }
        let exchanges = 20u64;
        for i in 0..exchanges {
            let start = i * 100 * MS;
            let mut request = VecBuf::new(&frame(1000, 10));
            out(&mut a, &mut request, start);
            back(&mut b, &mut request, start + 2 * MS);
            // The server answers after 7 ms, and sends for 30 ms; 2 ms on the way back.
            for k in 0..4 {
                let mut answer = VecBuf::new(&frame_between(B, A, 443, 1000, 10));
                let sent = start + 9 * MS + k * 10 * MS;
                out(&mut b, &mut answer, sent);
                back(&mut a, &mut answer, sent + 2 * MS);
            }
        }
        let flow = a_side.shared.table.iter().next().expect("a flow");
        let figures = flow.figures(exchanges * 100 * MS);
        for (times, ns) in [(figures.server_delay, 7 * MS), (figures.round_trip, 4 * MS), (figures.end_to_end, 11 * MS)]
        {
            assert_eq!(times.samples, exchanges);
            for told in [times.last_ns, times.smoothed_ns, times.least_ns, times.greatest_ns] {
                assert!(told.abs_diff(ns) < ns / 200, "{told} for {ns}");
            }
        }
        // Of B the next request is the answer to its last packet, which A's host took 59 ms for, and B learns from A's DeltaTLS
        // how long A waited for its first answer's burst to end: from the request to the last packet.
        let theirs = b_side.shared.table.iter().next().expect("a flow").figures(0);
        assert_eq!((theirs.server_delay.samples, theirs.told_end_to_end.samples), (exchanges - 1, exchanges - 1));
        assert!(theirs.server_delay.last_ns.abs_diff(59 * MS) < MS / 2, "{theirs:?}");
        assert!(theirs.told_end_to_end.last_ns.abs_diff(41 * MS) < MS / 2, "{theirs:?}");
        let histograms = |of: fn(&PolicyCounters) -> &Histogram| -> Merged {
            let rules = a_side.cell.rules();
            rules.policies().flat_map(|(_, standing)| standing.all().map(of)).collect()
        };
        for (of, ns) in [
            ((|c| &c.server_delay) as fn(&PolicyCounters) -> &Histogram, 7 * MS),
            (|c| &c.round_trip, 4 * MS),
            (|c| &c.end_to_end, 11 * MS),
        ] {
            let merged = histograms(of);
            assert_eq!(merged.count(), exchanges);
            let median = merged.quantile(0.5).expect("samples");
            assert!(median.abs_diff(ns) < ns / 20, "{median} for {ns}");
        }
        assert_eq!(a.counters.server_delay.merge_into(&mut []), histograms(|c| &c.server_delay).sum_ns());
    }
}

/// A TCP segment of so many octets of data.
fn segment(src: [u8; 16], dst: [u8; 16], ports: [u16; 2], data: usize, tagged: bool) -> VecBuf {
    const UPPER: usize = 54;
    let mut frame = frame_between(src, dst, ports[0], ports[1], 12 + data);
    frame[20] = protocol::wire::ipv6::TCP;
    frame[UPPER + 4..UPPER + 20].fill(0);
    (frame[UPPER + 12], frame[UPPER + 13]) = (5 << 4, 0x10);
    if tagged {
        frame.splice(12..12, [0x81, 0, 0, 7]);
    }
    VecBuf::new(&frame)
}

/// A server that answers after 100 ms, and whose TCP acknowledges each request after 40 ms by itself: the acknowledgement tells of the
/// network, and only the answer of the server. In each form, on both ways.
#[test]
fn a_tcp_that_acknowledges_by_itself_is_not_the_server() {
    for (mode, lanes, tagged) in [
        (Mode::Encrypted, true, false),
        (Mode::Encrypted, true, true),
        (Mode::Encrypted, false, false),
        (Mode::Encrypted, false, true),
        (Mode::Clear, true, false),
        (Mode::Clear, false, true),
        (Mode::Pdm, true, false),
        (Mode::Pdm, false, true),
    ] {
        let (a_side, b_side) = (side(mode, true, 1), side(mode, false, 1));
        let (mut a, mut b) = (Worker::new(a_side.shared.clone(), 0), Worker::new(b_side.shared.clone(), 0));
        if !lanes {
            [&mut a, &mut b].into_iter().for_each(|worker| worker.lanes_back.resting.turn_off());
        }
        const TURNS: u64 = 30;
        for start in (0..TURNS).map(|i| i * 200 * MS) {
            let mut cross = |to_b: bool, data: usize, sent: u64| {
                let (from, to) = if to_b { (&mut a, &mut b) } else { (&mut b, &mut a) };
                let (src, dst, ports) = if to_b { (A, B, [1000, 443]) } else { (B, A, [443, 1000]) };
                let mut packet = segment(src, dst, ports, data, tagged);
                assert!(matches!(out(from, &mut packet, sent), Outcome::Added(_)));
                assert!(matches!(back(to, &mut packet, sent + 2 * MS), Outcome::Removed(_)));
            };
            cross(true, 20, start);
            cross(false, 0, start + 42 * MS);
            cross(false, 20, start + 102 * MS);
            cross(true, 0, start + 110 * MS);
        }
        let figures = |side: &Side| side.shared.table.iter().next().expect("a flow").figures(0);
        let is = |times: crate::flow::figures::Times, ns: u64| {
            let near = |told: u64| told.abs_diff(ns) < ns / 200;
            assert!(near(times.least_ns) && near(times.greatest_ns), "{mode:?} {lanes} {tagged}: {times:?} for {ns}");
        };
        let (at_a, at_b) = (figures(&a_side), figures(&b_side));
        // A flow in clear begins with its first packet towards the network: box B has not seen the first request.
        let answers = TURNS - u64::from(mode != Mode::Encrypted);
        assert_eq!([at_a.server_delay.samples, at_a.end_to_end.samples], [answers; 2], "{mode:?} {lanes} {tagged}");
        is(at_a.server_delay, 100 * MS);
        is(at_a.end_to_end, 104 * MS);
        is(at_a.round_trip, 4 * MS);
        // The client's next request is its answer, 96 ms behind the server's.
        is(at_b.server_delay, 96 * MS);
        is(at_b.round_trip, 4 * MS);
    }
}

/// A late packet repeats what a later one has told already.
#[test]
fn a_packet_that_was_overtaken_tells_no_times() {
    let (a_side, b_side) = (side(Mode::Encrypted, true, 1), side(Mode::Encrypted, false, 1));
    let (mut a, mut b) = (Worker::new(a_side.shared.clone(), 0), Worker::new(b_side.shared, 0));
    let mut answers = Vec::new();
    for i in 0..3 {
        let mut request = VecBuf::new(&frame(1000, 10));
        out(&mut a, &mut request, i * MS);
        back(&mut b, &mut request, i * MS + MS);
        let mut answer = VecBuf::new(&frame_between(B, A, 443, 1000, 10));
        out(&mut b, &mut answer, i * MS + MS + 10);
        answers.push(answer);
    }
    for i in [0, 2, 1] {
        back(&mut a, &mut answers[i], 10 * MS);
    }
    let figures = a_side.shared.table.iter().next().expect("a flow").figures(0);
    assert_eq!((figures.late, figures.server_delay.samples), (1, 2));
}

#[test]
fn the_other_boxs_rate_is_told_by_its_global_pointer() {
    const SECOND: u64 = 1000 * MS;
    let (a, b) = (side(Mode::Encrypted, true, 1), side(Mode::Encrypted, false, 1));
    let (mut a, mut to) = (Worker::new(a.shared, 0), Worker::new(b.shared.clone(), 0));
    for i in 0..400u64 {
        // 100 packets a second, of which one in four is this flow's.
        let now = i * SECOND / 100;
        let mut packet = VecBuf::new(&frame(if i % 4 == 0 { 1000 } else { 2000 }, 10));
        out(&mut a, &mut packet, now);
        back(&mut to, &mut packet, now + MS);
    }
    let flows: Vec<_> = b.shared.table.iter().map(|flow| flow.figures(4 * SECOND)).collect();
    for flow in &flows {
        let rate = flow.peer_packets_per_second.expect("a rate");
        assert!((95..=105).contains(&rate), "{flow:?}");
    }
    assert_eq!(flows.len(), 2);
}

/// Without diagnostics packets are counted all the same, and all flows' times together.
#[test]
fn times_by_flow_can_be_left_out() {
    let config =
        || PathConfig { diagnostics: Diagnostics::Off, ..testing::config(vec![testing::policy(Mode::Encrypted)]) };
    let (a, b) = (
        testing::side(config(), testing::ring(true, 1, 1), SMALL, 1),
        testing::side(config(), testing::ring(false, 1, 1), SMALL, 1),
    );
    let (mut at, mut to) = (Worker::new(a.shared.clone(), 0), Worker::new(b.shared, 0));
    for i in 0..40 {
        let mut request = VecBuf::new(&frame(1000, 10));
        out(&mut at, &mut request, i * MS);
        back(&mut to, &mut request, i * MS);
        let mut answer = VecBuf::new(&frame_between(B, A, 443, 1000, 10));
        out(&mut to, &mut answer, i * MS);
        if i != 20 {
            back(&mut at, &mut answer, i * MS);
        }
    }
    let figures = a.shared.table.iter().next().expect("a flow").figures(40 * MS);
    assert_eq!((figures.server_delay.samples, figures.peer_packets_per_second), (0, None));
    assert_eq!((told(&figures), policy_told(&a)), ([39, 1, 0, 0], [1, 0, 0]));
    let mut buckets = vec![0; crate::observe::histogram::BUCKETS];
    at.counters.server_delay.merge_into(&mut buckets);
    assert_eq!(buckets.iter().sum::<u64>(), 39);
}
