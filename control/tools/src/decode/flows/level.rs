//! When a delay changed for good: the least of a few values against the least of those before.

/// Values whose least is taken.
const WINDOW: u32 = 8;
/// A change is by a quarter at least, and by so many nanoseconds.
const LEAST: u64 = 200_000;

/// A change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// When the new value was first seen, nanoseconds.
    pub at_ns: u64,
    /// The least delay before.
    pub from_ns: u64,
    /// The least delay after.
    pub to_ns: u64,
}

/// The level of a delay.
#[derive(Clone, Copy, Debug, Default)]
pub struct Level {
    /// The least delay at present.
    pub base: Option<u64>,
    /// Of the window that fills: values, their least, when it began.
    window: (u32, u64, u64),
    /// Of the window before, when its least was off the base: the least of it, when it began.
    off: Option<(u64, u64)>,
    /// How often it changed.
    pub changes: u32,
    /// The largest change.
    pub largest: Option<Change>,
}

fn is_off(base: u64, value: u64) -> bool {
    base.abs_diff(value) > (base / 4).max(LEAST)
}

impl Level {
    /// Takes a value.
    pub fn add(&mut self, at_ns: u64, value: u64) {
        let (n, least, since) = self.window;
        self.window = if n == 0 { (1, value, at_ns) } else { (n + 1, least.min(value), since) };
        if self.window.0 < WINDOW {
            return;
        }
        let (_, least, since) = std::mem::take(&mut self.window);
        let Some(base) = self.base else {
            self.base = Some(least);
            return;
        };
        match self.off {
            _ if !is_off(base, least) => self.off = None,
            // Two windows agree that it is another: the first may have been half and half.
            Some((_, began)) => {
                let change = Change { at_ns: began, from_ns: base, to_ns: least };
                let size = |c: Change| c.from_ns.abs_diff(c.to_ns);
                if self.largest.is_none_or(|largest| size(largest) < size(change)) {
                    self.largest = Some(change);
                }
                (self.changes, self.base, self.off) = (self.changes + 1, Some(least), None);
            }
            None => self.off = Some((least, since)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_step_is_found_where_it_is_and_noise_is_none() {
        let mut level = Level::default();
        for i in 0..1000u64 {
            // Now and then a peak.
            let value = 2 * MS + i % 7 * 1000 + if i % 5 == 0 { 50 * MS } else { 0 };
            level.add(i * MS, value + if i >= 501 { 3 * MS } else { 0 });
        }
        let change = level.largest.expect("a change");
        assert_eq!((level.changes, change.from_ns / MS, change.to_ns / MS), (1, 2, 5));
        assert!(change.at_ns.abs_diff(501 * MS) <= 8 * MS, "{change:?}");
    }

    #[test]
    fn one_window_alone_is_no_change() {
        let mut level = Level::default();
        for i in 0..100u64 {
            level.add(i, if (40..50).contains(&i) { 90 * MS } else { MS });
        }
        assert_eq!((level.changes, level.largest), (0, None));
    }
}
