//! A registrar at work: the engines, and the connections of boxes and of other primaries, under one lock that nobody holds
//! while he waits. All that the engines want done is done here, after what they want kept is durable.

mod certificates;
mod keeping;
mod leading;
mod links;
mod negotiating;
mod operator;
mod sessions;
mod status;
mod writer;

use crate::config::RegistrarConfig;
use crate::engine::{Action, Closing, Effects, Engine, PeerConfig, Role, SessionId};
use crate::leadership::Leadership;
use crate::store::Store;
use anyhow::Context;
use arc_swap::ArcSwap;
use common::private_file;
use keeping::Keeping;
pub use keeping::StoreStatus;
use links::Link;
pub use negotiating::{Negotiate, NotKept, Orders};
use negotiation::{self as n, Identity};
use registration::tls::Tls;
use rustls::pki_types::CertificateDer;
use sessions::SessionEntry;
pub use sessions::{Ending, Outgoing, Registered};
pub use status::Published;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot, watch};

/// A certificate, and those between it and its authority.
pub type Chain = Arc<Vec<CertificateDer<'static>>>;

#[derive(Default)]
struct State {
    /// There while this registrar leads, as are engines, sessions and links.
    store: Option<Arc<dyn Store>>,
    engines: HashMap<String, Engine>,
    sessions: HashMap<SessionId, SessionEntry>,
    links: HashMap<String, Link>,
    /// Negotiations between setup and kem, where this side is the server; one per peer.
    pending: HashMap<String, (Instant, n::ServerSetup)>,
    /// What is on its way to the store.
    keeping: Keeping,
    /// Something has changed since the status was published.
    changed: bool,
    /// The program ends: what waits is written, if it can be, and no more.
    ends: bool,
    /// Threads that write, of this term and of those before whose store has not answered yet.
    writers: usize,
}

/// The other primary, with its keys.
#[derive(Debug)]
pub struct PeerEntry {
    /// As configured.
    pub config: PeerConfig,
    /// As HPKE needs it.
    pub keys: n::Peer,
}

/// A registrar.
pub struct Core {
    /// As configured.
    pub config: RegistrarConfig,
    /// With its static keys.
    pub identity: Identity,
    /// The other primaries.
    pub peers: Vec<PeerEntry>,
    /// Certificates.
    pub tls: Arc<Tls>,
    state: Mutex<State>,
    /// There is something for the store, or the term is over.
    work: Condvar,
    published: ArcSwap<Published>,
    leadership: watch::Sender<Leadership>,
    /// Towards those of whom this registrar is the client.
    negotiators: HashMap<String, mpsc::UnboundedSender<Negotiate>>,
    ids: AtomicU64,
    /// How often [`Core::tick`] has come to its end.
    pub(crate) turns: AtomicU64,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Core({}, redacted)", self.config.name)
    }
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis().try_into().unwrap_or(u64::MAX)
}

impl Core {
    /// Reads keys and certificates. It follows, until [`Core::lead`].
    ///
    /// # Errors
    /// A file that is missing or wrong, a suite that lacks a key.
    pub fn new(config: RegistrarConfig) -> anyhow::Result<(Arc<Self>, Orders)> {
        let seed = private_file::read_secret(&config.static_key)?;
        let identity = Identity::from_seed(&config.name, &seed);
        let tls = Arc::new(Tls::load(config.tls.clone())?);
        let mut peers = Vec::new();
        let (mut negotiators, mut orders) = (HashMap::new(), Vec::new());
        for peer in &config.peers {
            let psk = match &peer.psk {
                Some((id, file)) => Some(n::Psk::new(id.as_bytes(), &*private_file::read_secret(file)?)?),
                None => None,
            };
            let keys = n::Peer {
                name: peer.name.clone(),
                keys: negotiation::static_keys::read_public_keys(&peer.static_keys)?,
                psk,
            };
            for &suite in &peer.suites {
                n::usable(suite, &identity, &keys).with_context(|| format!("[[peer]] '{}' suites", peer.name))?;
            }
            if peer.role == Role::Client {
                let (sender, receiver) = mpsc::unbounded_channel();
                negotiators.insert(peer.name.clone(), sender);
                orders.push((peer.name.clone(), receiver));
            }
            peers.push(PeerEntry { config: peer.clone(), keys });
        }
        let this = Self {
            config,
            identity,
            peers,
            tls,
            state: Mutex::default(),
            work: Condvar::new(),
            published: ArcSwap::from_pointee(Published::default()),
            leadership: watch::Sender::new(Leadership::Follows(None)),
            negotiators,
            ids: AtomicU64::new(1),
            turns: AtomicU64::new(0),
        };
        Ok((Arc::new(this), orders))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The peer of this name.
    #[must_use]
    pub fn peer(&self, name: &str) -> Option<&PeerEntry> {
        self.peers.iter().find(|p| p.config.name == name)
    }

    /// Does what an engine wants: at once what comes after nothing that is to be kept; else the store's thread does, when it
    /// is durable. Nothing, when this registrar no longer leads. `told` hears that all is kept.
    fn apply(&self, state: &mut State, peer: &str, mut effects: Effects, told: Option<oneshot::Sender<()>>) {
        state.changed = true;
        let Some(store) = state.store.clone() else { return };
        if !store.holds() {
            return self.step_down(state, None);
        }
        // That a connection ends, or is asked whether it lives, hands nobody anything, and is not to wait for a disk.
        let at_once = |action: &Action| matches!(action, Action::Close { .. } | Action::Probe { .. });
        let (now, later): (Vec<_>, Vec<_>) = std::mem::take(&mut effects.actions).into_iter().partition(at_once);
        effects.actions = later;
        now.into_iter().for_each(|action| self.perform(state, peer, action));
        if effects.batch.is_empty() && state.keeping.is_idle() {
            effects.actions.into_iter().for_each(|action| self.perform(state, peer, action));
            let _ = told.map(|told| told.send(())); // who asked has gone
        } else {
            state.keeping.add(peer, effects, told);
            self.work.notify_all();
        }
    }

    /// Does it, now.
    fn perform(&self, state: &mut State, peer: &str, action: Action) {
        match action {
            Action::Push { session, keys } => {
                if let Some(entry) = state.sessions.get(&session) {
                    entry.outgoing.send_replace(Outgoing::Keys(Arc::new(keys)));
                }
            }
            Action::Close { session, why } => {
                if let Some(entry) = state.sessions.remove(&session) {
                    entry.outgoing.send_replace(Outgoing::Close(match why {
                        Closing::Anew => Ending::Anew,
                        Closing::Revoked => Ending::Revoked,
                        Closing::Silent => Ending::Silent,
                    }));
                }
                state.keeping.forget(|_, a| matches!(a, Action::Push { session: of, .. } if *of == session));
            }
            Action::Probe { session } => {
                if let Some(entry) = state.sessions.get(&session) {
                    entry.probes.send_modify(|n| *n = n.wrapping_add(1));
                }
            }
            Action::Tell(news) => {
                let full = state.links.get(peer).is_some_and(|link| link.news.try_send(news).is_err());
                if full {
                    tracing::warn!(peer, "the other primary does not read; the connection is ended");
                    state.links.remove(peer);
                }
            }
            Action::Negotiate { last, reason } => {
                if let Some(negotiator) = self.negotiators.get(peer) {
                    let _ = negotiator.send(Negotiate { last, reason }); // the program ends
                }
            }
        }
    }

    fn with(&self, peer: &str, what: impl FnOnce(&mut Engine, Instant) -> Effects) {
        self.with_told(peer, what, None);
    }

    fn with_told(
        &self,
        peer: &str,
        what: impl FnOnce(&mut Engine, Instant) -> Effects,
        told: Option<oneshot::Sender<()>>,
    ) {
        let state = &mut *self.state();
        let Some(engine) = state.engines.get_mut(peer) else { return };
        let effects = what(engine, Instant::now());
        self.apply(state, peer, effects, told);
    }

    /// Time has passed.
    pub fn tick(&self) {
        self.advance();
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    fn advance(&self) {
        let state = &mut *self.state();
        common::fault::still_point("registrar-stands-still", &AtomicBool::new(false));
        state.forget_late_negotiations();
        let Some(store) = state.store.clone() else { return };
        if !store.holds() {
            return self.step_down(state, None);
        }
        if state.keeping.look(|| store.trouble(), Instant::now()) {
            state.engines.values_mut().for_each(Engine::hold);
            self.publish(state);
        }
        let peers: Vec<_> = state.engines.keys().cloned().collect();
        for peer in peers {
            if let Some(engine) = state.engines.get_mut(&peer) {
                let effects = engine.tick(Instant::now());
                // Most of the time nothing follows.
                if !effects.batch.is_empty() || !effects.actions.is_empty() {
                    self.apply(state, &peer, effects, None);
                }
            }
        }
        self.publish_in_time(state);
    }
}

#[cfg(test)]
mod tests;
