//! Destinations: files, sockets, collectors that are away, slow, or come later.

use super::parser::{Collector, Message};
use super::*;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

const LARGE: u64 = 1 << 30;

fn ipfix(target: Target, file_limit: u64) -> Exporter {
    let udp = matches!(target, Target::Udp(_));
    let format = Box::new(Encoder::new(9, Some(ENTERPRISE), udp));
    Exporter::start("ipfix", format, Outlet::new(target, file_limit)).expect("a thread")
}

fn json(target: Target) -> Exporter {
    Exporter::start("json", Box::<Lines>::default(), Outlet::new(target, LARGE)).expect("a thread")
}

/// What was sent, and what was not, when the exporter has ended.
fn ended(exporter: Exporter) -> (u64, u64) {
    let (_, counters) = exporter.counters();
    drop(exporter);
    (counters.sent.load(Relaxed), counters.unsent.load(Relaxed))
}

fn offer(exporter: &Exporter, records: std::ops::Range<u16>) {
    records.for_each(|n| exporter.offer(example(n)));
}

/// The ports behind the boxes, by which the examples differ.
fn ports(messages: &[Message]) -> Vec<u16> {
    let port = |fields: &Fields| u16::from_be_bytes([fields[&(0, 11)][0], fields[&(0, 11)][1]]);
    messages.iter().flat_map(|message| message.records.iter().map(port)).collect()
}

fn read(path: &Path) -> Vec<Message> {
    Collector::default().all(&std::fs::read(path).expect("the file"))
}

#[test]
fn a_file_has_all_records_and_a_restart_goes_on_behind_them() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("flows.ipfix");
    for start in 0..2u16 {
        let exporter = ipfix(Target::File(path.clone()), LARGE);
        offer(&exporter, start * 100..start * 100 + 50);
        assert_eq!(ended(exporter), (50, 0));
    }
    let messages = read(&path);
    assert_eq!(ports(&messages), (0..50).chain(100..150).collect::<Vec<_>>());
    let begins: Vec<_> = messages.iter().filter(|message| message.sequence == 0).map(|m| m.templates).collect();
    assert_eq!(begins, [1, 1], "each start brings its template");
}

#[test]
fn a_file_that_is_full_ends_behind_a_whole_message_and_the_rest_is_counted() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("flows.ipfix");
    let exporter = ipfix(Target::File(path.clone()), 4000);
    offer(&exporter, 0..100);
    let (sent, unsent) = ended(exporter);
    let seen = ports(&read(&path)).len() as u64;
    assert!(sent > 0 && sent == seen && sent + unsent == 100, "{sent} {unsent} {seen}");
    assert!(std::fs::metadata(&path).expect("the file").len() <= 4000);
}

#[test]
fn a_directory_that_is_not_there_costs_records_only() {
    let exporter = json(Target::File("/nonexistent/flows.json".into()));
    offer(&exporter, 0..5);
    assert_eq!(ended(exporter), (0, 5));
}

#[test]
fn lines_go_to_whoever_listens_on_a_socket() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("socket");
    let listener = UnixListener::bind(&path).expect("socket");
    let exporter = json(Target::Unix(path));
    offer(&exporter, 0..20);
    let (mut stream, _) = listener.accept().expect("a connection");
    assert_eq!(ended(exporter), (20, 0));
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("lines");
    assert_eq!(text.lines().count(), 20);
}

fn udp_listener() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("[::1]:0").expect("socket");
    socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a bound on a hang");
    let address = socket.local_addr().expect("address");
    (socket, address)
}

#[test]
fn datagrams_reach_a_collector() {
    let (socket, address) = udp_listener();
    let exporter = ipfix(Target::Udp(address), LARGE);
    offer(&exporter, 0..60);
    let (mut collector, mut messages, mut buffer) = (Collector::default(), Vec::new(), [0; 2000]);
    while ports(&messages).len() < 60 {
        let octets = socket.recv(&mut buffer).expect("a datagram");
        messages.push(collector.message(&buffer[..octets]));
    }
    assert_eq!(ports(&messages), (0..60).collect::<Vec<_>>());
    assert!(messages.iter().all(|message| message.octets <= LIMIT && message.domain == 9));
    assert_eq!(ended(exporter), (60, 0));
}

#[test]
fn a_collector_that_is_away_holds_nothing_up_and_every_record_is_counted() {
    let dir = tempfile::tempdir().expect("directory");
    let address = TcpListener::bind("[::1]:0").and_then(|l| l.local_addr()).expect("nobody listens there now");
    for target in [Target::Tcp(address), Target::Unix(dir.path().join("none"))] {
        let exporter = ipfix(target, LARGE);
        for _ in 0..2 {
            offer(&exporter, 0..20_000); // more than the queue holds
        }
        assert_eq!(ended(exporter), (0, 40_000));
    }
}

#[test]
fn a_connection_that_is_lost_is_made_again_with_its_template() {
    let listener = TcpListener::bind("[::1]:0").expect("socket");
    let exporter = ipfix(Target::Tcp(listener.local_addr().expect("address")), LARGE);
    let (_, counters) = exporter.counters();
    let wait_for = |what: &str, holds: &dyn Fn() -> bool| {
        let start = Instant::now();
        while !holds() {
            assert!(start.elapsed() < Duration::from_secs(60), "{what} has not come in a minute");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let (first, _) = listener.accept().expect("a connection");
    offer(&exporter, 0..10);
    wait_for("the first records", &|| counters.sent.load(Relaxed) == 10);
    drop(first);
    offer(&exporter, 10..20);
    wait_for("that it is noticed", &|| counters.unsent.load(Relaxed) > 0);
    let (mut second, _) = listener.accept().expect("another connection");
    offer(&exporter, 20..30);
    let (sent, unsent) = ended(exporter);
    assert_eq!(sent + unsent, 30);
    let mut octets = Vec::new();
    second.read_to_end(&mut octets).expect("messages");
    let messages = Collector::default().all(&octets);
    assert_eq!((messages[0].sequence, messages[0].templates), (0, 1), "as a first one");
    let seen = ports(&messages);
    assert!(seen.ends_with(&(20..30).collect::<Vec<_>>()) && seen.len() as u64 == sent - 10, "{seen:?}");
}
