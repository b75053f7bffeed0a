//! The boxes' streams: each has a session here, from its registration to its end.

use super::{Chain, Core};
use crate::engine::{Action, Denied, SessionId};
use crate::handout::Handout;
use crate::messages::Registering;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::sync::watch;

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

/// A box's session, as the core has it.
pub(super) struct SessionEntry {
    pub(super) peer: String,
    /// The box's, and that of the follower it came through.
    pub(super) chains: Vec<Chain>,
    pub(super) outgoing: watch::Sender<Outgoing>,
    /// Grows when the box is to be asked whether it lives.
    pub(super) probes: watch::Sender<u64>,
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

impl Core {
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

    /// A box requests a rotation.
    pub fn box_requests_rotation(&self, session: SessionId, reason: &str) {
        let peer = self.state().sessions.get(&session).map(|s| s.peer.clone());
        if let Some(peer) = peer {
            self.with(&peer, |engine, now| engine.box_requests_rotation(now, session, reason));
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
}
