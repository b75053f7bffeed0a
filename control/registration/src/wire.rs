//! The messages of `proto/registration.proto`, their bounds, and what several programs make of them. What one program alone
//! takes is checked there: key sets in the box (`keys`), what primaries and boxes say in the registrar (`messages`).

mod bounds;
#[cfg(feature = "negotiation")]
mod negotiating;
mod node;
pub mod proto;
mod suites;
mod token;

pub use bounds::{
    FINGERPRINT, MAX_ADDRESS, MAX_CHAIN, MAX_CLIENTS, MAX_MESSAGE, MAX_NODES, MAX_PREFIXES, MAX_REASON, MAX_SECRETS,
    Malformed, array, bad,
};
#[cfg(feature = "negotiation")]
pub use negotiating::refusal_to_wire;
pub use node::{NodeInfo, prefixes_from_wire, prefixes_to_wire};
pub use proto::{
    Ack, Added, Alive, Behind, ClientSecret, ClientSecrets, Coordination, Ended, Forwarded, FromNode, GenerationState,
    Hello, KemRequest, KemResponse, KeySet, Need, Node, Nodes, Opening, OpeningChanges, OpeningSecret, RotationRequest,
    Sealing, SetupRequest, SetupResponse, ToNode, Trouble, coordination, from_node,
};
pub use suites::{scope_from_wire, scope_to_wire};
pub use token::{TOKEN, Token};

#[cfg(test)]
mod tests;
