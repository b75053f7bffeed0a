//! Which keys are tried, and in which order.

use crate::flow::record::{Flow, FlowBack, WholeFlow};
use crate::inbound::guess::{first_guess, guesses};
use crate::state::keyring::KeyRing;
use crate::testing::{self, A, B};
use protocol::five_tuple::FiveTuple;
use protocol::key_line::SecretId;
use protocol::receiver::ReceiverState;

/// Box B's ring with this many boxes that speak for A's prefix.
fn ring(boxes: u16) -> KeyRing {
    let mut ring = testing::ring(false, 1, 1);
    for number in 2..=boxes {
        let mut more = testing::ring(false, 1, 1).peers.remove(0);
        more.number = number;
        ring.peers.push(more);
    }
    ring
}

const TUPLE: FiveTuple = FiveTuple { src: A, sport: 1, dst: B, dport: 2, protocol: 17 };

#[test]
fn every_box_that_fits_has_its_present_and_next_generation_tried() {
    for boxes in 1..=4 {
        let list = guesses(&ring(boxes), None, &TUPLE, false);
        for number in 1..=boxes {
            for generation in 1..=2 {
                let id = SecretId::new(number, generation);
                assert!(list.iter().any(|g| g.id == id), "{boxes} boxes: {id:?} is never tried");
            }
        }
    }
}

/// A box's ring, its peer's generations having these numbers, and this one the newest opened with.
fn numbered(generations: &[u32], newest: u32) -> KeyRing {
    let mut ring = testing::ring(false, 1, 1);
    let peer = &mut ring.peers[0];
    let keys = peer.generations.remove(0).1;
    peer.generations = generations.iter().map(|&g| (g, keys.clone())).collect();
    peer.newest.store(newest, core::sync::atomic::Ordering::Relaxed);
    ring
}

#[test]
fn generations_are_tried_by_their_places_whatever_their_numbers() {
    for (newest, expected) in [
        // None opened yet: from the oldest on.
        (0, &[5, 40, 900, 901][..]),
        (5, &[5, 40, 900, 901]),
        (40, &[40, 900, 5, 901]),
        // The one in use before is 40, which is 860 numbers back; 5 is never gone back to.
        (900, &[900, 901, 40]),
        (901, &[901, 900]),
        // Gone from the ring: the next one is the present one now.
        (39, &[40, 900, 5, 901]),
        (902, &[901]),
    ] {
        let ring = numbered(&[5, 40, 900, 901], newest);
        let list = guesses(&ring, None, &TUPLE, false);
        let mut tried: Vec<_> = list.iter().map(|g| g.id.generation()).collect();
        let mut seen = std::collections::HashSet::new();
        tried.retain(|&g| seen.insert(g));
        assert_eq!(tried, expected, "{newest} is the newest opened with");
        let first = first_guess(&ring, None, &TUPLE, false).expect("a peer");
        assert_eq!(first.id.generation(), expected[0]);
    }
}

#[test]
fn lost_rotations_are_looked_for_whatever_the_number_of_boxes() {
    for boxes in 1..=4 {
        let (front, back) = (Flow::default(), FlowBack::default());
        let flow = WholeFlow { front: &front, back: &back };
        let receiver: &ReceiverState = &flow.back.receiver;
        receiver.accept(SecretId::new(1, 1), 0, 5);
        let list = guesses(&ring(boxes), Some(flow), &TUPLE, false);
        assert!(list.iter().any(|g| g.id == SecretId::new(1, 1) && g.kri == 4), "{boxes} boxes: Kri 4 is never tried");
    }
}
