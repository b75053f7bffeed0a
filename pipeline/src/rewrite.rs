//! The last stage before transmission: the option goes into the packet, or out of it. The shorter part moves, which is
//! what stands before the option: Ethernet, IPv6 and the headers in between.

use crate::buffer::PacketBuf;
use protocol::wire::dest_opts::{InsertPlan, RemovePlan};

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
