use super::*;
use bytes::Bytes;
use negotiation as n;
use prost::Message as _;
use protocol::key_schedule::Secret;
use std::time::Duration;

fn node() -> NodeInfo {
    NodeInfo {
        name: "box-a".into(),
        id: [7; 16],
        prefixes: vec!["2001:db8:a::/48".parse().expect("a prefix")],
        clients: vec![[3; 16]],
    }
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
        News::State { newest: 4, ready: 3, fingerprint: None },
        News::State { newest: 4, ready: 3, fingerprint: Some([5; FINGERPRINT]) },
        News::InUse(InUse { since: 4, behind: [([7; 16], 2..=3)].into(), keeps: Duration::from_secs(9) }),
        News::Wanted { above: 4, reason: "box-a restarted".into() },
        News::trouble("kem: no answer"),
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
    let long = News::Wanted { above: 0, reason: "x".repeat(MAX_REASON + 1) };
    assert!(News::try_from(Coordination::from(&long)).is_err());
    let long = News::Trouble { reason: "x".repeat(MAX_REASON + 1) };
    assert!(News::try_from(Coordination::from(&long)).is_err());
    // What one says itself fits, and what is none of its characters does not get into a log as it is.
    assert_eq!(News::trouble(&"ä".repeat(MAX_REASON)), News::Trouble { reason: "ä".repeat(MAX_REASON / 2) });
    let shown = News::try_from(Coordination::from(&News::trouble("a\nb")));
    assert_eq!(shown, Ok(News::Trouble { reason: "a\\nb".into() }));
    let suites = vec![proto::Suite { kem: 0x1_0000, kdf: 1, aead: 1 }];
    let request = SetupRequest { scope: 1, suites, ..SetupRequest::default() };
    assert!(n::SetupRequest::try_from(request).is_err());
    assert!(n::SetupRequest::try_from(SetupRequest::default()).is_err(), "no scope");
    assert!(SetupResponse::default().outcome().is_err());
}

#[test]
fn secrets_do_not_show_and_go_with_their_message() {
    let secret = vec![0xAB; 32];
    let sealing =
        Sealing { generation: 3, secret, suite: None, prefixes: Vec::new(), expires_in_ms: 1, opened_for_ms: None };
    let secret = OpeningSecret { generation: 3, secret: vec![0xAB; 32], suite: None };
    let opening = Opening { secrets: vec![secret], ..Opening::default() };
    let secrets = vec![ClientSecret { address: vec![1; 16], secret: vec![0xAB; 32] }];
    let clients = vec![ClientSecrets { generation: 3, suite: None, secrets }];
    let token = Some(proto::Token { octets: vec![0xAB; TOKEN] });
    let (opening, sealing) = (vec![opening], Some(sealing));
    let keys =
        KeySet { revision: 1, scope: 1, sealing, opening, clients, client_side: false, token, opening_version: 0 };
    let message = ToNode { keys: Some(keys), probe: false, changes: Bytes::new() };
    let shown = format!("{message:?}");
    assert!(shown.contains("redacted") && !shown.contains("171"), "{shown}");
    let back = ToNode::decode(&*message.encode_to_vec()).expect("what was encoded");
    assert_eq!(back, message);
}

#[test]
fn clients_secrets_stand_in_one_place() {
    let suite = Some(proto::Suite::from(Suite::default().ids()));
    let of = |generation, addresses: &[u8]| {
        let secret = |&a: &u8| ClientSecret { address: vec![a; 16], secret: vec![a; 32] };
        ClientSecrets { generation, suite, secrets: addresses.iter().map(secret).collect() }
    };
    let set = |change: &dyn Fn(&mut KeySet)| {
        let (secret, prefixes) = (Vec::new(), Vec::new());
        let sealing = Sealing { generation: 4, secret, suite, prefixes, expires_in_ms: 1, opened_for_ms: Some(2) };
        let opening = vec![Opening { node: Some((&node()).into()), ..Opening::default() }];
        let clients = vec![of(3, &[1]), of(4, &[1, 2])];
        let scope = proto::Scope::Client.into();
        let sealing = Some(sealing);
        let (revision, client_side, token, opening_version) = (1, true, None, 0);
        let mut set = KeySet { revision, scope, sealing, opening, clients, client_side, token, opening_version };
        change(&mut set);
        Keys::try_from(&set)
    };
    let keys = set(&|_| ()).expect("in bounds");
    let sealing = keys.sealing.expect("sealing").keys;
    let tuple = |src, dst| protocol::five_tuple::FiveTuple { src, dst, sport: 1, dport: 2, protocol: 17 };
    assert!(sealing.has(&tuple([2; 16], [9; 16])) && !sealing.has(&tuple([9; 16], [2; 16])));
    let (generation, opening) = &keys.opening[0].secrets[1];
    assert_eq!((*generation, keys.opening[0].secrets.len()), (4, 2));
    // Both directions under the client's secret, each with its own 5-tuple.
    let secret = Secret::from_octets(Suite::default(), &[2; 32]).expect("Nh octets");
    for (keys, tuple) in [(&sealing, tuple([2; 16], [9; 16])), (opening, tuple([9; 16], [2; 16]))] {
        let session = keys.session(&tuple, 5).expect("a client of it");
        assert_eq!(session.key, secret.session(&tuple, 5).key);
    }
    assert!(opening.session(&tuple([2; 16], [9; 16]), 5).is_none());
    type Change = fn(&mut KeySet);
    let changes: [Change; 8] = [
        |s| s.scope = 1,
        |s| s.clients.swap(0, 1),
        |s| s.clients.truncate(1),
        |s| s.clients[0].secrets[0].address.push(0),
        |s| s.clients[0].secrets[0].secret.truncate(31),
        |s| s.clients[1].secrets[0].address = vec![2; 16],
        |s| s.clients[0].suite = None,
        |s| s.sealing.iter_mut().for_each(|s| s.secret = vec![1; 32]),
    ];
    for (i, change) in changes.iter().enumerate() {
        assert!(set(change).is_err(), "change {i}");
    }
}
