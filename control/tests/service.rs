//! What a box tells systemd, over the socket that it is given: ready, how it stands, alive, stopping.

mod programs;

use programs::{ENCRYPTED, Running, Site, TOOL, wait_for};
use rig::notified::Notified;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const EAL: &str = "[eal]\nargs = [\"--no-huge\", \"-m\", \"256\", \"--no-shconf\", \"--no-telemetry\", \"--no-pci\", \"--iova-mode=va\", \"-l\", \"0\"]\n";

/// The box with a socket in systemd's place, and all that came over it.
struct Service {
    site: Site,
    running: Running,
    told: Notified,
}

impl Service {
    fn start(fault: &str) -> Self {
        let site = Site::new(ENCRYPTED);
        let text = format!(
            "[node]\nname = \"a\"\n{EAL}[ports.inside]\ndevice = \"net_null0,no-rx=1\"\n[ports.outside]\ndevice = \"net_null1,no-rx=1\"\n\
             [workers]\nidle = \"sleep\"\n[admin]\nsocket = \"a.sock\"\n[keys]\nfile = \"pdmv2.keys\"\n{ENCRYPTED}"
        );
        std::fs::write(site.path("a.toml"), text).expect("configuration");
        let notify = site.path("notify");
        let told = Notified::listen(&notify).expect("a socket");
        let environment = [
            ("NOTIFY_SOCKET", notify.as_path()),
            ("WATCHDOG_USEC", Path::new("2000000")),
            ("PDMV2_FAULT", Path::new(fault)),
        ];
        let running = Running::start_with(site.0.path(), "a.toml", "log", &environment);
        let service = Self { site, running, told };
        wait_for("the box to be ready", || service.told().first().is_some_and(|first| first == "READY=1"));
        assert!(service.log().contains("ready: forwarding"), "not before: {}", service.log());
        service
    }

    /// What the box answers at its admin socket.
    fn status(&self) -> serde_json::Value {
        let socket = self.site.path("a.sock").display().to_string();
        let asked = Command::new(TOOL).args(["status", "--json", "--socket", &socket]).output().expect("pdmv2");
        serde_json::from_slice(&asked.stdout).unwrap_or_default()
    }

    fn told(&self) -> Vec<String> {
        self.told.lines()
    }

    fn alive(&self) -> usize {
        self.told.alive()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.site.path("log")).unwrap_or_default()
    }
}

#[test]
fn systemd_is_told_that_the_box_is_ready_alive_and_stops() {
    let service = Service::start("");
    wait_for("how it stands", || {
        service.told().iter().any(|t| t.starts_with("STATUS=seals under generation 1; 0 flows of"))
    });
    wait_for("signs of life", || service.alive() >= 5);
    let told = service.told.clone();
    drop(service.running.stop());
    wait_for("the stop", || told.lines().last().is_some_and(|last| last == "STOPPING=1"));
}

#[test]
fn a_worker_that_stands_still_is_not_told_to_be_alive() {
    let service = Service::start("worker-0-stands-still");
    wait_for("the log", || service.log().contains("worker 0 has stood still for 1 s"));
    let before = service.alive();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(service.alive(), before, "{:?}", service.told());
    assert!(service.told().contains(&"STATUS=worker 0 stands still".to_owned()), "{:?}", service.told());
    drop(service.running.stop());
}

/// A process that this one did not start, ended with the test.
struct Stranger(i32);

impl Stranger {
    fn signal(&self, signal: rustix::process::Signal) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.0) {
            let _ = rustix::process::kill_process(pid, signal); // it has ended
        }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.signal(rustix::process::Signal::KILL);
    }
}

#[test]
fn systemd_goes_on_with_the_process_that_takes_over() {
    let mut service = Service::start("");
    let socket = service.site.path("a.sock").display().to_string();
    let upgrade = || Command::new(TOOL).args(["upgrade", "--socket", &socket]).output().expect("pdmv2");
    let before = service.running.0.id();
    let said = upgrade();
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(
        said.status.success() && text.contains("has taken over: nobody had the ports for"),
        "{said:?}\n{}",
        service.log()
    );
    let process = service.status()["take_over"]["process"].as_i64().expect("a process");
    let next = Stranger(i32::try_from(process).expect("a process id"));
    assert_ne!(process, i64::from(before));
    assert_eq!(service.status()["take_over"]["from_process"], before);
    assert_eq!(service.status()["keys"]["generation"], 2);
    // The one that ran has ended in order, without a word of stopping: the box goes on.
    assert!(service.running.0.wait().expect("an end").success(), "{}", service.log());
    let main = format!("MAINPID={process}");
    wait_for("systemd to be told", || {
        service.told().iter().skip_while(|told| **told != main).any(|told| told == "READY=1")
    });
    let from = service.alive();
    wait_for("signs of life of the new one", || service.alive() > from + 2);
    assert!(!service.told().iter().any(|told| told == "STOPPING=1"), "{:?}", service.told());
    assert!(service.log().contains("another process has taken over, and this one ends"), "{}", service.log());

    next.signal(rustix::process::Signal::TERM);
    wait_for("the stop", || service.told().last().is_some_and(|last| last == "STOPPING=1"));
}

#[test]
fn a_successor_that_fails_is_told_of_and_the_box_goes_on() {
    let service = Service::start("take-over-prepares");
    let socket = service.site.path("a.sock").display().to_string();
    for failed in 1..=2 {
        let said = Command::new(TOOL).args(["upgrade", "--socket", &socket]).output().expect("pdmv2");
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(!said.status.success() && text.contains("could not take over"), "{said:?}\n{}", service.log());
        let take_over = &service.status()["take_over"];
        assert_eq!((&take_over["failed"], &take_over["process"]), (&failed.into(), &service.running.0.id().into()));
        assert!(take_over["last_failure"].as_str().is_some_and(|why| why.contains("it has ended")), "{take_over}");
        wait_for("the next may come", || {
            let still = "the process that was to take over has ended";
            service.log().matches(still).count() == failed
        });
        std::thread::sleep(Duration::from_secs(1));
    }
    assert_eq!(service.status()["keys"]["generation"], 1);
    assert!(!service.told().iter().any(|told| told.starts_with("MAINPID")), "{:?}", service.told());
    drop(service.running.stop());
}
