//! What the packet path seals and opens: up to 32 slots as arrays, and the keys' states beside them.

use super::{Path, portable};
#[cfg(target_arch = "x86_64")]
use super::{aesni, vaes256, vaes512};
use crate::key_schedule::nonce_words;
use crate::suite::Aead;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Slots per call, at most.
pub const BATCH: usize = 32;

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
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
#[repr(C, align(64))]
pub struct KeyState(pub(super) [[u8; 16]; 4]);

const _: () = assert!(size_of::<KeyState>() == 64);

impl KeyState {
    /// No key.
    pub const ZERO: Self = Self([[0; 16]; 4]);

    /// Makes the first Nk octets of `key` ready.
    #[must_use]
    pub fn new(aead: Aead, key: &[u8; 32]) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(kernel) = Kernel::of(Path::AesNi, aead) {
            return kernel.key_state(key);
        }
        let mut state = Self::ZERO;
        state.0.as_flattened_mut()[..aead.nk()].copy_from_slice(&key[..aead.nk()]);
        state
    }

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
    /// The first six octets of the option as sent; the others do not count.
    pub aad: [[u8; 16]; BATCH],
    /// Metrics, or their ciphertext, 14 octets; the other two do not count on the way in and are zero on the way out.
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
    pub fn set(&mut self, slot: usize, nonce: &[u8; 12], aad: &[u8; 6], text: &[u8; 14]) {
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

    /// Sets what opening needs of a slot from a sealed option, 36 octets from the Option Type on.
    #[inline]
    pub fn set_sealed(&mut self, slot: usize, nonce: (u64, u32), option: &[u8; 36]) {
        let word = |at: usize| {
            let mut octets = [0; 8];
            octets.copy_from_slice(&option[at..at + 8]);
            u64::from_le_bytes(octets)
        };
        // Octets of the neighbours are shifted out.
        self.set_words(slot, nonce, word(0) << 16 >> 16, [word(6), word(12) >> 16]);
        self.tag[slot] = words(word(20), word(28));
    }

    /// The 14 octets of a slot's text.
    #[inline]
    #[must_use]
    pub fn text_of(&self, slot: usize) -> &[u8; 14] {
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

    /// The six octets of a slot's additional data.
    #[inline]
    #[must_use]
    pub fn aad_of(&self, slot: usize) -> &[u8; 6] {
        let [aad @ .., _, _, _, _, _, _, _, _, _, _] = &self.aad[slot];
        aad
    }

    /// Writes a slot's sealed option, 36 octets: additional data, text, tag.
    #[inline]
    pub fn emit_sealed(&self, slot: usize, option: &mut [u8; 36]) {
        // From the fields' 16 octets as they stand; each overwrites what the one before it wrote too much.
        option[..16].copy_from_slice(&self.aad[slot]);
        option[6..22].copy_from_slice(&self.text[slot]);
        option[20..].copy_from_slice(&self.tag[slot]);
    }

    /// Seals slot i under `keys[i]` in place: `text` becomes the ciphertext, `tag` is set. Slots behind the last key are
    /// undefined afterwards.
    #[inline]
    pub fn seal(&mut self, aead: Aead, keys: &[&KeyState]) {
        self.seal_ahead_by(Path::best(), aead, keys, &[]);
    }

    /// [`Batch::seal`] that prefetches the keys of the batch to come, spread out over the work on this one: memory has that
    /// long to deliver them, and is not asked for all of them at once.
    #[inline]
    pub fn seal_ahead(&mut self, aead: Aead, keys: &[&KeyState], next: &[&KeyState]) {
        self.seal_ahead_by(Path::best(), aead, keys, next);
    }

    /// Opens slot i under `keys[i]` in place: bit i is set when its tag verifies, and `text` is then in clear; where it
    /// does not verify, `text` is all zeros. Slots behind the last key are undefined afterwards.
    #[inline]
    #[must_use]
    pub fn open(&mut self, aead: Aead, keys: &[&KeyState]) -> u32 {
        self.open_ahead_by(Path::best(), aead, keys, &[])
    }

    /// [`Batch::open`] that prefetches as [`Batch::seal_ahead`] does.
    #[inline]
    #[must_use]
    pub fn open_ahead(&mut self, aead: Aead, keys: &[&KeyState], next: &[&KeyState]) -> u32 {
        self.open_ahead_by(Path::best(), aead, keys, next)
    }

    /// [`Batch::seal`] by one path; by the portable one if this CPU has not what it takes.
    #[inline]
    pub fn seal_by(&mut self, path: Path, aead: Aead, keys: &[&KeyState]) {
        self.seal_ahead_by(path, aead, keys, &[]);
    }

    /// [`Batch::open`] by one path; by the portable one if this CPU has not what it takes.
    #[inline]
    #[must_use]
    pub fn open_by(&mut self, path: Path, aead: Aead, keys: &[&KeyState]) -> u32 {
        self.open_ahead_by(path, aead, keys, &[])
    }

    /// [`Batch::seal_ahead`] by one path; the portable one does not prefetch.
    #[inline]
    pub fn seal_ahead_by(&mut self, path: Path, aead: Aead, keys: &[&KeyState], next: &[&KeyState]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(kernel) = Kernel::of(path, aead) {
            return kernel.seal(keys, next, self);
        }
        let _ = (path, next);
        portable::seal(aead, keys, self);
    }

    /// [`Batch::open_ahead`] by one path; the portable one does not prefetch.
    #[inline]
    #[must_use]
    pub fn open_ahead_by(&mut self, path: Path, aead: Aead, keys: &[&KeyState], next: &[&KeyState]) -> u32 {
        debug_assert!(keys.len() <= BATCH);
        let keys = &keys[..keys.len().min(BATCH)];
        #[cfg(target_arch = "x86_64")]
        if let Some(kernel) = Kernel::of(path, aead) {
            return kernel.open(keys, next, self);
        }
        let _ = (path, next);
        portable::open(aead, keys, self)
    }
}

/// A field of two words, in the order of a little-endian machine.
#[inline]
fn words(low: u64, high: u64) -> [u8; 16] {
    (u128::from(low) | u128::from(high) << 64).to_le_bytes()
}

/// A kernel that this CPU has the features for, and its key length.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
struct Kernel {
    path: Path,
    aes256: bool,
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
impl Kernel {
    #[inline]
    fn of(path: Path, aead: Aead) -> Option<Self> {
        let aes256 = match aead {
            Aead::Aes128Gcm => false,
            Aead::Aes256Gcm => true,
            Aead::ChaCha20Poly1305 => return None,
        };
        // Made only where the features are: what the calls below rely on.
        (path != Path::Portable && path.is_available()).then_some(Self { path, aes256 })
    }

    fn seal(self, keys: &[&KeyState], next: &[&KeyState], batch: &mut Batch) {
        // SAFETY: `of` has found the path's features, here and in every call below.
        unsafe {
            match (self.path, self.aes256) {
                (Path::Vaes512, false) => vaes512::seal::<false>(keys, next, batch),
                (Path::Vaes512, true) => vaes512::seal::<true>(keys, next, batch),
                (Path::Vaes256, false) => vaes256::seal::<false>(keys, next, batch),
                (Path::Vaes256, true) => vaes256::seal::<true>(keys, next, batch),
                (_, false) => aesni::seal::<false>(keys, next, batch),
                (_, true) => aesni::seal::<true>(keys, next, batch),
            }
        }
    }

    fn open(self, keys: &[&KeyState], next: &[&KeyState], batch: &mut Batch) -> u32 {
        // SAFETY: as above.
        let verified = unsafe {
            match (self.path, self.aes256) {
                (Path::Vaes512, false) => vaes512::open::<false>(keys, next, batch),
                (Path::Vaes512, true) => vaes512::open::<true>(keys, next, batch),
                (Path::Vaes256, false) => vaes256::open::<false>(keys, next, batch),
                (Path::Vaes256, true) => vaes256::open::<true>(keys, next, batch),
                (_, false) => aesni::open::<false>(keys, next, batch),
                (_, true) => aesni::open::<true>(keys, next, batch),
            }
        };
        // The last group may have been filled up.
        verified & ((1u64 << keys.len()) - 1) as u32
    }

    fn key_state(self, key: &[u8; 32]) -> KeyState {
        // SAFETY: as above: every kernel's features contain those of AES-NI.
        unsafe { if self.aes256 { aesni::key_state::<true>(key) } else { aesni::key_state::<false>(key) } }
    }
}
