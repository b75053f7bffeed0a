//! Pairs of prefixes that the configuration names: what was measured of all flows between the two, whatever their policies.

use crate::observe::counters::PolicyCounters;
use crate::state::policies::Policy;
use crate::state::standing::{CountersByWorker, MOST_GONE};
use protocol::five_tuple::FiveTuple;
use protocol::prefix::Prefix;
use std::sync::Arc;

/// Two sides of the box, and what the flows between them are called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pair {
    /// Its name in counters and messages.
    pub name: String,
    /// Addresses behind the inside port; empty matches every address.
    pub inside: Vec<Prefix>,
    /// Addresses beyond the outside port; empty matches every address.
    pub outside: Vec<Prefix>,
}

impl Pair {
    /// Whether a flow is between the two. `outbound` is the 5-tuple of packets from inside to outside, as
    /// [`FiveTuple::words`] gives it.
    #[must_use]
    pub fn matches(&self, outbound: &[u64; 5]) -> bool {
        let tuple = FiveTuple::from_words(*outbound);
        let within = |list: &[Prefix], address: &[u8; 16]| list.is_empty() || list.iter().any(|p| p.contains(address));
        within(&self.inside, &tuple.src) && within(&self.outside, &tuple.dst)
    }

    /// Whether there are addresses that both name.
    #[must_use]
    pub fn may_share_flows_with(&self, policy: &Policy) -> bool {
        let meet = |a: &[Prefix], b: &[Prefix]| {
            a.is_empty() || b.is_empty() || a.iter().any(|a| b.iter().any(|b| a.overlaps(b)))
        };
        meet(&self.inside, &policy.inside) && meet(&self.outside, &policy.outside)
    }
}

/// What a pair has from the settings that brought its name to those that no longer have it.
#[derive(Clone, Debug)]
pub struct PairStanding {
    name: Arc<str>,
    /// Of each policy under which flows of it may fall, or fell once: so that its sums never go down.
    counters: Vec<CountersByWorker>,
}

impl PairStanding {
    pub(super) fn new(pair: &Pair) -> Self {
        Self { name: pair.name.as_str().into(), counters: Vec::new() }
    }

    pub(super) fn is_of(&self, pair: &Pair) -> bool {
        *self.name == *pair.name
    }

    pub(super) const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// These count for it too.
    pub(super) fn keep(&mut self, counters: &CountersByWorker) {
        if let Some(at) = self.counters.iter().position(|known| Arc::ptr_eq(known, counters)) {
            self.counters.remove(at);
        }
        // The last in force stand last.
        self.counters.push(Arc::clone(counters));
    }

    /// So many policies are in force under which its flows may fall. Of those that are not, the ones that went long ago are
    /// forgotten.
    pub(super) fn forget(&mut self, in_force: usize) {
        let too_many = self.counters.len().saturating_sub(in_force + MOST_GONE);
        self.counters.drain(..too_many);
    }

    /// What is counted of it, by policy and worker.
    #[must_use]
    pub fn counters(&self) -> &[CountersByWorker] {
        &self.counters
    }

    /// The same, each for itself.
    pub fn all(&self) -> impl Iterator<Item = &PolicyCounters> {
        self.counters.iter().flat_map(|counters| counters.iter()).map(|padded| &**padded)
    }
}
