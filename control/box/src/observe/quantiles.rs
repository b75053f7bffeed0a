//! Quantiles of times that were counted by size.

use pipeline::observe::counter::Counter;
use pipeline::observe::histogram::{BUCKETS, Histogram};

/// Times of several workers together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Merged {
    /// Samples by bucket.
    pub buckets: Vec<u64>,
    /// Samples.
    pub count: u64,
    /// Their sum, nanoseconds.
    pub sum_ns: u64,
}

impl Merged {
    /// Of these.
    pub fn of<'a>(histograms: impl IntoIterator<Item = &'a Histogram>) -> Self {
        let mut buckets = vec![0; BUCKETS];
        let sum_ns =
            histograms.into_iter().fold(0u64, |sum, histogram| sum.wrapping_add(histogram.merge_into(&mut buckets)));
        Self { count: buckets.iter().sum(), buckets, sum_ns }
    }

    /// The time that so many of a thousand samples do not exceed; 0 of none. Samples are taken to lie evenly within their bucket.
    #[must_use]
    pub fn quantile(&self, per_mille: u64) -> u64 {
        let rank = (u128::from(self.count) * u128::from(per_mille)).div_ceil(1000).max(1);
        let mut seen = 0u128;
        for (i, &n) in self.buckets.iter().enumerate() {
            if seen + u128::from(n) >= rank {
                let (low, high) = (Histogram::lower_bound(i), Histogram::lower_bound(i + 1));
                let width = u128::from(high.saturating_sub(low));
                // The middle of its share of the bucket.
                let within = width * (2 * (rank - seen) - 1) / (2 * u128::from(n));
                return low.saturating_add(u64::try_from(within).unwrap_or(u64::MAX));
            }
            seen += u128::from(n);
        }
        0
    }

    /// Their mean, 0 of none.
    #[must_use]
    pub fn mean_ns(&self) -> u64 {
        self.sum_ns.checked_div(self.count).unwrap_or(0)
    }

    /// Buckets that hold something: from, below, how many.
    pub fn filled(&self) -> impl Iterator<Item = (u64, u64, u64)> {
        let all = self.buckets.iter().enumerate().filter(|(_, n)| **n > 0);
        all.map(|(i, &n)| (Histogram::lower_bound(i), Histogram::lower_bound(i + 1), n))
    }
}

/// The sum of a counter that each worker has.
pub fn sum<'a, T: 'a>(workers: impl IntoIterator<Item = &'a T>, counter: fn(&T) -> &Counter) -> u64 {
    workers.into_iter().map(|worker| counter(worker).get()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_where_samples_do() {
        let histograms = [Histogram::default(), Histogram::default()];
        // 1 us to 10 ms, evenly, by turns.
        (1..=10_000u64).for_each(|us| histograms[us as usize % 2].record(us * 1000));
        let merged = Merged::of(&histograms);
        assert_eq!((merged.count, merged.mean_ns()), (10_000, 5_000_500));
        for (per_mille, expected) in [(500, 5_000_000), (900, 9_000_000), (990, 9_900_000)] {
            // Only the last bucket is not full to its end.
            let off = merged.quantile(per_mille).abs_diff(expected);
            assert!(off < expected / 20, "{per_mille}: off by {off} ns");
        }
        assert!(merged.quantile(500).abs_diff(5_000_000) < 5_000, "within a full bucket it is exact");
        assert!(merged.quantile(999) >= merged.quantile(990));
        assert_eq!(merged.filled().map(|(.., n)| n).sum::<u64>(), 10_000);
        assert!(merged.filled().all(|(from, below, _)| from < below));
    }

    #[test]
    fn of_nothing_there_is_no_quantile_and_the_longest_time_has_one() {
        assert_eq!(Merged::of([]).quantile(500), 0);
        let longest = Histogram::default();
        longest.record(u64::MAX);
        assert!(Merged::of([&longest]).quantile(1000) > 1 << 60);
    }
}
