//! The flow table: records, their index, what flows leave behind, and ageing.
//!
//! Workers look up and insert; the control thread alone removes. All memory is taken at start.

use crate::flow::hash::{Fingerprint, FlowHash, HashKey};
use crate::flow::index::{FlowIndex, Inserted};
use crate::flow::memory::{Pages, TableMemory};
use crate::flow::quiescence::{GracePeriod, Quiescence};
use crate::flow::record::{Flow, FlowBack, WholeFlow};
use crate::flow::tombstones::{FlowSnapshot, Tombstones};
use crossbeam_queue::ArrayQueue;
use protocol::five_tuple::FiveTuple;
use protocol::sender::SenderSnapshot;
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

/// Records that are no flow's.
#[derive(Debug)]
struct Free {
    records: ArrayQueue<u32>,
    /// Stands for the queue's own ordering, which loom does not see.
    #[cfg(loom)]
    order: protocol::sync::AtomicU64,
}

impl Free {
    fn new(capacity: usize) -> Self {
        let records = ArrayQueue::new(capacity.max(1));
        for i in 0..capacity as u32 {
            let _ = records.push(i); // as many as it holds
        }
        Self {
            records,
            #[cfg(loom)]
            order: protocol::sync::AtomicU64::new(0),
        }
    }

    fn len(&self) -> usize {
        self.records.len()
    }

    fn pop(&self) -> Option<u32> {
        let record = self.records.pop();
        #[cfg(loom)]
        self.order.fetch_add(1, protocol::sync::Ordering::AcqRel);
        record
    }

    /// Gives one back: what was done to it is done for whoever takes it.
    fn push(&self, record: u32) {
        #[cfg(loom)]
        self.order.fetch_add(1, protocol::sync::Ordering::AcqRel);
        let _ = self.records.push(record); // it came from there, so there is room
    }
}

/// The table.
#[derive(Debug)]
pub struct FlowTable {
    fronts: TableMemory<Flow>,
    /// As many, each the other part of the record at the same place.
    backs: TableMemory<FlowBack>,
    index: FlowIndex,
    free: Free,
    /// What flows leave behind.
    pub tombstones: Tombstones,
    flow_key: HashKey,
    hash_key: [u8; 16],
}

/// Why a flow was not found nor inserted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoFlow {
    /// No free record, or no place for it.
    Full,
    /// Other workers were inserting it for too long.
    Contended,
    /// It is being taken out of the table at this moment.
    Leaving,
}

impl FlowTable {
    /// A table of this size. `hash_key` is a secret of this boot: nobody outside can choose buckets.
    #[must_use]
    pub fn new(size: TableSize, hash_key: [u8; 16]) -> Self {
        let free = Free::new(size.capacity);
        Self {
            fronts: TableMemory::new(size.capacity),
            backs: TableMemory::new(size.capacity),
            index: FlowIndex::new(size.capacity),
            free,
            tombstones: Tombstones::new(size.tombstones),
            flow_key: HashKey::new(&hash_key),
            hash_key,
        }
    }

    /// Flows it can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.fronts.len()
    }

    /// What each part of it lies on.
    #[must_use]
    pub fn pages(&self) -> [(&'static str, Pages); 4] {
        [
            ("records", self.fronts.pages()),
            ("backs", self.backs.pages()),
            ("index", self.index.pages()),
            ("tombstones", self.tombstones.pages()),
        ]
    }

    /// Records in use, those included that wait to be used again.
    #[must_use]
    pub fn used(&self) -> usize {
        self.fronts.len() - self.free.len()
    }

    /// The hash of an outbound 5-tuple.
    #[inline]
    #[must_use]
    pub fn hash(&self, words: &[u64; 5]) -> FlowHash {
        self.fingerprint(words).hash()
    }

    /// What stands for an outbound 5-tuple.
    #[inline]
    pub(crate) fn fingerprint(&self, words: &[u64; 5]) -> Fingerprint {
        self.flow_key.fingerprint(words)
    }

    /// What the lanes look flows up in.
    #[cfg(not(loom))]
    #[inline]
    pub(crate) fn view(&self) -> (&HashKey, &FlowIndex, &[Flow]) {
        (&self.flow_key, &self.index, &self.fronts)
    }

    /// The other parts of its records.
    #[cfg(not(loom))]
    #[inline]
    pub(crate) fn backs(&self) -> &[FlowBack] {
        &self.backs
    }

    /// A secret for another purpose, made of the table's: that of this number.
    pub(crate) fn secret_for(&self, purpose: u64) -> [u8; 16] {
        let mut hasher = SipHasher13::new_with_key(&self.hash_key);
        hasher.write_u64(purpose);
        hasher.finish128().as_bytes()
    }

    /// Asks for what [`FlowTable::candidate`] looks at.
    #[inline]
    pub fn prefetch(&self, hash: FlowHash) {
        self.index.prefetch(hash);
    }

    /// The record that is most likely this flow's; [`FlowTable::confirm`] says whether it is.
    #[inline]
    #[must_use]
    pub fn candidate(&self, hash: FlowHash) -> Option<WholeFlow<'_>> {
        let candidate = self.index.candidate(hash);
        if candidate.is_none() {
            self.index.prefetch_second(hash);
        }
        self.record(candidate?)
    }

    /// The record of a flow, `candidate` being the most likely one.
    #[inline]
    #[must_use]
    pub fn confirm<'a>(
        &'a self,
        candidate: Option<WholeFlow<'a>>,
        hash: FlowHash,
        words: &[u64; 5],
    ) -> Option<WholeFlow<'a>> {
        match candidate {
            Some(flow) if flow.back.is(words) => Some(flow),
            _ => self.find(hash, words),
        }
    }

    /// The record of a flow.
    #[must_use]
    pub fn find(&self, hash: FlowHash, words: &[u64; 5]) -> Option<WholeFlow<'_>> {
        self.record(self.index.find(&self.backs, hash, words)?)
    }

    /// The record at this place of both tables.
    #[inline]
    pub(crate) fn record(&self, at: u32) -> Option<WholeFlow<'_>> {
        Some(WholeFlow { front: self.fronts.get(at as usize)?, back: self.backs.get(at as usize)? })
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
        flow.prepare(tuple, fingerprint, policy, now);
        let start = || init(flow, fingerprint, self.tombstones.find(fingerprint));
        let inserted = self.index.insert(&self.backs, hash, &words, record, start);
        if inserted == Inserted::New {
            flow.back.set_live(true);
            return Ok((flow, true));
        }
        flow.clear();
        self.free.push(record);
        match inserted {
            Inserted::Existing(other) => Ok((self.record(other).ok_or(NoFlow::Contended)?, false)),
            Inserted::Full => Err(NoFlow::Full),
            Inserted::Leaving => Err(NoFlow::Leaving),
            Inserted::Contended | Inserted::New => Err(NoFlow::Contended),
        }
    }

    /// The flow at this place, if there is one: for who goes through the table in steps.
    #[must_use]
    pub fn at(&self, place: usize) -> Option<WholeFlow<'_>> {
        self.record(u32::try_from(place).ok()?).filter(|flow| flow.back.is_live())
    }

    /// Every flow in the table, for listings.
    pub fn iter(&self) -> impl Iterator<Item = WholeFlow<'_>> {
        let whole = |(front, back)| WholeFlow { front, back };
        self.fronts.iter().zip(self.backs.iter()).map(whole).filter(|f| f.back.is_live())
    }
}

/// The control thread's side: takes idle flows out, in steps.
///
/// A flow is first made *leaving*: no look-up finds it any more. When every worker has been between bursts since, nobody is at
/// work on it, and nobody can come to it: its numbers are read as they stand, kept, and the record is free. A packet that comes
/// meanwhile passes without the option.
#[derive(Debug)]
pub struct Ager {
    next: usize,
    leaving: VecDeque<(GracePeriod, Vec<u32>)>,
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
        Self { next: 0, leaving: VecDeque::new(), expired: 0, kept_for_lack_of_tombstones: 0, quiescence }
    }

    /// Looks at the next `count` records, and takes out those idle for longer than `idle_ns`: those whose workers are between
    /// bursts at once, others in a later step.
    pub fn step(&mut self, table: &FlowTable, now: u64, idle_ns: u64, count: usize) {
        self.step_with(table, now, idle_ns, count, &mut |_, _| ());
    }

    /// The same, and shows `gone` each flow that leaves, with its place: nobody is at work on it, and it is not yet cleared.
    pub fn step_with(
        &mut self,
        table: &FlowTable,
        now: u64,
        idle_ns: u64,
        count: usize,
        gone: &mut dyn FnMut(usize, WholeFlow<'_>),
    ) {
        let mut leaving = Vec::new();
        for _ in 0..count.min(table.fronts.len()) {
            let record = self.next;
            self.next = (self.next + 1) % table.fronts.len();
            let Some(flow) = table.record(record as u32) else { continue };
            if flow.back.is_live() && flow.idle(now) > idle_ns {
                flow.back.set_live(false);
                if table.index.leave(table.hash(&flow.back.words()), record as u32) {
                    leaving.push(record as u32);
                }
            }
        }
        if !leaving.is_empty() {
            self.leaving.push_back((self.quiescence.grace_period(), leaving));
        }
        while self.leaving.front().is_some_and(|(grace, _)| self.quiescence.has_passed(grace)) {
            let Some((_, records)) = self.leaving.pop_front() else { return };
            records.into_iter().for_each(|record| self.take_out(table, record, gone));
        }
    }

    /// Takes a leaving flow out; nobody is at work on it.
    fn take_out(&mut self, table: &FlowTable, record: u32, gone: &mut dyn FnMut(usize, WholeFlow<'_>)) {
        let Some(flow) = table.record(record) else { return };
        let words = flow.back.words();
        let hash = table.hash(&words);
        // Without a generation nothing was sealed, and the numbers need not outlive the flow.
        let sender = Some(flow.numbers().snapshot()).filter(SenderSnapshot::is_started);
        let snapshot = FlowSnapshot { sender, receiver: flow.back.receiver.snapshot() };
        let matters = sender.is_some() || !snapshot.receiver.is_empty();
        if matters && !table.tombstones.keep(table.fingerprint(&words), snapshot) {
            flow.back.set_live(true);
            table.index.stay(hash, record);
            self.kept_for_lack_of_tombstones += 1;
            return;
        }
        gone(record as usize, flow);
        table.index.remove(hash, record);
        flow.clear();
        table.free.push(record);
        self.expired += 1;
    }
}

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(all(test, loom))]
mod loom_tests;
