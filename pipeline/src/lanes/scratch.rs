//! What the stages leave for one another, of one burst: a few arrays in the first level of the cache, written anew for each.
//!
//! Two orders. A *word* (or long) of packet p is at place p. A *block*, 16 octets, is at [`block_at`]: then the sixteen blocks
//! of a group are four registers whose words, transposed four by four, are those of the packets in order.
//!
//! ```text
//!              lane 0      lane 1      lane 2      lane 3            words 0 of all, in order
//! register 0   packet 0    packet 4    packet 8    packet 12   \
//! register 1   packet 1    packet 5    packet 9    packet 13    >--  0 1 2 3 | 4 5 6 7 | 8 9 10 11 | 12 13 14 15
//! register 2   packet 2    packet 6    packet 10   packet 14   /
//! register 3   packet 3    packet 7    packet 11   packet 15  /
//! ```
//!
//! Up to [`Scratch::pack`] packets have their places in the burst; behind it those that stay stand together, in order.

use super::record::{NOBODY, Record};
use crate::ports::BURST;
use protocol::aead::{Batch, KeyState};
use protocol::wire::option::Form;

/// Packets that go through a stage's loop side by side.
pub(super) const GROUP: usize = 16;
/// Groups of a burst.
pub(super) const GROUPS: usize = BURST / GROUP;

pub(super) type Block = [u8; 16];
pub(super) type Blocks = [[Block; GROUP]; GROUPS];
pub(super) type Words = [[u32; GROUP]; GROUPS];
pub(super) type Longs = [[u64; GROUP]; GROUPS];

const _: () = assert!(GROUPS == 2);

/// Where the block of packet `p` stands.
#[inline]
pub(super) const fn block_at(p: usize) -> usize {
    // Looked up, since that is one load instead of ten instructions.
    const BLOCK_AT: [u8; BURST] = {
        let mut all = [0; BURST];
        let mut p = 0;
        while p < BURST {
            all[p] = (p / GROUP * GROUP + p % 4 * 4 + p % GROUP / 4) as u8;
            p += 1;
        }
        all
    };
    BLOCK_AT[p % BURST] as usize
}

/// In [`Scratch::slot`]: the send time is not kept.
pub(super) const NOT_KEPT: u32 = 4;

/// See the module. Octets of each field are a multiple of 64, so that every vector stands on one cache line.
#[repr(C, align(64))]
pub(super) struct Scratch {
    // By place in the burst.
    /// Octets in the first segment, and in all; a VLAN tag is not counted.
    pub(super) first_len: Words,
    pub(super) frame_len: Words,
    /// Octets of the IPv6 packet.
    pub(super) len: Words,
    pub(super) fingerprint: Blocks,
    /// Its low half.
    pub(super) hash: Longs,
    /// Limit (low half) and policy (high half) of its flow.
    pub(super) limit: Words,

    // Packed together.
    /// Next header of the packet as it came.
    pub(super) next: Words,
    /// Octets 16..24 of the frame as it goes: with Payload Length and Next Header as they then are.
    pub(super) patch: Longs,
    /// Index and PSNTP as `check` saw them, and as the packet got them. Where they differ, another packet of the burst is of
    /// the same flow and goes before.
    pub(super) was: Words,
    pub(super) numbers: Words,
    /// Low half of the flow's [`Record::held`] when the packet got its number.
    pub(super) held: Words,
    pub(super) pointers: Words,
    /// PRSEQ.
    pub(super) order: Words,
    /// Low half of `last_received` as the packet tells it.
    pub(super) heard: Words,
    /// Where in the log its time of sending is kept, or [`NOT_KEPT`].
    pub(super) slot: Words,
    /// Destination Options header up to the additional data's end; then PRSEQ (2 octets) as the nonce has it, which the text
    /// is written over.
    pub(super) head: Blocks,
    /// Metrics, then their ciphertext.
    pub(super) text: Blocks,
    pub(super) tag: Blocks,
    /// Which packets of the burst they are.
    pub(super) at: [u8; BURST],

    /// The form of the options.
    pub(super) form: Form,
    /// Packets of the burst.
    pub(super) count: usize,
    /// Packets that stay in the lanes.
    pub(super) packed: usize,
    /// By place in the burst: has a window; has one VLAN tag; has the bit set that TCP has for SYN.
    pub(super) there: u32,
    pub(super) tagged: u32,
    pub(super) syn: u32,
    /// By place in the burst: is of the plain shape.
    pub(super) plain: u32,

    /// What the portable stages hand to the AEAD.
    pub(super) batch: Batch,
    pub(super) keys: [KeyState; BURST],
}

impl Scratch {
    pub(super) fn new() -> Box<Self> {
        const WORDS: Words = [[0; GROUP]; GROUPS];
        const LONGS: Longs = [[0; GROUP]; GROUPS];
        const BLOCKS: Blocks = [[[0; 16]; GROUP]; GROUPS];
        Box::new(Self {
            first_len: WORDS,
            frame_len: WORDS,
            len: WORDS,
            fingerprint: BLOCKS,
            hash: LONGS,
            limit: WORDS,
            next: WORDS,
            patch: LONGS,
            was: WORDS,
            numbers: WORDS,
            held: WORDS,
            pointers: WORDS,
            order: WORDS,
            heard: WORDS,
            slot: WORDS,
            head: BLOCKS,
            text: BLOCKS,
            tag: BLOCKS,
            at: [0; BURST],
            form: Form::Encrypted,
            count: 0,
            packed: 0,
            there: 0,
            tagged: 0,
            syn: 0,
            plain: 0,
            batch: Batch::new(),
            keys: core::array::from_fn(|_| KeyState::ZERO),
        })
    }

    /// Moves those packets together that stay in the lanes, in order. Lanes behind them are nobody's, with number 0.
    #[inline]
    pub(super) fn pack(&mut self, fast: u32, records: &mut [&Record; BURST]) {
        const IN_ORDER: [u8; BURST] = {
            let mut at = [0; BURST];
            let mut i = 0;
            while i < BURST {
                at[i] = i as u8;
                i += 1;
            }
            at
        };
        self.at = IN_ORDER;
        self.packed = fast.count_ones() as usize;
        // Nearly always all of them, or the first ones: then everything stands where it should.
        if fast & fast.wrapping_add(1) != 0 {
            self.move_together(fast, records);
        }
        for j in self.packed..BURST {
            records[j % BURST] = &NOBODY;
            for numbers in [&mut self.was, &mut self.numbers, &mut self.held] {
                numbers.as_flattened_mut()[j % BURST] = 0;
            }
        }
    }

    fn move_together(&mut self, fast: u32, records: &mut [&Record; BURST]) {
        let (next, patch, was) =
            (self.next.as_flattened_mut(), self.patch.as_flattened_mut(), self.was.as_flattened_mut());
        let (mut left, mut to) = (fast, 0);
        while left != 0 && to < BURST {
            let from = left.trailing_zeros() as usize % BURST;
            left &= left - 1;
            self.at[to] = from as u8;
            records[to] = records[from];
            next[to] = next[from];
            patch[to] = patch[from];
            was[to] = was[from];
            to += 1;
        }
    }
}
