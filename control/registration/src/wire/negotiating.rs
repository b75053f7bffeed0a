//! The messages of a negotiation, which registrars alone exchange.

use super::bounds::{Malformed, array, bad};
use super::proto::{KemRequest, KemResponse, SetupRequest, SetupResponse};
use super::suites::{scope_from_wire, scope_to_wire};
use negotiation as n;

/// A refusal's number in messages.
#[must_use]
pub fn refusal_to_wire(refusal: n::Refusal) -> i32 {
    refusal.id().cast_signed()
}

fn refused(number: i32) -> Option<n::Refusal> {
    (number != 0).then(|| n::Refusal::from_id(number.cast_unsigned()))
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
