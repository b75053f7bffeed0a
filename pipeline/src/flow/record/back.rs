//! The part of a record that packets coming back need, and what is seldom needed.

use super::{FlowBack, SEEN_GRAIN};
use protocol::five_tuple::FiveTuple;
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

    /// Notes that a packet came, whoever does it.
    #[inline]
    pub fn seen(&self, now: u64) {
        if now.wrapping_sub(self.last_seen.load(Ordering::Relaxed)) > SEEN_GRAIN {
            self.last_seen.store(now, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_live(&self) -> bool {
        self.live.load(Ordering::Acquire) != 0
    }

    pub(crate) fn set_live(&self, live: bool) {
        self.live.store(u64::from(live), Ordering::Release);
    }

    /// Numbers skipped before a packet in clear, and whether it came behind a later one. Nothing vouches for such a
    /// packet, so a leap of more than 1,000 counts as a new beginning.
    #[inline]
    pub(crate) fn follow_clear(&self, psntp: u16) -> (u32, bool) {
        const VALID: u32 = 1 << 16;
        const LEAP: u16 = 1000;
        let seen = self.clear_high.load(Ordering::Relaxed);
        let ahead = psntp.wrapping_sub(seen as u16);
        let behind = ahead.wrapping_neg();
        if seen & VALID != 0 && behind < LEAP {
            return (0, behind > 0);
        }
        self.clear_high.store(VALID | u32::from(psntp), Ordering::Relaxed);
        (if seen & VALID != 0 && ahead <= LEAP { u32::from(ahead) - 1 } else { 0 }, false)
    }

    /// The host on the inside has put an option of this form into a packet by itself.
    #[inline]
    pub(crate) fn set_host_measures(&self, form: Form) {
        if !self.host_measures(form) {
            self.host_measures.fetch_or(1 << form as u32, Ordering::Relaxed);
        }
    }

    /// Whether it has. Then options of this form that come for it are left to it.
    #[inline]
    pub(crate) fn host_measures(&self, form: Form) -> bool {
        self.host_measures.load(Ordering::Relaxed) & 1 << form as u32 != 0
    }

    /// One option did not.
    #[inline]
    pub(crate) fn count_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// What a verified packet's number says of those before it.
    #[inline]
    pub(crate) fn count_gaps(&self, skipped: u32, late: bool) {
        if skipped > 0 {
            self.skipped.fetch_add(u64::from(skipped), Ordering::Relaxed);
        }
        if late {
            self.late.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn clear(&self) {
        self.receiver.clear();
        for word in [&self.policy, &self.host_measures, &self.taken_over, &self.clear_high] {
            word.store(0, Ordering::Relaxed);
        }
        let words = [&self.last_seen, &self.sender, &self.key_id, &self.failed, &self.skipped, &self.late];
        for word in words.into_iter().chain(&self.tuple) {
            word.store(0, Ordering::Relaxed);
        }
    }
}
