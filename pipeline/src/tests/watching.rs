//! What is watched is noted, whichever way it goes and whatever becomes of it; and the packets are what they are without.

use super::allocations::count;
use crate::observe::counters::Outcome;
use crate::observe::reasons::Reason;
use crate::packet::buffer::{PacketBuf, VecBuf};
use crate::ports::{BURST, PortQueue};
use crate::state::policies::{Mode, OnFailure, Policy};
use crate::state::watch::note::{Direction, Note, Point};
use crate::state::watch::{Filter, Limits, MOST_WATCHES, Reader, TooMany};
use crate::state::worker::Worker;
use crate::testing::{self, A, B, SMALL, frame, frame_between};
use crate::worker::{turn_inbound, turn_outbound};
use arrayvec::ArrayVec;
use protocol::wire::option::Form;
use std::collections::VecDeque;

const LIMITS: Limits = Limits { snaplen: 256, packets: 1000, per_second: 10_000 };
const ADDED: Outcome = Outcome::Added(Form::Encrypted);
const REMOVED: Outcome = Outcome::Removed(Form::Encrypted);

#[derive(Default)]
struct Queue {
    arriving: VecDeque<VecBuf>,
    sent: Vec<VecBuf>,
    room: usize,
}

impl Queue {
    fn with(packets: impl IntoIterator<Item = VecBuf>) -> Self {
        Self { arriving: packets.into_iter().collect(), sent: Vec::with_capacity(256), room: usize::MAX }
    }
}

impl PortQueue for Queue {
    type Packet = VecBuf;

    fn receive(&mut self, into: &mut ArrayVec<VecBuf, BURST>) {
        while !into.is_full() {
            let Some(packet) = self.arriving.pop_front() else { return };
            into.push(packet);
        }
    }

    fn transmit(&mut self, packets: &mut ArrayVec<VecBuf, BURST>) {
        let n = packets.len().min(self.room - self.sent.len().min(self.room));
        self.sent.extend(packets.drain(..n));
    }
}

fn boxes(lanes: bool) -> (Worker, Worker) {
    let off = Policy { on_failure: OnFailure::Drop, ..Policy::everything(Mode::Encrypted) };
    let worker = |is_a| {
        let config = testing::config(vec![off.clone()]);
        let mut worker = Worker::new(testing::side(config, testing::ring(is_a, 1, 1), SMALL, 1).shared, 0);
        if !lanes {
            worker.lanes.resting.turn_off();
            worker.lanes_back.resting.turn_off();
        }
        worker
    };
    (worker(true), worker(false))
}

fn watch(worker: &Worker, filter: Filter) -> Reader {
    worker.shared.watches.start(filter, LIMITS).expect("a watch")
}

fn all<T>(reader: &Reader, of: impl Fn(&Note) -> T) -> Vec<T> {
    std::iter::from_fn(|| reader.next(&of)).collect()
}

/// Sends these out of A, and what comes of them into B.
fn through(a: &mut Worker, b: &mut Worker, packets: Vec<VecBuf>, now: u64) -> (Vec<VecBuf>, Vec<VecBuf>) {
    let (mut inside, mut between, mut far) = (Queue::with(packets), Queue::with([]), Queue::with([]));
    while turn_outbound(a, &mut inside, &mut between, &|| now) {}
    let sealed = between.sent.clone();
    between.arriving = core::mem::take(&mut between.sent).into();
    while turn_inbound(b, &mut between, &mut far, &|| now + 1) {}
    (sealed, far.sent)
}

fn packets(from: u16) -> Vec<VecBuf> {
    (0..100).map(|i| VecBuf::new(&frame(from + i % 7, 20))).collect()
}

#[test]
fn every_packet_is_noted_both_ways_with_lanes_and_without() {
    for lanes in [true, false] {
        let (mut a, mut b) = boxes(lanes);
        let readers = [watch(&a, Filter::default()), watch(&b, Filter::default())];
        for (round, now) in [(0u16, 5), (1, 1_000_000)] {
            through(&mut a, &mut b, packets(1000), now);
            let [out, back] = [&readers[0], &readers[1]].map(|reader| {
                all(reader, |note| {
                    let option = note.option.expect("an option");
                    let metrics = option.metrics.expect("opened again");
                    let octets = (note.before.data().to_vec(), note.after.data().to_vec(), note.after.frame_len());
                    (note.outcome, note.tuple, note.flow_before.is_some(), metrics, option.key, octets, note.direction)
                })
            });
            assert_eq!((out.len(), back.len()), (100, 100), "lanes: {lanes}");
            for (i, (out, back)) in out.iter().zip(&back).enumerate() {
                assert_eq!((out.0, back.0), (ADDED, REMOVED));
                let known = round > 0 || i >= BURST;
                assert_eq!((out.2, back.2), (known, known), "new in its first burst, then known");
                assert_eq!((out.3, out.4), (back.3, Some((1, 0))), "what was sealed is what was opened");
                assert_eq!(out.4, back.4);
                let (tuple, back_tuple) = (out.1.expect("a 5-tuple"), back.1.expect("a 5-tuple"));
                assert_eq!(
                    (tuple.src, tuple, out.6, back.6),
                    (A, back_tuple.reversed(), Direction::Outbound, Direction::Inbound)
                );
                assert_eq!(
                    (&out.5.1, &out.5.0),
                    (&back.5.0, &back.5.1),
                    "as it left A it came to B, and as it came it left"
                );
                assert_eq!(out.5.2, 62 + 20 + 40);
            }
        }
        assert_eq!(readers.each_ref().map(Reader::missed), [0, 0]);
    }
}

#[test]
fn packets_are_the_same_octet_for_octet_whoever_watches() {
    for lanes in [true, false] {
        let mut made = Vec::new();
        for watched in [false, true] {
            let (mut a, mut b) = boxes(lanes);
            let readers = watched.then(|| [watch(&a, Filter::default()), watch(&b, Filter::default())]);
            // Nobody reads: the second round finds no free note.
            made.push([5, 9, 15, 25].map(|now| through(&mut a, &mut b, packets(1000), now)));
            let sums = [&a, &b].map(|worker| {
                let c = &worker.counters;
                [&c.outbound, &c.inbound].map(|d| (d.received.get(), d.added[2].get(), d.removed[2].get()))
            });
            assert_eq!(sums, [[(400, 400, 0), (0, 0, 0)], [(0, 0, 0), (400, 0, 400)]]);
            if let Some(readers) = readers {
                assert_eq!(readers.each_ref().map(|r| (r.noted(), r.missed())), [(256, 144); 2], "lanes: {lanes}");
            }
        }
        assert_eq!(made[0], made[1], "lanes: {lanes}");
    }
}

#[test]
fn what_is_not_measured_and_what_is_dropped_says_why() {
    let (mut a, mut b) = boxes(true);
    let [from_a, from_b] = [watch(&a, Filter::default()), watch(&b, Filter::default())];
    let dropped = watch(&b, Filter { point: Point::Dropped, ..Filter::default() });
    let mut arp = frame(1, 40);
    arp[12..14].copy_from_slice(&[8, 6]);
    let strange = frame_between([0xFD; 16], B, 1, 2, 9);
    let (sealed, _) = through(&mut a, &mut b, [arp, strange, frame(1, 40)].iter().map(|f| VecBuf::new(f)).collect(), 7);
    let outcomes = all(&from_a, |note| (note.outcome, note.tuple.err(), note.option.is_some()));
    let passed = Outcome::Passed;
    assert_eq!(outcomes[0], (passed(Reason::NotIpv6), Some(Reason::NotIpv6), false));
    assert_eq!(outcomes[1], (passed(Reason::SourceNotOurs), None, false));
    assert_eq!(outcomes[2], (ADDED, None, true));
    assert_eq!(all(&from_b, |note| note.outcome).len(), 3);
    // Again, and damaged.
    let mut damaged = sealed[2].clone();
    let at = damaged.frame_len() - 60;
    damaged.data_mut()[at] ^= 1;
    let mut outside = Queue::with([sealed[2].clone(), damaged]);
    turn_inbound(&mut b, &mut outside, &mut Queue::with([]), &|| 9);
    let expected = [Outcome::Dropped(Reason::Replayed), Outcome::Dropped(Reason::BadTag)];
    assert_eq!(all(&from_b, |note| note.outcome), expected);
    let kept = all(&dropped, |note| (note.outcome, note.after.data().len(), note.at(Point::Inside).is_some()));
    assert_eq!(kept, expected.map(|outcome| (outcome, 0, false)));
}

#[test]
fn what_the_port_does_not_take_is_noted_as_dropped() {
    let (mut a, _) = boxes(true);
    let reader = watch(&a, Filter::default());
    let (mut inside, mut outside) = (Queue::with(packets(1).drain(..20)), Queue { room: 15, ..Queue::default() });
    turn_outbound(&mut a, &mut inside, &mut outside, &|| 1);
    let outcomes = all(&reader, |note| note.outcome);
    assert_eq!(outcomes[..15], [ADDED; 15]);
    assert_eq!(outcomes[15..], [Outcome::Dropped(Reason::TxFull); 5]);
}

#[test]
fn only_what_matches_is_noted_and_no_more_than_is_asked_for() {
    let (mut a, mut b) = boxes(true);
    let policy = a.shared.snapshots.rules().policies().map(|(_, standing)| standing.id).next().expect("a policy");
    let filters = [
        (Filter { port: Some(1003), ..Filter::default() }, 14),
        (Filter { address: Some(B), protocol: Some(17), ..Filter::default() }, 50),
        (Filter { policies: Some(vec![policy]), prefix: Some(testing::prefix(A)), ..Filter::default() }, 50),
        (Filter { policies: Some(Vec::new()), ..Filter::default() }, 0),
    ];
    let limits = Limits { packets: 50, ..LIMITS };
    let readers =
        filters.map(|(filter, expected)| (a.shared.watches.start(filter, limits).expect("a watch"), expected));
    assert_eq!(readers.len(), MOST_WATCHES);
    assert_eq!(a.shared.watches.start(Filter::default(), LIMITS).err(), Some(TooMany));
    through(&mut a, &mut b, packets(1000), 5);
    for (i, (reader, expected)) in readers.iter().enumerate() {
        assert_eq!(all(reader, |_| ()).len(), *expected, "{i}");
        assert_eq!(reader.is_done(), *expected == 50, "{i}");
    }
}

#[test]
fn too_many_in_a_second_are_counted_and_not_noted() {
    let (mut a, mut b) = boxes(true);
    let reader = a.shared.watches.start(Filter::default(), Limits { per_second: 30, ..LIMITS }).expect("a watch");
    through(&mut a, &mut b, packets(1000), 5);
    assert_eq!((reader.noted(), reader.missed()), (30, 70));
    through(&mut a, &mut b, packets(1000), 2_000_000_000);
    assert_eq!(reader.noted(), 60);
}

/// The workers' part allocates and frees nothing; when the reader has gone, all is as before, and what it had is freed elsewhere.
#[test]
fn workers_allocate_nothing_and_let_go_of_what_has_ended() {
    let (mut a, mut b) = boxes(true);
    through(&mut a, &mut b, packets(1000), 1);
    let reader = watch(&a, Filter::default());
    let turns = |a: &mut Worker| {
        let (mut inside, mut outside) = (Queue::with(packets(1000)), Queue::with([]));
        let before = count();
        while turn_outbound(a, &mut inside, &mut outside, &|| 5) {}
        assert_eq!(count() - before, 0);
    };
    turns(&mut a);
    assert_eq!(all(&reader, |_| ()).len(), 100);
    drop(reader);
    assert!(a.shared.watches.sweep() > 0, "the worker has it still");
    turns(&mut a);
    assert_eq!((a.shared.watches.sweep(), a.watching.list.watches.len()), (0, 0));
}
