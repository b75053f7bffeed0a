//! HPKE of the `hpke` crate, its types chosen at run time: private keys, public keys, and the one thing that is wanted
//! of a context here, its exporter (RFC 9180 section 5.3).

use ::hpke::aead::{AesGcm128, AesGcm256, ChaCha20Poly1305};
use ::hpke::kdf::{HkdfSha256, HkdfSha384, HkdfSha512};
use ::hpke::kem::{DhP256HkdfSha256, X25519HkdfSha256, XWing};
use ::hpke::rand_core::CryptoRng;
use ::hpke::{
    Deserializable, HpkeError, Kem as HpkeKem, OpModeR, OpModeS, PskBundle, Serializable, setup_receiver,
    setup_sender_with_rng,
};
use core::fmt;
use protocol::suite::{Aead, Kdf, Kem, Suite};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Nsk of every KEM of the profile.
const NSK: usize = 32;
/// Octets of the least pre-shared key (RFC 9180 section 5.1.2: at least 32 octets of entropy).
pub const MIN_PSK: usize = 32;
/// Octets of the longest pre-shared key.
pub const MAX_PSK: usize = 128;
/// Octets of the longest name of a pre-shared key.
pub const MAX_PSK_ID: usize = 63;

/// Octets that HPKE does not take.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KemError {
    /// Not a public key.
    #[error("{octets} octets that are not a public key of {kem}, which has {expected}")]
    PublicKey {
        /// Of this KEM.
        kem: Kem,
        /// Octets given.
        octets: usize,
        /// Octets that it should have.
        expected: usize,
    },
    /// Not an encapsulation, or one of a point that must not be used.
    #[error("{octets} octets that are not an encapsulation of {kem}, which has {expected}")]
    Encapsulation {
        /// Of this KEM.
        kem: Kem,
        /// Octets given.
        octets: usize,
        /// Octets that it should have.
        expected: usize,
    },
    /// Neither a static key nor a pre-shared key says who the other side is.
    #[error("{0} without a pre-shared key: nothing would say who the other side is")]
    Unauthenticated(Kem),
    /// A pre-shared key or its name has a length that is not allowed.
    #[error("a pre-shared key has {MIN_PSK} to {MAX_PSK} octets, its name 1 to {MAX_PSK_ID}")]
    Psk,
}

/// Runs an expression with `$K` as the crate's type for a KEM.
macro_rules! with_kem {
    ($kem:expr, $K:ident => $body:expr) => {
        match $kem {
            Kem::X25519 => {
                type $K = X25519HkdfSha256;
                $body
            }
            Kem::P256 => {
                type $K = DhP256HkdfSha256;
                $body
            }
            Kem::XWing => {
                type $K = XWing;
                $body
            }
        }
    };
}

/// Calls `$f::<AEAD, KDF, K>` with the crate's types for a suite's KDF and AEAD.
macro_rules! with_kdf_and_aead {
    ($suite:expr, $f:ident::<$K:ident> $args:tt) => {
        match ($suite.kdf, $suite.aead) {
            (Kdf::Sha256, Aead::Aes128Gcm) => $f::<AesGcm128, HkdfSha256, $K> $args,
            (Kdf::Sha256, Aead::Aes256Gcm) => $f::<AesGcm256, HkdfSha256, $K> $args,
            (Kdf::Sha256, Aead::ChaCha20Poly1305) => $f::<ChaCha20Poly1305, HkdfSha256, $K> $args,
            (Kdf::Sha384, Aead::Aes128Gcm) => $f::<AesGcm128, HkdfSha384, $K> $args,
            (Kdf::Sha384, Aead::Aes256Gcm) => $f::<AesGcm256, HkdfSha384, $K> $args,
            (Kdf::Sha384, Aead::ChaCha20Poly1305) => $f::<ChaCha20Poly1305, HkdfSha384, $K> $args,
            (Kdf::Sha512, Aead::Aes128Gcm) => $f::<AesGcm128, HkdfSha512, $K> $args,
            (Kdf::Sha512, Aead::Aes256Gcm) => $f::<AesGcm256, HkdfSha512, $K> $args,
            (Kdf::Sha512, Aead::ChaCha20Poly1305) => $f::<ChaCha20Poly1305, HkdfSha512, $K> $args,
        }
    };
}

/// A public key, found valid for its KEM.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    kem: Kem,
    octets: Vec<u8>,
}

impl PublicKey {
    /// Takes the octets of `SerializePublicKey` (RFC 9180 section 4; P-256: the uncompressed point).
    ///
    /// # Errors
    /// [`KemError::PublicKey`]: another length, or not a point of the curve.
    pub fn from_octets(kem: Kem, octets: &[u8]) -> Result<Self, KemError> {
        with_kem!(kem, K => public::<K>(kem, octets).map(|_| Self { kem, octets: octets.to_vec() }))
    }

    /// Its KEM.
    #[must_use]
    pub fn kem(&self) -> Kem {
        self.kem
    }

    /// `SerializePublicKey`.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({}, ", self.kem)?;
        self.octets.iter().take(8).try_for_each(|o| write!(f, "{o:02x}"))?;
        f.write_str("..)")
    }
}

/// A private key; overwritten when dropped.
#[derive(Clone)]
pub struct PrivateKey {
    kem: Kem,
    octets: [u8; NSK],
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        self.octets.zeroize();
    }
}

impl ZeroizeOnDrop for PrivateKey {}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({}, redacted)", self.kem)
    }
}

impl PrivateKey {
    /// `DeriveKeyPair` (RFC 9180 section 7.1.3) of 32 random octets. Each KEM gets a key of its own.
    #[must_use]
    pub fn derive(kem: Kem, seed: &[u8; NSK]) -> Self {
        with_kem!(kem, K => Self::of::<K>(kem, &K::derive_keypair(seed).0))
    }

    /// A new one.
    pub fn generate(kem: Kem, rng: &mut impl CryptoRng) -> Self {
        with_kem!(kem, K => Self::of::<K>(kem, &K::gen_keypair_with_rng(rng).0))
    }

    /// The inverse of `SerializePrivateKey`.
    #[cfg(test)]
    pub fn from_octets(kem: Kem, octets: &[u8]) -> Option<Self> {
        with_kem!(kem, K => private::<K>(octets).map(|key| Self::of::<K>(kem, &key)))
    }

    /// As `SerializePrivateKey` gives it.
    #[cfg(test)]
    pub fn octets(&self) -> [u8; NSK] {
        self.octets
    }

    fn of<K: HpkeKem>(kem: Kem, key: &K::PrivateKey) -> Self {
        let mut serialized = key.to_bytes();
        let mut octets = [0; NSK];
        // All of them have Nsk octets.
        octets.iter_mut().zip(serialized.iter()).for_each(|(to, from)| *to = *from);
        serialized.as_mut_slice().zeroize();
        Self { kem, octets }
    }

    /// Its KEM.
    #[must_use]
    pub fn kem(&self) -> Kem {
        self.kem
    }

    /// The public key that belongs to it.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let octets = with_kem!(self.kem, K => private::<K>(&self.octets).map(|k| K::sk_to_pk(&k).to_bytes().to_vec()));
        PublicKey { kem: self.kem, octets: octets.unwrap_or_default() }
    }
}

/// A pre-shared key and its name; overwritten when dropped.
#[derive(Clone)]
pub struct Psk {
    id: Vec<u8>,
    key: zeroize::Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Psk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Psk({}, redacted)", self.id.escape_ascii())
    }
}

impl Psk {
    /// A key of 32 to 128 octets, named alike on both sides.
    ///
    /// # Errors
    /// [`KemError::Psk`]: another length.
    pub fn new(id: &[u8], key: &[u8]) -> Result<Self, KemError> {
        if (MIN_PSK..=MAX_PSK).contains(&key.len()) && (1..=MAX_PSK_ID).contains(&id.len()) {
            Ok(Self { id: id.to_vec(), key: key.to_vec().into() })
        } else {
            Err(KemError::Psk)
        }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &[u8] {
        &self.id
    }
}

/// What says who the sender is: its static key (mode_auth), a pre-shared key (mode_psk), both (mode_auth_psk). `T` is
/// [`PrivateKey`] at the sender, [`PublicKey`] at the receiver.
pub struct Proof<'a, T> {
    /// The sender's static key.
    pub key: Option<&'a T>,
    /// The pre-shared key.
    pub psk: Option<&'a Psk>,
}

impl<T> Clone for Proof<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Proof<'_, T> {}

/// What is exported from a context, and what it is bound to.
#[derive(Clone, Copy)]
pub struct Export<'a> {
    /// Application-supplied information (RFC 9180 section 5.1).
    pub info: &'a [u8],
    /// `exporter_context`.
    pub label: &'a [u8],
}

/// Encapsulates to `recipient` and writes the export into `out`; gives `enc`.
///
/// # Errors
/// [`KemError::Unauthenticated`]; [`KemError::PublicKey`] when the recipient's is of another KEM or of small order.
pub fn send(
    suite: Suite,
    proof: Proof<'_, PrivateKey>,
    recipient: &PublicKey,
    export: Export<'_>,
    out: &mut [u8],
    rng: &mut impl CryptoRng,
) -> Result<Vec<u8>, KemError> {
    with_kem!(suite.kem, K => {
        let to = public::<K>(suite.kem, recipient.octets())?;
        let key = match proof.key.filter(|_| suite.kem != Kem::XWing) {
            Some(key) => Some(private::<K>(&key.octets).filter(|_| key.kem == suite.kem).ok_or(KemError::Unauthenticated(suite.kem))?),
            None => None,
        };
        let pair = key.map(|k| { let public = K::sk_to_pk(&k); (k, public) });
        let mode = match (pair, proof.psk) {
            (Some(pair), None) => OpModeS::<K>::Auth(pair),
            (Some(pair), Some(psk)) => OpModeS::AuthPsk(pair, bundle(psk)?),
            (None, Some(psk)) => OpModeS::Psk(bundle(psk)?),
            (None, None) => return Err(KemError::Unauthenticated(suite.kem)),
        };
        with_kdf_and_aead!(suite, send_as::<K>(&mode, &to, export, out, rng))
            .map_err(|_| public_error::<K>(suite.kem, recipient.octets()))
    })
}

/// The inverse of [`send`]: the same export from `enc` and the recipient's private key.
///
/// # Errors
/// [`KemError::Unauthenticated`], [`KemError::PublicKey`] (the sender's), [`KemError::Encapsulation`].
pub fn receive(
    suite: Suite,
    proof: Proof<'_, PublicKey>,
    recipient: &PrivateKey,
    enc: &[u8],
    export: Export<'_>,
    out: &mut [u8],
) -> Result<(), KemError> {
    with_kem!(suite.kem, K => {
        let wrong = || KemError::Encapsulation { kem: suite.kem, octets: enc.len(), expected: enc_size::<K>() };
        let key = match proof.key.filter(|_| suite.kem != Kem::XWing) {
            Some(key) => Some(public::<K>(suite.kem, key.octets())?),
            None => None,
        };
        let mode = match (key, proof.psk) {
            (Some(key), None) => OpModeR::<K>::Auth(key),
            (Some(key), Some(psk)) => OpModeR::AuthPsk(key, bundle(psk)?),
            (None, Some(psk)) => OpModeR::Psk(bundle(psk)?),
            (None, None) => return Err(KemError::Unauthenticated(suite.kem)),
        };
        let enc = <K as HpkeKem>::EncappedKey::from_bytes(enc).map_err(|_| wrong())?;
        let own = private::<K>(&recipient.octets).filter(|_| recipient.kem == suite.kem).ok_or_else(wrong)?;
        with_kdf_and_aead!(suite, receive_as::<K>(&mode, &own, &enc, export, out)).map_err(|_| wrong())
    })
}

fn send_as<A: ::hpke::aead::Aead, F: ::hpke::kdf::Kdf, K: HpkeKem>(
    mode: &OpModeS<'_, K>,
    recipient: &K::PublicKey,
    export: Export<'_>,
    out: &mut [u8],
    rng: &mut impl CryptoRng,
) -> Result<Vec<u8>, HpkeError> {
    let (enc, context) = setup_sender_with_rng::<A, F, K>(mode, recipient, export.info, rng)?;
    context.export(export.label, out)?;
    Ok(enc.to_bytes().to_vec())
}

fn receive_as<A: ::hpke::aead::Aead, F: ::hpke::kdf::Kdf, K: HpkeKem>(
    mode: &OpModeR<'_, K>,
    recipient: &K::PrivateKey,
    enc: &K::EncappedKey,
    export: Export<'_>,
    out: &mut [u8],
) -> Result<(), HpkeError> {
    setup_receiver::<A, F, K>(mode, recipient, enc, export.info)?.export(export.label, out)
}

fn bundle(psk: &Psk) -> Result<PskBundle<'_>, KemError> {
    PskBundle::new(&psk.key, &psk.id).map_err(|_| KemError::Psk)
}

fn private<K: HpkeKem>(octets: &[u8]) -> Option<K::PrivateKey> {
    K::PrivateKey::from_bytes(octets).ok()
}

fn public<K: HpkeKem>(kem: Kem, octets: &[u8]) -> Result<K::PublicKey, KemError> {
    K::PublicKey::from_bytes(octets).map_err(|_| public_error::<K>(kem, octets))
}

fn public_error<K: HpkeKem>(kem: Kem, octets: &[u8]) -> KemError {
    KemError::PublicKey { kem, octets: octets.len(), expected: <K::PublicKey as Serializable>::size() }
}

fn enc_size<K: HpkeKem>() -> usize {
    <K::EncappedKey as Serializable>::size()
}
