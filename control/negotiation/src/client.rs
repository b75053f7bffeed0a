//! The client primary's steps, each a type that the next step consumes.

use crate::agreed::{Agreed, BACK, CONFIRM_CLIENT, CONFIRM_SERVER, Pending, SHARED, confirmed};
use crate::error::Error;
use crate::kem::{self, PrivateKey, Proof, PublicKey};
use crate::message::{Ids, KemRequest, KemResponse, NEGOTIATION, SALT, SetupRequest, SetupResponse, info};
use crate::parties::{Identity, Peer, usable};
use hpke::rand_core::CryptoRng;
use protocol::suite::{Kem, Scope, Suite};
use zeroize::Zeroizing;

/// The client primary.
pub struct Client;

/// Waits for the setup response.
#[derive(Debug)]
pub struct ClientSetup {
    me: Identity,
    peer: Peer,
    request: SetupRequest,
}

/// Waits for the kem response.
pub struct ClientKem {
    me: Identity,
    peer: Peer,
    pending: Pending,
    negotiation: [u8; NEGOTIATION],
    salt: [u8; SALT],
    shared: Zeroizing<Vec<u8>>,
}

impl core::fmt::Debug for ClientKem {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("ClientKem(redacted)")
    }
}

impl Client {
    /// Step 1: offers `suites`, the most preferred first. `last_generation` is the highest that this side has seen used
    /// with this peer.
    ///
    /// # Errors
    /// [`Error::Unusable`] when a suite lacks a key, [`Error::Malformed`] when names or suites are out of bounds,
    /// [`Error::Exhausted`].
    pub fn start(
        me: &Identity,
        peer: &Peer,
        scope: Scope,
        last_generation: u32,
        suites: &[Suite],
    ) -> Result<(ClientSetup, SetupRequest), Error> {
        suites.iter().try_for_each(|&suite| usable(suite, me, peer))?;
        if last_generation == u32::MAX {
            return Err(Error::Exhausted);
        }
        let request = SetupRequest {
            client: me.name.clone(),
            server: peer.name.clone(),
            scope,
            last_generation,
            psk_id: peer.psk_id().to_vec(),
            suites: suites.iter().map(Suite::ids).collect(),
        };
        request.check()?;
        Ok((ClientSetup { me: me.clone(), peer: peer.clone(), request: request.clone() }, request))
    }
}

impl ClientSetup {
    /// Step 3: encapsulates to the server's fresh key.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::NotOffered`], [`Error::OldGeneration`], [`Error::Kem`].
    pub fn encapsulate(
        self,
        response: &SetupResponse,
        rng: &mut impl CryptoRng,
    ) -> Result<(ClientKem, KemRequest), Error> {
        let Self { me, peer, request } = self;
        response.check()?;
        let offered = Suite::from_ids(response.suite).filter(|_| request.suites.contains(&response.suite));
        let suite = offered.ok_or_else(|| Error::NotOffered(Ids(response.suite).to_string()))?;
        if response.generation <= request.last_generation {
            return Err(Error::OldGeneration { found: response.generation, last: request.last_generation });
        }
        let server_key = PublicKey::from_octets(suite.kem, &response.public_key)?;
        let pending =
            Pending { suite, scope: request.scope, generation: response.generation, info: info(&request, response) };
        let mut salt = [0; SALT];
        rng.fill_bytes(&mut salt);
        let mut shared = pending.secret();
        let proof = Proof { key: me.key(suite.kem), psk: peer.psk.as_ref() };
        let enc = kem::send(suite, proof, &server_key, pending.export(SHARED), &mut shared, rng)?;
        let confirmation = pending.confirmation(&salt, &shared, CONFIRM_CLIENT, &[])?;
        let negotiation = response.negotiation;
        let message = KemRequest { negotiation, enc, salt, confirmation };
        Ok((ClientKem { me, peer, pending, negotiation, salt, shared }, message))
    }
}

impl ClientKem {
    /// Step 4: the server has the same secret, and proves that it is the server.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::OtherNegotiation`], [`Error::Kem`], [`Error::NotConfirmed`].
    pub fn finish(self, response: &KemResponse) -> Result<Agreed, Error> {
        response.check()?;
        if response.negotiation != self.negotiation {
            return Err(Error::OtherNegotiation);
        }
        let Self { me, peer, pending, salt, shared, .. } = self;
        let mut back = pending.secret();
        let back: &[u8] = if pending.suite.kem == Kem::XWing {
            &[]
        } else {
            let unusable = || Error::Unusable(pending.suite);
            let own: &PrivateKey = me.key(pending.suite.kem).ok_or_else(unusable)?;
            let proof = Proof { key: peer.key(pending.suite.kem), psk: peer.psk.as_ref() };
            kem::receive(pending.suite, proof, own, &response.enc, pending.export(BACK), &mut back)?;
            &back
        };
        confirmed(&pending.confirmation(&salt, &shared, CONFIRM_SERVER, back)?, &response.confirmation)?;
        Ok(pending.agreed(salt, &shared))
    }
}
