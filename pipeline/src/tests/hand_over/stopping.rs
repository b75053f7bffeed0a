//! Workers that stop in any order, with packets between them.

use super::lab::{Lab, sealing};
use crate::observe::reasons::Reason;
use crate::ports::PortQueue;

/// Two flows, each of which is one worker's, with packets of them in both rings.
fn with_full_rings(name: &str) -> Lab {
    let mut lab = Lab::new(name, 2, sealing());
    for worker in [0u16, 1] {
        lab.arrive(usize::from(worker), worker, 1);
        lab.poll(usize::from(worker));
    }
    lab.arrive(0, 1, 100);
    lab.arrive(1, 0, 100);
    while lab.poll(0) | lab.poll(1) {}
    assert_eq!((lab.sum(|c| &c.handed_over), lab.sum(|c| &c.taken_over)), (200, 0));
    lab
}

#[test]
fn what_is_in_the_rings_is_sent_whoever_stops_first() {
    for order in [[0, 1], [1, 0]] {
        let mut lab = with_full_rings("rings");
        for worker in order {
            lab.stop(worker);
        }
        // A burst of each flow, with which the flow moves; what was behind it is too late.
        assert_eq!((lab.added(), lab.passed(Reason::OwnerChanged)), (2 + 64, 200 - 64));
        assert!(lab.is_in_order());
        lab.check_counters();
        lab.check_audit();
        lab.check_sent();
    }
}

#[test]
fn a_worker_that_has_stopped_gets_nothing_more() {
    let mut lab = with_full_rings("stopped");
    lab.stop(0);
    let (handed, full) = (lab.sum(|c| &c.handed_over), lab.passed(Reason::HandOverFull));
    // A third flow, which the stopped worker has.
    lab.arrive(0, 2, 1);
    lab.poll(0);
    lab.arrive(1, 2, 50);
    while lab.poll(1) {}
    assert_eq!((lab.sum(|c| &c.handed_over), lab.passed(Reason::HandOverFull)), (handed, full + 50));
    lab.stop(1);
    lab.check_counters();
    lab.check_audit();
    lab.check_sent();
}

/// A burst that was on its way into a ring when the owner looked into it for the last time.
#[test]
fn what_a_stopped_worker_has_not_seen_comes_back_and_passes() {
    let mut lab = with_full_rings("comes-back");
    lab.arrive(1, 0, 3);
    let late: Vec<_> = lab.inside[1].arriving.drain(..).collect();
    for packet in late {
        lab.sides[1].hand(0, packet).expect("room");
        lab.workers[1].counters.outbound.received.add(1);
        lab.workers[1].counters.handed_over.add(1);
    }
    lab.stop(0);
    assert_eq!(lab.passed(Reason::HandOverFull), 0);
    lab.stop(1);
    assert_eq!(lab.passed(Reason::HandOverFull), 3);
    lab.check_counters();
    lab.check_audit();
    lab.check_sent();
}

#[test]
fn what_the_port_does_not_take_at_the_end_is_counted_as_dropped() {
    for order in [[0, 1], [1, 0]] {
        let mut lab = with_full_rings("dropped");
        lab.outside.iter_mut().for_each(|queue| queue.room = 10);
        lab.arrive(1, 0, 3);
        let mut late = arrayvec::ArrayVec::new();
        lab.inside[1].receive(&mut late);
        for packet in late {
            lab.sides[1].hand(0, packet).expect("room");
            lab.workers[1].counters.outbound.received.add(1);
            lab.workers[1].counters.handed_over.add(1);
        }
        for worker in order {
            lab.stop(worker);
        }
        assert_eq!(lab.sum(|c| &c.outbound.dropped[Reason::TxFull as usize]), 203 - 20);
        lab.check_counters();
        lab.check_audit();
        lab.check_sent();
    }
}

/// One that panics drops its side, and what it has not dealt with: the other goes on as before, and stops in order.
#[test]
fn a_side_that_is_gone_keeps_nobody() {
    let mut lab = with_full_rings("gone");
    lab.sides[0] = crate::state::hand_over::HandOver::alone();
    while lab.take(1) {}
    lab.arrive(1, 0, 5);
    lab.poll(1);
    assert_eq!(lab.passed(Reason::HandOverFull), 5);
    lab.stop(1);
    assert_eq!(lab.passed(Reason::HandOverFull), 5 + 100, "what the other had not taken");
    lab.check_counters();
    lab.check_sent();
}
