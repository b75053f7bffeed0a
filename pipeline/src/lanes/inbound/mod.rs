//! The lanes of packets that come back: which of a burst are of the measured shape (Ethernet with at most one VLAN tag, IPv6, a
//! Destination Options header that holds nothing but an option as boxes write it, encrypted or in clear as the burst's form is, and
//! behind it UDP, or TCP without SYN), and which records are their flows'.
//!
//! ```text
//!   packets          look    heads, lengths; what is to be opened    (packet by packet)
//!      |             parse   heads -> measured?, F                   \
//!      |                     reversed 5-tuples -> fingerprints (AES)  | side by side
//!   Lanes::front     find    bucket, tag -> record; asks for it       |
//!      |             check   its 5-tuple is the packet's             /
//!      |
//!   `crate::inbound` guesses keys, opens the batch, takes into account, takes the options out
//! ```
//!
//! Unlike a packet towards the network, one that comes back may be of any worker's flow, and what is told by it is written to
//! atomics that others write to as well. So behind `check` the stages go packet by packet; they are in [`crate::inbound`].
//!
//! Nothing of a packet is looked at that is not within its first segment, and nothing is written.

pub(in crate::lanes) mod portable;
#[cfg(test)]
mod tests;

use super::record::Record;
use super::resting::Resting;
use super::scratch::{Blocks, GROUP, GROUPS, Longs, Words, block_at};
use super::{Set, in_other_buckets};
use crate::flow::hash::{FlowHash, HashKey};
use crate::flow::index::FlowIndex;
use crate::flow::record::FlowBack;
use crate::packet::buffer::PacketBuf;
use crate::packet::mss;
use crate::packet::parse::PLAIN_UPPER;
use crate::ports::BURST;
use core::hint::select_unpredictable;
use protocol::aead::{Batch, KeyState};
use protocol::prefetch;
use protocol::wire::ethernet::{TAG_LEN as TAG, is_tag};
use protocol::wire::option::Form;
use protocol::wire::profile::{AAD_LEN, PROFILE, TEXT_LEN};

/// Where the option begins.
pub(in crate::lanes) const OPTION: usize = PLAIN_UPPER + PROFILE.option_at;
/// Octets of a frame that stages look at themselves, from where it begins without its VLAN tag: up to the option's PRSEQ and F.
pub(in crate::lanes) const HEAD: usize = OPTION + AAD_LEN;
pub(in crate::lanes) type Head = [u8; HEAD];

/// Octets up to the ports, which `look` looks at. The shortest packet of the shape has four more, those of a tag.
const fn up_to_ports(form: Form) -> usize {
    upper(form) + 4
}

/// Where the upper layer begins.
pub(in crate::lanes) const fn upper(form: Form) -> usize {
    PLAIN_UPPER + form.header_len()
}

/// TCP's flags.
pub(in crate::lanes) const fn flags_at(form: Form) -> usize {
    upper(form) + mss::FLAGS
}

/// The header behind the IPv6 header from its third octet on: padding, then the option's first two octets.
pub(in crate::lanes) const fn begin(form: Form) -> u32 {
    u32::from_le_bytes([1, 0, PROFILE.option_type, form.data_len()])
}

/// In lanes that have no packet.
static NOWHERE: Head = [0; HEAD];

/// Packets between a packet's being asked for and its being looked at.
const AHEAD: usize = 8;

/// What a burst is looked up in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    /// The fingerprints'.
    pub(crate) key: &'a HashKey,
    /// By the low half of the fingerprint.
    pub(crate) index: &'a FlowIndex,
    /// What the index' words count. A packet that comes back is compared with the 5-tuple, which stands on a line that is needed
    /// anyway: the fingerprint would be one more.
    pub(crate) backs: &'a [FlowBack],
    /// As many, each the other part of the record at the same place.
    pub(crate) records: &'a [Record],
    /// The form of the options of packets that stay in the lanes: encrypted, or in clear.
    pub(crate) form: Form,
}

/// What the stages leave for one another: by place in the burst (see [`super::scratch`]).
#[repr(C, align(64))]
pub(in crate::lanes) struct Scratch {
    /// Octets in the first segment, and in all; a VLAN tag is not counted.
    pub(in crate::lanes) first_len: Words,
    pub(in crate::lanes) frame_len: Words,
    /// The third block of the reversed 5-tuple's fingerprint: ports, destination first, at 6; Next Header at 12.
    pub(in crate::lanes) ends: Blocks,
    pub(in crate::lanes) fingerprint: Blocks,
    /// Its low half.
    pub(in crate::lanes) hash: Longs,
    /// The record that is found.
    pub(in crate::lanes) number: Words,
    /// The form of the options.
    pub(in crate::lanes) form: Form,
    /// Packets of the burst.
    pub(in crate::lanes) count: usize,
    /// Has a head; has one VLAN tag; has the bit set that TCP has for SYN, or ends before it.
    pub(in crate::lanes) there: u32,
    pub(in crate::lanes) tagged: u32,
    pub(in crate::lanes) syn: u32,
    /// Is of the measured shape; its option's F; and a record is there that may be its flow's.
    pub(in crate::lanes) measured: u32,
    pub(in crate::lanes) f: u32,
    pub(in crate::lanes) found: u32,
}

impl Scratch {
    const NEW: Self = Self {
        first_len: [[0; GROUP]; GROUPS],
        frame_len: [[0; GROUP]; GROUPS],
        ends: [[[0; 16]; GROUP]; GROUPS],
        fingerprint: [[[0; 16]; GROUP]; GROUPS],
        hash: [[0; GROUP]; GROUPS],
        number: [[0; GROUP]; GROUPS],
        form: Form::Encrypted,
        count: 0,
        there: 0,
        tagged: 0,
        syn: 0,
        measured: 0,
        f: 0,
        found: 0,
    };
}

/// A worker's lanes of packets that come back, and what they open their options in.
pub(crate) struct Lanes {
    set: Set,
    /// Where the lanes can do nothing (options in clear, strangers) they are left alone for a while after each vain look.
    pub(crate) resting: Resting,
    scratch: Box<Scratch>,
    /// The options, by place in the burst.
    pub(crate) batch: Box<Batch>,
    /// Their keys, and which of them is each option's: packets of one flow that follow one another share one, so that it is
    /// fetched and scheduled once.
    pub(crate) keys: Box<[KeyState; BURST]>,
    pub(crate) key_at: [u8; BURST],
}

impl core::fmt::Debug for Lanes {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Lanes({})", self.set.name())
    }
}

impl Default for Lanes {
    fn default() -> Self {
        Self::new(Set::best())
    }
}

impl Lanes {
    /// Lanes of this set of instructions.
    pub(crate) fn new(set: Set) -> Self {
        Self {
            set,
            resting: Resting::default(),
            scratch: Box::new(Scratch::NEW),
            batch: Box::new(Batch::new()),
            keys: Box::new([const { KeyState::ZERO }; BURST]),
            key_at: [0; BURST],
        }
    }

    /// Whether the burst is to be looked at.
    #[inline]
    pub(crate) fn are_asked(&mut self) -> bool {
        self.resting.is_over()
    }

    /// The packets of the burst that stayed, as bits.
    #[inline]
    pub(crate) fn note(&mut self, stayed: u32) {
        self.resting.note(stayed);
    }

    /// Looks at the first [`BURST`] packets. Gives those of the measured shape whose flow is known, as bits by their places;
    /// their options stand in the batch, but for the nonces.
    #[inline]
    pub(crate) fn front<B: PacketBuf>(&mut self, view: &View<'_>, packets: &[B]) -> u32 {
        self.scratch.form = view.form;
        let heads = look(packets, &mut self.scratch, &mut self.batch);
        let Some(first) = view.backs.first() else { return 0 };
        self.set.known(view, &heads, &mut [first; BURST], &mut self.scratch)
    }

    /// The record that was found for a packet.
    #[inline]
    pub(crate) fn record(&self, packet: usize) -> u32 {
        self.scratch.number.as_flattened()[packet % BURST]
    }

    /// F of the packets' options, as bits by their places.
    #[inline]
    pub(crate) fn f(&self) -> u32 {
        self.scratch.f
    }

    /// The packets that have a VLAN tag.
    #[inline]
    pub(crate) fn tagged(&self) -> u32 {
        self.scratch.tagged
    }

    /// Where a packet's flow stands in the index.
    pub(crate) fn hash(&self, packet: usize) -> FlowHash {
        FlowHash(self.scratch.hash.as_flattened()[packet % BURST])
    }
}

/// Notes what the stages need of each packet beside its head, and puts its option into the batch, if it should be one. Gives
/// the heads.
#[inline]
fn look<'p, B: PacketBuf>(packets: &'p [B], s: &mut Scratch, batch: &mut Batch) -> [&'p Head; BURST] {
    const SEALED: usize = up_to_ports(Form::Encrypted);
    const CLEAR: usize = up_to_ports(Form::Clear);
    match s.form {
        Form::Encrypted => look_up_to::<B, SEALED, { SEALED + TAG }>(packets, s, batch),
        Form::Clear | Form::Pdm => look_up_to::<B, CLEAR, { CLEAR + TAG }>(packets, s, batch),
    }
}

/// [`look`], of the form whose ports end at `N`; `M`: behind a tag.
#[inline]
fn look_up_to<'p, B: PacketBuf, const N: usize, const M: usize>(
    packets: &'p [B],
    s: &mut Scratch,
    batch: &mut Batch,
) -> [&'p Head; BURST] {
    const TEXT_AT: usize = OPTION + AAD_LEN;
    const TAG_AT: usize = TEXT_AT + TEXT_LEN;
    const { assert!(M == N + TAG && TEXT_AT + 16 <= N) };
    let mut heads = [&NOWHERE; BURST];
    (s.there, s.tagged, s.syn, s.count) = (0, 0, 0, packets.len().min(BURST));
    packets.iter().take(AHEAD).for_each(PacketBuf::prefetch);
    let (lens, ends) = (s.first_len.as_flattened_mut().iter_mut().zip(s.frame_len.as_flattened_mut()), &mut s.ends);
    let fields = batch.aad.iter_mut().zip(&mut batch.text).zip(&mut batch.tag);
    let places = heads.iter_mut().zip(lens).zip(fields);
    for ((p, packet), ((head, (first_len, frame_len)), ((aad, text), tag))) in packets.iter().enumerate().zip(places) {
        if let Some(packet) = packets.get(p + AHEAD) {
            packet.prefetch();
        }
        let frame = packet.data();
        let Some(window) = frame.first_chunk::<M>() else { continue };
        let [untagged, tagged] = [0, TAG].map(|at| window[at..].first_chunk::<N>());
        let (Some(untagged), Some(tagged)) = (untagged, tagged) else { continue };
        let has_tag = is_tag([untagged[12], untagged[13]]);
        let whole = select_unpredictable(has_tag, tagged, untagged);
        let Some(begin) = whole.first_chunk() else { continue };
        *head = begin;
        let taken = usize::from(has_tag) * TAG;
        (*first_len, *frame_len) = ((frame.len() - taken) as u32, (packet.frame_len() - taken) as u32);
        s.there |= 1 << p;
        s.tagged |= u32::from(has_tag) << p;
        let flags = frame.get(taken + N - 4 + mss::FLAGS).copied().unwrap_or(mss::SYN);
        s.syn |= u32::from(flags & mss::SYN != 0) << p;
        let ports = u32::from_le_bytes([whole[N - 4], whole[N - 3], whole[N - 2], whole[N - 1]]).rotate_left(16);
        let end = u128::from(ports) << 48 | u128::from(whole[PLAIN_UPPER]) << 96;
        ends.as_flattened_mut()[block_at(p)] = end.to_le_bytes();
        // Sixteen octets of each: what a field has too much does not count.
        aad.copy_from_slice(&whole[OPTION..OPTION + 16]);
        text.copy_from_slice(&whole[TEXT_AT..TEXT_AT + 16]);
        if N == up_to_ports(Form::Encrypted) {
            tag.copy_from_slice(&whole[TAG_AT..TAG_AT + 16]);
        }
    }
    heads
}

/// Looks for the packets that no record was found for where the few flows stand that are not in their first bucket.
#[cold]
pub(in crate::lanes) fn by_other_buckets<'a>(view: &View<'a>, backs: &mut [&'a FlowBack; BURST], s: &mut Scratch) {
    let mut left = s.measured & !s.found;
    while left != 0 {
        let p = left.trailing_zeros() as usize % BURST;
        left &= left - 1;
        let print = u128::from_le_bytes(s.fingerprint.as_flattened()[block_at(p)]);
        if let Some((number, _)) = in_other_buckets(view.index, view.records, print)
            && let Some(back) = view.backs.get(number as usize)
        {
            backs[p] = back;
            s.number.as_flattened_mut()[p] = number;
            s.found |= 1 << p;
            ask_for(view, number);
        }
    }
}

/// Asks for a record's lines, but for the one of the replay window, which what stands in these has to name.
#[inline]
pub(in crate::lanes) fn ask_for(view: &View<'_>, number: u32) {
    if let (Some(record), Some(back)) = (view.records.get(number as usize), view.backs.get(number as usize)) {
        prefetch::line(back);
        prefetch::line(&back.receiver);
        prefetch::line(back.receiver.key_line());
        prefetch::line(&record.meter);
    }
}
