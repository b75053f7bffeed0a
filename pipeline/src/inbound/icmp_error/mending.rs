//! What changes in an error when the option goes out of its quotation.

use super::quotation::{Error, HEADER, PARAMETER_PROBLEM, Quotation, UNREACHABLE, WORD_AT};
use crate::packet::buffer::PacketBuf;
use crate::packet::checksum::checksum;
use protocol::wire::dest_opts::RemovePlan;
use protocol::wire::ipv6;

/// Before extensions the packet quoted takes at least this much, zeros behind it (RFC 4884 section 4).
const LEAST_QUOTED: usize = 128;

/// Destination Unreachable, headers too long (RFC 8883 section 4).
const HEADERS_TOO_LONG: u8 = 8;
/// Parameter Problem, of a header chain that is too much for a node (RFC 8883 section 3): the extension header or the
/// chain too long, too many of them or of options, an option too long.
const CHAIN_TOO_MUCH: core::ops::RangeInclusive<u8> = 6..=10;

/// The second word of a Destination Unreachable or a Parameter Problem as it concerns the packet that the host sent.
/// `None`: it concerns what the box has put in.
pub(super) fn word_for_host(error: &Error, quotation: &Quotation) -> Option<u32> {
    if error.kind == UNREACHABLE {
        return (error.code != HEADERS_TOO_LONG).then_some(error.word);
    }
    if error.kind != PARAMETER_PROBLEM {
        return Some(error.word);
    }
    if CHAIN_TOO_MUCH.contains(&error.code) {
        return None;
    }
    let header = quotation.chain.option?.header;
    let (at, end) = (quotation.plan.at, quotation.plan.at + quotation.plan.len);
    let pointer = error.word as usize;
    if at == header.offset {
        // A header of the box's own: the octet that names it was the upper layer's name, which is its first one now.
        if pointer == header.offset {
            return Some(header.named_at as u32);
        }
        if pointer == header.named_at {
            return None;
        }
    } else if pointer == header.offset + 1 {
        return None; // the length of a header that the box has made longer
    }
    match pointer {
        p if p < at => Some(error.word),
        p if p < end => None,
        p => Some((p - quotation.plan.len) as u32),
    }
}

/// An error whose quotation is to lose what the plan takes out of it.
pub(super) struct Mending<'a> {
    pub(super) error: &'a Error,
    pub(super) plan: &'a RemovePlan,
    /// The second word as the host should see it; that of an error with extensions is made here.
    pub(super) word: u32,
}

impl Mending<'_> {
    /// Does it. What stands before the option moves, as always.
    pub(super) fn apply<B: PacketBuf>(&self, packet: &mut B) {
        let &Self { error: &Error { l3, icmp, end, quoted_end, extended, .. }, plan, word } = self;
        let quoted = icmp + HEADER;
        let (gap, rest) = (quoted + plan.at, quoted + plan.at + plan.len);
        let left = (quoted_end - quoted).saturating_sub(plan.len);
        // Zeros that take the option's place, behind the packet quoted: only where extensions follow.
        let zeros = if extended { LEAST_QUOTED.saturating_sub(left).min(plan.len) } else { 0 };
        let gone = plan.len - zeros;
        let frame = packet.data_mut();
        if rest > quoted_end || end > frame.len() {
            return; // what was walked over is there
        }
        plan.apply(&mut frame[quoted..quoted_end]);
        frame.copy_within(rest..quoted_end, rest - zeros);
        frame[quoted_end - zeros..quoted_end].fill(0);
        let second = if extended { word & 0x00FF_FFFF | ((left + zeros) as u32 / 8) << 24 } else { word };
        frame[icmp + WORD_AT..icmp + HEADER].copy_from_slice(&second.to_be_bytes());
        let payload_len = ipv6::payload_len(&frame[l3..]);
        ipv6::set_payload_len(&mut frame[l3..], payload_len - gone);
        frame.copy_within(0..gap, gone);
        let icmp_now = &mut frame[icmp + gone..end];
        icmp_now[2..4].fill(0);
        let sum = checksum(&self.error.src, &self.error.dst, icmp_now);
        icmp_now[2..4].copy_from_slice(&sum.to_be_bytes());
        packet.trim_front(gone);
    }
}
