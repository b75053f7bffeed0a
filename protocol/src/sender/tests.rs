//! Numbers one after the other.

use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

fn at(generation: u32, n: u64, psntp: u16) -> Numbers {
    Numbers {
        generation,
        ..Numbers { kri: (n / PACKETS_PER_KRI) as u32, index: (n % PACKETS_PER_KRI) as u16, ..Numbers::start(0, psntp) }
    }
}

#[test]
fn numbers_run_and_rotate() {
    let mut numbers = Numbers::start(1, 0xFFFF);
    let first = numbers.take(1).expect("number");
    assert_eq!((first.n(), first.psntp, first.kri, first.index, first.f()), (0, 0xFFFF, 0, 0, false));
    for n in 1..PACKETS_PER_KRI {
        assert_eq!(numbers.take(1).expect("number").n(), n);
    }
    let second = numbers.take(1).expect("number");
    assert_eq!((second.kri, second.index, second.f(), second.psntp), (1, 0, true, 0x7FFE));
}

#[test]
fn ends_with_the_last_kri() {
    let mut numbers = at(1, MAX_N - 1, 0);
    let last = numbers.take(1).expect("number");
    assert_eq!((last.kri, last.index), (u32::MAX, 32766));
    assert_eq!(numbers.take(1), Err(NoNumber::Exhausted));
    assert_eq!(numbers.take_in_clear(), Err(NoNumber::Exhausted));
    assert_eq!(numbers.taken(), MAX_N, "refused ones are not counted");
    assert_eq!(numbers.take(2).expect("a new generation helps").n(), 0);
}

#[test]
fn a_new_generation_starts_at_zero_and_psntp_goes_on() {
    let mut numbers = Numbers::start(7, 100);
    numbers.take(7).expect("number");
    numbers.take(7).expect("number");
    assert_eq!(numbers.take(8), Ok(Number::new(0, 102)));
    assert_eq!(numbers.take(8), Ok(Number::new(1, 103)));
    assert_eq!(numbers.take(7), Err(NoNumber::NewerGeneration), "n = 0 and 1 of it were given out above");
    assert_eq!(numbers.take(8), Ok(Number::new(2, 104)));
}

#[test]
fn a_flow_goes_on_where_it_stopped() {
    let mut numbers = Numbers::start(3, 10);
    for _ in 0..5 {
        numbers.take(3).expect("number");
    }
    let snapshot = numbers.snapshot();
    assert_eq!((snapshot.n(), snapshot.is_of(3), snapshot.is_of(4)), (5, true, false));
    let (word, generation) = snapshot.to_words();
    let back = Numbers::resume(SenderSnapshot::from_words(word, generation));
    assert_eq!({ back }.take(3), Ok(Number::new(5, 15)));
    assert_eq!({ back }.take(4), Ok(Number::new(0, 15)));
    // A worker whose ring is older than the snapshot brings it back: numbers of generation 2 may all have been given.
    assert_eq!({ back }.take(2), Err(NoNumber::NewerGeneration));
}

#[test]
fn numbers_that_were_given_are_known_again_and_no_others() {
    let mut numbers = Numbers::start(NO_GENERATION, 9);
    assert!(numbers.given_in_clear().number(9, 1 << 16).is_none(), "none yet");
    assert_eq!((numbers.given(7), numbers.given(NO_GENERATION)), (None, None));
    numbers = Numbers::start(7, 0xFFF0);
    for _ in 0..40 {
        numbers.take(7).expect("number");
    }
    assert_eq!(numbers.given(8), None, "another generation");
    let given = numbers.given(7).expect("this one");
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
    let n = 5 * PACKETS_PER_KRI + 3;
    let given = at(1, n, n as u16).given(1).expect("started");
    assert_eq!((given.kri(true), given.kri(false)), (Some(5), Some(4)));
    assert_eq!(given.number((n - 1) as u16, 1).map(|n| (n.kri, n.index)), Some((5, 2)));
    assert_eq!(given.number(n as u16, 1 << 16).map(Number::n), Some(n - (1 << 16)), "65,536 before");
}

#[test]
fn numbers_in_clear_begin_no_generation_and_psntp_goes_on_when_one_begins() {
    for generation in [1, 5000, 8192, u32::MAX] {
        let mut numbers = Numbers::start(NO_GENERATION, 0xFFFE);
        for n in 0..5u64 {
            assert_eq!(numbers.take_in_clear(), Ok(Number::new(n, 0xFFFEu16.wrapping_add(n as u16))));
        }
        assert_eq!(numbers.given(generation), None, "none was given under it");
        assert_eq!(numbers.given_in_clear().number(2, 5).map(Number::n), Some(4));
        assert!(!numbers.snapshot().is_started());
        assert_eq!(numbers.snapshot().n(), 0);
        assert_eq!(numbers.take(generation), Ok(Number::new(0, 3)), "{generation}");
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Seal(u32),
    Clear,
    LeaveAndComeBack,
}

proptest! {
    /// Whatever workers with rings of all ages do to a flow, whether it leaves the table or not: no number is given twice
    /// under its generation, and PSNTP goes on by one.
    #[test]
    fn no_number_is_given_twice(
        steps in proptest::collection::vec(
            prop_oneof![(1..6u32).prop_map(Step::Seal), Just(Step::Clear), Just(Step::LeaveAndComeBack)], 1..200),
        start in 0..4u32,
        psntp: u16,
    ) {
        let (mut numbers, mut sealed, mut next) = (Numbers::start(start, psntp), HashSet::new(), psntp);
        // Near the end of a Kri.
        numbers.index = PLACES - 20;
        for step in steps {
            let (generation, taken) = match step {
                Step::Seal(generation) => (Some(generation), numbers.take(generation)),
                Step::Clear => (None, numbers.take_in_clear()),
                Step::LeaveAndComeBack => {
                    let (word, generation) = numbers.snapshot().to_words();
                    numbers = Numbers::resume(SenderSnapshot::from_words(word, generation));
                    continue;
                }
            };
            let Ok(number) = taken else { continue };
            prop_assert_eq!(number.psntp, next);
            next = next.wrapping_add(1);
            prop_assert!(number.index < PLACES);
            if let Some(generation) = generation {
                prop_assert!(sealed.insert((generation, number.n())), "{:?} of {} twice", number, generation);
            }
        }
    }
}
