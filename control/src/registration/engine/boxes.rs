//! The boxes of this side: they register, acknowledge, and go.

use super::super::wire::{self, Registering};
use super::{Action, Effects, Engine, SessionId};
use crate::config::registrar::NodeConfig;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A generation lasts at least this long, whatever a box says.
const LEAST_AGE: Duration = Duration::from_secs(10);

/// Why a box's connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closing {
    /// The box has registered anew.
    Anew,
    /// It was revoked.
    Revoked,
}

/// Why a box is not registered.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Denied {
    /// Not in the configuration.
    #[error("'{0}' is not a node of this registrar; add a [[node]] to its configuration")]
    Unknown(String),
    /// Another id.
    #[error("'{0}' registers with another id than its registrar's configuration has; correct one of them")]
    Id(String),
    /// A prefix that was not granted.
    #[error("'{node}' asks for {prefix}, which is not granted to it; correct its prefixes, or grant them")]
    Prefix {
        /// The box.
        node: String,
        /// What it asked for.
        prefix: String,
    },
    /// Revoked by the operator.
    #[error("'{0}' was revoked; 'pdmv2 registrar revoke --undo' takes that back")]
    Revoked(String),
}

/// A box's connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) instance: [u8; 16],
    pub(super) prefixes: Vec<pipeline::policy::Prefix>,
    /// It may seal under generations above this one only.
    pub(super) bar: u32,
    pub(super) revision: u64,
    /// What it was last sent: the version of the secrets to open with, and the generation to seal under.
    pub(super) pushed: Option<(u64, Option<u32>)>,
    /// Revisions on their way, and the newest generation that can be opened by each.
    pub(super) sent: VecDeque<(u64, u32)>,
    /// The newest generation it has said it can open.
    pub(super) opens: u32,
}

/// A box of this side.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) config: NodeConfig,
    pub(super) revoked: bool,
    /// Which process was last handed a secret to seal with, and of which generation.
    pub(super) sealed: Option<([u8; 16], u32)>,
    pub(super) session: Option<Session>,
    pub(super) last_seen: Option<Instant>,
}

impl Engine {
    /// A box registers, with a certificate of its name.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn connect(&mut self, now: Instant, id: SessionId, who: &Registering) -> Result<Effects, Denied> {
        let name = &who.node.name;
        let active = self.active();
        let node = self.nodes.get_mut(name).ok_or_else(|| Denied::Unknown(name.clone()))?;
        if node.revoked {
            return Err(Denied::Revoked(name.clone()));
        }
        if node.config.id != who.node.id {
            return Err(Denied::Id(name.clone()));
        }
        let granted = &node.config.prefixes;
        if let Some(more) = who.node.prefixes.iter().find(|p| !granted.iter().any(|g| wire::is_within(p, g))) {
            return Err(Denied::Prefix { node: name.clone(), prefix: more.to_string() });
        }
        let prefixes = if who.node.prefixes.is_empty() { granted.clone() } else { who.node.prefixes.clone() };
        // A process that was handed secrets before goes on; any other waits for a generation that nobody seals under.
        let bar = if node.sealed.is_some_and(|(instance, _)| instance == who.instance) { self.floor } else { active };
        let session = Session {
            id,
            instance: who.instance,
            prefixes,
            bar,
            revision: 0,
            pushed: None,
            sent: VecDeque::new(),
            opens: 0,
        };
        if let Some(old) = node.session.replace(session) {
            self.effects.actions.push(Action::Close { session: old.id, why: Closing::Anew });
        }
        node.last_seen = Some(now);
        self.counts.registrations += 1;
        Ok(self.settle(now))
    }

    fn session(&mut self, id: SessionId) -> Option<&mut Node> {
        self.nodes.values_mut().find(|n| n.session.as_ref().is_some_and(|s| s.id == id))
    }

    /// A box's connection has ended.
    pub fn gone(&mut self, now: Instant, id: SessionId) -> Effects {
        if let Some(node) = self.session(id) {
            node.session = None;
            node.last_seen = Some(now);
        }
        self.settle(now)
    }

    /// A box uses the key set of this revision.
    pub fn ack(&mut self, now: Instant, id: SessionId, revision: u64) -> Effects {
        if let Some(node) = self.session(id) {
            node.last_seen = Some(now);
            if let Some(session) = &mut node.session {
                while let Some(&(sent, opens)) = session.sent.front()
                    && sent <= revision
                {
                    session.opens = opens;
                    session.sent.pop_front();
                }
            }
        }
        self.settle(now)
    }

    /// A box has used up the generation it seals under. Heeded when that is not quite young, so that no box can keep all
    /// the others busy.
    pub fn need(&mut self, now: Instant, id: SessionId, reason: &str) -> Effects {
        let active = self.generations.iter().rev().find(|g| g.active);
        let old_enough = active.is_some_and(|g| now.saturating_duration_since(g.agreed_at) >= LEAST_AGE);
        if let Some(name) = self.session(id).map(|n| n.config.name.clone())
            && old_enough
        {
            self.wish(self.newest(), &format!("{name}: {reason}"));
        }
        self.settle(now)
    }
}
