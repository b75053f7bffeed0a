//! Numbers that the other side says.

use super::super::numbers::AHEAD;
use super::*;

fn state(newest: u32) -> News {
    News::State { newest, ready: 1, fingerprint: None }
}

#[test]
fn a_number_that_cannot_be_is_not_taken() {
    for side in 0..2 {
        for number in [u32::MAX, u32::MAX - 1, 1 << 31, AHEAD + 2 + 16 * 3] {
            let mut world = World::up(1);
            let effects = world.engines[side].news(world.now, state(number));
            let told = effects.actions.iter().find_map(|a| match a {
                Action::Tell(News::Trouble { reason }) => Some(reason.clone()),
                _ => None,
            });
            let told = told.expect("the other side hears it");
            assert!(told.contains(&format!("generation {number} ")) && told.contains("above 1,"), "{told}");
            assert!(told.contains("move the stores of both sides away"), "{told}");
            assert_eq!(world.engines[side].status(world.now).last_error, Some(told));
            world.apply(side, effects);
            assert_eq!(world.engines[side].last(), 1);
            // In a log it stands now and then, and not as often as it comes.
            for _ in 0..100 {
                assert!(world.engines[side].news(world.now, state(number)).actions.is_empty());
            }
            world.run(20_000 * MS);
            assert_eq!((world.negotiations, world.all_seal()), (1, Some(1)), "nothing follows from it");
            let effects = world.engines[side].rotate(world.now);
            world.apply(side, effects);
            world.run(2000 * MS);
            assert_eq!(world.all_seal(), Some(2), "and all goes on");
        }
    }
}

#[test]
fn a_rotation_request_for_a_number_that_nobody_has_is_none() {
    let mut world = World::up(1);
    for above in [2, 1000, u32::MAX] {
        let effects = world.engines[0].news(world.now, News::RotationRequest { above, reason: "more and more".into() });
        world.apply(0, effects);
        world.run(20_000 * MS);
        assert_eq!((world.negotiations, world.all_seal()), (1, Some(1)), "above {above}");
    }
    let effects = world.engines[0].news(world.now, News::RotationRequest { above: 1, reason: "one more".into() });
    world.apply(0, effects);
    world.run(20_000 * MS);
    assert_eq!((world.negotiations, world.all_seal()), (2, Some(2)));
}

/// A primary that does nothing but use numbers up needs years.
#[test]
fn numbers_are_not_used_up_step_by_step() {
    let mut world = World::up(1);
    for _ in 0..60 {
        // As large as is taken, found by halving.
        for bit in (0..32).rev() {
            let next = world.engines[1].last().saturating_add(1 << bit);
            let _ = world.engines[1].news(world.now, state(next));
        }
        world.now += 60_000 * MS;
    }
    let last = world.engines[1].last();
    assert!(last > AHEAD && last < AHEAD + 16 * 3700, "{last} after an hour");
    // Neither by what a negotiation brings.
    let now = world.now;
    for (number, good) in [(0, true), (last, true), (last + 16 * 60, true), (last + AHEAD, false), (u32::MAX, false)] {
        assert_eq!(world.engines[1].plausible(now, number).is_ok(), good, "{number}");
    }
}

/// A side that has lost its store, or got a new one, comes together with one that has made many generations.
#[test]
fn a_store_that_was_lost_after_many_generations() {
    for side in 0..2 {
        for number in [70_000, AHEAD - 1] {
            let mut world = World::up(1);
            let agreed = world.agreed(number, &[9; 32]);
            for side in [1, 0] {
                let (now, wall) = (world.now, world.wall());
                let effects = world.engines[side].negotiated(now, wall, &agreed);
                world.apply(side, effects);
            }
            world.run(3000 * MS);
            assert_eq!(world.all_seal(), Some(number));
            world.stores[side].clear();
            world.restart_registrar(side);
            world.come_to_rest();
            assert!(world.all_seal() > Some(number), "{side} {:?}", world.all_seal());
            world.check_open();
        }
    }
}

/// Two generations of one number: both primaries were set back, made one anew, and then one of them got the later copy.
#[test]
fn two_generations_of_one_number_are_told_apart() {
    let mut world = World::up(1);
    let before = world.stores.clone();
    let effects = world.engines[0].rotate(world.now);
    world.apply(0, effects);
    world.run(2000 * MS);
    assert_eq!(world.all_seal(), Some(2));
    // The east's box is away from here on, and hears of nothing.
    world.disconnect(1);
    let later = world.stores.clone();
    (0..2).for_each(|side| world.set_back(side, &before[side]));
    world.set_link(true);
    world.connect(0).expect("registered");
    world.run(Generations::default().ack_timeout + 2000 * MS);
    assert_eq!((world.engines[0].newest(), world.engines[1].newest()), (2, 2));
    world.set_back(1, &later[1]);
    world.set_link(true);
    world.connect(1).expect("registered");
    assert_eq!(world.boxes[1].seals(), Some(2), "the process goes on with what it has");
    world.come_to_rest();
    assert!(world.all_seal() > Some(2));
    world.check_open();
}
