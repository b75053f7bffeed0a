//! Stage 1: where the IPv6 header is, and what the chain behind it holds.

use crate::observe::reasons::Reason;
use crate::packet::buffer::PacketBuf;
use crate::packet::mss;
use protocol::wire::ext_chain::{self, Chain};
use protocol::wire::option::Form;
use protocol::wire::profile::PROFILE;
use protocol::wire::{ethernet, ipv6};

/// Where a TCP header's length is, in its upper half.
const TCP_HEADER_LEN_AT: usize = 12;
/// Octets of an Ethernet header without tags.
pub(crate) const ETHERNET: usize = 14;
/// Where the upper layer of a frame without tags and extension headers begins.
pub(crate) const PLAIN_UPPER: usize = ETHERNET + ipv6::HEADER_LEN;

/// What there is to know of a packet of one of the two shapes that nearly all have.
#[derive(Clone, Copy, Debug)]
pub struct Quick {
    /// [`FiveTuple::words`](protocol::five_tuple::FiveTuple::words) of the outbound 5-tuple.
    pub words: [u64; 5],
    /// Octets of the IPv6 packet.
    pub len: usize,
}

/// A frame without tags that holds IPv6 and, directly behind it, TCP (no SYN, whose MSS may have to be lowered) or UDP.
/// `None`: any other, and any that contradicts itself; [`parse`] says which.
#[inline]
#[must_use]
pub fn plain<B: PacketBuf>(packet: &B) -> Option<Quick> {
    let frame = packet.data();
    let head: &[u8; PLAIN_UPPER + 8] = frame.first_chunk()?;
    let next = head[ETHERNET + ipv6::NEXT_HEADER_AT];
    quick(packet, head, frame, next, PLAIN_UPPER, false)
}

/// The same of a packet coming back: the outbound 5-tuple is that of its other direction.
#[inline]
#[must_use]
pub fn plain_back<B: PacketBuf>(packet: &B) -> Option<Quick> {
    let frame = packet.data();
    let head: &[u8; PLAIN_UPPER + 8] = frame.first_chunk()?;
    quick(packet, head, frame, head[ETHERNET + ipv6::NEXT_HEADER_AT], PLAIN_UPPER, true)
}

/// The same with a header between that holds nothing but an option of this form, as boxes write it: the outbound 5-tuple is
/// that of the packet's other direction.
#[inline]
#[must_use]
pub fn measured<B: PacketBuf>(packet: &B) -> Option<(Quick, Form)> {
    with_option(packet, true)
}

/// The same of a packet that goes out with such an option, which is its host's, or that of a box before this one.
#[inline]
#[must_use]
pub fn measured_out<B: PacketBuf>(packet: &B) -> Option<(Quick, Form)> {
    with_option(packet, false)
}

#[inline]
fn with_option<B: PacketBuf>(packet: &B, reversed: bool) -> Option<(Quick, Form)> {
    let frame = packet.data();
    let head: &[u8; PLAIN_UPPER + 8] = frame.first_chunk()?;
    let &[.., next, units, 1, 0, kind, data_len, version, _] = head else { return None };
    if kind != PROFILE.option_type {
        return None;
    }
    let form = Form::from_data_len(data_len).filter(|&form| form != Form::Pdm && units == form.header_units())?;
    if head[ETHERNET + ipv6::NEXT_HEADER_AT] != ipv6::DEST_OPTS || version >> 4 != PROFILE.version {
        return None;
    }
    Some((quick(packet, head, frame, next, PLAIN_UPPER + form.header_len(), reversed)?, form))
}

#[inline]
fn quick<B: PacketBuf>(
    packet: &B,
    head: &[u8; PLAIN_UPPER + 8],
    frame: &[u8],
    next: u8,
    upper: usize,
    reversed: bool,
) -> Option<Quick> {
    let upper_head: &[u8; 8] = frame.get(upper..)?.first_chunk()?;
    let syn = match next {
        ipv6::UDP => false,
        ipv6::TCP => frame.get(upper + mss::FLAGS)? & mss::SYN != 0,
        _ => return None,
    };
    let len = ipv6::HEADER_LEN + ipv6::payload_len(&head[ETHERNET..]);
    let whole = (len + ETHERNET <= packet.frame_len()) & (len + ETHERNET >= upper + 8);
    // EtherType and version in one comparison.
    let &[a, b, c, d] = head[ethernet::TYPE_AT..].first_chunk()?;
    let is_ipv6 = u32::from_be_bytes([a, b, c, d]) & 0xFFFF_F000 == 0x86DD_6000;
    if syn | !is_ipv6 | !whole {
        return None;
    }
    let word = |at: usize| {
        let mut octets = [0; 8];
        octets.copy_from_slice(&head[ETHERNET + at..ETHERNET + at + 8]);
        u64::from_le_bytes(octets)
    };
    let (src, dst) = ([word(ipv6::SRC_AT), word(ipv6::SRC_AT + 8)], [word(ipv6::DST_AT), word(ipv6::DST_AT + 8)]);
    let &ports = upper_head.first_chunk()?;
    let ports = u32::from_le_bytes(ports);
    let ((from, to), ports) = if reversed { ((dst, src), ports.rotate_left(16)) } else { ((src, dst), ports) };
    Some(Quick { words: [from[0], from[1], to[0], to[1], u64::from(ports) | u64::from(next) << 32], len })
}

/// Whether an IPv6 packet is a TCP segment without data: such a one a host's system sends by itself. Its upper layer of this
/// protocol begins at `upper`.
#[inline]
pub(crate) fn is_bare_tcp(packet: &[u8], protocol: u8, upper: usize) -> bool {
    let header = || packet.get(upper + TCP_HEADER_LEN_AT).map(|&octet| usize::from(octet >> 4) * 4);
    protocol == ipv6::TCP && header().is_some_and(|len| upper + len == ipv6::HEADER_LEN + ipv6::payload_len(packet))
}

/// The same of a frame that has an option of this form as boxes write it, behind an IPv6 header at `l3`.
#[inline]
pub(crate) fn is_bare_behind(frame: &[u8], l3: usize, form: Form) -> bool {
    let packet = frame.get(l3..).unwrap_or_default();
    let Some(&protocol) = packet.get(ipv6::HEADER_LEN) else { return false };
    is_bare_tcp(packet, protocol, ipv6::HEADER_LEN + form.header_len())
}

/// The same of any frame.
#[cold]
pub(crate) fn is_bare<B: PacketBuf>(packet: &B) -> bool {
    parse(packet).is_ok_and(|Parsed { l3, chain }| {
        let packet = packet.data().get(l3..).unwrap_or_default();
        is_bare_tcp(packet, chain.five_tuple.protocol, chain.upper_offset)
    })
}

/// A parsed frame.
#[derive(Clone, Copy, Debug)]
pub struct Parsed {
    /// Offset of the IPv6 header in the frame.
    pub l3: usize,
    /// What is behind it; offsets count from the IPv6 header.
    pub chain: Chain,
}

/// Parses one frame.
///
/// # Errors
/// The reason why the packet is none that could carry, or does not carry, an option.
#[inline]
pub fn parse<B: PacketBuf>(packet: &B) -> Result<Parsed, Reason> {
    let frame = packet.data();
    let l3 = ethernet::ipv6_offset(frame).ok_or(Reason::NotIpv6)?;
    let chain = ext_chain::walk(&frame[l3..], packet.frame_len() - l3)?;
    Ok(Parsed { l3, chain })
}
