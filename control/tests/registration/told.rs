//! What a registrar tells systemd, over the socket that it is given: ready, how it stands, alive, stopping.

use crate::lab::{Lab, SimBox, wait_for};
use rig::notified::Notified;
use std::time::Duration;

/// Gives west's registrar a socket in systemd's place, and all that comes over it.
fn listen(lab: &mut Lab) -> Notified {
    let place = lab.path("notify");
    let told = Notified::listen(&place).expect("a socket");
    let socket = format!("NOTIFY_SOCKET={}", place.display());
    lab.within[0] = vec!["env".to_owned(), socket, "WATCHDOG_USEC=2000000".to_owned()];
    told
}

fn has(told: &Notified, line: &str) -> bool {
    told.lines().iter().any(|told| told == line)
}

#[test]
fn systemd_is_told_that_a_registrar_is_ready_alive_how_it_stands_and_that_it_stops() {
    let mut lab = Lab::new();
    let told = listen(&mut lab);
    let (a, b) = (lab.node(0, 1), lab.node(1, 2));
    lab.start(0);
    wait_for("it is ready", || told.lines().first().is_some_and(|first| first == "READY=1"));
    wait_for("how it stands", || {
        has(&told, "STATUS=leads; east: no generation yet, NOT in touch; 0 of 1 boxes connected")
    });
    lab.start(1);
    let (_a, _b) = (SimBox::start(a), SimBox::start(b));
    wait_for("how it stands then", || {
        told.lines().iter().any(|told| {
            told.starts_with("STATUS=leads; east: generation ") && told.ends_with("; 1 of 1 boxes connected")
        })
    });
    wait_for("signs of life", || told.alive() >= 5);
    lab.stop(0, rustix::process::Signal::TERM).expect("stopped");
    wait_for("the stop", || told.lines().last().is_some_and(|last| last == "STOPPING=1"));
}

#[test]
fn a_registrar_that_stands_still_is_not_told_to_be_alive() {
    let mut lab = Lab::new();
    let told = listen(&mut lab);
    lab.fault = Some("registrar-stands-still");
    lab.start(0);
    wait_for("it is found", || lab.log(0).contains("the registrar has stood still for 1 s"));
    let before = told.alive();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(told.alive(), before, "{told:?}");
    assert!(has(&told, "STATUS=the registrar stands still"), "{told:?}");
}
