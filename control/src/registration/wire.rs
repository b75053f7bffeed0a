//! The messages of `control/proto/registration.proto`, and what this program makes of them. Whatever comes in is checked
//! here for its bounds, once.

use crate::key_file;
use pipeline::policy::Prefix;
use protocol::key_schedule::Secret;
use protocol::negotiation as n;
use protocol::suite::{Scope, Suite};
use std::fmt;
use std::net::Ipv6Addr;
use std::time::Duration;
use zeroize::Zeroize;

/// As generated from the `.proto`, which is the documentation.
#[allow(missing_docs, clippy::all, reason = "generated")]
pub mod proto {
    tonic::include_proto!("pdmv2.registration.v1");
}

pub use proto::{
    Ack, Coordination, FromNode, GenerationState, Hello, KemRequest, KemResponse, KeySet, Need, Node, Nodes, Opening,
    OpeningSecret, Sealing, SetupRequest, SetupResponse, ToNode, Wanted, coordination, from_node,
};

/// Octets of the largest message, in both directions.
pub const MAX_MESSAGE: usize = 4 << 20;
/// Most boxes of one side.
pub const MAX_NODES: usize = 4096;
/// Most prefixes of a box.
pub const MAX_PREFIXES: usize = 64;
/// Most secrets of a box of the other side: the previous, the present and the coming generation.
pub const MAX_SECRETS: usize = 3;
/// Octets of a reason for the log.
pub const MAX_REASON: usize = 200;
/// No secret is used for longer, whatever the message says.
const MAX_LIFETIME: Duration = Duration::from_secs(86_400 * 3650);

/// A message that is out of bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}: {what}; the other side is no PDMv2 program of this version")]
pub struct Malformed {
    /// Which message.
    pub message: &'static str,
    /// What is wrong in it.
    pub what: &'static str,
}

impl From<Malformed> for tonic::Status {
    fn from(malformed: Malformed) -> Self {
        Self::invalid_argument(malformed.to_string())
    }
}

fn bad<T>(message: &'static str, what: &'static str) -> Result<T, Malformed> {
    Err(Malformed { message, what })
}

impl Drop for Sealing {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl Drop for OpeningSecret {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealing(generation {}, redacted)", self.generation)
    }
}

impl fmt::Debug for OpeningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpeningSecret(generation {}, redacted)", self.generation)
    }
}

impl From<[u16; 3]> for proto::Suite {
    fn from([kem, kdf, aead]: [u16; 3]) -> Self {
        Self { kem: kem.into(), kdf: kdf.into(), aead: aead.into() }
    }
}

impl proto::Suite {
    fn ids(self, message: &'static str) -> Result<[u16; 3], Malformed> {
        let narrow = |id: u32| u16::try_from(id).or(bad(message, "an identifier of more than 16 bits"));
        Ok([narrow(self.kem)?, narrow(self.kdf)?, narrow(self.aead)?])
    }

    /// The suite, when the profile has it.
    ///
    /// # Errors
    /// It has not.
    pub fn known(self, message: &'static str) -> Result<Suite, Malformed> {
        Suite::from_ids(self.ids(message)?).map_or_else(|| bad(message, "an unknown suite"), Ok)
    }
}

/// The scope's number in messages.
#[must_use]
pub const fn scope_to_wire(scope: Scope) -> proto::Scope {
    match scope {
        Scope::Node => proto::Scope::Node,
        Scope::Client => proto::Scope::Client,
        Scope::Shared => proto::Scope::Shared,
    }
}

fn scope_from_wire(scope: i32, message: &'static str) -> Result<Scope, Malformed> {
    match proto::Scope::try_from(scope) {
        Ok(proto::Scope::Node) => Ok(Scope::Node),
        Ok(proto::Scope::Client) => Ok(Scope::Client),
        Ok(proto::Scope::Shared) => Ok(Scope::Shared),
        Ok(proto::Scope::Unspecified) | Err(_) => bad(message, "an unknown scope"),
    }
}

/// A refusal's number in messages.
#[must_use]
pub fn refusal_to_wire(refusal: n::Refusal) -> i32 {
    refusal.id().cast_signed()
}

fn refused(number: i32) -> Option<n::Refusal> {
    (number != 0).then(|| n::Refusal::from_id(number.cast_unsigned()))
}

fn array<const N: usize>(octets: &[u8], message: &'static str, what: &'static str) -> Result<[u8; N], Malformed> {
    octets.try_into().or(bad(message, what))
}

impl From<n::SetupRequest> for SetupRequest {
    fn from(r: n::SetupRequest) -> Self {
        Self {
            client: r.client,
            server: r.server,
            scope: scope_to_wire(r.scope).into(),
            last_generation: r.last_generation,
            psk_id: r.psk_id,
            suites: r.suites.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<SetupRequest> for n::SetupRequest {
    type Error = Malformed;

    fn try_from(r: SetupRequest) -> Result<Self, Malformed> {
        const MESSAGE: &str = "setup request";
        if r.suites.len() > n::message::MAX_SUITES {
            return bad(MESSAGE, "too many suites");
        }
        Ok(Self {
            client: r.client,
            server: r.server,
            scope: scope_from_wire(r.scope, MESSAGE)?,
            last_generation: r.last_generation,
            psk_id: r.psk_id,
            suites: r.suites.into_iter().map(|s| s.ids(MESSAGE)).collect::<Result<_, _>>()?,
        })
    }
}

impl From<n::SetupResponse> for SetupResponse {
    fn from(r: n::SetupResponse) -> Self {
        Self {
            refusal: 0,
            negotiation: r.negotiation.into(),
            suite: Some(r.suite.into()),
            generation: r.generation,
            public_key: r.public_key,
        }
    }
}

impl SetupResponse {
    /// A refusal.
    #[must_use]
    pub fn refuse(why: n::Refusal) -> Self {
        Self { refusal: refusal_to_wire(why), ..Self::default() }
    }

    /// The choice, or what the server says against it.
    ///
    /// # Errors
    /// Malformed.
    pub fn outcome(self) -> Result<Result<n::SetupResponse, n::Refusal>, Malformed> {
        const MESSAGE: &str = "setup response";
        if let Some(why) = refused(self.refusal) {
            return Ok(Err(why));
        }
        let Some(suite) = self.suite else { return bad(MESSAGE, "no suite") };
        Ok(Ok(n::SetupResponse {
            negotiation: array(&self.negotiation, MESSAGE, "a negotiation's name has 16 octets")?,
            suite: suite.ids(MESSAGE)?,
            generation: self.generation,
            public_key: self.public_key,
        }))
    }
}

impl From<n::KemRequest> for KemRequest {
    fn from(r: n::KemRequest) -> Self {
        Self { negotiation: r.negotiation.into(), enc: r.enc, salt: r.salt.into(), confirmation: r.confirmation }
    }
}

impl TryFrom<KemRequest> for n::KemRequest {
    type Error = Malformed;

    fn try_from(r: KemRequest) -> Result<Self, Malformed> {
        const MESSAGE: &str = "kem request";
        Ok(Self {
            negotiation: array(&r.negotiation, MESSAGE, "a negotiation's name has 16 octets")?,
            enc: r.enc,
            salt: array(&r.salt, MESSAGE, "a salt has 32 octets")?,
            confirmation: r.confirmation,
        })
    }
}

impl From<n::KemResponse> for KemResponse {
    fn from(r: n::KemResponse) -> Self {
        Self { refusal: 0, negotiation: r.negotiation.into(), enc: r.enc, confirmation: r.confirmation }
    }
}

impl KemResponse {
    /// A refusal.
    #[must_use]
    pub fn refuse(why: n::Refusal) -> Self {
        Self { refusal: refusal_to_wire(why), ..Self::default() }
    }

    /// The server's confirmation, or what it says against the client's.
    ///
    /// # Errors
    /// Malformed.
    pub fn outcome(self) -> Result<Result<n::KemResponse, n::Refusal>, Malformed> {
        if let Some(why) = refused(self.refusal) {
            return Ok(Err(why));
        }
        Ok(Ok(n::KemResponse {
            negotiation: array(&self.negotiation, "kem response", "a negotiation's name has 16 octets")?,
            enc: self.enc,
            confirmation: self.confirmation,
        }))
    }
}

/// A box as the other side knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeInfo {
    /// Its name.
    pub name: String,
    /// What its secret is bound to.
    pub id: [u8; 16],
    /// Sources it speaks for.
    pub prefixes: Vec<Prefix>,
}

/// A prefix's address, out of what it looks like.
fn address(prefix: &Prefix) -> [u8; 16] {
    let text = prefix.to_string();
    let address = text.split('/').next().and_then(|a| a.parse().ok()).unwrap_or(Ipv6Addr::UNSPECIFIED);
    address.octets()
}

/// Whether every address of `inner` is one of `outer`.
#[must_use]
pub fn is_within(inner: &Prefix, outer: &Prefix) -> bool {
    inner.len() >= outer.len() && outer.overlaps(inner)
}

/// Prefixes in messages.
#[must_use]
pub fn prefixes_to_wire(prefixes: &[Prefix]) -> Vec<proto::Prefix> {
    let wire = |p: &Prefix| proto::Prefix { address: address(p).into(), length: p.len().into() };
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
        prefix.filter(|p| address(p) == octets).map_or_else(|| bad(message, "a prefix's length, or bits behind it"), Ok)
    };
    prefixes.into_iter().map(read).collect()
}

impl From<&NodeInfo> for Node {
    fn from(node: &NodeInfo) -> Self {
        Self { name: node.name.clone(), id: node.id.into(), prefixes: prefixes_to_wire(&node.prefixes) }
    }
}

impl Node {
    /// Checks it.
    ///
    /// # Errors
    /// Malformed.
    pub fn checked(self, message: &'static str) -> Result<NodeInfo, Malformed> {
        if key_file::check_name(&self.name).is_err() {
            return bad(message, "a node's name");
        }
        Ok(NodeInfo {
            name: self.name,
            id: array(&self.id, message, "a node's id has 16 octets")?,
            prefixes: prefixes_from_wire(self.prefixes, message)?,
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
    },
    /// It wants a generation above this one.
    Wanted {
        /// This one.
        above: u32,
        /// Why.
        reason: String,
    },
}

impl From<&News> for Coordination {
    fn from(news: &News) -> Self {
        use coordination::Message;
        let message = match news {
            News::Nodes(nodes) => Message::Nodes(Nodes { nodes: nodes.iter().map(Into::into).collect() }),
            News::State { newest, ready } => Message::State(GenerationState { newest: *newest, ready: *ready }),
            News::Wanted { above, reason } => Message::Wanted(Wanted { above: *above, reason: reason.clone() }),
        };
        Self { message: Some(message) }
    }
}

impl TryFrom<Coordination> for News {
    type Error = Malformed;

    fn try_from(coordination: Coordination) -> Result<Self, Malformed> {
        use coordination::Message;
        const MESSAGE: &str = "coordination";
        match coordination.message {
            Some(Message::Nodes(Nodes { nodes })) if nodes.len() <= MAX_NODES => {
                nodes.into_iter().map(|n| n.checked(MESSAGE)).collect::<Result<_, _>>().map(Self::Nodes)
            }
            Some(Message::Nodes(_)) => bad(MESSAGE, "too many nodes"),
            Some(Message::State(GenerationState { newest, ready })) => Ok(Self::State { newest, ready }),
            Some(Message::Wanted(Wanted { above, reason })) if reason.len() <= MAX_REASON => {
                Ok(Self::Wanted { above, reason: reason.escape_debug().to_string() })
            }
            Some(Message::Wanted(_)) => bad(MESSAGE, "a reason that is too long"),
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
}

impl TryFrom<Hello> for Registering {
    type Error = Malformed;

    fn try_from(hello: Hello) -> Result<Self, Malformed> {
        const MESSAGE: &str = "hello";
        let instance = array(&hello.instance, MESSAGE, "an instance has 16 octets")?;
        let node = Node { name: hello.name, id: hello.id, prefixes: hello.prefixes }.checked(MESSAGE)?;
        Ok(Self { node, instance })
    }
}

/// The secret that a box seals with, checked.
#[derive(Clone, Debug)]
pub struct SealingKeys {
    /// Its generation.
    pub generation: u32,
    /// The secret.
    pub secret: Secret,
    /// Sources that the box speaks for.
    pub prefixes: Vec<Prefix>,
    /// From its receipt on.
    pub expires_in: Duration,
}

/// A box of the other side, with the secrets that its packets are opened with, ascending by generation.
#[derive(Clone, Debug)]
pub struct OpeningKeys {
    /// The box.
    pub node: NodeInfo,
    /// Generation and secret.
    pub secrets: Vec<(u32, Secret)>,
}

/// A key set, checked.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Its number in its connection.
    pub revision: u64,
    /// What to seal with.
    pub sealing: Option<SealingKeys>,
    /// Whom to open.
    pub opening: Vec<OpeningKeys>,
}

const KEY_SET: &str = "key set";

fn secret(suite: Option<proto::Suite>, octets: &[u8]) -> Result<Secret, Malformed> {
    let Some(suite) = suite else { return bad(KEY_SET, "a secret without suite") };
    Secret::from_octets(suite.known(KEY_SET)?, octets).or(bad(KEY_SET, "a secret that has not Nh octets"))
}

impl TryFrom<&KeySet> for Keys {
    type Error = Malformed;

    fn try_from(set: &KeySet) -> Result<Self, Malformed> {
        if scope_from_wire(set.scope, KEY_SET)? == Scope::Client {
            return bad(KEY_SET, "scope client, which this version does not take");
        }
        if set.opening.len() > MAX_NODES || set.opening.iter().any(|o| o.secrets.len() > MAX_SECRETS) {
            return bad(KEY_SET, "too many boxes or secrets");
        }
        let sealing = set.sealing.as_ref().map(|s| {
            Ok(SealingKeys {
                generation: s.generation,
                secret: secret(s.suite, &s.secret)?,
                prefixes: prefixes_from_wire(s.prefixes.clone(), KEY_SET)?,
                expires_in: Duration::from_millis(s.expires_in_ms).min(MAX_LIFETIME),
            })
        });
        let opening = set.opening.iter().map(|o| {
            let Some(node) = o.node.clone() else { return bad(KEY_SET, "secrets of nobody") };
            let secrets = o.secrets.iter().map(|s| Ok((s.generation, secret(s.suite, &s.secret)?)));
            let secrets = secrets.collect::<Result<Vec<_>, _>>()?;
            if !secrets.is_sorted_by(|(a, _), (b, _)| a < b) {
                return bad(KEY_SET, "generations that do not ascend");
            }
            Ok(OpeningKeys { node: node.checked(KEY_SET)?, secrets })
        });
        Ok(Self { revision: set.revision, sealing: sealing.transpose()?, opening: opening.collect::<Result<_, _>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;

    fn node() -> NodeInfo {
        NodeInfo { name: "box-a".into(), id: [7; 16], prefixes: vec!["2001:db8:a::/48".parse().expect("a prefix")] }
    }

    #[test]
    fn messages_there_and_back() {
        let request = n::SetupRequest {
            client: "west".into(),
            server: "east".into(),
            scope: Scope::Shared,
            last_generation: 7,
            psk_id: b"lab".to_vec(),
            suites: vec![[0x20, 1, 1], [0xFFFF, 0, 9]],
        };
        assert_eq!(n::SetupRequest::try_from(SetupRequest::from(request.clone())), Ok(request));
        let response =
            n::SetupResponse { negotiation: [1; 16], suite: [0x647A, 1, 1], generation: 8, public_key: vec![2; 1216] };
        assert_eq!(SetupResponse::from(response.clone()).outcome(), Ok(Ok(response)));
        for &why in n::Refusal::ALL {
            assert_eq!(SetupResponse::refuse(why).outcome(), Ok(Err(why)));
            assert_eq!(KemResponse::refuse(why).outcome(), Ok(Err(why)));
            let there = proto::Refusal::try_from(refusal_to_wire(why));
            assert!(there.is_ok_and(|r| r != proto::Refusal::None), "{why:?} is not in the .proto");
        }
        let news = [
            News::Nodes(vec![node()]),
            News::State { newest: 4, ready: 3 },
            News::Wanted { above: 4, reason: "box-a restarted".into() },
        ];
        for news in news {
            assert_eq!(News::try_from(Coordination::from(&news)), Ok(news));
        }
    }

    #[test]
    fn a_prefix_within_another() {
        let within = |a: &str, b: &str| is_within(&a.parse().expect("a prefix"), &b.parse().expect("a prefix"));
        assert!(within("2001:db8:a::/48", "2001:db8::/32") && within("2001:db8::/32", "2001:db8::/32"));
        assert!(within("2001:db8::1", "::/0") && within("2001:db8::1", "2001:db8::1"));
        assert!(!within("2001:db8::/32", "2001:db8:a::/48") && !within("2001:db9::/48", "2001:db8::/32"));
    }

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        let hello = |change: &dyn Fn(&mut Hello)| {
            let Node { name, id, prefixes } = Node::from(&node());
            let mut hello = Hello { name, id, prefixes, instance: vec![1; 16] };
            change(&mut hello);
            Registering::try_from(hello)
        };
        assert!(hello(&|_| ()).is_ok());
        type Change = fn(&mut Hello);
        let changes: [Change; 8] = [
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
        let long = News::Wanted { above: 0, reason: "x".repeat(MAX_REASON + 1) };
        assert!(News::try_from(Coordination::from(&long)).is_err());
        let suites = vec![proto::Suite { kem: 0x1_0000, kdf: 1, aead: 1 }];
        let request = SetupRequest { scope: 1, suites, ..SetupRequest::default() };
        assert!(n::SetupRequest::try_from(request).is_err());
        assert!(n::SetupRequest::try_from(SetupRequest::default()).is_err(), "no scope");
        assert!(SetupResponse::default().outcome().is_err());
    }

    #[test]
    fn secrets_do_not_show_and_go_with_their_message() {
        let secret = vec![0xAB; 32];
        let sealing = Sealing { generation: 3, secret, suite: None, prefixes: Vec::new(), expires_in_ms: 1 };
        let secret = OpeningSecret { generation: 3, secret: vec![0xAB; 32], suite: None };
        let opening = Opening { node: None, secrets: vec![secret] };
        let keys = KeySet { revision: 1, scope: 1, sealing: Some(sealing), opening: vec![opening] };
        let message = ToNode { keys: Some(keys) };
        let shown = format!("{message:?}");
        assert!(shown.contains("redacted") && !shown.contains("171"), "{shown}");
        let back = ToNode::decode(&*message.encode_to_vec()).expect("what was encoded");
        assert_eq!(back, message);
    }
}
