//! What the stages are made of, on 256 bits, but for AES and carry-less products: registers of two blocks, eight words, or four
//! longs. Beside each operation stands one of the same name in `avx512::ops`.
//!
//! All of it is safe to call where the CPU features are. `unsafe` are loads and stores by pointers, each from a reference to
//! as many octets.
#![allow(unsafe_code, reason = "loads and stores of whole registers")]

use super::scratch::Block;
use crate::flow::index::Bucket;
use core::arch::asm;
use core::arch::x86_64::{
    __m128i, __m256i, _mm_loadu_si128, _mm256_add_epi16, _mm256_add_epi32, _mm256_and_si256, _mm256_andnot_si256,
    _mm256_blendv_epi8, _mm256_blendv_pd, _mm256_broadcastsi128_si256, _mm256_castpd_si256, _mm256_castps_si256,
    _mm256_castsi128_si256, _mm256_castsi256_pd, _mm256_castsi256_ps, _mm256_castsi256_si128, _mm256_cmpeq_epi16,
    _mm256_cmpeq_epi32, _mm256_cvtepi32_epi64, _mm256_cvtepi32_ps, _mm256_extracti128_si256, _mm256_fmsub_pd,
    _mm256_inserti128_si256, _mm256_loadu_si256, _mm256_max_epi32, _mm256_max_epu32, _mm256_movemask_epi8,
    _mm256_movemask_ps, _mm256_mul_pd, _mm256_mullo_epi16, _mm256_or_si256, _mm256_permute2x128_si256,
    _mm256_permute4x64_epi64, _mm256_set_epi64x, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_epi64x,
    _mm256_set1_pd, _mm256_setzero_pd, _mm256_shuffle_epi8, _mm256_shuffle_epi32, _mm256_shuffle_ps, _mm256_slli_epi16,
    _mm256_slli_epi64, _mm256_sllv_epi32, _mm256_srli_epi16, _mm256_srli_epi32, _mm256_srli_epi64, _mm256_srlv_epi32,
    _mm256_storeu_si256, _mm256_sub_epi32, _mm256_sub_epi64, _mm256_sub_pd, _mm256_unpackhi_epi32,
    _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64, _mm256_xor_si256,
};
use protocol::meter::TIME_BITS;

/// A register: two blocks (one in each lane), eight words, or four longs.
pub(super) type Z = __m256i;

/// Blocks in a register.
pub(super) const LANES: usize = 2;

/// Which words of a register: all bits of each of them.
pub(super) type M = __m256i;

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),+) -> $result:ty = $what:expr;)+) => {$(
        $(#[$doc])*
        #[inline]
        #[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq")]
        pub(super) fn $name($($arg: $type),+) -> $result {
            $what
        }
    )+};
}

operations! {
    xor(a: Z, b: Z) -> Z = _mm256_xor_si256(a, b);
    xor3(a: Z, b: Z, c: Z) -> Z = xor(xor(a, b), c);
    and(a: Z, b: Z) -> Z = _mm256_and_si256(a, b);
    or(a: Z, b: Z) -> Z = _mm256_or_si256(a, b);
    /// `a` in the bits that are set in `which`, `b` in the others.
    select(which: Z, a: Z, b: Z) -> Z = or(and(which, a), _mm256_andnot_si256(which, b));
    /// In every lane its octets as `order` names them; 0 where the highest bit of it is set.
    octets(a: Z, order: &Block) -> Z = _mm256_shuffle_epi8(a, spread(order));
    swap_halves(a: Z) -> Z = _mm256_shuffle_epi32::<0b01_00_11_10>(a);
    word_pairs_low(a: Z, b: Z) -> Z = _mm256_unpacklo_epi32(a, b);
    word_pairs_high(a: Z, b: Z) -> Z = _mm256_unpackhi_epi32(a, b);
    low_halves(a: Z, b: Z) -> Z = _mm256_unpacklo_epi64(a, b);
    high_halves(a: Z, b: Z) -> Z = _mm256_unpackhi_epi64(a, b);

    /// A word in all places.
    word(value: u32) -> Z = _mm256_set1_epi32(value as i32);
    add(a: Z, b: Z) -> Z = _mm256_add_epi32(a, b);
    sub(a: Z, b: Z) -> Z = _mm256_sub_epi32(a, b);
    larger(a: Z, b: Z) -> Z = _mm256_max_epu32(a, b);
    shl_each(a: Z, by: Z) -> Z = _mm256_sllv_epi32(a, by);
    shr_each(a: Z, by: Z) -> Z = _mm256_srlv_epi32(a, by);
    eq(a: Z, b: Z) -> M = _mm256_cmpeq_epi32(a, b);
    le(a: Z, b: Z) -> M = eq(larger(a, b), b);
    both(a: M, b: M) -> M = and(a, b);
    /// Those of the second that are none of the first.
    both_but(not: M, a: M) -> M = _mm256_andnot_si256(not, a);
    bits(a: M) -> u32 = _mm256_movemask_ps(_mm256_castsi256_ps(a)).cast_unsigned();
    /// `a` where it is set, else `b`.
    pick(m: M, a: Z, b: Z) -> Z = _mm256_blendv_epi8(b, a, m);
    /// `a` where it is set, else 0.
    only(m: M, a: Z) -> Z = and(m, a);

    /// A half word in all places.
    half(value: u16) -> Z = _mm256_set1_epi16(value as i16);
    add16(a: Z, b: Z) -> Z = _mm256_add_epi16(a, b);
    product16(a: Z, b: Z) -> Z = _mm256_mullo_epi16(a, b);
    left_8(a: Z) -> Z = _mm256_slli_epi16::<8>(a);
    right_8(a: Z) -> Z = _mm256_srli_epi16::<8>(a);
    pick16(m: Z, a: Z, b: Z) -> Z = _mm256_blendv_epi8(b, a, m);

    /// A long in all places.
    long(value: u64) -> Z = _mm256_set1_epi64x(value as i64);
    /// The 47 bits of a packed time, topmost: differences then are right modulo 2^47, and signed.
    time_of(packed: Z) -> Z = and(_mm256_slli_epi64::<1>(packed), long(!0 << (64 - TIME_BITS)));
}

/// Bits of a word below 2^16, its highest one included: by its exponent as a floating-point number, which is exact.
#[inline]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq")]
pub(super) fn bit_length(a: Z) -> Z {
    /// The exponent of a number below 2 that is not below 1, less one.
    const EXPONENT: u32 = 126;
    let exponent = _mm256_srli_epi32::<23>(_mm256_castps_si256(_mm256_cvtepi32_ps(a)));
    // Of 0 it is 0.
    _mm256_max_epi32(sub(exponent, word(EXPONENT)), word(0))
}

/// Where two half words are equal, if anywhere.
#[inline]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq")]
pub(super) fn equal16(a: Z, b: Z) -> Option<Z> {
    let equal = _mm256_cmpeq_epi16(a, b);
    (_mm256_movemask_epi8(equal) != 0).then_some(equal)
}

/// Of the longs that stand where the words in half `I` of `m` do: `a` where it is set, else `b`.
#[inline]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq")]
pub(super) fn pick_longs<const I: usize>(m: M, a: Z, b: Z) -> Z {
    let half = if I == 0 { _mm256_castsi256_si128(m) } else { _mm256_extracti128_si256::<1>(m) };
    pick(_mm256_cvtepi32_epi64(half), a, b)
}

/// The time from a packed one to another one (topmost 47 bits), in attoseconds as a floating-point number; 0 if there is none, or if
/// it is negative. 46 bits times 30 bits are rounded to zero: the highest 53 are exact.
#[inline]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq")]
pub(super) fn elapsed(from: Z, to: Z) -> Z {
    /// Attoseconds of a nanosecond.
    const ATTOS: f64 = 1e9;
    /// 2^52: added to a smaller whole number, that stands in its lowest bits.
    const WHOLE: f64 = (1u64 << 52) as f64;
    let since = _mm256_sub_epi64(to, time_of(from));
    let ns = or(_mm256_srli_epi64::<{ 64 - TIME_BITS as i32 }>(since), long(WHOLE.to_bits()));
    let ns = _mm256_sub_pd(_mm256_castsi256_pd(ns), _mm256_set1_pd(WHOLE));
    let attos = _mm256_mul_pd(ns, _mm256_set1_pd(ATTOS));
    // What the product is too large by, if it was rounded up: then the number below it is the right one.
    let error = _mm256_castpd_si256(_mm256_fmsub_pd(ns, _mm256_set1_pd(ATTOS), attos));
    let attos = _mm256_sub_epi64(_mm256_castpd_si256(attos), _mm256_srli_epi64::<63>(error));
    let there = _mm256_castsi256_pd(_mm256_andnot_si256(since, from));
    _mm256_castpd_si256(_mm256_blendv_pd(_mm256_setzero_pd(), _mm256_castsi256_pd(attos), there))
}

/// A block in all lanes.
#[inline]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq")]
pub(super) fn spread(block: &Block) -> Z {
    // SAFETY: 16 octets are there; the load needs no alignment.
    _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(block.as_ptr().cast()) })
}

/// A register of the block that is given for each lane.
#[inline]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq")]
pub(super) fn lanes(block: impl Fn(usize) -> __m128i) -> Z {
    _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(block(0)), block(1))
}

/// Longs of packets 0, 1 | 4, 5 and of 2, 3 | 6, 7 in order.
#[inline]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq")]
pub(super) fn in_order(a: Z, b: Z) -> [Z; 2] {
    [_mm256_permute2x128_si256::<0x20>(a, b), _mm256_permute2x128_si256::<0x31>(a, b)]
}

/// The low words of eight longs.
#[inline]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq")]
pub(super) fn low_words([a, b]: [Z; 2]) -> Z {
    let mixed = _mm256_shuffle_ps::<0b10_00_10_00>(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b));
    _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_castps_si256(mixed))
}

/// The high words.
#[inline]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq")]
pub(super) fn high_words([a, b]: [Z; 2]) -> Z {
    let mixed = _mm256_shuffle_ps::<0b11_01_11_01>(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b));
    _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_castps_si256(mixed))
}

/// The long that is given for each packet, in order.
#[inline]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq")]
pub(super) fn longs(long: impl Fn(usize) -> u64) -> [Z; 2] {
    let of = |i: usize| long(i) as i64;
    [_mm256_set_epi64x(of(3), of(2), of(1), of(0)), _mm256_set_epi64x(of(7), of(6), of(5), of(4))]
}

/// Which of a bucket's eight words have this high half: bit 2 w + 1 is that of word w. Each of them is as it was at some time: only
/// a hint to what is then loaded by itself.
#[inline]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq")]
pub(super) fn ways_of(bucket: &Bucket, high: u32) -> u32 {
    let (low_half, high_half): (Z, Z);
    // SAFETY: 64 octets are there, aligned to 64, by the type. Others may store to them at this time: in a language that has no
    // atomic load of half a line this would be a race, so these are instructions that the compiler knows nothing of. Whatever
    // they load, all bits are allowed.
    unsafe {
        asm!(
            "vmovdqa {low}, ymmword ptr [{bucket}]",
            "vmovdqa {high}, ymmword ptr [{bucket} + 32]",
            low = out(ymm_reg) low_half,
            high = lateout(ymm_reg) high_half,
            bucket = in(reg) core::ptr::from_ref(bucket),
            options(nostack, preserves_flags, readonly),
        );
    }
    let high = word(high);
    (bits(eq(low_half, high)) | bits(eq(high_half, high)) << 8) & 0xAAAA
}

#[inline]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq")]
pub(super) fn load(blocks: &[Block; LANES]) -> Z {
    // SAFETY: 32 octets are there; the load needs no alignment.
    unsafe { _mm256_loadu_si256(blocks.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq")]
pub(super) fn store(blocks: &mut [Block; LANES], a: Z) {
    // SAFETY: there is room for 32 octets; the store needs no alignment.
    unsafe { _mm256_storeu_si256(blocks.as_mut_ptr().cast(), a) }
}

#[inline]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq")]
pub(super) fn load_words(words: &[u32; 4 * LANES]) -> Z {
    // SAFETY: 32 octets are there; the load needs no alignment.
    unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq")]
pub(super) fn store_words(words: &mut [u32; 4 * LANES], a: Z) {
    // SAFETY: there is room for 32 octets; the store needs no alignment.
    unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), a) }
}

#[inline]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq")]
pub(super) fn store_longs(longs: &mut [u64; 4 * LANES], a: [Z; 2]) {
    for (longs, a) in longs.as_chunks_mut::<4>().0.iter_mut().zip(a) {
        // SAFETY: there is room for 32 octets; the store needs no alignment.
        unsafe { _mm256_storeu_si256(longs.as_mut_ptr().cast(), a) }
    }
}

/// 64 octets, moved to another place, which may overlap the first.
#[inline]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq")]
pub(super) fn load_line(from: &[u8; 64]) -> [Z; 2] {
    // SAFETY: 64 octets are there; the loads need no alignment.
    unsafe { [_mm256_loadu_si256(from.as_ptr().cast()), _mm256_loadu_si256(from[32..].as_ptr().cast())] }
}

#[inline]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq")]
pub(super) fn store_line(to: &mut [u8; 64], a: [Z; 2]) {
    for (to, a) in to.as_chunks_mut::<32>().0.iter_mut().zip(a) {
        // SAFETY: there is room for 32 octets; the store needs no alignment.
        unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), a) }
    }
}
