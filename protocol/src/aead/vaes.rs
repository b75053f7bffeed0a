//! VAES and VPCLMULQDQ on 512 bits: four packets in one register.
#![allow(unsafe_code)]

use core::arch::x86_64::{
    __m512i, _mm512_aesenc_epi128, _mm512_aesenclast_epi128, _mm512_and_si512, _mm512_bslli_epi128,
    _mm512_bsrli_epi128, _mm512_clmulepi64_epi128, _mm512_loadu_si512, _mm512_or_si512, _mm512_set_epi64,
    _mm512_set1_epi32, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_shuffle_epi32, _mm512_slli_epi64,
    _mm512_srai_epi32, _mm512_srli_epi64, _mm512_storeu_si512, _mm512_xor_si512,
};

super::kernel::kernel!("avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq");

/// One packet per 128-bit lane.
type V = __m512i;

#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn xor(a: V, b: V) -> V {
    _mm512_xor_si512(a, b)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn and(a: V, b: V) -> V {
    _mm512_and_si512(a, b)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn aes(a: V, key: V) -> V {
    _mm512_aesenc_epi128(a, key)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn aes_last(a: V, key: V) -> V {
    _mm512_aesenclast_epi128(a, key)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn shuffle(a: V, select: V) -> V {
    _mm512_shuffle_epi8(a, select)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn swap_halves(a: V) -> V {
    _mm512_shuffle_epi32::<0b01_00_11_10>(a)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn shift_down(a: V) -> V {
    _mm512_bsrli_epi128::<8>(a)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn shift_words<const OCTETS: i32>(a: V) -> V {
    _mm512_bslli_epi128::<OCTETS>(a)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn carryless<const HALVES: i32>(a: V, b: V) -> V {
    _mm512_clmulepi64_epi128::<HALVES>(a, b)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn zero() -> V {
    _mm512_setzero_si512()
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn spread_u32(word: u32) -> V {
    _mm512_set1_epi32(word.cast_signed())
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn polynomial() -> V {
    const HIGH: i64 = 0xC2 << 56;
    _mm512_set_epi64(HIGH, 1, HIGH, 1, HIGH, 1, HIGH, 1)
}

/// Multiplies by x, modulo x^128 + x^127 + x^126 + x^121 + 1.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn times_x(h: V) -> V {
    let carries = _mm512_bslli_epi128::<8>(_mm512_srli_epi64::<63>(h));
    let doubled = _mm512_or_si512(_mm512_slli_epi64::<1>(h), carries);
    let top = _mm512_shuffle_epi32::<0b11_11_11_11>(_mm512_srai_epi32::<31>(h));
    xor(doubled, and(top, polynomial()))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn load(blocks: &Blocks) -> V {
    // SAFETY: 64 octets are there; the load needs no alignment.
    unsafe { _mm512_loadu_si512(blocks.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn store(v: V) -> Blocks {
    let mut blocks = [[0; 16]; GROUP];
    // SAFETY: there is room for 64 octets; the store needs no alignment.
    unsafe { _mm512_storeu_si512(blocks.as_mut_ptr().cast(), v) }
    blocks
}
