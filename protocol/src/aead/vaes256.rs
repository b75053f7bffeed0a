//! VAES and VPCLMULQDQ on 256 bits, for CPUs that have them without AVX-512 (AMD Zen 3, Intel's cores since Alder Lake):
//! two packets per register.
#![allow(unsafe_code, reason = "intrinsics of CPU features, which callers have found")]

use core::arch::x86_64::{
    __m256i, _mm_load_si128, _mm_loadu_si128, _mm256_aesenc_epi128, _mm256_aesenclast_epi128, _mm256_and_si256,
    _mm256_broadcastsi128_si256, _mm256_castsi128_si256, _mm256_clmulepi64_epi128, _mm256_cmpeq_epi64,
    _mm256_inserti128_si256, _mm256_loadu_si256, _mm256_movemask_epi8, _mm256_set1_epi32, _mm256_setzero_si256,
    _mm256_shuffle_epi8, _mm256_shuffle_epi32, _mm256_storeu_si256, _mm256_unpackhi_epi32, _mm256_unpackhi_epi64,
    _mm256_unpacklo_epi32, _mm256_unpacklo_epi64, _mm256_xor_si256,
};

super::kernel::kernel!("avx2,vaes,vpclmulqdq,aes,pclmulqdq", 2);

/// One packet per 128-bit lane.
type R = __m256i;

macro_rules! operations {
    ($($name:ident$(::<$number:ident>)?($($arg:ident),+) = $each:expr;)+) => {$(
        #[inline]
        #[target_feature(enable = "avx2,vaes,vpclmulqdq,aes,pclmulqdq")]
        fn $name$(<const $number: i32>)?($($arg: R),+) -> R {
            $each($($arg),+)
        }
    )+};
}

operations! {
    xor(a, b) = _mm256_xor_si256;
    and(a, b) = _mm256_and_si256;
    aes(a, key) = _mm256_aesenc_epi128;
    aes_last(a, key) = _mm256_aesenclast_epi128;
    shuffle(a, select) = _mm256_shuffle_epi8;
    swap_halves(a) = _mm256_shuffle_epi32::<0b01_00_11_10>;
    low_words(a, b) = _mm256_unpacklo_epi32;
    high_words(a, b) = _mm256_unpackhi_epi32;
    low_halves(a, b) = _mm256_unpacklo_epi64;
    high_halves(a, b) = _mm256_unpackhi_epi64;
    carryless::<HALVES>(a, b) = _mm256_clmulepi64_epi128::<HALVES>;
}

#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq,aes,pclmulqdq")]
fn xor3(a: R, b: R, c: R) -> R {
    xor(xor(a, b), c)
}

#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq,aes,pclmulqdq")]
fn zero() -> R {
    _mm256_setzero_si256()
}

#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq,aes,pclmulqdq")]
fn spread_word(octet: u8) -> R {
    _mm256_set1_epi32(i32::from(octet))
}

#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq,aes,pclmulqdq")]
fn spread(block: &[u8; 16]) -> R {
    // SAFETY: 16 octets are there; the load needs no alignment.
    _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(block.as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq,aes,pclmulqdq")]
fn load_key<const I: usize, const BLOCK: usize>(keys: &Keys<'_>) -> R {
    // SAFETY: 16 octets are there, and a key state stands on 64; in both.
    let (low, high) = unsafe {
        (_mm_load_si128(keys[2 * I].0[BLOCK].as_ptr().cast()), _mm_load_si128(keys[2 * I + 1].0[BLOCK].as_ptr().cast()))
    };
    _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), high)
}

#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq,aes,pclmulqdq")]
fn load(blocks: &Blocks) -> R {
    // SAFETY: 32 octets are there; the load needs no alignment.
    unsafe { _mm256_loadu_si256(blocks.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq,aes,pclmulqdq")]
fn store(blocks: &mut Blocks, r: R) {
    // SAFETY: there is room for 32 octets; the store needs no alignment.
    unsafe { _mm256_storeu_si256(blocks.as_mut_ptr().cast(), r) }
}

/// All ones in the lanes that are equal, and a bit for each of them.
#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq,aes,pclmulqdq")]
fn equal(a: R, b: R) -> (R, u32) {
    let halves = _mm256_cmpeq_epi64(a, b);
    let same = and(halves, swap_halves(halves));
    let octets = _mm256_movemask_epi8(same).cast_unsigned();
    (same, octets & 1 | octets >> 15 & 2)
}
