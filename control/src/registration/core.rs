//! A registrar at work: the engines, the connections of boxes and of other primaries, and the store, under one lock. All
//! that the engines want done is done here, after what they want kept is durable.

mod operator;

use super::engine::{Action, Closing, Denied, Effects, Engine, SessionId};
use super::opening::Handout;
use super::seat::Seat;
use super::store::{Store, StoreError};
use super::tls::Tls;
use super::wire::{News, Registering};
use crate::config::registrar::{PeerConfig, RegistrarConfig};
use crate::{fault, pki, private_file};
use anyhow::Context;
use protocol::negotiation::{self as n, Identity};
use rustls::pki_types::CertificateDer;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, watch};

/// Messages to another primary that may wait; one that reads so slowly is cut off, and gets everything anew.
const LINK_QUEUE: usize = 64;
/// A negotiation whose kem request has not come by then is forgotten.
const NEGOTIATION: Duration = Duration::from_secs(30);
/// Between attempts to write to a store that refuses.
const STORE_RETRY: Duration = Duration::from_secs(1);

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

/// Where tests kill it, by what is written.
fn faults(effects: &Effects, when: &str) {
    for kind in ["generation", "sealed"] {
        if effects.batch.iter().any(|(name, _)| name.contains(&format!("/{kind}"))) {
            fault::point(&format!("{when}-{kind}"));
        }
    }
}

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
            let keys = n::Peer { name: peer.name.clone(), keys: pki::read_public_keys(&peer.static_keys)?, psk };
            for &suite in &peer.suites {
                n::usable(suite, &identity, &keys).with_context(|| format!("[[peer]] '{}' suites", peer.name))?;
            }
            if peer.role == crate::config::registrar::Role::Client {
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

    /// Does what an engine wants: first what is to be durable, however long that takes, then the rest. Nothing, when this
    /// registrar no longer leads.
    fn apply(&self, state: &mut State, peer: &str, effects: Effects) {
        let Some(store) = state.store.clone() else { return };
        if !effects.batch.is_empty() {
            faults(&effects, "write");
            // The store waits for the disk, or for etcd: let this thread's other tasks go on elsewhere.
            let kept = tokio::task::block_in_place(|| {
                loop {
                    match store.write(&effects.batch) {
                        Err(StoreError::Deposed) => return false,
                        Err(error) => tracing::error!(%error, "the store cannot be written; trying again"),
                        Ok(()) => return true,
                    }
                    std::thread::sleep(STORE_RETRY);
                }
            });
            if !kept {
                return self.step_down(state, None);
            }
            faults(&effects, "wrote");
        }
        if !store.holds() {
            return self.step_down(state, None);
        }
        for action in effects.actions {
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
    }

    fn with(&self, peer: &str, what: impl FnOnce(&mut Engine, Instant) -> Effects) {
        let state = &mut *self.state();
        let Some(engine) = state.engines.get_mut(peer) else { return };
        let effects = what(engine, Instant::now());
        self.apply(state, peer, effects);
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
        self.apply(state, &peer, effects);
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
        let entry = self.state().sessions.remove(&session);
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
            let effects = engine.link_up(Instant::now());
            self.apply(state, peer, effects);
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
            let effects = engine.link_down(Instant::now());
            self.apply(state, peer, effects);
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
            self.apply(state, peer, effects);
        }
    }

    /// Steps 1 and 2, as the server.
    ///
    /// # Errors
    /// Why it refuses.
    pub fn setup(&self, peer: &PeerEntry, request: &n::SetupRequest) -> Result<n::SetupResponse, n::Error> {
        let state = &mut *self.state();
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
    /// Why it refuses.
    pub fn kem(&self, peer: &PeerEntry, request: &n::KemRequest) -> Result<n::KemResponse, n::Error> {
        let name = &peer.config.name;
        let waiting = self.state().pending.remove(name).filter(|(at, _)| at.elapsed() < NEGOTIATION);
        let (_, waiting) = waiting.ok_or(n::Error::OtherNegotiation)?;
        let (agreed, response) = waiting.finish(request, &mut rng())?;
        fault::point("kem-computed");
        self.negotiated(name, &agreed);
        // Deposed meanwhile: it is not kept.
        if !self.leads() {
            return Err(n::Error::OtherNegotiation);
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
        if state.store.as_ref().is_some_and(|store| !store.holds()) {
            self.step_down(state, None);
        }
        let peers: Vec<_> = state.engines.keys().cloned().collect();
        for peer in peers {
            if let Some(engine) = state.engines.get_mut(&peer) {
                let effects = engine.tick(Instant::now());
                self.apply(state, &peer, effects);
            }
        }
    }
}
