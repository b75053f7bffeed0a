//! The messages of `control/proto/registration.proto`, and what this program makes of them. Whatever comes in is checked
//! here for its bounds, once.

use protocol::negotiation as n;
use protocol::suite::{Scope, Suite};
use std::fmt;
use zeroize::Zeroize;

mod keys;
mod news;
mod table;
mod token;

/// As generated from the `.proto`, which is the documentation.
#[allow(missing_docs, clippy::all, reason = "generated")]
pub mod proto {
    tonic::include_proto!("pdmv2.registration.v1");
}

pub use keys::{Keys, OpeningKeys, SealingKeys};
pub use news::{FEATURES, InUse, News, NodeInfo, Registering, is_within, prefixes_from_wire, prefixes_to_wire};
pub use proto::{
    Ack, Added, Alive, Behind, ClientSecret, ClientSecrets, Coordination, Ended, Forwarded, FromNode, GenerationState,
    Hello, KemRequest, KemResponse, KeySet, Need, Node, Nodes, Opening, OpeningChanges, OpeningSecret, Sealing,
    SetupRequest, SetupResponse, ToNode, Trouble, Wanted, coordination, from_node,
};
pub use table::OpeningTable;
pub use token::{TOKEN, Token};

/// Certificates of a box that a registrar passes on, at most.
pub const MAX_CHAIN: usize = 8;
/// Octets of the largest message, in both directions.
pub const MAX_MESSAGE: usize = 4 << 20;
/// Most boxes of one side.
pub const MAX_NODES: usize = 4096;
/// Most clients of one side, in scope client.
pub const MAX_CLIENTS: usize = 4096;
/// Most prefixes of a box.
pub const MAX_PREFIXES: usize = 64;
/// Most secrets of a box of the other side: of the previous, the present and the coming generation, and of those that it has
/// not left.
pub const MAX_SECRETS: usize = 8;
/// Octets of a reason for the log.
pub const MAX_REASON: usize = 200;
/// Octets of an address for the log.
pub const MAX_ADDRESS: usize = 64;
/// Octets of a generation's fingerprint.
pub const FINGERPRINT: usize = 16;

/// A message that is out of bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}: {what}; the other side is no PDMv2 program of this version")]
pub struct Malformed {
    /// Which message.
    pub message: &'static str,
    /// What is wrong in it.
    pub what: &'static str,
}

impl From<Malformed> for tonic::Status {
    fn from(malformed: Malformed) -> Self {
        Self::invalid_argument(malformed.to_string())
    }
}

fn bad<T>(message: &'static str, what: &'static str) -> Result<T, Malformed> {
    Err(Malformed { message, what })
}

impl Drop for Sealing {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl Drop for OpeningSecret {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl Drop for ClientSecret {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret(redacted)")
    }
}

impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealing(generation {}, redacted)", self.generation)
    }
}

impl fmt::Debug for OpeningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpeningSecret(generation {}, redacted)", self.generation)
    }
}

impl From<[u16; 3]> for proto::Suite {
    fn from([kem, kdf, aead]: [u16; 3]) -> Self {
        Self { kem: kem.into(), kdf: kdf.into(), aead: aead.into() }
    }
}

impl proto::Suite {
    fn ids(self, message: &'static str) -> Result<[u16; 3], Malformed> {
        let narrow = |id: u32| u16::try_from(id).or(bad(message, "an identifier of more than 16 bits"));
        Ok([narrow(self.kem)?, narrow(self.kdf)?, narrow(self.aead)?])
    }

    /// The suite, when the profile has it.
    ///
    /// # Errors
    /// It has not.
    pub fn known(self, message: &'static str) -> Result<Suite, Malformed> {
        Suite::from_ids(self.ids(message)?).map_or_else(|| bad(message, "an unknown suite"), Ok)
    }
}

/// The scope's number in messages.
#[must_use]
pub const fn scope_to_wire(scope: Scope) -> proto::Scope {
    match scope {
        Scope::Node => proto::Scope::Node,
        Scope::Client => proto::Scope::Client,
        Scope::Shared => proto::Scope::Shared,
    }
}

fn scope_from_wire(scope: i32, message: &'static str) -> Result<Scope, Malformed> {
    match proto::Scope::try_from(scope) {
        Ok(proto::Scope::Node) => Ok(Scope::Node),
        Ok(proto::Scope::Client) => Ok(Scope::Client),
        Ok(proto::Scope::Shared) => Ok(Scope::Shared),
        Ok(proto::Scope::Unspecified) | Err(_) => bad(message, "an unknown scope"),
    }
}

/// A refusal's number in messages.
#[must_use]
pub fn refusal_to_wire(refusal: n::Refusal) -> i32 {
    refusal.id().cast_signed()
}

fn refused(number: i32) -> Option<n::Refusal> {
    (number != 0).then(|| n::Refusal::from_id(number.cast_unsigned()))
}

fn array<const N: usize>(octets: &[u8], message: &'static str, what: &'static str) -> Result<[u8; N], Malformed> {
    octets.try_into().or(bad(message, what))
}

impl From<n::SetupRequest> for SetupRequest {
    fn from(r: n::SetupRequest) -> Self {
        Self {
            client: r.client,
            server: r.server,
            scope: scope_to_wire(r.scope).into(),
            last_generation: r.last_generation,
            psk_id: r.psk_id,
            suites: r.suites.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<SetupRequest> for n::SetupRequest {
    type Error = Malformed;

    fn try_from(r: SetupRequest) -> Result<Self, Malformed> {
        const MESSAGE: &str = "setup request";
        if r.suites.len() > n::message::MAX_SUITES {
            return bad(MESSAGE, "too many suites");
        }
        Ok(Self {
            client: r.client,
            server: r.server,
            scope: scope_from_wire(r.scope, MESSAGE)?,
            last_generation: r.last_generation,
            psk_id: r.psk_id,
            suites: r.suites.into_iter().map(|s| s.ids(MESSAGE)).collect::<Result<_, _>>()?,
        })
    }
}

impl From<n::SetupResponse> for SetupResponse {
    fn from(r: n::SetupResponse) -> Self {
        Self {
            refusal: 0,
            negotiation: r.negotiation.into(),
            suite: Some(r.suite.into()),
            generation: r.generation,
            public_key: r.public_key,
        }
    }
}

impl SetupResponse {
    /// A refusal.
    #[must_use]
    pub fn refuse(why: n::Refusal) -> Self {
        Self { refusal: refusal_to_wire(why), ..Self::default() }
    }

    /// The choice, or what the server says against it.
    ///
    /// # Errors
    /// Malformed.
    pub fn outcome(self) -> Result<Result<n::SetupResponse, n::Refusal>, Malformed> {
        const MESSAGE: &str = "setup response";
        if let Some(why) = refused(self.refusal) {
            return Ok(Err(why));
        }
        let Some(suite) = self.suite else { return bad(MESSAGE, "no suite") };
        Ok(Ok(n::SetupResponse {
            negotiation: array(&self.negotiation, MESSAGE, "a negotiation's name has 16 octets")?,
            suite: suite.ids(MESSAGE)?,
            generation: self.generation,
            public_key: self.public_key,
        }))
    }
}

impl From<n::KemRequest> for KemRequest {
    fn from(r: n::KemRequest) -> Self {
        Self { negotiation: r.negotiation.into(), enc: r.enc, salt: r.salt.into(), confirmation: r.confirmation }
    }
}

impl TryFrom<KemRequest> for n::KemRequest {
    type Error = Malformed;

    fn try_from(r: KemRequest) -> Result<Self, Malformed> {
        const MESSAGE: &str = "kem request";
        Ok(Self {
            negotiation: array(&r.negotiation, MESSAGE, "a negotiation's name has 16 octets")?,
            enc: r.enc,
            salt: array(&r.salt, MESSAGE, "a salt has 32 octets")?,
            confirmation: r.confirmation,
        })
    }
}

impl From<n::KemResponse> for KemResponse {
    fn from(r: n::KemResponse) -> Self {
        Self { refusal: 0, negotiation: r.negotiation.into(), enc: r.enc, confirmation: r.confirmation }
    }
}

impl KemResponse {
    /// A refusal.
    #[must_use]
    pub fn refuse(why: n::Refusal) -> Self {
        Self { refusal: refusal_to_wire(why), ..Self::default() }
    }

    /// The server's confirmation, or what it says against the client's.
    ///
    /// # Errors
    /// Malformed.
    pub fn outcome(self) -> Result<Result<n::KemResponse, n::Refusal>, Malformed> {
        if let Some(why) = refused(self.refusal) {
            return Ok(Err(why));
        }
        Ok(Ok(n::KemResponse {
            negotiation: array(&self.negotiation, "kem response", "a negotiation's name has 16 octets")?,
            enc: self.enc,
            confirmation: self.confirmation,
        }))
    }
}

#[cfg(test)]
mod table_tests;
#[cfg(test)]
mod tests;
