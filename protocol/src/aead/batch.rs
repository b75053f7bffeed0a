//! What the packet path seals and opens: up to 32 slots as arrays, and the keys' states beside them.

use crate::nonce::{NN, nonce_words};
use crate::wire::profile::{AAD_LEN, ENCRYPTED_LEN, TEXT_LEN};
use zeroize::{Zeroize, ZeroizeOnDrop, optimization_barrier};

/// Slots per call, at most.
pub const BATCH: usize = 32;

/// Where a sealed option's text and its tag begin.
const TEXT_AT: usize = AAD_LEN;
const TAG_AT: usize = AAD_LEN + TEXT_LEN;
/// Bits of a word that are not additional data, and of two that are not text.
const NOT_AAD: usize = 64 - AAD_LEN * 8;
const NOT_TEXT: usize = 128 - TEXT_LEN * 8;

/// A key made ready: one cache line, so that a packet whose flow is not in the cache waits for one line only.
///
/// | AEAD | octets |
/// |---|---|
/// | AES-128-GCM | key, H³, H², H × the length block |
/// | AES-256-GCM | key (32), H, H² |
/// | ChaCha20Poly1305 | key (32) |
///
/// The powers of H are POLYVAL's (RFC 8452 appendix A). Round keys are made anew for each packet: that takes less time than
/// to fetch them. Without AES-NI only the key is set; nothing else is used then.
#[derive(Clone)]
#[repr(C, align(64))]
pub struct KeyState(pub(super) [[u8; 16]; 4]);

const _: () = assert!(size_of::<KeyState>() == 64);

impl Drop for KeyState {
    fn drop(&mut self) {
        // As a whole; `zeroize` goes octet by octet.
        self.0 = [[0; 16]; 4];
        optimization_barrier(self);
    }
}

impl ZeroizeOnDrop for KeyState {}

impl KeyState {
    /// No key.
    pub const ZERO: Self = Self([[0; 16]; 4]);

    /// As eight words, for a line that several threads read.
    #[inline]
    #[must_use]
    pub fn to_words(&self) -> [u64; 8] {
        core::array::from_fn(|i| {
            let half: [u8; 8] = core::array::from_fn(|n| self.0[i / 2][i % 2 * 8 + n]);
            u64::from_ne_bytes(half)
        })
    }

    /// The inverse of [`KeyState::to_words`].
    #[must_use]
    pub fn from_words(words: [u64; 8]) -> Self {
        let mut state = Self::ZERO;
        state.set_words(words);
        state
    }

    /// Becomes what [`KeyState::to_words`] gave, in place: a state that is dropped is overwritten octet by octet, which the
    /// packet path has no time for.
    #[inline]
    pub fn set_words(&mut self, words: [u64; 8]) {
        for (octets, word) in self.0.as_flattened_mut().as_chunks_mut().0.iter_mut().zip(words) {
            *octets = word.to_ne_bytes();
        }
    }
}

impl core::fmt::Debug for KeyState {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("KeyState(redacted)")
    }
}

/// Asks for a key's cache line, for a batch some hundred nanoseconds ahead.
#[inline]
pub fn prefetch(key: &KeyState) {
    crate::prefetch::line(key);
}

/// Up to [`BATCH`] slots, field by field.
#[repr(C, align(64))]
pub struct Batch {
    /// 12 octets each, never used twice with the same key; the other four do not count.
    pub nonce: [[u8; 16]; BATCH],
    /// The first [`AAD_LEN`] octets of the option as sent; the others do not count.
    pub aad: [[u8; 16]; BATCH],
    /// Metrics, or their ciphertext, [`TEXT_LEN`] octets; the others do not count on the way in and are zero on the way out.
    pub text: [[u8; 16]; BATCH],
    /// Set by [`Batch::seal`], checked by [`Batch::open`].
    pub tag: [[u8; 16]; BATCH],
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.text.zeroize();
    }
}

impl core::fmt::Debug for Batch {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Batch(redacted)")
    }
}

impl Batch {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self { nonce: [[0; 16]; BATCH], aad: [[0; 16]; BATCH], text: [[0; 16]; BATCH], tag: [[0; 16]; BATCH] }
    }

    /// Sets what sealing needs of a slot.
    #[inline]
    pub fn set(&mut self, slot: usize, nonce: &[u8; NN], aad: &[u8; AAD_LEN], text: &[u8; TEXT_LEN]) {
        let &[a0, a1, a2, a3, a4, a5] = aad;
        let &[t0, t1, t2, t3, t4, t5, text_end @ ..] = text;
        let &[_, _, _, _, _, _, t6, t7, ..] = text;
        let text = [u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]), u64::from_le_bytes(text_end) >> 16];
        self.set_words(slot, nonce_words(*nonce), u64::from_le_bytes([a0, a1, a2, a3, a4, a5, 0, 0]), text);
    }

    /// [`Batch::set`] with all octets as words, little-endian. (A load that spans several smaller stores has to wait for
    /// them; so nothing is put together from octets.)
    #[inline]
    pub fn set_words(&mut self, slot: usize, nonce: (u64, u32), aad: u64, text: [u64; 2]) {
        self.nonce[slot] = words(nonce.0, nonce.1.into());
        // The other half does not count, and takes a store.
        self.aad[slot].as_chunks_mut().0[0] = aad.to_le_bytes();
        self.text[slot] = words(text[0], text[1]);
    }

    /// Sets what opening needs of a slot from a sealed option, its octets from the Option Type on.
    #[inline]
    pub fn set_sealed(&mut self, slot: usize, nonce: (u64, u32), option: &[u8; ENCRYPTED_LEN]) {
        let word = |at: usize| {
            let mut octets = [0; 8];
            octets.copy_from_slice(&option[at..at + 8]);
            u64::from_le_bytes(octets)
        };
        // Octets of the neighbours are shifted out.
        let (aad, end) = (word(0) << NOT_AAD >> NOT_AAD, word(TAG_AT - 8) >> NOT_TEXT);
        self.set_words(slot, nonce, aad, [word(TEXT_AT), end]);
        self.tag[slot] = words(word(TAG_AT), word(TAG_AT + 8));
    }

    /// Sets a slot's nonce only, as words: for who has filled in the rest.
    #[inline]
    pub fn set_nonce(&mut self, slot: usize, nonce: (u64, u32)) {
        self.nonce[slot] = words(nonce.0, nonce.1.into());
    }

    /// The octets of a slot's text.
    #[inline]
    #[must_use]
    pub fn text_of(&self, slot: usize) -> &[u8; TEXT_LEN] {
        let [text @ .., _, _] = &self.text[slot];
        text
    }

    /// A slot's text as two words, little-endian; the last two octets are 0 once it was sealed or opened.
    #[inline]
    #[must_use]
    pub fn text_words(&self, slot: usize) -> [u64; 2] {
        let text = u128::from_le_bytes(self.text[slot]);
        [text as u64, (text >> 64) as u64]
    }

    /// The octets of a slot's additional data.
    #[inline]
    #[must_use]
    pub fn aad_of(&self, slot: usize) -> &[u8; AAD_LEN] {
        let [aad @ .., _, _, _, _, _, _, _, _, _, _] = &self.aad[slot];
        aad
    }

    /// Writes a slot's sealed option: additional data, text, tag.
    #[inline]
    pub fn emit_sealed(&self, slot: usize, option: &mut [u8; ENCRYPTED_LEN]) {
        // From the fields' 16 octets as they stand; each overwrites what the one before it wrote too much.
        option[..16].copy_from_slice(&self.aad[slot]);
        option[TEXT_AT..TEXT_AT + 16].copy_from_slice(&self.text[slot]);
        option[TAG_AT..].copy_from_slice(&self.tag[slot]);
    }
}

/// A field of two words, in the order of a little-endian machine.
#[inline]
fn words(low: u64, high: u64) -> [u8; 16] {
    (u128::from(low) | u128::from(high) << 64).to_le_bytes()
}
