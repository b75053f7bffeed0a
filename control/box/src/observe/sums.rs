//! What is counted of a policy or of a pair: sums over its parts, each of which has a worker that goes on counting while they
//! are read.

use common::metrics::{Sample, Times, Value};
use pipeline::observe::counter::Counter;
use pipeline::observe::counters::PolicyCounters;
use pipeline::observe::histogram::{Histogram, Merged};
use pipeline::state::standing::CountersByWorker;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Sums(pub Vec<CountersByWorker>);

impl Sums {
    fn parts(&self) -> impl Iterator<Item = &PolicyCounters> {
        self.0.iter().flat_map(|workers| workers.iter()).map(|padded| &**padded)
    }

    /// The sum of one counter.
    #[must_use]
    pub fn of(&self, counter: fn(&PolicyCounters) -> &Counter) -> u64 {
        self.parts().map(|part| counter(part).get()).sum()
    }

    /// Numbers that never came: one part may have found what another has skipped.
    #[must_use]
    pub fn lost(&self) -> u64 {
        PolicyCounters::lost_of(self.parts())
    }

    /// One histogram.
    #[must_use]
    pub fn merged(&self, of: fn(&PolicyCounters) -> &Histogram) -> Merged {
        self.parts().map(of).collect()
    }
}

/// A policy, and what is counted of it.
#[derive(Clone, Debug, Default)]
pub struct CountedPolicy {
    /// Its name.
    pub name: String,
    /// off, pdm, clear or encrypted.
    pub mode: &'static str,
    /// When it ends, on the workers' clock in nanoseconds. `None`: it does not.
    pub ends_ns: Option<u64>,
    /// Its counters.
    pub sums: Sums,
}

/// A pair of prefixes, and what is counted of the flows between them.
#[derive(Clone, Debug, Default)]
pub struct CountedPair {
    /// Its name.
    pub name: String,
    /// Its counters.
    pub sums: Sums,
}

/// What is counted under several names.
pub(super) trait Counted {
    /// Values of the labels that tell it from the others.
    fn labels(&self) -> Vec<&str>;

    /// Its counters.
    fn sums(&self) -> &Sums;
}

impl Counted for CountedPolicy {
    fn labels(&self) -> Vec<&str> {
        vec![&self.name, self.mode]
    }

    fn sums(&self) -> &Sums {
        &self.sums
    }
}

impl Counted for CountedPair {
    fn labels(&self) -> Vec<&str> {
        vec![&self.name]
    }

    fn sums(&self) -> &Sums {
        &self.sums
    }
}

/// One counter of each.
pub(super) fn each(all: &[impl Counted], counter: fn(&PolicyCounters) -> &Counter) -> Vec<Sample> {
    all.iter().map(|one| Sample::new(one.labels(), one.sums().of(counter))).collect()
}

/// What each has lost.
pub(super) fn lost(all: &[impl Counted]) -> Vec<Sample> {
    all.iter().map(|one| Sample::new(one.labels(), one.sums().lost())).collect()
}

/// One histogram of each.
pub(super) fn times(all: &[impl Counted], of: fn(&PolicyCounters) -> &Histogram) -> Vec<Sample> {
    let times = |one: &_| Value::Times(Box::new(shown(&Counted::sums(one).merged(of))));
    all.iter().map(|one| Sample { labels: Sample::new(one.labels(), 0u64).labels, value: times(one) }).collect()
}

/// Times as they are told.
pub(super) fn shown(merged: &Merged) -> Times {
    let quantile = |share| merged.quantile(share).unwrap_or_default();
    // One bound per two doublings is enough for a graph: 1 us to 17 s.
    let bounds = (10..=34).step_by(2).map(|exponent| 1u64 << exponent);
    Times {
        count: merged.count(),
        sum_ns: merged.sum_ns(),
        p50_ns: quantile(0.5),
        p90_ns: quantile(0.9),
        p99_ns: quantile(0.99),
        within: bounds.map(|bound| (bound, merged.up_to(bound))).collect(),
    }
}
