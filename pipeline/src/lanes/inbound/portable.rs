//! The stages in plain Rust, packet by packet: what a CPU without a twin of its own gets, and the oracle for the twins.

use super::{Head, OPTION, Scratch, View, ask_for, begin, by_other_buckets, flags_at, upper};
use crate::flow::hash::{FlowHash, HashKey};
use crate::flow::record::FlowBack;
use crate::lanes::scratch::block_at;
use crate::packet::parse::{ETHERNET, PLAIN_UPPER};
use crate::ports::BURST;
use protocol::wire::ipv6;
use protocol::wire::profile::{FLAGS_AT as F_AT, PROFILE, is_f};

/// Packets between a bucket's being asked for and its being looked at.
const AHEAD: usize = 8;

/// The stages: `find` some packets behind `parse`, so that memory is asked for lines all the time and not for many at once; then
/// `check`. Gives the packets whose flow is known, as bits by their places.
#[inline(always)]
pub(in crate::lanes) fn front<'a>(
    view: &View<'a>,
    heads: &[&Head; BURST],
    backs: &mut [&'a FlowBack; BURST],
    s: &mut Scratch,
) -> u32 {
    (s.measured, s.f, s.found) = (0, 0, 0);
    let count = s.count.min(BURST);
    for step in 0..count + AHEAD {
        if let Some(head) = heads.get(step).filter(|_| step < count) {
            parse(view.key, step, head, s);
            view.index.prefetch(FlowHash(s.hash.as_flattened()[step % BURST]));
        }
        if let Some(p) = step.checked_sub(AHEAD) {
            find(view, p % BURST, backs, s);
        }
    }
    if s.measured & !s.found != 0 {
        by_other_buckets(view, backs, s);
    }
    check(heads, backs, s)
}

/// Whether the packet at place `p` is of the measured shape, F of its option, and the fingerprint of its reversed 5-tuple, which
/// is that of its flow. What is not of the shape gets some fingerprint, too.
#[inline(always)]
fn parse(key: &HashKey, p: usize, head: &Head, s: &mut Scratch) {
    let payload_at = ETHERNET + ipv6::PAYLOAD_LEN_AT;
    let payload = usize::from(u16::from_be_bytes([head[payload_at], head[payload_at + 1]]));
    let (first, frame) = (s.first_len.as_flattened()[p] as usize, s.frame_len.as_flattened()[p] as usize);
    let is_ipv6 = head[ETHERNET - 2..ETHERNET] == [0x86, 0xDD] && head[ETHERNET] >> 4 == 6;
    let (next, upper_at, flags_at) = (head[PLAIN_UPPER], upper(s.form), flags_at(s.form));
    let has_option = head[ETHERNET + ipv6::NEXT_HEADER_AT] == ipv6::DEST_OPTS
        && head[PLAIN_UPPER + 1] == s.form.header_units()
        && head[PLAIN_UPPER + 2..PLAIN_UPPER + 6] == begin(s.form).to_le_bytes()
        && head[OPTION + 2] >> 4 == PROFILE.version;
    let whole = PLAIN_UPPER + payload >= upper_at + 8 && PLAIN_UPPER + payload <= frame;
    let upper = match next {
        ipv6::UDP => first >= upper_at + 8,
        ipv6::TCP => first > flags_at && s.syn >> p & 1 == 0,
        _ => false,
    };
    let there = s.there >> p & 1 != 0;
    s.measured |= u32::from(there && is_ipv6 && has_option && whole && upper) << p;
    s.f |= u32::from(is_f(head[OPTION + F_AT])) << p;
    let print = key.fingerprint(&words(head, p, s));
    s.fingerprint.as_flattened_mut()[block_at(p)] = print.bits().to_le_bytes();
    s.hash.as_flattened_mut()[p] = print.lo;
}

/// The 5-tuple of the flow that a packet of the measured shape comes back of.
#[inline(always)]
fn words(head: &Head, p: usize, s: &Scratch) -> [u64; 5] {
    let long = |at: usize| u64::from_le_bytes(core::array::from_fn(|i| head[at + i]));
    let end = u128::from_le_bytes(s.ends.as_flattened()[block_at(p)]);
    [long(38), long(46), long(22), long(30), u64::from((end >> 48) as u32) | u64::from((end >> 96) as u8) << 32]
}

/// The record that is most likely the flow of the packet at place `p`, by the tag in its flow's bucket; asks for the record's first
/// lines.
#[inline(always)]
fn find<'a>(view: &View<'a>, p: usize, backs: &mut [&'a FlowBack; BURST], s: &mut Scratch) {
    // Without a branch: where in its bucket a flow stands, nobody can foretell.
    let number = view.index.candidate(FlowHash(s.hash.as_flattened()[p])).unwrap_or(u32::MAX);
    s.number.as_flattened_mut()[p] = number;
    if let Some(back) = view.backs.get(number as usize) {
        backs[p] = back;
        s.found |= 1 << p;
        ask_for(view, number);
    }
}

/// The records that are found are the packets' flows: their 5-tuples are.
#[inline(always)]
fn check(heads: &[&Head; BURST], backs: &[&FlowBack; BURST], s: &Scratch) -> u32 {
    let mut known = 0;
    for (p, (head, back)) in heads.iter().zip(backs).enumerate().take(s.count) {
        known |= u32::from(back.is(&words(head, p, s))) << p;
    }
    known & s.measured & s.found
}
