//! The part of a record that packets coming back need, and what is seldom needed.

use super::{FlowBack, SEEN_GRAIN, SPLIT, START_SHIFT};
use protocol::five_tuple::FiveTuple;
use protocol::key_line::SecretId;
use protocol::receiver::Verdict;
use protocol::sync::Ordering;
use protocol::wire::option::Form;

impl FlowBack {
    /// Fills a record that nobody else can reach yet.
    pub(crate) fn prepare(&self, tuple: &FiveTuple, policy: u32, now: u64) {
        for (word, value) in self.tuple.iter().zip(tuple.words()) {
            word.store(value, Ordering::Relaxed);
        }
        self.policy.store(policy, Ordering::Relaxed);
        self.last_seen.store(now, Ordering::Relaxed);
        self.started.store((now >> START_SHIFT) as u32, Ordering::Relaxed);
    }

    /// Whether it is the flow of this outbound 5-tuple.
    #[inline]
    pub(crate) fn is(&self, words: &[u64; 5]) -> bool {
        self.tuple.iter().zip(words).fold(0, |d, (k, w)| d | (k.load(Ordering::Relaxed) ^ w)) == 0
    }

    /// Where in a record the 5-tuple's addresses stand, inside first; behind them its last word, [`FlowBack::ports`].
    pub(crate) const ADDRESSES_AT: usize = core::mem::offset_of!(FlowBack, tuple);

    /// Ports and protocol of the 5-tuple.
    #[inline]
    pub(crate) fn ports(&self) -> u64 {
        self.tuple[4].load(Ordering::Relaxed)
    }

    /// The outbound 5-tuple's words.
    #[must_use]
    pub fn words(&self) -> [u64; 5] {
        core::array::from_fn(|i| self.tuple[i].load(Ordering::Relaxed))
    }

    /// The outbound 5-tuple.
    #[must_use]
    pub fn tuple(&self) -> FiveTuple {
        FiveTuple::from_words(self.words())
    }

    /// The outbound 5-tuple's destination, which is the source of packets coming back, as a number.
    #[inline]
    pub(crate) fn destination(&self) -> u128 {
        let [low, high] = [&self.tuple[2], &self.tuple[3]].map(|half| half.load(Ordering::Relaxed));
        (u128::from(low) | u128::from(high) << 64).swap_bytes()
    }

    /// The word of its policy, which those rules understand that gave it ([`Rules`](crate::state::rules::Rules)).
    #[inline]
    #[must_use]
    pub fn policy(&self) -> u32 {
        self.policy.load(Ordering::Relaxed)
    }

    /// It falls under another policy, or there are other rules.
    pub(crate) fn set_policy(&self, word: u32) {
        self.policy.store(word, Ordering::Relaxed);
    }

    /// Notes that a packet came, whoever does it. Gives whether something was written: about once in 0.3 s.
    #[inline]
    pub fn seen(&self, now: u64) -> bool {
        let is_later = now.wrapping_sub(self.last_seen.load(Ordering::Relaxed)) > SEEN_GRAIN;
        if is_later {
            self.last_seen.store(now, Ordering::Relaxed);
        }
        is_later
    }

    /// Whose the key to seal with is. For the flow's owner.
    pub(crate) fn key_id(&self) -> SecretId {
        SecretId::from_bits(self.key_id.load(Ordering::Relaxed))
    }

    pub(crate) fn is_live(&self) -> bool {
        self.live.load(Ordering::Acquire) != 0
    }

    pub(crate) fn set_live(&self, live: bool) {
        self.live.store(u64::from(live), Ordering::Release);
    }

    /// Takes a packet in clear into account. Nothing vouches for one, so a leap of more than 1,000 counts as a new beginning,
    /// and which of the numbers came is known for the last 41 only: what is further behind is late, and may be a copy.
    #[inline]
    pub(crate) fn follow_clear(&self, psntp: u16) -> Verdict {
        const VALID: u64 = 1 << 63;
        const KEPT: u16 = 41;
        const MOST: u16 = 63;
        const LEAP: u16 = 1000;
        let fresh = |skipped, late, found| Verdict::Fresh { skipped, late, found };
        let mut seen = self.clear.load(Ordering::Relaxed);
        loop {
            let (age, came) = ((seen >> 57) as u16 & MOST, seen >> 16 & ((1 << KEPT) - 1));
            let ahead = psntp.wrapping_sub(seen as u16);
            let behind = ahead.wrapping_neg();
            let (age, came, high, verdict) = if seen & VALID == 0 || ahead > LEAP && behind >= LEAP {
                (0, 1, psntp, fresh(0, false, false))
            } else if behind >= LEAP {
                let came = came.checked_shl(u32::from(ahead)).unwrap_or(0) | 1;
                (age.saturating_add(ahead).min(MOST), came, psntp, fresh(u32::from(ahead) - 1, false, false))
            } else if behind >= KEPT {
                return fresh(0, true, false);
            } else if came >> behind & 1 != 0 {
                return Verdict::Replayed;
            } else {
                // One that is older than the first was not skipped.
                (age, came | 1 << behind, seen as u16, fresh(0, true, behind <= age))
            };
            let next = VALID | u64::from(age) << 57 | (came & ((1 << KEPT) - 1)) << 16 | u64::from(high);
            match self.clear.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return verdict,
                Err(now) => seen = now,
            }
        }
    }

    /// The host on the inside has put an option of this form into a packet by itself.
    #[inline]
    pub(crate) fn set_host_measures(&self, form: Form) {
        if !self.host_measures(form) {
            self.noted.fetch_or(1 << form as u32, Ordering::Relaxed);
        }
    }

    /// Whether it has. Then options of this form that come for it are left to it.
    #[inline]
    pub(crate) fn host_measures(&self, form: Form) -> bool {
        self.noted.load(Ordering::Relaxed) & 1 << form as u32 != 0
    }

    /// One option did not.
    #[inline]
    pub(crate) fn count_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// What a verified packet's number says of those before it.
    #[inline]
    pub(crate) fn count_gaps(&self, skipped: u32, late: bool, found: bool) {
        if skipped > 0 {
            self.skipped.fetch_add(u64::from(skipped), Ordering::Relaxed);
        }
        if found {
            self.receiver.found.fetch_add(1, Ordering::Relaxed);
        }
        if late {
            self.late.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One packet came again.
    pub(crate) fn count_duplicate(&self) {
        self.receiver.duplicates.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that its packets came to several workers. Whether that is new.
    #[cold]
    pub(crate) fn note_split(&self) -> bool {
        // Nearly always it is not: then nothing is written.
        self.noted.load(Ordering::Relaxed) & SPLIT == 0 && self.noted.fetch_or(SPLIT, Ordering::Relaxed) & SPLIT == 0
    }

    /// So many numbers more were gone through in clear. `alone`: no other worker counts. Whether they are the first, where it is
    /// not alone.
    #[inline]
    pub(crate) fn count_in_clear(&self, numbers: u64, alone: bool) -> bool {
        if alone {
            self.in_clear.store(self.in_clear.load(Ordering::Relaxed) + numbers, Ordering::Relaxed);
            return false;
        }
        self.in_clear.fetch_add(numbers, Ordering::Relaxed) == 0
    }

    /// Packets that came again.
    #[must_use]
    pub fn duplicates(&self) -> u64 {
        self.receiver.duplicates.load(Ordering::Relaxed)
    }

    /// Numbers that never came.
    #[must_use]
    pub fn lost(&self) -> u64 {
        // Who finds a number may count before who has skipped it.
        self.skipped.load(Ordering::Relaxed).saturating_sub(self.receiver.found.load(Ordering::Relaxed))
    }

    /// Packets that came, copies not counted. They are not counted one by one: of the numbers from the first to the highest one
    /// all came that were not skipped, and then those that came late.
    #[must_use]
    pub fn received(&self) -> u64 {
        let [skipped, late, in_clear] =
            [&self.skipped, &self.late, &self.in_clear].map(|count| count.load(Ordering::Relaxed));
        (self.receiver.numbers() + in_clear + late).saturating_sub(skipped)
    }

    pub(super) fn clear(&self) {
        self.receiver.clear();
        self.measured.clear();
        for word in [&self.policy, &self.noted, &self.taken_over, &self.started] {
            word.store(0, Ordering::Relaxed);
        }
        let words = [&self.last_seen, &self.sender, &self.key_id, &self.clear];
        let counts = [&self.failed, &self.skipped, &self.in_clear, &self.late];
        for word in words.into_iter().chain(counts).chain(&self.tuple) {
            word.store(0, Ordering::Relaxed);
        }
    }
}
