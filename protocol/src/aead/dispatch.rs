//! Sealing and opening of a batch: by the path that is chosen, or by one that is named.

use super::batch::{BATCH, Batch, KeyState};
use super::path::Path;
use super::portable;
#[cfg(target_arch = "x86_64")]
use super::{aesni, vaes256, vaes512};
use crate::suite::Aead;

impl KeyState {
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
}

impl Batch {
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

/// A kernel that this CPU has the features for, and its key length.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
struct Kernel {
    path: Path,
    aes256: bool,
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "calls of the kernels, whose CPU features `of` has found")]
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
