//! The last stage before transmission: the option goes into the packet, or out of it. The shorter part moves, which is
//! what stands before the option: Ethernet, IPv6 and the headers in between.

use crate::buffer::PacketBuf;
use crate::parse::{ETHERNET, PLAIN_UPPER};
use protocol::wire::dest_opts::{InsertPlan, RemovePlan};
use protocol::wire::ipv6;

/// Puts an option in. `false`: no headroom; the packet is as it was.
#[inline]
pub fn insert<B: PacketBuf>(packet: &mut B, l3: usize, plan: &InsertPlan, option: &[u8]) -> bool {
    if !packet.prepend(plan.len) {
        return false;
    }
    let frame = packet.data_mut();
    frame.copy_within(plan.len..plan.len + l3 + plan.at, 0);
    plan.apply(&mut frame[l3..], option);
    true
}

/// Takes an option out.
#[inline]
pub fn strip<B: PacketBuf>(packet: &mut B, l3: usize, plan: &RemovePlan) {
    let frame = packet.data_mut();
    plan.apply(&mut frame[l3..]);
    frame.copy_within(0..l3 + plan.at, plan.len);
    // The plan lies within the first segment, so this much is there.
    packet.trim_front(plan.len);
}

/// Puts a header of `N` octets between the IPv6 header and the upper layer of a packet of the plain shape
/// ([`crate::parse::plain`]). `write` gets the header's place, its Next Header octet set. `false`: no headroom; the packet
/// is as it was.
#[inline]
pub fn insert_plain<B: PacketBuf, const N: usize>(packet: &mut B, write: impl FnOnce(&mut [u8; N])) -> bool {
    if !packet.prepend(N) {
        return false;
    }
    let frame = packet.data_mut();
    // Moved as one array, in registers; what changes in it is set behind that.
    let Some(&front) = frame.get(N..).and_then(<[u8]>::first_chunk::<PLAIN_UPPER>) else { return false };
    let Some((place, rest)) = frame.split_first_chunk_mut::<PLAIN_UPPER>() else { return false };
    let Some(header) = rest.first_chunk_mut::<N>() else { return false };
    *place = front;
    let ip = &mut place[ETHERNET..];
    ip[ipv6::NEXT_HEADER_AT] = ipv6::DEST_OPTS;
    ipv6::set_payload_len(ip, ipv6::payload_len(&front[ETHERNET..]) + N);
    write(header);
    header[0] = front[ETHERNET + ipv6::NEXT_HEADER_AT];
    true
}

/// Takes out the header of `N` octets that a packet of the measured shape ([`crate::parse::measured`]) has.
#[inline]
pub fn strip_plain<B: PacketBuf, const N: usize>(packet: &mut B) {
    let frame = packet.data_mut();
    let Some(&front) = frame.first_chunk::<PLAIN_UPPER>() else { return };
    let Some(&next) = frame.get(PLAIN_UPPER) else { return };
    let Some(place) = frame.get_mut(N..).and_then(<[u8]>::first_chunk_mut::<PLAIN_UPPER>) else { return };
    *place = front;
    let ip = &mut place[ETHERNET..];
    ip[ipv6::NEXT_HEADER_AT] = next;
    ipv6::set_payload_len(ip, ipv6::payload_len(&front[ETHERNET..]).saturating_sub(N));
    packet.trim_front(N);
}
