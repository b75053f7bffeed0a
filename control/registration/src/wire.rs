//! The messages of `control/registration/proto/registration.proto`, and what this program makes of them. Whatever comes in is checked
//! here for its bounds, once.

use protocol::suite::{Scope, Suite};
use std::fmt;
use zeroize::Zeroize;

mod keys;
#[cfg(feature = "negotiation")]
mod negotiating;
mod news;
mod table;
mod token;

/// As generated from the `.proto`, which is the documentation.
#[allow(missing_docs, clippy::all, reason = "generated")]
pub mod proto {
    tonic::include_proto!("pdmv2.registration.v1");
}

pub use keys::{Keys, OpeningKeys, SealingKeys};
#[cfg(feature = "negotiation")]
pub use negotiating::refusal_to_wire;
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

fn array<const N: usize>(octets: &[u8], message: &'static str, what: &'static str) -> Result<[u8; N], Malformed> {
    octets.try_into().or(bad(message, what))
}

#[cfg(test)]
mod table_tests;
#[cfg(all(test, feature = "negotiation"))]
mod tests;
