//! One worker's own things, and the space that it works in.

use crate::flow::quiescence::WorkerEpoch;
use crate::flow::record::Naming;
use crate::lanes::ShortWay;
use crate::lanes::inbound::Lanes as LanesBack;
use crate::observe::audit::AuditSink;
use crate::observe::counters::WorkerCounters;
use crate::ports::BURST;
use crate::state::budgets::{ErrorBudget, TokenBucket, TrialBudget};
use crate::state::shared::Shared;
use crate::state::snapshot::Snapshot;
use crate::state::watch::Watching;
use arc_swap::{ArcSwap, Cache};
use arrayvec::ArrayVec;
use core::sync::atomic::{AtomicU64, Ordering};
use protocol::aead::{Batch, KeyState};
use protocol::prseq::Lanes;
use std::sync::Arc;

/// What a burst's sealed options are worked on in: used again by the next one, overwritten at the end.
#[derive(Debug)]
pub(crate) struct Scratch {
    pub(crate) batch: Batch,
    pub(crate) keys: [KeyState; BURST],
    /// Which of `keys` is each slot's: packets of one flow that follow one another share one, so that it is fetched and
    /// scheduled once.
    pub(crate) key_at: [u8; BURST],
    pub(crate) lanes: Lanes<BURST>,
    pub(crate) nonces: [(u64, u32); BURST],
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            batch: Batch::new(),
            keys: [const { KeyState::ZERO }; BURST],
            key_at: [0; BURST],
            lanes: Lanes::default(),
            nonces: [(0, 0); BURST],
        }
    }
}

impl Scratch {
    /// The batch, and the states of its first `count` slots.
    #[inline]
    pub(crate) fn split(&mut self, count: usize) -> (&mut Batch, ArrayVec<&KeyState, BURST>) {
        let keys = self.key_at.iter().take(count).map(|&at| &self.keys[usize::from(at) % BURST]);
        (&mut self.batch, keys.collect())
    }
}

/// A worker's way to the snapshot.
pub(crate) type SnapshotCache = Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>;

/// One worker's own things. Nothing in it is shared but what [`Shared`] holds.
pub struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) snapshot: SnapshotCache,
    /// Its counters.
    pub counters: Arc<WorkerCounters>,
    pub(crate) index: usize,
    pub(crate) naming: Naming,
    pub(crate) lanes: ShortWay,
    pub(crate) epoch: WorkerEpoch,
    pub(crate) scratch: Box<Scratch>,
    pub(crate) lanes_back: LanesBack,
    pub(crate) trials: TrialBudget,
    pub(crate) too_big: TokenBucket,
    pub(crate) errors: ErrorBudget,
    /// The 5-tuples of flows that are to be given away when the burst has been sent.
    pub(crate) to_give: ArrayVec<[u64; 5], BURST>,
    /// Whether the next burst is sifted: outbound, inbound.
    pub(crate) sifting: [bool; 2],
    /// Of its bursts what somebody watches.
    pub(crate) watching: Box<Watching>,
    /// Where sealed packets' (key, nonce) pairs go in audit mode.
    pub audit: Option<AuditSink>,
}

impl Worker {
    /// Worker `index` of those `shared` was made for; each is to be made once.
    #[must_use]
    pub fn new(shared: Arc<Shared>, index: usize) -> Self {
        Self {
            snapshot: Cache::new(shared.snapshots.pointer()),
            counters: Arc::new(WorkerCounters::new(index)),
            index,
            naming: Naming::default(),
            lanes: ShortWay::default(),
            epoch: shared.quiescence.worker(index),
            scratch: Box::default(),
            lanes_back: LanesBack::default(),
            trials: TrialBudget::default(),
            too_big: TokenBucket::new(100, 20),
            errors: ErrorBudget::default(),
            to_give: ArrayVec::new(),
            sifting: [false; 2],
            watching: Box::new(Watching::new(&shared.watches)),
            audit: None,
            shared,
        }
    }

    /// Which of the workers it is.
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index
    }

    /// Between bursts without packets: lets go of a snapshot that has been replaced.
    pub fn idle(&mut self) {
        look(&mut self.snapshot, self.shared.seen_by(self.index));
    }
}

/// The present snapshot. Takes note, in `seen`, that this worker works with it.
#[inline]
pub(crate) fn look<'a>(cache: &'a mut SnapshotCache, seen: &AtomicU64) -> &'a Snapshot {
    let snapshot = cache.load();
    if seen.load(Ordering::Relaxed) != snapshot.version {
        seen.store(snapshot.version, Ordering::Release);
    }
    snapshot
}
