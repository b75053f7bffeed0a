//! A registrar whose disk is full: it says so, its boxes stay, and it goes on by itself when there is room again.

use crate::lab::{Lab, SOON, SimBox, audit, wait_for, wait_within};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What is asked answers within this, whatever the disk does.
const AT_ONCE: Duration = Duration::from_secs(3);
/// It takes as long to notice a full disk as it is full.
const FULL: Duration = Duration::from_secs(5);

/// A file system of 2 MiB in a mount namespace of its own: gone with the process that keeps it.
struct Disk {
    keeper: Child,
    place: PathBuf,
}

impl Disk {
    fn new(lab: &mut Lab) -> Self {
        let place = lab.path("disk");
        std::fs::create_dir(&place).expect("a directory");
        // Where the configuration has the state.
        std::os::unix::fs::symlink("disk/west.state", lab.path("west.state")).expect("a link");
        let mount = "mount -t tmpfs -o size=2m tmpfs \"$0\" && echo mounted && exec cat";
        let mut command = Command::new("unshare");
        command.args(["-m", "--propagation", "private", "sh", "-c", mount]).arg(&place);
        // Ends with this program, which holds its input.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut keeper = command.spawn().expect("unshare, as root");
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().expect("output")).read_line(&mut line).expect("a line");
        assert_eq!(line, "mounted\n");
        lab.within[0] = ["nsenter", "-m", "-t", &keeper.id().to_string()].map(str::to_owned).to_vec();
        Self { keeper, place }
    }

    fn path(&self, name: &str) -> PathBuf {
        let inside = self.place.strip_prefix("/").expect("absolute");
        PathBuf::from(format!("/proc/{}/root", self.keeper.id())).join(inside).join(name)
    }

    fn fill(&self) {
        let mut file = File::create(self.path("filling")).expect("a file");
        while file.write(&[1; 4096]).is_ok_and(|n| n > 0) {}
    }

    fn free(&self) {
        std::fs::remove_file(self.path("filling")).expect("removed");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

fn get(lab: &Lab, path: &str) -> String {
    let port = lab.place(0).telemetry.expect("a port");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.set_read_timeout(Some(AT_ONCE)).expect("set");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("asked");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer within its time");
    text
}

/// Everything that can be asked is asked; gives the status.
fn asked(lab: &Lab) -> serde_json::Value {
    let began = Instant::now();
    let status = lab.status(0);
    let (metrics, health) = (get(lab, "/metrics"), get(lab, "/healthz"));
    assert!(began.elapsed() < AT_ONCE * 3, "it hangs");
    let behind = !status["store"]["error"].is_null();
    let (up, ok) = (if behind { 0 } else { 1 }, if behind { "degraded: " } else { "ok" });
    // The three are not of one moment.
    if status == lab.status(0) {
        assert!(metrics.contains(&format!("pdmv2_registrar_store_up {up}")), "{metrics}");
        assert!(health.starts_with("HTTP/1.1 200") && health.contains(ok), "{health}");
    }
    status
}

/// New generations are asked for until one cannot be kept: some find room in what the database has of the disk already.
fn full(lab: &Lab) {
    let mut rotated = Instant::now();
    lab.rotate(0).expect("an answer");
    wait_within(SOON * 3, "the status says so", || {
        if rotated.elapsed() > Duration::from_secs(1) {
            rotated = Instant::now();
            let _ = lab.rotate(0); // an error when it is so far
        }
        !asked(lab)["store"]["error"].is_null()
    });
}

#[test]
fn e2e_a_registrar_whose_disk_is_full_goes_on_when_there_is_room() {
    let mut lab = Lab::new();
    let (a, b) = (lab.node(0, 1), lab.node(1, 2));
    let disk = Disk::new(&mut lab);
    lab.start_both();
    let (a, b) = (SimBox::start(a), SimBox::start(b));
    wait_for("both boxes seal", || a.opens(&b) && b.opens(&a) && lab.generation().ok().flatten().is_some());
    for kill in [false, true] {
        let registrations = a.registration.registrations();
        disk.fill();
        full(&lab);
        let held = (a.sealing(), b.sealing());
        // What is asked for now is noted: the last generation that was kept may have been the one asked for before.
        let noted = lab.rotate(0).expect_err("it cannot be kept").to_string();
        assert!(noted.contains("noted"), "{noted}");
        let text = lab.ok(&["registrar", "status", "--config", "west.toml"]);
        assert!(text.contains("NOT KEPT") && text.contains("os error 28") && text.contains("make room"), "{text}");
        let since = Instant::now();
        while since.elapsed() < FULL {
            asked(&lab);
            assert!(a.registration.registered() && b.registration.registered(), "boxes stay connected");
            assert_eq!((a.sealing(), b.sealing()), held, "and keep their keys");
            assert!(a.opens(&b) && b.opens(&a));
            std::thread::sleep(Duration::from_millis(500));
        }
        assert_eq!(a.registration.registrations(), registrations, "it was never away");
        if kill {
            lab.kill(0);
        }
        disk.free();
        if kill {
            lab.start(0);
            wait_for("it is back", || a.registration.registered());
            lab.rotate(0).expect("an answer");
        }
        wait_within(Duration::from_secs(20), "the new generation comes", || {
            a.sealing() != held.0 && b.sealing() != held.1 && a.opens(&b) && b.opens(&a)
        });
        wait_for("all is kept", || asked(&lab)["store"]["error"].is_null());
    }
    // Told to end while the disk is full, it ends; what is there then is whole.
    disk.fill();
    full(&lab);
    lab.stop(0, rustix::process::Signal::TERM).expect("it ends");
    disk.free();
    lab.start(0);
    wait_for("it is back", || a.registration.registered() && lab.generation().ok().flatten().is_some());
    audit([&*a.held.lock().expect("held"), &*b.held.lock().expect("held")]);
}
