//! Times by size, in buckets that grow with them.

use crate::observe::counter::Counter;

/// Eight buckets per doubling: a quantile is off by 12.5 per cent at the most.
const SUB_BITS: u32 = 3;
/// Buckets of a [`Histogram`].
pub const BUCKETS: usize = 62 << SUB_BITS;

/// Times in nanoseconds, by size.
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[Counter; BUCKETS]>,
    sum: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: Box::new(core::array::from_fn(|_| Counter::default())), sum: Counter::default() }
    }
}

impl Histogram {
    #[inline]
    fn bucket(ns: u64) -> usize {
        let exponent = ns.max(1 << SUB_BITS).ilog2() - SUB_BITS;
        (((exponent as usize) << SUB_BITS) + (ns >> exponent) as usize).min(BUCKETS - 1)
    }

    /// The smallest time, in nanoseconds, of bucket `i`.
    #[must_use]
    pub fn lower_bound(i: usize) -> u64 {
        let (exponent, rest) = (i >> SUB_BITS, i as u64 & ((1 << SUB_BITS) - 1));
        if exponent == 0 { rest } else { (rest + (1 << SUB_BITS)) << (exponent - 1) }
    }

    /// Counts one time.
    #[inline]
    pub fn record(&self, ns: u64) {
        self.count(ns);
        self.sum.add(ns);
    }

    /// [`Histogram::record`] but for the sum, which [`Histogram::add_up`] adds once for many.
    #[inline]
    pub fn count(&self, ns: u64) {
        self.buckets[Self::bucket(ns)].add(1);
    }

    /// Adds the sum of times that were counted.
    #[inline]
    pub fn add_up(&self, sum_ns: u64) {
        self.sum.add(sum_ns);
    }

    /// Adds this histogram's counts to `into` (of [`BUCKETS`] entries); gives the sum in nanoseconds.
    pub fn merge_into(&self, into: &mut [u64]) -> u64 {
        for (sum, bucket) in into.iter_mut().zip(self.buckets.iter()) {
            *sum += bucket.get();
        }
        self.sum.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histogram_buckets_are_in_order_and_hold_their_bounds() {
        for ns in (0..5000u64).chain((0..60).map(|s| 3 << s)).chain([u64::MAX]) {
            let b = Histogram::bucket(ns);
            assert!(Histogram::lower_bound(b) <= ns, "{ns} in bucket {b}");
            assert!(b + 1 == BUCKETS || Histogram::lower_bound(b + 1) > ns, "{ns} in bucket {b}");
        }
    }
}
