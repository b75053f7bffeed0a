//! What a worker may spend on packets that anybody can send.
//!
//! What keys that have to be derived may cost a worker: what an attacker's packets, of which any number may come, can take.
//!
//! Nearly every packet is opened with the key that its flow has at hand, and is no matter of this. Whatever else is tried,
//! the first guess included, takes from a purse; a packet that authenticates puts back what it took. So honest traffic
//! costs nothing in the end, also when all of it changes generations in a rush, and forged packets cost what time puts into
//! the purses and no more: 150,000 derivations a second, some tenth of a core, whatever their number.

/// Tokens that come back with time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenBucket {
    tokens: u64,
    per_second: u64,
    most: u64,
    filled_ns: u64,
}

impl TokenBucket {
    pub(crate) const fn new(per_second: u64, most: u64) -> Self {
        Self { tokens: most, per_second, most, filled_ns: 0 }
    }

    #[inline]
    pub(crate) fn take(&mut self, now: u64) -> bool {
        let has = self.has(now);
        self.tokens -= u64::from(has);
        has
    }

    /// Whether there is one to take.
    #[inline]
    pub(crate) fn has(&mut self, now: u64) -> bool {
        if self.tokens == 0 {
            let earned = u128::from(now.saturating_sub(self.filled_ns)) * u128::from(self.per_second) / 1_000_000_000;
            if earned == 0 {
                return false;
            }
            self.tokens = (earned.min(u128::from(self.most))) as u64;
            self.filled_ns = now;
        }
        true
    }
}

/// What time puts into each purse, a second.
const PER_SECOND: u64 = 50_000;
/// What there is at once, at most.
const AT_ONCE: u64 = 20_000;

/// What a key is derived for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purse {
    /// The first guess at a packet of a flow that is in the table. A purse of its own: who cannot tell which flows there are
    /// does not get at it.
    Known = 0,
    /// The first guess at any other packet.
    Stranger = 1,
    /// Everything after a first guess that failed.
    Further = 2,
}

impl Purse {
    /// For the first guess.
    pub(crate) const fn first(known: bool) -> Self {
        if known { Self::Known } else { Self::Stranger }
    }
}

/// A worker's purses.
///
/// A packet that may try at all may try all its keys, on credit. Were it cut short after the one or two that a flood of
/// forged packets leaves it, no packet would come to the key that is third in line for as long as the flood lasts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrialBudget([Tokens; 3]);

#[derive(Clone, Copy, Debug)]
struct Tokens {
    bucket: TokenBucket,
    /// Put back; never more than was taken.
    returned: u64,
    owed: u64,
}

impl Default for TrialBudget {
    fn default() -> Self {
        Self([Tokens { bucket: TokenBucket::new(PER_SECOND, AT_ONCE), returned: 0, owed: 0 }; 3])
    }
}

impl TrialBudget {
    /// Whether a packet may try keys. What was tried on credit is paid for first.
    #[inline]
    pub(crate) fn admit(&mut self, purse: Purse, now: u64) -> bool {
        let tokens = &mut self.0[purse as usize];
        while tokens.owed > 0 && tokens.take(now) {
            tokens.owed -= 1;
        }
        tokens.owed == 0 && (tokens.returned > 0 || tokens.bucket.has(now))
    }

    /// One more key is tried.
    #[inline]
    pub(crate) fn spend(&mut self, purse: Purse, now: u64) {
        let tokens = &mut self.0[purse as usize];
        tokens.owed += u64::from(!tokens.take(now));
    }

    /// What was spent on a packet that has authenticated.
    #[inline]
    pub(crate) fn give_back(&mut self, purse: Purse, count: u64) {
        let tokens = &mut self.0[purse as usize];
        let paid = count.min(tokens.owed);
        tokens.owed -= paid;
        tokens.returned = (tokens.returned + count - paid).min(AT_ONCE);
    }
}

impl Tokens {
    #[inline]
    fn take(&mut self, now: u64) -> bool {
        if self.returned > 0 {
            self.returned -= 1;
            return true;
        }
        self.bucket.take(now)
    }
}

/// What genuine ICMPv6 errors may cost a worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ErrorBudget {
    /// Errors put into the hosts' terms: each is summed up twice, as a whole.
    pub(crate) mended: TokenBucket,
    /// Changes of what is known of paths. Each lets every flow ask once.
    pub(crate) learnt: TokenBucket,
    /// Keys derived to open what is quoted: only around a rotation, or when somebody makes errors up.
    pub(crate) derived: TokenBucket,
}

impl Default for ErrorBudget {
    fn default() -> Self {
        Self {
            mended: TokenBucket::new(10_000, 1_000),
            learnt: TokenBucket::new(100, 100),
            derived: TokenBucket::new(1_000, 100),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Packets that all may try as many keys as they like, in so many seconds.
    fn tried(budget: &mut TrialBudget, purse: Purse, keys: u64, seconds: u64) -> u64 {
        let mut tried = 0;
        for step in 0..=seconds * 1000 {
            let now = SECOND + step * SECOND / 1000;
            while budget.admit(purse, now) {
                (0..keys).for_each(|_| budget.spend(purse, now));
                tried += keys;
            }
        }
        tried
    }

    #[test]
    fn what_does_not_authenticate_costs_what_time_allows() {
        for purse in [Purse::Known, Purse::Stranger, Purse::Further] {
            for keys in [1, 31] {
                let tried = tried(&mut TrialBudget::default(), purse, keys, 4);
                let most = AT_ONCE * 2 + 4 * PER_SECOND + keys;
                assert!((4 * PER_SECOND..=most).contains(&tried), "{purse:?}, {keys} keys each: {tried}");
            }
        }
    }

    #[test]
    fn what_authenticates_costs_nothing() {
        let mut budget = TrialBudget::default();
        for _ in 0..10 * AT_ONCE {
            assert!(budget.admit(Purse::Stranger, 1));
            (0..31).for_each(|_| budget.spend(Purse::Stranger, 1));
            budget.give_back(Purse::Stranger, 31);
        }
        // And leaves nothing for others to spend.
        let mut spent = 0;
        while budget.admit(Purse::Stranger, 1) {
            budget.spend(Purse::Stranger, 1);
            spent += 1;
        }
        assert!(spent <= AT_ONCE, "{spent}");
    }

    #[test]
    fn one_purse_does_not_empty_another() {
        let mut budget = TrialBudget::default();
        tried(&mut budget, Purse::Stranger, 1, 0);
        tried(&mut budget, Purse::Further, 1, 0);
        assert!(!budget.admit(Purse::Stranger, SECOND) && budget.admit(Purse::Known, SECOND));
    }

    #[test]
    fn tokens_come_back_with_time_only() {
        let mut bucket = TokenBucket::new(10, 3);
        assert_eq!((0..5).filter(|_| bucket.take(1)).count(), 3);
        assert!(!bucket.take(50_000_000));
        assert!(bucket.take(200_000_000));
        assert_eq!(
            (0..10_000).filter(|_| bucket.take(3_600_000_000_000)).count(),
            4,
            "one left over, then at most three"
        );
    }
}
