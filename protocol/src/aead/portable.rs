//! The portable path, over the `aes-gcm` and `chacha20poly1305` crates: they compare tags in constant time and leave the
//! text alone when one does not verify.

use super::batch::{BATCH, Batch, KeyState};
use crate::nonce::NN;
use crate::suite::Aead;
use crate::wire::profile::{AAD_LEN, TEXT_LEN};
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use chacha20poly1305::ChaCha20Poly1305;

pub(super) fn seal(aead: Aead, keys: &[&KeyState], batch: &mut Batch) {
    let seal = match aead {
        Aead::Aes128Gcm => seal_one::<Aes128Gcm, 16>,
        Aead::Aes256Gcm => seal_one::<Aes256Gcm, 32>,
        Aead::ChaCha20Poly1305 => seal_one::<ChaCha20Poly1305, 32>,
    };
    keys.iter().take(BATCH).enumerate().for_each(|(i, key)| seal(key, batch, i));
}

pub(super) fn open(aead: Aead, keys: &[&KeyState], batch: &mut Batch) -> u32 {
    let open = match aead {
        Aead::Aes128Gcm => open_one::<Aes128Gcm, 16>,
        Aead::Aes256Gcm => open_one::<Aes256Gcm, 32>,
        Aead::ChaCha20Poly1305 => open_one::<ChaCha20Poly1305, 32>,
    };
    keys.iter().take(BATCH).enumerate().fold(0, |mask, (i, key)| mask | u32::from(open(key, batch, i)) << i)
}

fn cipher<A: KeyInit, const NK: usize>(key: &KeyState) -> Option<A> {
    A::new_from_slice(key.0.as_flattened().get(..NK)?).ok()
}

fn seal_one<A: KeyInit + AeadInOut, const NK: usize>(key: &KeyState, batch: &mut Batch, i: usize) {
    let Batch { nonce, aad, text, tag } = batch;
    let sealed = cipher::<A, NK>(key).and_then(|cipher| {
        let nonce = nonce[i][..NN].try_into().ok()?;
        cipher.encrypt_inout_detached(nonce, &aad[i][..AAD_LEN], (&mut text[i][..TEXT_LEN]).into()).ok()
    });
    match sealed {
        Some(made) => tag[i].copy_from_slice(&made),
        // Cannot happen with these lengths; if it could, the metrics must not go out in clear.
        None => (text[i], tag[i]) = ([0; 16], [0; 16]),
    }
    text[i][TEXT_LEN..].fill(0);
}

fn open_one<A: KeyInit + AeadInOut, const NK: usize>(key: &KeyState, batch: &mut Batch, i: usize) -> bool {
    let Batch { nonce, aad, text, tag } = batch;
    let opened = cipher::<A, NK>(key).is_some_and(|cipher| {
        let (Ok(nonce), Ok(tag)) = (nonce[i][..NN].try_into(), tag[i].as_slice().try_into()) else {
            return false;
        };
        cipher.decrypt_inout_detached(nonce, &aad[i][..AAD_LEN], (&mut text[i][..TEXT_LEN]).into(), tag).is_ok()
    });
    if !opened {
        text[i] = [0; 16];
    }
    text[i][TEXT_LEN..].fill(0);
    opened
}

#[cfg(test)]
mod tests {
    use super::super::{Slot, open, seal};
    use super::*;
    use proptest::prelude::*;

    fn slots() -> impl Strategy<Value = Vec<Slot>> {
        let slot = (any::<[u8; 32]>(), any::<[u8; 12]>(), any::<[u8; 6]>(), any::<[u8; 14]>());
        prop::collection::vec(
            slot.prop_map(|(key, nonce, aad, text)| Slot { key, nonce, aad, text, tag: [0; 16] }),
            0..=BATCH,
        )
    }

    proptest! {
        #[test]
        fn opens_what_it_sealed_and_nothing_else(slots in slots(), at in any::<prop::sample::Index>(), bit in 0usize..8 * (32 + 12 + 6 + 14 + 16)) {
            for &aead in Aead::ALL {
                let mut sealed = slots.clone();
                seal(aead, &mut sealed);
                let mut opened = sealed.clone();
                let all = ((1u64 << slots.len()) - 1) as u32;
                prop_assert_eq!(open(aead, &mut opened), all);
                prop_assert!(opened.iter().zip(&slots).all(|(o, s)| o.text == s.text));
                if slots.is_empty() {
                    continue;
                }
                let i = at.index(slots.len());
                let slot = &mut sealed[i];
                let (octet, flip) = (bit / 8, 1u8 << (bit % 8));
                if octet < 32 {
                    if octet >= aead.nk() { continue; }
                    slot.key[octet] ^= flip;
                } else if octet < 44 {
                    slot.nonce[octet - 32] ^= flip;
                } else if octet < 50 {
                    slot.aad[octet - 44] ^= flip;
                } else if octet < 64 {
                    slot.text[octet - 50] ^= flip;
                } else {
                    slot.tag[octet - 64] ^= flip;
                }
                prop_assert_eq!(open(aead, &mut sealed), all & !(1 << i));
                prop_assert_eq!(sealed[i].text, [0; 14]);
            }
        }
    }

    #[test]
    fn agrees_with_the_ciphers_authors() {
        // McGrew and Viega's GCM test case 4, cut to its first 14 octets of text and 6 of additional data, has no
        // published tag; the ciphertext does not depend on that cut.
        let mut slot = Slot::ZERO;
        slot.key[..16].copy_from_slice(&[
            0xFE, 0xFF, 0xE9, 0x92, 0x86, 0x65, 0x73, 0x1C, 0x6D, 0x6A, 0x8F, 0x94, 0x67, 0x30, 0x83, 0x08,
        ]);
        slot.nonce = [0xCA, 0xFE, 0xBA, 0xBE, 0xFA, 0xCE, 0xDB, 0xAD, 0xDE, 0xCA, 0xF8, 0x88];
        slot.text = [0xD9, 0x31, 0x32, 0x25, 0xF8, 0x84, 0x06, 0xE5, 0xA5, 0x59, 0x09, 0xC5, 0xAF, 0xF5];
        seal(Aead::Aes128Gcm, core::slice::from_mut(&mut slot));
        assert_eq!(slot.text, [0x42, 0x83, 0x1E, 0xC2, 0x21, 0x77, 0x74, 0x24, 0x4B, 0x72, 0x21, 0xB7, 0x84, 0xD0]);
    }
}
