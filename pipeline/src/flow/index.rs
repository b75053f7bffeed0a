//! The index of the flow table: buckets of one cache line, eight words each, two buckets per flow, and a third for the few
//! whose two are nearly full: then no flow is turned away while there are records.
//!
//! A word is `state (3) | tag (29) | record (32)`. Look-ups read; insertion and removal are compare-and-swap. What makes
//! insertion more than that: two workers may insert one flow at the same moment into different words, and a flow that
//! stood in the table twice would seal two packets under one nonce. So a word is first claimed as *pending*, then both
//! buckets are read again. Of two pending words of one flow the lower one wins: it cancels the other; a pending word that
//! meets a live one withdraws. Since each claims before it reads, at least one of two sees the other.
//!
//! A flow leaves in two steps ([`FlowIndex::leave`], [`FlowIndex::remove`]), between which its word says *leaving*: no look-up finds
//! it, and no insertion takes its place. So there is a time in which nobody can be at work on it, to read what must outlive it.

use crate::flow::hash::FlowHash;
use crate::flow::memory::{Pages, TableMemory};
use crate::flow::record::FlowBack;
use core::hint::select_unpredictable;
use protocol::prefetch;
use protocol::sync::{AtomicU64, Ordering, fence};

/// Words per bucket; fewer where all interleavings are explored.
const WAYS: usize = if cfg!(loom) { 2 } else { 8 };

/// Words that the first bucket keeps free while the second one has more.
const SPARE: usize = 1;

const EMPTY: u64 = 0;
const PENDING: u64 = 1 << 61;
const LIVE: u64 = 2 << 61;
const CANCELLED: u64 = 3 << 61;
const LEAVING: u64 = 4 << 61;
const STATE: u64 = 7 << 61;
const TAG: u64 = ((1 << 29) - 1) << 32;

/// A cache line of words.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Bucket(pub(crate) [AtomicU64; WAYS]);

/// How an insertion ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inserted {
    /// The prepared record stands in the table.
    New,
    /// The flow was there already, under this record; the prepared one is the caller's again.
    Existing(u32),
    /// The flow is being taken out of the table at this moment.
    Leaving,
    /// All its buckets are full.
    Full,
    /// Other workers were inserting the same flow for too long.
    Contended,
}

/// The index.
#[derive(Debug)]
pub struct FlowIndex {
    buckets: TableMemory<Bucket>,
    mask: usize,
    /// Flows in a third bucket. Look-ups go there only when there are any; insertion always does, so that it does not matter
    /// that a look-up may be a moment behind.
    thirds: AtomicU64,
}

enum Found {
    Live(u32),
    Leaving,
    Pending,
    Absent(Option<usize>),
}

impl FlowIndex {
    /// An index with two words per record.
    #[must_use]
    pub fn new(records: usize) -> Self {
        let buckets = (records * 2).div_ceil(WAYS).next_power_of_two().max(2);
        Self { buckets: TableMemory::new(buckets), mask: buckets - 1, thirds: AtomicU64::new(0) }
    }

    /// Octets that an index for this many records takes.
    #[must_use]
    pub fn memory(records: usize) -> usize {
        (records * 2).div_ceil(WAYS).next_power_of_two().max(2) * size_of::<Bucket>()
    }

    /// What it lies on.
    pub fn pages(&self) -> Pages {
        self.buckets.pages()
    }

    /// The buckets of a flow: by the low bits of its hash, and by its tag beside them.
    fn places(&self, hash: FlowHash) -> [usize; 3] {
        Self::places_of(self.mask, hash)
    }

    const fn places_of(mask: usize, hash: FlowHash) -> [usize; 3] {
        let first = hash.0 as usize & mask;
        let mixed = (hash.0 >> 34).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        [first, Self::other(mask, first, mixed >> 32), Self::other(mask, first, mixed)]
    }

    const fn other(mask: usize, first: usize, by: u64) -> usize {
        let place = (first ^ by as usize) & mask;
        if place == first { first ^ 1 } else { place }
    }

    const fn tag(hash: FlowHash) -> u64 {
        hash.0 >> 3 & TAG
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        &self.buckets[at / WAYS].0[at % WAYS]
    }

    /// All buckets, as many as a power of two, for look-ups that compare a whole one at once. A flow's first is the one of its
    /// hash modulo their number.
    #[cfg(not(loom))]
    #[inline]
    pub(crate) fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// Where a flow stands whose first bucket has it not.
    #[cfg(not(loom))]
    pub(crate) fn other_buckets(&self, hash: FlowHash) -> [&Bucket; 2] {
        let [_, second, third] = self.places(hash);
        [&self.buckets[second], &self.buckets[third]]
    }

    /// The high half of a live flow's word; the low half is its record.
    #[cfg(not(loom))]
    #[inline]
    pub(crate) const fn live_half(hash: FlowHash) -> u32 {
        ((LIVE | Self::tag(hash)) >> 32) as u32
    }

    /// Asks for the bucket that nearly every flow is found in.
    #[inline]
    pub fn prefetch(&self, hash: FlowHash) {
        if let Some(bucket) = self.buckets.get(hash.0 as usize & self.mask) {
            prefetch::line(bucket);
        }
    }

    /// Asks for the other bucket, where a flow is looked for that is not in the first.
    #[inline]
    pub fn prefetch_second(&self, hash: FlowHash) {
        let [_, second, _] = self.places(hash);
        if let Some(bucket) = self.buckets.get(second) {
            prefetch::line(bucket);
        }
    }

    /// A record in the first bucket that may be this flow's: its tag agrees. Without a branch that depends on
    /// where it stands.
    #[inline]
    #[must_use]
    pub fn candidate(&self, hash: FlowHash) -> Option<u32> {
        let bucket = self.buckets.get(hash.0 as usize & self.mask)?;
        let live = ((LIVE | Self::tag(hash)) >> 32) as u32;
        let mut found = EMPTY;
        for word in &bucket.0 {
            let seen = word.load(Ordering::Acquire);
            found = select_unpredictable((seen >> 32) as u32 == live, seen, found);
        }
        (found != EMPTY).then_some(found as u32)
    }

    /// The record of a flow.
    #[inline]
    pub fn find(&self, records: &[FlowBack], hash: FlowHash, key: &[u64; 5]) -> Option<u32> {
        let live = LIVE | Self::tag(hash);
        let [first, second, third] = self.places(hash);
        let third = (self.thirds.load(Ordering::Relaxed) > 0).then_some(third);
        for bucket in [first, second].into_iter().chain(third) {
            for word in &self.buckets[bucket].0 {
                let seen = word.load(Ordering::Acquire);
                if seen & (STATE | TAG) == live && records.get(seen as u32 as usize).is_some_and(|r| r.is(key)) {
                    return Some(seen as u32);
                }
            }
        }
        None
    }

    fn slots(&self, hash: FlowHash) -> impl Iterator<Item = usize> + use<> {
        self.places(hash).into_iter().flat_map(|b| b * WAYS..(b + 1) * WAYS)
    }

    fn scan(&self, records: &[FlowBack], hash: FlowHash, key: &[u64; 5]) -> Found {
        let tag = Self::tag(hash);
        // The first bucket is taken while it has room to spare, so that look-ups seldom need the second line; then the
        // emptier one: neither is full before the records run out.
        let (mut free, mut room, mut pending) = ([None; 3], [0; 3], false);
        for (i, at) in self.slots(hash).enumerate() {
            let seen = self.word(at).load(Ordering::Acquire);
            if seen == EMPTY {
                free[i / WAYS] = free[i / WAYS].or(Some(at));
                room[i / WAYS] += 1;
            } else if seen & TAG == tag && records.get(seen as u32 as usize).is_some_and(|r| r.is(key)) {
                match seen & STATE {
                    LIVE => return Found::Live(seen as u32),
                    LEAVING => return Found::Leaving,
                    PENDING => pending = true,
                    _ => {}
                }
            }
        }
        let better = usize::from(room[0] <= SPARE && room[1] > room[0]);
        // The third one early enough that hardly any bucket fills up altogether: of 8,000,000 flows some 7,000 stand there.
        let better = if room[better] <= SPARE && room[2] > room[better] { 2 } else { better };
        if pending { Found::Pending } else { Found::Absent(free[better]) }
    }

    /// Puts a prepared record into the index. `init` runs when the flow is known to be nowhere else in the table and
    /// nobody can see the record yet: it sets what depends on the flow's past.
    pub fn insert(
        &self,
        records: &[FlowBack],
        hash: FlowHash,
        key: &[u64; 5],
        record: u32,
        mut init: impl FnMut(),
    ) -> Inserted {
        let claim = PENDING | Self::tag(hash) | u64::from(record);
        for _ in 0..RETRIES {
            let free = match self.scan(records, hash, key) {
                Found::Live(other) => return Inserted::Existing(other),
                Found::Leaving => return Inserted::Leaving,
                Found::Pending => {
                    protocol::sync::spin();
                    continue;
                }
                Found::Absent(None) => return Inserted::Full,
                Found::Absent(Some(free)) => free,
            };
            let mine = self.word(free);
            if mine.compare_exchange(EMPTY, claim, Ordering::AcqRel, Ordering::Acquire).is_err() {
                continue;
            }
            fence(Ordering::SeqCst);
            if let Some(other) = self.rivals(records, hash, key, free) {
                mine.store(EMPTY, Ordering::Release);
                match other {
                    Rival::Live(other) => return Inserted::Existing(other),
                    Rival::Leaving => return Inserted::Leaving,
                    Rival::Pending => {
                        protocol::sync::spin();
                        continue;
                    }
                }
            }
            init();
            let live = LIVE | claim & !STATE;
            if mine.compare_exchange(claim, live, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                if self.is_third(free, hash) {
                    self.thirds.fetch_add(1, Ordering::Relaxed);
                }
                return Inserted::New;
            }
            mine.store(EMPTY, Ordering::Release); // cancelled by a lower one
        }
        Inserted::Contended
    }

    /// Looks for the same flow in other words, cancelling pending ones above ours.
    fn rivals(&self, records: &[FlowBack], hash: FlowHash, key: &[u64; 5], mine: usize) -> Option<Rival> {
        let tag = Self::tag(hash);
        for at in self.slots(hash).filter(|&at| at != mine) {
            let word = self.word(at);
            let mut seen = word.load(Ordering::Acquire);
            loop {
                if seen & TAG != tag
                    || seen & STATE == EMPTY
                    || seen & STATE == CANCELLED
                    || !records.get(seen as u32 as usize).is_some_and(|r| r.is(key))
                {
                    break;
                }
                match seen & STATE {
                    LIVE => return Some(Rival::Live(seen as u32)),
                    LEAVING => return Some(Rival::Leaving),
                    _ => {}
                }
                if at < mine {
                    return Some(Rival::Pending);
                }
                match word.compare_exchange(seen, seen | CANCELLED, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => break,
                    Err(now) => seen = now,
                }
            }
        }
        None
    }

    /// Whether this word is in the flow's third bucket only.
    fn is_third(&self, at: usize, hash: FlowHash) -> bool {
        let [first, second, _] = self.places(hash);
        at / WAYS != first && at / WAYS != second
    }

    /// From now on no look-up finds this record. Only the control thread does this. `false`: it was not there.
    pub fn leave(&self, hash: FlowHash, record: u32) -> bool {
        self.turn(hash, record, LIVE, LEAVING).is_some()
    }

    /// A record that was leaving stays after all.
    pub fn stay(&self, hash: FlowHash, record: u32) {
        self.turn(hash, record, LEAVING, LIVE);
    }

    /// A record that was leaving is gone: the flow may be inserted anew.
    pub fn remove(&self, hash: FlowHash, record: u32) {
        let at = self.turn(hash, record, LEAVING, EMPTY);
        if at.is_some_and(|at| self.is_third(at, hash)) {
            // The worker that put it there may not have come to counting it: the count then wraps for a moment.
            self.thirds.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Changes the state of a record's word. Gives where it is.
    fn turn(&self, hash: FlowHash, record: u32, from: u64, to: u64) -> Option<usize> {
        let rest = Self::tag(hash) | u64::from(record);
        let to = if to == EMPTY { EMPTY } else { to | rest };
        self.slots(hash)
            .find(|&at| self.word(at).compare_exchange(from | rest, to, Ordering::AcqRel, Ordering::Relaxed).is_ok())
    }
}

enum Rival {
    Live(u32),
    Leaving,
    Pending,
}

/// A rival's insertion takes some hundred nanoseconds; this is far more than that, and still bounded.
const RETRIES: usize = if cfg!(loom) { 3 } else { 1000 };

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(all(test, loom))]
mod loom_tests;
