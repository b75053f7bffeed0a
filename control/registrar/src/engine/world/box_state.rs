//! A box of the world: what it has, and what it may do with it.

use crate::engine::SessionId;
use middlebox::keys::opening_table::OpeningTable;
use registration::wire::{KeySet, Token};
use std::collections::BTreeMap;

/// A process of a box, as far as keys go. A clone of it is what a snapshot of its machine has.
#[derive(Clone, Default)]
pub struct BoxState {
    pub side: usize,
    pub name: String,
    pub number: u8,
    pub prefix: String,
    /// In scope client, and on the client's side.
    pub clients: Vec<[u8; 16]>,
    /// Names the process to its registrar.
    pub instance: u16,
    /// Names it in the audit.
    pub process: u16,
    /// The last token that it was handed.
    pub token: Option<Token>,
    pub session: Option<SessionId>,
    pub keys: Option<KeySet>,
    /// Another process of a box that is there already.
    pub second: bool,
    /// What its connection's changes have made, and of which version that is.
    pub table: OpeningTable,
    pub has: u64,
}

impl BoxState {
    pub fn seals(&self) -> Option<u32> {
        self.keys.as_ref()?.sealing.as_ref().map(|s| s.generation)
    }

    /// What it may seal under, each with what else tells its packets from others' under the same secret.
    pub fn may_seal_under(&self) -> Vec<Vec<u8>> {
        let Some((keys, sealing)) = self.keys.as_ref().and_then(|k| Some((k, k.sealing.as_ref()?))) else {
            return Vec::new();
        };
        // In scope client that is the source: the client, or whatever the server side's box speaks for.
        let source: &[u8] = if keys.client_side { b"client" } else { self.prefix.as_bytes() };
        let clients = keys.clients.iter().filter(|c| c.generation == sealing.generation).flat_map(|c| &c.secrets);
        let clients = clients.map(|c| [&c.secret[..], source].concat());
        clients.chain(Some(sealing.secret.clone()).filter(|s| !s.is_empty())).collect()
    }

    pub fn opens(&self, peer: u8, generation: u32, secret: &[u8]) -> bool {
        let opening = self.keys.iter().flat_map(|k| &k.opening);
        let of = opening.filter(|o| o.node.as_ref().is_some_and(|n| n.id == [peer; 16]));
        of.flat_map(|o| &o.secrets).any(|s| s.generation == generation && s.secret == secret)
    }
}

/// By client, in a generation.
pub fn secrets(b: &BoxState, generation: u32) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let of = b.keys.iter().flat_map(|k| &k.clients).filter(|c| c.generation == generation);
    of.flat_map(|c| &c.secrets).map(|c| (c.address.clone(), c.secret.clone())).collect()
}

/// What one seals for the other, that opens: both have the same secret for each client between the two.
pub fn check_pair(sealer: &BoxState, opener: &BoxState) {
    let Some(generation) = sealer.seals() else { return };
    let clients = if sealer.side == 0 { &sealer.clients } else { &opener.clients };
    for client in clients {
        let [one, other] = [sealer, opener].map(|b| secrets(b, generation).remove(&client[..]));
        assert!(one.is_some() && one == other, "{} to {} under {generation}: {client:?}", sealer.name, opener.name);
    }
}
