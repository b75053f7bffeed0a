//! Bounds of messages, and what is out of them.

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

/// It is out of bounds.
///
/// # Errors
/// Always.
pub fn bad<T>(message: &'static str, what: &'static str) -> Result<T, Malformed> {
    Err(Malformed { message, what })
}

/// So many octets.
///
/// # Errors
/// More or fewer.
pub fn array<const N: usize>(octets: &[u8], message: &'static str, what: &'static str) -> Result<[u8; N], Malformed> {
    octets.try_into().or(bad(message, what))
}
