//! Any order of words, deaths and silences: never two on the ports, never two with the keys' state, and never nobody for good.

use super::steps::{Act, Heard, Holds};
use proptest::prelude::*;
use std::collections::VecDeque;

/// What the new process is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Greets,
    Prepares,
    AsksForPorts,
    Forwards,
    Ended,
}

/// What it is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    Here,
    Prepared,
    Given,
    Refused,
}

/// Who has something that only one may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Has {
    ports: bool,
    state: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Event {
    OldTurns,
    NewTurns,
    OldDies,
    NewDies,
    /// The old one has waited for long enough.
    OldLosesPatience,
    /// What the old one does next of what it was asked for fails.
    OldFails,
    NewFails,
}

#[derive(Debug)]
struct World {
    old: Option<Holds>,
    /// The old one speaks with the new one no more.
    closed: bool,
    fails: bool,
    old_has: Has,
    stage: Stage,
    asked: bool,
    new_has: Has,
    to_old: VecDeque<Heard>,
    to_new: VecDeque<Answer>,
    killed: [bool; 2],
    /// The new one holds ports beside the old one's.
    beside: bool,
}

impl World {
    fn new(beside: bool) -> Self {
        let old_has = Has { ports: true, state: true };
        Self {
            old: Some(Holds::Everything),
            closed: false,
            fails: false,
            old_has,
            stage: Stage::Greets,
            asked: false,
            new_has: Has::default(),
            to_old: VecDeque::new(),
            to_new: VecDeque::new(),
            killed: [false; 2],
            beside,
        }
    }

    fn new_ends(&mut self) {
        (self.stage, self.new_has) = (Stage::Ended, Has::default());
    }

    fn old_ends(&mut self) {
        (self.old, self.old_has) = (None, Has::default());
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::OldTurns => {
                let said = self.to_old.pop_front();
                // What one said last that is no more is not believed, if it was that it forwards.
                let said =
                    said.map(|said| if said == Heard::Done && self.stage == Stage::Ended { Heard::Lost } else { said });
                let heard = said.or_else(|| (self.stage == Stage::Ended).then_some(Heard::Lost));
                heard.into_iter().for_each(|heard| self.old_hears(heard));
            }
            Event::NewTurns => self.new_turns(),
            Event::OldDies => {
                self.killed[0] = true;
                self.old_ends();
            }
            Event::NewDies => {
                self.killed[1] = true;
                self.new_ends();
            }
            Event::OldLosesPatience => self.old_hears(Heard::Lost),
            Event::OldFails => self.fails = true,
            // Once it forwards it fails no more: it dies, as any box may.
            Event::NewFails if !matches!(self.stage, Stage::Ended | Stage::Forwards) => {
                self.to_old.push_back(Heard::Lost);
                self.new_ends();
            }
            Event::NewFails => {}
        }
        let World { old_has, new_has, .. } = &*self;
        assert!(!(old_has.ports && new_has.ports), "two on the ports: {self:?}");
        assert!(!(old_has.state && new_has.state), "two with the keys' state: {self:?}");
    }

    fn old_hears(&mut self, heard: Heard) {
        let Some(holds) = self.old.filter(|_| !self.closed) else { return };
        let (next, acts) = holds.hear(heard);
        self.old = Some(next);
        for act in acts {
            let may_fail = matches!(act, Act::LetKeysGo | Act::GivePortsUp | Act::LeavePortsAlone);
            if may_fail && std::mem::take(&mut self.fails) {
                self.to_new.push_back(Answer::Refused);
                return self.old_hears(Heard::Lost);
            }
            match act {
                Act::Introduce => self.to_new.push_back(Answer::Here),
                Act::LetKeysGo => {
                    self.old_has.state = false;
                    self.to_new.push_back(Answer::Prepared);
                }
                // Either way it forwards no more.
                Act::GivePortsUp | Act::LeavePortsAlone => {
                    self.old_has.ports = false;
                    self.to_new.push_back(Answer::Given);
                }
                Act::EndTheOther => self.new_ends(),
                Act::TakePortsUp => self.old_has.ports = true,
                Act::TakeKeysBack => self.old_has.state = true,
                Act::Leave => self.old_ends(),
                Act::Close => self.closed = true,
            }
        }
    }

    fn new_turns(&mut self) {
        let (says, answer, next) = match self.stage {
            Stage::Greets => (Heard::Hello, Answer::Here, Stage::Prepares),
            Stage::Prepares => (Heard::Prepare, Answer::Prepared, Stage::AsksForPorts),
            Stage::AsksForPorts if self.beside => (Heard::StepAside, Answer::Given, Stage::Forwards),
            Stage::AsksForPorts => (Heard::Give, Answer::Given, Stage::Forwards),
            Stage::Forwards | Stage::Ended => return,
        };
        if !std::mem::replace(&mut self.asked, true) {
            self.to_old.push_back(says);
            return;
        }
        match self.to_new.pop_front() {
            Some(said) if said == answer => {}
            Some(_) => return self.new_ends(),
            // It goes on without the old one when that has ended, and knows enough of it.
            None if self.old.is_none() && self.stage != Stage::Greets => {}
            None if self.closed || self.old.is_none() => return self.new_ends(),
            None => return,
        }
        match next {
            Stage::AsksForPorts => self.new_has.state = true,
            Stage::Forwards => {
                self.new_has.ports = true;
                self.to_old.push_back(Heard::Done);
            }
            _ => {}
        }
        (self.stage, self.asked) = (next, false);
    }

    /// Nothing more comes from outside: words arrive, and patience ends.
    fn settles(&mut self) {
        for _ in 0..4 {
            for _ in 0..20 {
                self.happens(Event::NewTurns);
                self.happens(Event::OldTurns);
            }
            // Whoever still waits has waited for long enough.
            if self.stage != Stage::Forwards || !self.to_old.is_empty() {
                self.happens(Event::OldLosesPatience);
            }
        }
    }
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        8 => Just(Event::OldTurns),
        8 => Just(Event::NewTurns),
        1 => Just(Event::OldDies),
        1 => Just(Event::NewDies),
        1 => Just(Event::OldLosesPatience),
        1 => Just(Event::OldFails),
        1 => Just(Event::NewFails),
    ];
    prop::collection::vec(event, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn one_forwards_as_long_as_one_lives(events in events(), beside in any::<bool>()) {
        let mut world = World::new(beside);
        events.into_iter().for_each(|event| world.happens(event));
        let both_killed = world.killed == [true; 2];
        let took_over_and_died = world.old.is_none() && world.killed[1];
        world.settles();
        let (old, new) = (world.old.is_some(), world.stage != Stage::Ended);
        // Nobody but those two who could: a supervisor starts the box again.
        let early = world.killed[0] && !new;
        prop_assert!(old || new || both_killed || took_over_and_died || early, "{world:?}");
        prop_assert_eq!(world.old_has.ports || world.new_has.ports, old || new, "{:?}", world);
        prop_assert_eq!(world.old_has.state || world.new_has.state, old || new, "{:?}", world);
    }
}

#[test]
fn undisturbed_the_new_one_has_all_and_the_old_one_ends() {
    for beside in [false, true] {
        let mut world = World::new(beside);
        for _ in 0..12 {
            world.happens(Event::NewTurns);
            world.happens(Event::OldTurns);
        }
        assert_eq!((world.old, world.stage), (None, Stage::Forwards));
        assert_eq!(world.new_has, Has { ports: true, state: true });
    }
}

#[test]
fn the_place_is_beside_the_admin_socket_and_is_not_taken_for_one() {
    let place = super::place(std::path::Path::new("/run/pdmv2/box.sock"));
    assert_eq!(place, std::path::Path::new("/run/pdmv2/box.take-over"));
}
