//! One flow: both directions of one pair of 5-tuples, shared by all workers.

use protocol::five_tuple::FiveTuple;
use protocol::key_line::{KeyBody, KeyHead, KeyLine};
use protocol::meter::Meter;
use protocol::prefetch;
use protocol::receiver::ReceiverState;
use protocol::sender::SenderState;
use protocol::sync::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering};
use protocol::wire::option::Form;

/// A flow's 128-bit fingerprint under the secret of this boot: stands for it where the 5-tuple itself would take too much
/// room. The index has a hash of its own ([`crate::flow::hash`]), which costs less.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Fingerprint {
    /// Low half.
    pub lo: u64,
    /// High half.
    pub hi: u64,
}

impl Fingerprint {
    /// Both halves.
    #[must_use]
    pub const fn bits(self) -> u128 {
        (self.hi as u128) << 64 | self.lo as u128
    }
}

/// The part of a record that packets towards the network need, by cache lines; those coming back need the first two, and
/// [`FlowBack`]. The parts stand in tables of their own: where a table's lines are all needed, more of them are in the cache,
/// and their pages in the TLB.
#[derive(Debug, Default)]
#[repr(C, align(256))]
pub struct Flow {
    // Read by both directions, seldom written.
    /// The 5-tuple of packets from inside to outside.
    key: [AtomicU64; 5],
    last_seen: AtomicU64,
    policy: AtomicU32,
    /// Whether the record stands in the index.
    live: AtomicBool,
    /// Whether a packet of the flow was ever about to be sealed: only then its numbers must outlive it.
    seals: AtomicBool,
    /// The worker that numbers its packets, and nobody else does.
    owner: AtomicU16,
    /// The [`Stamp`] under which this box was found to speak for the flow's source and asked what is known of the
    /// path, and how long packets may be that get the option; 0: none yet.
    vouched: AtomicU64,

    // Written by both directions.
    /// Times.
    pub meter: Meter,

    // Written by packets towards the network.
    /// Numbers of the packets towards the network.
    pub sender: SenderState,
    /// With the session key to seal with go the words of its PRSEQ order.
    seal_head: KeyHead<2>,
    /// The owner's note of who has handed over the packets that it numbered last.
    taken_over: AtomicU32,
    seal_body: KeyBody,
}

/// The rest of a record: what packets coming back need, and what is seldom needed.
#[derive(Debug, Default)]
#[repr(C)]
pub struct FlowBack {
    /// Packets coming back.
    pub receiver: ReceiverState,
    /// Options that did not verify.
    pub failed: AtomicU64,
    /// Numbers skipped when a later packet came.
    pub skipped: AtomicU64,
    /// Packets that came behind a later one.
    pub late: AtomicU64,
    /// Highest PSNTP received in clear, and a validity bit (16).
    clear_high: AtomicU32,
    /// The forms whose options the host on the inside puts into its packets by itself, as bits.
    host_measures: AtomicU32,
}

/// A whole record.
#[derive(Clone, Copy, Debug)]
pub struct WholeFlow<'a> {
    /// Its first part.
    pub front: &'a Flow,
    /// The rest.
    pub back: &'a FlowBack,
}

impl core::ops::Deref for WholeFlow<'_> {
    type Target = Flow;

    #[inline]
    fn deref(&self) -> &Flow {
        self.front
    }
}

#[cfg(not(loom))]
const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(Flow, meter) == 64 && offset_of!(Flow, sender) == 128 && offset_of!(Flow, seal_body) == 192);
    assert!(size_of::<Flow>() == 256);
};

/// Names a snapshot and what was known of paths then: what a flow was told under it holds as long as neither has changed. Both
/// counts are kept modulo 2^24.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamp(u64);

/// Bits below a stamp for the length that goes with it.
const ROOM_BITS: u32 = 16;

impl Stamp {
    /// Of these versions.
    #[inline]
    pub(crate) const fn new(snapshot: u64, paths: u32) -> Self {
        Self((snapshot & 0xFF_FFFF) << 40 | (paths as u64 & 0xFF_FFFF) << ROOM_BITS)
    }
}

/// Seconds-scale granularity of `last_seen`, so that a busy flow's line is not written for every packet: about 0.27 s.
const SEEN_GRAIN: u64 = 1 << 28;

impl Flow {
    /// Fills a record that nobody else can reach yet.
    pub(crate) fn prepare(&self, tuple: &FiveTuple, policy: u32, now: u64) {
        for (word, value) in self.key.iter().zip(tuple.words()) {
            word.store(value, Ordering::Relaxed);
        }
        self.policy.store(policy, Ordering::Relaxed);
        self.last_seen.store(now, Ordering::Relaxed);
    }

    /// Whether it is the flow of this outbound 5-tuple.
    #[inline]
    pub(crate) fn is(&self, words: &[u64; 5]) -> bool {
        self.key.iter().zip(words).fold(0, |d, (k, w)| d | (k.load(Ordering::Relaxed) ^ w)) == 0
    }

    /// The session key to seal with.
    #[inline]
    #[must_use]
    pub const fn seal_key(&self) -> KeyLine<'_, 2> {
        KeyLine { head: &self.seal_head, body: &self.seal_body }
    }

    /// Asks for the lines that are needed first for a packet towards the network. (All at once would be more than the CPU can
    /// wait for: the rest is asked for one packet at a time, between other work.)
    #[inline]
    pub(crate) fn prefetch_outbound(&self) {
        prefetch::line(self);
        prefetch::line(&self.meter);
    }

    /// Asks for those that are needed then.
    #[inline]
    pub(crate) fn prefetch_outbound_rest(&self) {
        prefetch::line(&self.sender);
        prefetch::line(&self.seal_body);
    }

    /// The outbound 5-tuple's words.
    #[must_use]
    pub fn words(&self) -> [u64; 5] {
        core::array::from_fn(|i| self.key[i].load(Ordering::Relaxed))
    }

    /// The outbound 5-tuple.
    #[must_use]
    pub fn tuple(&self) -> FiveTuple {
        FiveTuple::from_words(self.words())
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

    /// How long, in octets, packets may be that get the option, if this box was found at that moment to speak for the
    /// flow's source.
    #[inline]
    pub(crate) fn room(&self, stamp: Stamp) -> Option<usize> {
        let since = self.vouched.load(Ordering::Relaxed) ^ stamp.0;
        (since >> ROOM_BITS == 0).then_some(since as usize)
    }

    /// This box speaks for the flow's source, and its packets may be so long.
    #[inline]
    pub(crate) fn vouch(&self, stamp: Stamp, room: usize) {
        let room = room.min((1 << ROOM_BITS) - 1) as u64;
        self.vouched.store(stamp.0 | room, Ordering::Relaxed);
    }

    /// To be called before a number is taken for sealing.
    #[inline]
    pub(crate) fn will_seal(&self) {
        if !self.seals.load(Ordering::Relaxed) {
            self.seals.store(true, Ordering::Relaxed);
        }
    }

    /// Whether numbers were taken for sealing. Exact once the sender is frozen: who took a number has set it before.
    pub(crate) fn has_sealed(&self) -> bool {
        self.seals.load(Ordering::Relaxed)
    }

    /// Notes that a packet came.
    #[inline]
    pub fn seen(&self, now: u64) {
        if now.wrapping_sub(self.last_seen.load(Ordering::Relaxed)) > SEEN_GRAIN {
            self.last_seen.store(now, Ordering::Relaxed);
        }
    }

    /// Nanoseconds since the last packet, exact to [`Flow::seen`]'s grain.
    #[must_use]
    pub fn idle(&self, now: u64) -> u64 {
        now.saturating_sub(self.last_seen.load(Ordering::Relaxed))
    }

    pub(crate) fn is_live(&self) -> bool {
        self.live.load(Ordering::Acquire)
    }

    pub(crate) fn set_live(&self, live: bool) {
        self.live.store(live, Ordering::Release);
    }

    /// The worker that owns the flow. Whoever finds itself here sees all that the owner before it has written.
    #[inline]
    #[must_use]
    pub fn owner(&self) -> u16 {
        self.owner.load(Ordering::Acquire)
    }

    /// Makes a worker the owner of a record that nobody else can reach yet.
    pub(crate) fn begin_with(&self, owner: u16) {
        self.owner.store(owner, Ordering::Relaxed);
    }

    /// Gives the flow to another worker. Only its owner does, when it has written all that it will write.
    pub(crate) fn give(&self, to: u16) {
        self.owner.store(to, Ordering::Release);
    }

    /// The owner's note of packets that it took over.
    #[inline]
    pub(crate) fn taken_over(&self) -> u32 {
        self.taken_over.load(Ordering::Relaxed)
    }

    /// Writes that note. Only the owner does.
    #[inline]
    pub(crate) fn set_taken_over(&self, note: u32) {
        self.taken_over.store(note, Ordering::Relaxed);
    }

    /// Makes it as new, its keys overwritten. Only when no worker can reach it.
    fn clear(&self) {
        self.sender.start(0, 0);
        self.seal_key().clear();
        self.meter.clear();
        self.seals.store(false, Ordering::Relaxed);
        self.owner.store(0, Ordering::Relaxed);
        self.taken_over.store(0, Ordering::Relaxed);
        for word in self.key.iter().chain([&self.vouched]) {
            word.store(0, Ordering::Relaxed);
        }
    }
}

impl FlowBack {
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

    fn clear(&self) {
        self.receiver.clear();
        for word in [&self.clear_high, &self.host_measures] {
            word.store(0, Ordering::Relaxed);
        }
        for word in [&self.failed, &self.skipped, &self.late] {
            word.store(0, Ordering::Relaxed);
        }
    }
}

impl WholeFlow<'_> {
    /// Asks for the lines that are needed first for a packet coming back.
    #[inline]
    pub(crate) fn prefetch_inbound(&self) {
        prefetch::line(self.front);
        prefetch::line(&self.back.receiver);
    }

    /// Asks for those that are needed then.
    #[inline]
    pub(crate) fn prefetch_inbound_rest(&self) {
        prefetch::line(self.back.receiver.key_line());
        prefetch::line(self.back.receiver.window_line());
        prefetch::line(&self.meter);
    }

    /// Makes the record as new, its keys overwritten. Only when no worker can reach it.
    pub(crate) fn clear(&self) {
        self.front.clear();
        self.back.clear();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_a_flow_was_told_holds_until_snapshot_or_paths_change() {
        let flow = Flow::default();
        assert!(flow.room(Stamp::new(1, 0)).is_none());
        assert_eq!(flow.room(Stamp::new(0, 0)), Some(0), "no packet is short enough");
        for (ring, paths, room, kept) in [(1, 0, 1360, 1360), (1, 1, 0, 0), (2, 1, usize::MAX, 65_535)] {
            let stamp = Stamp::new(ring, paths);
            assert_eq!(flow.room(stamp), None);
            flow.vouch(stamp, room);
            assert_eq!(flow.room(stamp), Some(kept));
            assert_eq!(flow.room(Stamp::new(ring + 1, paths)), None);
            assert_eq!(flow.room(Stamp::new(ring, paths + 1)), None);
        }
        flow.clear();
        assert_eq!(flow.room(Stamp::new(2, 1)), None);
    }

    #[test]
    fn a_record_that_is_used_again_is_nobodys_and_remembers_nobody() {
        let flow = Flow::default();
        flow.begin_with(3);
        assert_eq!(flow.owner(), 3);
        flow.give(7);
        flow.set_taken_over(9);
        assert_eq!((flow.owner(), flow.taken_over()), (7, 9));
        flow.clear();
        assert_eq!((flow.owner(), flow.taken_over()), (0, 0));
    }

    #[test]
    fn gaps_and_late_packets_in_clear() {
        let flow = FlowBack::default();
        let steps = [
            (65534, (0, false)),
            (65535, (0, false)),
            (2, (2, false)),
            (1, (0, true)),
            (3, (0, false)),
            (3, (0, false)),
            (40_000, (0, false)),
            (40_001, (0, false)),
            (39_002, (0, true)),
        ];
        for (psntp, expected) in steps {
            assert_eq!(flow.follow_clear(psntp), expected, "{psntp}");
        }
    }
}
