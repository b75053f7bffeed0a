//! The negotiation between two primaries (profile sections 7 and 8, draft sections 4.2 and appendix B): four messages
//! that end with the same [`SharedSecret`] on both sides, or with a clear error on both.
//!
//! ```text
//! client primary                                            server primary
//! Client::start      -- setup request: suites, scope, … -->  Server::respond
//! ClientSetup::      <-- setup response: suite, fresh key --
//!   encapsulate      -- kem request: enc, salt, proof ----->  ServerSetup::finish
//! ClientKem::finish  <-- kem response: enc, proof ---------
//! ```
//!
//! * `info` is the hash of both setup messages ([`message::info`]): whoever changes the offer, the choice or the public
//!   key on the way changes the secret.
//! * mode_auth with the client primary's static key, mode_auth_psk with a pre-shared key beside it, mode_psk with a KEM
//!   that has no Auth (X-Wing).
//! * The exporter alone would leave a difference unnoticed until packets fail. So both sides prove that they have the
//!   secret: `LabeledExpand(prk, "pdmv2_confirm_client", info, Nh)` in the kem request, and in the response
//!   `LabeledExpand(prk, "pdmv2_confirm_server", info || back, Nh)`, prk being that of the key schedule, so that the
//!   salt is covered too.
//! * mode_auth proves the client's static key only, as the server's key is a fresh one. The server proves its own the
//!   other way round: `back` is the export "pdmv2 server proof" of a second encapsulation, from the server's static key
//!   to the client's (empty with a KEM without Auth, where the pre-shared key stands for both).
//!
//! No I/O: messages come and go as values, random numbers come from the caller.

mod client;
mod kem;
pub mod message;
mod server;
pub mod static_keys;

#[cfg(test)]
mod tests;

pub use ::hpke::rand_core;
pub use client::{Client, ClientKem, ClientSetup};
pub use kem::{KemError, MAX_PSK, MAX_PSK_ID, MIN_PSK, PrivateKey, Psk, PublicKey};
pub use message::{KemRequest, KemResponse, Refusal, SetupRequest, SetupResponse};
pub use server::{Policy, Prefer, Server, ServerSetup};

use kem::{Export, Proof};
use message::Ids;
use protocol::key_schedule::{Prk, SharedSecret, WrongLength, labeled_expand, labeled_extract};
use protocol::suite::{Kem, Scope, Suite};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// What is exported as the shared secret (profile section 8).
const SHARED: &[u8] = b"pdmv2 shared secret";
/// What is exported as the server's proof.
const BACK: &[u8] = b"pdmv2 server proof";
const CONFIRM_CLIENT: &[u8] = b"pdmv2_confirm_client";
const CONFIRM_SERVER: &[u8] = b"pdmv2_confirm_server";

/// Why a negotiation fails.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// A field of a message is out of its bounds.
    #[error("malformed {message}: {what} is out of bounds; the other side is no PDMv2 primary of this version")]
    Malformed {
        /// Which message.
        message: &'static str,
        /// Which field.
        what: &'static str,
    },
    /// The request is of another primary, or for another.
    #[error(
        "the setup request is from '{client}' for '{server}', but this is '{here}' and its peer '{peer}'; \
        correct the names in the two configurations"
    )]
    Names {
        /// As the request has it.
        client: String,
        /// As the request has it.
        server: String,
        /// This side.
        here: String,
        /// The other.
        peer: String,
    },
    /// The configurations have different scopes.
    #[error("the other primary wants scope '{theirs}', this one has '{ours}'; set the same on both sides")]
    Scope {
        /// This side's.
        ours: Scope,
        /// The other's.
        theirs: Scope,
    },
    /// A suite cannot be used with this peer.
    #[error("suite '{0}' needs {need} for this peer; configure that, or take the suite out", need = if .0.kem == Kem::XWing
        { "a pre-shared key (its KEM has no Auth mode)" } else { "both primaries' static keys" })]
    Unusable(Suite),
    /// None of the suites offered is allowed.
    #[error("none of the suites offered is allowed here (offered: {0}); let both configurations have one in common")]
    NoCommonSuite(String),
    /// The server chose what was not offered.
    #[error(
        "the other primary chose the suite '{0}', which was not offered: somebody changed a message on the way, or \
        the other side is at fault"
    )]
    NotOffered(String),
    /// One side has a pre-shared key and the other none, or another.
    #[error(
        "the pre-shared keys differ: this side has {ours}, the other names {theirs}; configure the same psk_id and \
        key on both sides, or none"
    )]
    Psk {
        /// This side's name for it.
        ours: String,
        /// The other's.
        theirs: String,
    },
    /// Octets that HPKE does not take.
    #[error("{0}; somebody changed a message on the way, or the other side is at fault")]
    Kem(#[from] KemError),
    /// The two sides have different secrets.
    #[error(
        "the other primary has not computed the same secret: the pre-shared keys or static keys differ, or somebody \
        changed a message on the way"
    )]
    NotConfirmed,
    /// A message belongs to another negotiation.
    #[error("the message belongs to another negotiation")]
    OtherNegotiation,
    /// The generation is not above the last one.
    #[error("the other primary numbered the generation {found}, but {last} has been used")]
    OldGeneration {
        /// As the response has it.
        found: u32,
        /// The highest that this side knows.
        last: u32,
    },
    /// The other side's number is too far above this side's.
    #[error(
        "the other primary's generation {found} is too far above {last}, the newest known here; if it is right, move the \
        stores of both sides away: they begin anew"
    )]
    FarAhead {
        /// As the other side has it.
        found: u32,
        /// The highest that this side knows.
        last: u32,
    },
    /// All 2^32 - 1 generations are used.
    #[error("every generation between these two primaries has been used; give one of them a new name on both sides")]
    Exhausted,
    /// The other side refuses.
    #[error("the other primary refuses: {0}")]
    Refused(Refusal),
}

impl From<WrongLength> for Error {
    fn from(_: WrongLength) -> Self {
        Self::NotConfirmed
    }
}

impl Error {
    /// What the other side is told.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Malformed { .. } | Self::Kem(_) => Refusal::Malformed,
            Self::Names { .. } => Refusal::Peer,
            Self::Scope { .. } => Refusal::Scope,
            Self::NoCommonSuite(_) | Self::NotOffered(_) | Self::Unusable(_) => Refusal::Suites,
            Self::Psk { .. } => Refusal::Psk,
            Self::NotConfirmed => Refusal::NotConfirmed,
            Self::OtherNegotiation => Refusal::Unknown,
            Self::OldGeneration { .. } | Self::FarAhead { .. } | Self::Exhausted | Self::Refused(_) => Refusal::Other,
        }
    }
}

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

    fn key(&self, kem: Kem) -> Option<&PrivateKey> {
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
    fn key(&self, kem: Kem) -> Option<&PublicKey> {
        self.keys.iter().find(|k| k.kem() == kem)
    }

    fn psk_id(&self) -> &[u8] {
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

/// What both primaries have in the end: all that makes a generation (profile section 7).
#[derive(Clone, Debug)]
pub struct Agreed {
    /// The suite.
    pub suite: Suite,
    /// Whose secret a box seals under.
    pub scope: Scope,
    /// Its number, above all earlier ones of these two.
    pub generation: u32,
    /// Salt of the key schedule.
    pub salt: [u8; message::SALT],
    /// The exporter's secret.
    pub shared: SharedSecret,
}

impl Agreed {
    /// What the secrets of this generation come from.
    ///
    /// # Errors
    /// A shared secret that is not of the suite's Nh octets: not for one that was negotiated.
    pub fn prk(&self) -> Result<Prk, WrongLength> {
        Prk::new(self.suite, &self.salt, &self.shared)
    }
}

/// The secret that is being negotiated, with what its confirmations are made of.
struct Pending {
    suite: Suite,
    scope: Scope,
    generation: u32,
    info: [u8; 32],
}

impl Pending {
    fn export<'a>(&'a self, label: &'a [u8]) -> Export<'a> {
        Export { info: &self.info, label }
    }

    fn secret(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(vec![0; self.suite.kdf.nh()])
    }

    /// Nh octets that prove the secret and the salt.
    fn confirmation(
        &self,
        salt: &[u8; message::SALT],
        shared: &[u8],
        label: &[u8],
        back: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let prk = labeled_extract(&self.suite, salt, b"pdmv2_secret", shared);
        let bound = Zeroizing::new([&self.info[..], back].concat());
        let mut out = vec![0; self.suite.kdf.nh()];
        labeled_expand(&self.suite, &prk, label, &bound, &mut out)?;
        Ok(out)
    }

    fn agreed(self, salt: [u8; message::SALT], shared: &[u8]) -> Agreed {
        let Self { suite, scope, generation, .. } = self;
        Agreed { suite, scope, generation, salt, shared: SharedSecret::new(shared) }
    }
}

/// In constant time, whatever the lengths.
fn confirmed(ours: &[u8], theirs: &[u8]) -> Result<(), Error> {
    if ours.ct_eq(theirs).into() { Ok(()) } else { Err(Error::NotConfirmed) }
}

/// The name of a pre-shared key for messages to people.
fn show_psk(id: &[u8]) -> String {
    if id.is_empty() { "none".to_owned() } else { format!("'{}'", id.escape_ascii()) }
}

fn show_suites(suites: &[[u16; 3]]) -> String {
    let shown: Vec<_> = suites.iter().map(|&ids| Ids(ids).to_string()).collect();
    shown.join("; ")
}
