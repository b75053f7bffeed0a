//! What is kept of one direction of a flow, and of the packets that the other direction may name.

use super::histogram::Histogram;
use super::level::Level;
use super::sequence::{Sequence, Stream};
use crate::decode::record::Seen;
use protocol::delta_time::{self, Scaled};

/// Packets that are remembered at first.
const LEAST_SLOTS: usize = 16;
/// Packets that are remembered at most, of a flow of which many are under way.
const MOST_SLOTS: usize = 1024;

/// A packet that the other direction may name.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    pub psntp: u16,
    pub psnlr: u16,
    pub time_ns: u64,
    /// DeltaTLR, when it names a packet.
    pub delta_tlr_ns: Option<u64>,
}

/// The last packets of a direction, as many as are needed to find those that are named.
#[derive(Clone, Debug, Default)]
struct Recent {
    slots: Vec<Option<Slot>>,
}

impl Recent {
    fn put(&mut self, slot: Slot) {
        if self.slots.is_empty() {
            self.slots = vec![None; LEAST_SLOTS];
        }
        let at = usize::from(slot.psntp) & (self.slots.len() - 1);
        if let Some(place) = self.slots.get_mut(at) {
            *place = Some(slot);
        }
    }

    /// The packet of this number. One that was overwritten shows that more have to be kept; `budget` says how many more all
    /// flows together may keep.
    fn named(&mut self, psntp: u16, budget: &mut usize) -> Option<Slot> {
        let len = self.slots.len();
        let slot = self.slots.get(usize::from(psntp) & len.checked_sub(1)?).copied().flatten()?;
        if slot.psntp == psntp {
            return Some(slot);
        }
        let gone_by = usize::from(slot.psntp.wrapping_sub(psntp));
        if gone_by < MOST_SLOTS && len < MOST_SLOTS && *budget >= len {
            *budget -= len;
            let old = std::mem::take(&mut self.slots);
            self.slots = vec![None; 2 * len];
            old.into_iter().flatten().for_each(|slot| self.put(slot));
        }
        None
    }
}

/// One direction.
#[derive(Clone, Debug, Default)]
pub struct Direction {
    /// Packets with an option.
    pub packets: u64,
    /// Of them sealed, and not opened.
    pub sealed: u64,
    pub sequence: Sequence,
    pub stream: Stream,
    /// How long the sender took from the packet that it answers to its answer.
    pub delay: Histogram,
    pub delay_level: Level,
    /// From the place of the capture to this sender's box and back.
    pub network: Histogram,
    pub network_level: Level,
    /// The round trip as measured where this direction is sent from.
    pub round_trip: Histogram,
    /// How often the Hop Limit changed, and when last: nanoseconds, from, to.
    pub hops: u32,
    pub last_hops: Option<(u64, u8, u8)>,
    hop_limit: Option<u8>,
    recent: Recent,
    /// What it named last, and whether only packets without data have.
    named: Option<u16>,
    is_bare: bool,
}

/// What a packet has told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    /// The delay of whoever sent it.
    pub delay_ns: Option<u64>,
    /// The round trip that it ends.
    pub round_trip_ns: Option<u64>,
}

impl Direction {
    /// Takes a packet of this direction, whose metrics are known; `other` is the opposite direction.
    pub fn take(&mut self, seen: &Seen<'_>, other: &mut Self, budget: &mut usize) -> Told {
        use super::sequence::Place;
        let mut told = Told::default();
        let Some(metrics) = &seen.metrics else { return told };
        let place = self.sequence.take(metrics.psntp);
        if let Some((seq, len)) = seen.segment.filter(|_| place != Place::Copy) {
            self.stream.take(seq, len, place == Place::Late);
        }
        // A copy, or one that was overtaken, has measured nothing that is new.
        if matches!(place, Place::Copy | Place::Late) {
            return told;
        }
        let time_ns = seen.time_ns.unwrap_or_default();
        self.look_at_hops(time_ns, seen.hop_limit);
        let ns = |value, scale| delta_time::to_nanos(Scaled { value, scale });
        let delta_tlr = ns(metrics.delta_tlr, metrics.scale_dtlr);
        let names = metrics.psnlr != 0 || delta_tlr != 0;
        // The first packet that names another one answers it; those behind it were sent on the same occasion (RFC 8250,
        // appendix C.2.2), and their times tell how long the sender went on sending. What a TCP acknowledges by itself tells of the
        // network; the sender answers with data.
        let is_first = self.named != Some(metrics.psnlr);
        if names && (is_first || self.is_bare && !seen.is_bare) {
            (self.named, self.is_bare) = (Some(metrics.psnlr), seen.is_bare);
            if !seen.is_bare {
                self.delay.add(delta_tlr);
                self.delay_level.add(time_ns, delta_tlr);
                told.delay_ns = Some(delta_tlr);
            }
            if seen.time_ns.is_some()
                && let Some(answered) = other.recent.named(metrics.psnlr, budget)
            {
                let delta_tls = ns(metrics.delta_tls, metrics.scale_dtls);
                told.round_trip_ns = self.measure(time_ns, delta_tlr, &answered, metrics.psntp, delta_tls, budget);
            }
        }
        let delta_tlr_ns = names.then_some(delta_tlr);
        self.recent.put(Slot { psntp: metrics.psntp, psnlr: metrics.psnlr, time_ns, delta_tlr_ns });
        told
    }

    /// From here to the sender and back: what passed between the packet that is answered and the answer, less what the
    /// sender took. And the whole round trip, when the answered packet was itself an answer.
    fn measure(
        &mut self,
        time_ns: u64,
        delta_tlr: u64,
        answered: &Slot,
        psntp: u16,
        delta_tls: u64,
        budget: &mut usize,
    ) -> Option<u64> {
        let near = time_ns.checked_sub(answered.time_ns)?.checked_sub(delta_tlr)?;
        self.network.add(near);
        self.network_level.add(time_ns, near);
        let theirs = answered.delta_tlr_ns?;
        let round_trip = if answered.psnlr == psntp.wrapping_sub(1) {
            // What this side sent last before the answer came is what the answer names: DeltaTLS then is the whole time
            // (RFC 8250, appendix C), by this side's clock alone.
            delta_tls.checked_sub(theirs)?
        } else {
            let first = self.recent.named(answered.psnlr, budget)?;
            near + answered.time_ns.checked_sub(first.time_ns)?.checked_sub(theirs)?
        };
        self.round_trip.add(round_trip);
        Some(round_trip)
    }

    fn look_at_hops(&mut self, time_ns: u64, hop_limit: u8) {
        if let Some(before) = self.hop_limit.replace(hop_limit).filter(|before| *before != hop_limit) {
            self.hops = self.hops.saturating_add(1);
            self.last_hops = Some((time_ns, before, hop_limit));
        }
    }
}
