//! The times of one flow: what goes into DeltaTLR and DeltaTLS, and what follows from those received (profile section 3,
//! RFC 8250 section 3.2 and appendix C).
//!
//! One word holds a time and the PSNTP that belongs to it, so that a reader on another core always gets a pair.

use crate::sync::{AtomicU64, Ordering};
use core::hint::select_unpredictable;

/// Bits that are kept of a time in nanoseconds: it comes again after 39 hours.
pub const TIME_BITS: u32 = 47;
/// The same, as a mask.
pub const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
/// In a packed time: there is one.
pub const VALID: u64 = 1 << 63;
/// In `acknowledged`, above the PSNLR.
const HEARD: u64 = 1 << 16;
/// And above that: see [`Meter::acknowledged`].
pub const ANCHOR_AT: u32 = 17;
const ANCHOR: u64 = 0x7FFF;
const FOUND_AT: u32 = 32;
/// And above that: nothing but segments without data has named the PSNLR.
const BARE: u64 = 1 << 48;
/// Send times that are kept: as many as fit the cache line of the other times.
const LOG: usize = 4;

/// A time, and the PSN that belongs to it: `valid (1) | time (47) | PSN (16)`.
#[must_use]
pub const fn pack(now_ns: u64, psn: u16) -> u64 {
    VALID | (now_ns & TIME_MASK) << 16 | psn as u64
}

/// Nanoseconds from one packed time to a later one. Times are kept modulo 39 hours, so "later" is the nearer way round.
const fn elapsed(from: u64, to: u64) -> u64 {
    let d = ((to >> 16) & TIME_MASK).wrapping_sub((from >> 16) & TIME_MASK) & TIME_MASK;
    if d > TIME_MASK / 2 { 0 } else { d }
}

/// What a packet about to be sent says of the times before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SendTimes {
    /// PSNTP of the last packet received on the reverse 5-tuple; 0 until there is one.
    pub psnlr: u16,
    /// Nanoseconds since that packet was received; 0 until there is one.
    pub delta_tlr_ns: u64,
    /// Delta time last sent, nanoseconds; 0 in the first packet.
    pub delta_tls_ns: u64,
}

/// What a received packet says of the path: nothing, unless it is an answer, which is the first one to name a packet. Those
/// behind it that name the same one were sent on the same occasion (RFC 8250 appendix C.2.2), or with nothing coming in between
/// (C.2.1): their DeltaTLR tells how long the other side has gone on sending, and is nobody's delay.
///
/// A bare packet, which is a TCP segment without data, is what a host's system sends by itself: when it acknowledges, and up to
/// 200 ms later, if nobody has answered by then. It tells of the network alone. The answer is the first one behind it with data.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sample {
    /// From the sending of the packet that is answered to the receipt of the answer, nanoseconds.
    pub end_to_end_ns: Option<u64>,
    /// End-to-end time less the other side's delay, nanoseconds: the network between the two boxes, there and back.
    pub round_trip_ns: Option<u64>,
    /// The other side's delay between receiving and sending (DeltaTLR as received), nanoseconds.
    pub server_delay_ns: Option<u64>,
    /// The packet's DeltaTLS is the end-to-end time that the other side has measured: from the packet before this one to the
    /// receipt of what this side has sent last.
    pub is_told: bool,
}

/// Times of both directions of a flow, and the numbers of its next packet, which are written with them: one cache line. Its first
/// two words are written by whoever works on a packet coming back, the others by the one worker that numbers the flow's
/// packets.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Meter {
    /// `valid (1) | time (47) | PSNTP (16)` of the last packet received; 0: none yet. Others'.
    pub last_received: AtomicU64,
    /// `bare (1) | found (16) | anchor (15) | heard (1) | PSNLR (16)`. The PSNLR that came last: how far the other side is behind. Others'.
    ///
    /// Send times are kept of packets that lie 1, 2, 4, … apart, counted from the anchor: one that the other side has named. It
    /// may name every second one only (delayed acknowledgements), or the last of every 64 (its host puts segments together), and
    /// then names those that lie a power of two from one another; of which two, the anchor tells. Found: the PSNLR whose send time
    /// was found last, or the anchor if that is newer.
    pub acknowledged: AtomicU64,
    /// As `last_received`, of the last packet sent.
    pub last_sent: AtomicU64,
    /// `next PSNTP (16) | next index (16) | seen (32)`. Seen is the low half of `last_received` as it was when the last packet
    /// was sent: the PSN, and the time within 65 us.
    pub next: AtomicU64,
    /// Send times of some of the last packets.
    pub log: [AtomicU64; LOG],
}

const SEEN: u64 = 0xFFFF_FFFF;

/// [`Meter::next`], of its parts.
#[must_use]
pub const fn next_word(seen: u32, index: u16, psntp: u16) -> u64 {
    seen as u64 | (index as u64) << 32 | (psntp as u64) << 48
}

impl Meter {
    /// Of a flow without any packets.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new() -> Self {
        Self {
            last_received: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            last_sent: AtomicU64::new(0),
            next: AtomicU64::new(0),
            log: [const { AtomicU64::new(0) }; LOG],
        }
    }

    /// The next packet's place in the order of its Kri, and its PSNTP.
    #[inline]
    #[must_use]
    pub fn next(&self) -> (u16, u16) {
        let word = self.next.load(Ordering::Relaxed);
        ((word >> 32) as u16, (word >> 48) as u16)
    }

    /// Sets them. Only for who numbers the flow's packets.
    #[inline]
    pub fn set_next(&self, index: u16, psntp: u16) {
        let seen = self.next.load(Ordering::Relaxed) as u32;
        self.next.store(next_word(seen, index, psntp), Ordering::Relaxed);
    }

    /// A packet with this PSNTP is sent now. Only for who numbers the flow's packets.
    #[inline]
    pub fn on_send(&self, psntp: u16, now_ns: u64) -> SendTimes {
        let now = pack(now_ns, psntp);
        let received = self.last_received.load(Ordering::Acquire);
        let sent = self.last_sent.load(Ordering::Relaxed);
        let next = self.next.load(Ordering::Relaxed);
        let came_since = received as u32 != next as u32;
        let times = SendTimes {
            psnlr: received as u16,
            delta_tlr_ns: if received == 0 { 0 } else { elapsed(received, now) },
            delta_tls_ns: match (sent, came_since) {
                (0, _) => 0,
                (_, true) => elapsed(sent, received),
                (_, false) => elapsed(sent, now),
            },
        };
        self.last_sent.store(now, Ordering::Relaxed);
        self.next.store(next & !SEEN | received & SEEN, Ordering::Relaxed);
        self.remember(psntp, now);
        times
    }

    /// Keeps the send time of every packet while few are under way, and of every 2nd, 4th, … when many are: those that
    /// are kept then reach back over all that the other side may name.
    #[inline]
    fn remember(&self, psntp: u16, now: u64) {
        let acknowledged = self.acknowledged.load(Ordering::Relaxed);
        let under_way = if acknowledged == 0 { 1 } else { psntp.wrapping_sub(acknowledged as u16).max(1) };
        let stride = u32::from(under_way).div_ceil(LOG as u32).next_power_of_two().min(1 << 14);
        let from_anchor = u32::from(psntp.wrapping_sub((acknowledged >> ANCHOR_AT & ANCHOR) as u16));
        if from_anchor & (stride - 1) == 0 {
            self.log[(from_anchor / stride) as usize % LOG].store(now, Ordering::Relaxed);
        }
    }

    /// What is to be known of a packet that was named for the first time: whether its send time `was_found`.
    #[inline]
    fn acknowledge(&self, before: u64, psnlr: u16, was_found: bool, is_bare: bool) {
        let under_way = (self.last_sent.load(Ordering::Relaxed) as u16).wrapping_sub(psnlr);
        let (mut anchor, mut found) = (before >> ANCHOR_AT & ANCHOR, before >> FOUND_AT & 0xFFFF);
        // What is kept from an anchor on is named when all that was under way has been, and then at least as often.
        let patience = 2 * under_way.min(0x3000) + LOG as u16;
        if was_found {
            found = u64::from(psnlr);
        } else if before == 0 || psnlr.wrapping_sub(found as u16) > patience {
            (anchor, found) = (u64::from(psnlr) & ANCHOR, u64::from(psnlr));
        }
        let word = HEARD | u64::from(psnlr) | anchor << ANCHOR_AT | found << FOUND_AT;
        self.acknowledged.store(word | if is_bare { BARE } else { 0 }, Ordering::Relaxed);
    }

    /// A packet was received now that has measured nothing new: a later one came before it, or it came before.
    #[inline]
    pub fn on_late(&self, psntp: u16, now_ns: u64) {
        self.last_received.store(pack(now_ns, psntp), Ordering::Release);
    }

    /// A packet was received now (and authenticated, where it is sealed) whose metrics say this.
    #[inline]
    pub fn on_receive(&self, psntp: u16, psnlr: u16, delta_tlr_ns: u64, now_ns: u64) -> Sample {
        self.on_receive_of(psntp, psnlr, delta_tlr_ns == 0, now_ns, || delta_tlr_ns, || false)
    }

    /// The same of a DeltaTLR that is only worked out if it is needed; and of a packet that is only then looked at, whether it is
    /// bare ([`Sample`]).
    #[inline]
    pub fn on_receive_of(
        &self,
        psntp: u16,
        psnlr: u16,
        no_delay: bool,
        now_ns: u64,
        delta_tlr_ns: impl FnOnce() -> u64,
        is_bare: impl FnOnce() -> bool,
    ) -> Sample {
        let now = pack(now_ns, psntp);
        self.last_received.store(now, Ordering::Release);
        let before = self.acknowledged.load(Ordering::Relaxed);
        let is_named = before != 0 && before as u16 == psnlr;
        // No packet of ours has reached the other side yet, or none since one that was answered.
        if psnlr == 0 && no_delay || is_named && before & BARE == 0 {
            return Sample::default();
        }
        let is_bare = is_bare();
        if is_named && is_bare {
            return Sample::default();
        }
        let sample = self.answered(before, is_named, is_bare, psntp, psnlr, now, delta_tlr_ns());
        if is_bare { Sample { end_to_end_ns: None, server_delay_ns: None, ..sample } } else { sample }
    }

    #[inline]
    #[expect(clippy::too_many_arguments, reason = "one caller; a struct for it would only rename them")]
    fn answered(
        &self,
        before: u64,
        is_named: bool,
        is_bare: bool,
        psntp: u16,
        psnlr: u16,
        now: u64,
        delta_tlr_ns: u64,
    ) -> Sample {
        // Without a branch: where it stands, nobody can foretell. Of two the first counts.
        let sent = self.log.iter().rev().map(|e| e.load(Ordering::Relaxed)).fold(0, |found, e| {
            let is_it = (e & VALID != 0) & (e as u16 == psnlr);
            select_unpredictable(is_it, e, found)
        });
        if is_named {
            self.acknowledged.store(before & !BARE, Ordering::Relaxed);
        } else {
            self.acknowledge(before, psnlr, sent != 0, is_bare);
        }
        let end_to_end_ns = (sent != 0).then(|| elapsed(sent, now)).filter(|&ns| ns >= delta_tlr_ns);
        // What this side sent last, and what it had received last by then.
        let (last, seen) = (self.last_sent.load(Ordering::Relaxed), self.next.load(Ordering::Relaxed));
        Sample {
            end_to_end_ns,
            round_trip_ns: end_to_end_ns.map(|ns| ns - delta_tlr_ns),
            server_delay_ns: Some(delta_tlr_ns),
            is_told: last & VALID != 0 && last as u16 == psnlr && seen as u16 == psntp.wrapping_sub(1),
        }
    }

    /// Forgets everything. Only for a flow that nobody uses any more.
    pub fn clear(&self) {
        let words = [&self.last_received, &self.acknowledged, &self.last_sent, &self.next];
        for word in words.into_iter().chain(&self.log) {
            word.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    /// RFC 8250 appendix B's exchange: host A sends, B answers after its delay, and each side's deltas follow.
    #[test]
    fn request_and_response() {
        let (a, b) = (Meter::default(), Meter::default());
        assert_eq!(a.on_send(25, 0), SendTimes::default());
        assert_eq!(b.on_receive(25, 0, 0, 10 * MS), Sample::default());
        let reply = b.on_send(12, 14 * MS);
        assert_eq!(reply, SendTimes { psnlr: 25, delta_tlr_ns: 4 * MS, delta_tls_ns: 0 });
        let at_a = a.on_receive(12, 25, 4 * MS, 24 * MS);
        let told = Sample {
            end_to_end_ns: Some(24 * MS),
            round_trip_ns: Some(20 * MS),
            server_delay_ns: Some(4 * MS),
            is_told: false,
        };
        assert_eq!(at_a, told, "B had sent nothing before");
        // More of the same answer, and a packet that was overtaken (RFC 8250 appendix C.2.2).
        assert_eq!(a.on_receive(13, 25, 6 * MS, 26 * MS), Sample::default());
        a.on_late(12, 24 * MS);
        // A's next packet: DeltaTLS is the end-to-end time of the first exchange.
        assert_eq!(a.on_send(26, 30 * MS), SendTimes { psnlr: 12, delta_tlr_ns: 6 * MS, delta_tls_ns: 24 * MS });
        // Nothing came since: the sender's own pace.
        assert_eq!(a.on_send(27, 33 * MS), SendTimes { psnlr: 12, delta_tlr_ns: 9 * MS, delta_tls_ns: 3 * MS });
        // B answers the last of A's packets at once: it learns A's end-to-end time from it.
        b.on_receive(26, 12, 6 * MS, 40 * MS);
        let second = b.on_send(13, 40 * MS);
        assert_eq!((second.psnlr, second.delta_tls_ns), (26, 26 * MS));
        let third = b.on_receive(28, 13, 0, 60 * MS);
        assert!(!third.is_told && third.end_to_end_ns == Some(20 * MS), "A sent 27 before it had an answer to 26");
        assert!(b.on_receive(27, 13, 0, 61 * MS) == Sample::default());
        let fourth = b.on_send(14, 62 * MS);
        assert_eq!(fourth.psnlr, 27);
        assert!(b.on_receive(28, 14, 0, 70 * MS).is_told, "A's DeltaTLS is from its 27 to B's 14");
    }

    /// A server that answers after 100 ms, whose TCP has acknowledged the request after 40 ms by itself.
    #[test]
    fn what_has_no_data_tells_of_the_network_alone() {
        let m = Meter::default();
        m.on_send(1, 0);
        let bare = |psntp, delay: u64| m.on_receive_of(psntp, 1, false, 2 * MS + delay, || delay, || true);
        let trip = Sample { round_trip_ns: Some(2 * MS), ..Sample::default() };
        assert_eq!(bare(50, 40 * MS), trip);
        assert_eq!(bare(51, 50 * MS), Sample::default(), "once is enough");
        let answer = Sample { end_to_end_ns: Some(102 * MS), server_delay_ns: Some(100 * MS), ..trip };
        assert_eq!(m.on_receive(52, 1, 100 * MS, 102 * MS), answer);
        assert_eq!(m.on_receive(53, 1, 101 * MS, 103 * MS), Sample::default(), "more of the same answer");
        assert_eq!(bare(54, 110 * MS), Sample::default());
        m.on_send(2, 200 * MS);
        assert_eq!(m.on_receive(55, 2, 7 * MS, 209 * MS).server_delay_ns, Some(7 * MS));
        // Nobody looks at a packet that can tell nothing.
        m.on_receive_of(56, 2, false, 210 * MS, || unreachable!(), || unreachable!());
    }

    #[test]
    fn the_latest_received_counts() {
        let m = Meter::default();
        m.on_send(1, 100);
        m.on_receive(50, 1, 5, 200);
        m.on_receive(51, 1, 5, 260);
        assert_eq!(m.on_send(2, 300), SendTimes { psnlr: 51, delta_tlr_ns: 40, delta_tls_ns: 160 });
    }

    #[test]
    fn times_survive_the_wrap_of_the_kept_bits() {
        let m = Meter::default();
        let edge = (1 << TIME_BITS) - 10;
        m.on_send(1, edge);
        assert_eq!(m.on_send(2, edge + 25).delta_tls_ns, 25);
    }

    /// A bulk flow of which so many packets are under way; the other side names every so-manieth of them. Gives the longest run
    /// of packets sent without a sample, once some round trips have passed.
    fn longest_gap(under_way: u64, first: u16, every: u64, offset: u64) -> u64 {
        let m = Meter::default();
        let (warm, end) = (8 * under_way + 1500, 20 * under_way + 3000);
        let (mut last, mut longest) = (0, 0);
        for n in 0..end {
            m.on_send(first.wrapping_add(n as u16), n * 10);
            let named = n.checked_sub(under_way).filter(|named| named % every == offset % every);
            let psnlr = named.map(|named| first.wrapping_add(named as u16));
            let sample = psnlr.map(|psnlr| m.on_receive(n as u16, psnlr, 1, n * 10 + 5)).unwrap_or_default();
            if let Some(ns) = sample.end_to_end_ns {
                assert_eq!(ns, under_way * 10 + 5);
                last = n;
            }
            longest = longest.max(if n > warm { n - last.max(warm) } else { 0 });
        }
        longest
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(150))]
        #[test]
        fn a_bulk_flow_has_a_sample_in_each_round_trip(
            under_way in prop_oneof![1u64..300, 1u64..=10_000],
            first: u16,
            every in prop::sample::select(&[1u64, 2, 64][..]),
            offset in 0u64..64,
        ) {
            // A packet is not named before the last one of its batch has come.
            let round_trip = under_way + every;
            let gap = longest_gap(under_way, first, every, offset);
            prop_assert!(gap <= round_trip, "{} packets of {}", gap, round_trip);
        }
    }

    #[test]
    fn round_trips_are_found_with_many_packets_under_way() {
        let m = Meter::default();
        let (mut samples, delay) = (0, 1500u64);
        for n in 0..20_000u64 {
            m.on_send(n as u16, n * 10);
            if n >= delay {
                let named = n - delay;
                let sample = m.on_receive(n as u16, named as u16, 0, n * 10 + 5);
                if named as u16 != 0
                    && let Some(rtt) = sample.round_trip_ns
                {
                    assert_eq!(rtt, delay * 10 + 5);
                    samples += 1;
                }
            }
        }
        assert!(samples > 30, "{samples} samples, where one in 512 packets is kept");
    }
}
