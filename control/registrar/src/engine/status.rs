//! What the engine says of itself, for `pdmv2 registrar status` and for metrics: no secrets.

use super::Engine;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// Counted since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Counts {
    pub generations: u64,
    pub failures: u64,
    pub registrations: u64,
}

/// Towards one other primary.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EngineStatus {
    /// The other primary.
    pub peer: String,
    /// This one's role.
    pub role: String,
    /// Whether the two are in touch.
    pub connected: bool,
    /// Whose secret a box seals under.
    pub scope: String,
    /// The generation that boxes seal under; 0: none.
    pub active: u32,
    /// All that are opened.
    pub generations: Vec<GenerationStatus>,
    /// Why a new one is due, if it is.
    pub due: Option<String>,
    /// What the last negotiation failed by, if it did.
    pub last_error: Option<String>,
    /// Boxes of the other side.
    pub peer_nodes: usize,
    /// Boxes of this side.
    pub nodes: Vec<NodeStatus>,
    /// Generations agreed since the start.
    pub generations_total: u64,
    /// Negotiations that came to nothing since the start.
    pub failures_total: u64,
    /// Registrations of boxes since the start.
    pub registrations_total: u64,
}

/// A generation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GenerationStatus {
    /// Its number.
    pub number: u32,
    /// Its suite.
    pub suite: String,
    /// Since it was agreed.
    pub age_seconds: u64,
    /// Until boxes stop sealing under it.
    pub expires_in_seconds: u64,
    /// `agreed`, `ready`, `active`, `superseded`.
    pub state: String,
}

/// A box.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// The other side whose boxes it talks to.
    pub peer: String,
    /// Its prefixes.
    pub prefixes: Vec<String>,
    /// Whether it is connected.
    pub connected: bool,
    /// Whether the operator has struck it out.
    pub revoked: bool,
    /// The newest generation it can open; 0: none.
    pub opens: u32,
    /// The generation it was told to seal under; 0: none.
    pub seals: u32,
    /// Where it connects from, if it is connected.
    pub address: Option<String>,
    /// Another process has asked for its place within the last minute.
    pub contested: Option<ContestStatus>,
}

/// Another process asks for the place of a box.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContestStatus {
    /// Where it connects from.
    pub claimant: String,
    /// How often it, or others, have asked.
    pub claims: u64,
}

impl Engine {
    /// How things stand.
    #[must_use]
    pub fn status(&self, now: Instant) -> EngineStatus {
        let generations = self.generations.iter().map(|g| GenerationStatus {
            number: g.number,
            suite: g.suite().to_string(),
            age_seconds: now.saturating_duration_since(g.agreed_at).as_secs(),
            expires_in_seconds: g.expires_in(self.times.lifetime, now).as_secs(),
            state: match (g.superseded.is_some(), g.active, g.ready_here) {
                (true, ..) => "superseded",
                (_, true, _) => "active",
                (_, _, true) => "ready",
                _ => "agreed",
            }
            .to_owned(),
        });
        let nodes = self.nodes.values().map(|n| NodeStatus {
            name: n.config.name.clone(),
            peer: self.peer.name.clone(),
            prefixes: n.config.prefixes.iter().map(ToString::to_string).collect(),
            connected: n.session.is_some(),
            revoked: n.revoked,
            opens: n.session.as_ref().map_or(0, |s| s.opens),
            seals: n.session.as_ref().and_then(|s| s.pushed?.1).unwrap_or(0),
            address: n.session.as_ref().map(|s| s.from.clone()),
            contested: n.contest.as_ref().map(|c| ContestStatus { claimant: c.claimant.clone(), claims: c.claims }),
        });
        EngineStatus {
            peer: self.peer.name.clone(),
            role: self.peer.role.name().to_owned(),
            connected: self.link,
            scope: self.peer.scope.name().to_owned(),
            active: self.active(),
            generations: generations.collect(),
            due: self.due.as_ref().map(|d| d.reason.clone()),
            last_error: self.last_error.clone(),
            peer_nodes: self.peer_nodes.as_ref().map_or(0, Vec::len),
            nodes: nodes.collect(),
            generations_total: self.counts.generations,
            failures_total: self.counts.failures,
            registrations_total: self.counts.registrations,
        }
    }
}
