//! An ICMPv6 error as it came, and what it quotes.

use crate::packet::buffer::PacketBuf;
use crate::packet::parse;
use protocol::wire::dest_opts::RemovePlan;
use protocol::wire::ext_chain::Chain;
use protocol::wire::ipv6;
use protocol::wire::option::Form;

/// Octets of an error before the quotation.
pub(super) const HEADER: usize = 8;
/// Where the word is that means something else in each type.
pub(super) const WORD_AT: usize = 4;

pub(super) const UNREACHABLE: u8 = 1;
pub(super) const TOO_BIG: u8 = 2;
pub(super) const TIME_EXCEEDED: u8 = 3;
pub(super) const PARAMETER_PROBLEM: u8 = 4;

/// An error, as offsets in its frame.
pub(super) struct Error {
    pub(super) l3: usize,
    /// The addresses that its checksum covers.
    pub(super) src: [u8; 16],
    pub(super) dst: [u8; 16],
    /// Where its ICMPv6 header is, and where it ends.
    pub(super) icmp: usize,
    pub(super) end: usize,
    /// Where the packet quoted ends: before the extensions of RFC 4884, if there are some.
    pub(super) quoted_end: usize,
    /// Whether there are.
    pub(super) extended: bool,
    pub(super) kind: u8,
    pub(super) code: u8,
    pub(super) word: u32,
}

impl Error {
    pub(super) fn parse<B: PacketBuf>(packet: &B) -> Option<Self> {
        let parse::Parsed { l3, chain } = parse::parse(packet).ok()?;
        let (icmp, end) = (l3 + chain.upper_offset, l3 + chain.payload_end);
        let &[kind, code, _, _, w0, w1, w2, w3, ..] = packet.data().get(icmp..end)? else { return None };
        if chain.five_tuple.protocol != ipv6::ICMPV6 {
            return None;
        }
        // RFC 4884 section 4.4: the length of the packet quoted, in units of eight octets, before extensions.
        let extended = matches!(kind, UNREACHABLE | TIME_EXCEEDED) && w0 != 0;
        let quoted_end = if extended { icmp + HEADER + usize::from(w0) * 8 } else { end };
        let (src, dst) = (chain.five_tuple.src, chain.five_tuple.dst);
        let word = u32::from_be_bytes([w0, w1, w2, w3]);
        (quoted_end <= end).then_some(Self { l3, src, dst, icmp, end, quoted_end, extended, kind, code, word })
    }

    pub(super) fn quoted<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        frame.get(self.icmp + HEADER..self.quoted_end).unwrap_or_default()
    }
}

/// A quotation that holds what this box has put in.
pub(super) struct Quotation {
    pub(super) chain: Chain,
    pub(super) plan: RemovePlan,
    pub(super) form: Form,
}

impl Quotation {
    /// The final destination of the packet quoted.
    pub(super) const fn destination(&self) -> &[u8; 16] {
        &self.chain.five_tuple.dst
    }
}
