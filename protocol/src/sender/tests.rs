//! Numbers one after the other, and by several threads.

use super::*;
use std::collections::HashSet;
use std::sync::Mutex;

fn at(state: &SenderState, generation: u32, n: u64) {
    state.resume(SenderSnapshot::from_words(pack(generation, n), 0), generation);
}

#[test]
fn numbers_run_and_rotate() {
    let state = SenderState::default();
    state.start(1, 0xFFFF);
    let first = state.take(1).expect("number");
    assert_eq!((first.n(), first.psntp, first.kri, first.index, first.f()), (0, 0xFFFF, 0, 0, false));
    for n in 1..PACKETS_PER_KRI {
        assert_eq!(state.take(1).expect("number").n(), n);
    }
    let second = state.take(1).expect("number");
    assert_eq!((second.kri, second.index, second.f(), second.psntp), (1, 0, true, 0x7FFE));
}

#[test]
fn ends_with_the_last_kri() {
    let state = SenderState::default();
    at(&state, 1, MAX_N - 1);
    let last = state.take(1).expect("number");
    assert_eq!((last.kri, last.index), (u32::MAX, 32766));
    assert_eq!(state.take(1), Err(NoNumber::Exhausted));
    assert_eq!(state.take(2).expect("a new generation helps").n(), 0);
}

#[test]
fn a_new_generation_starts_at_zero_and_psntp_goes_on() {
    let state = SenderState::default();
    state.start(7, 100);
    state.take(7).expect("number");
    state.take(7).expect("number");
    assert_eq!(state.take(8), Ok(Number::new(0, 102)));
    assert_eq!(state.take(8), Ok(Number::new(1, 102)));
    assert_eq!(state.take(7), Err(NoNumber::NewerGeneration));
    assert_eq!(state.take(8 + 5000), Err(NoNumber::NewerGeneration), "more than half the tag space away counts as old");
}

#[test]
fn rest_goes_on_where_it_stopped() {
    let state = SenderState::default();
    state.start(3, 10);
    for _ in 0..5 {
        state.take(3).expect("number");
    }
    let snapshot = state.freeze();
    assert_eq!(state.take(3), Err(NoNumber::Frozen));
    assert_eq!(snapshot.n(), 5);
    let back = SenderState::default();
    back.resume(snapshot, 3);
    assert_eq!(back.take(3), Ok(Number::new(5, 10)));
    back.resume(snapshot, 4);
    assert_eq!(back.take(4), Ok(Number::new(0, 15)));
    state.thaw();
    assert!(state.take(3).expect("thawed").n() >= 5);
}

#[test]
fn numbers_that_were_given_are_known_again_and_no_others() {
    let state = SenderState::default();
    assert!(state.given(0).is_some_and(|g| g.number(0, 1 << 16).is_none()), "none yet");
    state.start_later(9);
    assert_eq!(state.given(7), None);
    state.start(7, 0xFFF0);
    for _ in 0..40 {
        state.take(7).expect("number");
    }
    assert_eq!(state.given(8), None, "another generation");
    let given = state.given(7).expect("this one");
    for n in 0..40u64 {
        assert_eq!(given.number(0xFFF0u16.wrapping_add(n as u16), 1 << 16).map(Number::n), Some(n));
    }
    for psntp in (0..=u16::MAX).filter(|p| p.wrapping_sub(0xFFF0) >= 40) {
        assert_eq!(given.number(psntp, 1 << 16), None, "{psntp} was never given");
    }
    assert_eq!(given.number(0xFFF0u16.wrapping_add(29), 10), None, "too far back");
    assert_eq!(given.number(0xFFF0u16.wrapping_add(30), 10).map(Number::n), Some(30));
    assert_eq!((given.kri(false), given.kri(true)), (Some(0), None));
}

#[test]
fn kri_and_psntp_of_long_flows() {
    let state = SenderState::default();
    let n = 5 * PACKETS_PER_KRI + 3;
    at(&state, 1, n);
    let given = state.given(1).expect("started");
    assert_eq!((given.kri(true), given.kri(false)), (Some(5), Some(4)));
    assert_eq!(given.number((n - 1) as u16, 1).map(|n| (n.kri, n.index)), Some((5, 2)));
    assert_eq!(given.number(n as u16, 1 << 16).map(Number::n), Some(n - (1 << 16)), "65,536 before");
}

#[test]
fn a_worker_that_slept_does_not_take_the_flow_back_a_generation() {
    let state = SenderState::default();
    state.start(1, 0);
    // A worker under generation 2 has seen generation 1 in the word and is about to change it. It sleeps; then:
    assert_eq!(state.take(2).map(Number::n), Ok(0));
    assert_eq!(state.take(3).map(Number::n), Ok(0));
    // It wakes up. n = 0 of generation 2 was given out above.
    assert_eq!(state.change_generation(2), None);
    assert_eq!(state.take(2), Err(NoNumber::NewerGeneration));
    assert_eq!(state.take(3).map(Number::n), Ok(1));
}

#[test]
fn a_flow_does_not_come_back_under_an_older_generation() {
    let state = SenderState::default();
    state.start(1, 0);
    assert_eq!(state.take(1).map(Number::n), Ok(0));
    assert_eq!(state.take(2).map(Number::n), Ok(0));
    let snapshot = state.freeze();
    // A worker whose ring is older than the snapshot brings it back: n = 0 of generation 1 was given out above.
    let back = SenderState::default();
    back.resume(snapshot, 1);
    assert_eq!(back.take(1), Err(NoNumber::NewerGeneration));
    assert_eq!(back.take(2).map(Number::n), Ok(1));
}

#[test]
fn many_threads_generations_and_freezes_never_give_a_number_twice() {
    let all = Mutex::new(HashSet::new());
    let state = SenderState::default();
    state.start(1, 0);
    let generation = std::sync::atomic::AtomicU32::new(1);
    std::thread::scope(|s| {
        for _ in 0..3 {
            s.spawn(|| {
                let mut mine = Vec::new();
                for _ in 0..100_000 {
                    let g = generation.load(std::sync::atomic::Ordering::Relaxed);
                    if let Ok(number) = state.take(g) {
                        mine.push((g, number.n(), number.psntp));
                    }
                }
                let mut all = all.lock().expect("lock");
                for (g, n, psntp) in mine {
                    assert!(all.insert((g, n)), "{n} of generation {g} twice, psntp {psntp}");
                }
            });
        }
        s.spawn(|| {
            for i in 0..2000u32 {
                generation.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if i % 7 == 0 {
                    state.freeze();
                    state.thaw();
                }
                std::thread::yield_now();
            }
        });
    });
    assert!(all.into_inner().expect("lock").len() > 1000);
}

#[test]
fn numbers_in_clear_begin_no_generation_and_psntp_goes_on_when_one_begins() {
    // Whatever a generation's low bits are: in clear a flow is of none, so that none is older than it.
    for generation in [1, 5000, 8191, 8192] {
        let state = SenderState::default();
        state.start_later(0xFFFE);
        for n in 0..5u64 {
            assert_eq!(state.take_in_clear(), Ok(Number::new(n, 0xFFFE)));
        }
        assert_eq!(state.given(generation), None, "none was given under it");
        assert_eq!(state.given_in_clear().and_then(|g| g.number(2, 5)).map(Number::n), Some(4));
        assert!(!state.freeze().is_started());
        state.thaw();
        assert_eq!(state.take(generation), Ok(Number::new(0, 3)), "{generation}");
    }
}

#[test]
fn a_flow_that_goes_in_clear_for_a_while_never_gives_a_sealing_number_again() {
    for generation in [1, 4096, 5000, 8192] {
        let state = SenderState::default();
        state.start(generation, 7);
        let mut seen = HashSet::new();
        for turn in 0..6 {
            for _ in 0..3 {
                let number = if turn % 2 == 0 { state.take(generation) } else { state.take_in_clear() };
                assert!(seen.insert(number.expect("a number").n()), "generation {generation}");
            }
        }
        // It leaves while it is in clear, and comes back under a policy that seals.
        let back = SenderState::default();
        back.resume(state.freeze(), generation);
        assert_eq!(state.take_in_clear(), Err(NoNumber::Frozen));
        assert_eq!(back.take(generation).map(Number::n), Ok(18));
    }
}

#[test]
fn numbers_in_clear_end_too() {
    let state = SenderState::default();
    at(&state, 1, MAX_N - 1);
    assert_eq!(state.take_in_clear().map(|n| n.kri), Ok(u32::MAX));
    assert_eq!(state.take_in_clear(), Err(NoNumber::Exhausted));
    assert_eq!(state.taken(), MAX_N, "refused ones are not counted");
}
