//! The [stages](super::wide) on AVX2, with VAES and VPCLMULQDQ: two blocks or eight words in a register, eight packets side by side.

use super::ops256::*;
use super::wide::{aead, derived, inbound, outbound};
use core::arch::x86_64::{_mm256_aesenc_epi128, _mm256_aesenclast_epi128, _mm256_clmulepi64_epi128};

derived!("avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq,vaes,vpclmulqdq");
aead!("avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq,vaes,vpclmulqdq");
outbound!("avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq,vaes,vpclmulqdq");

pub(super) mod inbound {
    use super::*;

    inbound!("avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq,vaes,vpclmulqdq");
}

/// One round of AES in every lane.
#[inline]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq,vaes,vpclmulqdq")]
fn aes(a: Z, key: Z) -> Z {
    _mm256_aesenc_epi128(a, key)
}

#[inline]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq,vaes,vpclmulqdq")]
fn aes_last(a: Z, key: Z) -> Z {
    _mm256_aesenclast_epi128(a, key)
}

#[inline]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,aes,pclmulqdq,vaes,vpclmulqdq")]
fn carryless<const HALVES: i32>(a: Z, b: Z) -> Z {
    _mm256_clmulepi64_epi128::<HALVES>(a, b)
}
