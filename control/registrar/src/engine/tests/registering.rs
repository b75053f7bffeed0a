//! New processes of a box: how often they make all boxes roll over, and what becomes of two under one name.

use super::*;
use std::time::Duration;

/// However often a box is restarted, and whoever asks for its place.
#[test]
fn one_certificate_on_two_machines() {
    for every in [100u32, 500, 1000, 2000] {
        let mut world = World::up(3);
        let before = world.negotiations;
        for _ in 0..60_000 / every {
            world.restart_box(0);
            world.connect(0).expect("registered");
            world.run(every * MS);
        }
        let made = world.negotiations - before;
        // One that does not even stay for as long as others are waited for (`coalesce`) gets none.
        let least = if every < 500 { 0 } else { 5 };
        assert!((least..=8).contains(&made), "a new process every {every} ms: {made} generations in a minute");
        // Two machines, of which the one is connected: it is not disturbed, and nobody else is.
        let mut world = World::up(3);
        let (before, session) = (world.negotiations, world.boxes[0].session);
        let clone = world.resume(&world.boxes[0].clone());
        world.becomes_new(clone);
        for _ in 0..60_000 / every {
            let denied = world.connect(clone).expect_err("it is taken");
            let holder = format!("machine {}", world.boxes[0].process);
            let claimant = format!("machine {}", world.boxes[clone].process);
            let text = denied.to_string();
            assert_eq!(
                denied,
                Denied::Taken { node: "box-1".into(), holder: holder.clone(), claimant: claimant.clone() }
            );
            assert!(text.contains(&holder) && text.contains(&claimant), "{text}");
            world.run(every * MS);
        }
        assert_eq!((world.negotiations, world.boxes[0].session), (before, session));
        assert_eq!((world.boxes[0].seals(), world.boxes[clone].keys.is_none()), (Some(1), true));
        let status = world.engines[0].status(world.now);
        let node = status.nodes.iter().find(|n| n.name == "box-1").expect("box-1");
        let contest = node.contested.as_ref().expect("both are named");
        assert_eq!(contest.claims, u64::from(60_000 / every));
        assert_eq!(node.address, Some(format!("machine {}", world.boxes[0].process)));
        assert_eq!(contest.claimant, format!("machine {}", world.boxes[clone].process));
        // When nobody asks any more that is over.
        world.run(61_000 * MS);
        let status = world.engines[0].status(world.now);
        assert!(status.nodes.iter().all(|n| n.contested.is_none()));
    }
}

#[test]
fn a_single_restart_is_not_delayed_and_one_after_the_other_is() {
    let mut world = World::up(2);
    let restart = |world: &mut World, i: usize| {
        world.restart_box(i);
        world.connect(i).expect("registered");
    };
    restart(&mut world, 0);
    world.run(1500 * MS);
    assert_eq!(world.all_seal(), Some(2), "at once");
    // The next ones wait, the second longer than the first, and from then on each as long as a generation lasts at least.
    let mut present = 2;
    for seconds in [2u32, 5, 10, 10] {
        restart(&mut world, 0);
        world.run((1000 * seconds - 1800) * MS);
        assert_eq!((world.boxes[0].seals(), world.boxes[1].seals()), (None, Some(present)), "{seconds} s");
        world.run(2500 * MS);
        present += 1;
        assert_eq!(world.all_seal(), Some(present), "{seconds} s");
    }
    // Another box is not held back by that, and the one that waits has its share.
    restart(&mut world, 0);
    world.run(1000 * MS);
    restart(&mut world, 2);
    world.run(1500 * MS);
    assert_eq!(world.all_seal(), Some(present + 1));
    // After a while it is again as it was at first.
    world.run(10_000 * MS);
    restart(&mut world, 0);
    world.run(1500 * MS);
    assert_eq!(world.all_seal(), Some(present + 2));
    world.check_open();
}

/// A machine that is gone says nothing any more: its place is free after it was asked.
#[test]
fn a_machine_that_died_makes_room_in_seconds() {
    let mut world = World::up(1);
    world.vanish(0);
    world.becomes_new(0);
    assert!(matches!(world.connect(0), Err(Denied::Taken { .. })));
    world.run(2200 * MS);
    world.connect(0).expect("it has not answered");
    world.run(1500 * MS);
    assert_eq!(world.all_seal(), Some(2));
}

/// A process whose connection broke is the same one: at once, also when the registrar has not noticed, and with no
/// generation for it.
#[test]
fn a_connection_that_breaks_costs_nothing() {
    for muted in [false, true] {
        let mut world = World::up(1);
        if muted {
            // What is handed out from now on is not acknowledged.
            world.mute.insert(0);
            let effects = world.engines[0].rotate(world.now);
            world.apply(0, effects);
            world.run(700 * MS);
        }
        let before = world.negotiations;
        world.vanish(0);
        world.mute.clear();
        world.connect(0).expect("the same process");
        world.run(12_000 * MS);
        assert_eq!((world.negotiations, world.boxes[0].seals()), (before, Some(before)), "{muted}");
    }
}

/// A key set that was lost on its way: the token before the newest is good, once the connection of before is gone.
#[test]
fn a_token_that_was_lost_on_its_way_costs_no_generation() {
    let mut world = World::up(1);
    let snapshot = world.boxes[0].clone();
    world.mute.insert(0);
    let effects = world.engines[0].rotate(world.now);
    world.apply(0, effects);
    world.run(700 * MS);
    assert_ne!(world.boxes[0].token, snapshot.token);
    let before = world.negotiations;
    // As if none of that had come: the process, and what it had.
    world.boxes[0] = BoxState { session: None, ..snapshot };
    world.mute.clear();
    assert!(matches!(world.connect(0), Err(Denied::Taken { .. })), "the connection of before may live");
    world.run(2200 * MS);
    world.connect(0).expect("the same process");
    world.run(2000 * MS);
    assert_eq!((world.negotiations, world.all_seal()), (before, Some(before)));
}

/// A box is asked whether it lives once a second, and however often somebody wants its place.
#[test]
fn questions_are_few() {
    let mut world = World::up(1);
    let clone = world.resume(&world.boxes[0].clone());
    world.becomes_new(clone);
    let (who, session) = (world.boxes[clone].process, world.boxes[0].session.expect("connected"));
    let node = NodeInfo { name: "box-1".into(), id: [1; 16], prefixes: Vec::new(), clients: Vec::new() };
    let who = Registering { node, instance: [who as u8; 16], token: None };
    let mut asked = 0;
    for step in 0..1000u32 {
        let now = world.now + step * 10 * MS;
        world.engines[0].connect(now, 99, &who, "elsewhere").expect_err("it is taken");
        let actions = world.engines[0].tick(now).actions;
        let probes = actions.iter().filter(|a| matches!(a, Action::Probe { session: s } if *s == session)).count();
        if probes > 0 {
            world.engines[0].alive(session);
        }
        asked += probes;
    }
    assert!((9..=11).contains(&asked), "{asked} questions in {:?}", Duration::from_secs(10));
}
