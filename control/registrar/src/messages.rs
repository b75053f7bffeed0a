//! What another primary says beside the negotiation, and what a box says first, checked.

use registration::wire::{
    Behind, Coordination, FINGERPRINT, GenerationState, Hello, MAX_CLIENTS, MAX_NODES, MAX_REASON, Malformed, Node,
    NodeInfo, Nodes, RotationRequest, Token, Trouble, array, bad, coordination, proto,
};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

/// What a primary of this version takes beside the first messages, as it says in each of its own.
pub const FEATURES: u32 = 1;

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

impl TryFrom<proto::InUse> for InUse {
    type Error = Malformed;

    fn try_from(in_use: proto::InUse) -> Result<Self, Malformed> {
        const MESSAGE: &str = "in use";
        if in_use.behind.len() > MAX_NODES {
            return bad(MESSAGE, "too many boxes that are behind");
        }
        let behind = in_use.behind.into_iter().map(|b| {
            let id = array(&b.id, MESSAGE, "a node's id has 16 octets")?;
            if b.oldest > b.newest {
                bad(MESSAGE, "generations that do not ascend")
            } else {
                Ok((id, b.oldest..=b.newest))
            }
        });
        Ok(Self {
            since: in_use.since,
            behind: behind.collect::<Result<_, _>>()?,
            keeps: Duration::from_millis(in_use.keeps_ms),
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
    /// It requests a rotation: it wants a generation above this one.
    RotationRequest {
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
            News::RotationRequest { above, reason } => {
                Message::RotationRequest(RotationRequest { above: *above, reason: reason.clone() })
            }
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
            Some(Message::InUse(in_use)) => InUse::try_from(in_use).map(Self::InUse),
            Some(Message::RotationRequest(RotationRequest { above, reason })) if reason.len() <= MAX_REASON => {
                Ok(Self::RotationRequest { above, reason: reason.escape_debug().to_string() })
            }
            Some(Message::Trouble(Trouble { reason })) if reason.len() <= MAX_REASON => {
                Ok(Self::Trouble { reason: reason.escape_debug().to_string() })
            }
            Some(Message::RotationRequest(_) | Message::Trouble(_)) => bad(MESSAGE, "a reason that is too long"),
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
        Ok(Self { node, instance, token: Token::from_wire(hello.token.as_ref(), MESSAGE)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use registration::wire::{MAX_PREFIXES, TOKEN};

    fn node() -> NodeInfo {
        NodeInfo {
            name: "box-a".into(),
            id: [7; 16],
            prefixes: vec!["2001:db8:a::/48".parse().expect("a prefix")],
            clients: vec![[3; 16]],
        }
    }

    #[test]
    fn news_there_and_back() {
        let news = [
            News::Nodes(vec![node()]),
            News::State { newest: 4, ready: 3, fingerprint: None },
            News::State { newest: 4, ready: 3, fingerprint: Some([5; FINGERPRINT]) },
            News::InUse(InUse { since: 4, behind: [([7; 16], 2..=3)].into(), keeps: Duration::from_secs(9) }),
            News::RotationRequest { above: 4, reason: "box-a restarted".into() },
            News::trouble("kem: no answer"),
        ];
        for news in news {
            assert_eq!(News::try_from(Coordination::from(&news)), Ok(news));
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        let hello = |change: &dyn Fn(&mut Hello)| {
            let Node { name, id, prefixes, .. } = Node::from(&node());
            let token = Some(proto::Token { octets: vec![2; TOKEN] });
            let mut hello = Hello { name, id, prefixes, instance: vec![1; 16], token, differences: false };
            change(&mut hello);
            Registering::try_from(hello)
        };
        assert!(hello(&|_| ()).is_ok());
        type Change = fn(&mut Hello);
        let changes: [Change; 9] = [
            |h| h.token.iter_mut().for_each(|t| t.octets.push(0)),
            |h| h.name.clear(),
            |h| h.name = "a b".into(),
            |h| h.id.truncate(15),
            |h| h.instance.push(0),
            |h| h.prefixes[0].length = 129,
            |h| h.prefixes[0].length = 46,
            |h| h.prefixes[0].address.clear(),
            |h| h.prefixes = vec![h.prefixes[0].clone(); MAX_PREFIXES + 1],
        ];
        for (i, change) in changes.iter().enumerate() {
            assert!(hello(change).is_err(), "change {i}");
        }
        let many = News::Nodes(vec![node(); MAX_NODES + 1]);
        assert!(News::try_from(Coordination::from(&many)).is_err());
        assert!(News::try_from(Coordination::default()).is_err());
        let in_use = |behind| {
            let message = proto::InUse { since: 9, behind, keeps_ms: u64::MAX };
            News::try_from(Coordination { message: Some(coordination::Message::InUse(message)), features: 0 })
        };
        let behind = |id: &[u8], oldest, newest| Behind { id: id.into(), oldest, newest };
        assert!(in_use(vec![behind(&[1; 16], 0, u32::MAX)]).is_ok());
        assert!(in_use(vec![behind(&[1; 15], 1, 2)]).is_err());
        assert!(in_use(vec![behind(&[1; 16], 2, 1)]).is_err());
        assert!(in_use(vec![behind(&[1; 16], 1, 2); MAX_NODES + 1]).is_err());
        let clients = vec![[0; 16]; MAX_CLIENTS / 2 + 1];
        let many = News::Nodes(vec![NodeInfo { clients, ..node() }; 2]);
        assert!(News::try_from(Coordination::from(&many)).is_err());
        let long = News::RotationRequest { above: 0, reason: "x".repeat(MAX_REASON + 1) };
        assert!(News::try_from(Coordination::from(&long)).is_err());
        let long = News::Trouble { reason: "x".repeat(MAX_REASON + 1) };
        assert!(News::try_from(Coordination::from(&long)).is_err());
        // What one says itself fits, and what is none of its characters does not get into a log as it is.
        assert_eq!(News::trouble(&"ä".repeat(MAX_REASON)), News::Trouble { reason: "ä".repeat(MAX_REASON / 2) });
        let shown = News::try_from(Coordination::from(&News::trouble("a\nb")));
        assert_eq!(shown, Ok(News::Trouble { reason: "a\\nb".into() }));
    }
}
