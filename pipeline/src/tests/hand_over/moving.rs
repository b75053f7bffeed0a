//! Which worker a flow belongs to, and what becomes of its packets meanwhile; one step at a time.

use super::lab::{Lab, identity, next, sealing};
use crate::observe::reasons::Reason;
use crate::outbound::STREAK;
use crate::packet::buffer::PacketBuf;
use crate::ports::BURST;
use crate::state::policies::{Mode, OutboundAction, Policy};
use crate::state::rules::{Oversize, PathConfig};
use crate::testing;
use crate::tests::allocations;
use std::sync::{Arc, Mutex};

const STREAK_LEN: usize = STREAK as usize;

/// Packets of a flow come to a worker, which looks at its port; then the owner looks at its rings.
fn hand(lab: &mut Lab, from: usize, owner: usize, flow: u16, count: usize) {
    lab.arrive(from, flow, count);
    assert!(lab.poll(from));
    assert!(lab.take(owner) && !lab.take(owner));
}

#[test]
fn a_flow_moves_to_where_its_packets_come() {
    let mut lab = Lab::new("moves", 2, sealing());
    lab.arrive(0, 1, 1);
    lab.poll(0);
    assert_eq!(lab.owner(1), 0, "it belongs to the worker that has seen it first");
    for _ in 0..STREAK_LEN / 4 {
        assert_eq!((lab.owner(1), lab.sum(|c| &c.flows_given)), (0, 0));
        hand(&mut lab, 1, 0, 1, 4);
    }
    assert_eq!((lab.owner(1), lab.sum(|c| &c.flows_given)), (1, 1));
    // From now on it is the other one that seals, and this one that hands over.
    lab.arrive(1, 1, 3);
    lab.poll(1);
    assert!(!lab.take(0));
    assert_eq!(lab.workers[1].counters.outbound.added[2].get(), 3);
    hand(&mut lab, 0, 1, 1, 5);
    assert_eq!((lab.workers[0].counters.handed_over.get(), lab.owner(1)), (5, 1));
    assert_eq!(lab.added(), 1 + 16 + 3 + 5, "none goes without the option");
    assert!(lab.is_in_order());
    lab.check_counters();
    lab.check_audit();
    let (b, _) = lab.check_sent();
    assert_eq!((b.skipped.get(), b.reordered.get()), (0, 0));
}

/// Who gets the flow may send its next packets at once: what was handed over before has to be on its way by then.
#[test]
fn what_was_handed_over_is_sent_before_its_flow_is_given_away() {
    let mut lab = Lab::new("sent-first", 2, sealing());
    lab.arrive(0, 1, 1);
    lab.poll(0);
    let owners = Arc::new(Mutex::new(Vec::new()));
    let (shared, seen) = (lab.a.shared.clone(), Arc::clone(&owners));
    lab.outside[0].watch = Some(Box::new(move || {
        let owner = shared.table.iter().next().map(|flow| flow.owner());
        seen.lock().expect("no panic").push(owner);
    }));
    for _ in 0..STREAK_LEN / 4 {
        hand(&mut lab, 1, 0, 1, 4);
    }
    assert_eq!(lab.owner(1), 1, "it was given away");
    assert_eq!(*owners.lock().expect("no panic"), [Some(0); STREAK_LEN / 4]);
}

#[test]
fn packets_of_the_owners_own_and_of_third_workers_keep_it_where_it_is() {
    let mut lab = Lab::new("stays", 3, sealing());
    lab.arrive(0, 1, 1);
    lab.poll(0);
    for round in 0..10 {
        hand(&mut lab, 1, 0, 1, STREAK_LEN - 1);
        if round % 2 == 0 {
            lab.arrive(0, 1, 1);
            lab.poll(0);
        } else {
            hand(&mut lab, 2, 0, 1, 1);
        }
    }
    assert_eq!((lab.owner(1), lab.sum(|c| &c.flows_given)), (0, 0));
    // Each flow for itself.
    for flow in 2..5 {
        lab.arrive(0, flow, 1);
    }
    lab.poll(0);
    for _ in 0..STREAK_LEN {
        (2..4).for_each(|flow| lab.arrive(flow - 1, flow as u16, 1));
        lab.poll(1);
        lab.poll(2);
        assert!(lab.take(0));
    }
    assert_eq!([1, 2, 3, 4].map(|flow| lab.owner(flow)), [0, 1, 2, 0]);
    lab.check_counters();
    lab.check_audit();
    lab.check_sent();
}

#[test]
fn a_burst_gives_several_flows_and_each_once() {
    let mut lab = Lab::new("several", 2, sealing());
    (1..=2).for_each(|flow| lab.arrive(0, flow, 1));
    lab.poll(0);
    for _ in 0..STREAK_LEN {
        (1..=2).for_each(|flow| lab.arrive(1, flow, 1));
    }
    lab.poll(1);
    lab.take(0);
    assert_eq!([1, 2].map(|flow| lab.owner(flow)), [1, 1]);
    assert_eq!(lab.sum(|c| &c.flows_given), 2);
}

#[test]
fn a_full_ring_lets_packets_pass_and_what_comes_too_late_passes_too() {
    let mut lab = Lab::new("full", 2, sealing());
    lab.arrive(0, 1, 1);
    lab.poll(0);
    lab.arrive(1, 1, 300);
    while lab.poll(1) {}
    assert_eq!((lab.passed(Reason::HandOverFull), lab.sum(|c| &c.handed_over)), (44, 256));
    assert_eq!(lab.sum(|c| &c.refused), 44);
    let passed: Vec<_> = lab.sent.lock().expect("no panic").iter().skip(1).map(identity).collect();
    assert_eq!(passed, (257..301).map(|place| (1, place)).collect::<Vec<_>>(), "as they came, in order");
    // The owner takes a burst at a turn. With the first the flow moves.
    lab.take(0);
    assert_eq!((lab.added(), lab.owner(1)), (1 + BURST as u64, 1));
    while lab.take(0) {}
    assert_eq!(lab.passed(Reason::OwnerChanged), 256 - BURST as u64);
    assert_eq!(lab.sum(|c| &c.handed_over), 256, "nothing goes to and fro");
    let sent: Vec<_> = lab.sent.lock().expect("no panic").iter().skip(45).map(identity).collect();
    assert_eq!(sent, (1..257).map(|place| (1, place)).collect::<Vec<_>>());
    lab.check_counters();
    lab.check_audit();
    lab.check_sent();
}

/// Packets that pass for a reason of their own go the way of those beside them, and so do not pass them.
#[test]
fn packets_without_the_option_keep_their_place_among_those_with_it() {
    for oversize in [Oversize::Pass, Oversize::PacketTooBig] {
        let config = PathConfig { outside_mtu: 1400, oversize, ..sealing() };
        let mut lab = Lab::new("places", 2, config);
        lab.arrive(0, 1, 1);
        lab.poll(0);
        for payload in [8, 1340, 8, 1340, 1340, 8] {
            lab.arrive_of(1, 1, 1, payload);
        }
        lab.poll(1);
        assert_eq!(lab.sum(|c| &c.handed_over), 6);
        lab.take(0);
        assert!(lab.is_in_order());
        assert_eq!(lab.added(), 4);
        assert_eq!(lab.passed(Reason::Oversize) + lab.sum(|c| &c.outbound.too_big), 3);
        lab.check_counters();
        lab.check_sent();
    }
}

/// Flows that get no option are nobody's: there is nothing to number.
#[test]
fn flows_that_get_no_option_are_not_handed_over() {
    let pass = Policy { outbound: OutboundAction::Pass, ..testing::policy(Mode::Encrypted) };
    for (policies, reason) in [(vec![], Reason::Off), (vec![pass], Reason::PolicyPass)] {
        let mut lab = Lab::new("none", 2, sealing());
        lab.arrive(0, 1, 1);
        lab.poll(0);
        lab.a.shared.replace(testing::config(policies));
        lab.arrive(1, 1, 10);
        lab.poll(1);
        assert_eq!((lab.passed(reason), lab.sum(|c| &c.handed_over)), (10, 0));
        lab.check_counters();
    }
}

#[test]
fn handing_over_allocates_nothing() {
    let mut lab = Lab::new("allocations", 2, sealing());
    lab.arrive(0, 1, 1);
    lab.poll(0);
    lab.arrive(1, 1, 400);
    lab.sent.lock().expect("no panic").reserve(1000);
    lab.workers.iter_mut().for_each(|worker| worker.audit = None);
    let before = allocations::count();
    while lab.poll(1) || lab.take(0) {}
    assert_eq!(allocations::count(), before);
    assert!(lab.sum(|c| &c.handed_over) > 0 && lab.owner(1) == 1);
}

/// A flow that goes from worker to worker, whose packets come in bursts of any size to whichever has them, and in both at once.
#[test]
fn a_flow_that_moves_thousands_of_times_uses_no_number_twice() {
    let mut lab = Lab::new("thousands", 2, sealing());
    let (mut random, mut late) = (0x5EED_u64, 0);
    lab.arrive(0, 1, 1);
    lab.poll(0);
    for moves in 1..=3000u64 {
        let owner = usize::from(lab.owner(1));
        let other = 1 - owner;
        // Some of its own between, and a streak that breaks off.
        for _ in 0..next(&mut random) % 3 {
            lab.arrive(other, 1, (next(&mut random) % 15) as usize);
            lab.poll(other);
            lab.take(owner);
            lab.arrive(owner, 1, 1 + (next(&mut random) % 4) as usize);
            lab.poll(owner);
        }
        assert_eq!(lab.owner(1), owner as u16, "move {moves}");
        // Sometimes more than the owner takes at once.
        let more = if next(&mut random).is_multiple_of(8) { BURST - STREAK_LEN + 8 } else { 0 };
        late += more.saturating_sub(BURST - STREAK_LEN) as u64;
        lab.arrive(other, 1, STREAK_LEN + more);
        while lab.poll(other) {}
        while lab.take(owner) {}
        assert_eq!((lab.owner(1), lab.sum(|c| &c.flows_given)), (other as u16, moves));
    }
    assert!(late > 1000);
    assert_eq!((lab.passed(Reason::OwnerChanged), lab.sum(|c| &c.refused)), (late, 0));
    assert!(lab.sum(|c| &c.rotations_sealed) > 0, "new keys were among it");
    assert!(lab.is_in_order());
    lab.check_counters();
    lab.check_audit();
    let (b, too_old) = lab.check_sent();
    assert_eq!((b.skipped.get(), b.reordered.get(), too_old), (0, 0, 0), "in the order of their numbers");
}

/// What passed is what came.
#[test]
fn a_packet_that_was_handed_over_is_as_it_came() {
    let mut lab = Lab::new("as-it-came", 2, sealing());
    lab.arrive(0, 1, 1);
    lab.poll(0);
    lab.arrive(1, 1, BURST + 1);
    while lab.poll(1) {}
    while lab.take(0) {}
    let sent = lab.sent.lock().expect("no panic");
    assert_eq!(sent.last().map(PacketBuf::data), Some(super::lab::packet(1, BURST as u32 + 1, 8).data()));
}
