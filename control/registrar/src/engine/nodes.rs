//! The boxes of this side: they register, acknowledge, and go.

use super::contest::{Contest, Probe};
use super::in_use::Use;
use super::prefixes::is_within;
use super::process::{Known, Process};
use super::settings::NodeConfig;
use super::{Action, Effects, Engine, SessionId, persist};
use crate::messages::Registering;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A generation lasts at least this long, whatever a box says.
const LEAST_AGE: Duration = Duration::from_secs(10);

/// A box that is restarted soon after it got a generation waits for the next: the first time, the second, and from then on.
const HELD_BACK: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(5), LEAST_AGE];

/// Why a box's connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closing {
    /// The box has registered anew.
    Anew,
    /// It was revoked.
    Revoked,
    /// It has not answered, and another process asks for its place.
    Silent,
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
    /// Another process of it is connected.
    #[error(
        "'{node}' is connected already, from {holder}; this process, from {claimant}, gets its place when that one is gone \
        (it is asked whether it lives, so try again); when both live, one certificate and name are on two machines: give \
        one of them its own"
    )]
    Taken {
        /// The box.
        node: String,
        /// Where the process that has the place connects from.
        holder: String,
        /// And where this one does.
        claimant: String,
    },
}

/// A box's connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    /// Where it connects from.
    pub(super) from: String,
    pub(super) prefixes: Vec<protocol::prefix::Prefix>,
    pub(super) revision: u64,
    /// What it was last sent: the version of the secrets to open with, the generation to seal under, and
    /// until when that is opened.
    pub(super) pushed: Option<(u64, Option<u32>, Option<Instant>)>,
    /// Revisions on their way, each with the newest generation that can be opened by it, and the one to seal under.
    pub(super) sent: VecDeque<(u64, u32, Option<u32>)>,
    /// The newest generation it has said it can open.
    pub(super) opens: u32,
    /// The first revision that has the token which is on its way, if one is.
    pub(super) token_at: Option<u64>,
    /// Whether it lives.
    pub(super) probe: Probe,
}

/// A box of this side.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) config: NodeConfig,
    pub(super) revoked: bool,
    /// The process that registered last.
    pub(super) process: Option<Process>,
    pub(super) session: Option<Session>,
    pub(super) last_seen: Option<Instant>,
    /// That process has come after another one, and waits for a generation.
    pub(super) restarted: bool,
    /// When a process that had come after another one last got a generation.
    pub(super) served: Option<Instant>,
    /// How many generations it got for restarts that came soon after one another.
    pub(super) streak: usize,
    /// Somebody else has asked for its place.
    pub(super) contest: Option<Contest>,
    /// What it may be sealing under; `None`: it was never handed anything.
    pub(super) in_use: Option<Use>,
    /// That has changed and is not durable.
    pub(super) unkept: bool,
}

impl Node {
    pub(super) fn new(config: NodeConfig) -> Self {
        Self {
            config,
            revoked: false,
            process: None,
            session: None,
            last_seen: None,
            restarted: false,
            served: None,
            streak: 0,
            contest: None,
            in_use: None,
            unkept: false,
        }
    }

    /// Whether it has been restarted too often to get a new generation for it at once: all the others would get one too.
    pub(super) fn is_held_back(&self, now: Instant) -> bool {
        let hold = HELD_BACK[self.streak.saturating_sub(1).min(HELD_BACK.len() - 1)];
        self.restarted && self.served.is_some_and(|at| now.saturating_duration_since(at) < hold)
    }

    /// A process has come after another one.
    fn restarts(&mut self, now: Instant) {
        if !self.restarted && self.served.is_none_or(|at| now.saturating_duration_since(at) >= LEAST_AGE) {
            self.streak = 0;
        }
        self.restarted = true;
    }
}

impl Engine {
    /// A box registers, with a certificate of its name, from this address.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn connect(&mut self, now: Instant, id: SessionId, who: &Registering, from: &str) -> Result<Effects, Denied> {
        let name = &who.node.name;
        let newest = self.newest_known();
        let node = self.nodes.get_mut(name).ok_or_else(|| Denied::Unknown(name.clone()))?;
        if node.revoked {
            return Err(Denied::Revoked(name.clone()));
        }
        if node.config.id != who.node.id {
            return Err(Denied::Id(name.clone()));
        }
        let granted = &node.config.prefixes;
        if let Some(more) = who.node.prefixes.iter().find(|p| !granted.iter().any(|g| is_within(p, g))) {
            return Err(Denied::Prefix { node: name.clone(), prefix: more.to_string() });
        }
        let prefixes = if who.node.prefixes.is_empty() { granted.clone() } else { who.node.prefixes.clone() };
        let known = node.process.as_ref().map_or(Known::No, |p| p.known(who));
        if known != Known::Newest
            && let Some(taken) = self.contest(now, name, from)
        {
            return Err(taken);
        }
        let node = self.nodes.get_mut(name).ok_or_else(|| Denied::Unknown(name.clone()))?;
        match (known, &mut node.process) {
            (Known::Newest, Some(process)) if who.token.is_some() => process.acknowledge(),
            (Known::Newest | Known::Before, Some(_)) => {}
            (_, before) => {
                if before.is_some() {
                    node.restarts(now);
                }
                // The record of the process before it, which is replaced, had the newest that the box was handed.
                self.effects.batch.extend(node.in_use.map(|u| persist::node_in_use(name, u)));
                let process = node.process.insert(Process::new(who.instance, newest));
                self.effects.batch.push(persist::process(name, process));
            }
        }
        let session = Session {
            id,
            from: from.to_owned(),
            prefixes,
            revision: 0,
            pushed: None,
            sent: VecDeque::new(),
            opens: 0,
            token_at: None,
            probe: Probe::Idle,
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
            let mut seals = None;
            if let Some(session) = &mut node.session {
                while let Some(&(sent, opens, sealing)) = session.sent.front()
                    && sent <= revision
                {
                    (session.opens, seals) = (opens, sealing);
                    session.sent.pop_front();
                }
                if let Some(process) = &mut node.process
                    && session.token_at.take_if(|at| *at <= revision).is_some()
                {
                    process.acknowledge();
                }
            }
            if let Some(generation) = seals {
                node.unkept |= node.seals_now(generation, now);
            }
        }
        self.settle(now)
    }

    /// A box requests a rotation: it has used up the generation that it seals under. Heeded when that is not quite young,
    /// so that no box can keep all the others busy.
    pub fn box_requests_rotation(&mut self, now: Instant, id: SessionId, reason: &str) -> Effects {
        let active = self.generations.iter().rev().find(|g| g.active);
        let old_enough = active.is_some_and(|g| now.saturating_duration_since(g.agreed_at) >= LEAST_AGE);
        if let Some(name) = self.session(id).map(|n| n.config.name.clone())
            && old_enough
        {
            self.request_rotation(self.newest(), &format!("{name}: {reason}"));
        }
        self.settle(now)
    }
}
