//! Log lines that others can cause are said at a bounded rate, with the number of those that were not said.

use std::time::{Duration, Instant};

/// Some lines at once, then one each while.
#[derive(Clone, Debug)]
pub struct Sparing {
    at_once: u32,
    every: Duration,
    left: u32,
    since: Instant,
    not_said: u64,
}

impl Sparing {
    /// The first may come at once, so many of them; then one may come in each interval of this length.
    #[must_use]
    pub fn new(at_once: u32, every: Duration) -> Self {
        Self { at_once, every, left: at_once, since: Instant::now(), not_said: 0 }
    }

    fn refill(&mut self, now: Instant) {
        let whiles = now.saturating_duration_since(self.since).as_nanos() / self.every.as_nanos().max(1);
        if whiles > 0 {
            self.left = self.left.saturating_add(u32::try_from(whiles).unwrap_or(u32::MAX)).min(self.at_once);
            self.since = now;
        }
    }

    /// Whether this line may be said; then also how many before it were not.
    pub fn may(&mut self, now: Instant) -> Option<u64> {
        self.refill(now);
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Some(std::mem::take(&mut self.not_said))
            }
            None => {
                self.not_said += 1;
                None
            }
        }
    }

    /// How many were not said, once there is room for a line about that: when no other line comes to tell it.
    pub fn unsaid(&mut self, now: Instant) -> Option<u64> {
        if self.not_said == 0 {
            return None;
        }
        self.may(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_costs_a_line_a_while_and_every_line_is_counted() {
        let second = Duration::from_secs(1);
        let mut sparing = Sparing::new(5, second);
        let start = sparing.since;
        let (mut said, mut unsaid) = (0u32, 0);
        for i in 0..10_000 {
            if let Some(n) = sparing.may(start + second * i / 1000) {
                said += 1;
                unsaid += n;
            }
        }
        assert_eq!(said, 5 + 9);
        while let Some(n) = sparing.unsaid(start + second * 100) {
            said += 1;
            unsaid += n;
        }
        // The line that tells how many were not said stands for none of its own.
        assert_eq!(u64::from(said - 1) + unsaid, 10_000);
        assert_eq!(sparing.unsaid(start + second * 200), None);
        assert!(sparing.may(start + second * 200).is_some_and(|n| n == 0));
    }
}
