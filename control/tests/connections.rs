//! Who connects to a box's telemetry and asks nothing, or reads nothing, keeps nobody from its metrics, and the box from
//! nothing that it must do.

mod programs;

use programs::{BOX, ENCRYPTED, Running, Site, wait_for};
use rig::free_port;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

const EAL: &str = "[eal]\nargs = [\"--no-huge\", \"-m\", \"256\", \"--no-shconf\", \"--no-telemetry\", \"--no-pci\", \"--iova-mode=va\", \"-l\", \"0\"]\n";
/// A bound on a hang.
const LONG: Duration = Duration::from_secs(60);

/// A box that takes a new generation as often as it can, with so many open files at most.
fn start(site: &Site, files: u32) -> (Running, u16) {
    let port = free_port();
    let text = format!(
        "[node]\nname = \"a\"\n{EAL}[ports.inside]\ndevice = \"net_null0,no-rx=1\"\n[ports.outside]\ndevice = \
         \"net_null1,no-rx=1\"\n[workers]\nidle = \"sleep\"\n[flow_table]\ncapacity = 1024\n[keys]\nfile = \
         \"pdmv2.keys\"\nmax_age = \"1s\"\n[telemetry]\nlisten = \"127.0.0.1:{port}\"\n{ENCRYPTED}"
    );
    std::fs::write(site.path("a.toml"), text).expect("configuration");
    let child = Command::new("sh")
        .args(["-c", &format!("ulimit -n {files} && exec \"$0\" \"$@\""), BOX, "run", "--json", "--config", "a.toml"])
        .current_dir(site.0.path())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(site.path("log")).expect("log"))
        .spawn();
    let running = Running(child.expect("box"));
    wait_for("the box's start", || log(site).contains("ready"));
    (running, port)
}

fn log(site: &Site) -> String {
    std::fs::read_to_string(site.path("log")).unwrap_or_default()
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the kernel accepts");
    stream.set_read_timeout(Some(LONG)).expect("a timeout");
    stream
}

/// What comes until the connection ends; it must end.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert!(!matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "{error}");
    }
    answer
}

fn get(port: u16) -> String {
    let mut stream = connect(port);
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").expect("request");
    String::from_utf8(rest(&mut stream)).expect("text")
}

/// `None`: there was no place.
fn generation(port: u16) -> Option<u32> {
    let metrics = get(port);
    let line = metrics.lines().find_map(|l| l.strip_prefix("pdmv2_generation "));
    line.map(|number| number.parse().expect("a number"))
}

fn open_files(running: &Running) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", running.0.id())).expect("a process").count()
}

#[test]
fn unfinished_requests_and_slow_readers_stop_neither_metrics_nor_generations() {
    let site = Site::new(ENCRYPTED);
    let (running, port) = start(&site, 128);
    let first = generation(port).expect("metrics");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    // Each has asked, and has hardly any room for an answer.
    let readers: Vec<_> = (0..100)
        .map(|_| {
            let stream = runtime.block_on(async {
                let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
                socket.set_recv_buffer_size(1).expect("a small buffer");
                socket.connect(([127, 0, 0, 1], port).into()).await.expect("the kernel accepts")
            });
            let mut stream = stream.into_std().expect("a socket");
            stream.set_nonblocking(false).expect("blocking");
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").expect("request");
            stream
        })
        .collect();
    let unfinished = || {
        let mut stream = connect(port);
        let _ = stream.write_all(b"GET /met"); // ended already, perhaps
        stream
    };
    let mut streams: Vec<_> = (0..200).map(|_| unfinished()).collect();
    let mut most = 0;
    wait_for("two new generations under a flood", || {
        streams.extend((0..20).map(|_| unfinished()));
        most = most.max(open_files(&running));
        generation(port) >= Some(first + 2)
    });
    assert!(most <= 128 - 20, "{most} open files: the reserve is used up");
    assert!(!log(&site).contains("no new generation"), "{}", log(&site));
    // Nobody has to ask for that: the box ends them.
    streams.iter_mut().for_each(|stream| drop(rest(stream)));
    for mut stream in readers {
        stream.set_read_timeout(Some(LONG)).expect("a timeout");
        drop(rest(&mut stream));
    }
    assert!(log(&site).matches("could not be accepted").count() <= 1);
    assert!(running.stop()["generation"].as_u64() >= Some(u64::from(first) + 2));
}

#[test]
fn requests_that_never_end_or_are_too_large_do() {
    let site = Site::new(ENCRYPTED);
    let (running, port) = start(&site, 1024);
    let mut large = connect(port);
    let _ = write!(large, "GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(100_000)); // it may be refused half-way
    let answer = String::from_utf8_lossy(&rest(&mut large)).into_owned();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    // One octet after the other, for ever.
    let mut slow = connect(port);
    wait_for("its end", || slow.write_all(b"x").is_err());
    let healthy = |stream: &mut TcpStream| {
        write!(stream, "GET /healthz HTTP/1.0\r\n\r\n").expect("request");
        String::from_utf8_lossy(&rest(stream)).ends_with("ok\n")
    };
    assert!(healthy(&mut connect(port)));
    running.stop();
}

#[test]
fn without_descriptors_it_waits_and_says_so_once() {
    let site = Site::new(ENCRYPTED);
    let (running, port) = start(&site, 1024);
    let (pid, full) = (Pid::from_child(&running.0), getrlimit(Resource::Nofile));
    let limit = |current| {
        let maximum = Some(full.maximum.unwrap_or(1024).min(1024));
        prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(current), maximum }).expect("a limit");
    };
    // It raises its limit when it begins to serve.
    let mut first = connect(port);
    write!(first, "GET /healthz HTTP/1.0\r\n\r\n").expect("request");
    assert!(String::from_utf8_lossy(&rest(&mut first)).ends_with("ok\n"), "it serves");
    // Its standard streams have them all.
    limit(3);
    let mut waiting = connect(port);
    write!(waiting, "GET /healthz HTTP/1.0\r\n\r\n").expect("request");
    wait_for("a word in the log", || log(&site).contains("could not be accepted"));
    limit(1024);
    assert!(String::from_utf8_lossy(&rest(&mut waiting)).ends_with("ok\n"), "it was not forgotten");
    assert!(log(&site).matches("could not be accepted").count() <= 3, "{}", log(&site));
    running.stop();
}
