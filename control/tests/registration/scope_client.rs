//! Scope client (draft appendix B): one secret for each client, which the boxes on both sides have that need it.

use crate::lab::{Lab, SimBox, audit, shown, wait_for};
use protocol::five_tuple::FiveTuple;

fn address(prefix: [u8; 6], subnet: u8, host: u8) -> [u8; 16] {
    let mut address = [0; 16];
    address[..6].copy_from_slice(&prefix);
    (address[7], address[15]) = (subnet, host);
    address
}

fn client(number: u8, host: u8) -> [u8; 16] {
    address([0x20, 1, 0xD, 0xB8, 0, 0xA], number, host)
}

fn server(number: u8) -> [u8; 16] {
    address([0x20, 1, 0xD, 0xB8, 0, 0xB], number, 1)
}

/// What one box makes of a packet between these that it seals, and another opens.
fn session(sealer: &SimBox, opener: &SimBox, src: [u8; 16], dst: [u8; 16]) -> [Option<[u8; 32]>; 2] {
    let tuple = FiveTuple { src, dst, sport: 1, dport: 2, protocol: 17 };
    let (sealing, opening) = (sealer.held.lock().expect("held"), opener.held.lock().expect("held"));
    let sealing = sealing.current.as_ref().and_then(|c| c.keys.sealing.as_ref());
    let mut of = opening.current.iter().flat_map(|c| &c.keys.opening).filter(|o| o.node.name == sealer.name);
    let generation = sealing.map(|s| s.generation);
    let opening = of.next().and_then(|o| o.secrets.iter().find(|(g, _)| Some(*g) == generation));
    let key = |keys: &protocol::generation_keys::GenerationKeys| keys.session(&tuple, 0).map(|s| s.key);
    [sealing.and_then(|s| key(&s.keys)), opening.and_then(|(_, keys)| key(keys))]
}

#[test]
fn each_box_has_its_clients_secrets() {
    let mut lab = Lab::new();
    lab.peer_lines = [0, 1].map(|_| "scope = \"client\"".to_owned());
    let settings = [lab.node(0, 1), lab.node(0, 2), lab.node(1, 3), lab.node(1, 4)];
    lab.start_both();
    let boxes = settings.map(SimBox::start);
    let same = || {
        let first = boxes[0].generation();
        first.is_some() && boxes.iter().all(|b| b.generation() == first)
    };
    wait_for("all seal under one generation", same);
    let check = || {
        let [a, b, c, d] = &boxes;
        for (client_box, number, server_box, far) in [(a, 1, c, 3), (a, 1, d, 4), (b, 2, c, 3), (b, 2, d, 4)] {
            for host in [1, 2] {
                for (from, to, src, dst) in [
                    (client_box, server_box, client(number, host), server(far)),
                    (server_box, client_box, server(far), client(number, host)),
                ] {
                    let [sealed, opened] = session(from, to, src, dst);
                    assert!(sealed.is_some() && sealed == opened, "{} to {}: {src:?}", from.name, to.name);
                }
            }
            assert_eq!(session(client_box, server_box, client(number, 3), server(far)), [None; 2], "not a client");
        }
        // No box of the clients' side has anything of its neighbour's.
        assert_eq!(session(a, b, client(2, 1), server(3))[0], None);
        assert_eq!(session(c, a, server(3), client(2, 1))[1], None);
        assert!(session(c, b, server(3), client(2, 1))[1].is_some());
    };
    check();
    let generation = boxes[0].generation();
    lab.ok(&["registrar", "rotate", "--config", "east.toml"]);
    wait_for("the next generation", || boxes[0].generation() > generation && same());
    check();
    // A registrar that restarts finds the same boxes with the same clients: nothing changes.
    let generation = boxes[0].generation();
    lab.kill(0);
    lab.start(0);
    wait_for("registered again", || boxes[..2].iter().all(|b| b.registration.registrations() > 1));
    assert_eq!(boxes[0].generation(), generation);
    assert!(lab.status(1)["peers"][0]["scope"] == "client");
    let held: Vec<_> = boxes.iter().map(|b| b.held.lock().expect("held")).collect();
    // The two of one side have other clients; the two of the other the same, and other sources.
    audit([&*held[0], &*held[1]]);
    let secrets: Vec<_> = held.iter().flat_map(|h| h.sealed.iter().map(|s| s.1.clone())).collect();
    let texts = [lab.log(0), lab.log(1), lab.status(0).to_string(), format!("{:?}", held[0].current)];
    assert_eq!(shown(&texts, &secrets), None);
}
