//! The walk along a packet's extension headers (RFC 8200 section 4), once per packet, in one pass.
//!
//! All offsets count from the IPv6 header. Whatever the octets are, the walk ends after at most [`MAX_HEADERS`]
//! headers, looks at each option once, and does not panic.

use super::ipv6;
use super::option::Form;
use super::profile::{PROFILE, TYPE_AND_LEN};
use super::routing;
use super::tlv::{Tlv, Tlvs};
pub use super::walk_error::{MAX_HEADERS, WalkError};
use crate::five_tuple::FiveTuple;

/// Jumbo Payload, in a Hop-by-Hop Options header (RFC 2675).
const JUMBO_PAYLOAD: u8 = 0xC2;

/// An extension header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeaderAt {
    /// Where it begins.
    pub offset: usize,
    /// Its octets, 8 to 2048.
    pub len: usize,
    /// Offset of the Next Header octet that names it.
    pub named_at: usize,
}

/// A PDM option.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OptionAt {
    /// Which of the three.
    pub form: Form,
    /// The Destination Options header it is in.
    pub header: HeaderAt,
    /// Offset of its Option Type octet.
    pub offset: usize,
}

/// What the walk found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chain {
    /// The packet's 5-tuple.
    pub five_tuple: FiveTuple,
    /// Where the upper-layer (or ESP) header begins.
    pub upper_offset: usize,
    /// Offset of the Next Header octet that names it.
    pub upper_named_at: usize,
    /// Where the payload ends: 40 + Payload Length. What is behind it is no part of the packet.
    pub payload_end: usize,
    /// Extension headers walked.
    pub headers: usize,
    /// The Destination Options header that stands directly before the upper-layer (or ESP) header.
    pub last_dest_opts: Option<HeaderAt>,
    /// The PDM option, in whichever Destination Options header it is.
    pub option: Option<OptionAt>,
    /// Whether the chain ends at ESP.
    pub esp: bool,
}

/// Walks a packet. `packet` is its first segment from the IPv6 header on; `total_len` counts the octets from the IPv6
/// header to the frame's end over all segments.
///
/// # Errors
/// [`WalkError`]: the packet is none that may get an option, or has one taken out.
#[inline]
pub fn walk(packet: &[u8], total_len: usize) -> Result<Chain, WalkError> {
    let Some(fixed) = packet.first_chunk::<{ ipv6::HEADER_LEN }>() else {
        return Err(if packet.first().is_some_and(|o| o >> 4 != 6) {
            WalkError::NotIpv6
        } else {
            WalkError::Truncated
        });
    };
    if fixed[0] >> 4 != 6 {
        return Err(WalkError::NotIpv6);
    }
    let payload_len = ipv6::payload_len(fixed);
    let next = fixed[ipv6::NEXT_HEADER_AT];
    if payload_len == 0 && next == ipv6::HOP_BY_HOP {
        return Err(WalkError::Jumbogram);
    }
    let payload_end = ipv6::HEADER_LEN + payload_len;
    if payload_end > total_len {
        return Err(WalkError::Truncated);
    }
    let packet = &packet[..payload_end.min(packet.len())];
    // Most packets have no extension header, and all of this is constant for them.
    if is_extension(next) {
        return behind_extensions(packet, fixed, payload_end);
    }
    let upper = packet.get(ipv6::HEADER_LEN..).ok_or(WalkError::Truncated)?;
    let [sport, dport] = ports(upper, next)?;
    Ok(Chain {
        five_tuple: FiveTuple { src: src_of(fixed), sport, dst: dst_of(fixed), dport, protocol: next },
        upper_offset: ipv6::HEADER_LEN,
        upper_named_at: ipv6::NEXT_HEADER_AT,
        payload_end,
        headers: 0,
        last_dest_opts: None,
        option: None,
        esp: next == ipv6::ESP,
    })
}

#[inline]
fn src_of(fixed: &[u8; ipv6::HEADER_LEN]) -> [u8; 16] {
    let mut src = [0; 16];
    src.copy_from_slice(&fixed[ipv6::SRC_AT..ipv6::DST_AT]);
    src
}

#[inline]
fn dst_of(fixed: &[u8; ipv6::HEADER_LEN]) -> [u8; 16] {
    let mut dst = [0; 16];
    dst.copy_from_slice(&fixed[ipv6::DST_AT..]);
    dst
}

/// Whether the walk goes on behind a header of this number, or ends there with an error.
#[inline]
const fn is_extension(next: u8) -> bool {
    use ipv6::{AH, DEST_OPTS, FRAGMENT, HOP_BY_HOP, ROUTING};
    matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | AH | DEST_OPTS)
}

/// The walk of a packet with extension headers. What it finds stays in variables until the end, since a [`Chain`] that
/// is written field by field and then copied costs more than the walk.
fn behind_extensions(packet: &[u8], fixed: &[u8; ipv6::HEADER_LEN], payload_end: usize) -> Result<Chain, WalkError> {
    let mut dst = dst_of(fixed);
    let mut next = fixed[ipv6::NEXT_HEADER_AT];
    let (mut offset, mut named_at, mut headers) = (ipv6::HEADER_LEN, ipv6::NEXT_HEADER_AT, 0);
    let (mut last_dest_opts, mut option) = (None, None);
    while is_extension(next) {
        match next {
            ipv6::FRAGMENT => return Err(WalkError::Fragment),
            ipv6::AH => return Err(WalkError::AuthenticationHeader),
            ipv6::HOP_BY_HOP if headers > 0 => return Err(WalkError::MalformedHeader),
            _ if headers == MAX_HEADERS => return Err(WalkError::TooManyHeaders),
            _ => {}
        }
        let rest = packet.get(offset..).ok_or(WalkError::Truncated)?;
        let &[next_in_it, units, ..] = rest else { return Err(WalkError::Truncated) };
        let at = HeaderAt { offset, len: (usize::from(units) + 1) * 8, named_at };
        let header = rest.get(..at.len).ok_or(WalkError::Truncated)?;
        last_dest_opts = None;
        match next {
            ipv6::DEST_OPTS => {
                if let Some((form, place)) = pdm_option(header)? {
                    if option.is_some() {
                        return Err(WalkError::MalformedOption);
                    }
                    option = Some(OptionAt { form, header: at, offset: offset + place });
                }
                last_dest_opts = Some(at);
            }
            ipv6::HOP_BY_HOP => hop_by_hop(header)?,
            // ROUTING is the only other that comes here.
            _ if routing::segments_left(header) != 0 => dst = routing::final_destination(header, dst)?,
            _ => {}
        }
        (next, named_at) = (next_in_it, offset);
        offset += at.len;
        headers += 1;
    }
    let upper = packet.get(offset..).ok_or(WalkError::Truncated)?;
    let [sport, dport] = ports(upper, next)?;
    Ok(Chain {
        five_tuple: FiveTuple { src: src_of(fixed), sport, dst, dport, protocol: next },
        upper_offset: offset,
        upper_named_at: named_at,
        payload_end,
        headers,
        last_dest_opts,
        option,
        esp: next == ipv6::ESP,
    })
}

/// The PDM option of a Destination Options header and where it is in it.
#[inline]
fn pdm_option(header: &[u8]) -> Result<Option<(Form, usize)>, WalkError> {
    let mut found = None;
    for tlv in Tlvs::of(header) {
        let tlv = tlv.map_err(|_| WalkError::MalformedHeader)?;
        if tlv.kind == PROFILE.option_type {
            let form = form_of(header, tlv).ok_or(WalkError::MalformedOption)?;
            if found.is_some() {
                return Err(WalkError::MalformedOption);
            }
            found = Some((form, tlv.at));
        }
    }
    Ok(found)
}

fn hop_by_hop(header: &[u8]) -> Result<(), WalkError> {
    for tlv in Tlvs::of(header) {
        if tlv.map_err(|_| WalkError::MalformedHeader)?.kind == JUMBO_PAYLOAD {
            return Err(WalkError::Jumbogram);
        }
    }
    Ok(())
}

/// Source and destination port as they count in the 5-tuple. `upper` is the upper layer as far as it is in the payload
/// and in the first segment.
#[inline]
fn ports(upper: &[u8], protocol: u8) -> Result<[u16; 2], WalkError> {
    match protocol {
        ipv6::TCP | ipv6::UDP | ipv6::UDPLITE | ipv6::SCTP | ipv6::DCCP => {
            let &[s0, s1, d0, d1, ..] = upper else { return Err(WalkError::Truncated) };
            Ok([u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1])])
        }
        ipv6::ICMPV6 => match *upper.first().ok_or(WalkError::Truncated)? {
            128 | 129 => {
                let &[_, _, _, _, i0, i1, ..] = upper else { return Err(WalkError::Truncated) };
                Ok([u16::from_be_bytes([i0, i1]); 2])
            }
            133..=137 | 141 | 142 | 148 | 149 => Err(WalkError::NeighborDiscovery),
            130..=132 | 143 | 151..=153 => Err(WalkError::Mld),
            _ => Ok([0; 2]),
        },
        _ => Ok([0; 2]),
    }
}

#[inline]
fn form_of(header: &[u8], tlv: Tlv) -> Option<Form> {
    match Form::from_data_len((tlv.end - tlv.at - TYPE_AND_LEN) as u8)? {
        Form::Pdm => Some(Form::Pdm),
        form if header[tlv.at + TYPE_AND_LEN] >> 4 == PROFILE.version => Some(form),
        _ => None,
    }
}

#[cfg(all(test, not(loom)))]
#[path = "ext_chain_tests.rs"]
mod tests;
