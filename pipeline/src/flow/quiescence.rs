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

/// What has to pass before a record that left the index is used again: every worker that was within a burst when it began has
/// ended that burst.
#[derive(Debug, Clone)]
pub struct GracePeriod(Vec<u64>);

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

    /// A grace period that begins now. What was unlinked before is not found by a burst that begins after this call.
    #[must_use]
    pub fn grace_period(&self) -> GracePeriod {
        fence(Ordering::SeqCst);
        GracePeriod(self.workers.iter().map(|w| w.load(Ordering::Acquire)).collect())
    }

    /// Whether every worker has been between bursts since it began.
    #[must_use]
    pub fn has_passed(&self, grace: &GracePeriod) -> bool {
        self.workers.iter().zip(&grace.0).all(|(w, &then)| then & 1 == 0 || w.load(Ordering::Acquire) != then)
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
        let grace = q.grace_period();
        assert!(!q.has_passed(&grace));
        a.leave();
        assert!(q.has_passed(&grace));
        a.enter();
        assert!(q.has_passed(&grace), "a burst that began later has not seen it");
        assert!(q.has_passed(&{
            a.leave();
            q.grace_period()
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
            let grace = q.grace_period();
            if q.has_passed(&grace) {
                reused.store(1, Ordering::Relaxed);
            }
            thread.join().expect("no panic");
        });
    }
}
