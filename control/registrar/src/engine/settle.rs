//! The conclusions that the engine draws from its state, after every event and as time passes.

use super::nodes::Node;
use super::settings::Role;
use super::{Action, Due, Effects, Engine, Generation, Theirs, persist};
use crate::handout::{Handout, SealingPart};
use crate::messages::News;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A server primary repeats its rotation request after this.
const REPEAT: Duration = Duration::from_secs(2);
/// Key sets on their way to a box whose acknowledgement is remembered.
const MAX_SENT: usize = 64;

impl Engine {
    /// Draws the conclusions, until nothing follows any more.
    pub(super) fn settle(&mut self, now: Instant) -> Effects {
        self.end_silent(now);
        if self.held {
            return std::mem::take(&mut self.effects);
        }
        self.decide_ready(now);
        self.decide_active(now);
        // After that: what has just become active supersedes others.
        self.end_generations(now);
        self.push(now);
        self.tell();
        self.tell_in_use(now);
        self.look_for_need(now);
        std::mem::take(&mut self.effects)
    }

    /// A box seals under generations above this one only.
    fn bar(&self, node: &Node) -> u32 {
        node.process.as_ref().map_or(u32::MAX, |p| p.bar).max(self.floor)
    }

    /// The generation that a box may seal under now. It goes on with the one that it has; to another it goes when the
    /// other primary has said that this is the newest of both, for what is active by the store alone may be long over.
    fn seals_under(&self, node: &Node, now: Instant) -> Option<&Generation> {
        let sealed = node.process.as_ref()?.sealed;
        let active = self.generations.iter().rev().find(|g| g.active && (g.common || g.number == sealed))?;
        let expired = now.saturating_duration_since(active.agreed_at) >= self.times.lifetime;
        (active.number > self.bar(node) && !expired).then_some(active)
    }

    /// Sends every box what it does not have yet. As long as nothing is known of any generation or of the other side's
    /// boxes there is nothing to say: a box that has keys of before keeps them.
    fn push(&mut self, now: Instant) {
        if self.peer_nodes.is_none() || self.generations.is_empty() {
            return;
        }
        let opens = self.newest();
        let mut sets = Vec::new();
        for (name, node) in &self.nodes {
            let Some(session) = &node.session else { continue };
            let generation = self.seals_under(node, now);
            let opened_until = generation.and_then(|g| self.opened_until(g));
            let content = (self.opening.version, generation.map(|g| g.number), opened_until);
            if session.pushed == Some(content) {
                continue;
            }
            let sealing = generation.map(|g| SealingPart {
                generation: g.number,
                suite: g.suite(),
                secret: g.sealing(&node.config.id).into(),
                prefixes: session.prefixes.clone(),
                expires: g.expires(self.times.lifetime),
                opened_until,
            });
            let keys = Handout {
                revision: session.revision + 1,
                scope: self.peer.scope,
                sealing,
                clients: self.clients_of(node, session),
                client_side: self.is_client_side(),
                token: None,
                opening: Arc::clone(&self.opening),
            };
            sets.push((name.clone(), content, keys));
        }
        for (name, content, mut keys) in sets {
            let Some(node) = self.nodes.get_mut(&name) else { continue };
            let handed = content.1.filter(|g| node.process.as_ref().is_some_and(|p| p.sealed != *g));
            let in_use = handed.and_then(|generation| node.handed(generation));
            self.effects.batch.extend(in_use.map(|u| persist::node_in_use(&name, u)));
            let (Some(session), Some(process)) = (&mut node.session, &mut node.process) else { continue };
            let (token, another) = process.hand_out();
            let sealed = content.1.unwrap_or(process.sealed);
            if another || sealed != process.sealed {
                process.sealed = sealed;
                self.effects.batch.push(persist::process(&name, process));
            }
            if another || session.token_at.is_none() {
                session.token_at = Some(keys.revision);
            }
            keys.token = Some(token);
            session.revision = keys.revision;
            session.pushed = Some(content);
            session.sent.push_back((keys.revision, opens, content.1));
            if session.sent.len() > MAX_SENT {
                session.sent.pop_front();
            }
            self.effects.actions.push(Action::Push { session: session.id, keys });
        }
    }

    fn tell(&mut self) {
        let ready = self.generations.iter().rev().find(|g| g.ready_here).map_or(0, |g| g.number);
        let fingerprint = self.generations.last().map(|g| g.fingerprint);
        let state = Theirs { newest: self.newest(), ready, fingerprint };
        if self.link && self.told != Some(state) {
            self.told = Some(state);
            self.effects.actions.push(Action::Tell(News::State { newest: state.newest, ready, fingerprint }));
        }
    }

    /// Why a new generation is due, if one is.
    fn reason(&self, now: Instant) -> Option<String> {
        let newest = self.newest();
        let waiting = |n: &&Node| n.session.is_some() && self.bar(n) >= newest && !n.is_held_back(now);
        if let Some(node) = self.nodes.values().find(waiting) {
            return Some(format!("{} has registered", node.config.name));
        }
        if let Some(request) = self.rotation_request.as_ref().filter(|request| request.above >= newest) {
            return Some(request.reason.clone());
        }
        let old = self
            .generations
            .last()
            .filter(|g| g.active && now.saturating_duration_since(g.agreed_at) >= self.times.max_age);
        if old.is_some() {
            return Some("the present one is old".to_owned());
        }
        // One of the two has lost, or never got, what the other has.
        let apart = self.theirs.is_some_and(|theirs| !self.is_common(theirs));
        (apart && self.peer.role == Role::Client).then(|| "the two primaries have different ones".to_owned())
    }

    /// Both sides have a generation that not all boxes use yet. Another one now would push those out that they do use:
    /// it waits, for `ack_timeout` at most.
    fn is_rolling_over(&self) -> bool {
        let Some(newest) = self.generations.last() else { return false };
        let both_have_it = self.theirs.is_some_and(|theirs| self.is_common(theirs));
        both_have_it && !(newest.active && newest.ready_here)
    }

    /// Has a new generation made when one is due: starts the negotiation, or requests it of the client primary.
    fn look_for_need(&mut self, now: Instant) {
        let Some(reason) = self.reason(now) else {
            (self.due, self.told_request) = (None, None);
            return;
        };
        let due = self.due.get_or_insert(Due { since: now, reason });
        if !self.link || now.saturating_duration_since(due.since) < self.times.coalesce {
            return;
        }
        let (last, reason) = (self.last, due.reason.clone());
        match self.peer.role {
            Role::Client if self.is_rolling_over() => {}
            // Not before the other side has said what it has.
            Role::Client if !self.negotiating && self.theirs.is_some() && self.retry_at.is_none_or(|at| now >= at) => {
                self.negotiating = true;
                self.due = None;
                self.effects.actions.push(Action::Negotiate { last, reason });
            }
            Role::Server if self.told_request.is_none_or(|at| now.saturating_duration_since(at) >= REPEAT) => {
                self.told_request = Some(now);
                self.effects.actions.push(Action::Tell(News::RotationRequest { above: self.newest(), reason }));
            }
            Role::Client | Role::Server => {}
        }
    }
}
