//! The four messages between two primaries (draft appendix B.3: setup and kem, request and response), and the octets of
//! the two setup messages that `info` is the hash of.

use crate::error::Error;
use crate::kem::MAX_PSK_ID;
use core::fmt;
use protocol::key_schedule::MAX_NH;
use protocol::suite::{Scope, Suite};
use sha2::{Digest, Sha256};

/// Octets of the salt (profile section 5).
pub const SALT: usize = 32;
/// Octets of a negotiation's name.
pub const NEGOTIATION: usize = 16;
/// Octets of the longest name of a primary.
pub const MAX_NAME: usize = 63;
/// Most suites in an offer: all of the profile are 27.
pub const MAX_SUITES: usize = 64;
/// Octets of the longest public key or encapsulation; X-Wing's are 1,216 and 1,120.
pub const MAX_KEY: usize = 2048;

/// Step 1: the client primary offers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetupRequest {
    /// Who offers.
    pub client: String,
    /// Whom it takes the other side for.
    pub server: String,
    /// Whose secret a box is to seal under.
    pub scope: Scope,
    /// The highest generation that the client knows to have been used between these two; 0: none.
    pub last_generation: u32,
    /// Name of the pre-shared key; empty: none.
    pub psk_id: Vec<u8>,
    /// Identifiers of the suites offered, the most preferred first. Those that are not of the profile are stepped over.
    pub suites: Vec<[u16; 3]>,
}

/// Step 2: the server primary's choice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetupResponse {
    /// Names this negotiation in the messages that follow.
    pub negotiation: [u8; NEGOTIATION],
    /// Identifiers of the suite chosen.
    pub suite: [u16; 3],
    /// The number of the generation that is being made.
    pub generation: u32,
    /// The server's public key for this negotiation.
    pub public_key: Vec<u8>,
}

/// Step 3: the encapsulation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KemRequest {
    /// As the setup response named it.
    pub negotiation: [u8; NEGOTIATION],
    /// HPKE's `enc`, to the server's key of this negotiation.
    pub enc: Vec<u8>,
    /// Salt of the key schedule.
    pub salt: [u8; SALT],
    /// Nh octets that only who knows the secret can make.
    pub confirmation: Vec<u8>,
}

/// Step 4: the status, when it is good; else an [`Error`] becomes a [`Refusal`](crate::Refusal).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KemResponse {
    /// As in the request.
    pub negotiation: [u8; NEGOTIATION],
    /// HPKE's `enc` from the server's static key to the client's; empty with a KEM that has no Auth.
    pub enc: Vec<u8>,
    /// Nh octets that only who knows the secret can make.
    pub confirmation: Vec<u8>,
}

fn within(message: &'static str, what: &'static str, ok: bool) -> Result<(), Error> {
    if ok { Ok(()) } else { Err(Error::Malformed { message, what }) }
}

fn name_ok(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

impl SetupRequest {
    /// Whether every field is within its bounds.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn check(&self) -> Result<(), Error> {
        const MESSAGE: &str = "setup request";
        within(MESSAGE, "the client's name", name_ok(&self.client))?;
        within(MESSAGE, "the server's name", name_ok(&self.server))?;
        within(MESSAGE, "the name of the pre-shared key", self.psk_id.len() <= MAX_PSK_ID)?;
        within(MESSAGE, "the number of suites", (1..=MAX_SUITES).contains(&self.suites.len()))
    }

    /// The octets that are hashed: each field in a fixed form or behind its length, so that no two requests share them.
    #[must_use]
    pub fn octets(&self) -> Vec<u8> {
        let mut out = b"pdmv2 setup request".to_vec();
        for text in [self.client.as_bytes(), self.server.as_bytes(), &self.psk_id] {
            put(&mut out, text);
        }
        out.extend(self.scope.id().to_be_bytes());
        out.extend(self.last_generation.to_be_bytes());
        out.extend((self.suites.len() as u16).to_be_bytes());
        out.extend(self.suites.iter().flatten().flat_map(|id| id.to_be_bytes()));
        out
    }
}

impl SetupResponse {
    /// Whether every field is within its bounds.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn check(&self) -> Result<(), Error> {
        within("setup response", "the public key", (1..=MAX_KEY).contains(&self.public_key.len()))?;
        within("setup response", "the generation", self.generation > 0)
    }

    /// As [`SetupRequest::octets`].
    #[must_use]
    pub fn octets(&self) -> Vec<u8> {
        let mut out = b"pdmv2 setup response".to_vec();
        out.extend(self.negotiation);
        out.extend(self.suite.iter().flat_map(|id| id.to_be_bytes()));
        out.extend(self.generation.to_be_bytes());
        put(&mut out, &self.public_key);
        out
    }
}

impl KemRequest {
    /// Whether every field is within its bounds.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn check(&self) -> Result<(), Error> {
        within("kem request", "the encapsulation", (1..=MAX_KEY).contains(&self.enc.len()))?;
        within("kem request", "the confirmation", (1..=MAX_NH).contains(&self.confirmation.len()))
    }
}

impl KemResponse {
    /// Whether every field is within its bounds.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn check(&self) -> Result<(), Error> {
        within("kem response", "the encapsulation", self.enc.len() <= MAX_KEY)?;
        within("kem response", "the confirmation", (1..=MAX_NH).contains(&self.confirmation.len()))
    }
}

/// A string behind its length in two octets.
fn put(out: &mut Vec<u8>, octets: &[u8]) {
    out.extend((octets.len() as u16).to_be_bytes());
    out.extend(octets);
}

/// `info` (profile section 8): SHA-256 over both setup messages.
#[must_use]
pub fn info(request: &SetupRequest, response: &SetupResponse) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(request.octets());
    hash.update(response.octets());
    hash.finalize().into()
}

/// A suite's identifiers for people: by name when the profile has it.
pub struct Ids(pub [u16; 3]);

impl fmt::Display for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [kem, kdf, aead] = self.0;
        match Suite::from_ids(self.0) {
            Some(suite) => suite.fmt(f),
            None => write!(f, "{kem:#06x}, {kdf:#06x}, {aead:#06x}"),
        }
    }
}

/// The name of a pre-shared key for messages to people.
pub(crate) fn show_psk(id: &[u8]) -> String {
    if id.is_empty() { "none".to_owned() } else { format!("'{}'", id.escape_ascii()) }
}

/// Suites offered, for messages to people.
pub(crate) fn show_suites(suites: &[[u16; 3]]) -> String {
    let shown: Vec<_> = suites.iter().map(|&ids| Ids(ids).to_string()).collect();
    shown.join("; ")
}
