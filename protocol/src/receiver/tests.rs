//! Tests of the receiver's state: order, rotations, generations, several boxes, eviction.

use super::*;
use crate::sender::PACKETS_PER_KRI;
use proptest::prelude::*;
use std::collections::HashSet;

fn id(generation: u32) -> SecretId {
    SecretId::new(1, generation)
}

/// What a sender with this first PSNTP puts into packet n.
fn packet(first: u16, n: u64) -> (u32, u16) {
    ((n / PACKETS_PER_KRI) as u32, first.wrapping_add(n as u16))
}

#[test]
fn candidates() {
    assert_eq!(KriCandidates::new(None, false).as_slice(), [0, 2, 4, 6, 8]);
    assert_eq!(KriCandidates::new(None, true).as_slice(), [1, 3, 5, 7]);
    assert_eq!(KriCandidates::new(Some(4), false).as_slice(), [4, 6, 8, 10, 12]);
    assert_eq!(KriCandidates::new(Some(4), true).as_slice(), [5, 3, 7, 9, 11]);
    assert_eq!(KriCandidates::new(Some(u32::MAX), false).as_slice(), [u32::MAX - 1]);
    assert_eq!(KriCandidates::new(Some(u32::MAX), true).as_slice(), [u32::MAX]);
}

#[test]
fn order_gaps_replays() {
    let state = ReceiverState::default();
    let fresh = |skipped, late| Verdict::Fresh { skipped, late, found: late };
    let older = Verdict::Fresh { skipped: 0, late: true, found: false };
    assert_eq!(state.accept(id(1), 0, 100), fresh(0, false));
    assert_eq!(state.accept(id(1), 0, 101), fresh(0, false));
    assert_eq!(state.accept(id(1), 0, 105), fresh(3, false));
    assert_eq!(state.accept(id(1), 0, 103), fresh(0, true));
    assert_eq!(state.accept(id(1), 0, 103), Verdict::Replayed);
    assert_eq!(state.accept(id(1), 0, 99), older, "before the first one seen");
    assert_eq!(state.accept(id(1), 0, 105u16.wrapping_add(5000)), fresh(4999, false));
    assert_eq!(state.accept(id(1), 0, 104), Verdict::TooOld);
}

#[test]
fn rotation_and_lost_rotations() {
    let state = ReceiverState::default();
    for n in [0, 32766, 32767, 40000, 32768, 40000 + 2 * 32767, 40001 + 10 * 32767] {
        let (kri, psn) = packet(65000, n);
        let highest = state.current().map(|c| c.1);
        let f = kri & 1 == 1;
        assert!(KriCandidates::new(highest, f).as_slice().contains(&kri), "n {n} from Kri {highest:?}");
        let verdict = state.accept(id(1), kri, psn);
        if n == 32768 {
            assert_eq!(verdict, Verdict::TooOld);
        } else {
            assert!(matches!(verdict, Verdict::Fresh { .. }), "n {n}: {verdict:?}");
        }
        assert!(matches!(state.accept(id(1), kri, psn), Verdict::Replayed | Verdict::TooOld));
    }
    assert_eq!(state.current(), Some((id(1), 11)));
}

#[test]
fn generations_change_without_loss_and_do_not_go_back() {
    let state = ReceiverState::default();
    let ok = |v| matches!(v, Verdict::Fresh { .. });
    assert!(ok(state.accept(id(5), 3, 10)));
    assert!(ok(state.accept(id(6), 0, 11)));
    assert_eq!(state.current().map(|c| c.0), Some(id(6)));
    assert!(ok(state.accept(id(5), 3, 9)), "in flight under the old generation");
    assert_eq!(state.accept(id(5), 3, 9), Verdict::Replayed);
    assert_eq!(state.current().map(|c| c.0), Some(id(6)), "a late packet does not move the flow back");
    assert!(ok(state.accept(id(7), 0, 13)));
    assert_eq!(state.accept(id(5), 3, 11), Verdict::TooOld);
    assert_eq!(state.accept(id(4), 0, 1), Verdict::TooOld);
    assert_eq!(state.accept(id(6), 0, 11), Verdict::Replayed);
}

#[test]
fn three_boxes_of_one_prefix_leave_no_room_for_replays() {
    let state = ReceiverState::default();
    let boxes = [1, 2, 3].map(|peer| SecretId::new(peer, 1));
    for id in boxes {
        assert!(matches!(state.accept(id, 0, 100), Verdict::Fresh { .. }));
    }
    for (i, id) in boxes.into_iter().enumerate() {
        let verdict = state.accept(id, 0, 100);
        assert!(!matches!(verdict, Verdict::Fresh { .. }), "box {i}'s packet was let in twice");
    }
}

#[test]
fn a_box_restarting_during_a_fail_over_leaves_no_room_for_replays() {
    let state = ReceiverState::default();
    let (a5, b5, a6) = (SecretId::new(1, 5), SecretId::new(2, 5), SecretId::new(1, 6));
    for id in [b5, a5, a6] {
        assert!(matches!(state.accept(id, 0, 100), Verdict::Fresh { .. }));
    }
    assert!(!matches!(state.accept(b5, 0, 100), Verdict::Fresh { .. }), "B's packet was let in twice");
}

#[test]
fn eviction_leaves_no_room_for_replays_of_the_other_box() {
    let state = ReceiverState::default();
    let (a, b) = (SecretId::new(1, 1), SecretId::new(2, 1));
    for id in [b, a] {
        assert!(matches!(state.accept(id, 0, 100), Verdict::Fresh { .. }));
    }
    let back = ReceiverState::default();
    back.resume(state.snapshot());
    assert!(!matches!(back.accept(b, 0, 100), Verdict::Fresh { .. }), "B's packet was let in twice");
}

#[test]
fn fail_over_between_two_boxes_and_back() {
    let (a, b) = (SecretId::new(1, 1), SecretId::new(2, 1));
    let state = ReceiverState::default();
    for n in 0..50u16 {
        assert!(matches!(state.accept(a, 0, n), Verdict::Fresh { .. }));
        assert!(matches!(state.accept(b, 0, 9000 + n), Verdict::Fresh { .. }));
        assert_eq!(state.accept(a, 0, n), Verdict::Replayed);
    }
    assert_eq!(state.current().map(|c| c.0), Some(b));
    state.accept(a, 0, 60);
    assert_eq!(state.current().map(|c| c.0), Some(a));
}

#[test]
fn a_flow_that_comes_back_refuses_what_it_may_have_seen() {
    let state = ReceiverState::default();
    state.accept(id(2), 4, 100);
    state.accept(id(2), 4, 110);
    let back = ReceiverState::default();
    back.resume(state.snapshot());
    assert_eq!(back.current(), Some((id(2), 4)));
    assert_eq!(back.accept(id(2), 4, 110), Verdict::Replayed);
    assert_eq!(back.accept(id(2), 4, 105), Verdict::Replayed);
    assert_eq!(back.accept(id(1), 9, 105), Verdict::TooOld);
    assert_eq!(back.accept(id(2), 4, 111), Verdict::Fresh { skipped: 0, late: false, found: false });
    assert!(matches!(back.accept(id(3), 0, 7), Verdict::Fresh { .. }));
}

proptest! {
    // The model knows n, which the receiver never sees; loss, reordering and replays are random.
    #[test]
    fn agrees_with_a_receiver_that_knows_n(first: u16, start in 0u64..200_000, steps in prop::collection::vec((0u64..3000, 0u64..1200, any::<bool>()), 1..300)) {
        let state = ReceiverState::default();
        let (mut highest, mut seen, mut lost) = (start, HashSet::new(), 0u64);
        let (kri, psn) = packet(first, start);
        let is_fresh = matches!(state.accept(id(1), kri, psn), Verdict::Fresh { .. });
        prop_assert!(is_fresh);
        seen.insert(start);
        for (ahead, behind, again) in steps {
            let n = (highest + ahead).saturating_sub(behind).max(start.saturating_sub(900));
            for _ in 0..=usize::from(again) {
                let (kri, psn) = packet(first, n);
                let expected = if highest >= n && highest - n >= crate::replay::WINDOW { Verdict::TooOld }
                    else if seen.contains(&n) { Verdict::Replayed }
                    else if n > highest { Verdict::Fresh { skipped: (n - highest - 1) as u32, late: false, found: false } }
                    else { Verdict::Fresh { skipped: 0, late: true, found: n > start } };
                prop_assert_eq!(state.accept(id(1), kri, psn), expected, "n {} highest {}", n, highest);
                if matches!(expected, Verdict::Fresh { .. }) {
                    seen.insert(n);
                    highest = highest.max(n);
                }
                if let Verdict::Fresh { skipped, found, .. } = expected {
                    lost = lost + u64::from(skipped) - u64::from(found);
                }
                let came = seen.iter().filter(|&&n| n >= start).count() as u64;
                prop_assert_eq!((state.numbers(), lost), (highest - start + 1, highest - start + 1 - came));
            }
        }
    }
}

proptest! {
    /// Whatever comes, [`ReceiverState::accept_current`] says what [`ReceiverState::accept`] would, or nothing.
    #[test]
    fn the_short_way_is_the_long_one(
        first: u16,
        steps in prop::collection::vec((prop_oneof![8 => -40i64..80, 1 => -40_000i64..40_000, 1 => Just(0)], 1u32..3), 1..300),
    ) {
        let (long, short) = (ReceiverState::default(), ReceiverState::default());
        let (mut n, mut generation) = (70_000i64, 1);
        for (step, other) in steps {
            n = (n + step).max(0);
            if step == 0 { generation = other }
            let (kri, psntp) = packet(first, n as u64);
            let before = short.current();
            let wanted = long.accept(id(generation), kri, psntp);
            let made = short.accept_current(id(generation), kri, psntp);
            prop_assert_eq!(made.is_some(), before == Some((id(generation), kri)));
            prop_assert_eq!(made.unwrap_or_else(|| short.accept(id(generation), kri, psntp)), wanted);
            prop_assert_eq!(short.snapshot(), long.snapshot());
        }
    }
}

/// Under one Kri every PSNTP is placed as by the general rule, or refused as by it.
#[test]
fn distances_within_a_kri() {
    for high in [0u16, 1, 32_766, 32_767, 32_768, 65_535] {
        for psntp in 0..=u16::MAX {
            assert_eq!(space::distance_within(high, psntp), space::distance(7, high, 7, psntp), "{high} {psntp}");
        }
    }
}
