//! AES-NI and PCLMULQDQ: four packets side by side in four registers, so that the instructions' latencies overlap.
#![allow(unsafe_code)]

use core::arch::x86_64::{
    __m128i, _mm_aesenc_si128, _mm_aesenclast_si128, _mm_and_si128, _mm_clmulepi64_si128, _mm_loadu_si128,
    _mm_or_si128, _mm_set_epi64x, _mm_set1_epi32, _mm_setzero_si128, _mm_shuffle_epi8, _mm_shuffle_epi32,
    _mm_slli_epi64, _mm_slli_si128, _mm_srai_epi32, _mm_srli_epi64, _mm_srli_si128, _mm_storeu_si128, _mm_xor_si128,
};

super::kernel::kernel!("aes,pclmulqdq,ssse3,sse4.1", 4);

/// One packet per element.
type V = [__m128i; GROUP];

macro_rules! lanes {
    ($(#[$doc:meta])* $name:ident($($arg:ident),+) = $each:expr) => {
        $(#[$doc])*
        #[inline]
        #[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
        fn $name($($arg: V),+) -> V {
            [$each($($arg[0]),+), $each($($arg[1]),+), $each($($arg[2]),+), $each($($arg[3]),+)]
        }
    };
}

lanes!(xor(a, b) = _mm_xor_si128);
lanes!(and(a, b) = _mm_and_si128);
lanes!(aes(a, key) = _mm_aesenc_si128);
lanes!(aes_last(a, key) = _mm_aesenclast_si128);
lanes!(shuffle(a, select) = _mm_shuffle_epi8);
lanes!(swap_halves(a) = _mm_shuffle_epi32::<0b01_00_11_10>);
lanes!(shift_down(a) = _mm_srli_si128::<8>);
lanes!(times_x(h) = times_x_one);

/// Multiplies by x, modulo x^128 + x^127 + x^126 + x^121 + 1.
#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn times_x_one(h: __m128i) -> __m128i {
    let carries = _mm_slli_si128::<8>(_mm_srli_epi64::<63>(h));
    let doubled = _mm_or_si128(_mm_slli_epi64::<1>(h), carries);
    let top = _mm_shuffle_epi32::<0b11_11_11_11>(_mm_srai_epi32::<31>(h));
    _mm_xor_si128(doubled, _mm_and_si128(top, _mm_set_epi64x(0xC2 << 56, 1)))
}

#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn shift_words<const OCTETS: i32>(a: V) -> V {
    [
        _mm_slli_si128::<OCTETS>(a[0]),
        _mm_slli_si128::<OCTETS>(a[1]),
        _mm_slli_si128::<OCTETS>(a[2]),
        _mm_slli_si128::<OCTETS>(a[3]),
    ]
}

#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn carryless<const HALVES: i32>(a: V, b: V) -> V {
    [
        _mm_clmulepi64_si128::<HALVES>(a[0], b[0]),
        _mm_clmulepi64_si128::<HALVES>(a[1], b[1]),
        _mm_clmulepi64_si128::<HALVES>(a[2], b[2]),
        _mm_clmulepi64_si128::<HALVES>(a[3], b[3]),
    ]
}

#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn zero() -> V {
    [_mm_setzero_si128(); GROUP]
}

#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn spread_u32(word: u32) -> V {
    [_mm_set1_epi32(word.cast_signed()); GROUP]
}

#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn polynomial() -> V {
    [_mm_set_epi64x(0xC2 << 56, 1); GROUP]
}

#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn load(blocks: &Blocks) -> V {
    let one = |i: usize| {
        // SAFETY: 16 octets are there; the load needs no alignment.
        unsafe { _mm_loadu_si128(blocks[i].as_ptr().cast()) }
    };
    [one(0), one(1), one(2), one(3)]
}

#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn store(v: V) -> Blocks {
    let mut blocks = [[0; 16]; GROUP];
    for (block, &lane) in blocks.iter_mut().zip(&v) {
        // SAFETY: there is room for 16 octets; the store needs no alignment.
        unsafe { _mm_storeu_si128(block.as_mut_ptr().cast(), lane) }
    }
    blocks
}
