//! AES-NI and PCLMULQDQ: four packets side by side in four registers, so that the instructions' latencies overlap.
#![allow(unsafe_code)]

use core::arch::x86_64::{
    __m128i, _mm_aesenc_si128, _mm_aesenclast_si128, _mm_and_si128, _mm_clmulepi64_si128, _mm_cmpeq_epi8,
    _mm_load_si128, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8, _mm_set1_epi32, _mm_setzero_si128,
    _mm_shuffle_epi8, _mm_shuffle_epi32, _mm_slli_epi64, _mm_slli_si128, _mm_srai_epi32, _mm_srli_epi64,
    _mm_srli_si128, _mm_storeu_si128, _mm_xor_si128,
};

super::kernel::kernel!("aes,pclmulqdq,ssse3,sse4.1", 4);
super::kernel::setup!("aes,pclmulqdq,ssse3,sse4.1");

/// One packet per element.
type V = [__m128i; GROUP];

macro_rules! lanes {
    ($name:ident$(::<$number:ident>)?($($arg:ident),+) = $each:expr) => {
        #[inline]
        #[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
        fn $name$(<const $number: i32>)?($($arg: V),+) -> V {
            [$each($($arg[0]),+), $each($($arg[1]),+), $each($($arg[2]),+), $each($($arg[3]),+)]
        }
    };
}

lanes!(xor(a, b) = _mm_xor_si128);
lanes!(and(a, b) = _mm_and_si128);
lanes!(or(a, b) = _mm_or_si128);
lanes!(aes(a, key) = _mm_aesenc_si128);
lanes!(aes_last(a, key) = _mm_aesenclast_si128);
lanes!(shuffle(a, select) = _mm_shuffle_epi8);
lanes!(swap_halves(a) = _mm_shuffle_epi32::<0b01_00_11_10>);
lanes!(shift_up(a) = _mm_slli_si128::<8>);
lanes!(shift_down(a) = _mm_srli_si128::<8>);
lanes!(up_one_word(a) = _mm_slli_epi64::<32>);
lanes!(carryless::<HALVES>(a, b) = _mm_clmulepi64_si128::<HALVES>);
lanes!(doubled(h) = doubled_one);
lanes!(sign_of_top(h) = sign_of_top_one);

#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn xor3(a: V, b: V, c: V) -> V {
    xor(xor(a, b), c)
}

#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn doubled_one(h: __m128i) -> __m128i {
    _mm_or_si128(_mm_slli_epi64::<1>(h), _mm_slli_si128::<8>(_mm_srli_epi64::<63>(h)))
}

/// All ones where the highest bit is set.
#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn sign_of_top_one(h: __m128i) -> __m128i {
    _mm_shuffle_epi32::<0b11_11_11_11>(_mm_srai_epi32::<31>(h))
}

#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn zero() -> V {
    [_mm_setzero_si128(); GROUP]
}

#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn spread_word(octet: u8) -> V {
    [_mm_set1_epi32(i32::from(octet)); GROUP]
}

#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn spread(block: &[u8; 16]) -> V {
    // SAFETY: 16 octets are there; the load needs no alignment.
    [unsafe { _mm_loadu_si128(block.as_ptr().cast()) }; GROUP]
}

#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn load_key<const BLOCK: usize>(keys: &Keys<'_>) -> V {
    keys.map(|key| {
        // SAFETY: 16 octets are there, and a key state stands on 64.
        unsafe { _mm_load_si128(key.0[BLOCK].as_ptr().cast()) }
    })
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
fn store(blocks: &mut Blocks, v: V) {
    for (block, lane) in blocks.iter_mut().zip(v) {
        // SAFETY: there is room for 16 octets; the store needs no alignment.
        unsafe { _mm_storeu_si128(block.as_mut_ptr().cast(), lane) }
    }
}

/// All ones in the lanes that are equal, and a bit for each of them.
#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn equal(a: V, b: V) -> (V, u32) {
    let (mut same, mut bits) = (zero(), 0);
    for i in 0..GROUP {
        let octets = _mm_movemask_epi8(_mm_cmpeq_epi8(a[i], b[i])).cast_unsigned();
        // 1 when all 16 are: the carry, without a comparison.
        let good = (octets + 1) >> 16;
        same[i] = _mm_set1_epi8((good as u8).wrapping_neg().cast_signed());
        bits |= good << i;
    }
    (same, bits)
}
