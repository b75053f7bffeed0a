//! What the engine keeps across a restart, by name:
//!
//! * `peer/NAME/last`: the highest generation used (4 octets);
//! * `peer/NAME/generation/NUMBER`: a generation with its secret;
//! * `peer/NAME/nodes`: the other side's boxes (the message `Nodes`);
//! * `peer/NAME/in_use`: what the other side's boxes may still seal under (the message `InUse`);
//! * `peer/NAME/assignment`: in scope client, a hash of which box has what (32 octets), and up to which generation that was
//!   otherwise (4);
//! * `node/NAME/sealed`: which process registered last, what it may seal under and was handed, and its tokens;
//! * `node/NAME/in_use`: the oldest and the newest generation that it may seal under (4 octets each);
//! * `node/NAME/revoked`: there when the operator has struck it out.

use super::in_use::Use;
use super::process::{Process, WITHOUT_TOKENS};
use super::{Engine, Generation};
use crate::messages::InUse;
use prost::Message;
use registration::wire::{NodeInfo, Nodes, proto};
use std::collections::BTreeMap;
use std::time::Instant;
use zeroize::Zeroizing;

type Entry = (String, Option<Zeroizing<Vec<u8>>>);

pub fn generation_key(peer: &str, number: u32) -> String {
    format!("peer/{peer}/generation/{number:010}")
}

pub fn no_generation(peer: &str, number: u32) -> Entry {
    (generation_key(peer, number), None)
}

pub fn last(peer: &str, number: u32) -> Entry {
    (format!("peer/{peer}/last"), Some(number.to_be_bytes().to_vec().into()))
}

pub fn peer_nodes(peer: &str, nodes: &[NodeInfo]) -> Entry {
    let nodes = Nodes { nodes: nodes.iter().map(Into::into).collect() };
    (format!("peer/{peer}/nodes"), Some(nodes.encode_to_vec().into()))
}

pub fn assignment(peer: &str, hash: &[u8; 32], floor: u32) -> Entry {
    (format!("peer/{peer}/assignment"), Some([&hash[..], &floor.to_be_bytes()].concat().into()))
}

fn sealed_key(node: &str) -> String {
    format!("node/{node}/sealed")
}

pub fn process(node: &str, process: &Process) -> Entry {
    (sealed_key(node), Some(process.octets()))
}

pub fn in_use(peer: &str, in_use: &InUse) -> Entry {
    (format!("peer/{peer}/in_use"), Some(proto::InUse::from(in_use).encode_to_vec().into()))
}

pub fn no_in_use(peer: &str) -> Entry {
    (format!("peer/{peer}/in_use"), None)
}

fn node_in_use_key(node: &str) -> String {
    format!("node/{node}/in_use")
}

pub(super) fn node_in_use(node: &str, in_use: Use) -> Entry {
    let octets = [in_use.oldest.to_be_bytes(), in_use.newest.to_be_bytes()].concat();
    (node_in_use_key(node), Some(octets.into()))
}

/// The name of the mark that a box was revoked.
#[must_use]
pub fn revoked_key(node: &str) -> String {
    format!("node/{node}/revoked")
}

pub fn revoked(node: &str, revoked: bool) -> Entry {
    (revoked_key(node), revoked.then(|| Zeroizing::new(b"1".to_vec())))
}

/// A value in the store is not of the form that this version writes.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the store's '{0}' is not of the form that this version writes; move the store away: boxes then get a new generation"
)]
pub struct Unreadable(pub String);

impl Engine {
    /// Takes up what an earlier process has kept.
    ///
    /// # Errors
    /// A value that is none of this version's.
    pub fn restore(
        &mut self,
        values: &BTreeMap<String, Zeroizing<Vec<u8>>>,
        now: Instant,
        wall_ms: u64,
    ) -> Result<(), Unreadable> {
        let peer = format!("peer/{}/", self.peer.name);
        let bad = |name: &str| Unreadable(name.to_owned());
        let mut assignment = None;
        for (name, value) in values {
            if let Some(what) = name.strip_prefix(&peer) {
                match what {
                    "last" => {
                        let number: [u8; 4] = value.as_slice().try_into().map_err(|_| bad(name))?;
                        self.last = self.last.max(u32::from_be_bytes(number));
                    }
                    "nodes" => {
                        let nodes = Nodes::decode(value.as_slice()).map_err(|_| bad(name))?.nodes;
                        let nodes = nodes.into_iter().map(|n| n.checked("nodes")).collect::<Result<_, _>>();
                        self.peer_nodes = Some(nodes.map_err(|_| bad(name))?);
                    }
                    "in_use" => {
                        let in_use = proto::InUse::decode(value.as_slice()).map_err(|_| bad(name))?;
                        self.in_use = Some(InUse::try_from(in_use).map_err(|_| bad(name))?);
                    }
                    "assignment" => {
                        let parts = value
                            .split_first_chunk()
                            .and_then(|(hash, floor)| Some((*hash, u32::from_be_bytes(floor.try_into().ok()?))));
                        assignment = Some(parts.ok_or_else(|| bad(name))?);
                    }
                    _ if what.starts_with("generation/") => {
                        let generation = Generation::restore(value, now, wall_ms).ok_or_else(|| bad(name))?;
                        // Scopes are not mixed: with another in the configuration a new generation is needed. And this one
                        // is not to come back when the scope does: who was handed what since then is not known by it.
                        if generation.agreed.scope == self.peer.scope {
                            self.generations.push(generation);
                        } else {
                            self.last = self.last.max(generation.number);
                            self.effects.batch.push((name.clone(), None));
                        }
                    }
                    _ => return Err(bad(name)),
                }
            }
        }
        self.generations.sort_by_key(|g| g.number);
        self.last = self.last.max(self.newest());
        let active = self.active();
        for older in self.generations.iter_mut().filter(|g| g.number < active) {
            older.superseded = Some(now);
        }
        self.restore_nodes(values, now)?;
        self.take_assignment(assignment);
        self.last = self.last.max(self.floor);
        self.counted_from = Some((now, self.last));
        self.reopen();
        Ok(())
    }

    /// What is kept of this side's boxes.
    fn restore_nodes(&mut self, values: &BTreeMap<String, Zeroizing<Vec<u8>>>, now: Instant) -> Result<(), Unreadable> {
        for (name, node) in &mut self.nodes {
            node.revoked = values.contains_key(&revoked_key(name));
            let mut handed = 0;
            if let Some(value) = values.get(&sealed_key(name)) {
                if value.len() == WITHOUT_TOKENS {
                    // A version without tokens has written this. The process it knew is a new one to this version, and may
                    // not have acknowledged what it was handed last.
                    let newest = value.last_chunk().map_or(0, |newest| u32::from_be_bytes(*newest));
                    node.in_use = Some(Use::new(newest.saturating_sub(1), newest));
                } else {
                    let process = Process::restore(value).ok_or_else(|| Unreadable(sealed_key(name)))?;
                    self.last = self.last.max(process.bar);
                    handed = process.sealed;
                    node.process = Some(process);
                }
                // It may be back any moment.
                node.last_seen = Some(now);
            }
            if let Some(value) = values.get(&node_in_use_key(name)) {
                let parts = value.split_first_chunk().and_then(|(oldest, newest)| {
                    let (oldest, newest) = (u32::from_be_bytes(*oldest), u32::from_be_bytes(newest.try_into().ok()?));
                    // What it was handed last stands in one place, unless that was before all that this side knows.
                    let newest = newest.max(handed);
                    (oldest <= newest).then(|| Use::new(oldest, newest))
                });
                node.in_use = Some(parts.ok_or_else(|| Unreadable(node_in_use_key(name)))?);
            }
        }
        Ok(())
    }
}
