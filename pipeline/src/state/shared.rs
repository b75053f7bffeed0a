//! The state that all workers share.

use crate::flow::hash::FlowHash;
use crate::flow::quiescence::Quiescence;
use crate::flow::record::WholeFlow;
use crate::flow::table::{FlowTable, NoFlow};
use crate::flow::tombstones::FlowSnapshot;
use crate::observe::reasons::Reason;
use crate::state::path_mtu::{Known, PathMtus};
use crate::state::resync_queue::ResyncQueue;
use crate::state::rules::{PathConfig, Rules};
use crate::state::snapshot::SnapshotCell;
use crate::state::watch::Watches;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crossbeam_utils::CachePadded;
use protocol::five_tuple::FiveTuple;
use protocol::prseq::{MasterKey, PrseqKey};
use protocol::sender::{NO_GENERATION, Numbers};
use std::sync::Arc;

/// State shared by all workers.
pub struct Shared {
    /// Keys and rules, to be replaced.
    pub snapshots: SnapshotCell,
    /// Flows.
    pub table: FlowTable,
    /// What is known of the paths to destinations.
    pub path_mtus: PathMtus,
    /// Global Pointer for link-local sources and for all others.
    pub global_pointer: [CachePadded<AtomicU32>; 2],
    /// The newest snapshot that each worker works with.
    seen: Vec<CachePadded<AtomicU64>>,
    /// Secret behind the PRSEQ orders and the first PSNTPs, of this process only.
    pub master: MasterKey,
    /// Which workers are within a burst.
    pub quiescence: Quiescence,
    /// Sealed packets that no likely key opened, for the control thread.
    pub resync: ResyncQueue,
    /// Packets that somebody watches.
    pub watches: Arc<Watches>,
}

impl Shared {
    /// Shared state for this many workers, with these settings in force and the cell's keys.
    #[must_use]
    pub fn new(
        config: PathConfig,
        table: FlowTable,
        snapshots: SnapshotCell,
        master: MasterKey,
        workers: usize,
    ) -> Self {
        snapshots.publish_rules(config, workers);
        Self {
            snapshots,
            path_mtus: PathMtus::new(table.secret_for(1)),
            table,
            global_pointer: [CachePadded::new(AtomicU32::new(1)), CachePadded::new(AtomicU32::new(1))],
            seen: (0..workers).map(|_| CachePadded::new(AtomicU64::new(0))).collect(),
            master,
            quiescence: Quiescence::new(workers),
            resync: ResyncQueue::new(),
            watches: Arc::default(),
        }
    }

    /// Puts other settings in force: policies, timeouts, and all else of them. A burst that has begun ends under the old ones.
    /// Flows stay, and are asked anew which policy they fall under.
    pub fn replace(&self, config: PathConfig) {
        self.snapshots.publish_rules(config, self.seen.len());
    }

    /// Has the policy of this name end then, on the workers' clock, whatever its lifetime; `None`: never. Says whether there is
    /// one. It holds as long as a policy of this name is in force.
    pub fn end_policy(&self, name: &str, end_ns: Option<u64>) -> bool {
        self.snapshots.replace_rules(|rules| rules.with_end(name, end_ns, self.seen.len()))
    }

    /// Whether flows may be other workers'.
    #[inline]
    pub(crate) fn has_several_workers(&self) -> bool {
        self.seen.len() > 1
    }

    /// Whether every worker works with this snapshot or a newer one. The control thread waits for it before it forgets a
    /// generation, which is told by [`Snapshot::ring_since`](crate::state::snapshot::Snapshot::ring_since).
    #[must_use]
    pub fn all_have_seen(&self, version: u64) -> bool {
        self.seen.iter().all(|seen| seen.load(Ordering::Acquire) >= version)
    }

    /// Where a worker notes which snapshot it works with.
    #[inline]
    pub(crate) fn seen_by(&self, worker: usize) -> &AtomicU64 {
        &self.seen[worker]
    }

    /// The MTU of the path to a destination, as far as it is known.
    pub(crate) fn mtu_to(&self, rules: &Rules, destination: &[u8; 16], now: u64) -> usize {
        match self.path_mtus.known(destination, now) {
            Some(Known::Mtu(mtu)) => mtu.min(rules.config.outside_mtu),
            _ => rules.config.outside_mtu,
        }
    }

    /// How long hosts' packets to and from a destination may be, which get `len` octets more.
    pub(crate) fn mtu_with(&self, rules: &Rules, destination: &[u8; 16], len: usize, now: u64) -> usize {
        let known = self.path_mtus.known(destination, now).map_or(usize::MAX, |known| known.for_hosts(len));
        known.min(rules.config.outside_mtu.saturating_sub(len))
    }

    /// Takes `count` consecutive Global Pointer values for sources of this class; gives the first.
    #[inline]
    pub(crate) fn take_global_pointer(&self, link_local: bool, count: u32) -> u32 {
        if count == 0 { 0 } else { self.global_pointer[usize::from(link_local)].fetch_add(count, Ordering::Relaxed) }
    }

    /// The order of PRSEQ in a flow's options under this generation and Kri.
    pub(crate) fn prseq_order(&self, flow: WholeFlow<'_>, generation: u32, kri: u32) -> PrseqKey {
        let fingerprint = self.table.fingerprint(&flow.back.words()).bits();
        PrseqKey::derive(&self.master, fingerprint, generation, kri)
    }

    /// Puts a flow under the policy at this place into the table, a new one as this worker's; one that was there before goes on
    /// where it stopped. Says whether it is new.
    pub(crate) fn insert(
        &self,
        worker: usize,
        tuple: &FiveTuple,
        hash: FlowHash,
        policy: usize,
        rules: &Rules,
        now: u64,
    ) -> Result<(WholeFlow<'_>, bool), NoFlow> {
        let word = rules.word_of(policy);
        self.table.insert(tuple, hash, word, now, |flow, fingerprint, left: Option<FlowSnapshot>| {
            let numbers = match left.and_then(|left| left.sender) {
                Some(sender) => Numbers::resume(sender),
                None => Numbers::start(NO_GENERATION, self.master.first_psntp(fingerprint.bits())),
            };
            flow.begin(worker as u16, numbers);
            if let Some(left) = left {
                flow.back.receiver.resume(left.receiver);
            }
        })
    }
}

impl From<NoFlow> for Reason {
    fn from(no: NoFlow) -> Self {
        match no {
            NoFlow::Full => Self::TableFull,
            NoFlow::Contended => Self::Contended,
            NoFlow::Leaving => Self::FlowLeaving,
        }
    }
}
