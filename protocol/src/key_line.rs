//! A session key that several workers read while one of them replaces it, in two parts: what goes with the key (which
//! secret and Kri it is for, the base nonce) is small and stands beside other state of its flow; the key's state is a cache
//! line of its own.
//!
//! A sequence lock over plain atomics: a reader never waits, and a reader that meets a writer derives the key for
//! itself instead (some hundred nanoseconds, once per 32,767 packets). No `unsafe`, so nothing here can tear silently:
//! a torn read is seen by its sequence number and thrown away.

use crate::aead::KeyState;
use crate::key_schedule::ReadyKey;
use crate::nonce::nonce_words;
use crate::sync::{AtomicU64, Ordering, fence};

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

/// What goes with a key, and `EXTRA` further words that belong to the same secret and Kri.
///
/// The first word is `sequence (16) | peer (16) | generation (32)`; while a writer is at work it names no secret. (A reader
/// that slept through exactly 65,536 replacements would not notice; each takes a rotation of 32,767 packets.)
#[derive(Debug)]
pub struct KeyHead<const EXTRA: usize> {
    named: AtomicU64,
    /// The base nonce's last four octets, and the Kri.
    tail: AtomicU64,
    /// The base nonce's first eight octets.
    nonce: AtomicU64,
    extra: [AtomicU64; EXTRA],
}

impl<const EXTRA: usize> Default for KeyHead<EXTRA> {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self { named: zero(), tail: zero(), nonce: zero(), extra: core::array::from_fn(|_| zero()) }
    }
}

/// Words of a key's state. Loom, which tries every order of them, gets two: enough to be torn between.
const WORDS: usize = if cfg!(loom) { 2 } else { 8 };

/// The key's state.
#[repr(C, align(64))]
pub struct KeyBody([AtomicU64; WORDS]);

impl Default for KeyBody {
    fn default() -> Self {
        Self(core::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl core::fmt::Debug for KeyBody {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("KeyBody(redacted)")
    }
}

impl Drop for KeyBody {
    fn drop(&mut self) {
        self.store(&KeyState::ZERO);
    }
}

impl KeyBody {
    /// No key.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; WORDS])
    }

    /// Copies the state. Only where nobody else can be writing it: a line that has one writer, who reads it.
    #[inline]
    pub fn load(&self, into: &mut KeyState) {
        let words: [u64; WORDS] = core::array::from_fn(|i| self.0[i].load(Ordering::Relaxed));
        into.set_words(core::array::from_fn(|i| words[i % WORDS]));
    }

    /// Replaces the state. Only for the one who may write the line, and where nobody else reads it; see [`KeyLine::put`] for lines
    /// that others read.
    pub fn store(&self, state: &KeyState) {
        for (word, value) in self.0.iter().zip(state.to_words()) {
            word.store(value, Ordering::Relaxed);
        }
    }
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<KeyBody>() == 64 && size_of::<KeyHead<2>>() == 40 && size_of::<KeyHead<0>>() == 24);

/// What a look into a line gives beside the key's state.
#[derive(Clone, Copy)]
pub struct Found<const EXTRA: usize> {
    /// The base nonce's first eight octets and its last four, little-endian: what [`Batch::set_words`] takes. As octets
    /// they would be put together in memory, and read before they are there.
    ///
    /// [`Batch::set_words`]: crate::aead::Batch::set_words
    pub base_nonce: (u64, u32),
    /// The words that were put with it.
    pub extra: [u64; EXTRA],
}

/// The two parts of a line together.
#[derive(Clone, Copy, Debug)]
pub struct KeyLine<'a, const EXTRA: usize> {
    /// What goes with the key.
    pub head: &'a KeyHead<EXTRA>,
    /// The key.
    pub body: &'a KeyBody,
}

const NAME: u64 = (1 << 48) - 1;
const ODD: u64 = 1 << 48;

impl<const EXTRA: usize> Found<EXTRA> {
    /// The base nonce.
    #[inline]
    #[must_use]
    pub fn base_nonce(&self) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&self.base_nonce.0.to_le_bytes());
        nonce[8..].copy_from_slice(&self.base_nonce.1.to_le_bytes());
        nonce
    }
}

impl<const EXTRA: usize> KeyLine<'_, EXTRA> {
    /// The key for this secret and Kri, if it is the one in the line and nobody is replacing it at this moment. Its state
    /// is copied to `into`; when there is none, what is there then is of no use.
    #[inline]
    pub fn get(&self, id: SecretId, kri: u32, into: &mut KeyState) -> Option<Found<EXTRA>> {
        let named = self.head.named.load(Ordering::Acquire);
        if named & NAME != id.0 & NAME || id.0 & NAME == 0 {
            return None;
        }
        let tail = self.head.tail.load(Ordering::Relaxed);
        let nonce = self.head.nonce.load(Ordering::Relaxed);
        let extra = core::array::from_fn(|i| self.head.extra[i].load(Ordering::Relaxed));
        self.body.load(into);
        fence(Ordering::Acquire);
        if self.head.named.load(Ordering::Relaxed) != named || tail as u32 != kri {
            return None;
        }
        Some(Found { base_nonce: (nonce, (tail >> 32) as u32), extra })
    }

    /// Puts a key into the line, unless somebody else is at it (then nothing happens, and the key is derived again when
    /// it is needed).
    pub fn put(&self, id: SecretId, kri: u32, key: &ReadyKey, extra: [u64; EXTRA]) {
        let before = self.head.named.load(Ordering::Relaxed);
        let writing = (before & !NAME).wrapping_add(ODD);
        if before & ODD != 0
            || self.head.named.compare_exchange(before, writing, Ordering::Acquire, Ordering::Relaxed).is_err()
        {
            return;
        }
        fence(Ordering::Release);
        let (nonce, end) = nonce_words(key.base_nonce);
        self.head.nonce.store(nonce, Ordering::Relaxed);
        self.head.tail.store(u64::from(end) << 32 | u64::from(kri), Ordering::Relaxed);
        for (word, value) in self.head.extra.iter().zip(extra) {
            word.store(value, Ordering::Relaxed);
        }
        self.body.store(&key.state);
        self.head.named.store(writing.wrapping_add(ODD) | id.0 & NAME, Ordering::Release);
    }

    /// Whether the line holds a key of this secret, whichever Kri.
    #[inline]
    pub fn is_of(&self, id: SecretId) -> bool {
        self.head.named.load(Ordering::Relaxed) & NAME == id.0 & NAME
    }

    /// Overwrites the key, as [`KeyLine::put`] does: others may be reading, and must not take the zeros for a key.
    pub fn clear(&self) {
        self.put(SecretId::NONE, 0, &ReadyKey { state: KeyState::ZERO, base_nonce: [0; 12] }, [0; EXTRA]);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn key(fill: u8) -> ReadyKey {
        ReadyKey { state: KeyState::from_words([u64::from_ne_bytes([fill; 8]); 8]), base_nonce: [fill ^ 0xFF; 12] }
    }

    #[test]
    fn gives_back_what_was_put_for_that_secret_and_kri_only() {
        let (head, body) = (KeyHead::<2>::default(), KeyBody::default());
        let line = KeyLine { head: &head, body: &body };
        let id = SecretId::new(3, 7);
        let mut state = KeyState::ZERO;
        assert!(line.get(SecretId::NONE, 0, &mut state).is_none());
        assert!(line.get(id, 5, &mut state).is_none());
        line.put(id, 5, &key(0xA5), [8, 9]);
        let got = line.get(id, 5, &mut state).expect("cached");
        assert_eq!((got.base_nonce(), got.extra), ([0x5A; 12], [8, 9]));
        assert_eq!(state.to_words(), key(0xA5).state.to_words());
        assert!(line.is_of(id) && !line.is_of(SecretId::new(3, 8)));
        assert!(line.get(id, 6, &mut state).is_none());
        assert!(line.get(SecretId::new(3, 8), 5, &mut state).is_none());
        assert!(line.get(SecretId::new(4, 7), 5, &mut state).is_none());
        line.clear();
        assert!(line.get(id, 5, &mut state).is_none());
        assert!(body.0.iter().all(|w| w.load(Ordering::Relaxed) == 0), "the key is gone from memory");
    }

    #[test]
    fn never_torn() {
        let (head, body) = (KeyHead::<2>::default(), KeyBody::default());
        let line = KeyLine { head: &head, body: &body };
        let id = SecretId::new(1, 1);
        std::thread::scope(|s| {
            s.spawn(|| (0..200_000u32).for_each(|i| line.put(id, i % 2, &key((i % 2) as u8), [u64::from(i % 2); 2])));
            let mut state = KeyState::ZERO;
            for _ in 0..200_000 {
                for kri in 0..2 {
                    if let Some(k) = line.get(id, kri, &mut state) {
                        assert_eq!((k.base_nonce(), k.extra), ([kri as u8 ^ 0xFF; 12], [u64::from(kri); 2]));
                        assert_eq!(state.to_words(), key(kri as u8).state.to_words());
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

    #[derive(Default)]
    struct Line(KeyHead<0>, KeyBody);

    impl Line {
        fn line(&self) -> KeyLine<'_, 0> {
            KeyLine { head: &self.0, body: &self.1 }
        }
    }

    fn key(fill: u8) -> ReadyKey {
        ReadyKey { state: KeyState::from_words([u64::from(fill); 8]), base_nonce: [fill; 12] }
    }

    #[test]
    fn loom_never_torn() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let line = Arc::new(Line::default());
            let id = SecretId::new(1, 1);
            line.line().put(id, 0, &key(0), []);
            let other = Arc::clone(&line);
            let writer = loom::thread::spawn(move || other.line().put(id, 1, &key(1), []));
            for kri in 0..2u32 {
                let mut state = KeyState::ZERO;
                if let Some(k) = line.line().get(id, kri, &mut state) {
                    assert_eq!((state.to_words(), k.base_nonce()), ([u64::from(kri); 8], [kri as u8; 12]));
                }
            }
            writer.join().expect("no panic");
        });
    }

    #[test]
    fn loom_cleared_under_a_reader() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let line = Arc::new(Line::default());
            let id = SecretId::new(1, 1);
            line.line().put(id, 0, &key(7), []);
            let other = Arc::clone(&line);
            // The receiver clears a line when its space gets another secret, while other workers may read it.
            let writer = loom::thread::spawn(move || other.line().clear());
            let mut state = KeyState::ZERO;
            if let Some(k) = line.line().get(id, 0, &mut state) {
                assert_eq!((state.to_words(), k.base_nonce()), ([7; 8], [7; 12]));
            }
            writer.join().expect("no panic");
        });
    }
}
