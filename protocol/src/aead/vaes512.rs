//! VAES and VPCLMULQDQ on 512 bits: four packets per register.
#![allow(unsafe_code, reason = "intrinsics of CPU features, which callers have found")]

use core::arch::x86_64::{
    __m512i, _mm_load_si128, _mm_loadu_si128, _mm512_aesenc_epi128, _mm512_aesenclast_epi128, _mm512_and_si512,
    _mm512_broadcast_i32x4, _mm512_castsi128_si512, _mm512_clmulepi64_epi128, _mm512_inserti32x4, _mm512_loadu_si512,
    _mm512_maskz_set1_epi64, _mm512_or_si512, _mm512_set1_epi32, _mm512_setzero_si512, _mm512_shuffle_epi8,
    _mm512_shuffle_epi32, _mm512_storeu_si512, _mm512_ternarylogic_epi64, _mm512_testn_epi64_mask,
    _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64, _mm512_xor_si512,
};

super::kernel::kernel!("avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq", 4);

/// One packet per 128-bit lane.
type R = __m512i;

macro_rules! operations {
    ($($name:ident$(::<$number:ident>)?($($arg:ident),+) = $each:expr;)+) => {$(
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
        fn $name$(<const $number: i32>)?($($arg: R),+) -> R {
            $each($($arg),+)
        }
    )+};
}

operations! {
    xor(a, b) = _mm512_xor_si512;
    and(a, b) = _mm512_and_si512;
    aes(a, key) = _mm512_aesenc_epi128;
    aes_last(a, key) = _mm512_aesenclast_epi128;
    shuffle(a, select) = _mm512_shuffle_epi8;
    swap_halves(a) = _mm512_shuffle_epi32::<0b01_00_11_10>;
    low_words(a, b) = _mm512_unpacklo_epi32;
    high_words(a, b) = _mm512_unpackhi_epi32;
    low_halves(a, b) = _mm512_unpacklo_epi64;
    high_halves(a, b) = _mm512_unpackhi_epi64;
    carryless::<HALVES>(a, b) = _mm512_clmulepi64_epi128::<HALVES>;
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn xor3(a: R, b: R, c: R) -> R {
    _mm512_ternarylogic_epi64::<0x96>(a, b, c)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn zero() -> R {
    _mm512_setzero_si512()
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn spread_word(octet: u8) -> R {
    _mm512_set1_epi32(i32::from(octet))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn spread(block: &[u8; 16]) -> R {
    // SAFETY: 16 octets are there; the load needs no alignment.
    _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(block.as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn load_key<const I: usize, const BLOCK: usize>(keys: &Keys<'_>) -> R {
    let one = |i: usize| {
        // SAFETY: 16 octets are there, and a key state stands on 64.
        unsafe { _mm_load_si128(keys[4 * I + i].0[BLOCK].as_ptr().cast()) }
    };
    let two = _mm512_inserti32x4::<1>(_mm512_castsi128_si512(one(0)), one(1));
    _mm512_inserti32x4::<3>(_mm512_inserti32x4::<2>(two, one(2)), one(3))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn load(blocks: &Blocks) -> R {
    // SAFETY: 64 octets are there; the load needs no alignment.
    unsafe { _mm512_loadu_si512(blocks.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn store(blocks: &mut Blocks, r: R) {
    // SAFETY: there is room for 64 octets; the store needs no alignment.
    unsafe { _mm512_storeu_si512(blocks.as_mut_ptr().cast(), r) }
}

/// All ones in the lanes that are equal, and a bit for each of them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes,pclmulqdq")]
fn equal(a: R, b: R) -> (R, u32) {
    let differ = xor(a, b);
    // Both halves of a lane alike, so that the mask need not go through other registers to select with.
    let differ = _mm512_or_si512(differ, swap_halves(differ));
    let halves = _mm512_testn_epi64_mask(differ, differ);
    let lanes = halves & 0b0101_0101;
    let pairs = (lanes | lanes >> 1) & 0b0011_0011;
    (_mm512_maskz_set1_epi64(halves, -1), u32::from((pairs | pairs >> 2) & 0b1111))
}
