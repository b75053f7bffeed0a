//! What comes of a negotiation: the secret, while it is confirmed, and what both primaries have then.

use crate::error::Error;
use crate::kem::Export;
use crate::message;
use protocol::key_schedule::{Prk, SharedSecret, WrongLength, labeled_expand, labeled_extract};
use protocol::suite::{Scope, Suite};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// What is exported as the shared secret (profile section 8).
pub(crate) const SHARED: &[u8] = b"pdmv2 shared secret";
/// What is exported as the server's proof.
pub(crate) const BACK: &[u8] = b"pdmv2 server proof";
pub(crate) const CONFIRM_CLIENT: &[u8] = b"pdmv2_confirm_client";
pub(crate) const CONFIRM_SERVER: &[u8] = b"pdmv2_confirm_server";

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
pub(crate) struct Pending {
    pub(crate) suite: Suite,
    pub(crate) scope: Scope,
    pub(crate) generation: u32,
    pub(crate) info: [u8; 32],
}

impl Pending {
    pub(crate) fn export<'a>(&'a self, label: &'a [u8]) -> Export<'a> {
        Export { info: &self.info, label }
    }

    pub(crate) fn secret(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(vec![0; self.suite.kdf.nh()])
    }

    /// Nh octets that prove the secret and the salt.
    pub(crate) fn confirmation(
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

    pub(crate) fn agreed(self, salt: [u8; message::SALT], shared: &[u8]) -> Agreed {
        let Self { suite, scope, generation, .. } = self;
        Agreed { suite, scope, generation, salt, shared: SharedSecret::new(shared) }
    }
}

/// In constant time, whatever the lengths.
pub(crate) fn confirmed(ours: &[u8], theirs: &[u8]) -> Result<(), Error> {
    if ours.ct_eq(theirs).into() { Ok(()) } else { Err(Error::NotConfirmed) }
}
