use super::*;
use bytes::Bytes;
#[cfg(feature = "negotiation")]
use negotiation as n;
use prost::Message as _;
#[cfg(feature = "negotiation")]
use protocol::suite::Scope;

#[cfg(feature = "negotiation")]
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
}

#[cfg(feature = "negotiation")]
#[test]
fn what_is_out_of_bounds_is_refused() {
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
