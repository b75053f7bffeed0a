//! The server primary's steps.

use crate::agreed::{Agreed, BACK, CONFIRM_CLIENT, CONFIRM_SERVER, Pending, SHARED, confirmed};
use crate::error::Error;
use crate::kem::{self, PrivateKey, Proof};
use crate::message::{KemRequest, KemResponse, NEGOTIATION, SetupRequest, SetupResponse, info, show_psk, show_suites};
use crate::parties::{Identity, Peer, usable};
use hpke::rand_core::CryptoRng;
use protocol::suite::{Kem, Scope, Suite};

/// Whose order of preference decides among the suites that both sides allow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Prefer {
    /// The server's.
    #[default]
    Server,
    /// The client's.
    Client,
}

/// What the server primary allows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Allowed suites, the most preferred first.
    pub suites: Vec<Suite>,
    /// Whose order decides.
    pub prefer: Prefer,
}

impl Policy {
    /// The suite, among those offered and allowed that `fits` takes.
    pub(crate) fn choose(&self, offered: &[[u16; 3]], fits: impl Fn(Suite) -> bool) -> Option<Suite> {
        let offered: Vec<Suite> = offered.iter().filter_map(|&ids| Suite::from_ids(ids)).collect();
        let (first, second) = match self.prefer {
            Prefer::Server => (&self.suites, &offered),
            Prefer::Client => (&offered, &self.suites),
        };
        first.iter().copied().find(|&suite| second.contains(&suite) && fits(suite))
    }
}

/// The server primary.
pub struct Server;

/// Waits for the kem request. Holds the private key of this negotiation, which goes with it.
#[derive(Debug)]
pub struct ServerSetup {
    me: Identity,
    peer: Peer,
    pending: Waiting,
    negotiation: [u8; NEGOTIATION],
    key: PrivateKey,
}

struct Waiting(Pending);

impl core::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}, generation {}", self.0.suite, self.0.generation)
    }
}

impl Server {
    /// Step 2: chooses a suite and makes a key pair for this negotiation. The new generation is above the client's last
    /// and `last_generation`, this side's.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Names`], [`Error::Scope`], [`Error::Psk`], [`Error::NoCommonSuite`],
    /// [`Error::Exhausted`]; the client is told [`Error::refusal`].
    pub fn respond(
        me: &Identity,
        peer: &Peer,
        scope: Scope,
        last_generation: u32,
        policy: &Policy,
        request: &SetupRequest,
        rng: &mut impl CryptoRng,
    ) -> Result<(ServerSetup, SetupResponse), Error> {
        request.check()?;
        if request.client != peer.name || request.server != me.name {
            let (client, server) = (request.client.clone(), request.server.clone());
            return Err(Error::Names { client, server, here: me.name.clone(), peer: peer.name.clone() });
        }
        if request.scope != scope {
            return Err(Error::Scope { ours: scope, theirs: request.scope });
        }
        if request.psk_id != peer.psk_id() {
            return Err(Error::Psk { ours: show_psk(peer.psk_id()), theirs: show_psk(&request.psk_id) });
        }
        let suite = policy
            .choose(&request.suites, |suite| usable(suite, me, peer).is_ok())
            .ok_or_else(|| Error::NoCommonSuite(show_suites(&request.suites)))?;
        let generation = last_generation.max(request.last_generation).checked_add(1).ok_or(Error::Exhausted)?;
        let key = PrivateKey::generate(suite.kem, rng);
        let mut negotiation = [0; NEGOTIATION];
        rng.fill_bytes(&mut negotiation);
        let response =
            SetupResponse { negotiation, suite: suite.ids(), generation, public_key: key.public().octets().to_vec() };
        let pending = Waiting(Pending { suite, scope, generation, info: info(request, &response) });
        Ok((ServerSetup { me: me.clone(), peer: peer.clone(), pending, negotiation, key }, response))
    }
}

impl ServerSetup {
    /// The number of the generation that is being made.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.pending.0.generation
    }

    #[cfg(test)]
    pub(crate) fn key_octets(&self) -> [u8; 32] {
        self.key.octets()
    }

    /// How the kem request names this negotiation.
    #[must_use]
    pub fn negotiation(&self) -> [u8; NEGOTIATION] {
        self.negotiation
    }

    /// Step 4: the secret, if the client proves that it has the same.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::OtherNegotiation`], [`Error::Kem`], [`Error::NotConfirmed`]; the client is told
    /// [`Error::refusal`].
    pub fn finish(self, request: &KemRequest, rng: &mut impl CryptoRng) -> Result<(Agreed, KemResponse), Error> {
        request.check()?;
        if request.negotiation != self.negotiation {
            return Err(Error::OtherNegotiation);
        }
        let Self { me, peer, pending: Waiting(pending), negotiation, key } = self;
        let (suite, psk) = (pending.suite, peer.psk.as_ref());
        let mut shared = pending.secret();
        let proof = Proof { key: peer.key(suite.kem), psk };
        kem::receive(suite, proof, &key, &request.enc, pending.export(SHARED), &mut shared)?;
        let expected = pending.confirmation(&request.salt, &shared, CONFIRM_CLIENT, &[])?;
        confirmed(&expected, &request.confirmation)?;
        let mut back = pending.secret();
        let (enc, back): (_, &[u8]) = if suite.kem == Kem::XWing {
            (Vec::new(), &[])
        } else {
            let client = peer.key(suite.kem).ok_or(Error::Unusable(suite))?;
            let proof = Proof { key: me.key(suite.kem), psk };
            (kem::send(suite, proof, client, pending.export(BACK), &mut back, rng)?, &back)
        };
        let confirmation = pending.confirmation(&request.salt, &shared, CONFIRM_SERVER, back)?;
        Ok((pending.agreed(request.salt, &shared), KemResponse { negotiation, enc, confirmation }))
    }
}
