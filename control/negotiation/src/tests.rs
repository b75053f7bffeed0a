//! Two primaries that know each other, and what comes of their negotiation.

mod on_the_way;
mod rfc_9180;

use super::*;
use protocol::suite::{Aead, Kdf, Kem, Scope, Suite};
use rand_core::{TryCryptoRng, TryRng};

/// Octets that repeat from run to run: SHA-256 of a counter.
struct Counter(u64);

impl TryRng for Counter {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        self.try_next_u64().map(|n| n as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut octets = [0; 8];
        self.try_fill_bytes(&mut octets)?;
        Ok(u64::from_be_bytes(octets))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        use sha2::{Digest, Sha256};
        for part in out.chunks_mut(32) {
            self.0 += 1;
            let octets = Sha256::digest(self.0.to_be_bytes());
            part.copy_from_slice(&octets[..part.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for Counter {}

fn rng(from: u64) -> Counter {
    Counter(from << 32)
}

fn unhex(text: &str) -> Vec<u8> {
    hex::decode(text).expect("hex")
}

/// Two primaries that know each other.
struct Two {
    client: Identity,
    server: Identity,
    psk: Option<Psk>,
    offer: Vec<Suite>,
    policy: Policy,
}

impl Two {
    fn new(psk: bool) -> Self {
        let psk = psk.then(|| Psk::new(b"lab", &[7; 32]).expect("lengths"));
        let suites = vec![Suite::default()];
        Self {
            client: Identity::from_seed("west", &[1; 32]),
            server: Identity::from_seed("east", &[2; 32]),
            psk,
            offer: suites.clone(),
            policy: Policy { suites, prefer: Prefer::Server },
        }
    }

    fn with(mut self, suite: Suite) -> Self {
        self.offer = vec![suite];
        self.policy.suites = vec![suite];
        self
    }

    fn peer(&self, of: &Identity) -> Peer {
        Peer { name: of.name.clone(), keys: of.keys.iter().map(PrivateKey::public).collect(), psk: self.psk.clone() }
    }

    fn start(&self) -> (ClientSetup, SetupRequest) {
        Client::start(&self.client, &self.peer(&self.server), Scope::Node, 4, &self.offer).expect("an offer")
    }

    fn respond(&self, request: &SetupRequest) -> Result<(ServerSetup, SetupResponse), Error> {
        let peer = self.peer(&self.client);
        Server::respond(&self.server, &peer, Scope::Node, 6, &self.policy, request, &mut rng(2))
    }

    fn run(&self) -> Result<(Agreed, Agreed), (Side, Error)> {
        self.run_through(&mut |_| ())
    }

    /// With somebody on the way who may change every message.
    fn run_through(&self, on_the_way: &mut dyn FnMut(Message<'_>)) -> Result<(Agreed, Agreed), (Side, Error)> {
        let (at_client, at_server) = (|e| (Side::Client, e), |e| (Side::Server, e));
        let (client, mut request) = self.start();
        on_the_way(Message::SetupRequest(&mut request));
        let (server, mut response) = self.respond(&request).map_err(at_server)?;
        on_the_way(Message::SetupResponse(&mut response));
        let (client, mut kem) = client.encapsulate(&response, &mut rng(3)).map_err(at_client)?;
        on_the_way(Message::KemRequest(&mut kem));
        let (at_server_agreed, mut done) = server.finish(&kem, &mut rng(4)).map_err(at_server)?;
        on_the_way(Message::KemResponse(&mut done));
        Ok((client.finish(&done).map_err(at_client)?, at_server_agreed))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Client,
    Server,
}

enum Message<'a> {
    SetupRequest(&'a mut SetupRequest),
    SetupResponse(&'a mut SetupResponse),
    KemRequest(&'a mut KemRequest),
    KemResponse(&'a mut KemResponse),
}

fn all_suites() -> impl Iterator<Item = Suite> {
    Kem::ALL.iter().flat_map(|&kem| {
        Kdf::ALL.iter().flat_map(move |&kdf| Aead::ALL.iter().map(move |&aead| Suite { kem, kdf, aead }))
    })
}

#[test]
fn every_suite_ends_with_one_secret_on_both_sides() {
    let mut seen = std::collections::HashSet::new();
    for psk in [false, true] {
        for suite in all_suites().filter(|s| psk || s.kem != Kem::XWing) {
            let (client, server) = Two::new(psk).with(suite).run().expect("untouched");
            assert_eq!(client.shared, server.shared);
            assert_eq!(client.shared.as_bytes().len(), suite.kdf.nh());
            assert_eq!(
                (client.suite, client.scope, client.generation, client.salt),
                (suite, Scope::Node, 7, server.salt)
            );
            let scope = protocol::key_schedule::ScopeId::Node([9; 16]);
            let secrets = [client, server].map(|a| a.prk().expect("Nh octets").secret(&scope).as_bytes().to_vec());
            assert_eq!(secrets[0], secrets[1]);
            assert!(seen.insert(secrets[0].clone()), "two negotiations gave one secret");
        }
    }
}

/// What the side that found it says makes the other side's error.
#[test]
fn both_sides_say_why() {
    assert_eq!(Error::NotConfirmed.refusal(), Refusal::NotConfirmed);
    for &refusal in Refusal::ALL {
        assert_eq!(Refusal::from_id(refusal.id()), refusal);
        let text = Error::Refused(refusal).to_string();
        assert!(text.starts_with("the other primary refuses: it"), "{text}");
    }
    assert_eq!(Refusal::from_id(4711), Refusal::Other);
}

#[test]
fn configurations_that_do_not_fit_are_told_apart() {
    let two = Two::new(true);
    let refused = |change: &dyn Fn(&mut SetupRequest)| {
        let (_, mut request) = two.start();
        change(&mut request);
        two.respond(&request).expect_err("refused")
    };
    let error = refused(&|r| r.psk_id.clear());
    assert_eq!(
        (error.refusal(), error.to_string().contains("this side has 'lab', the other names none")),
        (Refusal::Psk, true)
    );
    assert_eq!(refused(&|r| r.psk_id = b"other".to_vec()).refusal(), Refusal::Psk);
    assert_eq!(refused(&|r| r.scope = Scope::Shared), Error::Scope { ours: Scope::Node, theirs: Scope::Shared });
    assert_eq!(refused(&|r| r.server = "north".into()).refusal(), Refusal::Peer);
    assert_eq!(refused(&|r| r.client = "south".into()).refusal(), Refusal::Peer);
    assert_eq!(refused(&|r| r.last_generation = u32::MAX), Error::Exhausted);
    let error = refused(&|r| r.suites = vec![[0x20, 1, 0xFFFF], [0x10, 1, 1]]);
    assert_eq!(error.refusal(), Refusal::Suites);
    assert!(error.to_string().contains("0x0020, 0x0001, 0xffff; p-256, hkdf-sha256, aes-128-gcm"), "{error}");
}

#[test]
fn the_policy_chooses() {
    let [a, b, c] = [Kdf::Sha256, Kdf::Sha384, Kdf::Sha512].map(|kdf| Suite { kdf, ..Suite::default() });
    let offered = [c.ids(), [1, 2, 3], b.ids(), a.ids()];
    let policy = |suites: &[Suite], prefer| Policy { suites: suites.to_vec(), prefer };
    assert_eq!(policy(&[a, b], Prefer::Server).choose(&offered, |_| true), Some(a));
    assert_eq!(policy(&[a, b], Prefer::Client).choose(&offered, |_| true), Some(b));
    assert_eq!(policy(&[a, b], Prefer::Server).choose(&offered, |s| s != a), Some(b));
    assert_eq!(policy(&[a], Prefer::Server).choose(&[[1, 2, 3]], |_| true), None);
}

#[test]
fn x_wing_needs_a_pre_shared_key() {
    let suite = Suite { kem: Kem::XWing, ..Suite::default() };
    let two = Two::new(false).with(suite);
    let started = Client::start(&two.client, &two.peer(&two.server), Scope::Node, 0, &two.offer);
    assert_eq!(started.err(), Some(Error::Unusable(suite)));
    assert!(Error::Unusable(suite).to_string().contains("pre-shared key"));
    // A client that offers it all the same.
    let (_, mut request) = Two::new(false).start();
    request.suites = vec![suite.ids()];
    assert_eq!(two.respond(&request).err().map(|e| e.refusal()), Some(Refusal::Suites));
}

#[test]
fn a_static_key_is_needed_otherwise() {
    let mut two = Two::new(true);
    two.server.keys.clear();
    let (_, request) = Two::new(true).start();
    assert_eq!(two.respond(&request).err().map(|e| e.refusal()), Some(Refusal::Suites));
}

#[test]
fn messages_out_of_bounds_are_refused() {
    let two = Two::new(false);
    let malformed = |error: Option<Error>| matches!(error, Some(Error::Malformed { .. }));
    type Change = fn(&mut SetupRequest);
    let changes: [Change; 7] = [
        |r| r.suites.clear(),
        |r| r.suites = vec![[0x20, 1, 1]; message::MAX_SUITES + 1],
        |r| r.client.clear(),
        |r| r.client = "x".repeat(64),
        |r| r.server = "a\nb".into(),
        |r| r.psk_id = vec![0; 64],
        |r| r.client = "ä".into(),
    ];
    for change in changes {
        let (_, mut request) = two.start();
        change(&mut request);
        assert!(malformed(two.respond(&request).err()));
    }
    let (_, response) = two.respond(&two.start().1).expect("in bounds");
    for key in [Vec::new(), vec![4; message::MAX_KEY + 1]] {
        let changed = SetupResponse { public_key: key, ..response.clone() };
        assert!(malformed(two.start().0.encapsulate(&changed, &mut rng(3)).err()));
    }
    // In bounds, but no key: of another length, or of small order, which X25519 must not use (RFC 9180 section 7.1.4).
    for key in [vec![1; 31], vec![0; 32]] {
        let changed = SetupResponse { public_key: key, ..response.clone() };
        let error = two.start().0.encapsulate(&changed, &mut rng(3)).err();
        assert!(matches!(error, Some(Error::Kem(KemError::PublicKey { .. }))), "{error:?}");
    }
    for generation in [0, 3, 4] {
        assert!(two.start().0.encapsulate(&SetupResponse { generation, ..response.clone() }, &mut rng(3)).is_err());
    }
    for enc in [Vec::new(), vec![1; 31], vec![0; 32], vec![0; message::MAX_KEY + 1]] {
        let (server, response) = two.respond(&two.start().1).expect("in bounds");
        let (_, kem) = two.start().0.encapsulate(&response, &mut rng(3)).expect("in bounds");
        let error = server.finish(&KemRequest { enc, ..kem }, &mut rng(4)).expect_err("no encapsulation");
        assert_eq!(error.refusal(), Refusal::Malformed);
    }
    assert_eq!(Psk::new(b"short", &[1; 31]).err(), Some(KemError::Psk));
    assert_eq!(Psk::new(b"", &[1; 32]).err(), Some(KemError::Psk));
}

/// No two different requests, and no two different responses, have the same octets.
#[test]
fn the_hash_tells_messages_apart() {
    let (_, base) = Two::new(true).start();
    let mut others = vec![base.clone()];
    type Change = fn(&mut SetupRequest);
    let changes: [Change; 7] = [
        |r| r.client.push_str("ea"),
        |r| (r.client, r.server) = ("weste".into(), "ast".into()),
        |r| r.psk_id.clear(),
        |r| r.scope = Scope::Client,
        |r| r.last_generation = 5,
        |r| r.suites.push([0; 3]),
        |r| r.suites[0][2] = 2,
    ];
    for change in changes {
        let mut changed = base.clone();
        change(&mut changed);
        others.push(changed);
    }
    let distinct: std::collections::HashSet<_> = others.iter().map(SetupRequest::octets).collect();
    assert_eq!(distinct.len(), others.len());
}

#[test]
fn server_keys_and_secrets_are_fresh() {
    let two = Two::new(false);
    let (_, request) = two.start();
    let respond = |seed| {
        let peer = two.peer(&two.client);
        Server::respond(&two.server, &peer, Scope::Node, 0, &two.policy, &request, &mut rng(seed)).expect("fits").1
    };
    let (a, b) = (respond(10), respond(11));
    assert_ne!(a.public_key, b.public_key);
    assert_ne!(a.negotiation, b.negotiation);
}

#[test]
fn nothing_shows_a_secret() {
    let two = Two::new(true);
    let (client, request) = two.start();
    let (server, response) = two.respond(&request).expect("fits");
    let key = server_key(&server);
    let shown = format!("{client:?} {server:?} {:?} {:?}", two.client, two.psk);
    let (client, kem) = client.encapsulate(&response, &mut rng(3)).expect("fits");
    let waiting = format!("{client:?}");
    let (agreed, _) = server.finish(&kem, &mut rng(4)).expect("fits");
    let all = format!("{shown} {waiting} {agreed:?}").to_lowercase();
    for secret in [key, vec![7; 32], agreed.shared.as_bytes().to_vec()] {
        assert!(!all.contains(&hex::encode(&secret[..6])), "{all}");
        let decimal: Vec<_> = secret[..4].iter().map(ToString::to_string).collect();
        assert!(!all.contains(&decimal.join(", ")), "{all}");
    }
}

fn server_key(server: &ServerSetup) -> Vec<u8> {
    server.key_octets().to_vec()
}
