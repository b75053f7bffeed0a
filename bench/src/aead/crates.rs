//! Libraries that are called packet by packet: the key is made ready once and kept in a table, and there is nothing else
//! that a user could do for speed.

use super::feed::{AAD, BURST, Burst, Candidate, Packet, Places, TEXT, aad, nonce};
use super::heap;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use anyhow::{Context, Result};
use protocol::suite::Aead;
use std::hint::black_box;

/// A key that is ready for use.
pub trait Key: Sized {
    /// The library's name in reports.
    const NAME: &'static str;
    /// What it computes.
    const AEAD: Aead;
    /// What all keys share.
    type Shared;
    /// Times that a key is made ready: memory is stated for one.
    const FORMS: usize = 1;

    /// Makes a key ready; `None` when the library refuses.
    fn new(key: &[u8; 32], shared: &Self::Shared) -> Option<Self>;
    /// Seals in place; gives the tag.
    fn seal(&self, shared: &Self::Shared, nonce: [u8; 12], aad: [u8; AAD], text: &mut [u8; TEXT]) -> Option<[u8; 16]>;
    /// Opens in place; whether the tag was right.
    fn open(
        &self,
        shared: &Self::Shared,
        nonce: [u8; 12],
        aad: [u8; AAD],
        text: &mut [u8; TEXT],
        tag: [u8; 16],
    ) -> bool;
}

/// A table of such keys.
pub struct Table<K: Key> {
    keys: Vec<K>,
    shared: K::Shared,
    octets_per_key: f64,
    packets: Places<[Packet; BURST]>,
}

impl<K: Key> Table<K> {
    /// Makes all keys ready.
    ///
    /// # Errors
    /// The library refuses a key.
    pub fn new(keys: &[[u8; 32]], shared: K::Shared) -> Result<Self> {
        let before = heap::in_use();
        let mut table = Vec::with_capacity(keys.len());
        for key in keys {
            table.push(K::new(key, &shared).with_context(|| format!("{} refuses a key", K::NAME))?);
        }
        let octets_per_key = heap::per_key(before, keys.len()).unwrap_or(size_of::<K>() as f64);
        let octets_per_key = octets_per_key / K::FORMS as f64;
        Ok(Self { keys: table, shared, octets_per_key, packets: Places::new(|| [Packet::ZERO; BURST]) })
    }
}

/// The text without what fills it up.
#[inline]
fn text(packet: &mut Packet) -> &mut [u8; TEXT] {
    let [text @ .., _, _] = &mut packet.text;
    text
}

impl<K: Key> Candidate for Table<K> {
    fn name(&self) -> String {
        K::NAME.to_owned()
    }

    fn aead(&self) -> Aead {
        K::AEAD
    }

    fn octets_per_key(&self) -> f64 {
        self.octets_per_key
    }

    fn seal(&mut self, burst: &Burst<'_>) {
        for (i, packet) in self.packets.here_mut().iter_mut().enumerate() {
            packet.text = burst.packets[i].text;
            let number = burst.number + i as u64;
            let key = &self.keys[burst.keys[i] as usize];
            let tag = key.seal(&self.shared, nonce(number), aad(number), text(packet));
            // What failed to seal will fail to open.
            packet.tag = tag.unwrap_or_default();
        }
        black_box(self.packets.here_mut());
    }

    fn open(&mut self, burst: &Burst<'_>) -> u32 {
        let mut verified = 0;
        for (i, packet) in self.packets.here_mut().iter_mut().enumerate() {
            *packet = burst.packets[i];
            let (number, tag) = (burst.number + i as u64, packet.tag);
            let key = &self.keys[burst.keys[i] as usize];
            verified |= u32::from(key.open(&self.shared, nonce(number), aad(number), text(packet), tag)) << i;
        }
        black_box(self.packets.here_mut());
        verified
    }

    fn move_on(&mut self) {
        self.packets.move_on();
    }

    fn result(&self) -> [Packet; BURST] {
        *self.packets.here()
    }
}

macro_rules! aes_gcm_crate {
    ($key:ty, $aead:ident, $octets:literal) => {
        impl Key for $key {
            const NAME: &'static str = "aes-gcm";
            const AEAD: Aead = Aead::$aead;
            type Shared = ();

            fn new(key: &[u8; 32], (): &()) -> Option<Self> {
                Self::new_from_slice(&key[..$octets]).ok()
            }

            #[inline]
            fn seal(&self, (): &(), nonce: [u8; 12], aad: [u8; AAD], text: &mut [u8; TEXT]) -> Option<[u8; 16]> {
                self.encrypt_inout_detached(&nonce.into(), &aad, text.as_mut_slice().into()).ok().map(Into::into)
            }

            #[inline]
            fn open(&self, (): &(), nonce: [u8; 12], aad: [u8; AAD], text: &mut [u8; TEXT], tag: [u8; 16]) -> bool {
                self.decrypt_inout_detached(&nonce.into(), &aad, text.as_mut_slice().into(), &tag.into()).is_ok()
            }
        }
    };
}

aes_gcm_crate!(Aes128Gcm, Aes128Gcm, 16);
aes_gcm_crate!(Aes256Gcm, Aes256Gcm, 32);

#[cfg(feature = "peers")]
impl Key for ring::aead::LessSafeKey {
    const NAME: &'static str = "ring";
    const AEAD: Aead = Aead::Aes128Gcm;
    type Shared = ();

    fn new(key: &[u8; 32], (): &()) -> Option<Self> {
        ring::aead::UnboundKey::new(&ring::aead::AES_128_GCM, &key[..16]).ok().map(Self::new)
    }

    #[inline]
    fn seal(&self, (): &(), nonce: [u8; 12], aad: [u8; AAD], text: &mut [u8; TEXT]) -> Option<[u8; 16]> {
        use ring::aead::{Aad, Nonce};
        let tag = self.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), text).ok()?;
        tag.as_ref().try_into().ok()
    }

    #[inline]
    fn open(&self, (): &(), nonce: [u8; 12], aad: [u8; AAD], text: &mut [u8; TEXT], tag: [u8; 16]) -> bool {
        use ring::aead::{Aad, Nonce};
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.open_in_place_separate_tag(nonce, Aad::from(aad), tag.into(), text, 0..).is_ok()
    }
}

#[cfg(feature = "peers")]
impl Key for aws_lc_rs::aead::LessSafeKey {
    const NAME: &'static str = "aws-lc-rs";
    const AEAD: Aead = Aead::Aes128Gcm;
    type Shared = ();

    fn new(key: &[u8; 32], (): &()) -> Option<Self> {
        aws_lc_rs::aead::UnboundKey::new(&aws_lc_rs::aead::AES_128_GCM, &key[..16]).ok().map(Self::new)
    }

    #[inline]
    fn seal(&self, (): &(), nonce: [u8; 12], aad: [u8; AAD], text: &mut [u8; TEXT]) -> Option<[u8; 16]> {
        use aws_lc_rs::aead::{Aad, Nonce};
        let mut tag = [0; 16];
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.seal_in_place_scatter(nonce, Aad::from(aad), text, &[], &mut tag).ok()?;
        Some(tag)
    }

    #[inline]
    fn open(&self, (): &(), nonce: [u8; 12], aad: [u8; AAD], text: &mut [u8; TEXT], tag: [u8; 16]) -> bool {
        use aws_lc_rs::aead::{Aad, Nonce};
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.open_in_place_separate_tag(nonce, Aad::from(aad), &tag, text).is_ok()
    }
}
