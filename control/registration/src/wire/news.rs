//! What one primary tells the other beside the negotiation, and what a box says first, checked.

use super::{
    Behind, Coordination, FINGERPRINT, GenerationState, Hello, MAX_CLIENTS, MAX_NODES, MAX_PREFIXES, MAX_REASON,
    Malformed, Node, Nodes, Token, Trouble, Wanted, array, bad, coordination, proto, token,
};
use common::identity;
use protocol::prefix::Prefix;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

/// What a primary of this version takes beside the first messages, as it says in each of its own.
pub const FEATURES: u32 = 1;

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

/// Whether every address of `inner` is one of `outer`.
#[must_use]
pub fn is_within(inner: &Prefix, outer: &Prefix) -> bool {
    inner.len() >= outer.len() && outer.overlaps(inner)
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

/// What a side's boxes may still seal under.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct InUse {
    /// Boxes that are not in `behind` have left all generations below this one.
    pub since: u32,
    /// The others, by id.
    pub behind: BTreeMap<[u8; 16], RangeInclusive<u32>>,
    /// How long after a generation was agreed the side that says this opens it for a box that has not left it.
    pub keeps: Duration,
}

impl InUse {
    /// Whether the box of this id may still seal under this generation.
    #[must_use]
    pub fn has(&self, id: &[u8; 16], generation: u32) -> bool {
        generation >= self.since || self.behind.get(id).is_some_and(|range| range.contains(&generation))
    }
}

impl From<&InUse> for proto::InUse {
    fn from(in_use: &InUse) -> Self {
        let behind = in_use.behind.iter();
        let behind = behind.map(|(id, range)| Behind { id: id.into(), oldest: *range.start(), newest: *range.end() });
        Self {
            since: in_use.since,
            behind: behind.collect(),
            keeps_ms: in_use.keeps.as_millis().try_into().unwrap_or(u64::MAX),
        }
    }
}

impl proto::InUse {
    /// Checks it.
    ///
    /// # Errors
    /// Malformed.
    pub fn checked(self, message: &'static str) -> Result<InUse, Malformed> {
        if self.behind.len() > MAX_NODES {
            return bad(message, "too many boxes that are behind");
        }
        let behind = self.behind.into_iter().map(|b| {
            let id = array(&b.id, message, "a node's id has 16 octets")?;
            if b.oldest > b.newest {
                bad(message, "generations that do not ascend")
            } else {
                Ok((id, b.oldest..=b.newest))
            }
        });
        Ok(InUse {
            since: self.since,
            behind: behind.collect::<Result<_, _>>()?,
            keeps: Duration::from_millis(self.keeps_ms),
        })
    }
}

/// What one primary tells the other beside the negotiation, checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum News {
    /// All boxes of its side.
    Nodes(Vec<NodeInfo>),
    /// How far its side is.
    State {
        /// The newest generation it has.
        newest: u32,
        /// The highest that all its boxes can open.
        ready: u32,
        /// Tells the newest from another of the same number.
        fingerprint: Option<[u8; FINGERPRINT]>,
    },
    /// What its boxes may still seal under.
    InUse(InUse),
    /// It wants a generation above this one.
    Wanted {
        /// This one.
        above: u32,
        /// Why.
        reason: String,
    },
    /// It could make nothing of what this side has sent.
    Trouble {
        /// In its words.
        reason: String,
    },
}

impl News {
    /// The reason as far as a message has room for it.
    #[must_use]
    pub fn trouble(reason: &str) -> Self {
        let end = (0..=reason.len().min(MAX_REASON)).rev().find(|&i| reason.is_char_boundary(i));
        Self::Trouble { reason: reason[..end.unwrap_or(0)].to_owned() }
    }
}

impl From<&News> for Coordination {
    fn from(news: &News) -> Self {
        use coordination::Message;
        let message = match news {
            News::Nodes(nodes) => Message::Nodes(Nodes { nodes: nodes.iter().map(Into::into).collect() }),
            News::State { newest, ready, fingerprint } => Message::State(GenerationState {
                newest: *newest,
                ready: *ready,
                fingerprint: fingerprint.map(Vec::from).unwrap_or_default(),
            }),
            News::InUse(in_use) => Message::InUse(in_use.into()),
            News::Wanted { above, reason } => Message::Wanted(Wanted { above: *above, reason: reason.clone() }),
            News::Trouble { reason } => Message::Trouble(Trouble { reason: reason.clone() }),
        };
        Self { message: Some(message), features: FEATURES }
    }
}

impl TryFrom<Coordination> for News {
    type Error = Malformed;

    fn try_from(coordination: Coordination) -> Result<Self, Malformed> {
        use coordination::Message;
        const MESSAGE: &str = "coordination";
        match coordination.message {
            Some(Message::Nodes(Nodes { nodes })) if nodes.len() <= MAX_NODES => {
                if nodes.iter().map(|n| n.clients.len()).sum::<usize>() > MAX_CLIENTS {
                    return bad(MESSAGE, "too many clients");
                }
                nodes.into_iter().map(|n| n.checked(MESSAGE)).collect::<Result<_, _>>().map(Self::Nodes)
            }
            Some(Message::Nodes(_)) => bad(MESSAGE, "too many nodes"),
            Some(Message::State(GenerationState { newest, ready, fingerprint })) => {
                let said = Some(fingerprint).filter(|f| !f.is_empty());
                let fingerprint = said.map(|f| array(&f, MESSAGE, "a fingerprint has 16 octets")).transpose()?;
                Ok(Self::State { newest, ready, fingerprint })
            }
            Some(Message::InUse(in_use)) => in_use.checked(MESSAGE).map(Self::InUse),
            Some(Message::Wanted(Wanted { above, reason })) if reason.len() <= MAX_REASON => {
                Ok(Self::Wanted { above, reason: reason.escape_debug().to_string() })
            }
            Some(Message::Trouble(Trouble { reason })) if reason.len() <= MAX_REASON => {
                Ok(Self::Trouble { reason: reason.escape_debug().to_string() })
            }
            Some(Message::Wanted(_) | Message::Trouble(_)) => bad(MESSAGE, "a reason that is too long"),
            None => bad(MESSAGE, "an empty or unknown message"),
        }
    }
}

/// What a box says first, checked for its form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registering {
    /// Which box it says it is, and what it speaks for.
    pub node: NodeInfo,
    /// Which process of it.
    pub instance: [u8; 16],
    /// The last that it was handed.
    pub token: Option<Token>,
}

impl TryFrom<Hello> for Registering {
    type Error = Malformed;

    fn try_from(hello: Hello) -> Result<Self, Malformed> {
        const MESSAGE: &str = "hello";
        let instance = array(&hello.instance, MESSAGE, "an instance has 16 octets")?;
        let node = Node { name: hello.name, id: hello.id, prefixes: hello.prefixes, clients: Vec::new() };
        let node = node.checked(MESSAGE)?;
        Ok(Self { node, instance, token: token::from_wire(hello.token.as_ref(), MESSAGE)? })
    }
}
