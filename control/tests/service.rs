//! What a box tells systemd, over the socket that it is given: ready, how it stands, alive, stopping.

mod programs;

use programs::{ENCRYPTED, Running, Site, wait_for};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const EAL: &str = "[eal]\nargs = [\"--no-huge\", \"-m\", \"256\", \"--no-shconf\", \"--no-telemetry\", \"--no-pci\", \"--iova-mode=va\", \"-l\", \"0\"]\n";

/// The box with a socket in systemd's place, and all that came over it.
struct Service {
    site: Site,
    running: Running,
    told: Arc<Mutex<Vec<String>>>,
}

impl Service {
    fn start(fault: &str) -> Self {
        let site = Site::new(ENCRYPTED);
        let text = format!(
            "[node]\nname = \"a\"\n{EAL}[ports.inside]\ndevice = \"net_null0,no-rx=1\"\n[ports.outside]\ndevice = \"net_null1,no-rx=1\"\n\
             [workers]\nidle = \"sleep\"\n[keys]\nfile = \"pdmv2.keys\"\n{ENCRYPTED}"
        );
        std::fs::write(site.path("a.toml"), text).expect("configuration");
        let socket = UnixDatagram::bind(site.path("notify")).expect("a socket");
        let told = Arc::<Mutex<Vec<String>>>::default();
        let into = Arc::clone(&told);
        // It ends with the test.
        std::thread::spawn(move || {
            let mut octets = [0; 4096];
            while let Ok(n) = socket.recv(&mut octets) {
                let text = String::from_utf8_lossy(&octets[..n]).trim_end().to_owned();
                into.lock().expect("the list").push(text);
            }
        });
        let notify = site.path("notify");
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

    fn told(&self) -> Vec<String> {
        self.told.lock().expect("the list").clone()
    }

    fn alive(&self) -> usize {
        self.told().iter().filter(|told| *told == "WATCHDOG=1").count()
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
    let told = Arc::clone(&service.told);
    drop(service.running.stop());
    wait_for("the stop", || told.lock().expect("the list").last().is_some_and(|last| last == "STOPPING=1"));
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
