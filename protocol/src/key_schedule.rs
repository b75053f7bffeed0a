//! From a shared secret to session keys (profile sections 4, 5 and 9), with the labeled HKDF of RFC 9180 section 4.

mod short;

use crate::aead::KeyState;
use crate::five_tuple::FiveTuple;
use crate::nonce::{NN, nonce};
use crate::suite::{Aead, Kdf, Suite};
use hkdf::Hkdf;
use sha2::{Sha256, Sha384, Sha512};
use short::ShortExpand;
use std::sync::Arc;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing, optimization_barrier};

/// In front of every label.
const VERSION: &[u8] = b"HPKE-v1";

/// The label of session keys.
const SESSION: &[u8] = b"pdmv2_session";

/// The largest Nh.
pub const MAX_NH: usize = 64;

/// A secret has another length than the suite's Nh.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a secret of {found} octets, where {kdf} needs {expected}")]
pub struct WrongLength {
    /// The suite's KDF.
    pub kdf: Kdf,
    /// Nh.
    pub expected: usize,
    /// Octets given.
    pub found: usize,
}

fn check(kdf: Kdf, found: usize) -> Result<(), WrongLength> {
    if found == kdf.nh() { Ok(()) } else { Err(WrongLength { kdf, expected: kdf.nh(), found }) }
}

/// Nh octets that only the two sides know; overwritten when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SharedSecret {
    octets: [u8; MAX_NH],
    len: usize,
}

impl SharedSecret {
    /// Takes at most 64 octets (more are cut off, and the suite then refuses the length).
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        let mut octets = [0; MAX_NH];
        let len = secret.len().min(MAX_NH);
        octets[..len].copy_from_slice(&secret[..len]);
        // A longer one keeps its length, so that no suite takes what was cut off.
        Self { octets, len: secret.len() }
    }

    /// The octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.octets[..self.len.min(MAX_NH)]
    }
}

impl core::fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SharedSecret(redacted)")
    }
}

impl PartialEq for SharedSecret {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.octets.ct_eq(&other.octets).into()
    }
}

/// HKDF with its key worked in: an expansion then costs the compressions of its input only. The states are overwritten
/// when dropped (`zeroize` of the `hmac` and `sha2` crates).
#[derive(Clone)]
enum Ready {
    Sha256(Hkdf<Sha256>),
    Sha384(Hkdf<Sha384>),
    Sha512(Hkdf<Sha512>),
}

impl Ready {
    fn new(kdf: Kdf, prk: &[u8]) -> Result<Self, WrongLength> {
        check(kdf, prk.len())?;
        let wrong = |_| WrongLength { kdf, expected: kdf.nh(), found: prk.len() };
        Ok(match kdf {
            Kdf::Sha256 => Self::Sha256(Hkdf::from_prk(prk).map_err(wrong)?),
            Kdf::Sha384 => Self::Sha384(Hkdf::from_prk(prk).map_err(wrong)?),
            Kdf::Sha512 => Self::Sha512(Hkdf::from_prk(prk).map_err(wrong)?),
        })
    }

    /// `LabeledExpand`. `out` is at most 255 * Nh octets, which every caller's is.
    fn expand(&self, suite: &Suite, label: &[u8], info: &[&[u8]], out: &mut [u8]) {
        debug_assert!(info.len() <= 2 && out.len() <= 255 * 32);
        let (len, id) = ((out.len() as u16).to_be_bytes(), suite.id());
        let (first, second) = (info.first().copied().unwrap_or(&[]), info.get(1).copied().unwrap_or(&[]));
        let parts: [&[u8]; 6] = [&len, VERSION, &id, label, first, second];
        let done = match self {
            Self::Sha256(h) => h.expand_multi_info(&parts, out),
            Self::Sha384(h) => h.expand_multi_info(&parts, out),
            Self::Sha512(h) => h.expand_multi_info(&parts, out),
        };
        debug_assert!(done.is_ok());
    }
}

/// `LabeledExtract(salt, label, ikm)` of RFC 9180 section 4. Gives Nh octets.
#[must_use]
pub fn labeled_extract(suite: &Suite, salt: &[u8], label: &[u8], ikm: &[u8]) -> Zeroizing<Vec<u8>> {
    let id = suite.id();
    let parts: [&[u8]; 4] = [VERSION, &id, label, ikm];
    macro_rules! extract {
        ($hash:ty) => {{
            let mut extract = hkdf::HkdfExtract::<$hash>::new(Some(salt));
            parts.iter().for_each(|p| extract.input_ikm(p));
            let (mut prk, _) = extract.finalize();
            let out = Zeroizing::new(prk.to_vec());
            prk.as_mut_slice().zeroize();
            out
        }};
    }
    match suite.kdf {
        Kdf::Sha256 => extract!(Sha256),
        Kdf::Sha384 => extract!(Sha384),
        Kdf::Sha512 => extract!(Sha512),
    }
}

/// `LabeledExpand(prk, label, info, L)` of RFC 9180 section 4, L being the length of `out` (at most 255 * Nh).
///
/// # Errors
/// `prk` is not of Nh octets.
pub fn labeled_expand(suite: &Suite, prk: &[u8], label: &[u8], info: &[u8], out: &mut [u8]) -> Result<(), WrongLength> {
    Ready::new(suite.kdf, prk)?.expand(suite, label, &[info], out);
    Ok(())
}

/// Whom a secret is for (profile section 5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScopeId {
    /// Everyone (draft section 4.4).
    Shared,
    /// One client address (draft appendix B).
    Client([u8; 16]),
    /// One box that seals: the default.
    Node([u8; 16]),
}

/// What the secrets of one generation come from.
#[derive(Clone)]
pub struct Prk {
    suite: Suite,
    ready: Arc<Ready>,
}

impl core::fmt::Debug for Prk {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Prk(redacted)")
    }
}

impl Prk {
    /// `LabeledExtract(salt, "pdmv2_secret", shared_secret)`.
    ///
    /// # Errors
    /// The shared secret is not of the suite's Nh octets.
    pub fn new(suite: Suite, salt: &[u8; 32], shared: &SharedSecret) -> Result<Self, WrongLength> {
        check(suite.kdf, shared.len)?;
        let prk = labeled_extract(&suite, salt, b"pdmv2_secret", shared.as_bytes());
        Ok(Self { suite, ready: Arc::new(Ready::new(suite.kdf, &prk)?) })
    }

    /// Their suite.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The secret of one scope.
    #[must_use]
    pub fn secret(&self, scope: &ScopeId) -> Secret {
        let (label, info): (&[u8], &[u8]) = match scope {
            ScopeId::Shared => (b"pdmv2_shared", &[]),
            ScopeId::Client(address) => (b"pdmv2_client", address),
            ScopeId::Node(id) => (b"pdmv2_node", id),
        };
        let mut octets = Zeroizing::new([0; MAX_NH]);
        let nh = self.suite.kdf.nh();
        self.ready.expand(&self.suite, label, &[info], &mut octets[..nh]);
        Secret::made(self.suite, &octets[..nh])
    }
}

/// What session keys come from. Key sets and rings that have the same one share it; it is overwritten with the last of them.
#[derive(Clone)]
pub struct Secret {
    suite: Suite,
    state: Arc<SecretState>,
}

struct SecretState {
    octets: SharedSecret,
    ready: Ready,
    /// For session keys that are one block of output.
    short: Option<ShortExpand>,
}

impl core::fmt::Debug for Secret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

impl Secret {
    fn made(suite: Suite, octets: &[u8]) -> Self {
        // Nh octets, which `Ready` never refuses.
        let ready = match suite.kdf {
            Kdf::Sha256 => Hkdf::from_prk(octets).map(Ready::Sha256),
            Kdf::Sha384 => Hkdf::from_prk(octets).map(Ready::Sha384),
            Kdf::Sha512 => Hkdf::from_prk(octets).map(Ready::Sha512),
        };
        let ready = ready.unwrap_or_else(|_| unreachable!("Nh octets are long enough for a PRK"));
        let short = ShortExpand::new(&suite, SESSION, octets);
        Self { suite, state: Arc::new(SecretState { octets: SharedSecret::new(octets), ready, short }) }
    }

    /// A secret that was handed over.
    ///
    /// # Errors
    /// It is not of the suite's Nh octets.
    pub fn from_octets(suite: Suite, octets: &[u8]) -> Result<Self, WrongLength> {
        check(suite.kdf, octets.len())?;
        Ok(Self::made(suite, octets))
    }

    /// Its octets, to hand over.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.state.octets.as_bytes()
    }

    /// Its suite.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Key and base nonce for the packets of one 5-tuple under one Kri.
    #[must_use]
    pub fn session(&self, tuple: &FiveTuple, kri: u32) -> SessionKey {
        let (nk, tuple) = (self.suite.aead.nk(), tuple.octets());
        let mut out = [0; 32 + NN];
        if let (Some(short), Some(first)) = (&self.state.short, out.first_chunk_mut()) {
            *first = short.expand(&tuple, kri);
        } else {
            self.state.ready.expand(&self.suite, SESSION, &[&tuple, &kri.to_be_bytes()], &mut out[..nk + NN]);
        }
        let mut session = SessionKey { key: [0; 32], base_nonce: [0; NN] };
        session.key[..nk].copy_from_slice(&out[..nk]);
        session.base_nonce.copy_from_slice(&out[nk..nk + NN]);
        out.as_mut_slice().zeroize();
        session
    }
}

/// The draft's `SessionTemporaryKey`, and the base nonce beside it.
#[derive(Clone)]
pub struct SessionKey {
    /// The first Nk octets are the key, the others 0.
    pub key: [u8; 32],
    /// XORed with PRSEQ into each packet's nonce.
    pub base_nonce: [u8; NN],
}

impl Drop for SessionKey {
    fn drop(&mut self) {
        // As a whole; `zeroize` goes octet by octet.
        (self.key, self.base_nonce) = ([0; 32], [0; NN]);
        optimization_barrier(self);
    }
}

impl ZeroizeOnDrop for SessionKey {}

impl SessionKey {
    /// The nonce of the packet with this PRSEQ.
    #[inline]
    #[must_use]
    pub fn nonce(&self, prseq: u16) -> [u8; NN] {
        nonce(self.base_nonce, prseq)
    }

    /// Makes it ready to seal and open with.
    #[must_use]
    pub fn ready(&self, aead: Aead) -> ReadyKey {
        ReadyKey { state: KeyState::new(aead, &self.key), base_nonce: self.base_nonce }
    }
}

/// A session key as the packet path keeps it.
#[derive(Clone)]
pub struct ReadyKey {
    /// The key and what is computed from it beforehand.
    pub state: KeyState,
    /// XORed with PRSEQ into each packet's nonce.
    pub base_nonce: [u8; NN],
}

impl Drop for ReadyKey {
    fn drop(&mut self) {
        // The state does it by itself.
        self.base_nonce = [0; NN];
        optimization_barrier(&self.base_nonce);
    }
}

impl ZeroizeOnDrop for ReadyKey {}

impl core::fmt::Debug for ReadyKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("ReadyKey(redacted)")
    }
}

impl core::fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SessionKey(redacted)")
    }
}

/// The shared secret of generation `g` under a key file (profile section 9).
///
/// # Errors
/// The file's secret is not of the suite's Nh octets.
pub fn file_generation_secret(
    suite: Suite,
    salt: &[u8; 32],
    file_secret: &SharedSecret,
    generation: u32,
) -> Result<SharedSecret, WrongLength> {
    check(suite.kdf, file_secret.len)?;
    let prk = labeled_extract(&suite, salt, b"pdmv2_file", file_secret.as_bytes());
    let mut out = Zeroizing::new([0; MAX_NH]);
    let out = &mut out[..suite.kdf.nh()];
    labeled_expand(&suite, &prk, b"pdmv2_generation", &generation.to_be_bytes(), out)?;
    Ok(SharedSecret::new(out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::Kem;

    #[test]
    fn wrong_lengths_are_refused_by_every_kdf() {
        for &kdf in Kdf::ALL {
            let suite = Suite { kdf, ..Suite::default() };
            for len in [0, 31, kdf.nh() - 1, kdf.nh() + 1, 65, 1000] {
                let secret = vec![1; len];
                let expected = WrongLength { kdf, expected: kdf.nh(), found: len };
                assert_eq!(
                    Prk::new(suite, &[0; 32], &SharedSecret::new(&secret)).err(),
                    (len != kdf.nh()).then_some(expected)
                );
                assert_eq!(Secret::from_octets(suite, &secret).err(), (len != kdf.nh()).then_some(expected));
            }
        }
    }

    #[test]
    fn every_input_changes_the_key() {
        let suite = Suite::default();
        let tuple = FiveTuple { src: [1; 16], sport: 2, dst: [3; 16], dport: 4, protocol: 6 };
        let make = |suite: Suite, salt: u8, secret: u8, scope: &ScopeId, tuple: &FiveTuple, kri| {
            let shared = SharedSecret::new(&vec![secret; suite.kdf.nh()]);
            Prk::new(suite, &[salt; 32], &shared).expect("length").secret(scope).session(tuple, kri).key
        };
        let node = ScopeId::Node([9; 16]);
        let keys = [
            make(suite, 1, 1, &node, &tuple, 0),
            make(suite, 2, 1, &node, &tuple, 0),
            make(suite, 1, 2, &node, &tuple, 0),
            make(suite, 1, 1, &ScopeId::Client([9; 16]), &tuple, 0),
            make(suite, 1, 1, &ScopeId::Node([8; 16]), &tuple, 0),
            make(suite, 1, 1, &ScopeId::Shared, &tuple, 0),
            make(suite, 1, 1, &node, &tuple.reversed(), 0),
            make(suite, 1, 1, &node, &tuple, 1),
            make(Suite { kem: Kem::P256, ..suite }, 1, 1, &node, &tuple, 0),
            make(Suite { aead: Aead::Aes256Gcm, ..suite }, 1, 1, &node, &tuple, 0),
        ];
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }

    #[test]
    fn secrets_do_not_show() {
        let secret = Secret::from_octets(Suite::default(), &[0xAB; 32]).expect("length");
        let session = secret.session(&FiveTuple::default(), 0);
        let text = format!("{secret:?} {session:?} {:?}", SharedSecret::new(&[0xAB; 32]));
        assert!(!text.contains("171") && !text.to_lowercase().contains("abab"), "{text}");
    }
}
