//! From a device's clock to the workers': when packets came that wait in a port's queue until a burst is taken.
//!
//! Nothing is known of the device's clock but that it goes on evenly: not what its ticks are, nor since when it counts. Both follow
//! from the packets. None is taken from the port before it has come, so the time from a packet's stamp to its burst is never less
//! than some constant, and comes near it whenever a worker is there at once. In a plane of stamps and of times of polling all
//! packets stand above a line, which those touch that have not waited; how far above it a packet stands is how long it has waited.
//!
//! ```text
//!   polled |            .   .     '      of each span of time the lowest point is kept, of the last eight;
//!          |       .  '   . _ - *        the line is below all of them, and as near as can be
//!          |   . '  _ - * -
//!          | _ - *-
//!          +--------------------- stamp
//! ```
//!
//! The constant, what passes between the wire and the first poll that could find a packet, stays unseen, and so does a queue that
//! has never drained for as long as points are kept.

use crate::ports::BURST;
use arrayvec::ArrayVec;

/// No packet that can be told from one with a wrong stamp waits longer, in nanoseconds.
pub const LONGEST: u64 = 100_000_000;
/// A stamp this far ahead of the line is wrong; what is nearer moves the line. Far more than a clock that is being set drifts off
/// in a span; unless one in so many bursts has such a stamp: then all others have waited, and the line is learnt anew.
const AHEAD: f64 = 1e6;
const OFTEN: u32 = 8;
/// So many bursts in a row of which nothing was believed, and for so long: the clock is another than before. (A worker that was kept
/// from its core finds a queue of packets that have waited too long.)
const STRIKES: u32 = 8;
const STRUCK: u64 = 2 * LONGEST;
/// Points that are kept, and without as many as this nothing is believed.
const KEPT: usize = 8;
const ENOUGH: usize = 4;
/// A span has so many bursts, if they come within the longest time; and it takes the other two at least: a part of what has
/// passed since the beginning, so that the first spans are soon over.
const BURSTS: u32 = 8;
const SPAN: [u64; 3] = [50_000_000, 500_000_000, 8_000_000_000];
/// After so long a silence all begins anew: by then the line may be off by as much as packets wait.
const SILENCE: u64 = 20_000_000_000;
/// Nanoseconds of a tick, from a clock of 1 THz to one of 1 kHz.
const RATES: core::ops::Range<f64> = 1e-3..1e6;

/// A burst that had not waited long.
#[derive(Clone, Copy, Debug)]
struct Point {
    stamp: u64,
    polled: u64,
}

/// Stamps, in terms of times of polling.
#[derive(Clone, Copy, Debug)]
struct Line {
    through: Point,
    /// Nanoseconds a tick.
    rate: f64,
    /// How far the line has been moved since.
    moved: f64,
}

/// From one count of a clock to another, either of which may be the later one. Exact up to 104 days of nanoseconds.
fn between(from: u64, to: u64) -> f64 {
    to.wrapping_sub(from).cast_signed() as f64
}

impl Line {
    /// How far above it a point stands.
    fn below(&self, at: Point) -> f64 {
        between(self.through.polled, at.polled) - self.rate * between(self.through.stamp, at.stamp) - self.moved
    }

    /// Below all of these, and of those that touch two the nearest to all. `None`: no clock goes like this.
    fn under(points: &[Point]) -> Option<Self> {
        let through = *points.last()?;
        let relative = |point: &Point| (between(through.stamp, point.stamp), between(through.polled, point.polled));
        let points: ArrayVec<(f64, f64), KEPT> = points.iter().map(relative).take(KEPT).collect();
        let mut best: Option<(f64, Self)> = None;
        for (i, a) in points.iter().enumerate() {
            for b in points.iter().skip(i + 1) {
                let rate = (b.1 - a.1) / (b.0 - a.0);
                if !RATES.contains(&rate) {
                    return None;
                }
                let line = Self { through, rate, moved: a.1 - rate * a.0 };
                let above = |p: &(f64, f64)| p.1 - rate * p.0 - line.moved;
                let least = points.iter().map(above).fold(0.0, f64::min);
                let all: f64 = points.iter().map(above).sum();
                // Half a nanosecond is no difference between counts of nanoseconds.
                if least >= -0.5 && best.is_none_or(|(sum, _)| all < sum) {
                    best = Some((all, line));
                }
            }
        }
        best.map(|(_, line)| line)
    }
}

/// How many of a burst's stamps were used, and how many were not since they cannot be true. The others came without one, or before
/// enough was known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Told {
    /// Those packets came when their stamps say.
    pub used: u64,
    /// Those came with their burst.
    pub refused: u64,
}

/// A queue's device clock.
#[derive(Debug, Default)]
pub struct DeviceClock {
    line: Option<Line>,
    points: ArrayVec<Point, KEPT>,
    /// The present span: the lowest point so far, when it began, and its bursts.
    lowest: Option<Point>,
    span_from: u64,
    bursts: u32,
    /// Packets of it whose stamps lie ahead of the line.
    ahead: u32,
    /// When all began, and the last burst.
    from: u64,
    last: u64,
    /// Bursts of which nothing was believed since then.
    strikes: u32,
    struck: u64,
}

impl DeviceClock {
    /// Of a burst that was taken at this time, in nanoseconds, and its packets' stamps, in order: sets when each of them came, never
    /// later than that nor more than [`LONGEST`] before. What is not known came when it was taken.
    pub fn burst(&mut self, polled: u64, stamps: impl Iterator<Item = Option<u64>>, came: &mut [u64; BURST]) -> Told {
        *came = [polled; BURST];
        if self.last.saturating_add(SILENCE) < polled {
            *self = Self::default();
        }
        let (mut lowest, mut told) = (None::<(f64, Point)>, Told::default());
        let mut above = [f64::NAN; BURST];
        for (stamp, above) in stamps.zip(&mut above) {
            let Some(stamp) = stamp else { continue };
            let point = Point { stamp, polled };
            // Without a line the last one is the lowest: all were taken at the same time.
            let Some(line) = &self.line else {
                lowest = Some((0.0, point));
                continue;
            };
            let waited = line.below(point);
            let least = if self.is_believed() { -AHEAD } else { -(LONGEST as f64) };
            if !(least..=LONGEST as f64).contains(&waited) {
                told.refused += 1;
                self.ahead = self.ahead.saturating_add(u32::from(waited < 0.0 && waited >= -(LONGEST as f64)));
                continue;
            }
            *above = waited;
            if lowest.is_none_or(|(least, _)| waited < least) {
                lowest = Some((waited, point));
            }
        }
        if let (Some((waited, _)), Some(line)) = (lowest, &mut self.line)
            && waited < 0.0
        {
            line.moved += waited;
            above.iter_mut().for_each(|above| *above -= waited);
        }
        if self.is_believed() {
            for (came, above) in came.iter_mut().zip(above).filter(|(_, above)| !above.is_nan()) {
                *came = polled.saturating_sub((above as u64).min(LONGEST));
                told.used += 1;
            }
        }
        match lowest {
            Some((_, point)) => self.learn(point),
            None if told.refused > 0 => self.strike(polled),
            None => {}
        }
        told
    }

    fn is_believed(&self) -> bool {
        self.points.len() >= ENOUGH
    }

    /// Nothing of a burst was believed.
    fn strike(&mut self, now: u64) {
        if self.strikes == 0 {
            self.struck = now;
        }
        self.strikes = self.strikes.saturating_add(1);
        if self.strikes >= STRIKES && self.struck.saturating_add(STRUCK) < now {
            *self = Self::default();
        }
    }

    /// Takes a burst into account, by the packet of it that has waited least.
    fn learn(&mut self, point: Point) {
        let now = point.polled;
        if self.lowest.is_none() && self.points.is_empty() {
            (self.from, self.span_from) = (now, now);
        }
        (self.last, self.strikes) = (now, 0);
        self.bursts = self.bursts.saturating_add(1);
        let is_lower = |before: &Point| self.line.is_some_and(|line| line.below(point) < line.below(*before));
        if self.lowest.as_ref().is_none_or(is_lower) {
            self.lowest = Some(point);
        }
        let [shortest, long, longest] = SPAN;
        let (span, age) =
            ((now.saturating_sub(self.from) / 8).clamp(shortest, long), now.saturating_sub(self.span_from));
        if age >= span && self.bursts >= BURSTS || age >= longest {
            self.end_span(now);
        }
    }

    /// Keeps the span's lowest point, and makes the line anew.
    fn end_span(&mut self, now: u64) {
        if self.points.is_full() {
            self.points.remove(0);
        }
        if let Some(lowest) = self.lowest.take() {
            let _ = self.points.try_push(lowest); // there is room
        }
        let is_too_high = self.ahead.saturating_mul(OFTEN) >= self.bursts;
        (self.span_from, self.bursts, self.ahead) = (now, 0, 0);
        if self.points.len() > 1 {
            self.line = Line::under(&self.points);
            if self.line.is_none() || is_too_high {
                *self = Self::default();
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
