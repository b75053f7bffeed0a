//! The worked cases of `docs/diagnosing.md`: what boxes and captures tell of a trouble is what it is.

use crate::boxes::{MIDDLEBOX, PDMV2, turn};
use rig::Programs;
use rig::trouble::{Case, Seen, observe};
use std::time::Duration;

#[test]
fn e2e_each_trouble_is_told_as_what_it_is() {
    let Some(_turn) = turn() else { return };
    let programs = Programs { middlebox: MIDDLEBOX.into(), pdmv2: PDMV2.into() };
    for case in Case::ALL {
        let seen = observe(&programs, case, Duration::from_secs(4)).expect("a case");
        check(case, &seen);
    }
}

fn check(case: Case, seen: &Seen) {
    let Seen { talk, pings, boxes: [a, b], flow, not_carried: [lost, refused], .. } = seen;
    let delays = |place: &str| a.get(&format!("/delays/{place}/p50_ns"));
    let (network, server) = (delays("round_trip"), delays("server_delay"));
    let unanswered = talk.sent - talk.answered;
    assert!(talk.before.len() > 2, "{case:?}: there was a time when all was well: {seen:?}");
    assert_eq!(pings.sent, pings.received, "{case:?}: what has no option gets through");
    let (skipped, late) = (b.get("/sequence/skipped"), b.get("/sequence/reordered"));
    let gap = skipped - late;
    assert_eq!(a.get("/sequence/skipped"), a.get("/sequence/reordered"), "{case:?}: no answer is lost: {a:?}");
    let requests = a.policies("added");
    match case {
        Case::SlowServer => {
            assert!(server > 2 * network, "{server} {network}: {seen:?}");
            assert_eq!((flow["verdict"].as_str(), gap), (Some("server"), 0), "{flow}");
        }
        Case::SlowNetwork => {
            assert!(network > 2 * server, "{server} {network}: {seen:?}");
            assert_eq!((flow["verdict"].as_str(), gap), (Some("network"), 0), "{flow}");
        }
        Case::LossOnPath => {
            assert!(*lost > 2 && unanswered >= *lost, "{seen:?}");
            assert_eq!(requests, talk.sent, "box A has put an option into each: {a:?}");
            assert_eq!(gap, *lost, "{b:?}");
            assert_eq!(flow["verdict"], "loss_before", "{flow}");
        }
        Case::LossInFront => {
            assert!(*lost > 2 && unanswered >= *lost, "{seen:?}");
            assert_eq!(requests, talk.sent - lost, "box A has not seen the others: {a:?}");
            assert_eq!((gap, b.policies("accepted")), (0, requests), "nothing is lost between the boxes: {b:?}");
        }
        Case::OptionsDropped => {
            assert!(*refused > 2 && unanswered >= *refused, "{seen:?}");
            assert_eq!(requests, talk.sent, "box A has put an option into each: {a:?}");
            assert_eq!(requests - b.policies("accepted"), *refused, "none of them has come: {b:?}");
            assert!(b.get("/ports/outside/rx_packets") > b.policies("accepted"), "but others have: {b:?}");
        }
    }
}
