//! One packet for itself, its key with it: for trials, tools and tests. The packet path works with a
//! [`Batch`](super::Batch).

use super::batch::{BATCH, Batch, KeyState};
use super::path::Path;
use crate::nonce::NN;
use crate::suite::Aead;
use crate::wire::profile::{AAD_LEN, TAG_LEN, TEXT_LEN};
use zeroize::Zeroize;

/// One option's key, nonce and octets.
#[derive(Clone)]
pub struct Slot {
    /// The first Nk octets are the key.
    pub key: [u8; 32],
    /// Never used twice with the same key.
    pub nonce: [u8; NN],
    /// The first octets of the option as sent.
    pub aad: [u8; AAD_LEN],
    /// Metrics, or their ciphertext.
    pub text: [u8; TEXT_LEN],
    /// Written by [`seal`], checked by [`open`].
    pub tag: [u8; TAG_LEN],
}

impl Slot {
    /// An empty slot.
    pub const ZERO: Self =
        Self { key: [0; 32], nonce: [0; NN], aad: [0; AAD_LEN], text: [0; TEXT_LEN], tag: [0; TAG_LEN] };
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
pub fn seal(aead: Aead, slots: &mut [Slot]) {
    seal_by(Path::best(), aead, slots);
}

/// Opens every slot in place: bit i is set when slot i's tag verifies, and `text` is then in clear; where it does not
/// verify, `text` is all zeros. Looks at [`BATCH`] slots at most.
#[must_use]
pub fn open(aead: Aead, slots: &mut [Slot]) -> u32 {
    open_by(Path::best(), aead, slots)
}

/// [`seal`] by one path; by the portable one if this CPU has not what it takes.
pub fn seal_by(path: Path, aead: Aead, slots: &mut [Slot]) {
    for some in slots.chunks_mut(BATCH) {
        through_batch(aead, some, |keys, batch| batch.seal_by(path, aead, keys));
    }
}

/// [`open`] by one path; by the portable one if this CPU has not what it takes.
#[must_use]
pub fn open_by(path: Path, aead: Aead, slots: &mut [Slot]) -> u32 {
    debug_assert!(slots.len() <= BATCH);
    let most = slots.len().min(BATCH);
    through_batch(aead, &mut slots[..most], |keys, batch| batch.open_by(path, aead, keys))
}

fn through_batch<T>(aead: Aead, slots: &mut [Slot], work: impl FnOnce(&[&KeyState], &mut Batch) -> T) -> T {
    let mut batch = Batch::new();
    let mut keys = [const { KeyState::ZERO }; BATCH];
    for (i, slot) in slots.iter().enumerate() {
        keys[i] = KeyState::new(aead, &slot.key);
        batch.set(i, &slot.nonce, &slot.aad, &slot.text);
        batch.tag[i] = slot.tag;
    }
    let refs: [&KeyState; BATCH] = core::array::from_fn(|i| &keys[i]);
    let result = work(&refs[..slots.len()], &mut batch);
    for (i, slot) in slots.iter_mut().enumerate() {
        slot.text = *batch.text_of(i);
        slot.tag = batch.tag[i];
    }
    result
}
