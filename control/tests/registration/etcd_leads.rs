//! Several registrars of a side on an etcd of three: any serves any box, one leads, and whatever dies, the boxes keep their
//! generation and the next one follows.

use crate::lab::{Lab, SimBox, audit, free_port, shown, wait_for};
use rig::etcd_cluster::{Etcd, MEMBERS};
use rustix::process::{Pid, Signal, kill_process};
use std::ops::{Deref, DerefMut};
use std::time::Duration;

pub fn etcd(lab: &Lab) -> Etcd {
    Etcd::new(&lab.path("."), None, std::array::from_fn(|_| free_port()))
}

/// A side whose two registrars are on etcd, and the other with one. Boxes end first.
pub struct Side {
    /// Two in the west, each of which begins at another registrar, and one in the east.
    pub boxes: Vec<SimBox>,
    pub lab: Lab,
    pub etcd: Etcd,
    /// Which side is on etcd.
    pub side: usize,
    /// Its registrars.
    pub numbers: [usize; 2],
}

impl Deref for Side {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

impl DerefMut for Side {
    fn deref_mut(&mut self) -> &mut Lab {
        &mut self.lab
    }
}

impl Side {
    fn up() -> Self {
        Self::of(0, "")
    }

    /// With more lines in `[etcd]`.
    pub fn of(side: usize, lines: &str) -> Self {
        let lab = Lab::new();
        let mut etcd = etcd(&lab);
        etcd.start_all().expect("etcd");
        Self::on(lab, etcd, side, lines)
    }

    pub fn on(mut lab: Lab, etcd: Etcd, side: usize, lines: &str) -> Self {
        lab.etcd[side] = Some(etcd.lines() + lines);
        let numbers = [side, lab.add(side, free_port())];
        let mut settings = [(0, 1), (0, 3), (1, 2)].map(|(side, number)| (side, lab.node(side, number)));
        let places = numbers.map(|n| lab.address(n));
        for (n, (_, settings)) in settings.iter_mut().filter(|(of, _)| *of == side).enumerate() {
            settings.registrars = [n, 1 - n].map(|m| places[m].clone()).to_vec();
        }
        (0..3).for_each(|n| lab.start(n));
        let boxes = settings.into_iter().map(|(_, settings)| SimBox::start(settings)).collect();
        let this = Self { boxes, lab, etcd, side, numbers };
        this.converged("both sides seal");
        this
    }

    pub fn leader(&self) -> Option<usize> {
        self.lab.leader(self.side)
    }

    /// Waits for one.
    pub fn led(&self) -> usize {
        let mut leader = None;
        wait_for("one leads", || {
            leader = self.leader();
            leader.is_some()
        });
        leader.expect("one")
    }

    pub fn fellow(&self, number: usize) -> usize {
        self.numbers[usize::from(number == self.numbers[0])]
    }

    pub fn says(&self, number: usize, words: &str) -> usize {
        self.log(number).matches(words).count()
    }

    pub fn signal(&self, n: usize, signal: Signal) {
        kill_process(Pid::from_raw(self.pid(n).cast_signed()).expect("a process"), signal).expect("a signal");
    }

    fn converged(&self, what: &str) {
        let [a, c, b] = self.boxes.as_slice() else { unreachable!("three boxes") };
        wait_for(what, || a.opens(b) && c.opens(b) && b.opens(a) && b.opens(c));
    }

    pub fn registered(&self) -> bool {
        self.boxes.iter().all(|b| b.registration.registered())
    }

    /// All move on to a later generation.
    pub fn rotates(&self) {
        let before = self.boxes[0].generation();
        self.lab.rotate(self.led()).expect("an answer");
        wait_for("all have moved on", || self.boxes.iter().all(|b| b.generation() > before));
        self.converged("all open each other");
    }

    /// No secret was used by two, nor shown.
    pub fn check(&self) {
        let held: Vec<_> = self.boxes.iter().map(|b| b.held.lock().expect("held")).collect();
        audit(held.iter().map(|h| &**h));
        let names = self.etcd.ok(&["get", "", "--from-key", "--keys-only"]).expect("keys");
        assert!(names.contains("/manifest\n") && names.contains("/records/"), "the store is there: {names}");
        let dump = self.etcd.ok(&["get", "", "--from-key", "-w", "json"]).expect("values in base64");
        let secrets: Vec<_> = held.iter().flat_map(|h| h.sealed.iter().map(|s| s.1.clone())).collect();
        let texts: Vec<_> = (0..3).map(|n| self.log(n)).chain([dump]).collect();
        assert_eq!(shown(&texts, &secrets).map(|(_, shown)| shown), None);
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.name(2), self.log(2));
        }
    }
}

#[test]
fn a_follower_serves_a_box_and_the_leader_may_die() {
    let mut side = Side::up();
    let leader = side.led();
    let follower = side.status(side.fellow(leader));
    let named = (follower["role"].as_str(), follower["leader"].as_str());
    assert_eq!(named, (Some("follower"), Some(side.name(leader))));
    side.rotates();
    let before: Vec<_> = side.boxes.iter().map(SimBox::sealing).collect();
    let made = side.status(1)["peers"][0]["generations_total"].clone();
    side.kill(leader);
    wait_for("the other leads", || side.leader() == Some(side.fellow(leader)));
    wait_for("all are registered", || side.registered());
    wait_for("the link is up", || side.status(1)["peers"][0]["connected"] == true);
    assert_eq!(side.boxes.iter().map(SimBox::sealing).collect::<Vec<_>>(), before, "no new generation");
    assert_eq!(side.status(1)["peers"][0]["generations_total"], made);
    side.rotates();
    side.check();
}

/// The same for the server primary: the client's list of addresses leads it to whoever leads now.
#[test]
fn the_leader_of_the_server_side_may_die() {
    let mut side = Side::of(1, "");
    side.rotates();
    for _ in 0..2 {
        let leader = side.led();
        side.kill(leader);
        wait_for("the other leads", || side.leader() == Some(side.fellow(leader)));
        wait_for("the link is up", || side.status(0)["peers"][0]["connected"] == true);
        wait_for("all are registered", || side.registered());
        side.rotates();
        side.start(leader);
    }
    side.check();
}

/// Told to end, a leader does not let the others wait for its lease.
#[test]
fn a_leader_that_is_told_to_end_gives_its_lease_up() {
    let mut side = Side::of(0, "ttl = \"60s\"\n");
    let leader = side.led();
    side.stop(leader, Signal::TERM).expect("an end");
    wait_for("the other leads", || side.leader() == Some(side.fellow(leader)));
    wait_for("all are registered", || side.registered());
    side.rotates();
    assert_eq!(side.says(leader, "the leader's lease is not renewed"), 0);
    side.check();
}

#[test]
fn the_leader_of_etcd_dies_and_all_of_it_is_gone_for_a_while() {
    let mut side = Side::up();
    let first = side.etcd.leader().expect("etcd has a leader");
    side.etcd.kill(first).expect("killed");
    side.rotates();
    side.etcd.kill_all().expect("killed");
    std::thread::sleep(Duration::from_secs(4));
    assert!(side.boxes.iter().all(|b| b.sealing().is_some()), "boxes go on");
    assert_eq!(side.leader(), None);
    (0..MEMBERS).for_each(|n| side.etcd.start(n).expect("etcd"));
    side.rotates();
    side.check();
}

#[test]
fn a_deposed_leader_does_nothing() {
    let side = Side::up();
    let old = side.led();
    let other = side.fellow(old);
    side.signal(old, Signal::STOP);
    wait_for("the other leads", || side.status(other)["role"] == "leader");
    let made = side.status(1)["peers"][0]["generations_total"].clone();
    side.signal(old, Signal::CONT);
    wait_for("it follows", || side.status(old)["role"] == "follower");
    wait_for("all are registered", || side.registered());
    assert_eq!(side.leader(), Some(other));
    assert_eq!(side.status(1)["peers"][0]["generations_total"], made);
    side.rotates();
    side.check();
}
