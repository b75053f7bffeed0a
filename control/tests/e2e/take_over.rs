//! A new process of a box takes over from the one that runs, under traffic; and what becomes of the box when it dies in between.
//!
//! Both ports of the box are packet sockets: interfaces that stay when the process goes, as a NIC does.

use crate::boxes::{MIDDLEBOX, PDMV2, ROOMY, SOON, key_file, start, turn, wait_for};
use crate::hosts::metric;
use pipeline::observe::audit::RECORD;
use rig::forwarders::{BoxConfig, INSIDE, Keys};
use rig::registrars::{Registrars, sealing};
use rig::running::Running;
use rig::{Rig, Side};
use rustix::process::Signal;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PORT: u16 = 9469;

/// Two boxes between veth pairs. Host A's is the one that is taken over from.
struct Lab {
    config: BoxConfig,
    a: Running,
    b: Running,
    /// How many processes box A has had.
    processes: usize,
    registrars: Option<Registrars>,
    rig: Rig,
}

impl Lab {
    fn new(registered: bool) -> Self {
        let rig = Rig::new(ROOMY).expect("rig");
        for side in Side::BOTH {
            let (host, place) = (rig.host(side), rig.place(side));
            place.ip(&format!("link add i0 type veth peer name {} netns {}", side.tap(), host.name())).expect("a pair");
            place.ip("link set i0 mtu 1500 promisc on up").expect("an interface");
            for (at, interface) in [(place, "i0"), (host, side.tap())] {
                // It exits 1 for what cannot be changed, having changed the rest.
                let offloads = ["rx", "off", "tx", "off", "sg", "off", "tso", "off", "gso", "off", "gro", "off"];
                let line = [&["ethtool", "-K", interface][..], &offloads].concat();
                at.run(&line, SOON).expect("ethtool");
            }
        }
        let registrars = registered.then(|| {
            let mut registrars = rig.registrars(Path::new(PDMV2)).expect("registrars");
            registrars.start_both().expect("registrars");
            registrars
        });
        let config = BoxConfig {
            keys: if registered { Keys::Registrar } else { key_file(&rig) },
            inside: Some(INSIDE),
            telemetry: Some(PORT),
            socket: Some(rig.dir().join("box.sock")),
            audit: Some(rig.dir().join("audit-a")),
            ..BoxConfig::default()
        };
        let of_b = BoxConfig { socket: None, audit: Some(rig.dir().join("audit-b")), ..config.clone() };
        let (a, b) = (start(&rig, Side::A, &config), start(&rig, Side::B, &of_b));
        if let Some(registrars) = &registrars {
            registrars.settle(&[&a, &b], 0, SOON).expect("keys");
        }
        rig.connect(SOON).expect("hosts that reach each other");
        Self { config, a, b, processes: 1, registrars, rig }
    }

    fn file(&self, change: impl FnOnce(String) -> String) -> PathBuf {
        let config = BoxConfig { core: rig::core(Side::A), ..self.config.clone() };
        let path = self.rig.dir().join(format!("next-{}.toml", self.processes));
        std::fs::write(&path, change(config.text(&self.rig, Side::A))).expect("a configuration");
        path
    }

    /// One more process of box A, that is to take over, and to be killed at this place.
    fn next(&mut self, fault: &str, change: impl FnOnce(String) -> String) -> Running {
        let file = self.file(change).display().to_string();
        self.processes += 1;
        let fault = format!("PDMV2_FAULT={fault}");
        let args = ["env", &fault, MIDDLEBOX, "run", "--json", "--take-over", "--config", &file];
        self.rig.place(Side::A).start(&format!("box-a-{}", self.processes), &args, self.rig.dir()).expect("a process")
    }

    /// A process takes over while host A pings: what was lost of how many, and for how long nobody had the ports.
    fn take_over(&mut self) -> (u64, u64, f64) {
        let mut next = None;
        let lost = std::thread::scope(|scope| {
            let rig = &self.rig;
            let pings = scope.spawn(move || rig.ping(Side::A, Side::B.address(), 1500, 10).expect("ping"));
            std::thread::sleep(Duration::from_millis(500));
            next = Some(started(rig, &self.config, self.processes + 1));
            pings.join().expect("pings")
        });
        self.processes += 1;
        let mut next = next.expect("a process");
        let line = next.wait_for("took over in ", SOON * 2).expect("a take-over");
        let mut before = std::mem::replace(&mut self.a, next);
        let ended = before.wait(SOON).expect("an end");
        assert!(ended.success(), "{ended}: {}", before.tail());
        assert!(before.log().contains("another process has taken over, and this one ends"), "{}", before.tail());
        let gap =
            line.split("took over in ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok()).expect("a gap");
        (lost.sent - lost.received, lost.sent, gap)
    }

    /// Whether the box can still be asked at its socket.
    fn answers(&self) -> bool {
        let socket = self.config.socket.as_ref().expect("a socket").display().to_string();
        rig::command::check(&[PDMV2, "status", "--socket", &socket], SOON).is_ok()
    }

    /// Host A's pings come back, all of them.
    fn flows(&self) {
        self.rig.connect(SOON).expect("hosts that reach each other");
        let pings = self.rig.ping(Side::A, Side::B.address(), 30, 10).expect("ping");
        assert_eq!(pings.received, pings.sent);
    }

    fn metric(&self, name: &str) -> Option<f64> {
        metric(&self.rig, Side::A, PORT, name)
    }

    /// Ends both; no pair of key and nonce was used twice, by whatever process.
    fn end(self) -> usize {
        let Self { a, b, registrars, rig, .. } = self;
        rig.quiesce().expect("silence");
        for mut running in [a, b] {
            let ended = running.stop(Signal::TERM, SOON).expect("an end");
            assert!(ended.success(), "{ended}: {}", running.tail());
        }
        drop(registrars);
        let mut seen = HashSet::new();
        for file in ["audit-a", "audit-b"] {
            let octets = std::fs::read(rig.dir().join(file)).expect("an audit file");
            assert_eq!(octets.len() % RECORD, 0, "{file}: two processes have not written into each other's records");
            for pair in octets.as_chunks::<RECORD>().0 {
                assert!(seen.insert(*pair), "{file}: a (key, nonce) pair was used twice");
            }
        }
        seen.len()
    }
}

fn started(rig: &Rig, config: &BoxConfig, process: usize) -> Running {
    let config = BoxConfig { core: rig::core(Side::A), ..config.clone() };
    let file = rig.dir().join(format!("next-{process}.toml"));
    std::fs::write(&file, config.text(rig, Side::A)).expect("a configuration");
    let file = file.display().to_string();
    let args = [MIDDLEBOX, "run", "--json", "--take-over", "--config", &file];
    rig.place(Side::A).start(&format!("box-a-{process}"), &args, rig.dir()).expect("a process")
}

#[test]
fn e2e_processes_take_over_from_each_other_under_traffic() {
    let Some(_turn) = turn() else { return };
    let mut lab = Lab::new(false);
    for round in 0..3 {
        let before = lab.metric("pdmv2_generation").expect("a generation");
        let (lost, sent, gap) = lab.take_over();
        eprintln!(
            "net_af_packet: take-over {round}: {lost} of {sent} pings lost, 10 ms apart; nobody had the ports for {gap} ms"
        );
        assert!(lost < sent / 2, "{lost} of {sent}");
        lab.flows();
        assert_eq!(lab.metric("pdmv2_generation"), Some(before + 1.0), "each has its own");
        assert!(lab.metric("pdmv2_take_over_gap_seconds").is_some_and(|gap| gap > 0.0));
        assert!(lab.metric("pdmv2_options_removed_total{form=\"encrypted\"}").is_some_and(|n| n > 0.0));
        let socket = lab.config.socket.as_ref().expect("a socket");
        let status = rig::command::check(&[PDMV2, "status", "--socket", &socket.display().to_string()], SOON);
        assert!(status.expect("an answer").contains("which took over from process"), "at the same socket");
    }
    eprintln!("(key, nonce) pairs: {}", lab.end());
}

#[test]
fn e2e_the_process_before_goes_on_when_the_new_one_dies() {
    let Some(_turn) = turn() else { return };
    let mut lab = Lab::new(false);
    let places = ["take-over-prepares", "take-over-prepared", "take-over-given", "take-over-forwards"];
    for (n, place) in places.into_iter().enumerate() {
        let mut next = lab.next(place, |text| text);
        let ended = next.wait(SOON).expect("an end");
        assert_eq!(ended.code(), None, "killed, at {place}: {}", next.tail());
        wait_for("it is noticed", || lab.metric("pdmv2_take_overs_failed_total") == Some((n + 1) as f64));
        assert!(lab.answers(), "at {place}");
        lab.flows();
        assert_eq!(lab.metric("pdmv2_generation"), Some(1.0), "it goes on under its own");
    }
    // One that stands still with the ports in its hands is ended.
    let mut next = lab.next("take-over-stands-still", |text| text);
    let ended = next.wait(SOON * 3).expect("an end");
    assert_eq!(ended.code(), None, "{}", next.tail());
    wait_for("it is noticed", || lab.metric("pdmv2_take_overs_failed_total") == Some(5.0));
    lab.flows();
    // A device that is not there is found when there are no ports left to find it beside.
    let mut next = lab.next("", |text| text.replace("iface=w0", "iface=nowhere"));
    let ended = next.wait(SOON).expect("an end");
    assert_eq!(ended.code(), Some(1), "{}", next.tail());
    assert!(next.log().contains("not taken over, and the box that runs goes on"), "{}", next.tail());
    wait_for("it is noticed", || lab.metric("pdmv2_take_overs_failed_total") == Some(6.0));
    assert!(lab.answers(), "the sockets' names are the old one's");
    lab.flows();
    let socket = lab.config.socket.as_ref().expect("a socket").display().to_string();
    let status =
        rig::command::check(&[PDMV2, "status", "--socket", &socket], SOON).expect("the socket has kept its name");
    assert!(status.contains("6 time(s) another process did not take over"), "{status}");
    // Packet buffers that EAL has no room for: the ports have not moved.
    let gone = lab.a.log().matches("the ports are taken up again").count();
    let mut next = lab.next("", |text| text.replace("cores = [", "mbufs = 4194304\ncores = ["));
    assert_eq!(next.wait(SOON).expect("an end").code(), Some(1), "{}", next.tail());
    assert_eq!(lab.a.log().matches("the ports are taken up again").count(), gone);
    // And then one takes over.
    let (lost, sent, gap) = lab.take_over();
    eprintln!("after all of these: {lost} of {sent} pings lost, nobody had the ports for {gap} ms");
    lab.flows();
    let generation = lab.metric("pdmv2_generation").expect("a generation");
    assert!(generation > 4.0, "those that died had some too: {generation}");
    eprintln!("(key, nonce) pairs: {}", lab.end());
}

#[test]
fn e2e_a_registered_box_is_taken_over_from() {
    let Some(_turn) = turn() else { return };
    let mut lab = Lab::new(true);
    let mut next = lab.next("take-over-given", |text| text);
    assert_eq!(next.wait(SOON * 3).expect("an end").code(), None, "{}", next.tail());
    lab.flows();
    let registrars = lab.registrars.as_ref().expect("registrars");
    let before = registrars.settle(&[&lab.a, &lab.b], 0, SOON * 2).expect("keys of its own again");
    lab.flows();
    let (lost, sent, gap) = lab.take_over();
    eprintln!("registered: {lost} of {sent} pings lost, nobody had the ports for {gap} ms");
    lab.flows();
    let registrars = lab.registrars.as_ref().expect("registrars");
    let now = registrars.settle(&[&lab.a, &lab.b], before, SOON * 2).expect("keys of its own");
    assert_eq!(sealing(&lab.a), Some(now));
    assert!(lab.metric("pdmv2_sealing").is_some_and(|sealing| sealing > 0.0));
    eprintln!("(key, nonce) pairs: {}", lab.end());
}
