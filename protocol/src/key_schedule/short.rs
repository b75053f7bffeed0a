//! HKDF-Expand over SHA-256 of one session key, which the packet path asks for in the middle of a burst. `hkdf` gives the same
//! octets, for any length, in twice the time: here all lengths are known when it is compiled, and what stands in front of every
//! 5-tuple is put together once.

use crate::nonce::NN;
use crate::suite::{Kdf, Suite};
use sha2::block_api::compress256;
use zeroize::{Zeroize, ZeroizeOnDrop, optimization_barrier};

const BLOCK: usize = 64;
/// L, "HPKE-v1", the suite and "pdmv2_session".
const HEAD: usize = 2 + 7 + 10 + 13;
/// The 5-tuple and the Kri.
pub(super) const INFO: usize = 37 + 4;
/// SHA-256's first state (FIPS 180-4 section 5.3.3).
const FIRST: [u32; 8] =
    [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];
/// The length of what an inner and an outer hash are of, the key's block included, as SHA-256 puts it at the end.
const INNER_BITS: u64 = 8 * (BLOCK + HEAD + INFO + 1) as u64;
const OUTER_BITS: u64 = 8 * (BLOCK + 32) as u64;

/// A secret worked into HMAC's two states, and the head of what is hashed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct ShortExpand {
    inner: [u32; 8],
    outer: [u32; 8],
    #[zeroize(skip)]
    head: [u8; HEAD],
}

impl ShortExpand {
    /// `None`: the suite's session keys are not of the kind.
    pub(super) fn new(suite: &Suite, label: &[u8], secret: &[u8]) -> Option<Self> {
        let secret: &[u8; 32] = secret.try_into().ok()?;
        let len = suite.aead.nk() + NN;
        if suite.kdf != Kdf::Sha256 || len > 32 {
            return None;
        }
        let head = [&(len as u16).to_be_bytes(), super::VERSION, &suite.id(), label].concat();
        let head: [u8; HEAD] = head.try_into().ok()?;
        let state = |pad: u8| {
            let (mut block, mut state) = ([[pad; BLOCK]], FIRST);
            block[0].iter_mut().zip(secret).for_each(|(octet, key)| *octet ^= key);
            compress256(&mut state, &block);
            block[0].as_mut_slice().zeroize();
            state
        };
        Some(Self { inner: state(0x36), outer: state(0x5c), head })
    }

    /// The first 32 octets, of which the key and the base nonce are the first ones.
    #[inline]
    pub(super) fn expand(&self, tuple: &[u8; 37], kri: u32) -> [u8; 32] {
        // Two blocks: head, 5-tuple, Kri, HKDF's counter, the mark of the end, and the length.
        const { assert!(HEAD + INFO + 2 + 8 <= 2 * BLOCK && HEAD + INFO > BLOCK) };
        let mut text = [[0; BLOCK]; 2];
        let octets = text.as_flattened_mut();
        octets[..HEAD].copy_from_slice(&self.head);
        octets[HEAD..HEAD + 37].copy_from_slice(tuple);
        octets[HEAD + 37..HEAD + INFO].copy_from_slice(&kri.to_be_bytes());
        octets[HEAD + INFO..HEAD + INFO + 2].copy_from_slice(&[1, 0x80]);
        octets[2 * BLOCK - 8..].copy_from_slice(&INNER_BITS.to_be_bytes());
        let mut state = self.inner;
        compress256(&mut state, &text);

        let mut last = [[0; BLOCK]];
        last[0][..32].copy_from_slice(octets_of(&state).as_flattened());
        last[0][32] = 0x80;
        last[0][BLOCK - 8..].copy_from_slice(&OUTER_BITS.to_be_bytes());
        state = self.outer;
        compress256(&mut state, &last);
        let mut out = [0; 32];
        out.copy_from_slice(octets_of(&state).as_flattened());
        (state, last) = ([0; 8], [[0; BLOCK]]);
        optimization_barrier(&(&state, &last));
        out
    }
}

fn octets_of(state: &[u32; 8]) -> [[u8; 4]; 8] {
    state.map(u32::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::{Aead, Kem};
    use hkdf::Hkdf;
    use proptest::prelude::*;
    use sha2::Sha256;

    const SUITE: Suite = Suite { kem: Kem::P256, kdf: Kdf::Sha256, aead: Aead::Aes128Gcm };

    proptest! {
        #[test]
        fn it_expands_as_hkdf_does(secret: [u8; 32], tuple: [u8; 37], kri: u32) {
            let mut expected = [0; 32];
            let parts: [&[u8]; 6] =
                [&[0, 28], b"HPKE-v1", &SUITE.id(), b"pdmv2_session", &tuple, &kri.to_be_bytes()];
            let hkdf = Hkdf::<Sha256>::from_prk(&secret).expect("long enough");
            hkdf.expand_multi_info(&parts, &mut expected).expect("short enough");
            let short = ShortExpand::new(&SUITE, b"pdmv2_session", &secret).expect("the suite's are of the kind");
            prop_assert_eq!(short.expand(&tuple, kri), expected);
        }
    }

    #[test]
    fn other_suites_go_the_long_way() {
        for suite in [Suite { aead: Aead::Aes256Gcm, ..SUITE }, Suite { kdf: Kdf::Sha384, ..SUITE }] {
            assert!(ShortExpand::new(&suite, b"pdmv2_session", &[1; 32]).is_none(), "{suite}");
        }
    }
}
