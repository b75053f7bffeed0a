//! Times, counted in buckets that grow with them: fixed memory, however many there are.

/// Buckets per doubling: a quantile is right to 3 per cent, and better where it can be interpolated.
const PER_DOUBLING: usize = 16;
/// Below this many nanoseconds all buckets are equally wide.
const LINEAR_BITS: u32 = 10;
/// Doublings above it: up to 36 minutes. What is longer counts as that.
const DOUBLINGS: usize = 31;
const BUCKETS: usize = PER_DOUBLING * (DOUBLINGS + 1);

/// The times. Memory is taken with the first one: most flows of a capture never have some kinds.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    buckets: Option<Box<[u32; BUCKETS]>>,
    count: u64,
    min: u64,
    max: u64,
}

fn bucket_of(ns: u64) -> usize {
    if ns < 1 << LINEAR_BITS {
        return (ns as usize * PER_DOUBLING) >> LINEAR_BITS;
    }
    let bits = ns.ilog2();
    let doubling = (bits - LINEAR_BITS) as usize + 1;
    let within = (ns >> (bits - PER_DOUBLING.ilog2())) as usize & (PER_DOUBLING - 1);
    (doubling * PER_DOUBLING + within).min(BUCKETS - 1)
}

/// Where a bucket begins; of the one behind the last, where that ends.
fn start_of(bucket: usize) -> u64 {
    let (doubling, within) = (bucket / PER_DOUBLING, (bucket % PER_DOUBLING) as u64);
    let width = PER_DOUBLING as u64;
    if doubling == 0 {
        return (within << LINEAR_BITS) / width;
    }
    ((width + within) << (LINEAR_BITS as usize + doubling - 1)) / width
}

impl Histogram {
    /// Counts one.
    pub fn add(&mut self, ns: u64) {
        let buckets = self.buckets.get_or_insert_with(|| Box::new([0; BUCKETS]));
        if let Some(bucket) = buckets.get_mut(bucket_of(ns)) {
            *bucket = bucket.saturating_add(1);
        }
        self.min = if self.count == 0 { ns } else { self.min.min(ns) };
        self.max = self.max.max(ns);
        self.count += 1;
    }

    /// How many there are.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The time that this share of them, in thousandths, does not exceed.
    pub fn quantile(&self, thousandths: u64) -> Option<u64> {
        let buckets = self.buckets.as_ref()?;
        let rank = (self.count * thousandths).div_ceil(1000).max(1);
        let mut below = 0;
        for (i, &n) in buckets.iter().enumerate().filter(|(_, n)| **n > 0) {
            let n = u64::from(n);
            if below + n >= rank {
                let (start, end) = (start_of(i), start_of(i + 1));
                // The middle of the share of the bucket that its place among the bucket's own gives.
                let inside = (2 * (rank - below) - 1) * (end - start) / (2 * n);
                return Some((start + inside).clamp(self.min, self.max));
            }
            below += n;
        }
        Some(self.max)
    }

    /// Ranges and counts, without the empty ones.
    pub fn ranges(&self) -> impl Iterator<Item = (u64, u64, u32)> {
        let buckets = self.buckets.as_deref().map(<[u32; BUCKETS]>::as_slice).unwrap_or_default();
        buckets.iter().enumerate().filter(|(_, n)| **n > 0).map(|(i, &n)| (start_of(i), start_of(i + 1), n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_meet_and_hold_what_is_theirs() {
        for i in 0..BUCKETS - 1 {
            let (start, end) = (start_of(i), start_of(i + 1));
            assert!(start < end);
            assert_eq!((bucket_of(start), bucket_of(end - 1)), (i, i), "{start} {end}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_right_to_three_per_cent() {
        let mut h = Histogram::default();
        assert_eq!((h.quantile(500), h.count()), (None, 0));
        for i in 1..=10_000u64 {
            h.add(i * 1000);
        }
        for (thousandths, expected) in [(500, 5_000_000), (900, 9_000_000), (990, 9_900_000), (1000, 10_000_000)] {
            let found = h.quantile(thousandths).expect("some");
            assert!(found.abs_diff(expected) * 100 <= 3 * expected, "{thousandths}: {found}");
        }
        let mut one = Histogram::default();
        one.add(123_456);
        assert_eq!([0, 500, 1000].map(|q| one.quantile(q)), [Some(123_456); 3]);
        one.add(u64::MAX);
        assert_eq!(one.ranges().map(|r| r.2).sum::<u32>(), 2);
    }
}
