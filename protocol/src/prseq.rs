//! The order in which PRSEQ runs through 1..=32767 within one Kri (profile section 6): a permutation that an observer
//! cannot predict, without a table.
//!
//! A permutation of 15 bits (a Feistel network of eight rounds over 7 and 8 bits) is walked until it falls below 32767,
//! which it nearly always does at once. Its round keys, 128 bits, come from SipHash-2-4. What an observer sees anyway is
//! that no value repeats within a Kri, and values under a key of 128 bits.
//!
//! All arithmetic is on 16 bits, so that a burst's packets go through the rounds side by side in vector registers.

use siphasher::sip128::{Hasher128, SipHasher24};
use std::hash::Hasher;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// PRSEQ values per Kri.
pub const VALUES: u16 = 32767;

/// The secret of one process behind all orders; overwritten when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct MasterKey([u8; 32]);

impl MasterKey {
    /// From 32 random octets.
    #[must_use]
    pub fn new(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    fn hash(&self, half: usize, words: [u64; 3]) -> [u64; 2] {
        let mut key = [0; 16];
        key.copy_from_slice(&self.0[half * 16..half * 16 + 16]);
        let mut hasher = SipHasher24::new_with_key(&key);
        key.zeroize();
        for w in words {
            hasher.write_u64(w);
        }
        let hash = hasher.finish128();
        [hash.h1, hash.h2]
    }

    /// The random PSNTP that a direction of a flow starts at.
    #[must_use]
    pub fn first_psntp(&self, flow: u128) -> u16 {
        self.hash(0, [flow as u64, (flow >> 64) as u64, u64::MAX])[1] as u16
    }
}

impl core::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("MasterKey(redacted)")
    }
}

/// The order of one flow's direction under one generation and Kri.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct PrseqKey([u64; 2]);

impl core::fmt::Debug for PrseqKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("PrseqKey(redacted)")
    }
}

impl PrseqKey {
    /// The same for the same arguments: a flow that leaves the table and comes back goes on in its order.
    #[must_use]
    pub fn derive(master: &MasterKey, flow: u128, generation: u32, kri: u32) -> Self {
        let name = [flow as u64, (flow >> 64) as u64, u64::from(generation) << 32 | u64::from(kri)];
        Self(master.hash(1, name))
    }

    /// As two words, for a line that several threads read, and for [`prseq`].
    #[inline]
    #[must_use]
    pub const fn to_words(&self) -> [u64; 2] {
        self.0
    }

    /// See [`prseq`].
    #[must_use]
    pub fn prseq(&self, index: u16) -> u16 {
        prseq(self.0, index)
    }
}

/// The PRSEQ, 1..=32767, of packet `index` (0..32767) of the Kri whose order these words are ([`PrseqKey::to_words`]).
#[inline]
#[must_use]
pub fn prseq(order: [u64; 2], index: u16) -> u16 {
    let mut one = Lanes::<1>::default();
    one.set(0, order, index);
    one.prseqs()[0]
}

/// Places in the orders of `N` packets.
#[derive(Clone, Debug)]
pub struct Lanes<const N: usize> {
    /// By round.
    keys: [[u16; N]; ROUNDS],
    index: [u16; N],
}

const ROUNDS: usize = 8;

impl<const N: usize> Default for Lanes<N> {
    fn default() -> Self {
        Self { keys: [[0; N]; ROUNDS], index: [0; N] }
    }
}

impl<const N: usize> Lanes<N> {
    /// Packet `index` (0..32767) of this order is to be lane `lane`.
    #[inline]
    pub fn set(&mut self, lane: usize, order: [u64; 2], index: u16) {
        for (round, keys) in self.keys.iter_mut().enumerate() {
            keys[lane] = (order[round / 4] >> (round % 4 * 16)) as u16;
        }
        self.index[lane] = index;
    }

    /// The PRSEQ, 1..=32767, of each lane that was set.
    #[inline]
    #[must_use]
    pub fn prseqs(&self) -> [u16; N] {
        let mut values = self.index;
        for (lane, value) in values.iter_mut().enumerate() {
            *value = self.permute(lane, *value);
        }
        for (lane, value) in values.iter_mut().enumerate() {
            // A walk through one cycle of the permutation: it comes back to a value below VALUES, at the latest to its start.
            while *value >= VALUES {
                *value = self.permute(lane, *value);
            }
            *value += 1;
        }
        values
    }

    /// A permutation of 0..32768. The loops over a burst's lanes become vector instructions.
    #[inline]
    fn permute(&self, lane: usize, value: u16) -> u16 {
        let (mut low, mut high) = (value & 0xFF, value >> 8 & 0x7F);
        for keys in self.keys.as_chunks::<2>().0 {
            high ^= mix(low, keys[0][lane]) & 0x7F;
            low ^= mix(high, keys[1][lane]);
        }
        high << 8 | low
    }
}

/// A round's function: eight bits that depend on all of `value`'s eight and of the key's sixteen.
#[inline]
const fn mix(value: u16, key: u16) -> u16 {
    (value ^ key).wrapping_mul(0x9E37) >> 8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn order(flow: u128, generation: u32, kri: u32) -> Vec<u16> {
        let key = PrseqKey::derive(&MasterKey::new([7; 32]), flow, generation, kri);
        (0..VALUES).map(|i| key.prseq(i)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn is_a_permutation_of_1_to_32767(seed: [u8; 32], flow: u128, generation: u32, kri: u32) {
            let key = PrseqKey::derive(&MasterKey::new(seed), flow, generation, kri);
            let mut seen = vec![false; 32768];
            for i in 0..VALUES {
                let p = usize::from(key.prseq(i));
                prop_assert!((1..=32767).contains(&p) && !seen[p], "{} at {}", p, i);
                seen[p] = true;
            }
        }
    }

    #[test]
    fn orders_differ_with_flow_generation_and_kri() {
        let base = order(1, 1, 1);
        for other in [order(2, 1, 1), order(1 << 64, 1, 1), order(1, 2, 1), order(1, 1, 2)] {
            let same = base.iter().zip(&other).filter(|(a, b)| a == b).count();
            assert!(same < 12, "{same} places agree; one is expected");
        }
        assert_eq!(base, order(1, 1, 1));
    }

    #[test]
    fn looks_random() {
        let order = order(5, 6, 7);
        let rising = order.windows(2).filter(|w| w[1] > w[0]).count();
        assert!((15_900..16_900).contains(&rising), "{rising} of 32766 steps rise");
        let near = order.windows(2).filter(|w| w[0].abs_diff(w[1]) < 328).count();
        assert!((500..800).contains(&near), "{near} neighbours are near each other; about 652 are expected");
    }
}
