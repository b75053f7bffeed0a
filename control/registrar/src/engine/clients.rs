//! Scope client (profile section 5, draft appendix B): one secret for each client address, for both directions. A box of
//! the client primary's side gets those of its own clients, one of the other side those of all clients.
//!
//! Several boxes then seal under one secret, and could meet in a nonce if they sealed packets with one 5-tuple. They do not
//! as long as no source is two boxes': so the prefixes of all boxes of both sides are disjoint, by the configuration here
//! and by [`Claims`] for what the other side says. When the configuration has moved a prefix or a client from
//! one box to another, nobody seals under a generation of before ([`Engine::take_assignment`]).

use super::nodes::{Node, Session};
use super::prefixes::Disjoint;
use super::settings::Role;
use super::{Engine, persist};
use common::key_file::Scope;
use registration::wire::{ClientSecrets, MAX_CLIENTS, NodeInfo};
use sha2::{Digest, Sha256};
use std::collections::HashSet;

/// What the boxes of the other side have in scope client, as they are taken one by one.
#[derive(Default)]
pub(super) struct Claims {
    prefixes: Disjoint,
    clients: HashSet<[u8; 16]>,
}

impl Claims {
    /// What is against this box; `None`: it is taken. `of_clients`: whether its side has the clients.
    pub(super) fn refuse(&mut self, node: &NodeInfo, of_clients: bool) -> Option<&'static str> {
        if node.prefixes.iter().any(|p| self.prefixes.overlapping(p).is_some()) {
            return Some("another box has its prefix");
        }
        if !of_clients && !node.clients.is_empty() {
            return Some("it has clients, but those are on this side");
        }
        let within = |c| node.prefixes.iter().any(|p| p.contains(c));
        if !node.clients.iter().all(within) {
            return Some("a client outside its prefixes");
        }
        let clients: HashSet<_> = node.clients.iter().copied().collect();
        if self.clients.len() + clients.len() > MAX_CLIENTS || !self.clients.is_disjoint(&clients) {
            return Some("too many clients, or one that is another box's");
        }
        self.prefixes.insert_all(&node.prefixes);
        self.clients.extend(clients);
        None
    }
}

impl Engine {
    /// Whether this side has the clients of scope client.
    pub(super) fn is_client_side(&self) -> bool {
        self.peer.role == Role::Client
    }

    /// What is against a box of the other side, in scope client.
    pub(super) fn refused_by_scope(&self, claims: &mut Claims, node: &NodeInfo) -> Option<&'static str> {
        (self.peer.scope == Scope::Client).then(|| claims.refuse(node, !self.is_client_side())).flatten()
    }

    /// What a box is sent of the clients' secrets for itself: on the client primary's side those of its own.
    pub(super) fn clients_of(&self, node: &Node, session: &Session) -> Vec<ClientSecrets> {
        if self.peer.scope != Scope::Client || !self.is_client_side() {
            return Vec::new();
        }
        let speaks_for = |c: &&[u8; 16]| session.prefixes.iter().any(|p| p.contains(c));
        self.generations_of_clients().map(|g| g.clients(node.config.clients.iter().filter(speaks_for))).collect()
    }

    /// The clients of a box of the other side whose secrets all boxes of this one get.
    pub(super) fn clients_there<'n>(&self, node: &'n NodeInfo) -> &'n [[u8; 16]] {
        if self.peer.scope == Scope::Client && !self.is_client_side() { &node.clients } else { &[] }
    }

    /// A hash of who has which prefixes and clients.
    fn assignment(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for (name, node) in &self.nodes {
            let lengths = [name.len(), node.config.prefixes.len(), node.config.clients.len()];
            lengths.iter().for_each(|&n| hash.update((n as u64).to_be_bytes()));
            hash.update(name);
            for prefix in &node.config.prefixes {
                hash.update(prefix.address());
                hash.update([prefix.len()]);
            }
            node.config.clients.iter().for_each(|c| hash.update(c));
        }
        hash.finalize().into()
    }

    /// Compares who has what with what was kept; when it has changed, no box gets a generation to seal with that there
    /// was before.
    pub(super) fn take_assignment(&mut self, kept: Option<([u8; 32], u32)>) {
        if self.peer.scope != Scope::Client {
            return;
        }
        let now = self.assignment();
        self.floor = match kept {
            Some((then, floor)) if then == now => floor,
            _ => {
                // Also one that is not active yet: in a store that was set back it may have been since.
                let floor = self.newest_known();
                self.effects.batch.push(persist::assignment(&self.peer.name, &now, floor));
                floor
            }
        };
    }
}
