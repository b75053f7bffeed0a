//! One cache line of key state that several workers read while one of them replaces it.
//!
//! A sequence lock over plain atomics: a reader never waits, and a reader that meets a writer derives the key for
//! itself instead (some hundred nanoseconds, once per 32,767 packets). No `unsafe`, so nothing here can tear silently:
//! a torn read is seen by its sequence number and thrown away.

use crate::key_schedule::SessionKey;
use crate::sync::{AtomicU64, Ordering, fence};
use zeroize::Zeroize;

const WORDS: usize = 6;

/// Names the secret a key was derived from: the peer (or this box itself, 0) and the generation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct SecretId(u64);

impl SecretId {
    /// No secret.
    pub const NONE: Self = Self(0);

    /// The secret of `peer` (a number the control thread gives each peer and never gives twice) in `generation`.
    #[must_use]
    pub const fn new(peer: u16, generation: u32) -> Self {
        Self(1 << 63 | (peer as u64) << 32 | generation as u64)
    }

    /// The peer's number.
    #[must_use]
    pub const fn peer(self) -> u16 {
        (self.0 >> 32) as u16
    }

    /// The generation.
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.0 as u32
    }

    /// The value as one word, 0 for [`SecretId::NONE`].
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The inverse of [`SecretId::bits`].
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// A session key and what it is for, 64 octets.
#[repr(align(64))]
pub struct KeyLine {
    sequence: AtomicU64,
    id: AtomicU64,
    words: [AtomicU64; WORDS],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<KeyLine>() == 64);

impl core::fmt::Debug for KeyLine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("KeyLine(redacted)")
    }
}

impl Default for KeyLine {
    fn default() -> Self {
        Self { sequence: AtomicU64::new(0), id: AtomicU64::new(0), words: core::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl Drop for KeyLine {
    fn drop(&mut self) {
        self.clear();
    }
}

fn word(octets: &[u8], at: usize) -> u64 {
    let mut w = [0; 8];
    w.copy_from_slice(&octets[at..at + 8]);
    u64::from_ne_bytes(w)
}

impl KeyLine {
    /// The key for this secret and Kri, if it is the one in the line and nobody is replacing it at this moment.
    #[inline]
    pub fn get(&self, id: SecretId, kri: u32) -> Option<SessionKey> {
        let before = self.sequence.load(Ordering::Acquire);
        if before & 1 != 0 || self.id.load(Ordering::Relaxed) != id.0 || id == SecretId::NONE {
            return None;
        }
        let mut words: [u64; WORDS] = core::array::from_fn(|i| self.words[i].load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        if self.sequence.load(Ordering::Relaxed) != before || words[5] as u32 != kri {
            words.zeroize();
            return None;
        }
        let mut key = SessionKey { key: [0; 32], base_nonce: [0; 12] };
        for (octets, word) in key.key.chunks_exact_mut(8).zip(&words) {
            octets.copy_from_slice(&word.to_ne_bytes());
        }
        key.base_nonce[..8].copy_from_slice(&words[4].to_ne_bytes());
        key.base_nonce[8..].copy_from_slice(&((words[5] >> 32) as u32).to_ne_bytes());
        words.zeroize();
        Some(key)
    }

    /// Puts a key into the line, unless somebody else is at it (then nothing happens, and the key is derived again when
    /// it is needed).
    pub fn put(&self, id: SecretId, kri: u32, key: &SessionKey) {
        let before = self.sequence.load(Ordering::Relaxed);
        if before & 1 != 0
            || self.sequence.compare_exchange(before, before + 1, Ordering::Acquire, Ordering::Relaxed).is_err()
        {
            return;
        }
        fence(Ordering::Release);
        self.id.store(id.0, Ordering::Relaxed);
        for i in 0..4 {
            self.words[i].store(word(&key.key, i * 8), Ordering::Relaxed);
        }
        self.words[4].store(word(&key.base_nonce, 0), Ordering::Relaxed);
        let tail = u32::from_ne_bytes([key.base_nonce[8], key.base_nonce[9], key.base_nonce[10], key.base_nonce[11]]);
        self.words[5].store(u64::from(tail) << 32 | u64::from(kri), Ordering::Relaxed);
        self.sequence.store(before + 2, Ordering::Release);
    }

    /// Overwrites the key, as [`KeyLine::put`] does: others may be reading, and must not take the zeros for a key.
    pub fn clear(&self) {
        self.put(SecretId::NONE, 0, &SessionKey { key: [0; 32], base_nonce: [0; 12] });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn key(fill: u8) -> SessionKey {
        SessionKey { key: [fill; 32], base_nonce: [fill ^ 0xFF; 12] }
    }

    #[test]
    fn gives_back_what_was_put_for_that_secret_and_kri_only() {
        let line = KeyLine::default();
        let id = SecretId::new(3, 7);
        assert!(line.get(SecretId::NONE, 0).is_none());
        assert!(line.get(id, 5).is_none());
        line.put(id, 5, &key(0xA5));
        let got = line.get(id, 5).expect("cached");
        assert_eq!((got.key, got.base_nonce), ([0xA5; 32], [0x5A; 12]));
        assert!(line.get(id, 6).is_none());
        assert!(line.get(SecretId::new(3, 8), 5).is_none());
        line.clear();
        assert!(line.get(id, 5).is_none());
        assert!(line.words.iter().all(|w| w.load(Ordering::Relaxed) == 0), "the key is gone from memory");
    }

    #[test]
    fn never_torn() {
        let line = KeyLine::default();
        let id = SecretId::new(1, 1);
        std::thread::scope(|s| {
            s.spawn(|| (0..200_000u32).for_each(|i| line.put(id, i % 2, &key((i % 2) as u8))));
            for _ in 0..200_000 {
                for kri in 0..2 {
                    if let Some(k) = line.get(id, kri) {
                        assert_eq!((k.key, k.base_nonce), ([kri as u8; 32], [kri as u8 ^ 0xFF; 12]));
                    }
                }
            }
        });
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;

    #[test]
    fn loom_never_torn() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let line = Arc::new(KeyLine::default());
            let id = SecretId::new(1, 1);
            line.put(id, 0, &SessionKey { key: [0; 32], base_nonce: [0; 12] });
            let other = Arc::clone(&line);
            let writer = loom::thread::spawn(move || {
                other.put(id, 1, &SessionKey { key: [1; 32], base_nonce: [1; 12] });
            });
            for kri in 0..2u32 {
                if let Some(k) = line.get(id, kri) {
                    assert_eq!((k.key, k.base_nonce), ([kri as u8; 32], [kri as u8; 12]));
                }
            }
            writer.join().expect("no panic");
        });
    }

    #[test]
    fn loom_cleared_under_a_reader() {
        loom::model(|| {
            let line = Arc::new(KeyLine::default());
            let id = SecretId::new(1, 1);
            line.put(id, 0, &SessionKey { key: [7; 32], base_nonce: [7; 12] });
            let other = Arc::clone(&line);
            // The receiver clears a line when its space gets another secret, while other workers may read it.
            let writer = loom::thread::spawn(move || other.clear());
            if let Some(k) = line.get(id, 0) {
                assert_eq!((k.key, k.base_nonce), ([7; 32], [7; 12]));
            }
            writer.join().expect("no panic");
        });
    }
}
