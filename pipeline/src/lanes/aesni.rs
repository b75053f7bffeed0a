//! The [stages](super::wide) on AVX2, with AES-NI and PCLMULQDQ, which work on one block: two blocks or eight words in a register,
//! eight packets side by side; of the AEAD, one block and four packets.

use super::ops256::*;
use super::wide::{derived, inbound, outbound};
use core::arch::x86_64::{_mm_aesenc_si128, _mm256_castsi256_si128, _mm256_extracti128_si256};
pub(super) use seal::seal;

derived!("avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq");
outbound!("avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq");

pub(super) mod inbound {
    use super::*;

    inbound!("avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq");
}

/// One round of AES in every lane.
#[inline]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq")]
fn aes(a: Z, key: Z) -> Z {
    let low = _mm_aesenc_si128(_mm256_castsi256_si128(a), _mm256_castsi256_si128(key));
    let high = _mm_aesenc_si128(_mm256_extracti128_si256::<1>(a), _mm256_extracti128_si256::<1>(key));
    lanes(|lane| if lane == 0 { low } else { high })
}

/// The AEAD.
mod seal {
    #![allow(unsafe_code, reason = "loads and stores of whole registers")]

    use crate::lanes::wide::{aead, derived};
    use core::arch::x86_64::{
        __m128i, _mm_aesenc_si128, _mm_aesenclast_si128, _mm_and_si128, _mm_clmulepi64_si128, _mm_loadu_si128,
        _mm_set1_epi32, _mm_shuffle_epi8, _mm_shuffle_epi32, _mm_storeu_si128, _mm_unpackhi_epi32, _mm_unpackhi_epi64,
        _mm_unpacklo_epi32, _mm_unpacklo_epi64, _mm_xor_si128,
    };

    derived!("avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq");
    aead!("avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq");

    type Z = __m128i;
    const LANES: usize = 1;

    macro_rules! operations {
        ($($name:ident$(::<$number:ident>)?($($arg:ident: $type:ty),+) = $what:expr;)+) => {$(
            #[inline]
            #[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq")]
            fn $name$(<const $number: i32>)?($($arg: $type),+) -> Z {
                $what
            }
        )+};
    }

    operations! {
        xor(a: Z, b: Z) = _mm_xor_si128(a, b);
        xor3(a: Z, b: Z, c: Z) = xor(xor(a, b), c);
        and(a: Z, b: Z) = _mm_and_si128(a, b);
        octets(a: Z, order: &Block) = _mm_shuffle_epi8(a, spread(order));
        aes(a: Z, key: Z) = _mm_aesenc_si128(a, key);
        aes_last(a: Z, key: Z) = _mm_aesenclast_si128(a, key);
        carryless::<HALVES>(a: Z, b: Z) = _mm_clmulepi64_si128::<HALVES>(a, b);
        swap_halves(a: Z) = _mm_shuffle_epi32::<0b01_00_11_10>(a);
        word_pairs_low(a: Z, b: Z) = _mm_unpacklo_epi32(a, b);
        word_pairs_high(a: Z, b: Z) = _mm_unpackhi_epi32(a, b);
        low_halves(a: Z, b: Z) = _mm_unpacklo_epi64(a, b);
        high_halves(a: Z, b: Z) = _mm_unpackhi_epi64(a, b);
        word(value: u32) = _mm_set1_epi32(value as i32);
        lanes(block: impl Fn(usize) -> __m128i) = block(0);
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq")]
    fn spread(block: &Block) -> Z {
        // SAFETY: 16 octets are there; the load needs no alignment.
        unsafe { _mm_loadu_si128(block.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq")]
    fn load(blocks: &[Block; LANES]) -> Z {
        spread(&blocks[0])
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq")]
    fn store(blocks: &mut [Block; LANES], a: Z) {
        // SAFETY: there is room for 16 octets; the store needs no alignment.
        unsafe { _mm_storeu_si128(blocks.as_mut_ptr().cast(), a) }
    }
}
