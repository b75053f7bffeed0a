//! Packets that somebody watches while the box runs: which, how many at most, and how what was seen of them comes to whoever asked.
//!
//! Workers ask one word per burst whether anything is watched at all. While something is, packets that match are copied before
//! their burst goes its ordinary way, and noted again behind it (`watching`): no stage knows of it. Notes are made beforehand
//! and go round between two queues, so that a worker neither allocates nor waits. What finds no free note is counted.

pub mod note;

use crate::ports::BURST;
use crate::state::rules::PolicyId;
use arc_swap::ArcSwap;
use arrayvec::ArrayVec;
use core::sync::atomic::{AtomicU64, Ordering};
use crossbeam_queue::ArrayQueue;
use note::{Note, Point};
use protocol::five_tuple::FiveTuple;
use protocol::prefix::Prefix;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Watches at a time, at most.
pub const MOST_WATCHES: usize = 4;
/// Octets of a packet that are copied, at most.
pub const MOST_SNAPLEN: usize = 16_384;
/// Notes of one watch that go round.
const NOTES: usize = 256;
/// Packets of one watch that are copied in a second, whatever is kept of them: some three per cent of a core.
const COPIES: u64 = 100_000;
/// Nanoseconds, as a power of two, that count as a second.
const SECOND: u32 = 30;

/// Which packets. Both directions of a flow match.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of either end.
    pub address: Option<[u8; 16]>,
    /// Around the address of either end.
    pub prefix: Option<Prefix>,
    /// Of either end.
    pub port: Option<u16>,
    /// The upper-layer protocol.
    pub protocol: Option<u8>,
    /// Those that the policy of its flow is one of.
    pub policies: Option<Vec<PolicyId>>,
    /// Where it has to be seen.
    pub point: Point,
}

impl Filter {
    /// Whether a packet of this 5-tuple may match. `None`: it has none, being of no shape that is measured.
    pub(crate) fn may_match(&self, tuple: Option<&FiveTuple>) -> bool {
        let Some(tuple) = tuple else {
            return self.address.is_none()
                && self.prefix.is_none()
                && self.port.is_none()
                && self.protocol.is_none()
                && self.policies.is_none();
        };
        self.address.is_none_or(|address| tuple.src == address || tuple.dst == address)
            && self.prefix.is_none_or(|prefix| prefix.contains(&tuple.src) || prefix.contains(&tuple.dst))
            && self.port.is_none_or(|port| tuple.sport == port || tuple.dport == port)
            && self.protocol.is_none_or(|protocol| tuple.protocol == protocol)
    }

    pub(crate) fn has_policy(&self, policy: Option<PolicyId>) -> bool {
        self.policies.as_ref().is_none_or(|wanted| policy.is_some_and(|id| wanted.contains(&id)))
    }
}

/// How much.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Octets of each packet.
    pub snaplen: usize,
    /// Packets in all.
    pub packets: u64,
    /// Packets in a second.
    pub per_second: u64,
}

/// So many in a second. Workers that meet at its turn may let some more through.
#[derive(Debug, Default)]
struct PerSecond {
    second: AtomicU64,
    count: AtomicU64,
}

impl PerSecond {
    fn take(&self, now: u64, most: u64) -> bool {
        // The first second is not the one that nobody has begun.
        let second = (now >> SECOND) + 1;
        if self.second.load(Ordering::Relaxed) != second {
            self.second.store(second, Ordering::Relaxed);
            self.count.store(0, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed) < most
    }
}

/// One watch, as workers see it.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) filter: Filter,
    limits: Limits,
    copies: PerSecond,
    kept: PerSecond,
    /// Packets noted so far.
    noted: AtomicU64,
    /// Packets that matched, or may have, and were not noted: no note was free, or too many came in a second.
    missed: AtomicU64,
    free: ArrayQueue<Box<Note>>,
    ready: ArrayQueue<Box<Note>>,
}

impl Watch {
    fn new(filter: Filter, limits: Limits) -> Self {
        let limits = Limits { snaplen: limits.snaplen.min(MOST_SNAPLEN), ..limits };
        let free = ArrayQueue::new(NOTES);
        for _ in 0..NOTES {
            let _ = free.push(Box::new(Note::new(limits.snaplen))); // there is room for as many
        }
        Self {
            filter,
            limits,
            copies: PerSecond::default(),
            kept: PerSecond::default(),
            noted: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            free,
            ready: ArrayQueue::new(NOTES),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.noted.load(Ordering::Relaxed) >= self.limits.packets
    }

    /// A note to write a packet into that may match.
    pub(crate) fn take(&self, now: u64) -> Option<Box<Note>> {
        let note = if self.copies.take(now, COPIES) { self.free.pop() } else { None };
        if note.is_none() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
        note
    }

    /// Hands a note to the reader, if its packet is one that is wanted.
    pub(crate) fn give(&self, note: Box<Note>) {
        let wanted = self.filter.has_policy(note.policy) && note.at(self.filter.point).is_some();
        let queue = if !wanted || self.is_full() {
            &self.free
        } else if self.kept.take(note.at_ns, self.limits.per_second) {
            self.noted.fetch_add(1, Ordering::Relaxed);
            &self.ready
        } else {
            self.missed.fetch_add(1, Ordering::Relaxed);
            &self.free
        };
        let _ = queue.push(note); // either has room for all there are
    }
}

/// The watches at one time.
#[derive(Debug, Default)]
pub(crate) struct List {
    /// 0: there are none.
    pub(crate) version: u64,
    pub(crate) watches: Vec<Arc<Watch>>,
}

/// A packet that is in its burst.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) place: usize,
    /// Whose it is, by its place in the list.
    pub(crate) watch: usize,
    pub(crate) note: Box<Note>,
    /// Packets of the burst behind it that go the same way.
    pub(crate) behind: u64,
}

/// A worker's own part.
#[derive(Debug)]
pub(crate) struct Watching {
    pub(crate) list: Arc<List>,
    pub(crate) pending: ArrayVec<Pending, { BURST * MOST_WATCHES }>,
    /// Packets that the port, and other workers, did not take before the burst.
    pub(crate) counted: [u64; 2],
}

impl Watching {
    pub(crate) fn new(watches: &Watches) -> Self {
        // No list is freed by who works with it, the first one included.
        Self { list: watches.list(), pending: ArrayVec::new(), counted: [0; 2] }
    }
}

/// What is watched. A replaced list is kept until no worker holds it, so that none of them frees it.
#[derive(Debug, Default)]
pub struct Watches {
    /// The version of the list; 0: nothing is watched.
    wanted: AtomicU64,
    list: ArcSwap<List>,
    old: Mutex<Past>,
}

#[derive(Debug, Default)]
struct Past {
    lists: Vec<Arc<List>>,
    version: u64,
}

/// There are [`MOST_WATCHES`] already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooMany;

impl Watches {
    /// Watches from now on, until the reader is dropped.
    ///
    /// # Errors
    /// [`TooMany`] watch already.
    pub fn start(self: &Arc<Self>, filter: Filter, limits: Limits) -> Result<Reader, TooMany> {
        let watch = Arc::new(Watch::new(filter, limits));
        let mut past = self.past();
        let mut watches = self.list.load().watches.clone();
        if watches.len() >= MOST_WATCHES {
            return Err(TooMany);
        }
        watches.push(Arc::clone(&watch));
        self.publish(&mut past, watches);
        Ok(Reader { watch, watches: Arc::clone(self) })
    }

    fn end(&self, watch: &Arc<Watch>) {
        let mut past = self.past();
        let mut watches = self.list.load().watches.clone();
        watches.retain(|other| !Arc::ptr_eq(other, watch));
        self.publish(&mut past, watches);
    }

    fn publish(&self, past: &mut Past, watches: Vec<Arc<Watch>>) {
        past.version += 1;
        let version = if watches.is_empty() { 0 } else { past.version };
        let before = self.list.swap(Arc::new(List { version, watches }));
        past.lists.push(before);
        self.wanted.store(version, Ordering::Release);
        sweep(past);
    }

    /// Frees what no worker holds any more; says how many lists are left.
    pub fn sweep(&self) -> usize {
        sweep(&mut self.past())
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.old.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    pub(crate) fn wanted(&self) -> u64 {
        self.wanted.load(Ordering::Relaxed)
    }

    pub(crate) fn list(&self) -> Arc<List> {
        self.list.load_full()
    }
}

fn sweep(past: &mut Past) -> usize {
    past.lists.retain(|list| Arc::strong_count(list) > 1);
    past.lists.len()
}

/// Reads what is watched. The watch ends with it.
#[derive(Debug)]
pub struct Reader {
    watch: Arc<Watch>,
    watches: Arc<Watches>,
}

impl Reader {
    /// The next note, if one is ready; it goes round again behind `with`.
    pub fn next<T>(&self, with: impl FnOnce(&Note) -> T) -> Option<T> {
        let note = self.watch.ready.pop()?;
        let made = with(&note);
        let _ = self.watch.free.push(note); // there is room for as many as there are
        Some(made)
    }

    /// Whether as many packets were noted as were asked for, and all have been read.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.watch.is_full() && self.watch.ready.is_empty()
    }

    /// Packets noted so far.
    #[must_use]
    pub fn noted(&self) -> u64 {
        self.watch.noted.load(Ordering::Relaxed)
    }

    /// Packets that matched, or may have, and were not noted.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.watch.missed.load(Ordering::Relaxed)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.watches.end(&self.watch);
    }
}
