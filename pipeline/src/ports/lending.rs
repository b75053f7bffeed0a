//! How workers come to their queues, and how these are called in and lent anew at a burst's boundary, while the workers live on:
//! a port goes, comes back, or moves to another process.
//!
//! Each loan has a number, and a worker keeps a loan until queues of a later number are called for. It looks at that once per turn,
//! by one load; nothing else is shared while it works. A number that is seen late is an older one, and takes nothing from anybody.

use core::time::Duration;
use crossbeam_queue::ArrayQueue;
use protocol::sync::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Instant;

/// A worker's queues: of the inside port, of the outside port.
pub type Queues<Q> = [Q; 2];

/// How long the lender sleeps between two looks for queues that were called in.
const LOOK: Duration = Duration::from_micros(200);

#[derive(Debug)]
struct Counter<Q> {
    /// Loans of this number and older ones are called in.
    called: AtomicU64,
    /// Towards the worker, with the loan's number.
    lent: ArrayQueue<(u64, Queues<Q>)>,
    /// Back from it.
    back: ArrayQueue<Queues<Q>>,
    /// Whether the worker has ended: it hands nothing back any more.
    ended: AtomicBool,
}

/// Lends workers their queues. What is called in and does not come back at once is not lost: it is asked for again, or lent anew
/// when it has come.
#[derive(Debug)]
pub struct Lender<Q> {
    workers: Vec<Lent<Q>>,
    /// Of the next loan.
    number: u64,
}

/// One worker's queues, as the lender knows them.
#[derive(Debug)]
struct Lent<Q> {
    counter: Arc<Counter<Q>>,
    here: Option<Queues<Q>>,
    /// The number of the loan that is out.
    out: Option<u64>,
}

/// A worker's end.
#[derive(Debug)]
pub struct Borrower<Q> {
    counter: Arc<Counter<Q>>,
    number: u64,
}

/// A worker that has not handed its queues back in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kept {
    /// Which one.
    pub worker: usize,
    /// It has ended.
    pub ended: bool,
}

impl<Q> Lender<Q> {
    /// For so many workers, and the end of each, in their order. They have no queues yet.
    #[must_use]
    pub fn among(workers: usize) -> (Self, Vec<Borrower<Q>>) {
        let counter = || {
            let (lent, back) = (ArrayQueue::new(1), ArrayQueue::new(1));
            Arc::new(Counter { called: AtomicU64::new(0), lent, back, ended: AtomicBool::new(false) })
        };
        let workers: Vec<_> =
            core::iter::repeat_with(|| Lent { counter: counter(), here: None, out: None }).take(workers).collect();
        let borrower = |worker: &Lent<Q>| Borrower { counter: Arc::clone(&worker.counter), number: 0 };
        let borrowers = workers.iter().map(borrower).collect();
        (Self { workers, number: 1 }, borrowers)
    }

    /// Lends each worker its queues, in their order; more than there are workers are dropped.
    pub fn lend(&mut self, queues: impl IntoIterator<Item = Queues<Q>>) {
        for (worker, queues) in self.workers.iter_mut().zip(queues) {
            worker.here = Some(queues);
        }
        self.lend_what_is_here();
    }

    fn lend_what_is_here(&mut self) {
        for worker in self.workers.iter_mut().filter(|worker| worker.out.is_none()) {
            let Some(queues) = worker.here.take() else { continue };
            match worker.counter.lent.push((self.number, queues)) {
                Ok(()) => worker.out = Some(self.number),
                Err((_, queues)) => worker.here = Some(queues),
            }
        }
    }

    /// Calls all queues in, and waits for them. In the order of the workers.
    ///
    /// # Errors
    /// A worker has not handed its own back in this time. What has come is kept here: [`Lender::settle`] lends it anew.
    pub fn call_in(&mut self, at_most: Duration) -> Result<Vec<Queues<Q>>, Kept> {
        self.call();
        let start = Instant::now();
        while let Err(kept) = self.collect() {
            if kept.ended || start.elapsed() >= at_most {
                return Err(kept);
            }
            std::thread::sleep(LOOK);
        }
        Ok(self.workers.iter_mut().filter_map(|worker| worker.here.take()).collect())
    }

    /// After a call that came to nothing: lends anew what has come since. `false`: some worker has not handed its queues back yet.
    pub fn settle(&mut self) -> bool {
        let all = self.collect();
        self.lend_what_is_here();
        all.is_ok()
    }

    fn call(&mut self) {
        for worker in &self.workers {
            worker.counter.called.store(self.number, Ordering::Relaxed);
        }
        self.number += 1;
    }

    /// Takes what has come of what was called in.
    fn collect(&mut self) -> Result<(), Kept> {
        let mut missing: Option<Kept> = None;
        for (i, worker) in self.workers.iter_mut().enumerate() {
            if worker.out.is_none_or(|number| number >= self.number) {
                continue;
            }
            // First whether it has ended: what it handed back before is there then. What it has not taken yet is there too.
            let ended = worker.counter.ended.load(Ordering::Acquire);
            let not_taken = || worker.counter.lent.pop().map(|(_, queues)| queues);
            worker.here = worker.counter.back.pop().or_else(not_taken);
            if worker.here.is_some() {
                worker.out = None;
            } else if missing.is_none_or(|kept| ended && !kept.ended) {
                missing = Some(Kept { worker: i, ended });
            }
        }
        missing.map_or(Ok(()), Err)
    }
}

impl<Q> Borrower<Q> {
    /// Whether the queues that this worker has are to be handed back.
    #[inline]
    #[must_use]
    pub fn is_called_in(&self) -> bool {
        self.counter.called.load(Ordering::Relaxed) >= self.number
    }

    /// Queues that were lent, if there are any.
    pub fn take(&mut self) -> Option<Queues<Q>> {
        let (number, queues) = self.counter.lent.pop()?;
        self.number = number;
        Some(queues)
    }

    /// Hands them back.
    pub fn hand_back(&self, queues: Queues<Q>) {
        // There is room: there is one loan at a time. Otherwise they are closed, as at the end.
        drop(self.counter.back.push(queues));
    }
}

impl<Q> Drop for Borrower<Q> {
    fn drop(&mut self) {
        self.counter.ended.store(true, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(all(test, loom))]
mod loom_tests;
