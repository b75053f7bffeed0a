//! The outbound lanes: the short way of a burst towards the network, all packets side by side.
//!
//! Nearly every packet is of the plain shape (Ethernet with at most one VLAN tag, IPv6, and directly behind it UDP, or TCP
//! without SYN), of a known flow that this worker holds, and gets the encrypted option under AES-128-GCM (or, where that is
//! what is asked for, the one in clear). Such packets stay in the lanes; any other takes the slow way, which the caller goes with it between [`Lanes::front`] and [`Burst::back`].
//!
//! # The way of a burst
//!
//! ```text
//!   packets          look    windows, lengths                     (packet by packet)
//!      |             parse   heads -> plain?, lengths             \
//!      |                     5-tuples -> fingerprints (AES)        |
//!   Lanes::front     find    bucket, tag -> record; asks for it    | side by side
//!      |             check   record is the packet's flow, is mine, |
//!      |                     nothing is out of the way            /
//!      |             pack    those that stay stand together
//!      |
//!   Burst::number    a number for each, in order: packet by packet, and the slow ones' between them
//!      |
//!      |             times   PRSEQ, delta times, metrics, head    \
//!      |             seal    keys of the records -> AES, GHASH     | side by side
//!   Burst::back      place   head moves, option goes in           /
//!                    log     times of sending                      (packet by packet)
//! ```
//!
//! Between the stages everything is in `scratch`, a few arrays; each stage is a short loop over them, so that a CPU can work
//! on several rounds of the loop at once.
//!
//! # Twins
//!
//! `portable` has all stages in plain Rust; for instruction sets that pay there is a twin with functions of the same names
//! (`avx512`; others can stand beside it). [`Set`] is chosen once, by what the CPU has. All twins leave the same,
//! octet for octet, behind every stage: the tests hold them against each other.
//!
//! # What the caller promises, and what happens if not
//!
//! Everything here is safe to call. For packets to be right, between `front` and `back` the caller must leave alone the
//! packets that stay in the lanes ([`Burst::fast`]). It may number, send and even rekey *other* packets of the same flows,
//! by the slow way, when it has called [`Burst::number_until`] for those before. Their send times must be noted with the same
//! clock reading before `back`, which says of a flow's later packets that the one before was sent just now.

#[cfg(target_arch = "x86_64")]
mod aesni;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod dispatch;
pub(crate) mod inbound;
#[cfg(target_arch = "x86_64")]
mod ops256;
mod portable;
mod record;
mod resting;
mod scratch;
mod short_way;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(target_arch = "x86_64")]
mod vaes256;
#[cfg(target_arch = "x86_64")]
mod wide;

pub use dispatch::Set;
pub(crate) use record::Record;
pub(crate) use short_way::ShortWay;

use crate::flow::hash::{Fingerprint, FlowHash, HashKey};
use crate::flow::index::FlowIndex;
use crate::packet::buffer::{PacketBuf, WINDOW_BEFORE};
use crate::packet::mss;
use crate::packet::parse::PLAIN_UPPER;
use crate::ports::BURST;
use protocol::aead::KeyState;
use protocol::meter::pack;
use protocol::nonce::xor_prseq;
use protocol::prefetch;
use protocol::prseq::prseq;
use protocol::sync::Ordering;
use protocol::wire::ethernet::{TAG_LEN as TAG, is_tag};
use protocol::wire::option::Form;
use record::{NOBODY, ONE_MORE};
use scratch::{Scratch, block_at};

/// Octets of a frame that are looked at, from where it begins without its VLAN tag: up to TCP's flags.
const HEAD: usize = 68;
type Head = [u8; HEAD];
/// TCP's flags.
const SYN_AT: usize = PLAIN_UPPER + mss::FLAGS;

/// In lanes that have no packet.
static NOWHERE: Head = [0; HEAD];

/// What a burst is looked up in.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The fingerprints'.
    pub key: &'a HashKey,
    /// By the low half of the fingerprint.
    pub index: &'a FlowIndex,
    /// What the index' words count.
    pub records: &'a [Record],
    /// Under which name this worker vouches for flows at the moment; not 0.
    pub name: u32,
    /// This worker.
    pub me: u16,
    /// Which form's packets stay in the lanes: encrypted, in clear (without AEAD; all else is the same), or PDM (without PRSEQ, too).
    /// Those of any other take the slow way.
    pub form: Form,
    /// Now.
    pub now_ns: u64,
}

/// A worker's lanes.
pub struct Lanes {
    set: Set,
    scratch: Box<Scratch>,
}

impl core::fmt::Debug for Lanes {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Lanes({})", self.set.name())
    }
}

/// A burst of which `front` is done.
pub struct Burst<'a> {
    set: Set,
    scratch: &'a mut Scratch,
    /// Of the packets that stay, packed.
    records: [&'a Record; BURST],
    fast: u32,
    numbered: usize,
}

impl core::fmt::Debug for Burst<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Burst({:#x} of {})", self.fast, self.scratch.count)
    }
}

impl Lanes {
    /// Lanes of this set of instructions.
    #[must_use]
    pub fn new(set: Set) -> Self {
        Self { set, scratch: Scratch::new() }
    }

    /// Looks at the first [`BURST`] packets and finds out which of them stay in the lanes.
    #[inline]
    pub fn front<'a, B: PacketBuf>(&'a mut self, view: &View<'a>, packets: &mut [B]) -> Burst<'a> {
        let (set, scratch) = (self.set, &mut *self.scratch);
        scratch.form = view.form;
        let mut heads = [&NOWHERE; BURST];
        look(packets, scratch, &mut heads);
        let mut burst = Burst { set, scratch, records: [&NOBODY; BURST], fast: 0, numbered: 0 };
        burst.fast = set.front(view, &heads, &mut burst.records, burst.scratch);
        burst.scratch.pack(burst.fast, &mut burst.records);
        // The third line of each record, when the CPU has got the others: it waits for some twenty at once, and drops the rest.
        burst.records.iter().take(burst.scratch.packed).for_each(|record| prefetch::line(&record.key));
        burst
    }
}

impl Burst<'_> {
    /// The packets that stay in the lanes, as bits by their places.
    #[inline]
    #[must_use]
    pub const fn fast(&self) -> u32 {
        self.fast
    }

    /// The fingerprint of a packet of the plain shape.
    #[inline]
    #[must_use]
    pub fn fingerprint(&self, packet: usize) -> Option<Fingerprint> {
        let bits = u128::from_le_bytes(*self.scratch.fingerprint.as_flattened().get(block_at(packet))?);
        (self.scratch.plain >> packet & 1 != 0).then_some(Fingerprint { lo: bits as u64, hi: (bits >> 64) as u64 })
    }

    /// The form of the option that the packets get that stay.
    #[inline]
    #[must_use]
    pub const fn form(&self) -> Form {
        self.scratch.form
    }

    /// The policy of a packet that stays: its place among the rules.
    #[inline]
    #[must_use]
    pub fn policy(&self, packet: usize) -> u16 {
        self.scratch.limit.as_flattened().get(packet).map_or(0, |limit| (limit >> 16) as u16)
    }

    /// The policy of all packets, if all stay and it is one.
    #[inline]
    #[must_use]
    pub fn only_policy(&self) -> Option<u16> {
        let Scratch { limit, count, packed, .. } = &*self.scratch;
        let (first, all) = (limit[0][0], limit.as_flattened().get(..*count)?);
        let others = all.iter().fold(0, |bits, limit| bits | (limit ^ first));
        (count == packed && others >> 16 == 0).then_some((first >> 16) as u16)
    }

    /// Whether all packets of the burst stay.
    #[inline]
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.scratch.count == self.scratch.packed
    }

    /// Gives those packets their numbers that stay and stand before this place, as far as they have none.
    #[inline]
    pub fn number_until(&mut self, packet: usize) {
        let before = self.fast & 1u32.checked_shl(packet as u32).map_or(u32::MAX, |bit| bit - 1);
        let until = before.count_ones() as usize;
        let s = &mut *self.scratch;
        let (numbers, held) = (s.numbers.as_flattened_mut(), s.held.as_flattened_mut());
        for j in self.numbered..until {
            // A flow may come several times. Nobody else numbers its packets: no addition need be locked.
            let record = self.records[j % BURST];
            let word = record.meter.next.load(Ordering::Relaxed);
            record.meter.next.store(word.wrapping_add(ONE_MORE), Ordering::Relaxed);
            numbers[j % BURST] = (word >> 32) as u32;
            held[j % BURST] = record.held.load(Ordering::Relaxed) as u32;
        }
        self.numbered = self.numbered.max(until);
    }

    /// Numbers the rest, and gives the key and the nonce that each packet is going to be sealed with, for who keeps a record of
    /// them.
    pub fn pairs(&mut self, mut take: impl FnMut(&KeyState, &[u8; 12])) {
        self.number_until(BURST);
        let mut key = KeyState::ZERO;
        let numbers = self.scratch.numbers.as_flattened().iter();
        for (record, &number) in self.records.iter().zip(numbers).take(self.scratch.packed) {
            record.key.load(&mut key);
            let order = record.order.each_ref().map(|word| word.load(Ordering::Relaxed));
            let end = xor_prseq(record.nonce_end.load(Ordering::Relaxed) as u32, prseq(order, number as u16));
            let nonce = u128::from(record.nonce.load(Ordering::Relaxed)) | u128::from(end) << 64;
            let [nonce @ .., _, _, _, _] = nonce.to_le_bytes();
            take(&key, &nonce);
        }
    }

    /// Numbers the rest, and puts the options in, sent at this time. `pointer`: the first Global Pointer; `others`: packets
    /// of the slow way that take one, too, as bits by their places: those go round. Gives the packets that got an option, as
    /// bits by their places: all that stay, if the buffers are as they were.
    #[inline]
    pub fn back<B: PacketBuf>(mut self, packets: &mut [B], pointer: u32, others: u32, sent_ns: u64) -> u32 {
        self.number_until(BURST);
        let Self { set, scratch, records, fast, .. } = self;
        if scratch.packed == 0 {
            return 0;
        }
        point(scratch, fast, pointer, others);
        let done = set.back(&records, packets, sent_ns, scratch);
        log(&records, sent_ns, scratch);
        done
    }
}

/// Asks for what is looked at of each packet, and notes what only its buffer knows. Sets their heads.
#[inline]
fn look<'p, B: PacketBuf>(packets: &'p mut [B], s: &mut Scratch, heads: &mut [&'p Head; BURST]) {
    let (mut there, mut tags, mut syn) = (0, 0, 0);
    s.count = packets.len().min(BURST);
    packets.iter().take(BURST).for_each(PacketBuf::prefetch);
    let (first_len, frame_len) = (s.first_len.as_flattened_mut(), s.frame_len.as_flattened_mut());
    for (p, packet) in packets.iter_mut().enumerate().take(BURST) {
        let (first, frame) = (packet.data().len() as u32, packet.frame_len() as u32);
        let Some(window) = packet.window() else { continue };
        prefetch::line(window);
        let Some(mut head) = window[WINDOW_BEFORE..].first_chunk::<HEAD>() else { continue };
        let mut taken = 0;
        if is_tag([head[12], head[13]]) {
            let Some(behind) = window[WINDOW_BEFORE + TAG..].first_chunk() else { continue };
            (head, taken) = (behind, TAG as u32);
            tags |= 1 << p;
        }
        heads[p % BURST] = head;
        first_len[p % BURST] = first.saturating_sub(taken);
        frame_len[p % BURST] = frame.saturating_sub(taken);
        there |= 1 << p;
        syn |= u32::from(head[SYN_AT] / mss::SYN % 2) << p;
    }
    (s.there, s.tagged, s.syn) = (there, tags, syn);
}

/// Looks for the plain packets that no record was found for where the few flows stand that are not in their first bucket.
#[cold]
fn by_other_buckets<'a>(view: &View<'a>, records: &mut [&'a Record; BURST], s: &Scratch) {
    let mut left = s.plain;
    while left != 0 {
        let p = left.trailing_zeros() as usize % BURST;
        left &= left - 1;
        if !core::ptr::eq(records[p], &NOBODY) {
            continue;
        }
        let print = u128::from_le_bytes(s.fingerprint.as_flattened()[block_at(p)]);
        if let Some((_, record)) = in_other_buckets(view.index, view.records, print) {
            records[p] = record;
            portable::ask_for(record);
        }
    }
}

/// The record of this fingerprint that stands in its flow's second or third bucket, and its number.
fn in_other_buckets<'a>(index: &FlowIndex, records: &'a [Record], print: u128) -> Option<(u32, &'a Record)> {
    let hash = FlowHash(print as u64);
    index.other_buckets(hash).into_iter().flat_map(|bucket| &bucket.0).find_map(|word| {
        let word = word.load(Ordering::Acquire);
        let record = records.get(word as u32 as usize)?;
        let [low, high] = record.fingerprint.each_ref().map(|half| half.load(Ordering::Relaxed));
        let is_it = u128::from(low) | u128::from(high) << 64 == print;
        ((word >> 32) as u32 == FlowIndex::live_half(hash) && is_it).then_some((word as u32, record))
    })
}

/// The Global Pointer of each packet that stays.
#[inline]
fn point(s: &mut Scratch, fast: u32, pointer: u32, others: u32) {
    let pointers = s.pointers.as_flattened_mut().iter_mut().zip(s.at).take(s.packed);
    if others == 0 {
        pointers.zip(0..).for_each(|((to, _), i)| *to = pointer.wrapping_add(i));
        return;
    }
    for (to, p) in pointers {
        let before = (fast | others) & ((1 << p) - 1);
        *to = pointer.wrapping_add(before.count_ones());
    }
}

/// The times of sending, in order: a flow's last packet is the one that stays. The number's other half belongs to who numbers.
#[inline]
fn log(records: &[&Record; BURST], sent_ns: u64, s: &Scratch) {
    let (numbers, heard, slots) = (s.numbers.as_flattened(), s.heard.as_flattened(), s.slot.as_flattened());
    for j in 0..s.packed {
        let (j, record) = (j % BURST, records[j % BURST]);
        let sent = pack(sent_ns, (numbers[j] >> 16) as u16);
        let number = record.meter.next.load(Ordering::Relaxed);
        record.meter.next.store(number >> 32 << 32 | u64::from(heard[j]), Ordering::Relaxed);
        // Without a branch: what is not kept goes where it is written to anyway.
        let kept = record.meter.log.get(slots[j] as usize).unwrap_or(&record.meter.last_sent);
        kept.store(sent, Ordering::Relaxed);
        record.meter.last_sent.store(sent, Ordering::Relaxed);
    }
}
