//! Delays over time, for a drawing: so many bins, which double when time goes on behind the last.

/// Bins of a drawing.
const BINS: usize = 256;
/// How long a bin is at first.
const FIRST_WIDTH_NS: u64 = 1_000_000;

/// What is in a bin of one kind of delay.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bin {
    sum_us: u64,
    count: u32,
    most_us: u32,
}

impl Bin {
    fn add(&mut self, ns: u64) {
        let us = ns / 1000;
        self.sum_us = self.sum_us.saturating_add(us);
        self.count = self.count.saturating_add(1);
        self.most_us = self.most_us.max(u32::try_from(us).unwrap_or(u32::MAX));
    }

    fn join(&mut self, other: Self) {
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
        self.count = self.count.saturating_add(other.count);
        self.most_us = self.most_us.max(other.most_us);
    }

    /// Mean and most, in microseconds.
    pub fn mean_and_most(self) -> Option<(f64, f64)> {
        (self.count > 0).then(|| (self.sum_us as f64 / f64::from(self.count), f64::from(self.most_us)))
    }
}

/// Delays of a flow over time.
#[derive(Clone, Debug)]
pub struct Series {
    start_ns: Option<u64>,
    width_ns: u64,
    /// The server's delay, and the round trip.
    bins: [[Bin; 2]; BINS],
}

impl Default for Series {
    fn default() -> Self {
        Self { start_ns: None, width_ns: FIRST_WIDTH_NS, bins: [[Bin::default(); 2]; BINS] }
    }
}

impl Series {
    /// Takes what a packet of this time has told.
    pub fn add(&mut self, at_ns: u64, delay_ns: Option<u64>, round_trip_ns: Option<u64>) {
        // A time before the first belongs to it: captures of several interfaces are not quite in order.
        let since = at_ns.saturating_sub(*self.start_ns.get_or_insert(at_ns));
        while since / self.width_ns >= BINS as u64 {
            let Some(width) = self.width_ns.checked_mul(2) else { return };
            self.width_ns = width;
            for i in 0..BINS / 2 {
                let mut pair = self.bins[2 * i];
                let second = self.bins[2 * i + 1];
                pair.iter_mut().zip(second).for_each(|(a, b)| a.join(b));
                self.bins[i] = pair;
            }
            self.bins[BINS / 2..].fill(Default::default());
        }
        let [delay, round_trip] = &mut self.bins[(since / self.width_ns) as usize];
        if let Some(ns) = delay_ns {
            delay.add(ns);
        }
        if let Some(ns) = round_trip_ns {
            round_trip.add(ns);
        }
    }

    /// Of the server's delay (0) or the round trip (1): seconds since the first packet, mean and most in microseconds.
    pub fn points(&self, kind: usize) -> Vec<(f64, f64, f64)> {
        let middle = |i: usize| (i as f64 + 0.5) * self.width_ns as f64 / 1e9;
        let points = self.bins.iter().enumerate().filter_map(|(i, bins)| {
            let (mean, most) = bins.get(kind)?.mean_and_most()?;
            Some((middle(i), mean, most))
        });
        points.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_double_and_keep_what_is_in_them() {
        let mut series = Series::default();
        for i in 0..100_000u64 {
            series.add(1_000_000_000 + i * 1_000_000, Some(5000), (i % 2 == 0).then_some(1_000_000));
        }
        assert_eq!(series.width_ns, 512 * FIRST_WIDTH_NS);
        let (delays, trips) = (series.points(0), series.points(1));
        assert_eq!((delays.len(), trips.len()), (196, 196));
        assert!(delays.iter().all(|p| (p.1, p.2) == (5.0, 5.0)) && trips.iter().all(|p| p.1 == 1000.0));
        assert!(delays.windows(2).all(|w| w[0].0 < w[1].0));
        series.add(u64::MAX, Some(1), None);
        series.add(0, Some(1), None);
        assert_eq!(series.points(0).len(), 2, "all of the beginning in one");
    }
}
