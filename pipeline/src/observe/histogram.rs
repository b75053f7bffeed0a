//! Times by size, in buckets that grow with them.

use crate::observe::counter::Counter;

/// Thirty-two buckets per doubling: a quantile is off by 3.1 per cent at the most.
const SUB_BITS: u32 = 5;
/// Buckets of a [`Histogram`], ten thousand octets of them. The last one has all times from 4.8 hours on.
pub const BUCKETS: usize = 40 << SUB_BITS;

/// The place of a number on a scale of `2^BITS` steps for each doubling; below `2^(BITS + 1)` each number has its own.
#[inline]
pub(crate) const fn place<const BITS: u32>(n: u64) -> u32 {
    let exponent = (n | 1 << BITS).ilog2() - BITS;
    (exponent << BITS) + (n >> exponent) as u32
}

/// The smallest number at a place.
#[inline]
pub(crate) const fn least_at<const BITS: u32>(place: u32) -> u64 {
    let (exponent, rest) = (place >> BITS, place as u64 & ((1 << BITS) - 1));
    if exponent == 0 { rest } else { (rest + (1 << BITS)) << (exponent - 1) }
}

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
        (place::<SUB_BITS>(ns) as usize).min(BUCKETS - 1)
    }

    /// The smallest time, in nanoseconds, of bucket `i`.
    #[must_use]
    pub fn lower_bound(i: usize) -> u64 {
        least_at::<SUB_BITS>(i as u32)
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

/// Histograms of several workers, added up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Merged {
    buckets: Vec<u64>,
    sum_ns: u64,
}

impl Default for Merged {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], sum_ns: 0 }
    }
}

impl<'a> FromIterator<&'a Histogram> for Merged {
    fn from_iter<I: IntoIterator<Item = &'a Histogram>>(histograms: I) -> Self {
        histograms.into_iter().fold(Self::default(), |mut merged, histogram| {
            merged.sum_ns = merged.sum_ns.wrapping_add(histogram.merge_into(&mut merged.buckets));
            merged
        })
    }
}

impl Merged {
    /// What was counted since an earlier moment, when it was `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let buckets = self.buckets.iter().zip(&before.buckets).map(|(now, then)| now.saturating_sub(*then));
        Self { buckets: buckets.collect(), sum_ns: self.sum_ns.wrapping_sub(before.sum_ns) }
    }

    /// Adds what another one has.
    pub fn add(&mut self, other: &Self) {
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(sum, more)| *sum += more);
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
    }

    /// How many times were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their sum, nanoseconds.
    #[must_use]
    pub const fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// Their mean, nanoseconds; 0 of none.
    #[must_use]
    pub fn mean_ns(&self) -> u64 {
        self.sum_ns.checked_div(self.count()).unwrap_or(0)
    }

    /// The time that this share of the samples, 0 to 1, do not exceed, as if those of one bucket stood evenly in it: within
    /// 3.1 per cent. `None`: there are none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let count = self.count();
        let rank = (count as f64 * share.clamp(0.0, 1.0)).max(0.5);
        let mut before = 0;
        let (i, n) = self.buckets.iter().enumerate().find(|&(_, &n)| {
            before += n;
            n > 0 && before as f64 >= rank
        })?;
        let (low, high) = (Histogram::lower_bound(i), Histogram::lower_bound(i + 1));
        // The k-th of n samples stands in the middle of the k-th of n parts.
        let k = (rank - (before - n) as f64).ceil().clamp(1.0, *n as f64);
        Some(low + ((high - low - 1) as f64 * (k - 0.5) / *n as f64) as u64)
    }

    /// How many do not exceed a bound, as far as their buckets tell.
    #[must_use]
    pub fn up_to(&self, bound_ns: u64) -> u64 {
        let within = self.buckets.iter().enumerate().take_while(|&(i, _)| Histogram::lower_bound(i + 1) <= bound_ns);
        within.map(|(_, n)| n).sum()
    }

    /// The buckets that are not empty: smallest and, exclusively, greatest time, and how many.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64, u64)> {
        let bounds = |i| (Histogram::lower_bound(i), Histogram::lower_bound(i + 1));
        self.buckets.iter().enumerate().filter(|&(_, &n)| n > 0).map(move |(i, &n)| (bounds(i).0, bounds(i).1, n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn quantiles_of_several_workers_are_within_five_per_cent(
            times in prop::collection::vec((0u64..1 << 40, 0u32..30), 1..300),
            share in 0.0f64..=1.0,
        ) {
            let workers: [Histogram; 3] = Default::default();
            let mut sorted: Vec<u64> = times.iter().map(|&(ns, shift)| ns >> shift).collect();
            for (i, &ns) in sorted.iter().enumerate() {
                workers[i % 3].record(ns);
            }
            let merged: Merged = workers.iter().collect();
            prop_assert_eq!((merged.count(), merged.sum_ns()), (sorted.len() as u64, sorted.iter().sum()));
            sorted.sort_unstable();
            let rank = (sorted.len() as f64 * share).ceil().max(1.0) as usize;
            let (told, truth) = (merged.quantile(share).expect("samples"), sorted[rank - 1]);
            prop_assert!(told.abs_diff(truth) as f64 <= truth as f64 * 0.05 + 1.0, "{} for {}", told, truth);
        }
    }

    #[test]
    fn what_was_counted_between_two_moments_is_their_difference() {
        let histogram = Histogram::default();
        let now = || [&histogram].into_iter().collect::<Merged>();
        (0..100).for_each(|_| histogram.record(1_000_000));
        let before = now();
        (0..50).for_each(|_| histogram.record(64_000_000));
        let between = now().since(&before);
        assert_eq!((between.count(), between.mean_ns()), (50, 64_000_000));
        assert!(between.quantile(0.01).expect("samples").abs_diff(64_000_000) < 2_000_000);
        let mut both = before.clone();
        both.add(&between);
        assert_eq!(both, now());
        assert_eq!(before.since(&now()).count(), 0, "nothing is less than nothing");
    }

    #[test]
    fn no_samples_have_no_quantile() {
        assert_eq!(Merged::default().quantile(0.5), None);
    }

    #[test]
    fn histogram_buckets_are_in_order_and_hold_their_bounds() {
        for ns in (0..5000u64).chain((0..60).map(|s| 3 << s)).chain([u64::MAX]) {
            let b = Histogram::bucket(ns);
            assert!(Histogram::lower_bound(b) <= ns, "{ns} in bucket {b}");
            assert!(b + 1 == BUCKETS || Histogram::lower_bound(b + 1) > ns, "{ns} in bucket {b}");
        }
    }
}
