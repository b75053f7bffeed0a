//! What was seen of one flow while `top` runs.

use common::admin::{Flow, Times};
use std::collections::VecDeque;

/// Points of a line, at most.
const POINTS: usize = 240;
/// Bars of a histogram: doublings of 16 us, the last one open.
pub const BARS: usize = 16;
/// The longest time of the first bar, as a power of two of nanoseconds.
const FIRST: u32 = 14;

/// One kind of time of one flow.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The last one in each answer, the newest last.
    pub line: VecDeque<u64>,
    /// How many in each doubling. An answer with no new sample adds none.
    pub bars: [u64; BARS],
    samples: u64,
}

impl Seen {
    fn add(&mut self, times: &Times) {
        if self.line.len() == POINTS {
            self.line.pop_front();
        }
        self.line.push_back(times.last_ns);
        if times.samples > self.samples {
            self.bars[bar(times.last_ns)] += 1;
        }
        self.samples = times.samples;
    }
}

fn bar(ns: u64) -> usize {
    (ns.max(1).ilog2() + 1).saturating_sub(FIRST).min(BARS as u32 - 1) as usize
}

/// Below which time a bar ends, in nanoseconds.
#[must_use]
pub fn below(bar: usize) -> u64 {
    1 << (FIRST + bar as u32)
}

/// A flow's.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Of the network.
    pub round_trip: Seen,
    /// Of the server.
    pub server_delay: Seen,
}

impl History {
    /// The flow was in the next answer.
    pub fn add(&mut self, flow: &Flow) {
        self.round_trip.add(&flow.round_trip);
        self.server_delay.add(&flow.server_delay);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stand_in_their_bars() {
        for (ns, expected) in [(0, 0), (1, 0), (16_383, 0), (16_384, 1), (1_000_000, 6), (u64::MAX, BARS - 1)] {
            assert_eq!(bar(ns), expected, "{ns}");
            assert!(ns < below(bar(ns)) || bar(ns) == BARS - 1);
        }
    }

    #[test]
    fn only_new_samples_are_counted_and_old_ones_go() {
        let mut seen = Seen::default();
        for n in 0..1000u64 {
            seen.add(&Times { samples: 1 + n / 2, last_ns: 1 << 20, ..Times::default() });
        }
        assert_eq!((seen.line.len(), seen.bars.iter().sum::<u64>()), (POINTS, 500));
    }
}
