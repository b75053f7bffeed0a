//! What a worker works with: the state shared by all, its own scratch space, and the stages both directions share.

use crate::flow::hash::FlowHash;
use crate::flow::quiescence::{Quiescence, WorkerEpoch};
use crate::flow::record::{Stamp, WholeFlow};
use crate::flow::table::{FlowTable, NoFlow};
use crate::flow::tombstones::FlowSnapshot;
use crate::inbound::icmp_error::ErrorBudget;
use crate::inbound::trials::TrialBudget;
use crate::observe::audit::AuditSink;
use crate::observe::counters::{Reason, WorkerCounters};
use crate::state::keyring::KeyRing;
use crate::state::path_mtu::{Known, PathMtus};
use crate::state::policies::{InboundAction, Mode, OutboundAction, Policy};
use crate::state::resync::ResyncQueue;
use arc_swap::{ArcSwap, Cache};
use arrayvec::ArrayVec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crossbeam_utils::CachePadded;
use protocol::aead::{BATCH, Batch, KeyState};
use protocol::five_tuple::FiveTuple;
use protocol::prseq::{Lanes, MasterKey};
use protocol::wire::option::Form;
use std::sync::Arc;

/// Packets taken from a queue at once, at most.
pub const BURST: usize = BATCH;

/// Where the path gets the time from: nanoseconds since any fixed moment, never going back.
pub trait Clock {
    /// Now.
    fn now_ns(&self) -> u64;
}

impl<F: Fn() -> u64> Clock for F {
    #[inline]
    fn now_ns(&self) -> u64 {
        self()
    }
}

/// A packet under an option of this form; `None` for [`Mode::Off`].
#[must_use]
pub const fn form_of(mode: Mode) -> Option<Form> {
    match mode {
        Mode::Off => None,
        Mode::Pdm => Some(Form::Pdm),
        Mode::Clear => Some(Form::Clear),
        Mode::Encrypted => Some(Form::Encrypted),
    }
}

/// What to do with packets that would not fit the outgoing MTU with the option.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Oversize {
    /// They pass without it.
    Pass,
    /// They are answered with ICMPv6 Packet Too Big.
    PacketTooBig,
}

/// The generation that numbers of options in clear are of. They need no key: which ones there are, and whether there are any,
/// is nothing to them. (The numbers of those that seal begin with 1.)
pub(crate) const IN_CLEAR: u32 = 0;

/// Settings of the path, fixed while workers run.
#[derive(Clone, Debug)]
pub struct PathConfig {
    /// The rules, first match wins.
    pub policies: Vec<Policy>,
    /// MTU of the outside port, octets from the IPv6 header on.
    pub outside_mtu: usize,
    /// See [`Oversize`].
    pub oversize: Oversize,
    /// Lower the MSS of SYNs so that segments fit with the option.
    pub mss_clamp: bool,
    /// When the box started, on the workers' clock; policies' lifetimes count from it.
    pub started_ns: u64,
}

/// What a worker wants to know of a policy for nearly every packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// Packets up to this length, octets, get the option without a further question; 0: none does.
    pub(crate) add_up_to: usize,
    /// The option that is opened, and counted.
    pub(crate) opens: Option<Form>,
    /// Whether it is left in place then.
    pub(crate) keeps: bool,
    pub(crate) form: Form,
}

impl Way {
    fn of(policy: &Policy, outside_mtu: usize) -> Self {
        let form = form_of(policy.mode);
        let adds = policy.outbound == OutboundAction::Add && policy.lifetime_ns.is_none();
        let room = |form: Form| outside_mtu.saturating_sub(form.header_len());
        Self {
            add_up_to: form.filter(|_| adds).map_or(0, room),
            opens: form.filter(|_| policy.inbound != InboundAction::Pass),
            keeps: policy.inbound == InboundAction::Verify,
            form: form.unwrap_or(Form::Encrypted),
        }
    }
}

/// State shared by all workers.
pub struct Shared {
    /// Settings.
    pub config: PathConfig,
    /// By policy.
    pub(crate) ways: Vec<Way>,
    /// Flows.
    pub table: FlowTable,
    /// What is known of the paths to destinations.
    pub path_mtus: PathMtus,
    /// Keys.
    pub ring: Arc<ArcSwap<KeyRing>>,
    /// Global Pointer for link-local sources and for all others.
    pub global_pointer: [CachePadded<AtomicU32>; 2],
    /// Newest ring version each worker works with; the control thread waits for it before it forgets a generation.
    pub ring_seen: Vec<CachePadded<AtomicU64>>,
    /// Secret behind the PRSEQ orders and the first PSNTPs, of this process only.
    pub master: MasterKey,
    /// Which workers are within a burst.
    pub quiescence: Quiescence,
    /// Sealed packets that no likely key opened, for the control thread.
    pub resync: ResyncQueue,
}

impl Shared {
    /// Shared state for this many workers.
    #[must_use]
    pub fn new(
        config: PathConfig,
        table: FlowTable,
        ring: Arc<ArcSwap<KeyRing>>,
        master: MasterKey,
        workers: usize,
    ) -> Self {
        Self {
            ways: config.policies.iter().map(|p| Way::of(p, config.outside_mtu)).collect(),
            config,
            path_mtus: PathMtus::new(table.secret_for(1)),
            table,
            ring,
            global_pointer: [CachePadded::new(AtomicU32::new(1)), CachePadded::new(AtomicU32::new(1))],
            ring_seen: (0..workers).map(|_| CachePadded::new(AtomicU64::new(0))).collect(),
            master,
            quiescence: Quiescence::new(workers),
            resync: ResyncQueue::new(),
        }
    }

    /// The MTU of the path to a destination, as far as it is known.
    pub(crate) fn mtu_to(&self, destination: &[u8; 16], now: u64) -> usize {
        match self.path_mtus.known(destination, now) {
            Some(Known::Mtu(mtu)) => mtu.min(self.config.outside_mtu),
            _ => self.config.outside_mtu,
        }
    }

    /// How long hosts' packets to and from a destination may be, which get `len` octets more.
    pub(crate) fn mtu_with(&self, destination: &[u8; 16], len: usize, now: u64) -> usize {
        let known = self.path_mtus.known(destination, now).map_or(usize::MAX, |known| known.for_hosts(len));
        known.min(self.config.outside_mtu.saturating_sub(len))
    }

    /// This moment, for flows that were told something.
    #[inline]
    pub(crate) fn stamp(&self, ring: &KeyRing) -> Stamp {
        Stamp::new(ring.version, self.path_mtus.epoch())
    }

    /// Takes `count` consecutive Global Pointer values for sources of this class; gives the first.
    #[inline]
    pub(crate) fn take_global_pointer(&self, link_local: bool, count: u32) -> u32 {
        if count == 0 { 0 } else { self.global_pointer[usize::from(link_local)].fetch_add(count, Ordering::Relaxed) }
    }

    /// Puts a flow into the table; one that was there before goes on where it stopped. Says whether it is new.
    pub(crate) fn insert(
        &self,
        tuple: &FiveTuple,
        hash: FlowHash,
        policy: usize,
        ring: &KeyRing,
        now: u64,
    ) -> Result<(WholeFlow<'_>, bool), NoFlow> {
        let sealed = self.ways.get(policy).is_none_or(|way| way.form == Form::Encrypted);
        let generation = if sealed { ring.sealer.as_ref().map(|s| s.generation) } else { Some(IN_CLEAR) };
        self.table.insert(tuple, hash, policy as u32, now, |flow, fingerprint, rest: Option<FlowSnapshot>| {
            let psntp = self.master.first_psntp(fingerprint.bits());
            if rest.is_some_and(|r| r.sender.is_some()) {
                flow.will_seal(); // it has sealed before, and what it leaves behind must go on saying so
            }
            match (rest.and_then(|r| r.sender), generation) {
                (Some(rest), Some(generation)) => flow.sender.resume(rest, generation),
                (Some(rest), None) => flow.sender.resume_as_it_was(rest),
                (None, Some(generation)) => flow.sender.start(generation, psntp),
                (None, None) => flow.sender.start_later(psntp),
            }
            if let Some(rest) = rest {
                flow.back.receiver.resume(rest.receiver);
            }
        })
    }
}

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

/// One worker's own things. Nothing in it is shared but what [`Shared`] holds.
pub struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) ring: Cache<Arc<ArcSwap<KeyRing>>, Arc<KeyRing>>,
    /// Its counters.
    pub counters: Arc<WorkerCounters>,
    pub(crate) index: usize,
    pub(crate) epoch: WorkerEpoch,
    pub(crate) scratch: Box<Scratch>,
    pub(crate) trials: TrialBudget,
    pub(crate) too_big: TokenBucket,
    pub(crate) errors: ErrorBudget,
    /// Where sealed packets' (key, nonce) pairs go in audit mode.
    pub audit: Option<AuditSink>,
}

impl Worker {
    /// Worker `index` of those `shared` was made for; each is to be made once.
    #[must_use]
    pub fn new(shared: Arc<Shared>, index: usize) -> Self {
        Self {
            ring: Cache::new(Arc::clone(&shared.ring)),
            counters: Arc::new(WorkerCounters::new(shared.config.policies.len())),
            index,
            epoch: shared.quiescence.worker(index),
            scratch: Box::default(),
            trials: TrialBudget::default(),
            too_big: TokenBucket::new(100, 20),
            errors: ErrorBudget::default(),
            audit: None,
            shared,
        }
    }

    /// Which of the workers it is.
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index
    }

    /// A burst begins: from here on no record that a look-up finds is used for another flow.
    #[inline]
    pub(crate) fn enter(&mut self) {
        self.epoch.enter();
        self.refresh_ring();
    }

    /// Takes note of the ring that this worker works with.
    #[inline]
    fn refresh_ring(&mut self) {
        let version = self.ring.load().version;
        let seen = &self.shared.ring_seen[self.index];
        if seen.load(Ordering::Relaxed) != version {
            seen.store(version, Ordering::Release);
        }
    }

    /// Between bursts without packets: lets go of a ring that has been replaced.
    pub fn idle(&mut self) {
        self.refresh_ring();
    }
}

/// First matching policy of an outbound 5-tuple (as words), with its number; `None`: none, or it is off.
pub(crate) fn classify<'a>(config: &'a PathConfig, outbound: &[u64; 5]) -> Option<(usize, &'a Policy)> {
    config.policies.iter().enumerate().find(|(_, p)| p.matches(outbound)).filter(|(_, p)| p.mode != Mode::Off)
}

/// Whether a policy's lifetime is over (RFC 8250 section 4.4).
#[inline]
pub(crate) fn expired(config: &PathConfig, policy: &Policy, now: u64) -> bool {
    policy.lifetime_ns.is_some_and(|lifetime| now.saturating_sub(config.started_ns) >= lifetime)
}

impl From<NoFlow> for Reason {
    fn from(no: NoFlow) -> Self {
        match no {
            NoFlow::Full => Self::TableFull,
            NoFlow::Contended => Self::Contended,
        }
    }
}

/// Tokens that come back with time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenBucket {
    tokens: u64,
    per_second: u64,
    most: u64,
    filled_ns: u64,
}

impl TokenBucket {
    pub(crate) const fn new(per_second: u64, most: u64) -> Self {
        Self { tokens: most, per_second, most, filled_ns: 0 }
    }

    #[inline]
    pub(crate) fn take(&mut self, now: u64) -> bool {
        let has = self.has(now);
        self.tokens -= u64::from(has);
        has
    }

    /// Whether there is one to take.
    #[inline]
    pub(crate) fn has(&mut self, now: u64) -> bool {
        if self.tokens == 0 {
            let earned = u128::from(now.saturating_sub(self.filled_ns)) * u128::from(self.per_second) / 1_000_000_000;
            if earned == 0 {
                return false;
            }
            self.tokens = (earned.min(u128::from(self.most))) as u64;
            self.filled_ns = now;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_with_time_only() {
        let mut bucket = TokenBucket::new(10, 3);
        assert_eq!((0..5).filter(|_| bucket.take(1)).count(), 3);
        assert!(!bucket.take(50_000_000));
        assert!(bucket.take(200_000_000));
        assert_eq!(
            (0..10_000).filter(|_| bucket.take(3_600_000_000_000)).count(),
            4,
            "one left over, then at most three"
        );
    }
}
