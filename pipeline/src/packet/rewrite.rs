//! The last stage before transmission: the option goes into the packet, or out of it. The shorter part moves, which is
//! what stands before the option: Ethernet, IPv6 and the headers in between.
//!
//! Whoever calls has made the packet ready to be changed (`buffer::make_ready`). Where it is not after all, or is
//! shorter than what was planned for, nothing is changed and the answer says so: no plan can make a worker panic.

use crate::packet::buffer::PacketBuf;
use crate::packet::parse::{ETHERNET, PLAIN_UPPER};
use protocol::wire::dest_opts::{InsertPlan, RemovePlan};
use protocol::wire::ipv6;

/// Puts an option in. `false`: no room; the packet is as it was.
#[inline]
#[must_use]
pub fn insert<B: PacketBuf>(packet: &mut B, l3: usize, plan: &InsertPlan, option: &[u8]) -> bool {
    let moved = l3 + plan.at;
    if packet.data().len() < moved || !packet.prepend(plan.len) {
        return false;
    }
    let frame = packet.data_mut();
    if frame.len() < moved + plan.len {
        return undo(packet, plan.len);
    }
    frame.copy_within(plan.len..plan.len + moved, 0);
    plan.apply(&mut frame[l3..], option);
    true
}

/// Takes an option out. `false`: it cannot be written to, or ends before the plan does; the packet is as it was.
#[inline]
#[must_use]
pub fn strip<B: PacketBuf>(packet: &mut B, l3: usize, plan: &RemovePlan) -> bool {
    let frame = packet.data_mut();
    if frame.len() < l3 + plan.reaches() {
        return false;
    }
    plan.apply(&mut frame[l3..]);
    frame.copy_within(0..l3 + plan.at, plan.len);
    packet.trim_front(plan.len)
}

/// Puts a header of `N` octets between the IPv6 header and the upper layer of a packet of the plain shape
/// ([`crate::packet::parse::plain`]). `write` gets the header's place, its Next Header octet set. `false`: no room; the packet is as
/// it was.
#[inline]
#[must_use]
pub fn insert_plain<B: PacketBuf, const N: usize>(packet: &mut B, write: impl FnOnce(&mut [u8; N])) -> bool {
    if !packet.prepend(N) {
        return false;
    }
    let frame = packet.data_mut();
    // Moved as one array, in registers; what changes in it is set behind that.
    let Some(&front) = frame.get(N..).and_then(<[u8]>::first_chunk::<PLAIN_UPPER>) else { return undo(packet, N) };
    let Some((place, rest)) = frame.split_first_chunk_mut::<PLAIN_UPPER>() else { return undo(packet, N) };
    let Some(header) = rest.first_chunk_mut::<N>() else { return undo(packet, N) };
    *place = front;
    let ip = &mut place[ETHERNET..];
    ip[ipv6::NEXT_HEADER_AT] = ipv6::DEST_OPTS;
    ipv6::set_payload_len(ip, ipv6::payload_len(&front[ETHERNET..]) + N);
    write(header);
    header[0] = front[ETHERNET + ipv6::NEXT_HEADER_AT];
    true
}

/// Takes room back that was made for an option.
#[cold]
fn undo<B: PacketBuf>(packet: &mut B, room: usize) -> bool {
    packet.trim_front(room);
    false
}

/// Takes out the header of `N` octets that a packet of the measured shape ([`crate::packet::parse::measured`]) has. `false`: as
/// [`strip`].
#[inline]
#[must_use]
pub fn strip_plain<B: PacketBuf, const N: usize>(packet: &mut B) -> bool {
    strip_behind::<B, N, PLAIN_UPPER>(packet)
}

/// The same of a frame whose IPv6 header ends at `END`: with VLAN tags it is that much further behind.
#[inline]
#[must_use]
pub fn strip_behind<B: PacketBuf, const N: usize, const END: usize>(packet: &mut B) -> bool {
    const { assert!(END >= PLAIN_UPPER) };
    let frame = packet.data_mut();
    let Some(&front) = frame.first_chunk::<END>() else { return false };
    let Some(&next) = frame.get(END) else { return false };
    let Some(place) = frame.get_mut(N..).and_then(<[u8]>::first_chunk_mut::<END>) else { return false };
    *place = front;
    let l3 = END - ipv6::HEADER_LEN;
    let ip = &mut place[l3..];
    ip[ipv6::NEXT_HEADER_AT] = next;
    ipv6::set_payload_len(ip, ipv6::payload_len(&front[l3..]).saturating_sub(N));
    packet.trim_front(N)
}
