//! What the AVX-512 stages are made of: registers of four blocks, or of sixteen words, or of eight longs.
//!
//! All of it is safe to call where the CPU features are. `unsafe` are loads and stores by pointers, each from a reference to
//! as many octets.
#![allow(unsafe_code, reason = "loads and stores of whole registers")]

use super::super::record::Record;
use super::super::scratch::{Block, GROUP};
use super::super::{HEAD, Head};
use crate::flow::index::Bucket;
use core::arch::asm;
use core::arch::x86_64::{
    __m128i, __m512i, _mm_load_si128, _mm_loadu_si128, _mm512_and_si512, _mm512_broadcast_i32x4,
    _mm512_castsi128_si512, _mm512_inserti32x4, _mm512_loadu_si512, _mm512_or_si512, _mm512_permutex2var_epi32,
    _mm512_permutex2var_epi64, _mm512_set_epi64, _mm512_set1_epi32, _mm512_setr_epi32, _mm512_setr_epi64,
    _mm512_shuffle_epi8, _mm512_storeu_si512, _mm512_ternarylogic_epi64, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi32, _mm512_unpacklo_epi64, _mm512_xor_si512,
};

/// A register: four blocks (one in each lane), sixteen words, or eight longs.
pub(super) type Z = __m512i;

/// Sixteen blocks (see [`scratch`](super::super::scratch) for which is where), or four times sixteen words.
pub(super) type Four = [Z; 4];

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

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn xor(a: Z, b: Z) -> Z {
    _mm512_xor_si512(a, b)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn xor3(a: Z, b: Z, c: Z) -> Z {
    _mm512_ternarylogic_epi64::<0x96>(a, b, c)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn and(a: Z, b: Z) -> Z {
    _mm512_and_si512(a, b)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn or(a: Z, b: Z) -> Z {
    _mm512_or_si512(a, b)
}

/// `a` in the bits that are set in `which`, `b` in the others.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn select(which: Z, a: Z, b: Z) -> Z {
    _mm512_ternarylogic_epi64::<0xCA>(which, a, b)
}

/// A word sixteen times.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn word(value: u32) -> Z {
    _mm512_set1_epi32(value as i32)
}

/// A block in all lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn spread(block: &Block) -> Z {
    // SAFETY: 16 octets are there; the load needs no alignment.
    _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(block.as_ptr().cast()) })
}

/// In every lane its octets as `order` names them; 0 where the highest bit of it is set.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn octets(a: Z, order: &Block) -> Z {
    _mm512_shuffle_epi8(a, spread(order))
}

/// The two octets of every half word change places: network order.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn swap16(a: Z) -> Z {
    octets(a, &[1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14])
}

/// From sixteen blocks to their words 0, 1, 2 and 3, each of all packets in order; and back.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn transpose(a: Four) -> Four {
    let (low, low2) = (_mm512_unpacklo_epi32(a[0], a[1]), _mm512_unpacklo_epi32(a[2], a[3]));
    let (high, high2) = (_mm512_unpackhi_epi32(a[0], a[1]), _mm512_unpackhi_epi32(a[2], a[3]));
    [
        _mm512_unpacklo_epi64(low, low2),
        _mm512_unpackhi_epi64(low, low2),
        _mm512_unpacklo_epi64(high, high2),
        _mm512_unpackhi_epi64(high, high2),
    ]
}

/// Longs of packets 0, 1 | 4, 5 | 8, 9 | 12, 13 and of 2, 3 | 6, 7 | 10, 11 | 14, 15 in order.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn in_order(a: Z, b: Z) -> [Z; 2] {
    [
        _mm512_permutex2var_epi64(a, _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), b),
        _mm512_permutex2var_epi64(a, _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), b),
    ]
}

/// The low halves of sixteen blocks, as longs in order.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn low_longs(a: Four) -> [Z; 2] {
    in_order(_mm512_unpacklo_epi64(a[0], a[1]), _mm512_unpacklo_epi64(a[2], a[3]))
}

/// The high halves.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn high_longs(a: Four) -> [Z; 2] {
    in_order(_mm512_unpackhi_epi64(a[0], a[1]), _mm512_unpackhi_epi64(a[2], a[3]))
}

/// The low words of sixteen longs.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn low_words(a: [Z; 2]) -> Z {
    let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    _mm512_permutex2var_epi32(a[0], even, a[1])
}

/// The high words.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn high_words(a: [Z; 2]) -> Z {
    let odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    _mm512_permutex2var_epi32(a[0], odd, a[1])
}

#[inline]
#[target_feature(enable = "avx512f")]
fn lanes(a: __m128i, b: __m128i, c: __m128i, d: __m128i) -> Z {
    let two = _mm512_inserti32x4::<1>(_mm512_castsi128_si512(a), b);
    _mm512_inserti32x4::<3>(_mm512_inserti32x4::<2>(two, c), d)
}

/// Register `I` of a block at `AT` in sixteen heads.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn of_heads<const I: usize, const AT: usize>(heads: &[&Head; GROUP]) -> Z {
    of_arrays::<I, AT, HEAD>(heads)
}

/// Register `I` of a block at `AT` in sixteen arrays of `LEN` octets.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn of_arrays<const I: usize, const AT: usize, const LEN: usize>(arrays: &[&[u8; LEN]; GROUP]) -> Z {
    const { assert!(AT + 16 <= LEN) };
    // SAFETY: 16 octets are there, by the assertion; the load needs no alignment.
    let block = |array: &[u8; LEN]| unsafe { _mm_loadu_si128(array.as_ptr().add(AT).cast()) };
    lanes(block(arrays[I]), block(arrays[4 + I]), block(arrays[8 + I]), block(arrays[12 + I]))
}

/// Register `I` of a block at `AT` in sixteen records, which nobody writes to meanwhile: the fingerprint, or what only the
/// owner writes of records that are this worker's (or nobody's).
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn of_records<const I: usize, const AT: usize>(records: &[&Record; GROUP]) -> Z {
    const { assert!(AT + 16 <= size_of::<Record>() && AT.is_multiple_of(16)) };
    let block = |record: &Record| {
        // SAFETY: 16 octets are there, aligned to 16, by the assertion and the type's alignment. They are atomics, and this
        // load is none: no thread stores to them at this time. A fingerprint is stored before its flow stands in the index,
        // where the record was found with an acquiring load, and not again while workers may reach it. All else that is
        // loaded here only a flow's owner stores: `check` has seen that this worker is it, with an acquire fence behind
        // that, and one who is not does not become it but by this worker. `NOBODY` nobody stores to.
        unsafe { _mm_load_si128(core::ptr::from_ref(record).cast::<u8>().add(AT).cast()) }
    };
    lanes(block(records[I]), block(records[4 + I]), block(records[8 + I]), block(records[12 + I]))
}

/// Register `I` of blocks of two words of sixteen records, by atomic loads: others may store to them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn pairs<const I: usize>(
    records: &[&Record; GROUP],
    low: impl Fn(&Record) -> u64,
    high: impl Fn(&Record) -> u64,
) -> Z {
    let [a, b, c, d] = [records[I], records[4 + I], records[8 + I], records[12 + I]];
    let of = |word: u64| word as i64;
    _mm512_set_epi64(of(high(d)), of(low(d)), of(high(c)), of(low(c)), of(high(b)), of(low(b)), of(high(a)), of(low(a)))
}

/// A word of sixteen records, in order, by atomic loads.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn longs(records: &[&Record; GROUP], long: impl Fn(&Record) -> u64) -> [Z; 2] {
    let of = |i: usize| long(records[i]) as i64;
    [
        _mm512_set_epi64(of(7), of(6), of(5), of(4), of(3), of(2), of(1), of(0)),
        _mm512_set_epi64(of(15), of(14), of(13), of(12), of(11), of(10), of(9), of(8)),
    ]
}

/// A bucket's eight words, of which each is as it was at some time: only a hint to what is then loaded by itself.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn of_bucket(bucket: &Bucket) -> Z {
    let line: Z;
    // SAFETY: 64 octets are there, aligned to 64, by the type. Others may store to them at this time: in a language that has no
    // atomic load of a whole line this would be a race, so it is one instruction that the compiler knows nothing of. Whatever
    // it loads, all bits are allowed.
    unsafe {
        asm!(
            "vmovdqa64 {line}, zmmword ptr [{bucket}]",
            line = lateout(zmm_reg) line,
            bucket = in(reg) core::ptr::from_ref(bucket),
            options(nostack, preserves_flags, readonly),
        );
    }
    line
}

/// Sixteen words.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn load_words(words: &[u32; GROUP]) -> Z {
    // SAFETY: 64 octets are there; the load needs no alignment.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn store_words(words: &mut [u32; GROUP], a: Z) {
    // SAFETY: there is room for 64 octets; the store needs no alignment.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), a) }
}

/// Sixteen longs.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn store_longs(longs: &mut [u64; GROUP], a: [Z; 2]) {
    for (longs, a) in longs.as_chunks_mut::<8>().0.iter_mut().zip(a) {
        // SAFETY: there is room for 64 octets; the store needs no alignment.
        unsafe { _mm512_storeu_si512(longs.as_mut_ptr().cast(), a) }
    }
}

/// Sixteen blocks.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn load_blocks(blocks: &[Block; GROUP]) -> Four {
    let four = blocks.as_chunks::<4>().0;
    // SAFETY: 64 octets are there; the load needs no alignment.
    four!(I => unsafe { _mm512_loadu_si512(four[I].as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn store_blocks(blocks: &mut [Block; GROUP], a: Four) {
    for (blocks, a) in blocks.as_chunks_mut::<4>().0.iter_mut().zip(a) {
        // SAFETY: there is room for 64 octets; the store needs no alignment.
        unsafe { _mm512_storeu_si512(blocks.as_mut_ptr().cast(), a) }
    }
}

/// 64 octets from one place to another.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn load_line(from: &[u8; 64]) -> Z {
    // SAFETY: 64 octets are there; the load needs no alignment.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn store_line(to: &mut [u8; 64], a: Z) {
    // SAFETY: there is room for 64 octets; the store needs no alignment.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), a) }
}

/// What was stored is to be loaded again, word by word, and not taken out of the registers that it came from: that would keep
/// the one unit busy that all shuffles need.
#[inline(always)]
pub(super) fn settle<T>(at: &T) {
    // SAFETY: does nothing. (The compiler does not know that: anything may have been changed behind the reference.)
    unsafe { asm!("/* {0} */", in(reg) core::ptr::from_ref(at), options(nostack, preserves_flags)) }
}
