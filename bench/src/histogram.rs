//! Times by size, fine enough for tails: 64 buckets per doubling, so a quantile is off by 1.6 per cent at the most.

const SUB_BITS: u32 = 6;

/// Counts of times in any unit.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    least: u64,
    most: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; (64 - SUB_BITS as usize + 1) << SUB_BITS], count: 0, least: u64::MAX, most: 0 }
    }
}

impl Histogram {
    fn bucket(time: u64) -> usize {
        let exponent = time.max(1 << SUB_BITS).ilog2() - SUB_BITS;
        ((exponent as usize) << SUB_BITS) + (time >> exponent) as usize
    }

    /// The middle of bucket `i`.
    fn middle(i: usize) -> f64 {
        let (exponent, rest) = (i >> SUB_BITS, (i & ((1 << SUB_BITS) - 1)) as f64);
        if exponent == 0 { rest } else { (rest + 64.0 + 0.5) * 2f64.powi(exponent as i32 - 1) }
    }

    /// Counts one.
    #[inline]
    pub fn record(&mut self, time: u64) {
        let bucket = Self::bucket(time);
        self.buckets[bucket] += 1;
        self.count += 1;
        self.least = self.least.min(time);
        self.most = self.most.max(time);
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The least of them; 0 when there are none.
    #[must_use]
    pub fn least(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.least as f64 }
    }

    /// The time that a share `q` of all (0 to 1) does not exceed; 0 when there are none.
    #[must_use]
    pub fn quantile(&self, q: f64) -> f64 {
        let wanted = ((self.count as f64 * q).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        for (i, &n) in self.buckets.iter().enumerate() {
            seen += n;
            if seen >= wanted {
                return Self::middle(i).clamp(self.least as f64, self.most as f64);
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Random;

    #[test]
    fn quantiles_are_those_of_the_sorted_times() {
        let mut random = Random::new(1);
        for shift in [0, 10, 40, 60] {
            let mut times: Vec<u64> = (0..10_000).map(|_| random.next() >> (shift + random.below(4))).collect();
            let mut histogram = Histogram::default();
            times.iter().for_each(|&t| histogram.record(t));
            times.sort_unstable();
            for q in [0.0, 0.01, 0.5, 0.99, 0.999, 0.9999, 1.0] {
                let at = ((times.len() as f64 * q).ceil() as usize).clamp(1, times.len()) - 1;
                let (found, real) = (histogram.quantile(q), times[at] as f64);
                assert!(
                    (found - real).abs() <= real / 64.0 + 0.5,
                    "{q} of times >> {shift}: {found}, and it is {real}"
                );
            }
            assert_eq!(histogram.count(), 10_000);
            assert_eq!(histogram.least(), times[0] as f64);
        }
        assert_eq!(Histogram::default().quantile(0.5), 0.0);
    }
}
