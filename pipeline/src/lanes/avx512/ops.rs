//! What the stages are made of, on 512 bits: registers of four blocks, sixteen words, or eight longs.
//!
//! All of it is safe to call where the CPU features are. `unsafe` are loads and stores by pointers, each from a reference to
//! as many octets.
#![allow(unsafe_code, reason = "loads and stores of whole registers")]

use super::super::scratch::Block;
use crate::flow::index::Bucket;
use core::arch::asm;
use core::arch::x86_64::{
    __m128i, __m512i, __mmask8, __mmask16, __mmask32, _MM_FROUND_NO_EXC, _MM_FROUND_TO_ZERO, _mm_loadu_si128,
    _mm512_add_epi16, _mm512_add_epi32, _mm512_aesenc_epi128, _mm512_aesenclast_epi128, _mm512_and_si512,
    _mm512_broadcast_i32x4, _mm512_castpd_si512, _mm512_castsi128_si512, _mm512_clmulepi64_epi128,
    _mm512_cmpeq_epi16_mask, _mm512_cmpeq_epi32_mask, _mm512_cmple_epu32_mask, _mm512_inserti32x4, _mm512_loadu_si512,
    _mm512_lzcnt_epi32, _mm512_mask_blend_epi32, _mm512_mask_blend_epi64, _mm512_mask_mov_epi16,
    _mm512_maskz_cvtepi64_pd, _mm512_maskz_mov_epi32, _mm512_max_epu32, _mm512_movepi64_mask, _mm512_mul_round_pd,
    _mm512_mullo_epi16, _mm512_or_si512, _mm512_permutex2var_epi32, _mm512_permutex2var_epi64, _mm512_set_epi64,
    _mm512_set1_epi16, _mm512_set1_epi32, _mm512_set1_epi64, _mm512_set1_pd, _mm512_setr_epi32, _mm512_setr_epi64,
    _mm512_shuffle_epi8, _mm512_shuffle_epi32, _mm512_slli_epi16, _mm512_slli_epi64, _mm512_sllv_epi32,
    _mm512_srli_epi16, _mm512_srlv_epi32, _mm512_storeu_si512, _mm512_sub_epi32, _mm512_sub_epi64,
    _mm512_ternarylogic_epi64, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32,
    _mm512_unpacklo_epi64, _mm512_xor_si512,
};
use protocol::meter::TIME_BITS;

/// A register: four blocks (one in each lane), sixteen words, or eight longs.
pub(super) type Z = __m512i;

/// Blocks in a register.
pub(super) const LANES: usize = 4;

/// Which words of a register.
pub(super) type M = __mmask16;

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident$(::<$number:ident>)?($($arg:ident: $type:ty),+) -> $result:ty = $what:expr;)+) => {$(
        $(#[$doc])*
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
        pub(super) fn $name$(<const $number: i32>)?($($arg: $type),+) -> $result {
            $what
        }
    )+};
}

operations! {
    xor(a: Z, b: Z) -> Z = _mm512_xor_si512(a, b);
    xor3(a: Z, b: Z, c: Z) -> Z = _mm512_ternarylogic_epi64::<0x96>(a, b, c);
    and(a: Z, b: Z) -> Z = _mm512_and_si512(a, b);
    or(a: Z, b: Z) -> Z = _mm512_or_si512(a, b);
    /// `a` in the bits that are set in `which`, `b` in the others.
    select(which: Z, a: Z, b: Z) -> Z = _mm512_ternarylogic_epi64::<0xCA>(which, a, b);
    /// In every lane its octets as `order` names them; 0 where the highest bit of it is set.
    octets(a: Z, order: &Block) -> Z = _mm512_shuffle_epi8(a, spread(order));
    /// One round of AES in every lane.
    aes(a: Z, key: Z) -> Z = _mm512_aesenc_epi128(a, key);
    aes_last(a: Z, key: Z) -> Z = _mm512_aesenclast_epi128(a, key);
    carryless::<HALVES>(a: Z, b: Z) -> Z = _mm512_clmulepi64_epi128::<HALVES>(a, b);
    swap_halves(a: Z) -> Z = _mm512_shuffle_epi32::<0b01_00_11_10>(a);
    word_pairs_low(a: Z, b: Z) -> Z = _mm512_unpacklo_epi32(a, b);
    word_pairs_high(a: Z, b: Z) -> Z = _mm512_unpackhi_epi32(a, b);
    low_halves(a: Z, b: Z) -> Z = _mm512_unpacklo_epi64(a, b);
    high_halves(a: Z, b: Z) -> Z = _mm512_unpackhi_epi64(a, b);

    /// A word in all places.
    word(value: u32) -> Z = _mm512_set1_epi32(value as i32);
    add(a: Z, b: Z) -> Z = _mm512_add_epi32(a, b);
    sub(a: Z, b: Z) -> Z = _mm512_sub_epi32(a, b);
    larger(a: Z, b: Z) -> Z = _mm512_max_epu32(a, b);
    shl_each(a: Z, by: Z) -> Z = _mm512_sllv_epi32(a, by);
    shr_each(a: Z, by: Z) -> Z = _mm512_srlv_epi32(a, by);
    /// Bits of a word below 2^16, its highest one included.
    bit_length(a: Z) -> Z = _mm512_sub_epi32(word(32), _mm512_lzcnt_epi32(a));
    eq(a: Z, b: Z) -> M = _mm512_cmpeq_epi32_mask(a, b);
    le(a: Z, b: Z) -> M = _mm512_cmple_epu32_mask(a, b);
    both(a: M, b: M) -> M = a & b;
    /// Those of the second that are none of the first.
    both_but(not: M, a: M) -> M = a & !not;
    bits(a: M) -> u32 = u32::from(a);
    /// `a` where it is set, else `b`.
    pick(m: M, a: Z, b: Z) -> Z = _mm512_mask_blend_epi32(m, b, a);
    /// `a` where it is set, else 0.
    only(m: M, a: Z) -> Z = _mm512_maskz_mov_epi32(m, a);

    /// A half word in all places.
    half(value: u16) -> Z = _mm512_set1_epi16(value as i16);
    add16(a: Z, b: Z) -> Z = _mm512_add_epi16(a, b);
    product16(a: Z, b: Z) -> Z = _mm512_mullo_epi16(a, b);
    left_8(a: Z) -> Z = _mm512_slli_epi16::<8>(a);
    right_8(a: Z) -> Z = _mm512_srli_epi16::<8>(a);
    pick16(m: __mmask32, a: Z, b: Z) -> Z = _mm512_mask_mov_epi16(b, m, a);

    /// A long in all places.
    long(value: u64) -> Z = _mm512_set1_epi64(value as i64);
    /// The 47 bits of a packed time, topmost: differences then are right modulo 2^47, and signed.
    time_of(packed: Z) -> Z = _mm512_and_si512(_mm512_slli_epi64::<1>(packed), long(!0 << (64 - TIME_BITS)));
}

/// Where two half words are equal, if anywhere.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn equal16(a: Z, b: Z) -> Option<__mmask32> {
    let equal = _mm512_cmpeq_epi16_mask(a, b);
    (equal != 0).then_some(equal)
}

/// Of the longs that stand where the words in half `I` of `m` do: `a` where it is set, else `b`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn pick_longs<const I: usize>(m: M, a: Z, b: Z) -> Z {
    _mm512_mask_blend_epi64((m >> (8 * I)) as __mmask8, b, a)
}

/// The time from a packed one to another one (topmost 47 bits), in attoseconds as a floating-point number; 0 or a negative one if
/// there is none, or if it is negative. 46 bits times 30 bits are rounded to zero: the highest 53 are exact.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn elapsed(from: Z, to: Z) -> Z {
    /// 10^9 attoseconds are a nanosecond, which here is 2^17.
    const ATTOS: f64 = 1e9 / (1u64 << (64 - TIME_BITS)) as f64;
    let since = _mm512_maskz_cvtepi64_pd(_mm512_movepi64_mask(from), _mm512_sub_epi64(to, time_of(from)));
    let attos = _mm512_mul_round_pd::<{ _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC }>(since, _mm512_set1_pd(ATTOS));
    _mm512_castpd_si512(attos)
}

/// A block in all lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn spread(block: &Block) -> Z {
    // SAFETY: 16 octets are there; the load needs no alignment.
    _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(block.as_ptr().cast()) })
}

/// A register of the block that is given for each lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn lanes(block: impl Fn(usize) -> __m128i) -> Z {
    let two = _mm512_inserti32x4::<1>(_mm512_castsi128_si512(block(0)), block(1));
    _mm512_inserti32x4::<3>(_mm512_inserti32x4::<2>(two, block(2)), block(3))
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

/// The long that is given for each packet, in order.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn longs(long: impl Fn(usize) -> u64) -> [Z; 2] {
    let of = |i: usize| long(i) as i64;
    [
        _mm512_set_epi64(of(7), of(6), of(5), of(4), of(3), of(2), of(1), of(0)),
        _mm512_set_epi64(of(15), of(14), of(13), of(12), of(11), of(10), of(9), of(8)),
    ]
}

/// Which of a bucket's eight words have this high half: bit 2 w + 1 is that of word w. Each of them is as it was at some time: only
/// a hint to what is then loaded by itself.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn ways_of(bucket: &Bucket, high: u32) -> u32 {
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
    bits(eq(line, word(high))) & 0xAAAA
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn load(blocks: &[Block; LANES]) -> Z {
    // SAFETY: 64 octets are there; the load needs no alignment.
    unsafe { _mm512_loadu_si512(blocks.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn store(blocks: &mut [Block; LANES], a: Z) {
    // SAFETY: there is room for 64 octets; the store needs no alignment.
    unsafe { _mm512_storeu_si512(blocks.as_mut_ptr().cast(), a) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn load_words(words: &[u32; 4 * LANES]) -> Z {
    // SAFETY: 64 octets are there; the load needs no alignment.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn store_words(words: &mut [u32; 4 * LANES], a: Z) {
    // SAFETY: there is room for 64 octets; the store needs no alignment.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), a) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn store_longs(longs: &mut [u64; 4 * LANES], a: [Z; 2]) {
    for (longs, a) in longs.as_chunks_mut::<8>().0.iter_mut().zip(a) {
        // SAFETY: there is room for 64 octets; the store needs no alignment.
        unsafe { _mm512_storeu_si512(longs.as_mut_ptr().cast(), a) }
    }
}

/// 64 octets, moved to another place, which may overlap the first.
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
