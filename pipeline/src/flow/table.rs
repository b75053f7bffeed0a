//! The flow table: records, their index, what flows leave behind, and ageing.
//!
//! Workers look up and insert; the control thread alone removes. All memory is taken at start.

use crate::flow::hash::{FlowHash, FlowHasher};
use crate::flow::index::{FlowIndex, Inserted};
use crate::flow::memory::{Pages, TableMemory};
use crate::flow::quiescence::{GracePeriod, Quiescence};
use crate::flow::record::{Fingerprint, Flow, FlowBack, WholeFlow};
use crate::flow::tombstones::{FlowSnapshot, Tombstones};
use crossbeam_queue::ArrayQueue;
use protocol::five_tuple::FiveTuple;
use siphasher::sip::SipHasher24;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::collections::VecDeque;
use std::hash::Hasher;

/// How large the table is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableSize {
    /// Flows at once.
    pub capacity: usize,
    /// Flows remembered after they left.
    pub tombstones: usize,
}

impl TableSize {
    /// Octets that the table takes, all at start.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.capacity * (size_of::<Flow>() + size_of::<FlowBack>() + size_of::<u64>() * 2)
            + FlowIndex::memory(self.capacity)
            + Tombstones::memory(self.tombstones)
    }
}

/// The table.
#[derive(Debug)]
pub struct FlowTable {
    records: TableMemory<Flow>,
    /// As many, each the other part of the record at the same place.
    backs: TableMemory<FlowBack>,
    index: FlowIndex,
    free: ArrayQueue<u32>,
    /// What flows leave behind.
    pub tombstones: Tombstones,
    hasher: FlowHasher,
    hash_key: [u8; 16],
}

/// Why a flow was not found nor inserted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoFlow {
    /// No free record, or no place for it.
    Full,
    /// Other workers were inserting it for too long.
    Contended,
}

impl FlowTable {
    /// A table of this size. `hash_key` is a secret of this boot: nobody outside can choose buckets.
    #[must_use]
    pub fn new(size: TableSize, hash_key: [u8; 16]) -> Self {
        let free = ArrayQueue::new(size.capacity.max(1));
        for i in 0..size.capacity as u32 {
            let _ = free.push(i); // as many as it holds
        }
        Self {
            records: TableMemory::new(size.capacity),
            backs: TableMemory::new(size.capacity),
            index: FlowIndex::new(size.capacity),
            free,
            tombstones: Tombstones::new(size.tombstones),
            hasher: FlowHasher::new(core::array::from_fn(|i| {
                let mut hasher = SipHasher24::new_with_key(&hash_key);
                hasher.write_u64(i as u64);
                Hasher::finish(&hasher)
            })),
            hash_key,
        }
    }

    /// Flows it can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.records.len()
    }

    /// What each part of it lies on.
    #[must_use]
    pub fn pages(&self) -> [(&'static str, Pages); 4] {
        [
            ("records", self.records.pages()),
            ("backs", self.backs.pages()),
            ("index", self.index.pages()),
            ("tombstones", self.tombstones.pages()),
        ]
    }

    /// Records in use, those included that wait to be used again.
    #[must_use]
    pub fn used(&self) -> usize {
        self.records.len() - self.free.len()
    }

    /// The hash of an outbound 5-tuple.
    #[inline]
    #[must_use]
    pub const fn hash(&self, words: &[u64; 5]) -> FlowHash {
        self.hasher.hash(words)
    }

    /// A secret for another purpose, made of the table's: that of this number.
    pub(crate) fn secret_for(&self, purpose: u64) -> [u8; 16] {
        let mut hasher = SipHasher13::new_with_key(&self.hash_key);
        hasher.write_u64(purpose);
        hasher.finish128().as_bytes()
    }

    pub(crate) fn fingerprint(&self, words: &[u64; 5]) -> Fingerprint {
        let mut hasher = SipHasher13::new_with_key(&self.hash_key);
        for &w in words {
            hasher.write_u64(w);
        }
        let hash = hasher.finish128();
        Fingerprint { lo: hash.h1, hi: hash.h2 }
    }

    /// Asks for what [`FlowTable::candidate`] looks at.
    #[inline]
    pub fn prefetch(&self, hash: FlowHash) {
        self.index.prefetch(hash);
    }

    /// The record that is most likely this flow's; [`FlowTable::confirm`] says whether it is.
    #[inline]
    #[must_use]
    pub fn candidate(&self, hash: FlowHash) -> Option<&Flow> {
        let candidate = self.index.candidate(hash);
        if candidate.is_none() {
            self.index.prefetch_second(hash);
        }
        self.records.get(candidate? as usize)
    }

    /// The record of a flow, `candidate` being the most likely one.
    #[inline]
    #[must_use]
    pub fn confirm<'a>(&'a self, candidate: Option<&'a Flow>, hash: FlowHash, words: &[u64; 5]) -> Option<&'a Flow> {
        match candidate {
            Some(flow) if flow.is(words) => Some(flow),
            _ => self.find(hash, words).map(|whole| whole.front),
        }
    }

    /// The record of a flow.
    #[must_use]
    pub fn find(&self, hash: FlowHash, words: &[u64; 5]) -> Option<WholeFlow<'_>> {
        self.record(self.index.find(&self.records, hash, words)?)
    }

    fn record(&self, at: u32) -> Option<WholeFlow<'_>> {
        Some(WholeFlow { front: self.records.get(at as usize)?, back: self.backs.get(at as usize)? })
    }

    /// The whole of a record of this table.
    #[inline]
    #[must_use]
    pub fn whole<'a>(&'a self, front: &'a Flow) -> Option<WholeFlow<'a>> {
        let octets = core::ptr::from_ref(front).addr().wrapping_sub(self.records.as_ptr().addr());
        Some(WholeFlow { front, back: self.backs.get(octets / size_of::<Flow>())? })
    }

    /// The record of a flow that was not there a moment ago. `init` gets the new record, the flow's fingerprint, and what the
    /// flow left behind when it was here before. Says whether the record is new.
    ///
    /// # Errors
    /// [`NoFlow`]; the packet then goes without the option.
    pub fn insert(
        &self,
        tuple: &FiveTuple,
        hash: FlowHash,
        policy: u32,
        now: u64,
        init: impl Fn(WholeFlow<'_>, Fingerprint, Option<FlowSnapshot>),
    ) -> Result<(WholeFlow<'_>, bool), NoFlow> {
        let record = self.free.pop().ok_or(NoFlow::Full)?;
        let flow = self.record(record).ok_or(NoFlow::Full)?;
        let words = tuple.words();
        let fingerprint = self.fingerprint(&words);
        flow.prepare(tuple, policy, now);
        let start = || init(flow, fingerprint, self.tombstones.find(fingerprint));
        let inserted = self.index.insert(&self.records, hash, &words, record, start);
        if inserted == Inserted::New {
            flow.set_live(true);
            return Ok((flow, true));
        }
        flow.clear();
        let _ = self.free.push(record); // it came from there, so there is room
        match inserted {
            Inserted::Existing(other) => Ok((self.record(other).ok_or(NoFlow::Contended)?, false)),
            Inserted::Full => Err(NoFlow::Full),
            Inserted::Contended | Inserted::New => Err(NoFlow::Contended),
        }
    }

    /// Every flow in the table, for listings.
    pub fn iter(&self) -> impl Iterator<Item = WholeFlow<'_>> {
        let whole = |(front, back)| WholeFlow { front, back };
        self.records.iter().zip(self.backs.iter()).map(whole).filter(|f| f.is_live())
    }
}

/// The control thread's side: takes idle flows out, in steps.
#[derive(Debug)]
pub struct Ager {
    next: usize,
    retired: VecDeque<(GracePeriod, Vec<u32>)>,
    /// Flows taken out so far.
    pub expired: u64,
    /// Flows that had to stay because no tombstone was free.
    pub kept_for_lack_of_tombstones: u64,
    quiescence: Quiescence,
}

impl Ager {
    /// For the table that these workers use.
    #[must_use]
    pub fn new(quiescence: Quiescence) -> Self {
        Self { next: 0, retired: VecDeque::new(), expired: 0, kept_for_lack_of_tombstones: 0, quiescence }
    }

    /// Looks at the next `count` records and takes out those idle for longer than `idle_ns`.
    pub fn step(&mut self, table: &FlowTable, now: u64, idle_ns: u64, count: usize) {
        self.reclaim(table);
        let mut gone = Vec::new();
        for _ in 0..count.min(table.records.len()) {
            let record = self.next;
            self.next = (self.next + 1) % table.records.len();
            let Some(flow) = table.record(record as u32) else { continue };
            if flow.is_live() && flow.idle(now) > idle_ns && self.take_out(table, record as u32, flow) {
                gone.push(record as u32);
            }
        }
        if !gone.is_empty() {
            self.expired += gone.len() as u64;
            self.retired.push_back((self.quiescence.grace_period(), gone));
        }
    }

    fn take_out(&mut self, table: &FlowTable, record: u32, flow: WholeFlow<'_>) -> bool {
        let words = flow.words();
        let fingerprint = table.fingerprint(&words);
        let sealed = flow.sender.freeze();
        // Also without a number taken the generation counts: it says that older ones are over for this flow.
        let sender = (sealed.is_started() && flow.has_sealed()).then_some(sealed);
        let snapshot = FlowSnapshot { sender, receiver: flow.back.receiver.snapshot() };
        let matters = sender.is_some() || !snapshot.receiver.is_empty();
        if matters && !table.tombstones.keep(fingerprint, snapshot) {
            flow.sender.thaw();
            self.kept_for_lack_of_tombstones += 1;
            return false;
        }
        flow.set_live(false);
        table.index.unlink(table.hash(&words), record)
    }

    /// Gives records back that no worker can hold any more, overwritten.
    fn reclaim(&mut self, table: &FlowTable) {
        while self.retired.front().is_some_and(|(grace, _)| self.quiescence.has_passed(grace)) {
            let Some((_, records)) = self.retired.pop_front() else { return };
            for record in records {
                if let Some(flow) = table.record(record) {
                    flow.clear();
                }
                let _ = table.free.push(record);
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
