//! What a policy keeps while others come and go around it.

use crate::observe::counters::PolicyCounters;
use crossbeam_utils::CachePadded;
use std::sync::Arc;

/// Counters of each worker, in their order. Each has one writer.
pub type CountersByWorker = Arc<[CachePadded<PolicyCounters>]>;

/// Counters that are kept of pairs or policies that no longer are.
pub(super) const MOST_GONE: usize = 64;

pub(super) fn counters_for(workers: usize) -> CountersByWorker {
    (0..workers).map(|_| CachePadded::default()).collect()
}

/// Stands for a policy's name as long as there is a policy of this name, and for no other name ever.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PolicyId(pub u32);

/// Who says when a policy ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Its lifetime.
    Lifetime,
    /// An operator, whatever its lifetime: then, on the workers' clock.
    At(u64),
    /// An operator: it does not.
    Never,
}

/// What a policy has from the settings that brought its name to those that no longer have it, whatever else changes in it and
/// around it.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Its id.
    pub id: PolicyId,
    /// When it came, on the workers' clock.
    pub since_ns: u64,
    /// Counters of its flows that no pair names.
    pub counters: CountersByWorker,
    /// Of its flows that a pair names, by the pair's name; those of pairs that have gone too, so that its sums never go down.
    by_pair: Vec<(Arc<str>, CountersByWorker)>,
    end: End,
    ends_ns: Option<u64>,
}

impl Standing {
    pub(super) fn new(id: PolicyId, since_ns: u64, workers: usize) -> Self {
        let counters = counters_for(workers);
        Self { id, since_ns, counters, by_pair: Vec::new(), end: End::Lifetime, ends_ns: None }
    }

    /// It is to end so long after it came, unless an operator has it end at another time.
    pub(super) fn end_with(&mut self, lifetime_ns: Option<u64>) {
        self.ends_ns = match self.end {
            End::Lifetime => lifetime_ns.map(|lifetime| self.since_ns.saturating_add(lifetime)),
            End::At(ns) => Some(ns),
            End::Never => None,
        };
    }

    /// An operator has it end then, or never.
    pub(super) fn end_at(&mut self, end: Option<u64>) {
        self.end = end.map_or(End::Never, End::At);
    }

    /// When it ends or has ended, on the workers' clock: from then on no options are added under it (RFC 8250 section 4.4).
    /// `None`: it does not.
    #[must_use]
    pub const fn ends_ns(&self) -> Option<u64> {
        self.ends_ns
    }

    /// The counters of its flows that the pair of this name names.
    pub(super) fn of_pair(&mut self, name: &Arc<str>, new: impl FnOnce() -> CountersByWorker) -> CountersByWorker {
        let known = self.by_pair.iter().position(|(known, _)| known == name);
        let counters = known.map_or_else(new, |at| self.by_pair.remove(at).1);
        // The last in force stand last.
        self.by_pair.push((Arc::clone(name), Arc::clone(&counters)));
        counters
    }

    /// So many pairs are in force. Of those that are not, the ones that went long ago are forgotten.
    pub(super) fn forget(&mut self, in_force: usize) {
        let too_many = self.by_pair.len().saturating_sub(in_force + MOST_GONE);
        self.by_pair.drain(..too_many);
    }

    /// What is counted of it, by pair and worker: of flows that no pair names first.
    pub fn by_worker(&self) -> impl Iterator<Item = &CountersByWorker> {
        std::iter::once(&self.counters).chain(self.by_pair.iter().map(|(_, counters)| counters))
    }

    /// The same, each for itself.
    pub fn all(&self) -> impl Iterator<Item = &PolicyCounters> {
        self.by_worker().flat_map(|counters| counters.iter()).map(|padded| &**padded)
    }
}
