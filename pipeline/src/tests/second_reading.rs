//! What a second reading of the path found.

use crate::flow::table::Ager;
use crate::observe::counters::Outcome;
use crate::observe::reasons::Reason;
use crate::packet::buffer::{PacketBuf, VecBuf};
use crate::ports::BURST;
use crate::state::policies::Mode;
use crate::state::resync::Resync;
use crate::state::worker::Worker;
use crate::testing::{self, SMALL, Side, frame};
use arrayvec::ArrayVec;
use protocol::sender::PACKETS_PER_KRI;
use protocol::wire::option::Form;

fn encrypted(is_a: bool, generation: u32, workers: usize) -> Side {
    let config = testing::config(vec![testing::policy(Mode::Encrypted)]);
    testing::side(config, testing::ring(is_a, generation, 1), SMALL, workers)
}

fn out(worker: &mut Worker, packet: &mut VecBuf) -> Outcome {
    let mut outcomes = ArrayVec::new();
    worker.outbound(core::slice::from_mut(packet), &mut outcomes, &|| 1);
    outcomes[0]
}

fn back(worker: &mut Worker, packets: &mut [VecBuf], now: u64) -> ArrayVec<Outcome, BURST> {
    let mut outcomes = ArrayVec::new();
    worker.inbound(packets, &mut outcomes, &|| now);
    outcomes
}

fn sealed(worker: &mut Worker, sport: u16) -> VecBuf {
    let mut packet = VecBuf::new(&frame(sport, 10));
    assert_eq!(out(worker, &mut packet), Outcome::Added(Form::Encrypted));
    packet
}

/// A worker in the middle of a burst keeps the ring it began with, however long the burst takes. A flow that was sealed
/// under that ring, moved on to the next generation and left the table must not begin again at n = 0 for it.
#[test]
fn a_worker_with_an_old_ring_does_not_bring_a_flow_back_at_n_0() {
    for sealed_under_the_new_one in [true, false] {
        let side = encrypted(true, 1, 1);
        let shared = side.shared.clone();
        let mut ager = Ager::new(shared.quiescence.clone());
        let mut worker = Worker::new(shared.clone(), 0);
        sealed(&mut worker, 1000); // generation 1, n = 0
        let old = shared.snapshots.load();
        side.cell.publish(testing::ring(true, 2, 1));
        let mut b = Worker::new(encrypted(false, 1, 1).shared, 0);
        if sealed_under_the_new_one {
            sealed(&mut worker, 1000);
        } else {
            // It leaves, and an inbound packet brings it back under generation 2, before anything is sealed under that.
            ager.step(&shared.table, u64::MAX / 2, 1, SMALL.capacity);
            ager.step(&shared.table, u64::MAX / 2, 1, 0);
            let mut answer = VecBuf::new(&testing::frame_between(testing::B, testing::A, 443, 1000, 10));
            assert_eq!(out(&mut b, &mut answer), Outcome::Added(Form::Encrypted));
            assert_eq!(back(&mut worker, &mut [answer], 1)[0], Outcome::Removed(Form::Encrypted));
        }
        ager.step(&shared.table, u64::MAX / 2, 1, SMALL.capacity);
        ager.step(&shared.table, u64::MAX / 2, 1, 0);
        assert_eq!(shared.table.used(), 0);
        // What a worker does that holds the old ring.
        let tuple = crate::packet::parse::parse(&VecBuf::new(&frame(1000, 10))).expect("a frame").chain.five_tuple;
        let print = shared.table.hash(&tuple.words());
        let (flow, _) = shared.insert(0, &tuple, print, 0, &old.rules, 1).expect("room");
        let number = flow.take(Some(1));
        assert!(!number.is_ok_and(|n| n.n() == 0), "n = 0 of generation 1 twice ({sealed_under_the_new_one})");
    }
}

/// The key of a flow that was found again is kept, and not derived for each of its packets until the next rotation.
#[test]
fn the_key_of_a_flow_found_again_is_kept() {
    let (mut a, b) = (Worker::new(encrypted(true, 1, 1).shared, 0), encrypted(false, 1, 1));
    let (shared, mut resync) = (b.shared, Resync::default());
    let mut b = Worker::new(shared.clone(), 0);
    for _ in 0..20 * PACKETS_PER_KRI {
        // Only the numbers are of interest; bursts would be faster, and this is fast enough.
        let tuple = crate::packet::parse::parse(&VecBuf::new(&frame(1000, 10))).expect("a frame").chain.five_tuple;
        let words = tuple.words();
        match a.shared.table.find(a.shared.table.hash(&words), &words) {
            Some(flow) => drop(flow.take(Some(1))),
            None => drop(sealed(&mut a, 1000)),
        }
    }
    let mut packet = [sealed(&mut a, 1000)];
    assert_ne!(back(&mut b, &mut packet, 1)[0], Outcome::Removed(Form::Encrypted));
    resync.step(&shared, &shared.snapshots.load(), 1, 5000);
    assert_eq!(resync.found, 1);
    let before = b.counters.derivations.get();
    for _ in 0..100 {
        assert_eq!(back(&mut b, &mut [sealed(&mut a, 1000)], 1)[0], Outcome::Removed(Form::Encrypted));
    }
    assert!(b.counters.derivations.get() - before <= 2, "{} derivations", b.counters.derivations.get() - before);
}

#[test]
fn the_key_of_a_flow_that_came_back_is_kept() {
    let (mut a, b) = (Worker::new(encrypted(true, 1, 1).shared, 0), encrypted(false, 1, 1));
    let shared = b.shared;
    let mut b = Worker::new(shared.clone(), 0);
    assert_eq!(back(&mut b, &mut [sealed(&mut a, 1000)], 1)[0], Outcome::Removed(Form::Encrypted));
    let mut ager = Ager::new(shared.quiescence.clone());
    ager.step(&shared.table, u64::MAX / 2, 1, SMALL.capacity);
    ager.step(&shared.table, u64::MAX / 2, 1, 0);
    let before = b.counters.derivations.get();
    for _ in 0..100 {
        assert_eq!(back(&mut b, &mut [sealed(&mut a, 1000)], 1)[0], Outcome::Removed(Form::Encrypted));
    }
    assert!(b.counters.derivations.get() - before <= 2, "{} derivations", b.counters.derivations.get() - before);
}

/// 350,000 forged packets a second while the other box starts under a new generation: its packets must not be locked out
/// for as long as the flood lasts.
#[test]
fn a_flood_does_not_lock_a_new_generation_out() {
    let (a1, a2) = (encrypted(true, 1, 1), encrypted(true, 2, 1));
    let (mut a1, mut a2) = (Worker::new(a1.shared, 0), Worker::new(a2.shared, 0));
    let mut b = Worker::new(encrypted(false, 1, 1).shared, 0);
    let forged = {
        let mut packet = sealed(&mut a1, 7);
        packet.data_mut()[14 + 40 + 30] ^= 1;
        packet
    };
    assert_eq!(back(&mut b, &mut [sealed(&mut a1, 1000)], 1)[0], Outcome::Removed(Form::Encrypted));
    let (mut now, mut accepted) = (1, 0);
    // Ten seconds of it. What earlier traffic has left over is spent within the first bursts.
    for i in 0..500_000usize {
        now += 20_000;
        let mut burst: Vec<_> = (0..7).map(|_| forged.clone()).collect();
        if now > 1_000_000_000 {
            burst.insert(i / 7 % 8, sealed(&mut a2, 1000));
        }
        let outcomes = back(&mut b, &mut burst, now);
        let refused = |o: &&Outcome| matches!(o, Outcome::Dropped(Reason::BadTag | Reason::NoTrialsLeft));
        assert!(outcomes.iter().filter(refused).count() >= 7);
        accepted += outcomes.iter().filter(|&&o| o == Outcome::Removed(Form::Encrypted)).count();
        if accepted > 10 {
            return;
        }
    }
    panic!("{accepted} packets of the new generation were taken within nine seconds");
}
