//! A flow's fingerprint: 128 bits of its outbound 5-tuple under a secret of this boot.
//!
//! Source, destination, and ports with the next header are three blocks of 16 octets. Each goes through four rounds of AES
//! under round keys of its own (no key is used twice), and the three results are added (XOR).
//!
//! That is enough to stand for the tuple. Take two different tuples and a key at random. Some block differs between them,
//! and through four rounds with independent keys a difference becomes any given other one with a probability of at most
//! about 2^-113 (Keliher and Sui, "Exact maximum expected differential and linear probability for two-round AES", which
//! bounds four rounds by 2^-113.09). The fingerprints are equal only if the sum of the other blocks' differences is the very
//! one that this block's became; those are made under other keys, so they do not help. Whoever sends packets without
//! knowing the key does no better, and never sees a fingerprint. A table of 2^23 flows then has two of one fingerprint with
//! a probability of 2^-68. Where a tuple is at hand without being hurried for, it is compared itself: the slow way, which
//! inserts flows, does.
//!
//! The flow index uses the same bits: bucket and tag are of the low half.

use aes::Block;
use aes::hazmat::cipher_round;
use siphasher::sip128::{Hasher128, SipHasher24};
use std::hash::Hasher;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Of each of the three blocks: added before the first round, then to the first three rounds' results. (What is added after
/// the last round of all changes no difference, and is left out.)
type Rounds = [[u8; 16]; 4];

/// A flow's fingerprint; see the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Fingerprint {
    /// Low half.
    pub lo: u64,
    /// High half.
    pub hi: u64,
}

impl Fingerprint {
    /// Both halves.
    #[must_use]
    pub const fn bits(self) -> u128 {
        (self.hi as u128) << 64 | self.lo as u128
    }

    /// Where the flow stands in the index.
    #[inline]
    #[must_use]
    pub const fn hash(self) -> FlowHash {
        FlowHash(self.lo)
    }
}

/// Where a flow stands in the index: the low half of its fingerprint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FlowHash(pub u64);

/// The round keys; overwritten when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
#[repr(C, align(64))]
pub struct HashKey {
    pub(crate) source: Rounds,
    pub(crate) destination: Rounds,
    pub(crate) ports: Rounds,
    /// Whether the CPU has instructions for rounds of AES.
    #[zeroize(skip)]
    native: bool,
}

impl core::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("HashKey(redacted)")
    }
}

impl HashKey {
    /// From the secret of this boot.
    #[must_use]
    pub fn new(secret: &[u8; 16]) -> Self {
        let mut rounds = [[[0; 16]; 4]; 3];
        for (i, round) in rounds.as_flattened_mut().iter_mut().enumerate() {
            let mut hasher = SipHasher24::new_with_key(secret);
            hasher.write(b"flow fingerprint");
            hasher.write_u64(i as u64);
            *round = hasher.finish128().as_bytes();
        }
        let [source, destination, ports] = rounds;
        rounds.zeroize();
        Self { source, destination, ports, native: native::is_there() }
    }

    /// The fingerprint of a 5-tuple's words ([`FiveTuple::words`](protocol::five_tuple::FiveTuple::words)).
    #[inline]
    #[must_use]
    pub fn fingerprint(&self, words: &[u64; 5]) -> Fingerprint {
        let blocks = blocks(words);
        let bits = if self.native { native::sum(self, blocks) } else { self.sum(blocks) };
        Fingerprint { lo: bits as u64, hi: (bits >> 64) as u64 }
    }

    /// See the module.
    fn sum(&self, [source, destination, ports]: [[u8; 16]; 3]) -> u128 {
        let sum = through(&self.source, source) ^ through(&self.destination, destination);
        sum ^ through(&self.ports, ports)
    }
}

#[cfg(target_arch = "x86_64")]
mod native;

/// Other CPUs' instructions are used by the crate that knows them.
#[cfg(not(target_arch = "x86_64"))]
mod native {
    pub(super) const fn is_there() -> bool {
        false
    }

    pub(super) fn sum(key: &super::HashKey, blocks: [[u8; 16]; 3]) -> u128 {
        key.sum(blocks)
    }
}

/// The three blocks. Ports and next header stand where a packet's octets are when they are loaded with what is around them:
/// ports 6 octets behind octet 48 of the frame, the next header 12 behind octet 8.
#[inline]
fn blocks(&[src, src2, dst, dst2, rest]: &[u64; 5]) -> [[u8; 16]; 3] {
    let two = |low: u64, high: u64| u128::from(low) | u128::from(high) << 64;
    let (ports, next) = (u128::from(rest as u32), u128::from(rest >> 32));
    [two(src, src2), two(dst, dst2), ports << (6 * 8) | next << (12 * 8)].map(u128::to_le_bytes)
}

/// A block through four rounds.
fn through(keys: &Rounds, block: [u8; 16]) -> u128 {
    let mut state = Block::from((u128::from_le_bytes(block) ^ u128::from_le_bytes(keys[0])).to_le_bytes());
    for key in [&keys[1], &keys[2], &keys[3], &[0; 16]] {
        cipher_round(&mut state, &Block::from(*key));
    }
    u128::from_le_bytes(state.into())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Tuples as a scan makes them: one address or port after the other. Neither low nor high bits may follow it.
    #[test]
    fn tuples_in_a_row_spread_over_the_buckets() {
        let key = HashKey::new(&[7; 16]);
        for word in 0..5 {
            let (mut low, mut high) = (vec![0u32; 256], vec![0u32; 256]);
            for i in 0..1 << 14 {
                let mut words = [0x2001_0DB8_0000_0000, 1, 0x2001_0DB8_0001_0000, 2, 0x11_0000_0000];
                words[word] = u64::wrapping_add(words[word], i);
                let print = key.fingerprint(&words);
                low[print.lo as usize % 256] += 1;
                high[(print.hi >> 56) as usize] += 1;
            }
            for counts in [&low, &high] {
                // 64 are expected in each, with a deviation of 8.
                assert!(counts.iter().all(|&n| (20..120).contains(&n)), "word {word}: {counts:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn instructions_of_the_cpu_give_the_same(words: [u64; 5], secret: [u8; 16]) {
            let key = HashKey::new(&secret);
            prop_assert_eq!(key.fingerprint(&words).bits(), key.sum(blocks(&words)));
        }

        #[test]
        fn follows_every_bit_of_the_tuple_and_of_the_secret(
            mut words: [u64; 5], secret: [u8; 16], bit in 0usize..(256 + 40), other in 0usize..128,
        ) {
            words[4] &= (1 << 40) - 1;
            let key = HashKey::new(&secret);
            let mut changed = words;
            changed[bit / 64] ^= 1 << (bit % 64);
            prop_assert_ne!(key.fingerprint(&words), key.fingerprint(&changed));
            let mut another = secret;
            another[other / 8] ^= 1 << (other % 8);
            prop_assert_ne!(HashKey::new(&another).fingerprint(&words), key.fingerprint(&words));
        }
    }

    /// FIPS 197 appendix B, rounds 1 to 4, as a block whose keys are the schedule's; the last key is added by hand.
    #[test]
    fn four_rounds_are_those_of_the_standard() {
        let hex = |text: &str| u128::from_str_radix(text, 16).expect("hex").to_be_bytes();
        let keys = [
            hex("2b7e151628aed2a6abf7158809cf4f3c"),
            hex("a0fafe1788542cb123a339392a6c7605"),
            hex("f2c295f27a96b9435935807a7359f67f"),
            hex("3d80477d4716fe3e1e237e446d7a883b"),
        ];
        let made = through(&keys, hex("3243f6a8885a308d313198a2e0370734"))
            ^ u128::from_le_bytes(hex("ef44a541a8525b7fb671253bdb0bad00"));
        // The state at the start of round 5.
        assert_eq!(made.to_le_bytes(), hex("e0927fe8c86363c0d9b1355085b8be01"));
    }
}
