//! The other primary: the link to it, what it says, and negotiations.

use super::clients::Claims;
use super::prefixes::is_within;
use super::settings::Role;
use super::{Action, Effects, Engine, Generation, Theirs, persist};
use crate::messages::News;
use common::key_file::Scope;
use negotiation::Agreed;
use registration::wire::NodeInfo;
use std::time::{Duration, Instant};

/// The longest pause between attempts to negotiate.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

impl Engine {
    /// The other primary is in touch.
    pub fn link_up(&mut self, now: Instant) -> Effects {
        (self.link, self.theirs, self.told, self.told_request) = (true, None, None, None);
        self.forget_told();
        self.effects.actions.push(Action::Tell(News::Nodes(self.own_nodes())));
        self.settle(now)
    }

    /// It no longer is.
    pub fn link_down(&mut self, now: Instant) -> Effects {
        (self.link, self.theirs) = (false, None);
        self.settle(now)
    }

    /// It says something.
    pub fn news(&mut self, now: Instant, news: News) -> Effects {
        match news {
            News::Nodes(nodes) => self.peer_nodes(nodes),
            News::InUse(in_use) => self.hear_in_use(in_use),
            News::State { newest, ready, fingerprint } => match self.plausible(now, newest) {
                Ok(()) => {
                    self.take_for_lost(newest);
                    self.last = self.last.max(newest);
                    self.theirs = Some(Theirs { newest, ready, fingerprint });
                }
                Err(error) => self.refuse_number(now, &error),
            },
            News::RotationRequest { above, reason } => match self.may_request(above) {
                Ok(()) if self.peer.role == Role::Client => self.request_rotation(above, &reason),
                Ok(()) => {}
                Err(error) => self.refuse_number(now, &error),
            },
            News::Trouble { reason } => {
                tracing::error!(peer = self.peer.name, reason, "the other primary could make nothing of what came");
                self.last_error = Some(format!("the other primary: {reason}"));
            }
        }
        self.settle(now)
    }

    /// Takes the other side's boxes, but for those that ask for more than the configuration lets that side have.
    fn peer_nodes(&mut self, nodes: Vec<NodeInfo>) {
        let mut taken: Vec<NodeInfo> = Vec::new();
        let mut claims = Claims::default();
        for node in nodes {
            let allowed = &self.peer.prefixes;
            let outside = node.prefixes.iter().find(|p| !allowed.iter().any(|a| is_within(p, a)));
            let ours = self.nodes.values().any(|n| n.config.id == node.id);
            if let Some(prefix) = outside {
                tracing::error!(peer = self.peer.name, node = node.name, %prefix,
                    "left out: the peer's [[peer]] prefixes here do not have this; correct them on one side");
            } else if ours || taken.iter().any(|n| n.id == node.id || n.name == node.name) {
                tracing::error!(peer = self.peer.name, node = node.name, "left out: another box has this id or name");
            } else if self.peer.scope == Scope::Shared && !taken.is_empty() {
                tracing::error!(peer = self.peer.name, node = node.name, "left out: scope shared has one box a side");
            } else if let Some(why) = self.refused_by_scope(&mut claims, &node) {
                tracing::error!(
                    peer = self.peer.name,
                    node = node.name,
                    why,
                    "left out: scope client does not allow it"
                );
            } else {
                taken.push(node);
            }
        }
        if self.peer_nodes.as_ref() != Some(&taken) {
            self.effects.batch.push(persist::peer_nodes(&self.peer.name, &taken));
            self.peer_nodes = Some(taken);
            self.reopen();
        }
    }

    /// Both primaries have the same secret. When the effects' batch is durable this side answers for it.
    pub fn negotiated(&mut self, now: Instant, wall_ms: u64, agreed: &Agreed) -> Effects {
        (self.negotiating, self.failures, self.retry_at, self.last_error) = (false, 0, None, None);
        let before = self.newest();
        if let Some(generation) = Generation::new(agreed, now, wall_ms)
            && generation.number > before
        {
            // The server's answer says that it has kept it; its own word for that may be long on its way.
            if self.peer.role == Role::Client
                && let Some(theirs) = &mut self.theirs
                && theirs.newest <= generation.number
            {
                (theirs.newest, theirs.fingerprint) = (generation.number, Some(generation.fingerprint));
            }
            self.served(now, before, generation.number);
            self.last = self.last.max(generation.number);
            self.effects.batch.push(generation.persist(&self.peer.name));
            self.effects.batch.push(persist::last(&self.peer.name, self.last));
            let (peer, number, suite) = (&self.peer.name, generation.number, agreed.suite);
            tracing::info!(peer, generation = number, %suite, "generation agreed");
            self.generations.push(generation);
            self.counts.generations += 1;
            self.reopen();
        }
        self.settle(now)
    }

    /// A negotiation has come to nothing.
    pub fn negotiation_failed(&mut self, now: Instant, error: &str) -> Effects {
        self.negotiating = false;
        self.failures = self.failures.saturating_add(1);
        self.counts.failures += 1;
        let pause = Duration::from_millis(100 << self.failures.min(6)).min(LONGEST_PAUSE);
        self.retry_at = Some(now + pause);
        self.last_error = Some(error.to_owned());
        tracing::error!(peer = self.peer.name, error, "negotiation failed");
        self.settle(now)
    }
}
