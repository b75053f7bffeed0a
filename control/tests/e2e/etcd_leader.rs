//! The west has two registrars on an etcd of three: kill -9 of whatever keeps or leads them, under an established TCP
//! connection.

use crate::boxes::{Registered, end_running_quietly, turn, wait_for};
use crate::faults::{Audited, assert_nothing_lost, back};
use crate::stream::Stream;
use rig::Side;
use rig::etcd_cluster::{Etcd, MEMBERS};
use std::time::{Duration, Instant};

/// So long all of etcd is gone: longer than a leader's lease.
const GONE: Duration = Duration::from_secs(4);

/// Rotates, and gives the generation that all have come to, within the time there is since `began`.
fn rotated(faults: &Registered, above: u32, began: Instant) -> u32 {
    wait_for("a registrar that leads", || {
        faults.registrars.leader(0).is_some_and(|leader| faults.registrars.rotate(leader).is_ok())
    });
    let generation = back(&faults.registrars, &faults.boxes, above, began);
    eprintln!("generation {generation} after {} ms", began.elapsed().as_millis());
    assert_nothing_lost(&faults.rig);
    generation
}

#[test]
fn e2e_a_tcp_connection_does_not_notice_that_etcd_or_its_leading_registrar_dies() {
    let Some(_turn) = turn() else { return };
    let mut audited = Audited { registrars: [2, 1], ..Audited::default() };
    let mut kept: Option<(Etcd, usize)> = None;
    let mut faults = Registered::up(
        |rig, registrars| kept = Some(rig.on_etcd(registrars, Side::A).expect("etcd")),
        |rig, side| audited.start(rig, side),
    );
    let (mut etcd, second) = kept.expect("an etcd");
    let stream = Stream::start(&faults.rig, 5001);
    stream.goes_on("at first");

    // etcd's leader; it comes back later, for the others to have a majority whichever dies next.
    let first = etcd.leader().expect("etcd has a leader");
    let began = Instant::now();
    etcd.kill(first).expect("killed");
    let mut generation = rotated(&faults, faults.generation, began);
    stream.goes_on("without a member of etcd");
    etcd.start(first).expect("etcd");

    // The registrar that leads, twice: each has been the other's fellow then.
    for _ in 0..2 {
        let leader = faults.registrars.leader(0).expect("one leads");
        let began = Instant::now();
        faults.registrars.kill(leader).expect("killed");
        generation = rotated(&faults, generation, began);
        assert_ne!(faults.registrars.leader(0), Some(leader));
        stream.goes_on("with another registrar");
        faults.registrars.start_and_wait(leader).expect("a registrar");
    }

    etcd.kill_all().expect("killed");
    std::thread::sleep(GONE);
    assert_eq!([0, second].map(|n| faults.registrars.status(n).expect("a status")["role"] == "leader"), [false; 2]);
    stream.goes_on("without etcd");
    assert_nothing_lost(&faults.rig);
    let began = Instant::now();
    (0..MEMBERS).for_each(|n| etcd.start(n).expect("etcd"));
    rotated(&faults, generation, began);
    stream.goes_on("at last");

    let octets = stream.end();
    let Registered { rig, registrars, boxes, .. } = faults;
    for counters in end_running_quietly(&rig, boxes) {
        assert_eq!(counters.get("/outbound/passed/no_key"), 0, "sealed throughout: {}", counters.0);
    }
    drop(registrars);
    let pairs = audited.check();
    assert!(pairs.len() == 2 && pairs.iter().all(|&n| n > 50), "pairs by process: {pairs:?}");
    eprintln!("{octets} octets there and back; (key, nonce) pairs by process: {pairs:?}");
}
