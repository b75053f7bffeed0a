//! VAES and VPCLMULQDQ on 512 bits: four packets in one register, two registers side by side.
#![allow(unsafe_code)]

use core::arch::x86_64::{
    __m512i, _mm_load_si128, _mm_loadu_si128, _mm512_aesenc_epi128, _mm512_aesenclast_epi128, _mm512_and_si512,
    _mm512_broadcast_i32x4, _mm512_bslli_epi128, _mm512_bsrli_epi128, _mm512_castsi128_si512, _mm512_clmulepi64_epi128,
    _mm512_cmpeq_epi64_mask, _mm512_inserti32x4, _mm512_loadu_si512, _mm512_maskz_set1_epi64, _mm512_or_si512,
    _mm512_set1_epi32, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_shuffle_epi32, _mm512_slli_epi64,
    _mm512_storeu_si512, _mm512_ternarylogic_epi64, _mm512_xor_si512,
};

super::kernel::kernel!("avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq", 8);

/// One packet per 128-bit lane.
type V = [__m512i; GROUP / 4];

macro_rules! lanes {
    ($name:ident$(::<$number:ident>)?($($arg:ident),+) = $each:expr) => {
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
        fn $name$(<const $number: i32>)?($($arg: V),+) -> V {
            [$each($($arg[0]),+), $each($($arg[1]),+)]
        }
    };
}

lanes!(xor(a, b) = _mm512_xor_si512);
lanes!(xor3(a, b, c) = _mm512_ternarylogic_epi64::<0x96>);
lanes!(and(a, b) = _mm512_and_si512);
lanes!(or(a, b) = _mm512_or_si512);
lanes!(aes(a, key) = _mm512_aesenc_epi128);
lanes!(aes_last(a, key) = _mm512_aesenclast_epi128);
lanes!(shuffle(a, select) = _mm512_shuffle_epi8);
lanes!(swap_halves(a) = _mm512_shuffle_epi32::<0b01_00_11_10>);
lanes!(shift_up(a) = _mm512_bslli_epi128::<8>);
lanes!(shift_down(a) = _mm512_bsrli_epi128::<8>);
lanes!(up_one_word(a) = _mm512_slli_epi64::<32>);
lanes!(carryless::<HALVES>(a, b) = _mm512_clmulepi64_epi128::<HALVES>);

#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn zero() -> V {
    [_mm512_setzero_si512(); GROUP / 4]
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn spread_word(octet: u8) -> V {
    [_mm512_set1_epi32(i32::from(octet)); GROUP / 4]
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn spread(block: &[u8; 16]) -> V {
    // SAFETY: 16 octets are there; the load needs no alignment.
    [_mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(block.as_ptr().cast()) }); GROUP / 4]
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn load_key<const BLOCK: usize>(keys: &Keys<'_>) -> V {
    let one = |i: usize| {
        // SAFETY: 16 octets are there, and a key state stands on 64.
        unsafe { _mm_load_si128(keys[i].0[BLOCK].as_ptr().cast()) }
    };
    let four = |i: usize| {
        let v = _mm512_inserti32x4::<1>(_mm512_castsi128_si512(one(i)), one(i + 1));
        _mm512_inserti32x4::<3>(_mm512_inserti32x4::<2>(v, one(i + 2)), one(i + 3))
    };
    [four(0), four(4)]
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
fn store(blocks: &mut Blocks, v: V) {
    let (low, high) = blocks.split_at_mut(4);
    // SAFETY: there is room for 64 octets in each half; the stores need no alignment.
    unsafe {
        _mm512_storeu_si512(low.as_mut_ptr().cast(), v[0]);
        _mm512_storeu_si512(high.as_mut_ptr().cast(), v[1]);
    }
}

/// All ones in the lanes that are equal, and a bit for each of them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn equal(a: V, b: V) -> (V, u32) {
    let (mut same, mut bits) = (zero(), 0);
    for i in 0..GROUP / 4 {
        let halves = _mm512_cmpeq_epi64_mask(a[i], b[i]);
        // Both halves of a lane: in both of its bits.
        let lanes = halves & (halves >> 1) & 0b0101_0101;
        same[i] = _mm512_maskz_set1_epi64(lanes | lanes << 1, -1);
        let pairs = (lanes | lanes >> 1) & 0b0011_0011;
        bits |= u32::from((pairs | pairs >> 2) & 0b1111) << (4 * i);
    }
    (same, bits)
}
