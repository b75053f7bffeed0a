//! Draft appendix B with real boxes: sealed only after its six steps, and what becomes of boxes without registrars.

use crate::boxes::{PDMV2, ROOMY, SOON, assert_form, end_running_quietly, start, stop, turn, wait_for};
use crate::stream::Stream;
use crate::{hosts, wire};
use protocol::wire::option::Form;
use rig::capture::Limits;
use rig::forwarders::{BoxConfig, Keys};
use rig::registrars::sealing;
use rig::running::Running;
use rig::{Rig, Side};
use std::path::Path;
use std::time::Duration;

const PORT: u16 = 9469;

fn config() -> BoxConfig {
    BoxConfig { keys: Keys::Registrar, telemetry: Some(PORT), ..BoxConfig::default() }
}

/// When a program has first logged a line with this, as it writes times: the clock is the same for all.
fn time_of(log: &str, what: &str) -> String {
    let line = log.lines().find(|l| l.contains(what)).unwrap_or_else(|| panic!("no line '{what}' in\n{log}"));
    line.split_whitespace().next().expect("a time").to_owned()
}

/// What is on the wire while the hosts talk, by what carries it.
fn on_the_wire(rig: &Rig, form: Option<Form>) {
    let wire = rig.capture_wire(Limits::default()).expect("captures");
    let pings = rig.ping(Side::A, Side::B.address(), 20, 10).expect("ping");
    assert_eq!(pings.received, pings.sent);
    hosts::exchange_udp(rig, 5002, (0..40).map(|i| i * 20));
    let wire = wire.map(stop);
    assert_form(&wire::measured(&wire.map(|path| wire::frames(&path)).concat()), form);
}

#[test]
fn e2e_boxes_seal_after_the_six_steps_and_not_before() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new(ROOMY).expect("rig");
    let mut registrars = rig.registrars(Path::new(PDMV2)).expect("registrars");
    // All is there but the way between the registrars: boxes register, and have nothing to seal with.
    rig.link_registrars(false).expect("no link");
    registrars.start_both().expect("registrars");
    let mut running = Side::BOTH.map(|side| start(&rig, side, &config()));
    for running in &mut running {
        running.wait_for(" registered ", SOON).expect("registration");
    }
    rig.connect(SOON).expect("hosts that reach each other");
    on_the_wire(&rig, None);
    assert!(running.iter().all(|r| sealing(r).is_none()), "{}", running[0].tail());
    for side in Side::BOTH {
        assert_eq!(hosts::metric(&rig, side, PORT, "pdmv2_registration_state"), Some(1.0));
        assert_eq!(hosts::metric(&rig, side, PORT, "pdmv2_sealing"), Some(0.0));
    }

    rig.link_registrars(true).expect("a link");
    registrars.settle(&running.each_ref(), 0, SOON).expect("keys");
    on_the_wire(&rig, Some(Form::Encrypted));

    let (west, east) = (registrars.log(0), registrars.log(1));
    let [a, b] = running.each_ref().map(Running::log);
    let keys = |log| time_of(log, "keys received opens=1");
    let steps = [
        ("1: setup request", time_of(&west, "negotiating a new generation")),
        ("2: setup response", time_of(&east, "setup: suite chosen, key made")),
        ("3: kem request", time_of(&west, "kem: secret made and encapsulated")),
        ("4: kem response", time_of(&east, "kem: the client has the same secret")),
        ("5: the server primary's box has its keys", keys(&b)),
    ];
    assert!(steps.is_sorted_by(|(_, first), (_, second)| first <= second), "{steps:#?}");
    // The client primary knows that it is through after the answer; the server primary's box may have its keys by then.
    let agreed = time_of(&west, "generation agreed");
    let sixth = keys(&a);
    assert!(steps[3].1 <= agreed && agreed <= sixth, "6: the client primary's box has its keys: {agreed} {sixth}");
    // And only then is there something to seal with: each box after the other can open it.
    for (log, others) in [(&a, &b), (&b, &a)] {
        let (sealing, opens) = (time_of(log, "sealing under a new generation"), keys(others));
        assert!(opens <= sealing, "sealing at {sealing}, but the other box opens from {opens} on");
    }
    let counters = end_running_quietly(&rig, running);
    assert!(counters.iter().all(|c| c.get("/outbound/passed/no_key") >= 60));
}

#[test]
fn e2e_boxes_without_registrars_seal_until_their_keys_expire() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new(ROOMY).expect("rig");
    let mut registrars = rig.registrars(Path::new(PDMV2)).expect("registrars");
    registrars.times = "coalesce = \"100ms\"\nack_timeout = \"5s\"\nmax_age = \"3s\"\nlifetime = \"8s\"\n".into();
    registrars.start_both().expect("registrars");
    let running = Side::BOTH.map(|side| start(&rig, side, &config()));
    let sealed = |side| hosts::metric(&rig, side, PORT, "pdmv2_sealing") == Some(1.0);
    wait_for("both seal", || Side::BOTH.into_iter().all(sealed));
    rig.connect(SOON).expect("hosts that reach each other");
    let stream = Stream::start(&rig, 5001);
    stream.goes_on("with registrars");

    (0..2).for_each(|side| registrars.kill(side).expect("killed"));
    let registered = |side| hosts::metric(&rig, side, PORT, "pdmv2_registration_state") == Some(1.0);
    wait_for("both notice", || !Side::BOTH.into_iter().any(registered));
    // Within the 8 s of the lifetime, unless this machine stands still; then there is nothing to see here.
    let added = |side| hosts::metric(&rig, side, PORT, "pdmv2_options_added_total{form=\"encrypted\"}");
    let before = Side::BOTH.map(added);
    stream.goes_on("without registrars");
    if Side::BOTH.into_iter().all(sealed) {
        assert!(Side::BOTH.map(added) > before, "they go on sealing");
        let expires = hosts::metric(&rig, Side::A, PORT, "pdmv2_registration_keys_expire_seconds");
        assert!(expires.is_some_and(|s| s > 0.0 && s <= 8.0), "{expires:?}");
    }
    wait_for("both stop sealing", || !Side::BOTH.into_iter().any(sealed));
    stream.goes_on("without keys");
    let forms = |form| {
        let wire = rig.capture_wire(Limits::default()).expect("captures");
        stream.goes_on("while the wire is watched");
        let wire = wire.map(stop);
        assert_form(&wire::measured(&wire.map(|path| wire::frames(&path)).concat()), form);
    };
    forms(None);
    for running in &running {
        assert!(running.line("the keys have expired: packets pass without the option").is_some(), "{}", running.tail());
    }

    registrars.times = "coalesce = \"100ms\"\nack_timeout = \"5s\"\n".into();
    registrars.start_both().expect("registrars");
    registrars.settle(&running.each_ref(), 0, SOON).expect("keys");
    std::thread::sleep(Duration::from_millis(100));
    forms(Some(Form::Encrypted));
    assert!(stream.end() > 0);
    let counters = end_running_quietly(&rig, running);
    for counters in counters {
        assert!(counters.get("/outbound/passed/no_key") > 0, "some passed without the option: {}", counters.0);
        assert_eq!(counters.get("/inbound/passed/no_key"), 0, "there was always something to open with");
    }
}
