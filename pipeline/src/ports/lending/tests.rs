use super::*;
use proptest::prelude::*;

const SOON: Duration = Duration::ZERO;

#[test]
fn what_was_lent_is_handed_back_when_it_is_called_in_and_not_before() {
    let (mut lender, mut borrowers) = Lender::among(2);
    assert_eq!(lender.call_in(SOON), Ok(vec![]), "nothing was lent");
    lender.lend([["a", "A"], ["b", "B"]]);
    assert_eq!(lender.call_in(SOON), Ok(vec![["a", "A"], ["b", "B"]]), "nobody had taken them");
    lender.lend([["a", "A"], ["b", "B"]]);
    let mut taken: Vec<_> = borrowers.iter_mut().map(|b| b.take().expect("lent")).collect();
    assert!(borrowers.iter_mut().all(|b| !b.is_called_in() && b.take().is_none()));
    assert_eq!(lender.call_in(SOON), Err(Kept { worker: 0, ended: false }));
    assert!(borrowers.iter().all(Borrower::is_called_in));
    borrowers[1].hand_back(taken.pop().expect("two"));
    assert_eq!(lender.call_in(SOON), Err(Kept { worker: 0, ended: false }));
    assert!(!lender.settle(), "worker 0 has not let go");
    assert_eq!(borrowers[1].take(), Some(["b", "B"]), "the other one works on");
    assert!(!borrowers[1].is_called_in() && !lender.settle() && borrowers[1].take().is_none());
    borrowers[0].hand_back(taken.pop().expect("one"));
    assert!(lender.settle() && lender.settle());
    assert_eq!(borrowers[0].take(), Some(["a", "A"]));
    assert!(!borrowers[0].is_called_in());
}

#[test]
fn a_worker_that_has_ended_is_not_waited_for() {
    let (mut lender, mut borrowers) = Lender::among(2);
    lender.lend([[1, 2], [3, 4]]);
    let queues = borrowers[0].take().expect("lent");
    let other = borrowers[1].take().expect("lent");
    drop((borrowers.pop(), other));
    borrowers[0].hand_back(queues);
    assert_eq!(lender.call_in(Duration::from_secs(3600)), Err(Kept { worker: 1, ended: true }));
    assert!(!lender.settle());
    assert_eq!(borrowers[0].take(), Some([1, 2]));
}

/// What a worker and its lender do, one after another.
#[derive(Clone, Copy, Debug)]
enum Step {
    CallIn,
    Settle,
    LendAll,
    Take(usize),
    HandBackIfCalled(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let worker = 0usize..3;
    prop_oneof![
        Just(Step::CallIn),
        Just(Step::Settle),
        Just(Step::LendAll),
        worker.clone().prop_map(Step::Take),
        worker.prop_map(Step::HandBackIfCalled),
    ]
}

proptest! {
    /// Each worker's queues are at one place, always the same worker's; and in the end all can be called in.
    #[test]
    fn queues_are_never_lost_doubled_or_swapped(steps in prop::collection::vec(step(), 0..60)) {
        let (mut lender, mut borrowers) = Lender::among(3);
        let mut with: [Option<Queues<usize>>; 3] = [None; 3];
        let mut mine: Vec<Queues<usize>> = (0..3).map(|i| [i, 10 + i]).collect();
        let back = |borrowers: &mut Vec<Borrower<usize>>, with: &mut [Option<Queues<usize>>; 3], i: usize| {
            if borrowers[i].is_called_in() && let Some(queues) = with[i].take() {
                borrowers[i].hand_back(queues);
            }
        };
        for step in steps {
            match step {
                Step::CallIn => if let Ok(queues) = lender.call_in(SOON) {
                    mine.extend(queues);
                },
                Step::Settle => { lender.settle(); },
                Step::LendAll => lender.lend(core::mem::take(&mut mine)),
                Step::Take(i) => if let Some(queues) = borrowers[i].take() {
                    prop_assert!(with[i].is_none(), "two loans at one worker");
                    with[i] = Some(queues);
                },
                Step::HandBackIfCalled(i) => back(&mut borrowers, &mut with, i),
            }
            prop_assert!(mine.is_empty() || mine.len() == 3);
            for (i, queues) in with.iter().enumerate() {
                prop_assert!(queues.is_none_or(|queues| queues == [i, 10 + i]));
            }
        }
        let mut all = mine;
        for _ in 0..2 {
            if all.is_empty() {
                all = lender.call_in(SOON).unwrap_or_default();
                (0..3).for_each(|i| back(&mut borrowers, &mut with, i));
            }
        }
        prop_assert_eq!(all, vec![[0, 10], [1, 11], [2, 12]]);
    }
}
