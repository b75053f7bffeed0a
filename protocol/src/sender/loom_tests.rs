//! Every order in which two workers may come.

use super::*;
use loom::sync::Arc;
use loom::thread;

#[test]
fn loom_two_workers_change_generation() {
    loom::model(|| {
        let state = Arc::new(SenderState::default());
        state.start(1, 50);
        let other = Arc::clone(&state);
        let thread = thread::spawn(move || (other.take(1).map(|n| (1, n)), other.take(2).map(|n| (2, n))));
        let mine = [state.take(2).map(|n| (2, n))];
        let theirs = thread.join().expect("no panic");
        let mut got: Vec<_> = mine.into_iter().chain([theirs.0, theirs.1]).flatten().collect();
        let count = got.len();
        got.sort_by_key(|&(g, n)| (g, n.n()));
        got.dedup_by_key(|&mut (g, n)| (g, n.n()));
        assert_eq!(got.len(), count, "a number was given twice: {got:?}");
        for pair in got.windows(2) {
            assert_ne!(pair[0].1.psntp, pair[1].1.psntp, "one PSNTP for two packets: {got:?}");
        }
    });
}

#[test]
fn loom_a_thawed_flow_still_changes_generation() {
    loom::model(|| {
        let state = Arc::new(SenderState::default());
        state.start(1, 0);
        let other = Arc::clone(&state);
        let thread = thread::spawn(move || other.take(2).map(Number::n));
        state.freeze();
        state.thaw();
        let theirs = thread.join().expect("no panic");
        assert_eq!(state.take(2).map(Number::n), Ok(u64::from(theirs.is_ok())), "after {theirs:?}");
    });
}

#[test]
fn loom_freeze_is_final() {
    loom::model(|| {
        let state = Arc::new(SenderState::default());
        state.start(1, 0);
        let other = Arc::clone(&state);
        let thread = thread::spawn(move || [other.take(1), other.take(2)]);
        let snapshot = state.freeze();
        for number in thread.join().expect("no panic").into_iter().flatten().enumerate() {
            let (_, number) = number;
            // Either it belongs to an older generation than the snapshot, or it lies below the snapshot's n.
            assert!(number.n() < snapshot.n() || snapshot.is_of(2), "{number:?} {snapshot:?}");
        }
        let back = SenderState::default();
        back.resume(snapshot, 2);
        let next = back.take(2).expect("number");
        assert!(!snapshot.is_of(2) || next.n() >= snapshot.n());
    });
}

/// One worker seals under a new generation while another, whose policies are a moment older, still goes in clear.
#[test]
fn loom_in_clear_beside_a_change_of_generation() {
    loom::model(|| {
        let state = Arc::new(SenderState::default());
        state.start(1, 50);
        let other = Arc::clone(&state);
        let thread = thread::spawn(move || [other.take_in_clear(), other.take_in_clear()]);
        let mine = [state.take(2), state.take(2)];
        let theirs = thread.join().expect("no panic");
        let sealed: Vec<_> = mine.into_iter().flatten().collect();
        for number in &sealed {
            assert!(!theirs.into_iter().flatten().any(|n| n.psntp == number.psntp), "{mine:?} {theirs:?}");
        }
        assert!(sealed.windows(2).all(|pair| pair[0].n() < pair[1].n()), "{mine:?}");
    });
}
