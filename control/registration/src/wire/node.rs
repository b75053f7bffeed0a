//! A box as others know it, and prefixes, checked.

use super::bounds::{MAX_CLIENTS, MAX_PREFIXES, Malformed, array, bad};
use super::proto::{self, Node};
use common::identity;
use protocol::prefix::Prefix;

/// A box as the other side knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeInfo {
    /// Its name.
    pub name: String,
    /// What its secret is bound to.
    pub id: [u8; 16],
    /// Sources it speaks for.
    pub prefixes: Vec<Prefix>,
    /// Clients it speaks for, in scope client.
    pub clients: Vec<[u8; 16]>,
}

/// Prefixes in messages.
#[must_use]
pub fn prefixes_to_wire(prefixes: &[Prefix]) -> Vec<proto::Prefix> {
    let wire = |p: &Prefix| proto::Prefix { address: p.address().into(), length: p.len().into() };
    prefixes.iter().map(wire).collect()
}

/// The inverse of [`prefixes_to_wire`].
///
/// # Errors
/// Too many, or one that is none.
pub fn prefixes_from_wire(prefixes: Vec<proto::Prefix>, message: &'static str) -> Result<Vec<Prefix>, Malformed> {
    if prefixes.len() > MAX_PREFIXES {
        return bad(message, "too many prefixes");
    }
    let read = |p: proto::Prefix| {
        let octets = array(&p.address, message, "a prefix's address has 16 octets")?;
        let prefix = u8::try_from(p.length).ok().and_then(|l| Prefix::new(octets, l));
        prefix
            .filter(|p| p.address() == octets)
            .map_or_else(|| bad(message, "a prefix's length, or bits behind it"), Ok)
    };
    prefixes.into_iter().map(read).collect()
}

impl From<&NodeInfo> for Node {
    fn from(node: &NodeInfo) -> Self {
        Self {
            name: node.name.clone(),
            id: node.id.into(),
            prefixes: prefixes_to_wire(&node.prefixes),
            clients: node.clients.iter().map(|c| c.to_vec()).collect(),
        }
    }
}

impl Node {
    /// Checks it.
    ///
    /// # Errors
    /// Malformed.
    pub fn checked(self, message: &'static str) -> Result<NodeInfo, Malformed> {
        if identity::check_name(&self.name).is_err() {
            return bad(message, "a node's name");
        }
        if self.clients.len() > MAX_CLIENTS {
            return bad(message, "too many clients");
        }
        let clients = self.clients.iter().map(|c| array(c, message, "a client's address has 16 octets"));
        Ok(NodeInfo {
            name: self.name,
            id: array(&self.id, message, "a node's id has 16 octets")?,
            prefixes: prefixes_from_wire(self.prefixes, message)?,
            clients: clients.collect::<Result<_, _>>()?,
        })
    }
}
