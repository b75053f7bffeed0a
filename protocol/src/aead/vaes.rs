//! VAES and VPCLMULQDQ on 512 bits: four packets in one register, two registers side by side.
#![allow(unsafe_code)]

use core::arch::x86_64::{
    __m512i, _mm512_aesenc_epi128, _mm512_aesenclast_epi128, _mm512_and_si512, _mm512_bslli_epi128,
    _mm512_bsrli_epi128, _mm512_clmulepi64_epi128, _mm512_loadu_si512, _mm512_or_si512, _mm512_set_epi64,
    _mm512_set1_epi32, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_shuffle_epi32, _mm512_slli_epi64,
    _mm512_srai_epi32, _mm512_srli_epi64, _mm512_storeu_si512, _mm512_xor_si512,
};

super::kernel::kernel!("avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq", 8);

/// One packet per 128-bit lane.
type V = [__m512i; 2];

macro_rules! lanes {
    ($(#[$doc:meta])* $name:ident$(::<$number:ident>)?($($arg:ident),+) = $each:expr) => {
        $(#[$doc])*
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
        fn $name$(<const $number: i32>)?($($arg: V),+) -> V {
            [$each($($arg[0]),+), $each($($arg[1]),+)]
        }
    };
}

lanes!(xor(a, b) = _mm512_xor_si512);
lanes!(and(a, b) = _mm512_and_si512);
lanes!(aes(a, key) = _mm512_aesenc_epi128);
lanes!(aes_last(a, key) = _mm512_aesenclast_epi128);
lanes!(shuffle(a, select) = _mm512_shuffle_epi8);
lanes!(swap_halves(a) = _mm512_shuffle_epi32::<0b01_00_11_10>);
lanes!(shift_down(a) = _mm512_bsrli_epi128::<8>);
lanes!(shift_words::<OCTETS>(a) = _mm512_bslli_epi128::<OCTETS>);
lanes!(carryless::<HALVES>(a, b) = _mm512_clmulepi64_epi128::<HALVES>);
lanes!(times_x(h) = times_x_one);

/// Multiplies by x, modulo x^128 + x^127 + x^126 + x^121 + 1.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn times_x_one(h: __m512i) -> __m512i {
    let carries = _mm512_bslli_epi128::<8>(_mm512_srli_epi64::<63>(h));
    let doubled = _mm512_or_si512(_mm512_slli_epi64::<1>(h), carries);
    let top = _mm512_shuffle_epi32::<0b11_11_11_11>(_mm512_srai_epi32::<31>(h));
    _mm512_xor_si512(doubled, _mm512_and_si512(top, polynomial_one()))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn zero() -> V {
    [_mm512_setzero_si512(); 2]
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn spread_u32(word: u32) -> V {
    [_mm512_set1_epi32(word.cast_signed()); 2]
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn polynomial_one() -> __m512i {
    const HIGH: i64 = 0xC2 << 56;
    _mm512_set_epi64(HIGH, 1, HIGH, 1, HIGH, 1, HIGH, 1)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn polynomial() -> V {
    [polynomial_one(); 2]
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn load(blocks: &Blocks) -> V {
    let (low, high) = blocks.split_at(4);
    // SAFETY: 64 octets are in each half; the loads need no alignment.
    unsafe { [_mm512_loadu_si512(low.as_ptr().cast()), _mm512_loadu_si512(high.as_ptr().cast())] }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn store(v: V) -> Blocks {
    let mut blocks = [[0; 16]; GROUP];
    let (low, high) = blocks.split_at_mut(4);
    // SAFETY: there is room for 64 octets in each half; the stores need no alignment.
    unsafe {
        _mm512_storeu_si512(low.as_mut_ptr().cast(), v[0]);
        _mm512_storeu_si512(high.as_mut_ptr().cast(), v[1]);
    }
    blocks
}
