//! Who speaks the protocol wrongly, or not at all, harms nobody else.

use crate::lab::{Lab, SimBox, wait_for};
use futures_util::stream;
use registration::net;
use registration::tls::Tls;
use registration::wire::proto::primary_client::PrimaryClient;
use registration::wire::proto::secondary_client::SecondaryClient;
use registration::wire::proto::{Refusal, Scope, Suite};
use registration::wire::{Ack, Coordination, FromNode, Hello, KemRequest, SetupRequest, from_node, prefixes_to_wire};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tonic::Code;
use tonic::transport::Channel;

/// A channel to a registrar, with somebody's certificate.
pub async fn channel(lab: &Lab, name: &str, number: usize) -> Channel {
    let side = usize::from(lab.of(1).any(|n| n == number));
    let mut files = lab.settings(side, 1).tls;
    files.certificate = lab.path(&format!("{name}.crt"));
    files.key = lab.path(&format!("{name}.key"));
    let tls = Tls::load(files).expect("certificates");
    net::connect(&tls, None, &lab.address(number)).await.expect("a channel").channel
}

fn request() -> SetupRequest {
    SetupRequest {
        client: "west".into(),
        server: "east".into(),
        scope: Scope::Node.into(),
        last_generation: 0,
        psk_id: Vec::new(),
        suites: vec![Suite { kem: 0x20, kdf: 1, aead: 1 }],
    }
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

#[test]
fn messages_that_are_none() {
    let mut lab = Lab::new();
    let (a, b) = (lab.node(0, 1), lab.node(1, 2));
    // Only the server primary: the test plays the client.
    lab.start(1);
    wait_for("it listens", || lab.log(1).contains("ready"));
    block_on(async {
        // A box of the other side, and one of its own, are no primaries.
        for name in ["box-1", "box-2"] {
            let mut client = PrimaryClient::new(channel(&lab, name, 1).await);
            let refused = client.setup(request()).await.expect_err("no primary");
            assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
        }
        let mut client = PrimaryClient::new(channel(&lab, "west", 1).await);
        type Change = fn(&mut SetupRequest);
        let malformed: [Change; 4] = [
            |r| r.scope = 9,
            |r| r.suites = vec![Suite { kem: 0x20, kdf: 1, aead: 1 }; 65],
            |r| r.suites[0].kem = 1 << 20,
            |r| r.scope = 0,
        ];
        for change in malformed {
            let mut request = request();
            change(&mut request);
            let refused = client.setup(request).await.expect_err("malformed");
            assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        }
        let refusals: [(Change, Refusal); 6] = [
            (|r| r.suites.clear(), Refusal::Malformed),
            (|r| r.client = "x".repeat(64), Refusal::Malformed),
            (|r| r.client = "north".into(), Refusal::Peer),
            (|r| r.scope = Scope::Shared.into(), Refusal::Scope),
            (|r| r.suites[0].aead = 99, Refusal::Suites),
            (|r| r.psk_id = b"lab".to_vec(), Refusal::Psk),
        ];
        for (change, why) in refusals {
            let mut request = request();
            change(&mut request);
            let response = client.setup(request).await.expect("an answer").into_inner();
            assert_eq!(response.refusal(), why);
            assert!(response.public_key.is_empty());
        }
        let kem = |negotiation: Vec<u8>| KemRequest {
            negotiation,
            enc: vec![9; 32],
            salt: vec![1; 32],
            confirmation: vec![1; 32],
        };
        let response = client.kem(kem(vec![0; 16])).await.expect("an answer").into_inner();
        assert_eq!(response.refusal(), Refusal::Unknown);
        let setup = client.setup(request()).await.expect("an answer").into_inner();
        let response = client.kem(kem(setup.negotiation.clone())).await.expect("an answer").into_inner();
        assert_eq!(response.refusal(), Refusal::NotConfirmed);
        let response = client.kem(kem(setup.negotiation)).await.expect("an answer").into_inner();
        assert_eq!(response.refusal(), Refusal::Unknown, "one attempt a key");
        assert_eq!(client.kem(kem(vec![0; 15])).await.expect_err("malformed").code(), Code::InvalidArgument);
        // Above the bound of a message.
        let mut large = request();
        large.psk_id = vec![0; 5 << 20];
        assert!(client.setup(large).await.is_err());
        let mut client = PrimaryClient::new(channel(&lab, "west", 1).await);
        let mut answers =
            client.coordinate(stream::iter([Coordination::default()])).await.expect("a stream").into_inner();
        while let Ok(Some(_)) = answers.message().await {}
    });
    assert!(lab.log(1).contains("an empty or unknown message"));
    // All that has left it as it was.
    lab.start(0);
    let (a, b) = (SimBox::start(a), SimBox::start(b));
    wait_for("both seal", || a.opens(&b) && b.opens(&a));
}

#[test]
fn boxes_that_speak_wrongly_or_do_not_read() {
    let mut lab = Lab::new();
    let (a, b) = (lab.node(0, 1), lab.node(1, 2));
    let mute = lab.node(0, 3);
    lab.start_both();
    let (a, b) = (SimBox::start(a), SimBox::start(b));
    wait_for("both seal", || a.opens(&b) && b.opens(&a));
    let hello = |name: &str| {
        let hello = Hello {
            name: name.into(),
            id: mute.id.into(),
            prefixes: prefixes_to_wire(&mute.prefixes),
            instance: vec![1; 16],
            token: None,
            differences: true,
        };
        FromNode { message: Some(from_node::Message::Hello(hello)) }
    };
    block_on(async {
        let mut client = SecondaryClient::new(channel(&lab, "box-3", 0).await);
        let wrong = [
            (vec![FromNode::default()], Code::InvalidArgument),
            (vec![FromNode { message: Some(from_node::Message::Ack(Ack { revision: 1 })) }], Code::InvalidArgument),
            (vec![hello("box-1")], Code::PermissionDenied),
            (vec![hello("a b")], Code::InvalidArgument),
            (vec![], Code::InvalidArgument),
        ];
        for (messages, code) in wrong {
            let refused = client.register(stream::iter(messages)).await.expect_err("refused");
            assert_eq!(refused.code(), code, "{refused}");
        }
        let mut registrar = SecondaryClient::new(channel(&lab, "west", 0).await);
        let refused = registrar.register(stream::iter([hello("west")])).await.expect_err("a registrar is no box");
        assert_eq!(refused.code(), Code::PermissionDenied);
        // One that registers, and neither reads nor acknowledges: the others wait for it only so long.
        let unread = client.register(stream::iter([hello("box-3")]).chain_pending()).await.expect("registered");
        let generation = b.generation();
        lab.ok(&["registrar", "rotate", "--config", "west.toml"]);
        // The other side seals only when this side's boxes can open, or the time limit has passed.
        wait_for("the others move on", || b.generation() > generation && a.opens(&b) && b.opens(&a));
        assert!(lab.log(0).contains("not all boxes have acknowledged in time"));
        drop(unread);
    });
}

/// What goes on after its last item without an end.
trait ChainPending: futures_util::Stream + Sized {
    fn chain_pending(self) -> futures_util::stream::Chain<Self, stream::Pending<Self::Item>> {
        futures_util::StreamExt::chain(self, stream::pending())
    }
}

impl<S: futures_util::Stream> ChainPending for S {}

#[test]
fn connections_that_are_no_tls_or_nothing_at_all() {
    let mut lab = Lab::new();
    let a = lab.node(0, 1);
    lab.start(0);
    wait_for("it listens", || lab.log(0).contains("ready"));
    let (host, port) = lab.address(0);
    let silent: Vec<_> = (0..300).map(|_| TcpStream::connect((host.as_str(), port)).expect("connected")).collect();
    let mut talker = TcpStream::connect((host.as_str(), port)).expect("connected");
    talker.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("written");
    let mut answer = Vec::new();
    talker.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let _ = talker.read_to_end(&mut answer); // an alert, or a reset
    // Silent ones are cut off after their time, and then others are let in.
    let a = SimBox::start(a);
    wait_for("a box registers", || a.registration.registered());
    drop(silent);
    assert!(lab.log(0).contains("connection refused"));
}
