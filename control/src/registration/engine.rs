//! What a registrar decides, towards one other primary: which generation is opened and which is sealed under, who is told
//! what and when a new one is due (profile section 7). No I/O and no clock: events come in, [`Effects`] come out.
//!
//! A generation's life:
//!
//! 1. *agreed*: both primaries have its secret. Each pushes the secrets to open with to its boxes, which acknowledge.
//! 2. *ready here*: all boxes have acknowledged, or a time limit has passed. The other primary is told.
//! 3. *active*: the other side is ready; this side's boxes get the secrets to seal with.
//! 4. *superseded* by the next; opened for the grace time.
//!
//! A process of a box never gets a secret to seal with that an earlier process of that box may have had (profile section
//! 6): a process that is new here waits for a generation that is not active yet. What was handed out is durable before
//! it is.

mod generation;
mod persist;
mod settle;
mod status;

#[cfg(test)]
mod tests;

pub use generation::Generation;
pub use persist::revoked_key;
pub use status::{EngineStatus, GenerationStatus, NodeStatus};

use super::store::Batch;
use super::wire::{self, KeySet, News, NodeInfo, Opening, Registering};
use crate::config::registrar::{Generations, NodeConfig, PeerConfig, Role};
use crate::key_file::Scope;
use protocol::negotiation::Agreed;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// A generation lasts at least this long, whatever a box says.
const LEAST_AGE: Duration = Duration::from_secs(10);
/// The longest pause between attempts to negotiate.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Names a box's connection.
pub type SessionId = u64;

/// What is to be done, after `batch` is durable.
#[derive(Debug, Default)]
pub struct Effects {
    /// For the store.
    pub batch: Batch,
    /// In this order.
    pub actions: Vec<Action>,
}

/// What the engine wants done.
#[derive(Debug)]
pub enum Action {
    /// Send a box its keys.
    Push {
        /// To this one.
        session: SessionId,
        /// All of them.
        keys: KeySet,
    },
    /// End a box's connection.
    Close {
        /// This one.
        session: SessionId,
        /// Why.
        why: Closing,
    },
    /// Tell the other primary.
    Tell(News),
    /// Start a negotiation (role client).
    Negotiate {
        /// The highest generation known to be used.
        last: u32,
        /// For the log.
        reason: String,
    },
}

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
struct Session {
    id: SessionId,
    instance: [u8; 16],
    prefixes: Vec<pipeline::policy::Prefix>,
    /// It may seal under generations above this one only.
    bar: u32,
    revision: u64,
    /// What it was last sent: the version of the secrets to open with, and the generation to seal under.
    pushed: Option<(u64, Option<u32>)>,
    /// Revisions on their way, and the newest generation that can be opened by each.
    sent: VecDeque<(u64, u32)>,
    /// The newest generation it has said it can open.
    opens: u32,
}

/// A box of this side.
#[derive(Debug)]
struct Node {
    config: NodeConfig,
    revoked: bool,
    /// Which process was last handed a secret to seal with, and of which generation.
    sealed: Option<([u8; 16], u32)>,
    session: Option<Session>,
    last_seen: Option<Instant>,
}

/// A new generation is due.
#[derive(Debug)]
struct Due {
    since: Instant,
    reason: String,
}

/// Decides, towards one other primary.
pub struct Engine {
    peer: PeerConfig,
    times: Generations,
    nodes: BTreeMap<String, Node>,
    /// The other side's boxes; `None`: not heard of yet.
    peer_nodes: Option<Vec<NodeInfo>>,
    /// By number, ascending.
    generations: Vec<Generation>,
    /// The highest number known to be used.
    last: u32,
    /// Grows when what can be opened changes.
    version: u64,
    opening: Vec<Opening>,
    link: bool,
    /// What the other primary has said of itself since the link is up: newest, ready.
    theirs: Option<(u32, u32)>,
    told: Option<(u32, u32)>,
    told_wish: Option<Instant>,
    negotiating: bool,
    failures: u32,
    retry_at: Option<Instant>,
    last_error: Option<String>,
    /// Somebody wants a generation above this number, and why.
    wish: Option<(u32, String)>,
    due: Option<Due>,
    counts: status::Counts,
    effects: Effects,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Engine({}, generation {}, redacted)", self.peer.name, self.last)
    }
}

impl Engine {
    /// With the boxes that belong to this peer, and nothing known of before.
    #[must_use]
    pub fn new(peer: PeerConfig, times: Generations, nodes: &[NodeConfig]) -> Self {
        let of_peer = nodes.iter().filter(|n| n.peer == peer.name).map(|config| {
            let node = Node { config: config.clone(), revoked: false, sealed: None, session: None, last_seen: None };
            (config.name.clone(), node)
        });
        Self {
            nodes: of_peer.collect(),
            peer,
            times,
            peer_nodes: None,
            generations: Vec::new(),
            last: 0,
            version: 1,
            opening: Vec::new(),
            link: false,
            theirs: None,
            told: None,
            told_wish: None,
            negotiating: false,
            failures: 0,
            retry_at: None,
            last_error: None,
            wish: None,
            due: None,
            counts: status::Counts::default(),
            effects: Effects::default(),
        }
    }

    /// The highest generation known to be used between the two primaries.
    #[must_use]
    pub fn last(&self) -> u32 {
        self.last
    }

    /// Whether it decides for this box.
    #[must_use]
    pub fn has_node(&self, name: &str) -> bool {
        self.nodes.contains_key(name)
    }

    /// Whether the other primary is in touch.
    #[must_use]
    pub fn is_linked(&self) -> bool {
        self.link
    }

    fn newest(&self) -> u32 {
        self.generations.last().map_or(0, |g| g.number)
    }

    fn active(&self) -> u32 {
        self.generations.iter().rev().find(|g| g.active).map_or(0, |g| g.number)
    }

    /// This side's boxes, for the other.
    fn own_nodes(&self) -> Vec<NodeInfo> {
        let there = self.nodes.values().filter(|n| !n.revoked).map(|n| NodeInfo {
            name: n.config.name.clone(),
            id: n.config.id,
            prefixes: n.config.prefixes.clone(),
        });
        there.collect()
    }

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
        let bar = if node.sealed.is_some_and(|(instance, _)| instance == who.instance) { 0 } else { active };
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

    /// The other primary is in touch.
    pub fn link_up(&mut self, now: Instant) -> Effects {
        (self.link, self.theirs, self.told, self.told_wish) = (true, None, None, None);
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
            News::State { newest, ready } => {
                self.last = self.last.max(newest);
                self.theirs = Some((newest, ready));
            }
            News::Wanted { above, reason } => {
                if self.peer.role == Role::Client {
                    self.wish(above, &reason);
                }
            }
        }
        self.settle(now)
    }

    /// Takes the other side's boxes, but for those that ask for more than the configuration lets that side have.
    fn peer_nodes(&mut self, nodes: Vec<NodeInfo>) {
        let mut taken: Vec<NodeInfo> = Vec::new();
        for node in nodes {
            let allowed = &self.peer.prefixes;
            let outside = node.prefixes.iter().find(|p| !allowed.iter().any(|a| wire::is_within(p, a)));
            let ours = self.nodes.values().any(|n| n.config.id == node.id);
            if let Some(prefix) = outside {
                tracing::error!(peer = self.peer.name, node = node.name, %prefix,
                    "left out: the peer's [[peer]] prefixes here do not have this; correct them on one side");
            } else if ours || taken.iter().any(|n| n.id == node.id || n.name == node.name) {
                tracing::error!(peer = self.peer.name, node = node.name, "left out: another box has this id or name");
            } else if self.peer.scope == Scope::Shared && !taken.is_empty() {
                tracing::error!(peer = self.peer.name, node = node.name, "left out: scope shared has one box a side");
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
        if let Some(generation) = Generation::new(agreed, now, wall_ms)
            && generation.number > self.newest()
        {
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

    /// The operator wants a new generation.
    pub fn rotate(&mut self, now: Instant) -> Effects {
        self.wish(self.newest(), "the operator asks");
        self.settle(now)
    }

    /// The operator strikes a box out, or takes that back: its connection ends, the other side drops its secrets at once,
    /// and a new generation follows. `None`: no such box here.
    pub fn revoke(&mut self, now: Instant, name: &str, revoked: bool) -> Option<Effects> {
        let node = self.nodes.get_mut(name)?;
        if node.revoked != revoked {
            node.revoked = revoked;
            self.effects.batch.push(persist::revoked(name, revoked));
            if revoked && let Some(session) = node.session.take() {
                self.effects.actions.push(Action::Close { session: session.id, why: Closing::Revoked });
            }
            if self.link {
                self.effects.actions.push(Action::Tell(News::Nodes(self.own_nodes())));
            }
            self.wish(self.newest(), &format!("{name} was {}", if revoked { "revoked" } else { "taken back" }));
        }
        Some(self.settle(now))
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) -> Effects {
        self.settle(now)
    }

    fn wish(&mut self, above: u32, reason: &str) {
        if self.wish.as_ref().is_none_or(|(known, _)| *known < above) {
            self.wish = Some((above, reason.to_owned()));
        }
    }

    /// What can be opened has changed.
    fn reopen(&mut self) {
        self.version += 1;
        let nodes = self.peer_nodes.as_deref().unwrap_or_default();
        let opening = nodes.iter().map(|node| Opening {
            node: Some(node.into()),
            secrets: self.generations.iter().map(|g| g.opening(&node.id)).collect(),
        });
        self.opening = opening.collect();
    }
}
