//! What a box opens, as its registrar's changes make it: each is checked, and nothing of it is used before a key set names
//! its version.

use super::key_set::{Keys, OfClients, OpeningKeys, secret_of};
use prost::Message;
use protocol::generation_keys::{ClientSecrets, GenerationKeys};
use protocol::key_schedule::Secret;
use registration::wire::{
    Added, Ended, KeySet, MAX_CLIENTS, MAX_NODES, MAX_SECRETS, Malformed, Opening, OpeningChanges, OpeningSecret,
    array, bad,
};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

const CHANGES: &str = "opening changes";

/// A version that comes in parts.
#[derive(Clone, Copy)]
struct UnderWay {
    base: u64,
    version: u64,
    next: u32,
}

/// What a box opens.
#[derive(Clone, Default)]
pub struct OpeningTable {
    /// What it is when no version is under way; 0: nothing has come yet.
    version: u64,
    under_way: Option<UnderWay>,
    nodes: BTreeMap<[u8; 16], Arc<OpeningKeys>>,
    /// Scope client: secrets by generation, ascending.
    clients: BTreeMap<[u8; 16], Vec<(u32, Secret)>>,
}

impl std::fmt::Debug for OpeningTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OpeningTable(version {}, {} boxes, redacted)", self.version, self.nodes.len())
    }
}

fn secrets_of(secrets: &[OpeningSecret]) -> Result<Vec<(u32, Secret)>, Malformed> {
    if secrets.len() > MAX_SECRETS {
        return bad(CHANGES, "too many secrets");
    }
    secrets.iter().map(|s| Ok((s.generation, secret_of(CHANGES, s.suite, &s.secret)?))).collect()
}

/// Puts new secrets behind those that are there.
fn append<T>(to: &mut Vec<(u32, T)>, new: impl IntoIterator<Item = (u32, T)>) -> Result<(), Malformed> {
    to.extend(new);
    if to.len() > MAX_SECRETS {
        return bad(CHANGES, "too many secrets");
    }
    to.sort_by_key(|(g, _)| *g);
    if to.is_sorted_by(|(a, _), (b, _)| a < b) { Ok(()) } else { bad(CHANGES, "a generation that is there already") }
}

impl OpeningTable {
    /// Takes the next part.
    ///
    /// # Errors
    /// It does not follow on what came before, does not fit it, or is out of bounds: the table is then of no use any more.
    pub fn take(&mut self, octets: &[u8]) -> Result<(), Malformed> {
        let Ok(changes) = OpeningChanges::decode(octets) else { return bad(CHANGES, "octets that are no message") };
        let OpeningChanges { base, version, part, last, .. } = changes;
        match self.under_way {
            Some(u) if (u.base, u.version, u.next) == (base, version, part) => {}
            None if part == 0 && version > base && (base == self.version || base == 0) => {
                if base == 0 {
                    self.nodes.clear();
                    self.clients.clear();
                }
            }
            _ => return bad(CHANGES, "a part that does not follow on what came before"),
        }
        self.under_way = Some(UnderWay { base, version, next: part.saturating_add(1) });
        self.change(&changes)?;
        if last {
            (self.version, self.under_way) = (version, None);
        }
        Ok(())
    }

    fn change(&mut self, changes: &OpeningChanges) -> Result<(), Malformed> {
        for id in &changes.removed_nodes {
            if self.nodes.remove(id.as_slice()).is_none() {
                return bad(CHANGES, "a box that is not there");
            }
        }
        for address in &changes.removed_clients {
            if self.clients.remove(address.as_slice()).is_none() {
                return bad(CHANGES, "a client that is not there");
            }
        }
        changes.ended.iter().try_for_each(|ended| self.end(ended))?;
        changes.set.iter().try_for_each(|opening| self.set(opening))?;
        changes.added.iter().try_for_each(|added| self.add(added))
    }

    fn end(&mut self, ended: &Ended) -> Result<(), Malformed> {
        let set = |ids: &[Vec<u8>]| -> Result<HashSet<[u8; 16]>, Malformed> {
            ids.iter().map(|id| array(id, CHANGES, "an id has 16 octets")).collect()
        };
        let (nodes, clients) = (set(&ended.except_nodes)?, set(&ended.except_clients)?);
        let goes = |generation: u32| generation == ended.generation;
        for (_, keys) in self.nodes.iter_mut().filter(|(id, _)| !nodes.contains(*id)) {
            if keys.secrets.iter().any(|(g, _)| goes(*g)) {
                Arc::make_mut(keys).secrets.retain(|(g, _)| !goes(*g));
            }
        }
        for (_, secrets) in self.clients.iter_mut().filter(|(address, _)| !clients.contains(*address)) {
            secrets.retain(|(g, _)| !goes(*g));
        }
        Ok(())
    }

    fn set(&mut self, opening: &Opening) -> Result<(), Malformed> {
        let mut secrets = Vec::new();
        append(&mut secrets, secrets_of(&opening.secrets)?)?;
        if let Some(node) = opening.node.clone() {
            let node = node.checked(CHANGES)?;
            let secrets = secrets.into_iter().map(|(g, s)| (g, GenerationKeys::Ready(s))).collect();
            self.nodes.insert(node.id, Arc::new(OpeningKeys { node, secrets }));
        } else {
            let address = array(&opening.client, CHANGES, "a client's address has 16 octets")?;
            self.clients.insert(address, secrets);
        }
        if self.nodes.len() > MAX_NODES || self.clients.len() > MAX_CLIENTS {
            return bad(CHANGES, "too many boxes or clients");
        }
        Ok(())
    }

    fn add(&mut self, added: &Added) -> Result<(), Malformed> {
        let secrets = secrets_of(&added.secrets)?;
        if added.is_client {
            let Some(of) = self.clients.get_mut(added.id.as_slice()) else {
                return bad(CHANGES, "secrets of a client that is not there");
            };
            return append(of, secrets);
        }
        let Some(of) = self.nodes.get_mut(added.id.as_slice()) else {
            return bad(CHANGES, "secrets of a box that is not there");
        };
        append(&mut Arc::make_mut(of).secrets, secrets.into_iter().map(|(g, s)| (g, GenerationKeys::Ready(s))))
    }

    /// A key set, checked, with what it names of this table.
    ///
    /// # Errors
    /// It is malformed, or names a version that the table has not got, or not wholly.
    pub fn keys(&self, set: &KeySet) -> Result<Keys, Malformed> {
        if set.opening_version == 0 {
            return Keys::try_from(set);
        }
        if set.opening_version != self.version || self.under_way.is_some() {
            return bad(CHANGES, "a key set of a version that has not come");
        }
        if !set.opening.is_empty() {
            return bad(CHANGES, "a key set that says twice whom to open");
        }
        Keys::of(set, self.nodes.values().cloned().collect(), self.of_clients()?)
    }

    fn of_clients(&self) -> Result<OfClients, Malformed> {
        let mut by_generation: BTreeMap<u32, Vec<([u8; 16], Secret)>> = BTreeMap::new();
        for (address, secrets) in &self.clients {
            for (generation, secret) in secrets {
                by_generation.entry(*generation).or_default().push((*address, secret.clone()));
            }
        }
        let one = |(generation, secrets): (u32, Vec<([u8; 16], Secret)>)| {
            let suite = secrets.first().map(|(_, s)| s.suite());
            match suite.filter(|suite| secrets.iter().all(|(_, s)| s.suite() == *suite)) {
                Some(suite) => Ok((generation, Arc::new(ClientSecrets::new(suite, secrets)))),
                None => bad(CHANGES, "two suites in one generation"),
            }
        };
        by_generation.into_iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests;
