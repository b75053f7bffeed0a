//! Key sets as they come, and the ring that they make.

use super::*;
use crate::keys::key_set::{Keys, OpeningKeys};
use protocol::generation_keys::{ClientSecrets, GenerationKeys};
use protocol::key_schedule::Secret;
use protocol::suite::Suite;
use registration::wire::NodeInfo;

fn secret(octet: u8) -> Secret {
    Secret::from_octets(Suite::default(), &[octet; 32]).expect("Nh octets")
}

fn keys(revision: u64, sealing: Option<(u32, u8, Duration)>, opening: &[(u8, &[(u32, u8)])]) -> Keys {
    let prefixes = vec!["2001:db8::/32".parse().expect("a prefix")];
    Keys {
        revision,
        scope: protocol::suite::Scope::Node,
        token: None,
        sealing: sealing.map(|(generation, octet, expires_in)| SealingKeys {
            generation,
            keys: GenerationKeys::Ready(secret(octet)),
            prefixes: prefixes.clone(),
            expires_in,
            opened_for: None,
        }),
        opening: opening
            .iter()
            .map(|(id, secrets)| OpeningKeys {
                node: NodeInfo {
                    name: format!("n{id}"),
                    id: [*id; 16],
                    prefixes: prefixes.clone(),
                    clients: Vec::new(),
                },
                secrets: secrets.iter().map(|&(g, octet)| (g, GenerationKeys::Ready(secret(octet)))).collect(),
            })
            .map(Arc::new)
            .collect(),
    }
}

fn feed(keys: Keys, into: &mut RegisteredKeys) {
    into.registration.put(ReceivedKeys::for_tests(keys));
    into.tick(Instant::now());
}

const LONG: Duration = Duration::from_secs(3600);

fn shape(ring: &KeyRing) -> (Option<u32>, Vec<(u16, Vec<u32>)>) {
    let peers = ring.peers.iter().map(|p| (p.number, p.generations.iter().map(|(g, _)| *g).collect()));
    (ring.sealer.as_ref().map(|s| s.generation), peers.collect())
}

#[test]
fn secrets_keep_their_numbers_and_numbers_their_secrets() {
    let mut box_keys = RegisteredKeys::without_thread(Arc::default());
    let mut ring = |set| {
        feed(set, &mut box_keys);
        (shape(&box_keys.cell.ring()), box_keys.generation())
    };
    assert_eq!(ring(keys(1, None, &[(7, &[(5, 50)])])), ((None, vec![(1, vec![1])]), None));
    assert_eq!(ring(keys(2, Some((5, 1, LONG)), &[(7, &[(5, 50)])])), ((Some(1), vec![(1, vec![1])]), Some(5)));
    // The next generation, first to open, then to seal; a second peer.
    let two: &[(u8, &[(u32, u8)])] = &[(7, &[(5, 50), (6, 60)]), (8, &[(6, 61)])];
    assert_eq!(ring(keys(3, Some((5, 1, LONG)), two)).0, (Some(1), vec![(1, vec![1, 2]), (2, vec![1])]));
    assert_eq!(ring(keys(4, Some((6, 2, LONG)), two)), ((Some(2), vec![(1, vec![1, 2]), (2, vec![1])]), Some(6)));
    // A registrar that has lost its store starts at 1 again: other secrets, so other numbers.
    assert_eq!(ring(keys(1, Some((1, 3, LONG)), &[(7, &[(1, 70)])])), ((Some(3), vec![(1, vec![3])]), Some(1)));
    // The same set again changes nothing.
    assert_eq!(ring(keys(2, Some((1, 3, LONG)), &[(7, &[(1, 70)])])).0, (Some(3), vec![(1, vec![3])]));
    // A peer that was dropped and comes back is another.
    assert_eq!(ring(keys(3, None, &[])).0, (None, vec![]));
    assert_eq!(ring(keys(4, Some((1, 3, LONG)), &[(7, &[(1, 70)])])).0, (Some(3), vec![(3, vec![1])]));
}

#[test]
fn keys_that_come_end_the_waiting_for_them() {
    const LIMIT: Duration = Duration::from_secs(60);
    let box_keys = RegisteredKeys::without_thread(Arc::default());
    let registration = Arc::clone(&box_keys.registration);
    let began = Instant::now();
    let registrar = std::thread::spawn(move || registration.put(ReceivedKeys::for_tests(keys(1, None, &[]))));
    box_keys.wait(LIMIT);
    box_keys.wait(LIMIT); // they are still there
    assert!(began.elapsed() < LIMIT, "waited to the end, beside keys that are there");
    registrar.join().expect("no panic");
    assert!(box_keys.registration.take().is_some());
    box_keys.wait(Duration::from_millis(1));
    assert!(box_keys.registration.take().is_none());
}

#[test]
fn a_secret_that_was_left_does_not_come_back() {
    let mut box_keys = RegisteredKeys::without_thread(Arc::default());
    for (revision, octet, expected) in
        [(1, 1, Some(1)), (2, 2, Some(2)), (3, 1, None), (4, 2, Some(2)), (5, 3, Some(3))]
    {
        feed(keys(revision, Some((9, octet, LONG)), &[]), &mut box_keys);
        assert_eq!(shape(&box_keys.cell.ring()).0, expected, "set {revision}");
    }
}

/// Of two that were one, none goes on with what both had.
#[test]
fn a_new_process_leaves_all_that_it_had() {
    let mut box_keys = RegisteredKeys::without_thread(Arc::default());
    let opening: &[(u8, &[(u32, u8)])] = &[(7, &[(5, 50)])];
    feed(keys(1, Some((5, 1, LONG)), opening), &mut box_keys);
    let late = ReceivedKeys::for_tests(keys(2, Some((6, 2, LONG)), opening));
    box_keys.registration.put(ReceivedKeys::for_tests(keys(2, Some((6, 2, LONG)), opening)));
    box_keys.process_is_new();
    let ring = |box_keys: &RegisteredKeys| shape(&box_keys.cell.ring());
    assert_eq!(ring(&box_keys), (None, vec![(1, vec![1])]), "it seals nothing, and opens what it did");
    // Nor with what was on its way to the process of before, whether it had come or not.
    box_keys.registration.put(late);
    box_keys.tick(Instant::now());
    assert_eq!((ring(&box_keys).0, box_keys.generation()), (None, None));
    box_keys.tick(Instant::now() + OUT_OF_TOUCH);
    assert!(box_keys.cell.ring().out_of_touch, "as a box that has no registrar");
    // A registrar that knows nothing of it hands out the same again.
    for (octet, expected) in [(1, None), (3, Some(2))] {
        let mut again = ReceivedKeys::for_tests(keys(1, Some((7, octet, LONG)), opening));
        again.of_process(1);
        box_keys.registration.put(again);
        box_keys.tick(Instant::now());
        assert_eq!(ring(&box_keys).0, expected, "secret {octet}");
    }
}

fn of_clients(clients: &[(u8, u8)]) -> GenerationKeys {
    let secrets = clients.iter().map(|&(client, octet)| ([client; 16], secret(octet)));
    let secrets = Arc::new(ClientSecrets::new(Suite::default(), secrets));
    GenerationKeys::Clients { secrets, sealer_is_client: true }
}

#[test]
fn clients_come_and_go_within_a_generation() {
    let mut box_keys = RegisteredKeys::without_thread(Arc::default());
    for (revision, clients, expected) in [
        (1, &[(1, 11), (2, 12)][..], Some(1)),
        (2, &[(2, 12), (3, 13)], Some(1)),
        // The next generation; then a set with one secret of the first.
        (3, &[(2, 22), (3, 23)], Some(2)),
        (4, &[(2, 22), (1, 11)], None),
        (5, &[(3, 23)], Some(2)),
        (6, &[], None),
        // None of the clients of before: nothing tells that it is the same generation.
        (7, &[(9, 29)], Some(3)),
        (8, &[(3, 23)], None),
    ] {
        let mut set = keys(revision, Some((9, 0, LONG)), &[(7, &[(9, 0)])]);
        let of = of_clients(clients);
        Arc::make_mut(&mut set.opening[0]).secrets = vec![(9, of.clone())];
        set.sealing.as_mut().expect("sealing").keys = of;
        feed(set, &mut box_keys);
        assert_eq!(shape(&box_keys.cell.ring()).0, expected, "set {revision}");
    }
    assert_eq!(box_keys.peers.len(), 1);
}

#[test]
fn expired_keys_seal_nothing_and_still_open() {
    let mut box_keys = RegisteredKeys::without_thread(Arc::default());
    feed(keys(1, Some((5, 1, Duration::from_millis(40))), &[(7, &[(5, 50)])]), &mut box_keys);
    assert!(box_keys.expires_in(Instant::now()).is_some());
    assert_eq!(box_keys.generation(), Some(5));
    std::thread::sleep(Duration::from_millis(50));
    box_keys.tick(Instant::now());
    assert_eq!((box_keys.generation(), box_keys.expires_in(Instant::now())), (None, None));
    assert_eq!(shape(&box_keys.cell.ring()), (None, vec![(1, vec![1])]));
}

/// Keys, opened for a minute though the box is out of touch, or without a word of that.
fn promised(revision: u64, opened_for: Option<Duration>) -> Keys {
    let mut set = keys(revision, Some((5, 1, LONG)), &[(7, &[(5, 50)])]);
    set.sealing.as_mut().expect("sealing").opened_for = opened_for;
    set
}

#[test]
fn a_box_out_of_touch_seals_as_long_as_the_others_open_it() {
    const MINUTE: Duration = Duration::from_secs(60);
    for (opened_for, until) in [(Some(MINUTE), MINUTE), (None, UNTOLD), (Some(LONG * 2), LONG)] {
        let mut box_keys = RegisteredKeys::without_thread(Arc::default());
        let registration = Arc::clone(&box_keys.registration);
        let state = |box_keys: &RegisteredKeys| {
            let ring = box_keys.cell.ring();
            (ring.out_of_touch, ring.sealer.is_some())
        };
        let feed = |revision, box_keys: &mut RegisteredKeys| {
            let mut set = ReceivedKeys::for_tests(promised(revision, opened_for));
            set.registration = registration.registrations();
            registration.put(set);
            box_keys.tick(Instant::now());
        };
        registration.register_for_tests();
        feed(1, &mut box_keys);
        let lost = Instant::now();
        box_keys.tick(lost + OUT_OF_TOUCH);
        assert_eq!(state(&box_keys), (false, true), "in touch");
        registration.set(false, Some("no answer"));
        box_keys.tick(lost);
        assert_eq!(state(&box_keys), (false, true), "a short while is nothing");
        box_keys.tick(lost + OUT_OF_TOUCH);
        assert_eq!(state(&box_keys), (true, true));
        // Some milliseconds went by between the keys' receipt and the loss.
        box_keys.tick(lost + until - OUT_OF_TOUCH);
        assert_eq!(state(&box_keys), (true, true), "{opened_for:?}");
        box_keys.tick(lost + until);
        assert_eq!(state(&box_keys), (true, false), "{opened_for:?}");
        // A registrar alone is not enough: it may have nothing to say yet.
        registration.register_for_tests();
        box_keys.tick(lost + until);
        assert_eq!(state(&box_keys), (true, false));
        feed(2, &mut box_keys);
        assert_eq!(state(&box_keys), (false, true), "the same secret goes on where it was");
        assert_eq!(shape(&box_keys.cell.ring()).0, Some(1));
    }
}

#[test]
fn a_box_that_never_had_keys_is_not_out_of_touch() {
    let mut box_keys = RegisteredKeys::without_thread(Arc::default());
    box_keys.tick(Instant::now());
    box_keys.tick(Instant::now() + LONG);
    assert!(!box_keys.cell.ring().out_of_touch);
}

#[test]
fn another_aead_is_another_peer_to_the_workers() {
    let mut box_keys = RegisteredKeys::without_thread(Arc::default());
    let other = Suite { aead: Aead::Aes256Gcm, ..Suite::default() };
    let mut set = keys(1, None, &[(7, &[(5, 50), (6, 60)])]);
    Arc::make_mut(&mut set.opening[0]).secrets[1].1 =
        GenerationKeys::Ready(Secret::from_octets(other, &[60; 32]).expect("Nh octets"));
    feed(set, &mut box_keys);
    let ring = box_keys.cell.ring();
    let aeads: Vec<_> = ring.peers.iter().map(|p| (p.number, p.aead)).collect();
    assert_eq!(aeads, [(1, Aead::Aes128Gcm), (2, Aead::Aes256Gcm)]);
}
