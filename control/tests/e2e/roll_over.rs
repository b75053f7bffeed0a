//! New keys all the time, under load.

use crate::boxes::{Registered, SOON, end_running_quietly, start, turn};
use rig::forwarders::{BoxConfig, Keys};
use rig::registrars::Registrars;
use rig::{Rig, Side};
use std::time::{Duration, Instant};

/// Seconds with a generation each.
const SECONDS: u32 = 30;
/// Seconds of each run without, before and after.
const BESIDE: u32 = 6;

/// One generation a second for 30 seconds, with iperf3 through both boxes: nothing is refused, and TCP does not mind.
#[test]
fn e2e_a_generation_every_second_under_load() {
    let Some(_turn) = turn() else { return };
    let config = BoxConfig { keys: Keys::Registrar, ..BoxConfig::default() };
    // Nobody dies here: a box that is long about it is waited for.
    let patient = |_: &Rig, registrars: &mut Registrars| {
        registrars.times = "coalesce = \"100ms\"\nack_timeout = \"60s\"\n".into();
    };
    let up = Registered::up(patient, |rig, side| start(rig, side, &config));
    let Registered { rig, registrars, boxes: running, generation: first } = up;

    let mbits = |seconds| rig.tcp(Side::A, seconds).expect("iperf3").bits_per_second / 1e6;
    let before = mbits(BESIDE);
    let during = std::thread::scope(|scope| {
        let asked = &registrars;
        let rotating = scope.spawn(move || {
            let began = Instant::now();
            for second in 1..SECONDS {
                let due = Duration::from_secs(second.into());
                std::thread::sleep(due.saturating_sub(began.elapsed()));
                asked.rotate((second % 2) as usize).expect("a registrar that answers");
            }
        });
        let during = mbits(SECONDS);
        rotating.join().expect("all asked for");
        during
    });
    let after = mbits(BESIDE);
    let last = registrars.settle(&running.each_ref(), first, SOON).expect("keys");
    let generations = last - first;
    let without = f64::midpoint(before, after);
    eprintln!(
        "TCP: {before:.0} Mbit/s before, {during:.0} with {generations} generations in {SECONDS} s, {after:.0} after"
    );
    // A machine that does a lot besides may make one of two that were asked for.
    assert!(generations >= SECONDS * 2 / 3, "{generations} generations only");
    assert!(during > without / 2.0, "{during:.0} Mbit/s with new keys all the time, {without:.0} without");
    let counters = end_running_quietly(&rig, running);
    for counters in &counters {
        assert!(counters.get("/inbound/removed/encrypted") > 1000, "{}", counters.0);
        assert_eq!(counters.get("/outbound/passed/no_key"), 0, "sealed throughout");
    }
}
