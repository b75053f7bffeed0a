//! Suites and scopes in messages.

use super::bounds::{Malformed, bad};
use super::proto;
use protocol::suite::{Scope, Suite};

impl From<[u16; 3]> for proto::Suite {
    fn from([kem, kdf, aead]: [u16; 3]) -> Self {
        Self { kem: kem.into(), kdf: kdf.into(), aead: aead.into() }
    }
}

impl proto::Suite {
    pub(super) fn ids(self, message: &'static str) -> Result<[u16; 3], Malformed> {
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

/// The inverse of [`scope_to_wire`].
///
/// # Errors
/// No scope of this version.
pub fn scope_from_wire(scope: i32, message: &'static str) -> Result<Scope, Malformed> {
    match proto::Scope::try_from(scope) {
        Ok(proto::Scope::Node) => Ok(Scope::Node),
        Ok(proto::Scope::Client) => Ok(Scope::Client),
        Ok(proto::Scope::Shared) => Ok(Scope::Shared),
        Ok(proto::Scope::Unspecified) | Err(_) => bad(message, "an unknown scope"),
    }
}
