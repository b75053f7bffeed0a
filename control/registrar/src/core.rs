//! A registrar at work: the engines, and the connections of boxes and of other primaries, under one lock that nobody holds
//! while he waits. All that the engines want done is done here, after what they want kept is durable.

mod keeping;
mod operator;
mod writer;

use super::engine::{Action, Closing, Denied, Effects, Engine, EngineStatus, SessionId};
use super::store::Store;
use crate::config::{PeerConfig, RegistrarConfig};
use crate::election::Seat;
use crate::handout::Handout;
use anyhow::Context;
use arc_swap::ArcSwap;
use common::{fault, private_file};
use keeping::Keeping;
pub use keeping::StoreStatus;
use negotiation::{self as n, Identity};
use registration::tls::Tls;
use registration::wire::{News, Registering};
use rustls::pki_types::CertificateDer;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot, watch};

/// Messages to another primary that may wait; one that reads so slowly is cut off, and gets everything anew.
const LINK_QUEUE: usize = 64;
/// A negotiation whose kem request has not come by then is forgotten.
const NEGOTIATION: Duration = Duration::from_secs(30);
/// So long the answer to a kem request waits for the store: the client gives up a little later.
const KEPT_WITHIN: Duration = Duration::from_secs(8);

/// What a box's stream is to send next; the newest replaces what has not been sent.
#[derive(Clone, Debug)]
pub enum Outgoing {
    /// Nothing yet.
    Nothing,
    /// Its keys.
    Keys(Arc<Handout>),
    /// The end.
    Close(Ending),
}

/// Why a box's stream ends.
#[derive(Clone, Debug)]
pub enum Ending {
    /// The box has registered anew.
    Anew,
    /// It was revoked.
    Revoked,
    /// It has not answered while another process asked for its place.
    Silent,
    /// Its certificate is no longer good.
    Certificate(String),
    /// This registrar does not lead its side any more.
    Follows,
}

/// A certificate, and those between it and its authority.
pub type Chain = Arc<Vec<CertificateDer<'static>>>;

struct SessionEntry {
    peer: String,
    /// The box's, and that of the follower it came through.
    chains: Vec<Chain>,
    outgoing: watch::Sender<Outgoing>,
    /// Grows when the box is to be asked whether it lives.
    probes: watch::Sender<u64>,
}

/// A box's place, and what its stream is to send.
#[derive(Debug)]
pub struct Registered {
    /// Names the connection.
    pub id: SessionId,
    /// Keys, and the end.
    pub outgoing: watch::Receiver<Outgoing>,
    /// Changes when the box is to be asked whether it lives.
    pub probes: watch::Receiver<u64>,
}

struct Link {
    id: u64,
    chain: Arc<Vec<CertificateDer<'static>>>,
    news: mpsc::Sender<News>,
}

/// A wish of the engine's, for the task that talks to a server primary.
#[derive(Clone, Debug)]
pub struct Negotiate {
    /// The highest generation known to be used.
    pub last: u32,
    /// For the log.
    pub reason: String,
}

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

/// How things stood a moment ago, for whoever asks.
#[derive(Debug)]
pub struct Published {
    /// By peer; of a follower none.
    pub peers: Vec<EngineStatus>,
    /// Of one that leads.
    pub store: Option<StoreStatus>,
    at: Instant,
}

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
    seat: watch::Sender<Seat>,
    wishes: HashMap<String, mpsc::UnboundedSender<Negotiate>>,
    ids: AtomicU64,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Core({}, redacted)", self.config.name)
    }
}

/// Random numbers of the system.
pub fn rng() -> impl n::rand_core::CryptoRng {
    n::rand_core::UnwrapErr(getrandom::SysRng)
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis().try_into().unwrap_or(u64::MAX)
}

/// The status is published so often at least while things change.
const PUBLISH: Duration = Duration::from_millis(200);
/// And so often when nothing does: ages grow.
const AGES: Duration = Duration::from_secs(1);

/// Wishes for negotiations, by peer, as far as this registrar is the client towards it.
pub type Wishes = Vec<(String, mpsc::UnboundedReceiver<Negotiate>)>;

impl Core {
    /// Reads keys and certificates. It follows, until [`Core::lead`].
    ///
    /// # Errors
    /// A file that is missing or wrong, a suite that lacks a key.
    pub fn new(config: RegistrarConfig) -> anyhow::Result<(Arc<Self>, Wishes)> {
        let seed = private_file::read_secret(&config.static_key)?;
        let identity = Identity::from_seed(&config.name, &seed);
        let tls = Arc::new(Tls::load(config.tls.clone())?);
        let mut peers = Vec::new();
        let (mut senders, mut wishes) = (HashMap::new(), Vec::new());
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
            if peer.role == crate::config::Role::Client {
                let (sender, receiver) = mpsc::unbounded_channel();
                senders.insert(peer.name.clone(), sender);
                wishes.push((peer.name.clone(), receiver));
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
            published: ArcSwap::from_pointee(Published { peers: Vec::new(), store: None, at: Instant::now() }),
            seat: watch::Sender::new(Seat::Follows(None)),
            wishes: senders,
            ids: AtomicU64::new(1),
        };
        Ok((Arc::new(this), wishes))
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
                if let Some(wishes) = self.wishes.get(peer) {
                    let _ = wishes.send(Negotiate { last, reason }); // the program ends
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

    /// A box registers, with a certificate of its name, from this address. What its stream is to send comes through the
    /// receivers.
    ///
    /// # Errors
    /// [`Denied`]; `None`: this registrar does not lead.
    pub fn register(&self, who: &Registering, chains: Vec<Chain>, from: &str) -> Result<Registered, Option<Denied>> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let state = &mut *self.state();
        if state.store.is_none() {
            return Err(None);
        }
        let unknown = || Denied::Unknown(who.node.name.clone());
        let found = state.engines.iter_mut().find(|(_, engine)| engine.has_node(&who.node.name));
        let (peer, engine) = found.ok_or_else(|| Some(unknown()))?;
        let effects = engine.connect(Instant::now(), id, who, from).map_err(Some)?;
        let peer = peer.clone();
        let (outgoing, keys) = watch::channel(Outgoing::Nothing);
        let (probes, asked) = watch::channel(0);
        state.sessions.insert(id, SessionEntry { peer: peer.clone(), chains, outgoing, probes });
        self.apply(state, &peer, effects, None);
        Ok(Registered { id, outgoing: keys, probes: asked })
    }

    /// A box has answered that it lives.
    pub fn alive(&self, session: SessionId) {
        let state = &mut *self.state();
        let engine = state.sessions.get(&session).and_then(|s| state.engines.get_mut(&s.peer));
        if let Some(engine) = engine {
            engine.alive(session);
        }
    }

    /// A box uses a key set.
    pub fn ack(&self, session: SessionId, revision: u64) {
        let peer = self.state().sessions.get(&session).map(|s| s.peer.clone());
        if let Some(peer) = peer {
            self.with(&peer, |engine, now| engine.ack(now, session, revision));
        }
    }

    /// A box wants a new generation.
    pub fn need(&self, session: SessionId, reason: &str) {
        let peer = self.state().sessions.get(&session).map(|s| s.peer.clone());
        if let Some(peer) = peer {
            self.with(&peer, |engine, now| engine.need(now, session, reason));
        }
    }

    /// A box's stream has ended.
    pub fn gone(&self, session: SessionId) {
        let entry = {
            let state = &mut *self.state();
            state.keeping.forget(|_, a| matches!(a, Action::Push { session: of, .. } if *of == session));
            state.sessions.remove(&session)
        };
        if let Some(entry) = entry {
            self.with(&entry.peer, |engine, now| engine.gone(now, session));
        }
    }

    /// The other primary's stream is open; an earlier one of its ends. What it is to be told comes through the receiver.
    pub fn link_up(&self, peer: &str, chain: Arc<Vec<CertificateDer<'static>>>) -> (u64, mpsc::Receiver<News>) {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let (news, receiver) = mpsc::channel(LINK_QUEUE);
        let state = &mut *self.state();
        // Without an engine (this registrar follows) the receiver ends at once.
        if let Some(engine) = state.engines.get_mut(peer) {
            state.links.insert(peer.to_owned(), Link { id, chain, news });
            // What the one before was to be told is not for this one: it is told all anew.
            state.keeping.forget(|of, action| of == peer && matches!(action, Action::Tell(_)));
            let effects = engine.link_up(Instant::now());
            self.apply(state, peer, effects, None);
            tracing::info!(peer, "in touch with the other primary");
        }
        (id, receiver)
    }

    /// It has ended.
    pub fn link_down(&self, peer: &str, id: u64) {
        let state = &mut *self.state();
        // Replaced by a later one; or ended before, by who was first to notice.
        if state.links.get(peer).is_some_and(|link| link.id != id) {
            return;
        }
        state.links.remove(peer);
        if let Some(engine) = state.engines.get_mut(peer).filter(|engine| engine.is_linked()) {
            state.keeping.forget(|of, action| of == peer && matches!(action, Action::Tell(_)));
            let effects = engine.link_down(Instant::now());
            self.apply(state, peer, effects, None);
            tracing::warn!(peer, "no longer in touch with the other primary");
        }
    }

    /// The other primary says something on that stream, and what it takes itself.
    pub fn news(&self, peer: &str, id: u64, features: u32, news: News) {
        let state = &mut *self.state();
        if state.links.get(peer).is_some_and(|link| link.id == id)
            && let Some(engine) = state.engines.get_mut(peer)
        {
            engine.features(features);
            let effects = engine.news(Instant::now(), news);
            self.apply(state, peer, effects, None);
        }
    }

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

    /// Tells the other primary what this one could make nothing of.
    pub fn complain(&self, peer: &str, reason: &str) {
        if let Some(link) = self.state().links.get(peer) {
            let _ = link.news.try_send(News::trouble(reason)); // it does not read, and would not read this
        }
    }

    /// Time has passed.
    pub fn tick(&self) {
        let state = &mut *self.state();
        state.pending.retain(|_, (at, _)| at.elapsed() < NEGOTIATION);
        let Some(store) = state.store.clone() else { return };
        if !store.holds() {
            return self.step_down(state, None);
        }
        if state.keeping.look(|| store.trouble(), Instant::now()) {
            state.engines.values_mut().for_each(Engine::hold);
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
        self.publish(state, PUBLISH);
    }
}

#[cfg(test)]
mod tests;
