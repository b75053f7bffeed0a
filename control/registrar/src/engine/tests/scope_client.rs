//! Scope client: who gets which client's secret, and that no two that share one can meet in a nonce.

use super::*;
use protocol::key_schedule::{Prk, ScopeId, SharedSecret};
use protocol::suite::Suite;
use std::collections::BTreeSet;

/// The clients a box knows anything of, in any generation.
fn known(b: &BoxState) -> Vec<[u8; 16]> {
    let all = b.keys.iter().flat_map(|k| &k.clients).flat_map(|c| &c.secrets);
    let known: BTreeSet<[u8; 16]> = all.filter_map(|c| c.address.as_slice().try_into().ok()).collect();
    known.into_iter().collect()
}

#[test]
fn each_box_gets_the_secrets_of_its_clients_and_no_more() {
    let mut world = World::up_with(World::with_scope(2, Scope::Client));
    world.check_open();
    for b in &world.boxes {
        let all = [client(0, 1), client(0, 2), client(1, 1), client(1, 2)];
        assert_eq!(known(b), if b.side == 0 { b.clients.clone() } else { all.to_vec() }, "{}", b.name);
        let keys = b.keys.as_ref().expect("keys");
        assert_eq!(keys.client_side, b.side == 0);
        assert!(keys.sealing.as_ref().is_some_and(|s| s.secret.is_empty()), "no secret but the clients'");
        assert!(keys.opening.iter().all(|o| o.secrets.is_empty()));
        middlebox::keys::key_set::Keys::try_from(keys).expect("what a box takes");
    }
    // As section 5 derives them.
    let shared = SharedSecret::new(&[1, 0].repeat(16));
    let prk = Prk::new(Suite::default(), &[1; 32], &shared).expect("Nh octets");
    let expected = prk.secret(&ScopeId::Client(client(1, 2))).as_bytes().to_vec();
    for b in [1, 2, 3] {
        assert_eq!(secrets(&world.boxes[b], 1)[&client(1, 2)[..]], expected);
    }
    // The next generation, and a box that restarts.
    let effects = world.engines[1].rotate(world.now);
    world.apply(1, effects);
    world.run(2000 * MS);
    assert_eq!(world.all_seal(), Some(2));
    world.check_open();
    world.restart_box(2);
    world.connect(2).expect("registered");
    assert_eq!(world.boxes[2].seals(), None);
    world.run(2000 * MS);
    assert_eq!(world.all_seal(), Some(3));
    world.check_open();
}

/// A box that asks for less than it was granted gets less.
#[test]
fn prefixes_that_a_box_leaves_out_bring_no_clients() {
    let mut world = World::with_scope(1, Scope::Client);
    let one = "2001:db8:a::1/128".parse().expect("a prefix");
    let node = NodeInfo { name: "box-1".into(), id: [1; 16], prefixes: vec![one], clients: Vec::new() };
    let who = Registering { node, instance: [1; 16], token: None };
    world.set_link(true);
    world.boxes[0].session = Some(77);
    let effects = world.engines[0].connect(world.now, 77, &who, "somewhere").expect("registered");
    world.apply(0, effects);
    world.connect(1).expect("registered");
    world.run(2000 * MS);
    assert_eq!(world.all_seal(), Some(1));
    assert_eq!(known(&world.boxes[0]), [client(0, 1)]);
}

/// A client, or a prefix, that the configuration gives to another box: that one has the secret under which the first may
/// have sealed, and so may not seal under it.
#[test]
fn what_moves_to_another_box_waits_for_the_next_generation() {
    for side in 0..2 {
        let mut world = World::up_with(World::with_scope(2, Scope::Client));
        let [a, b] = [2 * side, 2 * side + 1];
        let (prefix, clients) = (world.boxes[a].prefix.clone(), world.boxes[a].clients.clone());
        world.boxes[a].prefix = std::mem::replace(&mut world.boxes[b].prefix, prefix);
        world.boxes[a].clients = std::mem::replace(&mut world.boxes[b].clients, clients);
        // Twice: what was compared the first time is kept.
        for _ in 0..2 {
            world.restart_registrar(side);
            for i in [a, b] {
                world.boxes[i].session = None;
                world.connect(i).expect("registered");
                assert_eq!(world.boxes[i].seals(), None);
            }
        }
        world.set_link(true);
        world.run(3000 * MS);
        assert_eq!(world.all_seal(), Some(2));
        world.check_open();
    }
}

#[test]
fn a_change_of_scope_leaves_nothing_of_before() {
    let mut world = World::up_with(World::with_scope(1, Scope::Client));
    for scope in [Scope::Node, Scope::Client] {
        world.scope = scope;
        for side in 0..2 {
            world.restart_registrar(side);
        }
        world.set_link(true);
        world.connect_all();
        world.run(3000 * MS);
    }
    assert_eq!(world.all_seal(), Some(3));
    for store in &world.stores {
        assert_eq!(store.keys().filter(|k| k.contains("/generation/")).count(), 1);
    }
}

#[test]
fn the_other_side_cannot_claim_a_client_twice() {
    let mut world = World::up_with(World::with_scope(2, Scope::Client));
    let claim = |number: u8, prefix: &str, clients: &[[u8; 16]]| NodeInfo {
        name: format!("box-{number}"),
        id: [number; 16],
        prefixes: vec![prefix.parse().expect("a prefix")],
        clients: clients.to_vec(),
    };
    let taken = |world: &mut World, side: usize, nodes: Vec<NodeInfo>| {
        let effects = world.engines[side].news(world.now, News::Nodes(nodes));
        world.apply(side, effects);
        let keys = world.boxes[2 * side].keys.as_ref().expect("keys");
        let names: Vec<_> = keys.opening.iter().filter_map(|o| Some(o.node.as_ref()?.name.clone())).collect();
        names.join(" ")
    };
    let nodes = vec![
        claim(1, "2001:db8:a::/64", &[client(0, 1)]),
        claim(2, "2001:db8:a:0:8::/80", &[]),
        claim(3, "2001:db8:a:1::/64", &[client(0, 2)]),
        claim(4, "2001:db8:a:2::/64", &[client(2, 1)]),
    ];
    assert_eq!(taken(&mut world, 1, nodes), "box-1 box-4");
    assert_eq!(known(&world.boxes[2]), [client(0, 1), client(2, 1)]);
    // The server primary's side has none.
    let nodes = vec![claim(101, "2001:db8:b::/64", &[client(0, 1)]), claim(102, "2001:db8:b:1::/64", &[])];
    assert_eq!(taken(&mut world, 0, nodes), "box-102");
}
