//! When a record that left the index may be used again: once every worker has been between two bursts since.
//!
//! Workers announce bursts with one store each way; they never wait, never free, and run nothing of anybody else's
//! (which is why this is not `crossbeam-epoch`: its pins run other threads' deferred functions now and then).

use crossbeam_utils::CachePadded;
use protocol::sync::{AtomicU64, Ordering, fence};
use std::sync::Arc;

/// The workers' announcements.
#[derive(Debug, Clone)]
pub struct Quiescence {
    /// Odd: within a burst.
    workers: Arc<[CachePadded<AtomicU64>]>,
}

/// One worker's side.
#[derive(Debug)]
pub struct WorkerEpoch {
    all: Quiescence,
    worker: usize,
}

/// A moment after which records were no longer to be found.
#[derive(Debug, Clone)]
pub struct Moment(Vec<u64>);

impl Quiescence {
    /// For this many workers, all between bursts.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self { workers: (0..workers).map(|_| CachePadded::new(AtomicU64::new(0))).collect() }
    }

    /// The side of worker `i`; each is to be taken once.
    #[must_use]
    pub fn worker(&self, i: usize) -> WorkerEpoch {
        WorkerEpoch { all: self.clone(), worker: i }
    }

    /// Now. What was unlinked before this call is not found by a burst that begins after it.
    #[must_use]
    pub fn moment(&self) -> Moment {
        fence(Ordering::SeqCst);
        Moment(self.workers.iter().map(|w| w.load(Ordering::Acquire)).collect())
    }

    /// Whether every worker has been between bursts since.
    #[must_use]
    pub fn passed(&self, since: &Moment) -> bool {
        self.workers.iter().zip(&since.0).all(|(w, &then)| then & 1 == 0 || w.load(Ordering::Acquire) != then)
    }
}

impl WorkerEpoch {
    /// A burst begins.
    #[inline]
    pub fn enter(&self) {
        let cell = &self.all.workers[self.worker];
        cell.store(cell.load(Ordering::Relaxed) | 1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// It ends: no record found in it is used any more.
    #[inline]
    pub fn leave(&self) {
        let cell = &self.all.workers[self.worker];
        cell.store((cell.load(Ordering::Relaxed) | 1) + 1, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn waits_for_workers_within_a_burst_only() {
        let q = Quiescence::new(2);
        let (a, _b) = (q.worker(0), q.worker(1));
        a.enter();
        let moment = q.moment();
        assert!(!q.passed(&moment));
        a.leave();
        assert!(q.passed(&moment));
        a.enter();
        assert!(q.passed(&moment), "a burst that began later has not seen it");
        assert!(q.passed(&{
            a.leave();
            q.moment()
        }));
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc as LoomArc;

    #[test]
    fn loom_no_reuse_under_a_reader() {
        loom::model(|| {
            let q = Quiescence::new(1);
            let linked = LoomArc::new(AtomicU64::new(1));
            let reused = LoomArc::new(AtomicU64::new(0));
            let (worker, l2, r2) = (q.worker(0), LoomArc::clone(&linked), LoomArc::clone(&reused));
            let thread = loom::thread::spawn(move || {
                worker.enter();
                if l2.load(Ordering::Acquire) == 1 {
                    assert_eq!(r2.load(Ordering::Relaxed), 0, "the record was reused while in use");
                }
                worker.leave();
            });
            linked.store(0, Ordering::Release);
            let moment = q.moment();
            if q.passed(&moment) {
                reused.store(1, Ordering::Relaxed);
            }
            thread.join().expect("no panic");
        });
    }
}
