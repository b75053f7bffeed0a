//! Where a flow stands in the index: a hash of its 5-tuple under secrets of this boot, so that nobody outside can choose
//! buckets, and cheap, since every packet is hashed.
//!
//! NH of UMAC (RFC 4418 section 5.2), here over words of 64 bits: sums of products of (word + secret), modulo 2^128. Two
//! different tuples have one sum under at most one in 2^64 of all secrets, whichever they are. The sum is folded to 64
//! bits with two more secrets, and mixed, so that every bit of the result depends on all of it.

use core::fmt;

/// The secrets; see the module.
#[derive(Clone, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
pub struct FlowHasher([u64; 8]);

impl fmt::Debug for FlowHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FlowHasher(redacted)")
    }
}

/// A 5-tuple's hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FlowHash(pub u64);

impl FlowHasher {
    /// From random words.
    #[must_use]
    pub const fn new(secrets: [u64; 8]) -> Self {
        Self(secrets)
    }

    /// The hash of a 5-tuple's words.
    #[inline]
    #[must_use]
    pub const fn hash(&self, [a, b, c, d, e]: &[u64; 5]) -> FlowHash {
        let s = &self.0;
        let sum = product(a.wrapping_add(s[0]), b.wrapping_add(s[1]))
            .wrapping_add(product(c.wrapping_add(s[2]), d.wrapping_add(s[3])))
            .wrapping_add(product(e.wrapping_add(s[4]), s[5]));
        FlowHash(fold(product((sum as u64) ^ s[6], ((sum >> 64) as u64) ^ s[7])))
    }
}

#[inline]
const fn product(a: u64, b: u64) -> u128 {
    a as u128 * b as u128
}

#[inline]
const fn fold(wide: u128) -> u64 {
    (wide as u64) ^ (wide >> 64) as u64
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRETS: [u64; 8] = [
        0x243F_6A88_85A3_08D3,
        0x1319_8A2E_0370_7344,
        0xA409_3822_299F_31D0,
        0x082E_FA98_EC4E_6C89,
        0x4528_21E6_38D0_1377,
        0xBE54_66CF_34E9_0C6C,
        0xC0AC_29B7_C97C_50DD,
        0x3F84_D5B5_B547_0917,
    ];

    /// Tuples as a scan makes them: one address or port after the other. Neither low nor high bits may follow it.
    #[test]
    fn tuples_in_a_row_spread_over_the_buckets() {
        let hasher = FlowHasher::new(SECRETS);
        for word in 0..5 {
            let (mut low, mut high) = (vec![0u32; 1024], vec![0u32; 1024]);
            for i in 0..1 << 16 {
                let mut words = [0x2001_0DB8_0000_0000, 1, 0x2001_0DB8_0001_0000, 2, 0x11];
                words[word] = u64::wrapping_add(words[word], i);
                let hash = hasher.hash(&words).0;
                low[hash as usize % 1024] += 1;
                high[(hash >> 54) as usize] += 1;
            }
            for counts in [&low, &high] {
                // 64 are expected in each, with a deviation of 8.
                assert!(counts.iter().all(|&n| (20..120).contains(&n)), "word {word}: {counts:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn follows_every_bit_and_every_secret(words: [u64; 5], secrets: [u64; 8], bit in 0usize..320, secret in 0usize..8) {
            let hasher = FlowHasher::new(secrets);
            let mut other = words;
            other[bit / 64] ^= 1 << (bit % 64);
            prop_assert_ne!(hasher.hash(&words), hasher.hash(&other));
            let mut others = secrets;
            others[secret] = others[secret].wrapping_add(0x9E37_79B9_7F4A_7C15);
            prop_assert_ne!(hasher.hash(&words), FlowHasher::new(others).hash(&words));
        }
    }
}
