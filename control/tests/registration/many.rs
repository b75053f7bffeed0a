//! Many boxes with one registrar: `PDMV2_NODES=2000` for as many as the issue names; fewer by default.

use crate::lab::{Lab, SimBox};
use control::pki::{Authority, Kind};
use control::private_file;
use control::registration::node::{self, Registration};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A bound on a hang, not a measurement.
const MINUTES: Duration = Duration::from_secs(300);

fn until(what: &str, done: impl Fn() -> bool) -> Duration {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < MINUTES, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    start.elapsed()
}

/// Resident memory of a process in octets.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or_default() * 1024
}

#[test]
fn many_boxes_register_and_roll_over() {
    let count: u16 = std::env::var("PDMV2_NODES").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
    let mut lab = Lab::new();
    lab.times = "coalesce = \"500ms\"\nack_timeout = \"60s\"\n".into();
    let mut authority = Authority::open(&lab.path("pki-west")).expect("the authority");
    let mut settings = Vec::new();
    for number in 10..10 + count {
        lab.grant(0, number);
        let one = lab.settings(0, number);
        let (issued, key) = authority.issue(Kind::Node, &one.name, &[], 1).expect("issued");
        private_file::write_new_public(&one.tls.certificate, issued.pem.as_bytes()).expect("written");
        private_file::write_new(&one.tls.key, key.as_bytes()).expect("written");
        settings.push(one);
    }
    let far = lab.node(1, 2);
    lab.start_both();
    let far = SimBox::start(far);
    until("the far box is there", || far.registration.registered());
    until("it listens", || lab.log(0).contains("ready"));
    let empty = resident(lab.pid(0));

    let all: Vec<_> = settings.iter().map(|_| Arc::<Registration>::default()).collect();
    let (sealing, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let wanted = Arc::new(AtomicUsize::new(1));
    let threads = {
        let (all, sealing, stop, wanted) = (all.clone(), Arc::clone(&sealing), Arc::clone(&stop), Arc::clone(&wanted));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            let runtime = runtime.expect("a runtime");
            for (settings, registration) in settings.into_iter().zip(&all) {
                runtime.spawn(node::run(settings, node::instance().expect("random"), Arc::clone(registration)));
            }
            let mut generations = vec![0; all.len()];
            while !stop.load(Ordering::Relaxed) {
                for (generation, registration) in generations.iter_mut().zip(&all) {
                    if let Some(received) = registration.take() {
                        received.acknowledge();
                        *generation = received.keys.sealing.as_ref().map_or(0, |s| s.generation as usize);
                    }
                }
                let least = wanted.load(Ordering::Relaxed);
                sealing.store(generations.iter().filter(|&&g| g >= least).count(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
            runtime.shutdown_timeout(Duration::from_secs(1));
        })
    };
    let nodes = usize::from(count);
    let registered = until("all have registered", || all.iter().all(|r| r.registrations() > 0));
    let first = until("all seal", || sealing.load(Ordering::Relaxed) == nodes);
    let active = lab.status(0)["peers"][0]["active"].as_u64().expect("a generation") as usize;
    let full = resident(lab.pid(0));
    wanted.store(active + 1, Ordering::Relaxed);
    lab.ok(&["registrar", "rotate", "--config", "west.toml"]);
    let rolled = until("all have rolled over", || {
        sealing.load(Ordering::Relaxed) == nodes && wanted.load(Ordering::Relaxed) == active + 1
    });
    let status = lab.status(0);
    println!(
        "{count} boxes: registered within {registered:?}, all sealing {first:?} later, rolled over within {rolled:?}; {} \
         generations; registrar {} KiB, {} octets a box",
        status["peers"][0]["generations_total"],
        full / 1024,
        full.saturating_sub(empty) / u64::from(count)
    );
    assert!(status["peers"][0]["generations_total"].as_u64() < Some(20), "coalesced");
    stop.store(true, Ordering::Relaxed);
    threads.join().expect("boxes");
}
