//! The stages for registers of several blocks, written once for all widths. Beside each function stands one of the same name in
//! [`portable`](super::portable), which says in plain Rust what it does.
//!
//! A module that expands these macros brings a register type `Z` of `LANES` blocks (or four times as many words, or twice as many
//! longs), the operations on it, and names the CPU features that they need. [`derived`] makes further operations of them.
//! Then `W` packets, four times `LANES`, are worked on side by side: four registers hold a block of each, which is what it takes
//! to transpose them into words, and enough for the latencies of their instructions to overlap.
//!
//! | module | `Z` | `W` | AES and carry-less products |
//! |---|---|---|---|
//! | [`avx512`](super::avx512) | 512 bits | 16 | four blocks at once |
//! | [`vaes256`](super::vaes256) | 256 bits | 8 | two blocks at once |
//! | [`aesni`](super::aesni) | 256 bits; of the AEAD, 128 bits | 8; 4 | block by block |
#![allow(unsafe_code, reason = "loads of sixteen octets")]

mod aead;
mod derived;
mod inbound;
mod outbound;

pub(super) use aead::aead;
pub(super) use derived::derived;
pub(super) use inbound::inbound;
pub(super) use outbound::outbound;

use super::record::Record;
use crate::flow::record::FlowBack;
use core::arch::asm;
use core::arch::x86_64::{__m128i, _mm_load_si128, _mm_loadu_si128, _mm_set_epi64x};

/// An array of an expression for each index, which is a constant in it: a loop that is always unrolled, whose registers never
/// become an array in memory.
macro_rules! each {
    ($i:ident in $($at:literal)+ => $each:expr) => {
        [$({
            const $i: usize = $at;
            $each
        }),+]
    };
}

/// [`each!`], of four registers.
macro_rules! four {
    ($i:ident => $each:expr) => {
        each!($i in 0 1 2 3 => $each)
    };
}

pub(super) use {each, four};

/// The block at `AT` of an array.
#[inline]
pub(super) fn block_of<const AT: usize, const LEN: usize>(array: &[u8; LEN]) -> __m128i {
    const { assert!(AT + 16 <= LEN) };
    // SAFETY: 16 octets are there, by the assertion; the load needs no alignment.
    unsafe { _mm_loadu_si128(array.as_ptr().add(AT).cast()) }
}

/// The block at `AT` of a record, which nobody writes to meanwhile: the fingerprint, or what only the owner writes of records
/// that are this worker's (or nobody's).
#[inline]
pub(super) fn block_of_record<const AT: usize>(record: &Record) -> __m128i {
    const { assert!(AT + 16 <= size_of::<Record>() && AT.is_multiple_of(16)) };
    // SAFETY: 16 octets are there, aligned to 16, by the assertion and the type's alignment. They are atomics, and this load is
    // none: no thread stores to them at this time. A fingerprint is stored before its flow stands in the index, where the record
    // was found with an acquiring load, and not again while workers may reach it. All else that is loaded here only a flow's
    // owner stores: `check` has seen that this worker is it, with an acquire fence behind that, and one who is not does not
    // become it but by this worker. `NOBODY` nobody stores to.
    unsafe { _mm_load_si128(core::ptr::from_ref(record).cast::<u8>().add(AT).cast()) }
}

/// An address of a record's 5-tuple: the inside one at 0, the outside one at 16.
#[inline]
pub(super) fn address_of<const AT: usize>(back: &FlowBack) -> __m128i {
    const { assert!(AT == 0 || AT == 16) };
    // SAFETY: 16 octets are there, aligned to 8: the 5-tuple has 40. They are atomics, and this load is none: a 5-tuple is stored
    // before its flow stands in the index, where the record was found with an acquiring load, and not again while workers may
    // reach it.
    unsafe { _mm_loadu_si128(core::ptr::from_ref(back).cast::<u8>().add(FlowBack::ADDRESSES_AT + AT).cast()) }
}

/// A block of two longs.
#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn pair(low: u64, high: u64) -> __m128i {
    _mm_set_epi64x(high as i64, low as i64)
}

/// What was stored is to be loaded again, word by word, and not taken out of the registers that it came from: that would keep
/// the one unit busy that all shuffles need.
#[inline(always)]
pub(super) fn settle<T>(at: &T) {
    // SAFETY: does nothing. (The compiler does not know that: anything may have been changed behind the reference.)
    unsafe { asm!("/* {0} */", in(reg) core::ptr::from_ref(at), options(nostack, preserves_flags)) }
}
