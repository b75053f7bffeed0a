//! Values of a store as they lie there: sealed (XChaCha20-Poly1305) and bound to their names.

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

/// Octets of a nonce: long enough to be random for every value ever written.
const NONCE: usize = 24;
/// Octets of a tag.
const TAG: usize = 16;

/// Seals under the state key.
pub struct Sealer(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealer(redacted)")
    }
}

impl Sealer {
    /// With this key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Zeroizing::new(*key))
    }

    /// `nonce(24) sealed tag(16)`.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn seal(&self, name: &str, value: &[u8]) -> Result<Vec<u8>, String> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|e| e.to_string())?;
        // Room from the start: the plaintext is never moved.
        let mut sealed = Vec::with_capacity(NONCE + value.len() + TAG);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(value);
        let cipher = XChaCha20Poly1305::new((&*self.0).into());
        let tag = cipher
            .encrypt_inout_detached(&XNonce::from(nonce), name.as_bytes(), (&mut sealed[NONCE..]).into())
            .map_err(|e| e.to_string())?;
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    /// The inverse; `None` under another key or name, or when it was changed.
    #[must_use]
    pub fn open(&self, name: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE>()?;
        let (value, tag) = rest.split_last_chunk::<TAG>()?;
        let mut value = Zeroizing::new(value.to_vec());
        let (nonce, tag) = (XNonce::from(*nonce), Tag::from(*tag));
        XChaCha20Poly1305::new((&*self.0).into())
            .decrypt_inout_detached(&nonce, name.as_bytes(), value.as_mut_slice().into(), &tag)
            .ok()?;
        Some(value)
    }
}
