//! Tests of a box with many boxes on the other side: what a packet costs, in look-ups and derivations, not in time.

use crate::flow::table::TableSize;
use crate::observe::counters::Outcome;
use crate::observe::reasons::Reason;
use crate::packet::buffer::{PacketBuf, VecBuf};
use crate::ports::BURST;
use crate::state::keyring::KeyRing;
use crate::state::policies::Mode;
use crate::state::resync::Resync;
use crate::state::snapshot::SnapshotCell;
use crate::state::worker::Worker;
use crate::testing::{self, SMALL, Side, back, frame, out};
use arrayvec::ArrayVec;
use protocol::prefix::Prefix;
use protocol::wire::option::Form;

const REMOVED: Outcome = Outcome::Removed(Form::Encrypted);

/// Box A, and box B's ring with `count` boxes on the other side, A the one in the middle; three generations each, as a
/// registrar hands them out.
fn ring(count: u16) -> KeyRing {
    let mut ring = testing::ring(false, 1, 1);
    let mut real = ring.peers.remove(0);
    real.generations.truncate(3);
    real.number = count / 2 + 1;
    let others = (1..=count).filter(|&number| number != real.number).map(|number| {
        let mut address = [0x20, 1, 0xD, 0xB8, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        address[6..8].copy_from_slice(&number.to_be_bytes());
        testing::peer(number, vec![Prefix::new(address, 64).expect("a prefix")], real.generations.clone())
    });
    ring.peers = others.collect::<Vec<_>>();
    ring.peers.insert(usize::from(count / 2), real);
    ring
}

fn boxes(count: u16) -> (Side, Side) {
    let config = || testing::config(vec![testing::policy(Mode::Encrypted)]);
    let large = TableSize { capacity: 16_384, tombstones: 1024 };
    (testing::side(config(), testing::ring(true, 1, 1), large, 1), testing::side(config(), ring(count), SMALL, 1))
}

/// Packets of as many flows, sealed by A, then one bit of each tag changed.
fn forged(a: &mut Worker, count: u16) -> Vec<VecBuf> {
    let mut all: Vec<_> = (0..count).map(|i| VecBuf::new(&frame(2000 + i, 10))).collect();
    for packet in &mut all {
        assert_eq!(out(a, packet, 5), Outcome::Added(Form::Encrypted));
        packet.data_mut()[54 + 39] ^= 1;
    }
    all
}

/// What box B has done, in derivations and trials.
fn work(b: &Worker) -> (u64, u64) {
    (b.counters.derivations.get(), b.counters.trials.get())
}

#[test]
fn packets_cost_the_same_with_one_peer_and_with_thousands() {
    let mut seen = Vec::new();
    for count in [1, 4000] {
        let (a, b) = boxes(count);
        let (mut a, mut b) = (Worker::new(a.shared, 0), Worker::new(b.shared, 0));
        for _ in 0..100 {
            let mut packet = VecBuf::new(&frame(1000, 10));
            assert_eq!(out(&mut a, &mut packet, 5), Outcome::Added(Form::Encrypted));
            assert_eq!(back(&mut b, &mut packet, 5), REMOVED);
        }
        let genuine = work(&b);
        let mut refused = forged(&mut a, 100);
        for packet in &mut refused {
            assert_eq!(back(&mut b, packet, 5), Outcome::Dropped(Reason::BadTag));
        }
        seen.push((genuine, work(&b)));
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0].0, (1, 0), "one derivation for the flow, and nothing else");
}

/// However many forged packets come: what they can have derived, the first guess included, is what time allows.
#[test]
fn forged_packets_have_a_bounded_number_of_keys_derived() {
    const SECONDS: u64 = 3;
    let (a, b) = boxes(4000);
    let shared = b.shared;
    let (mut a, mut b) = (Worker::new(a.shared, 0), Worker::new(shared.clone(), 0));
    let packets = forged(&mut a, 4096);
    let mut outcomes: ArrayVec<Outcome, BURST> = ArrayVec::new();
    let (mut sent, mut untried) = (0u64, 0);
    for i in 0..SECONDS * 100 {
        for burst in packets.chunks(BURST) {
            let mut burst = burst.to_vec();
            b.inbound(&mut burst, &mut outcomes, &|| 1_000_000_000 + i * 10_000_000);
            sent += outcomes.len() as u64;
            untried += outcomes.iter().filter(|&&o| o == Outcome::Dropped(Reason::NoTrialsLeft)).count() as u64;
        }
    }
    let (derived, tried) = work(&b);
    // Two purses that strangers get at, each what time puts in and what was in it.
    let most = 2 * (SECONDS * 50_000 + 2 * 20_000);
    assert!(derived <= most && tried <= most, "{derived} derived, {tried} tried, of {sent} packets");
    assert!(derived > SECONDS * 50_000 && untried > sent / 2, "{derived} derived, {untried} of {sent} untried");
    assert_eq!(shared.table.used(), 0, "and no state");
}

/// While such a flood goes on, flows that are known lose nothing: neither what they have keys for, nor a change of key.
#[test]
fn a_flood_of_forged_packets_takes_no_key_from_known_flows() {
    let (a, b) = boxes(10);
    let (mut a, mut b) = (Worker::new(a.shared, 0), Worker::new(b.shared, 0));
    let mut outcomes: ArrayVec<Outcome, BURST> = ArrayVec::new();
    let flood = forged(&mut a, 1024);
    let mut flow = VecBuf::new(&frame(1000, 10));
    assert_eq!(out(&mut a, &mut flow, 5), Outcome::Added(Form::Encrypted));
    assert_eq!(back(&mut b, &mut flow, 5), REMOVED);
    for _ in 0..100 {
        for burst in flood.chunks(BURST) {
            b.inbound(&mut burst.to_vec(), &mut outcomes, &|| 5);
        }
    }
    let mut stranger = VecBuf::new(&frame(1001, 10));
    assert_eq!(out(&mut a, &mut stranger, 5), Outcome::Added(Form::Encrypted));
    assert_eq!(back(&mut b, &mut stranger, 5), Outcome::Dropped(Reason::NoTrialsLeft), "the flood has taken all");
    let packets = 2 * protocol::sender::PACKETS_PER_KRI;
    for _ in 0..packets / BURST as u64 {
        let mut burst: Vec<_> = (0..BURST).map(|_| VecBuf::new(&frame(1000, 10))).collect();
        a.outbound(&mut burst, &mut outcomes, &|| 6);
        b.inbound(&mut burst, &mut outcomes, &|| 6);
        assert!(outcomes.iter().all(|&o| o == REMOVED), "{outcomes:?}");
    }
    assert_eq!(b.counters.rotations.get(), 1);
}

/// All flows change generations at once, and none of it counts against them.
#[test]
fn honest_flows_are_not_held_back_when_all_keys_change() {
    const FLOWS: u16 = 30_000;
    let config = || testing::config(vec![testing::policy(Mode::Encrypted)]);
    let large = TableSize { capacity: 65_536, tombstones: 1024 };
    let a = testing::side(config(), testing::ring(true, 1, 1), large, 1);
    let b = testing::side(config(), ring(100), large, 1);
    let (mut worker_a, mut worker_b) = (Worker::new(a.shared.clone(), 0), Worker::new(b.shared, 0));
    let mut outcomes: ArrayVec<Outcome, BURST> = ArrayVec::new();
    for generation in 1..=3 {
        a.cell.publish(testing::ring(true, generation, 1));
        for from in (0..FLOWS).step_by(BURST) {
            let mut burst: Vec<_> = (from..from + BURST as u16).map(|i| VecBuf::new(&frame(i, 10))).collect();
            worker_a.outbound(&mut burst, &mut outcomes, &|| 5);
            worker_b.inbound(&mut burst, &mut outcomes, &|| 5);
            assert!(outcomes.iter().all(|&o| o == REMOVED), "generation {generation}: {outcomes:?}");
        }
    }
}

/// The ring that workers see has been made ready for them: none of them makes it on the packet path.
#[test]
fn a_published_ring_has_its_index() {
    assert!(SnapshotCell::default().ring().index.get().is_some());
    let (_, b) = boxes(100);
    assert!(b.shared.snapshots.ring().index.get().is_some());
    let cell = b.cell;
    let mut shuffled = testing::ring(false, 1, 1);
    shuffled.peers[0].generations.reverse();
    assert!(shuffled.peer(1).is_some());
    shuffled.peers[0].number = 7;
    cell.publish(shuffled);
    let ring = cell.ring();
    assert!(ring.peer(7).is_some() && ring.peer(1).is_none(), "made anew, not the one from before");
    assert!(ring.peers[0].generation(2).is_some(), "generations are found in whatever order they were given");
}

/// The control thread looks through no more secrets for a lost flow, however many peers there are.
#[test]
fn the_search_for_a_lost_flow_costs_the_same_with_one_peer_and_with_thousands() {
    let mut made = Vec::new();
    for count in [1, 4000] {
        let (a, b) = boxes(count);
        let shared = b.shared;
        let (mut a, mut b) = (Worker::new(a.shared, 0), Worker::new(shared.clone(), 0));
        for packet in &mut forged(&mut a, 10) {
            assert_eq!(back(&mut b, packet, 5), Outcome::Dropped(Reason::BadTag));
        }
        made.push(Resync::default().step(&shared, &shared.snapshots.load(), 5, 5000));
    }
    assert_eq!(made[0], made[1]);
}
