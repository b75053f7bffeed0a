//! Somebody on the way changes messages, or plays one of the two primaries.

use super::{Message, Side, Two, rng};
use crate::{Error, Identity, PrivateKey, Psk};
use protocol::suite::{Aead, Kdf, Kem, Suite};

/// Two primaries with three suites, and without and with a pre-shared key.
fn twos() -> [Two; 2] {
    [false, true].map(|psk| {
        let mut two = Two::new(psk);
        two.offer = vec![stronger(), Suite::default(), weaker()];
        two.policy.suites = vec![stronger(), weaker(), Suite::default()];
        two.run().expect("untouched it works");
        two
    })
}

fn weaker() -> Suite {
    Suite { kem: Kem::P256, ..Suite::default() }
}

fn stronger() -> Suite {
    Suite { aead: Aead::Aes256Gcm, kdf: Kdf::Sha512, ..Suite::default() }
}

/// Somebody on the way makes this change, and the negotiation fails with this error.
#[expect(clippy::needless_pass_by_value, reason = "each case is one line where it is called")]
fn fails(two: &Two, name: &str, expected: (Side, Error), change: &mut dyn FnMut(Message<'_>)) {
    let (side, error) = two.run_through(change).map(|_| name.to_owned()).expect_err(name);
    assert_eq!((side, error), expected, "{name}");
}

fn unconfirmed() -> (Side, Error) {
    (Side::Server, Error::NotConfirmed)
}

#[test]
fn what_is_changed_in_the_setup_is_noticed() {
    for two in twos() {
        // The offer: a downgrade leads to another suite, which the client did offer; the hash gives it away.
        fails(&two, "the best suite is taken out of the offer", unconfirmed(), &mut |m| {
            if let Message::SetupRequest(m) = m {
                m.suites.remove(0);
            }
        });
        fails(&two, "the offer's order", unconfirmed(), &mut |m| {
            if let Message::SetupRequest(m) = m {
                m.suites.swap(1, 2);
            }
        });
        fails(&two, "an unknown suite is added", unconfirmed(), &mut |m| {
            if let Message::SetupRequest(m) = m {
                m.suites.push([0xFFFF; 3]);
            }
        });
        fails(&two, "the last generation", unconfirmed(), &mut |m| {
            if let Message::SetupRequest(m) = m {
                m.last_generation += 1;
            }
        });
        // The choice.
        fails(&two, "another suite of the offer", unconfirmed(), &mut |m| {
            if let Message::SetupResponse(m) = m {
                m.suite = Suite::default().ids();
            }
        });
        let other = Suite { aead: Aead::ChaCha20Poly1305, ..Suite::default() };
        fails(&two, "a suite not offered", (Side::Client, Error::NotOffered(other.to_string())), &mut |m| {
            if let Message::SetupResponse(m) = m {
                m.suite = other.ids();
            }
        });
        fails(&two, "the generation", unconfirmed(), &mut |m| {
            if let Message::SetupResponse(m) = m {
                m.generation += 1;
            }
        });
        // The public key: somebody else's, who passes on what the client encapsulates.
        let theirs = PrivateKey::generate(Kem::X25519, &mut rng(99)).public();
        fails(&two, "the public key", unconfirmed(), &mut |m| {
            if let Message::SetupResponse(m) = m {
                m.public_key = theirs.octets().to_vec();
            }
        });
    }
}

#[test]
fn what_is_changed_in_the_kem_messages_is_noticed() {
    for two in twos() {
        // The encapsulation, the salt, the proof; each of the octets.
        for at in [0, 15, 31] {
            fails(&two, "enc", unconfirmed(), &mut |m| {
                if let Message::KemRequest(m) = m {
                    m.enc[at] ^= 1;
                }
            });
            fails(&two, "the salt", unconfirmed(), &mut |m| {
                if let Message::KemRequest(m) = m {
                    m.salt[at] ^= 1;
                }
            });
            fails(&two, "the client's proof", unconfirmed(), &mut |m| {
                if let Message::KemRequest(m) = m {
                    m.confirmation[at] ^= 1;
                }
            });
            fails(&two, "the server's proof", (Side::Client, Error::NotConfirmed), &mut |m| {
                if let Message::KemResponse(m) = m {
                    m.confirmation[at] ^= 1;
                }
            });
            fails(&two, "the server's encapsulation", (Side::Client, Error::NotConfirmed), &mut |m| {
                if let Message::KemResponse(m) = m {
                    m.enc[at] ^= 1;
                }
            });
        }
        fails(&two, "the proof is cut", unconfirmed(), &mut |m| {
            if let Message::KemRequest(m) = m {
                m.confirmation.pop();
            }
        });
        fails(&two, "the negotiation's name, at the client", (Side::Client, Error::OtherNegotiation), &mut |m| {
            if let Message::KemResponse(m) = m {
                m.negotiation[0] ^= 1;
            }
        });
        fails(&two, "the negotiation's name, at the server", (Side::Server, Error::OtherNegotiation), &mut |m| {
            if let Message::KemRequest(m) = m {
                m.negotiation[0] ^= 1;
            }
        });
    }
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
