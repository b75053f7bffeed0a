//! What comes over a registrar from outside its calls: it leads or follows, certificates end, the operator asks.

use super::super::engine::Engine;
use super::super::store::Store;
use super::{AGES, Core, Ending, Outgoing, Published, State, wall_ms};
use crate::election::Seat;
use crate::etcd_client::Leader;
use anyhow::{Context, anyhow, bail};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// So long the answer to the operator waits for the store.
const KEPT_WITHIN: Duration = Duration::from_secs(5);

impl Core {
    /// Leads from now on, with what the store has.
    ///
    /// # Errors
    /// A value in the store that is none of this version's.
    pub fn lead(self: &Arc<Self>, store: Arc<dyn Store>) -> anyhow::Result<()> {
        let values = store.load()?;
        let (now, wall) = (Instant::now(), wall_ms());
        let mut engines = std::collections::HashMap::new();
        for peer in &self.config.peers {
            let mut engine = Engine::new(peer.clone(), self.config.generations, &self.config.nodes);
            engine.restore(&values, now, wall)?;
            engines.insert(peer.name.clone(), engine);
        }
        let state = &mut *self.state();
        let (core, of) = (Arc::clone(self), Arc::clone(&store));
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || {
            core.keep(&of);
            drop(of);
            core.state().writers -= 1;
            core.work.notify_all();
        });
        thread.context("cannot start a thread")?;
        *state = State { store: Some(store), engines, writers: state.writers + 1, ..State::default() };
        self.seat.send_replace(Seat::Leads);
        self.publish(state, Duration::ZERO);
        tracing::info!("this registrar leads its side");
        Ok(())
    }

    /// Follows, whoever leads.
    pub fn follow(&self, leader: Option<Leader>) {
        self.step_down(&mut self.state(), leader);
    }

    /// Nothing is handed out any more: whoever leads now knows better.
    pub(super) fn step_down(&self, state: &mut State, leader: Option<Leader>) {
        if state.store.is_some() {
            tracing::warn!("this registrar does not lead its side any more");
        }
        for session in state.sessions.values() {
            session.outgoing.send_replace(Outgoing::Close(Ending::Follows));
        }
        *state = State { writers: state.writers, ends: state.ends, changed: true, ..State::default() };
        // The thread that writes ends, if it does not wait for the store.
        self.work.notify_all();
        self.publish(state, Duration::ZERO);
        let seat = Seat::Follows(leader);
        self.seat.send_if_modified(|now| {
            let differs = *now != seat;
            if differs {
                tracing::info!(?seat, "who leads has changed");
                *now = seat;
            }
            differs
        });
    }

    /// Whether it leads, at this moment.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.state().store.as_ref().is_some_and(|store| store.holds())
    }

    /// Who leads, as far as is known.
    #[must_use]
    pub fn seat(&self) -> Seat {
        self.seat.borrow().clone()
    }

    /// Hears of every change of who leads.
    #[must_use]
    pub fn seats(&self) -> watch::Receiver<Seat> {
        self.seat.subscribe()
    }

    /// That only the one who leads can do.
    fn leading(&self) -> anyhow::Result<()> {
        match self.seat() {
            Seat::Leads => Ok(()),
            Seat::Follows(Some(leader)) => {
                bail!("this registrar follows '{}' ({}:{}); ask that one", leader.member, leader.host, leader.port)
            }
            Seat::Follows(None) => bail!("no registrar of this side leads at the moment; see the log, and [etcd]"),
        }
    }

    /// Ends the connections whose certificates are no longer good.
    pub fn check_certificates(&self) {
        let material = self.tls.current();
        let (sessions, links) = {
            let state = self.state();
            let sessions: Vec<_> = state.sessions.iter().map(|(&id, session)| (id, session.chains.clone())).collect();
            let links: Vec<_> =
                state.links.iter().map(|(peer, link)| (peer.clone(), link.id, Arc::clone(&link.chain))).collect();
            (sessions, links)
        };
        // Without the state: of many boxes it takes a while.
        for (id, chains) in sessions {
            let good = chains.iter().try_for_each(|c| material.still_good(None, c).map(drop));
            let Err(error) = good else { continue };
            let text = format!("{error:#}");
            tracing::warn!(error = text, "a box's certificate is no longer good");
            let state = &mut *self.state();
            let Some(session) = state.sessions.remove(&id) else { continue };
            session.outgoing.send_replace(Outgoing::Close(Ending::Certificate(text)));
            if let Some(engine) = state.engines.get_mut(&session.peer) {
                let effects = engine.gone(Instant::now(), id);
                self.apply(state, &session.peer, effects, None);
            }
        }
        for (peer, id, chain) in links {
            let Err(error) = material.still_good(Some(&peer), &chain) else { continue };
            tracing::warn!(peer, error = format!("{error:#}"), "the other primary's certificate is no longer good");
            let state = &mut *self.state();
            if state.links.get(&peer).is_some_and(|link| link.id == id) {
                state.links.remove(&peer);
            }
        }
    }

    /// The operator wants a new generation, with one peer or with all.
    ///
    /// # Errors
    /// No such peer.
    pub fn rotate(&self, peer: Option<&str>) -> anyhow::Result<Vec<String>> {
        let of: Vec<_> =
            self.peers.iter().map(|p| p.config.name.clone()).filter(|p| peer.is_none_or(|n| n == p)).collect();
        self.leading()?;
        if of.is_empty() {
            let known: Vec<_> = self.peers.iter().map(|p| p.config.name.as_str()).collect();
            return Err(anyhow!("no peer '{}'; there is: {}", peer.unwrap_or_default(), known.join(", ")));
        }
        for peer in &of {
            self.with(peer, Engine::rotate);
        }
        if let Some(error) = self.status().store.as_ref().and_then(|store| store.error.clone()) {
            bail!("noted; but the store cannot be written ({error}): the new generation follows when it can be");
        }
        Ok(of)
    }

    /// The operator strikes a box out, or takes that back.
    ///
    /// # Errors
    /// No such box; or it is in force, but not kept yet.
    pub async fn revoke(&self, node: &str, revoked: bool) -> anyhow::Result<()> {
        self.leading()?;
        let (told, kept) = oneshot::channel();
        {
            let state = &mut *self.state();
            let found = state.engines.iter_mut().find(|(_, engine)| engine.has_node(node));
            let (peer, engine) =
                found.ok_or_else(|| anyhow!("no node '{node}' in the configuration of this registrar"))?;
            let peer = peer.clone();
            if let Some(effects) = engine.revoke(Instant::now(), node, revoked) {
                self.apply(state, &peer, effects, Some(told));
            }
        }
        tracing::warn!(node, "{}", if revoked { "revoked" } else { "taken back" });
        match tokio::time::timeout(KEPT_WITHIN, kept).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => bail!("this registrar does not lead its side any more; ask the one that does"),
            Err(_) => bail!(
                "in force here, but not kept yet: the store cannot be written; it is tried again, and until then a restart \
                 would forget it; see 'pdmv2 registrar status'"
            ),
        }
    }

    /// How things stand. Nobody waits for that: it is what was published last, or newer.
    #[must_use]
    pub fn status(&self) -> Arc<Published> {
        if let Ok(mut state) = self.state.try_lock() {
            self.publish(&mut state, Duration::ZERO);
        }
        self.published.load_full()
    }

    /// Publishes how things stand, when something has changed and the last time is so long ago, or ages have grown.
    pub(super) fn publish(&self, state: &mut State, pause: Duration) {
        let now = Instant::now();
        let since = now.saturating_duration_since(self.published.load().at);
        if !(state.changed && since >= pause || since >= AGES) {
            return;
        }
        state.changed = false;
        let mut peers: Vec<_> = state.engines.values().map(|e| e.status(now)).collect();
        peers.sort_by(|a, b| a.peer.cmp(&b.peer));
        let store = state.store.as_ref().map(|store| state.keeping.status(store.name(), now));
        self.published.store(Arc::new(Published { peers, store, at: now }));
    }
}
