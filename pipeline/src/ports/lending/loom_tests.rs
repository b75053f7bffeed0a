use super::*;

/// A worker that takes a loan, is called in, and takes another one: it keeps each as long as it is its own, however late it sees
/// the call. (The queues between are crossbeam's, which loom does not look into.)
#[test]
fn loom_a_loan_comes_back_once_and_only_when_it_is_called_in() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let (mut lender, mut borrowers) = Lender::<u32>::among(1);
        let mut borrower = borrowers.pop().expect("one");
        lender.lend([[1, 1]]);
        let worker = loom::thread::spawn(move || {
            for _ in 0..2 {
                let Some(queues) = borrower.take() else { continue };
                for _ in 0..2 {
                    if borrower.is_called_in() {
                        borrower.hand_back(queues);
                        break;
                    }
                }
            }
        });
        lender.call();
        if lender.collect().is_ok() {
            assert_eq!(lender.workers[0].here.take(), Some([1, 1]));
            lender.lend([[2, 2]]);
            loom::thread::yield_now();
            // Nobody has called it in: it is with the worker, or where the worker has not taken it yet.
            assert_eq!(lender.workers[0].counter.back.pop(), None);
        }
        worker.join().expect("no panic");
        assert_eq!(lender.workers[0].counter.back.pop().filter(|queues| *queues == [2, 2]), None);
    });
}
