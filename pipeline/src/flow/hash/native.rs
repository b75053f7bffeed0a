//! The rounds by AES-NI, for one tuple.
#![allow(unsafe_code, reason = "a call of a function for a CPU feature, which is known to be there")]

use super::{HashKey, Rounds};
use core::arch::x86_64::{
    __m128i, _mm_aesenc_si128, _mm_cvtsi128_si64, _mm_set_epi64x, _mm_setzero_si128, _mm_unpackhi_epi64, _mm_xor_si128,
};

/// Whether the CPU has them.
pub(super) fn is_there() -> bool {
    is_x86_feature_detected!("aes")
}

/// The fingerprint's bits; a key that was made where they are not there never comes here.
#[inline]
pub(super) fn sum(key: &HashKey, blocks: [[u8; 16]; 3]) -> u128 {
    debug_assert!(key.native);
    // SAFETY: `HashKey::native`, which only `HashKey::new` sets, says that the CPU has the feature.
    unsafe { sum_of(key, blocks) }
}

#[target_feature(enable = "aes")]
fn sum_of(key: &HashKey, [source, destination, ports]: [[u8; 16]; 3]) -> u128 {
    let sum = _mm_aesenc_si128(through(&key.ports, ports), _mm_setzero_si128());
    // The last rounds add each to the next.
    let sum = _mm_aesenc_si128(through(&key.destination, destination), sum);
    let sum = _mm_aesenc_si128(through(&key.source, source), sum);
    let (low, high) = (_mm_cvtsi128_si64(sum) as u64, _mm_cvtsi128_si64(_mm_unpackhi_epi64(sum, sum)) as u64);
    u128::from(low) | u128::from(high) << 64
}

/// A block through three rounds.
#[inline]
#[target_feature(enable = "aes")]
fn through([first, keys @ ..]: &Rounds, block: [u8; 16]) -> __m128i {
    keys.iter().fold(_mm_xor_si128(load(&block), load(first)), |state, key| _mm_aesenc_si128(state, load(key)))
}

#[inline]
#[target_feature(enable = "aes")]
fn load(block: &[u8; 16]) -> __m128i {
    let bits = u128::from_le_bytes(*block);
    _mm_set_epi64x((bits >> 64) as i64, bits as i64)
}
