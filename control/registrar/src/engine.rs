//! What a registrar decides, towards one other primary: which generation is opened and which is sealed under, who is told
//! what and when a new one is due (profile section 7). No I/O and no clock: events come in, [`Effects`] come out.
//!
//! A generation's life:
//!
//! 1. *agreed*: both primaries have its secret. Each pushes the secrets to open with to its boxes, which acknowledge.
//! 2. *ready here*: all boxes have acknowledged, or a time limit has passed. The other primary is told.
//! 3. *active*: the other side is ready; this side's boxes get the secrets to seal with. Both are decided in `activation`.
//! 4. *superseded* by the next; opened for the grace period, and for a box that may still seal under it for longer
//!    (`in_use`).
//!
//! A process of a box never gets a secret to seal with that another process of that box may have had (profile section 6):
//! a process that is new here waits for a generation that is negotiated after it has come (`process` says why that is
//! enough, whatever becomes of the store). What was handed out is durable before it is.

mod activation;
mod clients;
mod contest;
mod generation;
mod hold;
mod in_use;
mod nodes;
mod numbers;
mod persist;
mod prefixes;
mod primary;
mod process;
mod settings;
mod settle;
mod status;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;

pub use generation::Generation;
use nodes::Node;
pub use nodes::{Closing, Denied};
pub use persist::revoked_key;
pub use prefixes::Disjoint;
pub use settings::{Generations, NodeConfig, PeerConfig, Role};
pub use status::{ContestStatus, EngineStatus, GenerationStatus, NodeStatus};

use crate::handout::{Entries, Handout, OpeningPart, Whose};
use crate::messages::{InUse, News};
use crate::store::Batch;
use registration::wire::{self, FINGERPRINT, MAX_SECRETS, NodeInfo, Opening, OpeningSecret};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

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
        keys: Handout,
    },
    /// End a box's connection.
    Close {
        /// This one.
        session: SessionId,
        /// Why.
        why: Closing,
    },
    /// Ask a box whether it lives; [`Engine::alive`] is its answer.
    Probe {
        /// This one.
        session: SessionId,
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

/// What the other primary has said of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Theirs {
    newest: u32,
    ready: u32,
    fingerprint: Option<[u8; FINGERPRINT]>,
}

/// Somebody wants a generation above this number: the operator, a box, or the other primary.
#[derive(Debug)]
struct RotationRequest {
    above: u32,
    reason: String,
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
    /// What this side's boxes open; in scope client and on the server primary's side with the secrets of all clients.
    opening: Arc<OpeningPart>,
    /// No box seals under this generation or an earlier one.
    floor: u32,
    /// What the other side's boxes may seal under; `None`: never heard.
    in_use: Option<InUse>,
    in_use_told: in_use::Told,
    link: bool,
    /// What the other primary has said of itself since the link is up.
    theirs: Option<Theirs>,
    told: Option<Theirs>,
    told_request: Option<Instant>,
    negotiating: bool,
    failures: u32,
    retry_at: Option<Instant>,
    last_error: Option<String>,
    /// The one that asks for the highest number.
    rotation_request: Option<RotationRequest>,
    due: Option<Due>,
    /// When this engine began, and the number it began with: what the other side may say is counted from there.
    counted_from: Option<(Instant, u32)>,
    /// When a number of the other side's was last said to be refused.
    refused_at: Option<Instant>,
    counts: status::Counts,
    /// Nothing is decided at the moment.
    held: bool,
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
        let of_peer = nodes.iter().filter(|n| n.peer == peer.name).map(|c| (c.name.clone(), Node::new(c.clone())));
        Self {
            nodes: of_peer.collect(),
            peer,
            times,
            peer_nodes: None,
            generations: Vec::new(),
            last: 0,
            opening: Arc::default(),
            floor: 0,
            in_use: None,
            in_use_told: in_use::Told::default(),
            link: false,
            theirs: None,
            told: None,
            told_request: None,
            negotiating: false,
            failures: 0,
            retry_at: None,
            last_error: None,
            rotation_request: None,
            due: None,
            counted_from: None,
            refused_at: None,
            counts: status::Counts::default(),
            held: false,
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
            clients: n.config.clients.clone(),
        });
        there.collect()
    }

    /// The operator wants a new generation.
    pub fn rotate(&mut self, now: Instant) -> Effects {
        self.request_rotation(self.newest(), "the operator asks");
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
            self.request_rotation(
                self.newest(),
                &format!("{name} was {}", if revoked { "revoked" } else { "taken back" }),
            );
        }
        Some(self.settle(now))
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) -> Effects {
        self.keep_acknowledgements();
        self.settle(now)
    }

    fn request_rotation(&mut self, above: u32, reason: &str) {
        if self.rotation_request.as_ref().is_none_or(|known| known.above < above) {
            self.rotation_request = Some(RotationRequest { above, reason: reason.to_owned() });
        }
    }

    /// The generations that a box of the other side is opened under.
    fn opened_of(&self, id: &[u8; 16]) -> impl Iterator<Item = &Generation> {
        let mut of: Vec<_> = self.generations.iter().filter(|g| self.opens_for(g, id)).collect();
        // The oldest is what the box has acknowledged; of what it was handed since, the latest are likelier.
        while of.len() > MAX_SECRETS {
            of.remove(1);
        }
        of.into_iter()
    }

    /// What can be opened may have changed. Secrets that are there are not made again.
    fn reopen(&mut self) {
        let mut entries = Entries::new();
        for node in self.peer_nodes.iter().flatten() {
            // The clients stand beside their secrets.
            let of = wire::Node { clients: Vec::new(), ..node.into() };
            let entry = self.entry(Whose::Node(node.id), Some(of), self.opened_of(&node.id), |g| g.opening(&node.id));
            entries.insert(Whose::Node(node.id), entry);
            for client in self.clients_there(node) {
                let generations = self.generations_of_clients().filter(|g| self.opens_for(g, &node.id));
                let entry = self.entry(Whose::Client(*client), None, generations, |g| Some(g.client(client)));
                entries.insert(Whose::Client(*client), entry);
            }
        }
        if let Some(next) = self.opening.next(entries) {
            self.opening = Arc::new(next);
        }
    }

    fn entry<'g>(
        &self,
        whose: Whose,
        node: Option<wire::Node>,
        generations: impl Iterator<Item = &'g Generation>,
        secret: impl Fn(&Generation) -> Option<OpeningSecret>,
    ) -> Arc<Opening> {
        let before = self.opening.entry(&whose);
        let known = |g: &Generation| before.and_then(|b| b.secrets.iter().find(|s| s.generation == g.number)).cloned();
        let client = if let Whose::Client(address) = whose { address.to_vec() } else { Vec::new() };
        let secrets = generations.filter_map(|g| known(g).or_else(|| secret(g))).collect();
        let entry = Opening { node, secrets, client };
        before.filter(|b| ***b == entry).cloned().unwrap_or_else(|| Arc::new(entry))
    }
}
