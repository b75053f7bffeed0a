use super::kem::{Export, Proof, receive};
use super::*;
use protocol::suite::{Aead, Kdf};
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

/// RFC 9180 appendix A.1.3 (mode_auth, X25519) and A.1.4 (mode_auth_psk), received: every exported value. A.3.3
/// (mode_auth, P-256): its exporter secret, from which the key schedule's own expansion makes the export.
#[test]
fn rfc_9180_auth_modes() {
    struct Appendix<'a> {
        kem: Kem,
        recipient: &'a str,
        sender: &'a str,
        psk: bool,
        enc: &'a str,
        exports: [&'a str; 3],
    }
    const CONTEXTS: [&[u8]; 3] = [b"", b"\0", b"TestContext"];
    let info = b"Ode on a Grecian Urn";
    let psk_key = unhex("0247fd33b913760fa1fa51e1892d9f307fbe65eb171e8132c2af18555a738b82");
    let psk = Psk::new(b"Ennyn Durin aran Moria", &psk_key).expect("lengths");
    let p256 = Suite { kem: Kem::P256, ..Suite::default() };
    let exporter = unhex("f152759972660eb0e1db880835abd5de1c39c8e9cd269f6f082ed80e28acb164");
    let a33: Vec<String> = CONTEXTS
        .iter()
        .map(|context| {
            let mut out = [0; 32];
            labeled_expand(&p256, &exporter, b"sec", context, &mut out).expect("Nh octets");
            hex::encode(out)
        })
        .collect();
    let appendices = [
        Appendix {
            kem: Kem::X25519,
            recipient: "fdea67cf831f1ca98d8e27b1f6abeb5b7745e9d35348b80fa407ff6958f9137e",
            sender: "dc4a146313cce60a278a5323d321f051c5707e9c45ba21a3479fecdf76fc69dd",
            psk: false,
            enc: "23fb952571a14a25e3d678140cd0e5eb47a0961bb18afcf85896e5453c312e76",
            exports: [
                "28c70088017d70c896a8420f04702c5a321d9cbf0279fba899b59e51bac72c85",
                "25dfc004b0892be1888c3914977aa9c9bbaf2c7471708a49e1195af48a6f29ce",
                "5a0131813abc9a522cad678eb6bafaabc43389934adb8097d23c5ff68059eb64",
            ],
        },
        Appendix {
            kem: Kem::X25519,
            recipient: "cb29a95649dc5656c2d054c1aa0d3df0493155e9d5da6d7e344ed8b6a64a9423",
            sender: "fc1c87d2f3832adb178b431fce2ac77c7ca2fd680f3406c77b5ecdf818b119f4",
            psk: true,
            enc: "820818d3c23993492cc5623ab437a48a0a7ca3e9639c140fe1e33811eb844b7c",
            exports: [
                "08f7e20644bb9b8af54ad66d2067457c5f9fcb2a23d9f6cb4445c0797b330067",
                "52e51ff7d436557ced5265ff8b94ce69cf7583f49cdb374e6aad801fc063b010",
                "a30c20370c026bbea4dca51cb63761695132d342bae33a6a11527d3e7679436d",
            ],
        },
        Appendix {
            kem: Kem::P256,
            recipient: "d929ab4be2e59f6954d6bedd93e638f02d4046cef21115b00cdda2acb2a4440e",
            sender: "1120ac99fb1fccc1e8230502d245719d1b217fe20505c7648795139d177f0de9",
            psk: false,
            enc: "042224f3ea800f7ec55c03f29fc9865f6ee27004f818fcbdc6dc68932c1e52e15b\
                  79e264a98f2c535ef06745f3d308624414153b22c7332bc1e691cb4af4d53454",
            exports: [&a33[0], &a33[1], &a33[2]],
        },
    ];
    for Appendix { kem, recipient, sender, psk: with_psk, enc, exports } in appendices {
        let suite = Suite { kem, ..Suite::default() };
        let key = |text| PrivateKey::from_octets(kem, &unhex(text)).expect("a private key");
        let sender = key(sender).public();
        let proof = Proof { key: Some(&sender), psk: with_psk.then_some(&psk) };
        for (label, expected) in CONTEXTS.into_iter().zip(exports) {
            let mut out = [0; 32];
            let export = Export { info, label };
            receive(suite, proof, &key(recipient), &unhex(enc), export, &mut out).expect("a context");
            assert_eq!(hex::encode(out), expected, "{kem}, psk {with_psk}, {label:?}");
        }
    }
}

/// RFC 9180 appendix A.1.3: the key pairs of its ikmS and ikmR.
#[test]
fn rfc_9180_derived_key_pairs() {
    for (ikm, public) in [
        (
            "94b020ce91d73fca4649006c7e7329a67b40c55e9e93cc907d282bbbff386f58",
            "8b0c70873dc5aecb7f9ee4e62406a397b350e57012be45cf53b7105ae731790b",
        ),
        (
            "f1d4a30a4cef8d6d4e3b016e6fd3799ea057db4f345472ed302a67ce1c20cdec",
            "1632d5c2f71c2b38d0a8fcc359355200caa8b1ffdf28618080466c909cb69b2e",
        ),
    ] {
        let seed = unhex(ikm).try_into().expect("32 octets");
        assert_eq!(hex::encode(PrivateKey::derive(Kem::X25519, &seed).public().octets()), public);
    }
}

#[test]
fn what_is_changed_on_the_way_is_noticed() {
    let weaker = Suite { kem: Kem::P256, ..Suite::default() };
    let stronger = Suite { aead: Aead::Aes256Gcm, kdf: Kdf::Sha512, ..Suite::default() };
    for psk in [false, true] {
        let mut two = Two::new(psk);
        two.offer = vec![stronger, Suite::default(), weaker];
        two.policy.suites = vec![stronger, weaker, Suite::default()];
        let fails = |name: &str, expected: (Side, Error), change: &mut dyn FnMut(Message<'_>)| {
            let (side, error) = two.run_through(change).map(|_| name.to_owned()).expect_err(name);
            assert_eq!((side, error), expected, "{name}");
        };
        let unconfirmed = || (Side::Server, Error::NotConfirmed);

        // The offer: a downgrade leads to another suite, which the client did offer; the hash gives it away.
        fails("the best suite is taken out of the offer", unconfirmed(), &mut |m| {
            if let Message::SetupRequest(m) = m {
                m.suites.remove(0);
            }
        });
        fails("the offer's order", unconfirmed(), &mut |m| {
            if let Message::SetupRequest(m) = m {
                m.suites.swap(1, 2);
            }
        });
        fails("an unknown suite is added", unconfirmed(), &mut |m| {
            if let Message::SetupRequest(m) = m {
                m.suites.push([0xFFFF; 3]);
            }
        });
        fails("the last generation", unconfirmed(), &mut |m| {
            if let Message::SetupRequest(m) = m {
                m.last_generation += 1;
            }
        });
        // The choice.
        fails("another suite of the offer", unconfirmed(), &mut |m| {
            if let Message::SetupResponse(m) = m {
                m.suite = Suite::default().ids();
            }
        });
        let other = Suite { aead: Aead::ChaCha20Poly1305, ..Suite::default() };
        fails("a suite not offered", (Side::Client, Error::NotOffered(other.to_string())), &mut |m| {
            if let Message::SetupResponse(m) = m {
                m.suite = other.ids();
            }
        });
        fails("the generation", unconfirmed(), &mut |m| {
            if let Message::SetupResponse(m) = m {
                m.generation += 1;
            }
        });
        // The public key: somebody else's, who passes on what the client encapsulates.
        let theirs = PrivateKey::generate(Kem::X25519, &mut rng(99)).public();
        fails("the public key", unconfirmed(), &mut |m| {
            if let Message::SetupResponse(m) = m {
                m.public_key = theirs.octets().to_vec();
            }
        });
        // The encapsulation, the salt, the proof; each of the octets.
        for at in [0, 15, 31] {
            fails("enc", unconfirmed(), &mut |m| {
                if let Message::KemRequest(m) = m {
                    m.enc[at] ^= 1;
                }
            });
            fails("the salt", unconfirmed(), &mut |m| {
                if let Message::KemRequest(m) = m {
                    m.salt[at] ^= 1;
                }
            });
            fails("the client's proof", unconfirmed(), &mut |m| {
                if let Message::KemRequest(m) = m {
                    m.confirmation[at] ^= 1;
                }
            });
            fails("the server's proof", (Side::Client, Error::NotConfirmed), &mut |m| {
                if let Message::KemResponse(m) = m {
                    m.confirmation[at] ^= 1;
                }
            });
            fails("the server's encapsulation", (Side::Client, Error::NotConfirmed), &mut |m| {
                if let Message::KemResponse(m) = m {
                    m.enc[at] ^= 1;
                }
            });
        }
        fails("the proof is cut", unconfirmed(), &mut |m| {
            if let Message::KemRequest(m) = m {
                m.confirmation.pop();
            }
        });
        fails("the negotiation's name, at the client", (Side::Client, Error::OtherNegotiation), &mut |m| {
            if let Message::KemResponse(m) = m {
                m.negotiation[0] ^= 1;
            }
        });
        fails("the negotiation's name, at the server", (Side::Server, Error::OtherNegotiation), &mut |m| {
            if let Message::KemRequest(m) = m {
                m.negotiation[0] ^= 1;
            }
        });
        two.run().expect("untouched it works");
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

/// Somebody between the two who plays the server to the client: without the server's static key or the pre-shared key
/// its proof does not hold, though it knows the client's secret.
#[test]
fn nobody_else_is_taken_for_the_server() {
    for (psk, suite) in
        [(false, Suite::default()), (true, Suite::default()), (true, Suite { kem: Kem::XWing, ..Suite::default() })]
    {
        let honest = Two::new(psk).with(suite);
        let mut false_server = Two::new(psk).with(suite);
        false_server.server = Identity::from_seed("east", &[66; 32]);
        if psk {
            false_server.psk = Some(Psk::new(b"lab", &[8; 32]).expect("lengths"));
        }
        let (client, request) = honest.start();
        let (server, response) = false_server.respond(&request).expect("it plays along");
        let (client, kem) = client.encapsulate(&response, &mut rng(3)).expect("nothing to see yet");
        match server.finish(&kem, &mut rng(4)) {
            Ok((_, response)) => assert_eq!(client.finish(&response).err(), Some(Error::NotConfirmed)),
            Err(error) => assert!(psk && error == Error::NotConfirmed, "{error}"),
        }
    }
}

#[test]
fn nobody_else_is_taken_for_the_client() {
    for (psk, suite) in [(false, Suite::default()), (true, Suite { kem: Kem::XWing, ..Suite::default() })] {
        let honest = Two::new(psk).with(suite);
        let mut false_client = Two::new(psk).with(suite);
        false_client.client = Identity::from_seed("west", &[66; 32]);
        if psk {
            false_client.psk = Some(Psk::new(b"lab", &[8; 32]).expect("lengths"));
        }
        let (client, request) = false_client.start();
        let (server, response) = honest.respond(&request).expect("nothing to see yet");
        let (_, kem) = client.encapsulate(&response, &mut rng(3)).expect("it goes on");
        assert_eq!(server.finish(&kem, &mut rng(4)).err(), Some(Error::NotConfirmed));
    }
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
