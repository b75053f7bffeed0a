//! From times, delays and shares to places in a drawing, and what is written at them.

use common::admin::History;

/// A drawing's width in its own units, whatever it has on the screen.
pub const WIDTH: f64 = 1000.0;

/// Times from left to right, the newest at the right.
#[derive(Clone, Copy, Debug)]
pub struct TimeAxis {
    /// Where it begins, milliseconds since 1970.
    pub from_ms: u64,
    /// Where it ends.
    pub to_ms: u64,
    step_ms: u64,
}

impl TimeAxis {
    /// As long as what is known of a young box, a quarter of an hour in the end. `None`: there is no moment.
    pub fn of(history: &History) -> Option<Self> {
        /// How long it may be, and where something is written, in seconds.
        const SPANS: [(u64, u64); 4] = [(60, 15), (120, 30), (300, 60), (900, 180)];
        let (first, last) = (history.moments.first()?, history.moments.last()?);
        let age = last.time_ms.saturating_sub(first.time_ms) / 1000 + 2;
        let (span, step) = SPANS.into_iter().find(|(span, _)| *span >= age).unwrap_or(SPANS[3]);
        Some(Self { from_ms: last.time_ms.saturating_sub(span * 1000), to_ms: last.time_ms, step_ms: step * 1000 })
    }

    /// Where a time is, from 0 to [`WIDTH`].
    pub fn x(&self, ms: u64) -> f64 {
        let span = self.to_ms.saturating_sub(self.from_ms).max(1);
        ms.saturating_sub(self.from_ms) as f64 / span as f64 * WIDTH
    }

    /// Where something is written: round times, none at the edges.
    pub fn ticks(&self) -> impl Iterator<Item = u64> {
        let first = self.from_ms.next_multiple_of(self.step_ms);
        (first..self.to_ms).step_by(self.step_ms as usize).filter(move |ms| (80.0..920.0).contains(&self.x(*ms)))
    }
}

/// Values from bottom to top: evenly, or by their logarithms where they differ much.
#[derive(Clone, Debug)]
pub struct ValueAxis {
    from: f64,
    to: f64,
    /// Whether it is one of logarithms.
    pub log: bool,
    ticks: Vec<f64>,
    height: f64,
}

impl ValueAxis {
    /// Around these delays, nanoseconds.
    pub fn of_delays(values: impl Iterator<Item = u64> + Clone, height: f64) -> Self {
        /// The least and the greatest differ by more: evenly the least would lie on the ground.
        const MUCH: f64 = 25.0;
        let least = values.clone().map(|ns| ns.max(1) as f64).fold(f64::INFINITY, f64::min);
        let most = values.map(|ns| ns.max(1) as f64).fold(1.0, f64::max);
        if least.is_finite() && most / least > MUCH {
            Self::of_logarithms(least, most, height)
        } else {
            Self::evenly(most * 1.05, height)
        }
    }

    /// From 0 to what is round above the greatest.
    pub fn evenly(most: f64, height: f64) -> Self {
        let step = round_up(most.max(f64::MIN_POSITIVE) / 4.0);
        let count = (most / step).ceil().clamp(1.0, 8.0) as u32;
        let ticks = (0..=count).map(|i| f64::from(i) * step).collect();
        Self { from: 0.0, to: f64::from(count) * step, log: false, ticks, height }
    }

    fn of_logarithms(least: f64, most: f64, height: f64) -> Self {
        let (from, to) = (round_down(least), round_up(most));
        let mut ticks: Vec<f64> = steps(from, to).collect();
        if ticks.len() > 7 {
            ticks.retain(|tick| is_decade(*tick));
        }
        Self { from, to, log: true, ticks, height }
    }

    /// Where a value is, from the axis' height at the bottom to 0.
    pub fn y(&self, value: f64) -> f64 {
        let part = if self.log {
            (value.max(self.from) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from).max(f64::MIN_POSITIVE)
        };
        self.height * (1.0 - part.clamp(0.0, 1.0))
    }

    /// Where something is written.
    pub fn ticks(&self) -> impl Iterator<Item = f64> {
        self.ticks.iter().copied()
    }
}

/// 1, 2 and 5 of each decade, between these.
pub fn steps(from: f64, to: f64) -> impl Iterator<Item = f64> {
    let decades = from.log10().floor() as i32..=to.log10().ceil() as i32;
    let all = decades.flat_map(|exponent| [1.0, 2.0, 5.0].map(|step| step * 10f64.powi(exponent)));
    all.filter(move |step| *step >= from * 0.999 && *step <= to * 1.001)
}

/// Whether it is a power of ten.
pub fn is_decade(value: f64) -> bool {
    let exponent = value.log10();
    (exponent - exponent.round()).abs() < 1e-6
}

fn round_up(value: f64) -> f64 {
    steps(value, value * 10.0).next().unwrap_or(value)
}

fn round_down(value: f64) -> f64 {
    steps(value / 10.0, value).last().unwrap_or(value)
}

/// A round time as short as it can be: `2 ms`.
pub fn short(ns: f64) -> String {
    let (number, unit) = match ns {
        n if n < 1e3 => (n, "ns"),
        n if n < 1e6 => (n / 1e3, "us"),
        n if n < 1e9 => (n / 1e6, "ms"),
        n => (n / 1e9, "s"),
    };
    if ns == 0.0 { "0".to_owned() } else { format!("{} {unit}", (number * 1000.0).round() / 1000.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::admin::Moment;

    fn shown(axis: &ValueAxis) -> Vec<String> {
        axis.ticks().map(short).collect()
    }

    #[test]
    fn values_are_marked_at_round_places() {
        let even = ValueAxis::of_delays([2_100_000, 40_000_000].into_iter(), 100.0);
        assert_eq!((even.log, shown(&even)), (false, ["0", "20 ms", "40 ms", "60 ms"].map(str::to_owned).into()));
        assert_eq!((even.y(0.0), even.y(60e6)), (100.0, 0.0));
        let log = ValueAxis::of_delays([1_500, 40_000_000].into_iter(), 100.0);
        assert_eq!(
            (log.log, shown(&log)),
            (true, ["1 us", "10 us", "100 us", "1 ms", "10 ms"].map(str::to_owned).into())
        );
        assert!(log.y(1_500.0) < 100.0 && log.y(40e6) > 0.0 && log.y(0.0) == 100.0, "all is within");
        let close = ValueAxis::of_delays([100_000, 3_000_000].into_iter(), 100.0);
        let marks = ["100 us", "200 us", "500 us", "1 ms", "2 ms", "5 ms"].map(str::to_owned);
        assert_eq!((close.log, shown(&close)), (true, marks.into()));
        let none = ValueAxis::of_delays(std::iter::empty(), 100.0);
        assert!(none.ticks().count() >= 2 && none.y(0.0) == 100.0);
    }

    #[test]
    fn times_are_marked_at_round_ones_and_a_young_box_has_a_short_axis() {
        let moments = |count: u64| {
            let moment = |i| Moment { time_ms: 1_000_000_000 + i * 2000, ..Moment::default() };
            History { moments: (0..count).map(moment).collect(), ..crate::admin::page::tests::no_history() }
        };
        assert!(TimeAxis::of(&moments(0)).is_none());
        for (count, seconds, ticks) in [(1, 60, 3), (31, 120, 3), (100, 300, 4), (450, 900, 4)] {
            let axis = TimeAxis::of(&moments(count)).expect("an axis");
            assert_eq!((axis.to_ms - axis.from_ms) / 1000, seconds, "{count}");
            assert_eq!((axis.x(axis.from_ms), axis.x(axis.to_ms)), (0.0, WIDTH));
            assert!(axis.ticks().count().abs_diff(ticks) <= 1, "{count}: {:?}", axis.ticks().collect::<Vec<_>>());
        }
    }
}
