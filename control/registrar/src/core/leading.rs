//! This registrar leads its side, or follows who does.

use super::{Core, Ending, Outgoing, State, wall_ms};
use crate::engine::Engine;
use crate::leadership::{Leader, Leadership};
use crate::store::Store;
use anyhow::{Context, bail};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

impl Core {
    /// Leads from now on, with what the store has.
    ///
    /// # Errors
    /// A value in the store that is none of this version's.
    pub fn lead(self: &Arc<Self>, store: Arc<dyn Store>) -> anyhow::Result<()> {
        let values = store.load()?;
        let (now, wall) = (Instant::now(), wall_ms());
        let mut engines = HashMap::new();
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
        self.leadership.send_replace(Leadership::Leads);
        self.publish(state);
        tracing::info!("this registrar leads its side");
        Ok(())
    }

    /// Follows, whoever leads.
    pub fn follow(&self, leader: Option<Leader>) {
        self.step_down(&mut self.state(), leader);
    }

    /// Nothing is handed out any more: whoever leads now knows better.
    pub(super) fn step_down(&self, state: &mut State, leader: Option<Leader>) {
        let led = state.store.is_some();
        if led {
            tracing::warn!("this registrar does not lead its side any more");
        }
        for session in state.sessions.values() {
            session.outgoing.send_replace(Outgoing::Close(Ending::Follows));
        }
        *state = State { writers: state.writers, ends: state.ends, ..State::default() };
        // The thread that writes ends, if it does not wait for the store.
        self.work.notify_all();
        if led {
            self.publish(state);
        }
        let leadership = Leadership::Follows(leader);
        self.leadership.send_if_modified(|now| {
            let differs = *now != leadership;
            if differs {
                tracing::info!(?leadership, "who leads has changed");
                *now = leadership;
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
    pub fn leadership(&self) -> Leadership {
        self.leadership.borrow().clone()
    }

    /// Hears of every change of who leads.
    #[must_use]
    pub fn leadership_changes(&self) -> watch::Receiver<Leadership> {
        self.leadership.subscribe()
    }

    /// An error that names who leads, when this registrar does not: what follows only a leader can do.
    pub(super) fn must_lead(&self) -> anyhow::Result<()> {
        match self.leadership() {
            Leadership::Leads => Ok(()),
            Leadership::Follows(Some(leader)) => {
                bail!("this registrar follows '{}' ({}:{}); ask that one", leader.member, leader.host, leader.port)
            }
            Leadership::Follows(None) => {
                bail!("no registrar of this side leads at the moment; see the log, and [etcd]")
            }
        }
    }
}
