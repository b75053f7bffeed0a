//! Negotiations with other primaries: what this registrar answers as the server, and what came of those that it began as
//! the client.

use super::{Core, PeerEntry, State, wall_ms};
use crate::random::rng;
use common::fault;
use negotiation as n;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// A negotiation whose kem request has not come by then is forgotten.
const NEGOTIATION: Duration = Duration::from_secs(30);
/// The answer to a kem request waits for the store for so long: the client gives up a little later.
const KEPT_WITHIN: Duration = Duration::from_secs(8);

/// The engine's order to negotiate, for the task that talks to a server primary.
#[derive(Clone, Debug)]
pub struct Negotiate {
    /// The highest generation known to be used.
    pub last: u32,
    /// For the log.
    pub reason: String,
}

/// Orders to negotiate, by peer, as far as this registrar is the client towards it.
pub type Orders = Vec<(String, mpsc::UnboundedReceiver<Negotiate>)>;

/// Why a generation of which both sides have the secret is refused all the same.
#[derive(Debug, thiserror::Error)]
pub enum NotKept {
    /// The negotiation has failed.
    #[error(transparent)]
    Refused(#[from] n::Error),
    /// The store is behind.
    #[error("the registrar cannot write its store at the moment; it goes on by itself when it can")]
    Behind,
    /// This registrar leads no more.
    #[error("this registrar does not lead its side any more")]
    Deposed,
}

impl State {
    /// Forgets negotiations whose kem request has not come in time.
    pub(super) fn forget_late_negotiations(&mut self) {
        self.pending.retain(|_, (at, _)| at.elapsed() < NEGOTIATION);
    }
}

impl Core {
    /// Steps 1 and 2, as the server.
    ///
    /// # Errors
    /// Why it refuses.
    pub fn setup(&self, peer: &PeerEntry, request: &n::SetupRequest) -> Result<n::SetupResponse, NotKept> {
        let state = &mut *self.state();
        // What would come of it could not be kept.
        if state.keeping.is_behind() {
            return Err(NotKept::Behind);
        }
        let engine = state.engines.get_mut(&peer.config.name);
        let last = match engine {
            Some(engine) => {
                engine.plausible(Instant::now(), request.last_generation)?;
                engine.last()
            }
            None => 0,
        };
        let policy = n::Policy { suites: peer.config.suites.clone(), prefer: peer.config.prefer };
        let (waiting, response) =
            n::Server::respond(&self.identity, &peer.keys, peer.config.scope, last, &policy, request, &mut rng())?;
        fault::point("setup-answered");
        // One at a time: a client that starts anew has given up the one before.
        state.pending.insert(peer.config.name.clone(), (Instant::now(), waiting));
        Ok(response)
    }

    /// Steps 3 and 4, as the server. When this returns the generation is kept.
    ///
    /// # Errors
    /// Why it refuses. A generation that is not kept in time may be later: the client, which has heard nothing of that, finds
    /// that the two differ, and another is made.
    pub async fn kem(&self, peer: &PeerEntry, request: &n::KemRequest) -> Result<n::KemResponse, NotKept> {
        let name = &peer.config.name;
        let waiting = self.state().pending.remove(name).filter(|(at, _)| at.elapsed() < NEGOTIATION);
        let (_, waiting) = waiting.ok_or(n::Error::OtherNegotiation)?;
        let (agreed, response) = waiting.finish(request, &mut rng())?;
        fault::point("kem-computed");
        let (told, kept) = oneshot::channel();
        self.with_told(name, |engine, now| engine.negotiated(now, wall_ms(), &agreed), Some(told));
        match tokio::time::timeout(KEPT_WITHIN, kept).await {
            Ok(Ok(())) if self.leads() => {}
            // Deposed meanwhile: it is not kept.
            Ok(_) => return Err(NotKept::Deposed),
            Err(_) => return Err(NotKept::Behind),
        }
        fault::point("kem-kept");
        Ok(response)
    }

    /// Whether the server can have numbered a generation like this.
    ///
    /// # Errors
    /// It is too far above those that are known.
    pub fn plausible(&self, peer: &str, number: u32) -> Result<(), n::Error> {
        self.state().engines.get_mut(peer).map_or(Ok(()), |engine| engine.plausible(Instant::now(), number))
    }

    /// Both primaries have the same secret.
    pub fn negotiated(&self, peer: &str, agreed: &n::Agreed) {
        self.with(peer, |engine, now| engine.negotiated(now, wall_ms(), agreed));
    }

    /// A negotiation has come to nothing.
    pub fn negotiation_failed(&self, peer: &str, error: &str) {
        self.with(peer, |engine, now| engine.negotiation_failed(now, error));
    }
}
