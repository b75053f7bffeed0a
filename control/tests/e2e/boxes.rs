//! Boxes in a rig: started with what gives them keys, and ended with a look at their counters.

use crate::wire;
use protocol::wire::option::Form;
use rig::capture::{Capturing, Limits};
use rig::counters::{Counters, Crossing, contradictions};
use rig::forwarders::{BoxConfig, Keys};
use rig::registrars::Registrars;
use rig::running::Running;
use rig::{Options, Rig, Side};
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub const MIDDLEBOX: &str = env!("CARGO_BIN_EXE_pdmv2-middlebox");
pub const PDMV2: &str = env!("CARGO_BIN_EXE_pdmv2");
/// For what has to come and does in a moment.
pub const SOON: Duration = Duration::from_secs(20);
/// No packet of the hosts is too long for its option.
pub const ROOMY: Options = Options { host_mtu: 1460, wire_mtu: 1500 };

/// One at a time: two pairs of boxes would share the cores. `None`: the tests are to be left out.
pub fn turn() -> Option<MutexGuard<'static, ()>> {
    static TURN: Mutex<()> = Mutex::new(());
    if std::env::var_os("PDMV2_SKIP_E2E").is_some_and(|v| v == "1") {
        eprintln!("left out: PDMV2_SKIP_E2E=1");
        return None;
    }
    if let Err(error) = rig::able() {
        panic!("{error:#}. Or leave the end-to-end tests out with PDMV2_SKIP_E2E=1");
    }
    Some(TURN.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Waits until it holds; a bound on a hang, not a measurement.
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what} has not come in a minute");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Two boxes at work, and the registrars that they have their keys from.
pub struct Boxes {
    pub running: [Running; 2],
    registrars: Option<Registrars>,
}

/// Boxes with their keys from registrars, and hosts that reach each other. The rig goes last.
pub struct Registered {
    pub boxes: [Running; 2],
    pub registrars: Registrars,
    pub rig: Rig,
    /// That all seal under.
    pub generation: u32,
}

impl Registered {
    /// With what is done to the registrars before they start, and how a box is started.
    pub fn up(prepare: impl FnOnce(&Rig, &mut Registrars), mut start: impl FnMut(&Rig, Side) -> Running) -> Self {
        let rig = Rig::new(ROOMY).expect("rig");
        let mut registrars = rig.registrars(Path::new(PDMV2)).expect("registrars");
        prepare(&rig, &mut registrars);
        registrars.start_both().expect("registrars");
        let boxes = Side::BOTH.map(|side| start(&rig, side));
        let generation = registrars.settle(&boxes.each_ref(), 0, SOON).expect("keys");
        rig.connect(SOON).expect("hosts that reach each other");
        Self { boxes, registrars, rig, generation }
    }
}

pub fn start(rig: &Rig, side: Side, config: &BoxConfig) -> Running {
    let config = BoxConfig { core: rig::core(side), ..config.clone() };
    let file = rig.configure(side, &config).expect("configuration");
    rig.start_box(side, Path::new(MIDDLEBOX), &file).expect("box")
}

/// With keys, as far as they are to have some, and hosts that reach each other.
pub fn start_both(rig: &Rig, config: &BoxConfig) -> Boxes {
    let registrars = (config.keys == Keys::Registrar).then(|| {
        let mut registrars = rig.registrars(Path::new(PDMV2)).expect("registrars");
        registrars.start_both().expect("registrars");
        registrars
    });
    let running = Side::BOTH.map(|side| start(rig, side, config));
    if let Some(registrars) = &registrars {
        registrars.settle(&running.each_ref(), 0, SOON).expect("keys");
    }
    rig.connect(SOON).expect("hosts that reach each other");
    Boxes { running, registrars }
}

/// A key file for both boxes.
pub fn key_file(rig: &Rig) -> Keys {
    Keys::File(rig.keygen(Path::new(PDMV2)).expect("key file"))
}

/// Ends boxes with SIGTERM: they exit with 0, and their counters do not contradict themselves; of what came for their
/// hosts they dropped so many packets, and else none.
pub fn end_running(running: [Running; 2], homeless: [u64; 2]) -> [Counters; 2] {
    running.iter().for_each(|running| running.signal(Signal::TERM));
    let counters = running.map(|mut running| {
        let status = running.wait(SOON).expect("an end");
        assert!(status.success(), "{status}:\n{}", running.tail());
        Counters::parse(&running.out()).expect("counters")
    });
    for ((side, counters), homeless) in Side::BOTH.iter().zip(&counters).zip(homeless) {
        assert_eq!(contradictions(side.node(), counters), Vec::<String>::new());
        let dropped = ["outbound", "inbound"].map(|direction| counters.get(&format!("/{direction}/dropped_total")));
        assert_eq!(dropped, [0, homeless], "{} dropped packets: {}", side.node(), counters.0);
        assert_eq!(counters.policies("failed"), 0, "{} refused options: {}", side.node(), counters.0);
    }
    counters
}

/// As [`end_running`], before their registrars go.
pub fn end(boxes: Boxes) -> [Counters; 2] {
    let Boxes { running, registrars } = boxes;
    let counters = end_running(running, [0; 2]);
    drop(registrars);
    counters
}

/// As [`end_running`] after the hosts have been silenced; and every option crossed the wire.
pub fn end_running_quietly(rig: &Rig, running: [Running; 2]) -> [Counters; 2] {
    rig.quiesce().expect("silence");
    let [a, b] = end_running(running, [0; 2]);
    for (from, to) in [(&a, &b), (&b, &a)] {
        let crossing = Crossing::new(from, to).unwrap_or_else(|e| panic!("{e:#}: {} {}", from.0, to.0));
        assert!(crossing.adds_up() && crossing.added > 0, "{crossing:?}: {} {}", from.0, to.0);
    }
    [a, b]
}

/// As [`end_running_quietly`], before their registrars go.
pub fn end_quietly(rig: &Rig, boxes: Boxes) -> [Counters; 2] {
    let Boxes { running, registrars } = boxes;
    let counters = end_running_quietly(rig, running);
    drop(registrars);
    counters
}

/// The file of a capture that missed nothing.
pub fn stop(capture: Capturing) -> PathBuf {
    let (path, missed) = capture.stop().expect("capture");
    assert_eq!(missed, 0, "tcpdump missed frames");
    path
}

pub fn capture_host(rig: &Rig, side: Side) -> Capturing {
    rig.capture(rig.host(side), side.tap(), side.tap(), Limits::default()).expect("capture")
}

/// Asserts of the wire that what a policy measures carries this option, one each, in both directions.
pub fn assert_form(packets: &[wire::Measured], form: Option<Form>) {
    for from_a in [true, false] {
        let some: Vec<_> = packets.iter().filter(|p| p.from_a == from_a).collect();
        assert!(!some.is_empty(), "nothing went one way (from A: {from_a})");
        let other = some.iter().find(|p| p.form != form);
        assert!(other.is_none(), "{other:?} instead of {form:?}");
    }
}
