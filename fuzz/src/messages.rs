//! Registration: what the other primary, a box or a registrar's store may bring.
//!
//! Input: which kind (1), then the octets. What must hold whatever comes: nothing panics, what is taken is within its bounds,
//! and what is taken and written again is taken for the same.

use common::config::Checks;
use middlebox::keys::key_set::OpeningKeys;
use middlebox::keys::opening_table::OpeningTable;
use negotiation as n;
use prost::Message;
use protocol::suite::{Scope, Suite};
use registrar::config::RegistrarConfig;
use registrar::engine::Engine;
use registrar::messages::{InUse, News, Registering};
use registrar::random::rng;
use registration::wire::{
    Added, Coordination, Ended, FromNode, Hello, KemRequest, KemResponse, KeySet, MAX_NODES, MAX_PREFIXES, MAX_SECRETS,
    Node, NodeInfo, Nodes, Opening, OpeningChanges, OpeningSecret, SetupRequest, SetupResponse, ToNode, from_node,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// The two primaries, without certificates: who they are to each other.
struct Primaries {
    east: n::Identity,
    west: n::Peer,
    policy: n::Policy,
    config: RegistrarConfig,
}

fn primaries() -> &'static Primaries {
    static PRIMARIES: OnceLock<Primaries> = OnceLock::new();
    PRIMARIES.get_or_init(|| {
        let west = n::Identity::from_seed("west", &[1; 32]);
        let text = include_str!("../../configs/registrar-west.toml");
        Primaries {
            east: n::Identity::from_seed("east", &[2; 32]),
            west: n::Peer {
                name: "west".into(),
                keys: west.keys.iter().map(n::PrivateKey::public).collect(),
                psk: None,
            },
            policy: n::Policy { suites: vec![Suite::default()], prefer: n::Prefer::Server },
            config: RegistrarConfig::parse(text, Path::new("west.toml"), Checks::TextOnly).expect("the example"),
        }
    })
}

/// Names of values in a registrar's store.
const STORED: [&str; 8] = [
    "peer/east/last",
    "peer/east/nodes",
    "peer/east/assignment",
    "peer/east/generation/00000001",
    "node/box-a/sealed",
    "node/box-a/revoked",
    "peer/east/in_use",
    "node/box-a/in_use",
];

/// The target.
pub fn messages(data: &[u8]) {
    let Some((kind, octets)) = data.split_first() else { return };
    match kind % 8 {
        0 => setup_request(octets),
        1 => setup_response(octets),
        2 => kem_request(octets),
        3 => kem_response(octets),
        4 => coordination(octets),
        5 => from_box(octets),
        6 => to_box(octets),
        _ => stored(octets),
    }
}

fn setup_request(octets: &[u8]) {
    let Ok(request) = SetupRequest::decode(octets).map(n::SetupRequest::try_from) else { return };
    let Ok(request) = request else { return };
    assert_eq!(n::SetupRequest::try_from(SetupRequest::from(request.clone())), Ok(request.clone()));
    let Primaries { east, west, policy, .. } = primaries();
    if let Ok((_, response)) = n::Server::respond(east, west, Scope::Node, 3, policy, &request, &mut rng()) {
        assert!(response.generation > request.last_generation.max(3), "no number twice");
        assert!(request.suites.contains(&response.suite), "only what was offered");
    }
}

fn setup_response(octets: &[u8]) {
    let Ok(response) = SetupResponse::decode(octets).map(SetupResponse::outcome) else { return };
    if let Ok(Ok(response)) = response {
        assert_eq!(SetupResponse::from(response.clone()).outcome(), Ok(Ok(response)));
    }
}

fn kem_request(octets: &[u8]) {
    let Ok(request) = KemRequest::decode(octets).map(n::KemRequest::try_from) else { return };
    if let Ok(request) = request {
        assert_eq!(n::KemRequest::try_from(KemRequest::from(request.clone())), Ok(request));
    }
}

fn kem_response(octets: &[u8]) {
    let Ok(response) = KemResponse::decode(octets).map(KemResponse::outcome) else { return };
    if let Ok(Ok(response)) = response {
        assert_eq!(KemResponse::from(response.clone()).outcome(), Ok(Ok(response)));
    }
}

fn coordination(octets: &[u8]) {
    let Ok(Ok(news)) = Coordination::decode(octets).map(News::try_from) else { return };
    if let News::Nodes(nodes) = &news {
        assert!(nodes.len() <= MAX_NODES && nodes.iter().all(|node| node.prefixes.len() <= MAX_PREFIXES));
    }
    // A reason is escaped on its way in, so that it cannot look like something else in a log.
    if !matches!(news, News::RotationRequest { .. } | News::Trouble { .. }) {
        assert_eq!(News::try_from(Coordination::from(&news)), Ok(news));
    }
}

fn from_box(octets: &[u8]) {
    let Ok(FromNode { message: Some(from_node::Message::Hello(hello)) }) = FromNode::decode(octets) else { return };
    let Ok(Registering { node, .. }) = Registering::try_from(hello) else { return };
    assert!(node.prefixes.len() <= MAX_PREFIXES);
    assert_eq!(Node::from(&node).checked("node"), Ok(node));
}

/// Messages one after another, each behind its length (2 octets); the last one takes all.
fn to_box(mut octets: &[u8]) {
    let mut table = OpeningTable::default();
    while let Some((len, behind)) = octets.split_first_chunk() {
        let (message, rest) = behind.split_at(behind.len().min(u16::from_be_bytes(*len).into()));
        octets = rest;
        match ToNode::decode(message) {
            Ok(ToNode { keys: Some(set), .. }) => key_set(&table, &set),
            // As a box does: it begins anew.
            Ok(ToNode { changes, .. }) if table.take(&changes).is_err() => return,
            _ => {}
        }
    }
}

fn key_set(table: &OpeningTable, set: &KeySet) {
    if let Ok(keys) = table.keys(set) {
        assert!(keys.opening.len() <= MAX_NODES && keys.opening.iter().all(|o| o.secrets.len() <= MAX_SECRETS));
        let ascends = |o: &Arc<OpeningKeys>| o.secrets.is_sorted_by(|(a, _), (b, _)| a < b);
        assert!(keys.opening.iter().all(ascends));
    }
}

/// The first octet: which values there are; then each behind its length.
fn stored(octets: &[u8]) {
    let Some((&which, mut rest)) = octets.split_first() else { return };
    let mut values = BTreeMap::new();
    for (i, name) in STORED.iter().enumerate().filter(|(i, _)| which >> i & 1 == 1) {
        let Some((&len, behind)) = rest.split_first() else { break };
        // The last one takes all.
        let len = if which >> i == 1 { behind.len() } else { behind.len().min(len.into()) };
        let (value, behind) = behind.split_at(len);
        values.insert((*name).to_owned(), value.to_vec().into());
        rest = behind;
    }
    let config = &primaries().config;
    let mut engine = Engine::new(config.peers[0].clone(), config.generations, &config.nodes);
    let now = Instant::now();
    if engine.restore(&values, now, 1_000_000).is_ok() {
        let effects = engine.tick(now + Duration::from_secs(1));
        assert!(effects.batch.iter().all(|(name, _)| !name.is_empty()));
    }
}

fn secret(generation: u32) -> OpeningSecret {
    OpeningSecret { generation, suite: Some(Suite::default().ids().into()), secret: vec![generation as u8; 32] }
}

fn opening(node: &NodeInfo) -> Opening {
    let node = Node { clients: Vec::new(), ..node.into() };
    Opening { node: Some(node), secrets: vec![secret(8)], client: Vec::new() }
}

/// Messages of each kind, and a store.
pub fn corpus() -> Vec<Vec<u8>> {
    let node = NodeInfo {
        name: "box-a".into(),
        id: [7; 16],
        prefixes: vec!["2001:db8:a::/48".parse().expect("a prefix")],
        clients: vec![[3; 16]],
    };
    let request = n::SetupRequest {
        client: "west".into(),
        server: "east".into(),
        scope: Scope::Node,
        last_generation: 7,
        psk_id: Vec::new(),
        suites: vec![[0x20, 1, 1], [0xFFFF, 0, 9]],
    };
    let response =
        n::SetupResponse { negotiation: [1; 16], suite: [0x20, 1, 1], generation: 8, public_key: vec![2; 32] };
    let kem = n::KemRequest { negotiation: [1; 16], enc: vec![3; 32], salt: [4; 32], confirmation: vec![5; 32] };
    let proof = n::KemResponse { negotiation: [1; 16], enc: vec![3; 32], confirmation: vec![5; 32] };
    let hello = Hello {
        name: "box-a".into(),
        id: vec![7; 16],
        prefixes: Node::from(&node).prefixes,
        instance: vec![9; 16],
        differences: true,
        token: None,
    };
    let hello = FromNode { message: Some(from_node::Message::Hello(hello)) };
    let whole = KeySet { revision: 1, scope: 1, opening: vec![opening(&node)], ..KeySet::default() };
    let set = KeySet { revision: 2, scope: 1, opening_version: 5, ..KeySet::default() };
    let first = OpeningChanges { version: 4, last: true, set: whole.opening.clone(), ..OpeningChanges::default() };
    let second = OpeningChanges {
        base: 4,
        version: 5,
        last: true,
        ended: vec![Ended { generation: 8, ..Ended::default() }],
        added: vec![Added { id: vec![7; 16], is_client: false, secrets: vec![secret(9)] }],
        ..OpeningChanges::default()
    };
    let changes = |changes: &OpeningChanges| ToNode { changes: changes.encode_to_vec().into(), ..ToNode::default() };
    let keys = |set| ToNode { keys: Some(set), ..ToNode::default() };
    let to_box = [keys(whole), changes(&first), changes(&second), keys(set)].map(|message| {
        let octets = message.encode_to_vec();
        [&(octets.len() as u16).to_be_bytes()[..], &octets].concat()
    });
    let nodes = Nodes { nodes: vec![Node::from(&node)] }.encode_to_vec();
    let store = [&[0b11, 4, 0, 0, 0, 9, nodes.len() as u8][..], &nodes].concat();
    let mut all: Vec<(u8, Vec<u8>)> = vec![
        (0, SetupRequest::from(request).encode_to_vec()),
        (1, SetupResponse::from(response).encode_to_vec()),
        (2, KemRequest::from(kem).encode_to_vec()),
        (3, KemResponse::from(proof).encode_to_vec()),
        (5, hello.encode_to_vec()),
        (6, to_box.concat()),
        (7, store),
        (7, [&[0b1000, 0][..], &[1; 120]].concat()),
    ];
    let rotation = News::RotationRequest { above: 4, reason: "box-a restarted".into() };
    let trouble = News::trouble("kem: no answer");
    let in_use = News::InUse(InUse { since: 4, behind: [([7; 16], 2..=3)].into(), keeps: Duration::from_secs(9) });
    for news in
        [News::Nodes(vec![node]), News::State { newest: 4, ready: 3, fingerprint: None }, in_use, rotation, trouble]
    {
        all.push((4, Coordination::from(&news).encode_to_vec()));
    }
    all.into_iter().map(|(kind, octets)| [&[kind][..], &octets].concat()).collect()
}
