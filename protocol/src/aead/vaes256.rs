//! VAES and VPCLMULQDQ on 256 bits, for CPUs that have them without AVX-512 (AMD Zen 3, Intel's cores since Alder Lake):
//! two packets in one register, two registers side by side.
#![allow(unsafe_code)]

use core::arch::x86_64::{
    __m256i, _mm_load_si128, _mm_loadu_si128, _mm256_aesenc_epi128, _mm256_aesenclast_epi128, _mm256_and_si256,
    _mm256_broadcastsi128_si256, _mm256_bslli_epi128, _mm256_bsrli_epi128, _mm256_castsi128_si256,
    _mm256_clmulepi64_epi128, _mm256_cmpeq_epi64, _mm256_inserti128_si256, _mm256_loadu_si256, _mm256_movemask_epi8,
    _mm256_or_si256, _mm256_set1_epi32, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_shuffle_epi32,
    _mm256_slli_epi64, _mm256_storeu_si256, _mm256_xor_si256,
};

super::kernel::kernel!("avx2,vaes,vpclmulqdq,aes,pclmulqdq", 4);

/// One packet per 128-bit lane.
type V = [__m256i; GROUP / 2];

macro_rules! lanes {
    ($name:ident$(::<$number:ident>)?($($arg:ident),+) = $each:expr) => {
        #[inline]
        #[target_feature(enable = "avx2,vaes,vpclmulqdq,aes,pclmulqdq")]
        fn $name$(<const $number: i32>)?($($arg: V),+) -> V {
            [$each($($arg[0]),+), $each($($arg[1]),+)]
        }
    };
}

lanes!(xor(a, b) = _mm256_xor_si256);
lanes!(and(a, b) = _mm256_and_si256);
lanes!(or(a, b) = _mm256_or_si256);
lanes!(aes(a, key) = _mm256_aesenc_epi128);
lanes!(aes_last(a, key) = _mm256_aesenclast_epi128);
lanes!(shuffle(a, select) = _mm256_shuffle_epi8);
lanes!(swap_halves(a) = _mm256_shuffle_epi32::<0b01_00_11_10>);
lanes!(shift_up(a) = _mm256_bslli_epi128::<8>);
lanes!(shift_down(a) = _mm256_bsrli_epi128::<8>);
lanes!(up_one_word(a) = _mm256_slli_epi64::<32>);
lanes!(carryless::<HALVES>(a, b) = _mm256_clmulepi64_epi128::<HALVES>);

#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq,aes,pclmulqdq")]
fn xor3(a: V, b: V, c: V) -> V {
    xor(xor(a, b), c)
}

#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq,aes,pclmulqdq")]
fn zero() -> V {
    [_mm256_setzero_si256(); GROUP / 2]
}

#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq,aes,pclmulqdq")]
fn spread_word(octet: u8) -> V {
    [_mm256_set1_epi32(i32::from(octet)); GROUP / 2]
}

#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq,aes,pclmulqdq")]
fn spread(block: &[u8; 16]) -> V {
    // SAFETY: 16 octets are there; the load needs no alignment.
    [_mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(block.as_ptr().cast()) }); GROUP / 2]
}

#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq,aes,pclmulqdq")]
fn load_key<const BLOCK: usize>(keys: &Keys<'_>) -> V {
    let one = |i: usize| {
        // SAFETY: 16 octets are there, and a key state stands on 64.
        unsafe { _mm_load_si128(keys[i].0[BLOCK].as_ptr().cast()) }
    };
    let two = |i: usize| _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(one(i)), one(i + 1));
    [two(0), two(2)]
}

#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq,aes,pclmulqdq")]
fn load(blocks: &Blocks) -> V {
    let (low, high) = blocks.split_at(2);
    // SAFETY: 32 octets are in each half; the loads need no alignment.
    unsafe { [_mm256_loadu_si256(low.as_ptr().cast()), _mm256_loadu_si256(high.as_ptr().cast())] }
}

#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq,aes,pclmulqdq")]
fn store(blocks: &mut Blocks, v: V) {
    let (low, high) = blocks.split_at_mut(2);
    // SAFETY: there is room for 32 octets in each half; the stores need no alignment.
    unsafe {
        _mm256_storeu_si256(low.as_mut_ptr().cast(), v[0]);
        _mm256_storeu_si256(high.as_mut_ptr().cast(), v[1]);
    }
}

/// All ones in the lanes that are equal, and a bit for each of them.
#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq,aes,pclmulqdq")]
fn equal(a: V, b: V) -> (V, u32) {
    let (mut same, mut bits) = (zero(), 0);
    for i in 0..GROUP / 2 {
        let halves = _mm256_cmpeq_epi64(a[i], b[i]);
        same[i] = _mm256_and_si256(halves, _mm256_shuffle_epi32::<0b01_00_11_10>(halves));
        let octets = _mm256_movemask_epi8(same[i]).cast_unsigned();
        bits |= (octets & 1 | octets >> 15 & 2) << (2 * i);
    }
    (same, bits)
}
