//! kill -9 of registrars and boxes under an established TCP connection.

use crate::boxes::{Registered, SOON, end_running, end_running_quietly, start, turn, wait_for};
use crate::hosts;
use crate::stream::Stream;
use pipeline::observe::audit::RECORD;
use rig::forwarders::{BoxConfig, Keys};
use rig::registrars::{NAMES, Registrars};
use rig::running::Running;
use rig::{Rig, Side};
use rustix::process::Signal;
use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const PORT: u16 = 9469;
/// Everything has to come back by itself within this.
const BACK: Duration = Duration::from_secs(10);

/// A box that writes down each (key, nonce), every process in a file of its own.
pub struct Audited {
    pub files: Vec<PathBuf>,
    /// How many registrars each side has.
    pub registrars: [u16; 2],
}

impl Default for Audited {
    fn default() -> Self {
        Self { files: Vec::new(), registrars: [1, 1] }
    }
}

impl Audited {
    pub fn start(&mut self, rig: &Rig, side: Side) -> Running {
        let audit = rig.dir().join(format!("audit-{}", self.files.len()));
        self.files.push(audit.clone());
        let config = BoxConfig {
            keys: Keys::Registrar,
            registrars: self.registrars[side.index()],
            telemetry: Some(PORT),
            audit: Some(audit),
            ..BoxConfig::default()
        };
        start(rig, side, &config)
    }

    /// No pair was used twice, by whatever process of whatever box. Gives how many there were, by process.
    pub fn check(&self) -> Vec<usize> {
        let mut seen = HashSet::new();
        let mut counts = Vec::new();
        for file in &self.files {
            let octets = std::fs::read(file).expect("audit file");
            // Of a write that a kill has cut short no packet had been sent.
            let pairs = octets.as_chunks::<RECORD>().0;
            for pair in pairs {
                assert!(seen.insert(*pair), "a (key, nonce) pair was used twice: {}", file.display());
            }
            counts.push(pairs.len());
        }
        counts
    }
}

/// What running boxes have refused or dropped: nothing.
pub fn assert_nothing_lost(rig: &Rig) {
    Side::BOTH.into_iter().for_each(|side| assert_lost(rig, side, 0));
}

/// A running box has refused nothing, and dropped nothing but so many packets for its host.
fn assert_lost(rig: &Rig, side: Side, homeless: u64) {
    let text = hosts::metrics(rig, side, PORT);
    // Reasons that did not occur are not shown; policies are.
    assert!(text.contains("pdmv2_policy_failed_total{policy=\"all\",mode=\"encrypted\"} 0\n"), "{side:?}: {text}");
    let dropped: Vec<_> = text.lines().filter(|l| l.starts_with("pdmv2_packets_dropped_total{")).collect();
    let expected = (homeless > 0).then(|| format!("{HOMELESS} {homeless}"));
    assert_eq!(dropped, expected.iter().collect::<Vec<_>>(), "{side:?}: {text}");
}

/// Where a box counts what its host did not take.
const HOMELESS: &str = r#"pdmv2_packets_dropped_total{direction="inbound",reason="tx_full"}"#;

/// Everything as it should be again, under a generation above this one, within the time there is since `began`.
pub fn back(registrars: &Registrars, boxes: &[Running; 2], above: u32, began: Instant) -> u32 {
    let left = BACK.saturating_sub(began.elapsed());
    registrars.settle(&boxes.each_ref(), above, left).expect("all is back")
}

#[test]
fn e2e_a_tcp_connection_outlives_kills_of_everything() {
    let Some(_turn) = turn() else { return };
    let mut audited = Audited::default();
    let up = Registered::up(|_, _| (), |rig, side| audited.start(rig, side));
    let Registered { rig, mut registrars, mut boxes, mut generation } = up;
    let stream = Stream::start(&rig, 5001);
    stream.goes_on("at first");

    // Registrars: in the middle of a roll-over, which the other one still wants when they are back in touch.
    for side in [0, 1] {
        registrars.rotate(1 - side).expect("a registrar that answers");
        registrars.kill(side).expect("killed");
        stream.goes_on("without a registrar");
        let began = Instant::now();
        registrars.start(side).expect("a registrar");
        // What was wanted may have come about just before the kill, or got lost with it; the next one is not.
        back(&registrars, &boxes, generation - 1, began);
        registrars.rotate(side).expect("a registrar that answers");
        generation = back(&registrars, &boxes, generation, Instant::now());
        stream.goes_on("with its registrar again");
        assert_nothing_lost(&rig);
    }
    let sent_again = Side::BOTH.map(|side| hosts::retransmitted(&rig, side));

    // Boxes: what they would have carried meanwhile is sent again, and nothing else.
    let mut homeless = [0; 2];
    for side in Side::BOTH {
        assert_lost(&rig, side, 0);
        let box_of = &mut boxes[side.index()];
        assert_eq!(box_of.stop(Signal::KILL, SOON).expect("an end").code(), None, "killed, not ended");
        registrars.rotate(side.other().index()).expect("a registrar that answers");
        *box_of = audited.start(&rig, side);
        let ready = Instant::now();
        rig.connect(SOON).expect("hosts that reach each other again");
        // Until its tap had been moved to the host there was none to take what the far host sent again.
        homeless[side.index()] = hosts::metric(&rig, side, PORT, HOMELESS).unwrap_or_default() as u64;
        assert!(homeless[side.index()] < 20, "{homeless:?}");
        generation = back(&registrars, &boxes, generation, ready);
        stream.goes_on("with its box again");
        Side::BOTH.into_iter().for_each(|side| assert_lost(&rig, side, homeless[side.index()]));
    }
    registrars.rotate(0).expect("a registrar that answers");
    back(&registrars, &boxes, generation, Instant::now());
    stream.goes_on("at last");
    let octets = stream.end();
    let again = Side::BOTH.map(|side| hosts::retransmitted(&rig, side));
    rig.quiesce().expect("silence");
    for counters in end_running(boxes, homeless) {
        assert!(counters.get("/inbound/removed/encrypted") > 0 && counters.get("/outbound/added/encrypted") > 0);
    }
    let pairs = audited.check();
    assert!(pairs.len() == 4 && pairs.iter().all(|&n| n > 50), "pairs by process: {pairs:?}");
    eprintln!(
        "{octets} octets there and back; sent again until the boxes were killed {sent_again:?}, in all {again:?}; \
         without a host {homeless:?}; (key, nonce) pairs by process: {pairs:?}"
    );
}

/// The places of a negotiation and a roll-over where a registrar can be killed: the client primary's, the server's, and
/// those of both.
const STEPS: [&[&str]; 2] =
    [&["setup-sent", "encapsulated", "kem-answered"], &["setup-answered", "kem-computed", "kem-kept"]];
const WRITES: [&str; 4] = ["write-generation", "wrote-generation", "write-sealed", "wrote-sealed"];

#[test]
fn e2e_a_tcp_connection_does_not_notice_registrars_that_die_at_any_step() {
    let Some(_turn) = turn() else { return };
    let mut audited = Audited::default();
    let up = Registered::up(|_, _| (), |rig, side| audited.start(rig, side));
    let Registered { rig, mut registrars, boxes, mut generation } = up;
    let stream = Stream::start(&rig, 5001);
    for side in [0, 1] {
        let config = format!("{}.toml", NAMES[side]);
        for step in STEPS[side].iter().chain(&WRITES) {
            registrars.kill(side).expect("killed");
            registrars.fault = Some(step);
            registrars.start(side).expect("a registrar");
            wait_for(step, || {
                // While it comes up, and when it is gone, nobody answers.
                let _ = registrars.pdmv2(&["registrar", "rotate", "--config", &config]);
                registrars.ended(side)
            });
            registrars.fault = None;
            let began = Instant::now();
            registrars.start(side).expect("a registrar");
            back(&registrars, &boxes, generation - 1, began);
            registrars.rotate(side).expect("a registrar that answers");
            generation = back(&registrars, &boxes, generation, Instant::now());
            eprintln!("{} {step}: generation {generation}", NAMES[side]);
            assert_nothing_lost(&rig);
        }
    }
    stream.goes_on("at last");
    assert!(stream.end() > 0);
    for counters in end_running_quietly(&rig, boxes) {
        assert_eq!(counters.get("/outbound/passed/no_key"), 0, "sealed throughout: {}", counters.0);
    }
    assert_eq!(audited.check().len(), 2);
}
