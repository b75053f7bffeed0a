//! A box with an admin socket, and how it is asked.

use crate::programs::{ENCRYPTED, Running, Site, TOOL, wait_for};
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;
use testkit::captures::write_ethernet;
use testkit::frames::{A, B, udp};

const EAL: &str = "[eal]\nargs = [\"--no-huge\", \"-m\", \"256\", \"--no-shconf\", \"--no-telemetry\", \"--no-pci\", \"--iova-mode=va\", \"-l\", \"0\"]\n";
/// A bound on a hang.
pub const LONG: Duration = Duration::from_secs(60);

/// A box that is given a packet of each of 1,000 flows from inside, over and over if `endless`.
pub fn start(site: &Site, endless: bool, more: &str) -> Running {
    let packets: Vec<_> = (0..1000u16).map(|i| udp(A, B, 1000 + i, 443, 10)).collect();
    start_with(site, &packets, endless, more, ENCRYPTED)
}

/// The same, given these, under these policies.
pub fn start_with(site: &Site, packets: &[Vec<u8>], endless: bool, more: &str, policies: &str) -> Running {
    write_ethernet(&site.path("in.pcap"), packets);
    let inside = format!("net_pcap0,rx_pcap={0}/in.pcap,tx_pcap={0}/none", site.0.path().display());
    let inside = if endless { format!("{inside},infinite_rx=1") } else { inside };
    let text = format!(
        "[node]\nname = \"a\"\n{EAL}[ports.inside]\ndevice = \"{inside}\"\n[ports.outside]\ndevice = \"net_null1,no-rx=1\"\n\
         [workers]\nidle = \"sleep\"\n[keys]\nfile = \"pdmv2.keys\"\n{more}{policies}"
    );
    std::fs::write(site.path("a.toml"), text).expect("configuration");
    let running = Running::start(site.0.path(), "a.toml", "log");
    wait_for("the box's start", || log(site).contains("ready"));
    running
}

pub fn log(site: &Site) -> String {
    std::fs::read_to_string(site.path("log")).unwrap_or_default()
}

pub fn connect(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).expect("the box listens");
    stream.set_read_timeout(Some(LONG)).expect("a timeout");
    stream
}

/// What comes until the connection ends; it must end.
pub fn rest(stream: &mut UnixStream) -> Vec<u8> {
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert!(!matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    }
    answer
}

/// Status and body. `None`: another has got the place.
pub fn try_get(socket: &Path, path: &str) -> Option<(u16, String)> {
    ask(socket, "GET", path)
}

/// The JSON of what is answered, with this status, to what is to be done.
pub fn order(socket: &Path, path: &str, status: u16) -> Value {
    let (is, body) = ask(socket, "POST", path).expect("an answer");
    assert_eq!(is, status, "{path}: {body}");
    serde_json::from_str(&body).expect("JSON")
}

fn ask(socket: &Path, method: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = connect(socket);
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: box\r\n\r\n").ok()?;
    let answer = String::from_utf8(rest(&mut stream)).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// The same, when nobody else asks.
pub fn get(socket: &Path, path: &str) -> (u16, String) {
    try_get(socket, path).expect("an answer")
}

/// The JSON of an answer of this status.
pub fn json(socket: &Path, path: &str, status: u16) -> Value {
    let (is, body) = get(socket, path);
    assert_eq!(is, status, "{path}: {body}");
    serde_json::from_str(&body).expect("JSON")
}

/// `pdmv2` with these arguments, in the site's directory.
pub fn pdmv2(site: &Site, arguments: &[&str]) -> Output {
    Command::new(TOOL).args(arguments).current_dir(site.0.path()).output().expect("pdmv2")
}

/// What it prints; it must go well.
pub fn prints(site: &Site, arguments: &[&str]) -> String {
    let output = pdmv2(site, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.is_empty(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).expect("text")
}

/// What it says when it cannot do it.
pub fn refuses(site: &Site, arguments: &[&str]) -> String {
    let output = pdmv2(site, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}
