//! Sealing and opening batches of options: 14 octets of text, 6 of additional data, a 16-octet tag, each slot under a key
//! of its own.

mod portable;

use crate::suite::Aead;
use zeroize::Zeroize;

/// Slots per call, at most.
pub const BATCH: usize = 32;

/// One option's share of a batch.
#[derive(Clone)]
pub struct Slot {
    /// The first Nk octets are the key.
    pub key: [u8; 32],
    /// Never used twice with the same key.
    pub nonce: [u8; 12],
    /// The first six octets of the option as sent.
    pub aad: [u8; 6],
    /// Metrics, or their ciphertext.
    pub text: [u8; 14],
    /// Written by [`seal`], checked by [`open`].
    pub tag: [u8; 16],
}

impl Slot {
    /// An empty slot.
    pub const ZERO: Self = Self { key: [0; 32], nonce: [0; 12], aad: [0; 6], text: [0; 14], tag: [0; 16] };
}

impl core::fmt::Debug for Slot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Slot").field("aad", &self.aad).field("tag", &self.tag).finish_non_exhaustive()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.key.zeroize();
        self.text.zeroize();
    }
}

/// Seals every slot in place: `text` becomes the ciphertext, `tag` is set.
#[inline]
pub fn seal(aead: Aead, slots: &mut [Slot]) {
    portable::seal(aead, slots);
}

/// Opens every slot in place: bit i is set when slot i's tag verifies, and `text` is then in clear; where it does not
/// verify, `text` is all zeros. Looks at [`BATCH`] slots at most.
#[inline]
#[must_use]
pub fn open(aead: Aead, slots: &mut [Slot]) -> u32 {
    debug_assert!(slots.len() <= BATCH);
    portable::open(aead, slots)
}
