//! Many boxes on both sides: `PDMV2_NODES=2000` for as many on each; fewer by default.

use crate::lab::{Lab, SIDES, SimBox, wait_within};
use crate::light::{self, Light};
use common::identity::Kind;
use common::private_file;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tools::pki::Authority;

/// A bound on a hang, not a measurement.
const MINUTES: Duration = Duration::from_secs(300);
/// What a registrar may take for a box, however many the other side has.
const A_BOX: u64 = 64 << 10;
/// What it may take beside: it shows when there are few boxes only.
const BESIDE: u64 = 12 << 20;

fn until(what: &str, done: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    wait_within(MINUTES, what, done);
    start.elapsed()
}

/// Resident memory of a process in octets: what it has, and the most it ever had.
fn resident(pid: u32) -> [u64; 2] {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    ["VmRSS:", "VmHWM:"].map(|name| {
        let line = status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or_default() * 1024
    })
}

#[test]
fn many_boxes_register_and_roll_over() {
    let count: u16 = std::env::var("PDMV2_NODES").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
    let mut lab = Lab::new();
    lab.times = "coalesce = \"500ms\"\nack_timeout = \"60s\"\n".into();
    let mut settings = Vec::new();
    for side in 0..2u16 {
        let mut authority =
            Authority::open(&lab.path(&format!("pki-{}", SIDES[usize::from(side)]))).expect("the authority");
        for number in (10..10 + count).map(|n| n + side * count) {
            lab.grant(side.into(), number);
            let one = lab.settings(side.into(), number);
            let (issued, key) = authority.issue(Kind::Node, &one.name, &[], 1).expect("issued");
            private_file::write_new_public(&one.tls.certificate, issued.pem.as_bytes()).expect("written");
            private_file::write_new(&one.tls.key, key.as_bytes()).expect("written");
            settings.push(one);
        }
    }
    // One on each side that looks at what it gets.
    let (a, b) = (lab.node(0, 1), lab.node(1, 2));
    lab.start_both();
    let (a, b) = (SimBox::start(a), SimBox::start(b));
    until("the first two seal", || a.opens(&b) && b.opens(&a));
    let empty = resident(lab.pid(0))[0];

    let all: Vec<_> = settings.iter().map(|_| Arc::<Light>::default()).collect();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    for (settings, light) in settings.into_iter().zip(&all) {
        runtime.spawn(light::run(settings, Arc::clone(light)));
    }
    let sealing = |least: u32| all.iter().all(|l| l.generation.load(Ordering::Relaxed) >= least);
    let registered = until("all have registered", || all.iter().all(|l| l.registrations.load(Ordering::Relaxed) > 0));
    let first = until("all seal", || sealing(1));
    let active = || lab.status(0)["peers"][0]["active"].as_u64().expect("a generation") as u32;
    let (mut rolled, mut octets) = (Duration::ZERO, 0);
    for _ in 0..3 {
        let wanted = active() + 1;
        octets = all[0].changes.load(Ordering::Relaxed);
        lab.ok(&["registrar", "rotate", "--config", "west.toml"]);
        rolled = until("all have rolled over", || sealing(wanted));
        octets = all[0].changes.load(Ordering::Relaxed) - octets;
    }
    let opened = a.held.lock().expect("held").current.as_ref().map_or(0, |c| c.keys.opening.len());
    assert_eq!(opened, usize::from(count) + 1, "the far boxes, all of them");
    until("the two that look open each other", || a.opens(&b) && b.opens(&a));
    let status = lab.status(0);
    let [now, most] = resident(lab.pid(0));
    let a_box = |octets: u64| octets.saturating_sub(empty) / u64::from(count);
    println!(
        "{count} boxes on each side: registered within {registered:?}, all sealing {first:?} later, rolled over within \
         {rolled:?} by {octets} octets to each; {} generations; registrar {} KiB, {} octets a box ({} at the most)",
        status["peers"][0]["generations_total"],
        now / 1024,
        a_box(now),
        a_box(most),
    );
    assert!(status["peers"][0]["generations_total"].as_u64() < Some(30), "coalesced");
    let beside = if count < 1000 { BESIDE } else { 0 };
    assert!(most.saturating_sub(empty) < u64::from(count) * A_BOX + beside, "{} octets a box", a_box(most));
    runtime.shutdown_timeout(Duration::from_secs(1));
}
