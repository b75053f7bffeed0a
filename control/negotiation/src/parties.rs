//! The two primaries, each as this side knows it.

use crate::error::Error;
use crate::kem::{PrivateKey, Psk, PublicKey};
use protocol::suite::{Kem, Suite};

/// This primary.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its name, the same in both configurations.
    pub name: String,
    /// Its static keys, one per KEM at most.
    pub keys: Vec<PrivateKey>,
}

impl Identity {
    /// A primary whose static keys come from 32 random octets (RFC 9180 section 7.1.3).
    #[must_use]
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Self {
        // X-Wing has no Auth mode, so no static key.
        let keys = [Kem::X25519, Kem::P256].map(|kem| PrivateKey::derive(kem, seed)).into();
        Self { name: name.to_owned(), keys }
    }

    pub(crate) fn key(&self, kem: Kem) -> Option<&PrivateKey> {
        self.keys.iter().find(|k| k.kem() == kem)
    }
}

/// The other primary, as this side's configuration knows it.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Its static keys, one per KEM at most.
    pub keys: Vec<PublicKey>,
    /// The pre-shared key: when there is one it must be used.
    pub psk: Option<Psk>,
}

impl Peer {
    pub(crate) fn key(&self, kem: Kem) -> Option<&PublicKey> {
        self.keys.iter().find(|k| k.kem() == kem)
    }

    pub(crate) fn psk_id(&self) -> &[u8] {
        self.psk.as_ref().map_or(&[], Psk::id)
    }
}

/// Whether two primaries can use a suite: its KEM needs both static keys, or, without Auth, the pre-shared key.
///
/// # Errors
/// [`Error::Unusable`] says what is missing.
pub fn usable(suite: Suite, me: &Identity, peer: &Peer) -> Result<(), Error> {
    let there = match suite.kem {
        Kem::XWing => peer.psk.is_some(),
        kem => me.key(kem).is_some() && peer.key(kem).is_some(),
    };
    if there { Ok(()) } else { Err(Error::Unusable(suite)) }
}
