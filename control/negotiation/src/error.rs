//! Why a negotiation fails, and what the other side is told of that.

use crate::kem::KemError;
use crate::refusal::Refusal;
use protocol::key_schedule::WrongLength;
use protocol::suite::{Kem, Scope, Suite};

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
