//! A registrar at work: the engines, the connections of boxes and of other primaries, and the store, under one lock. All
//! that the engines want done is done here, after what they want kept is durable.

use super::engine::{Action, Closing, Denied, Effects, Engine, EngineStatus, SessionId};
use super::store::Store;
use super::tls::Tls;
use super::wire::{KeySet, News, Registering};
use crate::config::registrar::{PeerConfig, RegistrarConfig};
use crate::{fault, pki, private_file};
use anyhow::{Context, anyhow};
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
    Keys(Arc<KeySet>),
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
    /// Its certificate is no longer good.
    Certificate(String),
}

struct SessionEntry {
    peer: String,
    chain: Arc<Vec<CertificateDer<'static>>>,
    outgoing: watch::Sender<Outgoing>,
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
    store: Box<dyn Store>,
    state: Mutex<State>,
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
    /// Reads keys and certificates, and takes up what the store has.
    ///
    /// # Errors
    /// A file that is missing or wrong, a suite that lacks a key, a store that cannot be read.
    pub fn new(config: RegistrarConfig, store: Box<dyn Store>) -> anyhow::Result<(Arc<Self>, Wishes)> {
        let seed = private_file::read_secret(&config.static_key)?;
        let identity = Identity::from_seed(&config.name, &seed);
        let tls = Arc::new(Tls::load(config.tls.clone())?);
        let values = store.load()?;
        let (now, wall) = (Instant::now(), wall_ms());
        let (mut peers, mut state) = (Vec::new(), State::default());
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
            let mut engine = Engine::new(peer.clone(), config.generations, &config.nodes);
            engine.restore(&values, now, wall)?;
            state.engines.insert(peer.name.clone(), engine);
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
            store,
            state: Mutex::new(state),
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

    /// Does what an engine wants: first what is to be durable, however long that takes, then the rest.
    fn apply(&self, state: &mut State, peer: &str, effects: Effects) {
        if !effects.batch.is_empty() {
            faults(&effects, "write");
            // The store waits for the disk: let this thread's other tasks go on elsewhere.
            tokio::task::block_in_place(|| {
                while let Err(error) = self.store.write(&effects.batch) {
                    tracing::error!(%error, "the store cannot be written; trying again");
                    std::thread::sleep(STORE_RETRY);
                }
            });
            faults(&effects, "wrote");
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
                        }));
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

    /// A box registers, with a certificate of its name. What its stream is to send comes through the receiver.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn register(
        &self,
        who: &Registering,
        chain: Arc<Vec<CertificateDer<'static>>>,
    ) -> Result<(SessionId, watch::Receiver<Outgoing>), Denied> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let state = &mut *self.state();
        let unknown = || Denied::Unknown(who.node.name.clone());
        let found = state.engines.iter_mut().find(|(_, engine)| engine.has_node(&who.node.name));
        let (peer, engine) = found.ok_or_else(unknown)?;
        let effects = engine.connect(Instant::now(), id, who)?;
        let peer = peer.clone();
        let (outgoing, receiver) = watch::channel(Outgoing::Nothing);
        state.sessions.insert(id, SessionEntry { peer: peer.clone(), chain, outgoing });
        self.apply(state, &peer, effects);
        Ok((id, receiver))
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
        state.links.insert(peer.to_owned(), Link { id, chain, news });
        if let Some(engine) = state.engines.get_mut(peer) {
            let effects = engine.link_up(Instant::now());
            self.apply(state, peer, effects);
        }
        tracing::info!(peer, "in touch with the other primary");
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

    /// The other primary says something on that stream.
    pub fn news(&self, peer: &str, id: u64, news: News) {
        let state = &mut *self.state();
        if state.links.get(peer).is_some_and(|link| link.id == id)
            && let Some(engine) = state.engines.get_mut(peer)
        {
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
        let last = state.engines.get(&peer.config.name).map_or(0, Engine::last);
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
        fault::point("kem-kept");
        Ok(response)
    }

    /// Both primaries have the same secret.
    pub fn negotiated(&self, peer: &str, agreed: &n::Agreed) {
        self.with(peer, |engine, now| engine.negotiated(now, wall_ms(), agreed));
    }

    /// A negotiation has come to nothing.
    pub fn negotiation_failed(&self, peer: &str, error: &str) {
        self.with(peer, |engine, now| engine.negotiation_failed(now, error));
    }

    /// Time has passed.
    pub fn tick(&self) {
        let state = &mut *self.state();
        state.pending.retain(|_, (at, _)| at.elapsed() < NEGOTIATION);
        let peers: Vec<_> = state.engines.keys().cloned().collect();
        for peer in peers {
            if let Some(engine) = state.engines.get_mut(&peer) {
                let effects = engine.tick(Instant::now());
                self.apply(state, &peer, effects);
            }
        }
    }

    /// Ends the connections whose certificates are no longer good.
    pub fn check_certificates(&self) {
        let material = self.tls.current();
        let state = &mut *self.state();
        let mut ended = Vec::new();
        for (&id, session) in &state.sessions {
            if let Err(error) = material.identify(None, &session.chain) {
                let text = format!("{error:#}");
                tracing::warn!(error = text, "a box's certificate is no longer good");
                session.outgoing.send_replace(Outgoing::Close(Ending::Certificate(text)));
                ended.push((id, session.peer.clone()));
            }
        }
        for (id, peer) in ended {
            state.sessions.remove(&id);
            if let Some(engine) = state.engines.get_mut(&peer) {
                let effects = engine.gone(Instant::now(), id);
                self.apply(state, &peer, effects);
            }
        }
        state.links.retain(|peer, link| match material.identify(Some(peer), &link.chain) {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(peer, error = format!("{error:#}"), "the other primary's certificate is no longer good");
                false
            }
        });
    }

    /// The operator wants a new generation, with one peer or with all.
    ///
    /// # Errors
    /// No such peer.
    pub fn rotate(&self, peer: Option<&str>) -> anyhow::Result<Vec<String>> {
        let of: Vec<_> =
            self.peers.iter().map(|p| p.config.name.clone()).filter(|p| peer.is_none_or(|n| n == p)).collect();
        if of.is_empty() {
            let known: Vec<_> = self.peers.iter().map(|p| p.config.name.as_str()).collect();
            return Err(anyhow!("no peer '{}'; there is: {}", peer.unwrap_or_default(), known.join(", ")));
        }
        for peer in &of {
            self.with(peer, Engine::rotate);
        }
        Ok(of)
    }

    /// The operator strikes a box out, or takes that back.
    ///
    /// # Errors
    /// No such box.
    pub fn revoke(&self, node: &str, revoked: bool) -> anyhow::Result<()> {
        let state = &mut *self.state();
        let found = state.engines.iter_mut().find(|(_, engine)| engine.has_node(node));
        let (peer, engine) = found.ok_or_else(|| anyhow!("no node '{node}' in the configuration of this registrar"))?;
        let peer = peer.clone();
        if let Some(effects) = engine.revoke(Instant::now(), node, revoked) {
            self.apply(state, &peer, effects);
        }
        tracing::warn!(node, "{}", if revoked { "revoked" } else { "taken back" });
        Ok(())
    }

    /// How things stand, by peer.
    #[must_use]
    pub fn status(&self) -> Vec<EngineStatus> {
        let state = self.state();
        let mut all: Vec<_> = state.engines.values().map(|e| e.status(Instant::now())).collect();
        all.sort_by(|a, b| a.peer.cmp(&b.peer));
        all
    }
}
