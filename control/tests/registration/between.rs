//! Somebody between the two primaries who has stolen both of their TLS keys: what HPKE has to notice, and what both sides
//! then say.

use crate::lab::{Lab, SIDES, SimBox, free_port, wait_for};
use futures_util::{Stream, StreamExt, stream};
use registrar::entrance::{self, Doors};
use registrar::service::say_refused;
use registration::net;
use registration::tls::{AuthorityFiles, CrlExpired, Tls, TlsFiles};
use registration::wire::proto::primary_client::PrimaryClient;
use registration::wire::proto::primary_server::{Primary, PrimaryServer};
use registration::wire::{Coordination, KemRequest, KemResponse, SetupRequest, SetupResponse};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

/// What is changed on the way, and what each side says then.
#[derive(Clone, Copy)]
struct Change {
    offered: fn(&mut SetupRequest),
    chosen: fn(&mut SetupResponse),
    encapsulated: fn(&mut KemRequest),
    confirmed: fn(&mut KemResponse),
    west: &'static str,
    east: &'static str,
}

const ANOTHER_SECRET: [&str; 2] =
    ["the other primary refuses: it computed another secret", "not computed the same secret"];

/// Nothing is changed, and nobody complains.
const NOTHING: Change = Change {
    offered: |_| (),
    chosen: |_| (),
    encapsulated: |_| (),
    confirmed: |_| (),
    west: ANOTHER_SECRET[0],
    east: ANOTHER_SECRET[1],
};

/// As the server's log says it when the client has told it; only the client may have noticed.
const TOLD: &str = "the other primary could make nothing of what came";

const CHANGES: &[(&str, Change)] = &[
    ("the best suite is struck from the offer", Change { offered: |r| r.suites = r.suites.split_off(1), ..NOTHING }),
    ("the offer's order", Change { offered: |r| r.suites.reverse(), ..NOTHING }),
    ("a suite more on offer", Change { offered: |r| r.suites.push(r.suites[0]), ..NOTHING }),
    ("the client's last generation", Change { offered: |r| r.last_generation += 1, ..NOTHING }),
    (
        "no suite at all on offer",
        Change {
            offered: |r| r.suites.clear(),
            west: "the other primary refuses: it found a message malformed",
            east: "malformed setup request",
            ..NOTHING
        },
    ),
    (
        "the scope",
        Change {
            offered: |r| r.scope = 3,
            west: "the other primary refuses: its configuration has another scope",
            east: "the other primary wants scope",
            ..NOTHING
        },
    ),
    (
        "a scope that there is not",
        Change { offered: |r| r.scope = 77, west: "an unknown scope", east: "an unknown scope", ..NOTHING },
    ),
    (
        "a request that is too large",
        Change {
            offered: |r| r.psk_id = vec![7; 5 << 20],
            west: "message length too large",
            east: "message length too large",
            ..NOTHING
        },
    ),
    ("the other suite is chosen", Change { chosen: |r| r.suite.as_mut().expect("a suite").aead = 1, ..NOTHING }),
    (
        "a suite is chosen that was not on offer",
        Change {
            chosen: |r| r.suite.as_mut().expect("a suite").aead = 3,
            west: "which was not offered",
            east: TOLD,
            ..NOTHING
        },
    ),
    ("no suite is chosen", Change { chosen: |r| r.suite = None, west: "no suite", east: TOLD, ..NOTHING }),
    ("a bit of the public key", Change { chosen: |r| r.public_key[5] ^= 4, ..NOTHING }),
    (
        "a public key that gives everybody the same secret",
        Change {
            chosen: |r| r.public_key.fill(0),
            west: "somebody changed a message on the way",
            east: TOLD,
            ..NOTHING
        },
    ),
    (
        "half of the public key",
        Change {
            chosen: |r| r.public_key.truncate(16),
            west: "somebody changed a message on the way",
            east: TOLD,
            ..NOTHING
        },
    ),
    ("a later generation", Change { chosen: |r| r.generation += 1, ..NOTHING }),
    (
        "a generation of before",
        Change { chosen: |r| r.generation = 1, west: "numbered the generation 1, but", east: TOLD, ..NOTHING },
    ),
    (
        "a response that is too large",
        Change { chosen: |r| r.public_key = vec![7; 5 << 20], west: "message length too large", east: TOLD, ..NOTHING },
    ),
    ("a bit of enc", Change { encapsulated: |r| r.enc[5] ^= 4, ..NOTHING }),
    (
        "enc that gives everybody the same secret",
        Change {
            encapsulated: |r| r.enc.fill(0),
            west: "the other primary refuses",
            east: "somebody changed a message on the way",
            ..NOTHING
        },
    ),
    (
        "half of enc",
        Change {
            encapsulated: |r| r.enc.truncate(16),
            west: "the other primary refuses",
            east: "somebody changed a message on the way",
            ..NOTHING
        },
    ),
    ("a bit of the salt", Change { encapsulated: |r| r.salt[0] ^= 1, ..NOTHING }),
    (
        "half of the salt",
        Change {
            encapsulated: |r| r.salt.truncate(16),
            west: "a salt has 32 octets",
            east: "a salt has 32 octets",
            ..NOTHING
        },
    ),
    ("a bit of the client's confirmation", Change { encapsulated: |r| r.confirmation[0] ^= 1, ..NOTHING }),
    (
        "a bit of the server's confirmation",
        Change { confirmed: |r| r.confirmation[0] ^= 1, west: ANOTHER_SECRET[1], east: TOLD, ..NOTHING },
    ),
    (
        "a bit of the server's enc",
        Change { confirmed: |r| r.enc[5] ^= 4, west: ANOTHER_SECRET[1], east: TOLD, ..NOTHING },
    ),
    (
        "a refusal without a reason",
        Change {
            confirmed: |r| *r = KemResponse { refusal: 77, ..KemResponse::default() },
            west: "the other primary refuses: ",
            east: TOLD,
            ..NOTHING
        },
    ),
];

/// The other primary, for each of the two.
struct Between {
    east: Channel,
    change: Arc<Mutex<Change>>,
}

impl Between {
    fn east(&self) -> PrimaryClient<Channel> {
        PrimaryClient::new(self.east.clone())
    }

    fn change(&self) -> Change {
        *self.change.lock().expect("a change")
    }
}

#[tonic::async_trait]
impl Primary for Between {
    async fn setup(&self, request: Request<SetupRequest>) -> Result<Response<SetupResponse>, Status> {
        let mut request = request.into_inner();
        (self.change().offered)(&mut request);
        let mut response = self.east().setup(request).await?.into_inner();
        if response.refusal == 0 {
            (self.change().chosen)(&mut response);
        }
        Ok(Response::new(response))
    }

    async fn kem(&self, request: Request<KemRequest>) -> Result<Response<KemResponse>, Status> {
        let mut request = request.into_inner();
        (self.change().encapsulated)(&mut request);
        let mut response = self.east().kem(request).await?.into_inner();
        if response.refusal == 0 {
            (self.change().confirmed)(&mut response);
        }
        Ok(Response::new(response))
    }

    type CoordinateStream = Pin<Box<dyn Stream<Item = Result<Coordination, Status>> + Send>>;

    async fn coordinate(
        &self,
        request: Request<Streaming<Coordination>>,
    ) -> Result<Response<Self::CoordinateStream>, Status> {
        let said = request.into_inner().filter_map(|message| std::future::ready(message.ok()));
        let answers = self.east().coordinate(said).await?.into_inner();
        Ok(Response::new(Box::pin(answers)))
    }
}

/// A primary's certificate, and whom it takes for the other.
fn stolen(lab: &Lab, side: usize) -> Tls {
    let authority = |side: usize| AuthorityFiles { ca: lab.path(&format!("pki-{}/ca.crt", SIDES[side])), crl: None };
    let (me, other) = (SIDES[side], SIDES[1 - side]);
    let files = TlsFiles {
        certificate: lab.path(&format!("{me}.crt")),
        key: lab.path(&format!("{me}.key")),
        own: authority(side),
        peers: vec![(other.to_owned(), authority(1 - side))],
        crl_expired: CrlExpired::Warn,
    };
    Tls::load(files).expect("certificates")
}

/// Stands between the two, at that port.
async fn stand(lab: &Lab, port: u16, change: Arc<Mutex<Change>>) {
    let east =
        net::connect(&stolen(lab, 0), Some("east"), &lab.address(1)).await.expect("east takes it for west").channel;
    let place = ([127, 0, 0, 1], port).into();
    let (_, connections) = entrance::listen(Arc::new(stolen(lab, 1)), Doors::new(), place).await.expect("it listens");
    let connections = stream::unfold(connections, |mut c| async move { c.recv().await.map(|next| (next, c)) });
    let service = PrimaryServer::new(Between { east, change }).max_decoding_message_size(usize::MAX);
    let routes = tonic::service::Routes::new(service).prepare().into_axum_router();
    // It counts calls: a connection without any would be ended.
    let routes = routes.layer(axum::middleware::from_fn(say_refused));
    let server = tonic::transport::Server::builder().add_routes(routes.into());
    tokio::spawn(server.serve_with_incoming(Box::pin(connections)));
}

/// Whoever can read and change everything between the two primaries: each change makes that negotiation fail, both sides
/// say why, what was in use stays in use, and the next that is left alone succeeds.
#[test]
fn a_man_in_the_middle() {
    let mut lab = Lab::new();
    let suites = "suites = [\"x25519, hkdf-sha256, aes-256-gcm\", \"x25519, hkdf-sha256, aes-128-gcm\"]";
    lab.peer_lines = [suites.to_owned(), format!("{suites}\nprefer = \"client\"")];
    let (a, b) = (lab.node(0, 1), lab.node(1, 2));
    let port = free_port();
    lab.detour = Some(("127.0.0.1".into(), port));
    lab.start(1);
    wait_for("east listens", || lab.log(1).contains(" ready "));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let change = Arc::new(Mutex::new(NOTHING));
    runtime.block_on(stand(&lab, port, Arc::clone(&change)));
    lab.start(0);
    let (a, b) = (SimBox::start(a), SimBox::start(b));
    let settled = || lab.generation().ok().flatten().is_some() && a.opens(&b) && b.opens(&a);
    wait_for("who changes nothing is not seen", settled);
    for &(what, changed) in CHANGES {
        let before = [lab.log(0).len(), lab.log(1).len()];
        let held = (a.sealing(), b.sealing());
        *change.lock().expect("a change") = changed;
        lab.ok(&["registrar", "rotate", "--config", "west.toml"]);
        let said = |side: usize, words: &str| lab.log(side)[before[side]..].contains(words);
        wait_for(&format!("{what}: west says '{}'", changed.west), || said(0, changed.west));
        wait_for(&format!("{what}: east says '{}'", changed.east), || said(1, changed.east));
        assert!(said(0, "negotiation failed"), "{what}");
        assert!(!said(0, "generation agreed"), "{what}");
        assert_eq!((a.sealing(), b.sealing()), held, "{what}");
        *change.lock().expect("a change") = NOTHING;
        wait_for(&format!("{what}: all is well again"), || a.sealing() != held.0 && b.sealing() != held.1 && settled());
    }
}
