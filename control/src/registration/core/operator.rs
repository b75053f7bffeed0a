//! What comes over a registrar from outside its calls: it leads or follows, certificates end, the operator asks.

use super::super::engine::{Engine, EngineStatus};
use super::super::etcd::Leader;
use super::super::seat::Seat;
use super::super::store::Store;
use super::{Core, Ending, Outgoing, State, wall_ms};
use anyhow::{anyhow, bail};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

impl Core {
    /// Leads from now on, with what the store has.
    ///
    /// # Errors
    /// A value in the store that is none of this version's.
    pub fn lead(&self, store: Arc<dyn Store>) -> anyhow::Result<()> {
        let values = store.load()?;
        let (now, wall) = (Instant::now(), wall_ms());
        let mut engines = std::collections::HashMap::new();
        for peer in &self.config.peers {
            let mut engine = Engine::new(peer.clone(), self.config.generations, &self.config.nodes);
            engine.restore(&values, now, wall)?;
            engines.insert(peer.name.clone(), engine);
        }
        let state = &mut *self.state();
        *state = State { store: Some(store), engines, ..State::default() };
        self.seat.send_replace(Seat::Leads);
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
        *state = State::default();
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
                self.apply(state, &session.peer, effects);
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
        Ok(of)
    }

    /// The operator strikes a box out, or takes that back.
    ///
    /// # Errors
    /// No such box.
    pub fn revoke(&self, node: &str, revoked: bool) -> anyhow::Result<()> {
        self.leading()?;
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
