//! Boxes that are out of touch with their registrar, and seal on with what they have.

use super::*;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// Generations that the box `opener` opens the box `sealer` under.
fn opened(world: &World, opener: usize, sealer: usize) -> Vec<u32> {
    let id = [world.boxes[sealer].number; 16];
    let opening = world.boxes[opener].keys.iter().flat_map(|k| &k.opening);
    let of = opening.filter(|o| o.node.as_ref().is_some_and(|n| n.id == id));
    of.flat_map(|o| o.secrets.iter().map(|s| s.generation)).collect()
}

fn rotate(world: &mut World, side: usize) {
    let effects = world.engines[side].rotate(world.now);
    world.apply(side, effects);
    world.run(3000 * MS);
}

/// The others open what it seals until its keys expire, whatever they use themselves; and then no longer.
fn for_its_lifetime(scope: Scope, out: usize) {
    let mut world = World::up_with(World::with_scope(2, scope));
    let began = world.now;
    let lifetime = Generations::default().lifetime;
    world.disconnect(out);
    let [opener, neighbour] = [(out + 2) % 4, out ^ 1];
    let mut step = 0;
    while world.now + 10 * MINUTE < began + lifetime {
        // Every few minutes, and now and then for a day nothing.
        let day = Generations::default().max_age;
        let quiet = step % 40 == 39 && world.now + day + 10 * MINUTE < began + lifetime;
        world.now += if quiet { day } else { 4 * MINUTE };
        rotate(&mut world, step % 2);
        world.run(Generations::default().ack_timeout);
        world.check_open();
        step += 1;
        match step % 50 {
            10 => world.restart_registrar(0),
            20 => world.restart_registrar(1),
            30 => world.set_link(false),
            _ => {}
        }
        for i in (0..4).filter(|&i| i != out) {
            if world.boxes[i].session.is_none() {
                world.connect(i).expect("registered");
            }
        }
        world.set_link(true);
    }
    let last = world.boxes[opener].seals().expect("seals");
    assert!(step > 40 && last > 40, "{step} steps, generation {last}");
    assert_eq!(world.boxes[out].seals(), Some(1));
    if scope == Scope::Node {
        let of = opened(&world, opener, out);
        assert!(of.contains(&1) && of.contains(&last) && of.len() <= 4, "{of:?}");
        assert!(!opened(&world, opener, neighbour).contains(&1), "kept for that box alone");
    }
    world.now = began + lifetime + Generations::default().grace;
    world.run(3000 * MS);
    assert!(!opened(&world, opener, out).contains(&1), "its keys have expired");
    world.connect(out).expect("registered");
    world.run(Generations::default().ack_timeout + 3000 * MS);
    assert!(world.all_seal() >= Some(last));
    world.check_open();
}

#[test]
fn the_others_open_a_box_of_the_client_side_for_its_lifetime() {
    for_its_lifetime(Scope::Node, 0);
}

#[test]
fn the_others_open_a_box_of_the_server_side_for_its_lifetime() {
    for_its_lifetime(Scope::Node, 3);
}

#[test]
fn the_others_open_a_box_for_its_lifetime_in_scope_client() {
    for_its_lifetime(Scope::Client, 0);
    for_its_lifetime(Scope::Client, 2);
}

/// What it is kept for ends: it acknowledges a later one, or is revoked.
#[test]
fn what_a_box_has_left_is_dropped() {
    let grace = Generations::default().grace;
    let mut world = World::up(2);
    world.disconnect(0);
    rotate(&mut world, 0);
    world.run(Generations::default().ack_timeout + grace + 3000 * MS);
    assert_eq!((opened(&world, 2, 0), opened(&world, 2, 1)), (vec![1, 2], vec![2]));
    // It is handed the second one, and says nothing: what it seals under is not known.
    world.mute.insert(0);
    world.connect(0).expect("registered");
    world.run(grace);
    assert_eq!(opened(&world, 2, 0), [1, 2]);
    world.check_open();
    let session = world.boxes[0].session.expect("connected");
    world.mute.clear();
    let revision = world.boxes[0].keys.as_ref().expect("keys").revision;
    let effects = world.engines[0].ack(world.now, session, revision);
    world.apply(0, effects);
    world.run(5000 * MS);
    assert_eq!(opened(&world, 2, 0), [2]);
    for store in &world.stores {
        assert_eq!(store.keys().filter(|k| k.contains("/generation/")).count(), 1);
    }
    // And once more, with a box that is revoked.
    world.disconnect(3);
    rotate(&mut world, 0);
    world.run(Generations::default().ack_timeout + grace + 3000 * MS);
    assert_eq!(opened(&world, 0, 3), [2, 3]);
    let effects = world.engines[1].revoke(world.now, "box-102", true).expect("a box");
    world.apply(1, effects);
    world.deliver();
    assert!(opened(&world, 0, 3).is_empty());
}

/// The other side is ready and this one's word does not reach it: it seals on under the one before.
#[test]
fn registrars_out_of_touch_drop_nothing() {
    let mut world = World::up(2);
    world.mute.insert(0);
    rotate(&mut world, 0);
    assert_eq!((world.boxes[0].seals(), world.boxes[2].seals()), (Some(2), Some(1)));
    world.set_link(false);
    for _ in 0..20 {
        world.now += 10 * MINUTE;
        world.run(1000 * MS);
        world.check_open();
    }
    world.mute.clear();
    world.come_to_rest();
    assert!(world.all_seal() > Some(1));
}

/// With a registrar of an earlier version on the other side it is as it was: the grace period, and no promise.
#[test]
fn an_earlier_version_on_the_other_side() {
    for older in 0..2 {
        let mut world = World::new(2);
        world.older[older] = true;
        let mut world = World::up_with(world);
        let promise = |world: &World, i: usize| {
            world.boxes[i].keys.as_ref().and_then(|k| k.sealing.as_ref()).and_then(|s| s.opened_for_ms)
        };
        let [new, old] = [2 * (1 - older), 2 * older];
        assert_eq!(promise(&world, new), None);
        assert!(promise(&world, old).is_none(), "it knows of no promise itself");
        world.disconnect(old);
        rotate(&mut world, 0);
        world.run(Generations::default().ack_timeout + Generations::default().grace + 3000 * MS);
        assert_eq!(opened(&world, new, old), [2]);
        // It is replaced by this version.
        world.older = [false; 2];
        world.set_link(false);
        world.set_link(true);
        world.connect(old).expect("registered");
        rotate(&mut world, 0);
        assert_eq!(world.all_seal(), Some(3));
        let lifetime = Generations::default().lifetime;
        for i in 0..4 {
            let promised = promise(&world, i).expect("both know of it");
            assert!(Duration::from_millis(promised) + MINUTE > lifetime, "{promised}");
        }
    }
}

/// A registrar that has lost its store does not know what its boxes seal under. The other one does not forget it.
#[test]
fn a_lost_store_loses_no_box() {
    for side in 0..2 {
        let mut world = World::up(2);
        rotate(&mut world, 0);
        world.run(Generations::default().grace);
        let out = 2 * side;
        world.disconnect(out);
        world.stores[side].clear();
        world.restart_registrar(side);
        world.set_link(true);
        world.connect(out + 1).expect("registered");
        for _ in 0..5 {
            world.now += 4 * MINUTE;
            rotate(&mut world, side);
            world.run(Generations::default().ack_timeout + Generations::default().grace);
            let sealing = world.boxes[out].keys.as_ref().and_then(|k| k.sealing.as_ref()).expect("it seals on");
            let opener = &world.boxes[2 - out];
            assert!(opener.opens(world.boxes[out].number, sealing.generation, &sealing.secret));
        }
    }
}
