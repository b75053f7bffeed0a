//! Checksums that a host has left to its NIC. A host whose interface is one end of a veth, or of a virtual machine, need not sum up
//! what never leaves the machine: the kernel puts the sum of the pseudo-header where the checksum belongs, notes beside the packet
//! that the rest is to be done, and nobody does it, since who receives the packet sees the note. A box that takes the packet as
//! octets and sends it on has to finish it, or the other host drops it, and with it every TCP connection.

use crate::packet::buffer::{PacketBuf, Writable};
use crate::packet::checksum::{folded, words};
use protocol::wire::{ethernet, ext_chain, ipv6};

/// Where the upper layer of a packet is in its frame, and what of the packet belongs to its checksum.
struct Upper {
    at: usize,
    end: usize,
    /// Offset of the checksum.
    field: usize,
    /// The sum of the pseudo-header, folded.
    pseudo: u16,
    is_udp: bool,
}

impl Upper {
    fn new(protocol: u8, at: usize, end: usize, addresses: u64) -> Option<Self> {
        let (within, least) = match protocol {
            ipv6::TCP => (16, 20),
            ipv6::UDP => (6, 8),
            _ => return None,
        };
        let len = end.checked_sub(at).filter(|&len| len >= least)?;
        let pseudo = folded(addresses + u64::from(protocol) + len as u64);
        Some(Self { at, end, field: at + within, pseudo, is_udp: protocol == ipv6::UDP })
    }
}

fn upper_of<B: PacketBuf>(packet: &B) -> Option<Upper> {
    let frame = packet.data();
    let (kind, l3) = ethernet::behind_tags(frame)?;
    let octets = frame.get(l3..)?;
    if kind == ethernet::IPV4 {
        return in_ipv4(octets, l3);
    }
    ethernet::ipv6_offset(frame)?;
    let chain = ext_chain::walk(octets, octets.len()).ok()?;
    let tuple = chain.five_tuple;
    let addresses = words(&tuple.src) + words(&tuple.dst);
    Upper::new(tuple.protocol, l3 + chain.upper_offset, l3 + chain.payload_end, addresses)
}

/// IPv4 is forwarded too. Fragments are none: a host sums up before it cuts.
fn in_ipv4(octets: &[u8], l3: usize) -> Option<Upper> {
    let fixed: &[u8; 20] = octets.first_chunk()?;
    let &[head, _, len_a, len_b, _, _, flags, offset, _, protocol, ..] = fixed;
    let (header, len) = (usize::from(head & 15) * 4, usize::from(u16::from_be_bytes([len_a, len_b])));
    if head >> 4 != 4 || header < fixed.len() || len > octets.len() || flags & 0x3F != 0 || offset != 0 {
        return None;
    }
    Upper::new(protocol, l3 + header, l3 + len, words(&fixed[12..]))
}

/// Puts the checksum into a packet whose host has left it out. `told`: its driver says that this is one; otherwise it is one if
/// that stands there which a kernel leaves. (A right checksum is the same by accident once in 65,536 packets, and comes out as
/// it was.) Whether it was one.
#[must_use]
pub fn finish<B: PacketBuf>(packet: &mut B, told: bool) -> bool {
    // Of several segments only the first would be summed up.
    if packet.frame_len() != packet.data().len() {
        return false;
    }
    let Some(Upper { at, end, field, pseudo, is_udp }) = upper_of(packet) else { return false };
    let there = packet.data().get(field..).and_then(|rest| rest.first_chunk()).map(|&there| u16::from_be_bytes(there));
    if there.is_none_or(|there| !told && there != pseudo) || packet.make_writable() == Writable::No {
        return false;
    }
    let Some(upper) = packet.data_mut().get_mut(at..end) else { return false };
    let Some(place) = upper.get_mut(field - at..).and_then(|rest| rest.first_chunk_mut()) else { return false };
    *place = [0; 2];
    let sum = !folded(u64::from(pseudo) + words(upper));
    // UDP's 0 says that there is none.
    let sum = if is_udp && sum == 0 { 0xFFFF } else { sum };
    if let Some(place) = upper.get_mut(field - at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = sum.to_be_bytes();
    }
    true
}

#[cfg(all(test, not(loom)))]
mod tests;
