//! AES-NI and PCLMULQDQ: one packet per register.
#![allow(unsafe_code, reason = "intrinsics of CPU features, which callers have found")]

use core::arch::x86_64::{
    __m128i, _mm_aesenc_si128, _mm_aesenclast_si128, _mm_and_si128, _mm_clmulepi64_si128, _mm_cmpeq_epi64,
    _mm_load_si128, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi32, _mm_setzero_si128,
    _mm_shuffle_epi8, _mm_shuffle_epi32, _mm_slli_epi64, _mm_slli_si128, _mm_srai_epi32, _mm_srli_epi64,
    _mm_storeu_si128, _mm_unpackhi_epi32, _mm_unpackhi_epi64, _mm_unpacklo_epi32, _mm_unpacklo_epi64, _mm_xor_si128,
};

super::kernel::kernel!("aes,pclmulqdq,ssse3,sse4.1", 1);
super::kernel::setup!("aes,pclmulqdq,ssse3,sse4.1");

/// One packet.
type R = __m128i;

macro_rules! operations {
    ($($name:ident$(::<$number:ident>)?($($arg:ident),+) = $each:expr;)+) => {$(
        #[inline]
        #[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
        fn $name$(<const $number: i32>)?($($arg: R),+) -> R {
            $each($($arg),+)
        }
    )+};
}

operations! {
    xor(a, b) = _mm_xor_si128;
    and(a, b) = _mm_and_si128;
    aes(a, key) = _mm_aesenc_si128;
    aes_last(a, key) = _mm_aesenclast_si128;
    shuffle(a, select) = _mm_shuffle_epi8;
    swap_halves(a) = _mm_shuffle_epi32::<0b01_00_11_10>;
    low_words(a, b) = _mm_unpacklo_epi32;
    high_words(a, b) = _mm_unpackhi_epi32;
    low_halves(a, b) = _mm_unpacklo_epi64;
    high_halves(a, b) = _mm_unpackhi_epi64;
    carryless::<HALVES>(a, b) = _mm_clmulepi64_si128::<HALVES>;
}

#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn xor3(a: R, b: R, c: R) -> R {
    xor(xor(a, b), c)
}

#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn doubled(h: R) -> R {
    _mm_or_si128(_mm_slli_epi64::<1>(h), _mm_slli_si128::<8>(_mm_srli_epi64::<63>(h)))
}

/// All ones where the highest bit is set.
#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn sign_of_top(h: R) -> R {
    _mm_shuffle_epi32::<0b11_11_11_11>(_mm_srai_epi32::<31>(h))
}

#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn zero() -> R {
    _mm_setzero_si128()
}

#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn spread_word(octet: u8) -> R {
    _mm_set1_epi32(i32::from(octet))
}

#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn spread(block: &[u8; 16]) -> R {
    load(core::array::from_ref(block))
}

#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn load_key<const I: usize, const BLOCK: usize>(keys: &Keys<'_>) -> R {
    // SAFETY: 16 octets are there, and a key state stands on 64.
    unsafe { _mm_load_si128(keys[I].0[BLOCK].as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn load(blocks: &Blocks) -> R {
    // SAFETY: 16 octets are there; the load needs no alignment.
    unsafe { _mm_loadu_si128(blocks.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn store(blocks: &mut Blocks, r: R) {
    // SAFETY: there is room for 16 octets; the store needs no alignment.
    unsafe { _mm_storeu_si128(blocks.as_mut_ptr().cast(), r) }
}

/// All ones in the lanes that are equal, and a bit for each of them.
#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn equal(a: R, b: R) -> (R, u32) {
    let halves = _mm_cmpeq_epi64(a, b);
    let same = and(halves, swap_halves(halves));
    (same, _mm_movemask_epi8(same).cast_unsigned() & 1)
}
