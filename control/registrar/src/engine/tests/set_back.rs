//! Stores that are set back, and machines that are resumed or cloned from a snapshot, at every step of roll-overs and
//! restarts: no two processes ever have one secret to seal with ([`World::push`] asserts it), and in the end all seal and
//! open.

use super::*;

/// What happens to the boxes of a store that was set back.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// They live, and register again with the tokens they have.
    Live,
    /// They are killed, and others come.
    Restart,
    /// They are killed, the others come before the registrar is in touch with the other side.
    RestartBefore,
}

/// Two roll-overs, in the first of which a box is slow, and a restart of each box.
fn played(scope: Scope) -> World {
    let mut world = World::with_scope(1, scope);
    world.history = Some(Vec::new());
    let mut world = World::up_with(world);
    let rotate = |world: &mut World, side: usize| {
        let effects = world.engines[side].rotate(world.now);
        world.apply(side, effects);
    };
    world.mute.insert(1);
    rotate(&mut world, 0);
    world.run(1000 * MS);
    assert_eq!((world.engines[0].active(), world.engines[0].newest()), (1, 2), "agreed, and not active");
    world.mute.clear();
    world.run(Generations::default().ack_timeout + 1000 * MS);
    assert_eq!(world.all_seal(), Some(2));
    for i in 0..2 {
        world.restart_box(i);
        world.connect_all();
        world.run(2000 * MS);
    }
    rotate(&mut world, 1);
    world.run(2000 * MS);
    assert_eq!(world.all_seal(), Some(5));
    world
}

fn rest(world: &mut World, what: &dyn std::fmt::Debug) {
    world.come_to_rest();
    assert!(world.all_seal() > Some(5), "{what:?}: {:?}", world.boxes.iter().map(BoxState::seals).collect::<Vec<_>>());
    world.check_open();
}

#[test]
fn stores_that_are_set_back_to_any_step() {
    for scope in [Scope::Node, Scope::Client] {
        let steps = played(scope).history.expect("a history").len();
        assert!(steps > 20, "{steps}");
        for step in 0..steps {
            // One side; both to the same time; both to different times.
            for to in [[Some(step), None], [None, Some(step)], [Some(step); 2], [Some(step), Some(step * 7 % steps)]] {
                for fate in [Fate::Live, Fate::Restart, Fate::RestartBefore] {
                    let mut world = played(scope);
                    let history = world.history.take().expect("a history");
                    for (side, to) in to.into_iter().enumerate() {
                        if let Some(snapshot) = to.and_then(|to| history.get(to)) {
                            world.set_back(side, &snapshot.stores[side]);
                        }
                    }
                    if matches!(fate, Fate::Restart | Fate::RestartBefore) {
                        (0..2).for_each(|i| world.restart_box(i));
                    }
                    if matches!(fate, Fate::RestartBefore) {
                        world.connect_all();
                    }
                    world.set_link(true);
                    world.connect_all();
                    world.come_to_rest();
                    let what = (scope, to, fate);
                    assert!(world.all_seal().is_some(), "{what:?}");
                    world.check_open();
                }
            }
        }
    }
}

/// Set back, used for a while, and then replaced by the copy of a later time: its numbers are those of others.
#[test]
fn a_store_that_is_set_back_and_then_forth() {
    let steps = played(Scope::Node).history.expect("a history").len();
    for step in 0..steps {
        let mut world = played(Scope::Node);
        let history = world.history.take().expect("a history");
        let later = world.stores.clone();
        for side in 0..2 {
            world.set_back(side, &history[step].stores[side]);
        }
        world.come_to_rest();
        for i in 0..2 {
            world.restart_box(i);
        }
        world.set_back(0, &later[0]);
        world.come_to_rest();
        assert!(world.all_seal().is_some(), "step {step}");
        world.check_open();
    }
}

/// What `active` says in a store that was set back is not believed before the other side has confirmed it.
#[test]
fn an_older_generation_does_not_come_back_into_use() {
    let world = played(Scope::Node);
    for snapshot in world.history.as_ref().expect("a history") {
        let mut world = played(Scope::Node);
        world.set_link(false);
        world.set_back(0, &snapshot.stores[0]);
        let secret = |world: &World| Some(world.boxes[0].keys.as_ref()?.sealing.as_ref()?.secret.clone());
        let before = secret(&world);
        world.connect(0).expect("registered");
        world.run(3000 * MS);
        let now = secret(&world);
        assert!(now.is_none() || now == before, "{:?}", world.boxes[0].seals());
    }
}

/// A snapshot of a box's machine, taken at any step, is resumed at the end, beside the box or in its place, and the clone
/// or the original registers first.
#[test]
fn snapshots_of_boxes_taken_at_any_step() {
    let steps = played(Scope::Node).history.expect("a history").len();
    let mut stale = 0;
    for (step, noticed, original_first) in
        (0..steps).flat_map(|s| [(s, true, true), (s, true, false), (s, false, true), (s, false, false)])
    {
        let mut world = played(Scope::Node);
        let history = world.history.take().expect("a history");
        let snapshot = &history[step].boxes[0];
        if !noticed && snapshot.token == world.boxes[0].token {
            continue; // nothing tells the two apart but the machine itself
        }
        stale += usize::from(!noticed);
        let clone = world.resume(snapshot);
        if noticed {
            world.becomes_new(clone);
        }
        let what = (step, noticed, original_first);
        let (first, second) = if original_first { (0, clone) } else { (clone, 0) };
        world.disconnect(0);
        world.connect(first).expect("the place is free");
        assert!(matches!(world.connect(second), Err(Denied::Taken { .. })), "{what:?}");
        world.run(3000 * MS);
        let effects = world.engines[0].rotate(world.now);
        world.apply(0, effects);
        world.run(3000 * MS);
        // They change places.
        world.disconnect(first);
        world.connect(second).expect("the place is free");
        assert!(matches!(world.connect(first), Err(Denied::Taken { .. })), "{what:?}");
        world.run(15_000 * MS);
        assert!(world.boxes[second].seals().is_some(), "{what:?}");
        rest(&mut world, &what);
    }
    assert!(stale > 10, "{stale}");
}
