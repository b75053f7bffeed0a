//! A port whose interface is deleted under the box, and made again: the box lives on, and takes it up by itself.

use crate::boxes::{Registered, SOON, start, turn, wait_for};
use crate::hosts::{http, metric, metrics};
use rig::counters::{Counters, contradictions};
use rig::forwarders::{BoxConfig, Keys};
use rig::{Rig, Side};
use rustix::process::Signal;
use std::collections::BTreeMap;

const PORT: u16 = 9469;
const ROUNDS: u32 = 3;

/// All counters of a box, by name and labels.
fn counters(rig: &Rig, side: Side) -> BTreeMap<String, f64> {
    let text = metrics(rig, side, PORT);
    let value = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        let counts = ["_total", "_count", "_sum", "_bucket"]
            .iter()
            .any(|end| name.ends_with(end) || name.contains(&format!("{end}{{")));
        Some((name.to_owned(), value.parse().ok()?)).filter(|_| counts)
    };
    text.lines().filter(|line| !line.starts_with('#')).filter_map(value).collect()
}

/// What ran backwards, or is told of no more.
fn backwards(before: &BTreeMap<String, f64>, now: &BTreeMap<String, f64>) -> Vec<String> {
    let less = |(name, was): (&String, &f64)| {
        let is = now.get(name).copied().unwrap_or(f64::NEG_INFINITY);
        (is < *was).then(|| format!("{name}: {was}, then {is}"))
    };
    before.iter().filter_map(less).collect()
}

fn gone(rig: &Rig, side: Side, port: &str) -> bool {
    metric(rig, side, PORT, &format!("pdmv2_port_device_gone{{port=\"{port}\"}}")) == Some(1.0)
}

/// The box's own word of it, for people and for programs.
fn assert_told_of(rig: &Rig, side: Side) {
    let (code, status) = http(rig, side, PORT, "/v1/status").expect("an answer");
    assert_eq!(code, 200, "{status}");
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    let ports = &status["ports"];
    let seen = [&ports[0]["device_gone"], &ports[1]["device_gone"], &ports[1]["link_up"]];
    assert_eq!(seen, [false, true, false], "{ports}");
    let (_, page) = http(rig, side, PORT, "/").expect("the page");
    assert!(page.contains("The device of the outside port is gone"), "{page}");
}

#[test]
fn e2e_a_port_that_is_lost_is_let_go_of_and_taken_up_again() {
    let Some(_turn) = turn() else { return };
    let config = BoxConfig { keys: Keys::Registrar, telemetry: Some(PORT), admin: true, ..BoxConfig::default() };
    let Registered { boxes, rig, registrars, .. } = Registered::up(|_, _| {}, |rig, side| start(rig, side, &config));
    let mut before = Side::BOTH.map(|side| counters(&rig, side));
    let mut check = |rig: &Rig| {
        let now = Side::BOTH.map(|side| counters(rig, side));
        let back: Vec<_> = before.iter().zip(&now).flat_map(|(before, now)| backwards(before, now)).collect();
        assert_eq!(back, Vec::<String>::new(), "counters run forwards");
        before = now;
    };
    for round in 0..ROUNDS {
        let pings = rig.ping(Side::A, Side::B.address(), 50, 10).expect("ping");
        assert_eq!(
            pings.received,
            pings.sent,
            "round {round}: {}",
            Side::BOTH.map(|side| metrics(&rig, side, PORT)).concat()
        );
        check(&rig);
        // Traffic goes on while it happens.
        std::thread::scope(|scope| {
            let during = scope.spawn(|| rig.ping(Side::A, Side::B.address(), 100, 10).expect("ping"));
            rig.cut_wire().expect("a wire to cut");
            for side in Side::BOTH {
                wait_for("the loss", || gone(&rig, side, "outside") && !gone(&rig, side, "inside"));
                assert_told_of(&rig, side);
            }
            let during = during.join().expect("pings");
            assert!(during.received < during.sent, "{during:?}");
        });
        check(&rig);
        for side in Side::BOTH {
            let age = metric(&rig, side, PORT, "pdmv2_worker_turn_age_seconds{worker=\"0\"}").expect("an age");
            assert!(age < 5.0, "a worker without ports makes turns: {age}");
        }
        rig.lay_wire().expect("a wire");
        for side in Side::BOTH {
            wait_for("the port", || !gone(&rig, side, "outside"));
        }
        rig.connect(SOON).expect("hosts that reach each other again");
        check(&rig);
    }
    for side in Side::BOTH {
        for (port, times) in [("inside", 0), ("outside", ROUNDS)] {
            for name in ["lost", "taken_up"] {
                let name = format!("pdmv2_port_{name}_total{{port=\"{port}\"}}");
                assert_eq!(metric(&rig, side, PORT, &name), Some(f64::from(times)), "{side:?}: {name}");
            }
        }
    }
    rig.quiesce().expect("silence");
    boxes.iter().for_each(|running| running.signal(Signal::TERM));
    for (side, mut running) in Side::BOTH.into_iter().zip(boxes) {
        let status = running.wait(SOON).expect("an end");
        assert!(status.success(), "{status}:\n{}", running.tail());
        let counters = Counters::parse(&running.out()).expect("counters");
        assert_eq!(contradictions(side.node(), &counters), Vec::<String>::new(), "{}", counters.0);
        assert_eq!(counters.policies("failed"), 0, "{}", counters.0);
        let said = running.log().matches("the kernel's interface").count();
        assert_eq!(said, ROUNDS as usize, "each loss is told once:\n{}", running.tail());
    }
    drop(registrars);
}
