//! Crowds at a registrar's doors: who connects and says nothing, or too little, keeps no box out, and nobody from asking.

use crate::lab::{Lab, SimBox, wait_for, wait_within};
use crate::strangers::block_on;
use registration::net;
use registration::tls::{Tls, server_name};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;

fn metrics(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the kernel accepts");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").expect("request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("a process").count()
}

#[test]
fn unfinished_questions_stop_neither_metrics_nor_the_operator_nor_boxes() {
    let mut lab = Lab::new();
    let (a, b) = (lab.node(0, 1), lab.node(1, 2));
    lab.files = Some(256);
    lab.start_both();
    wait_for("it listens", || lab.log(0).contains("ready"));
    let port = lab.place(0).telemetry.expect("telemetry");
    let socket = lab.path("west.socket");
    let mut asking: Vec<UnixStream> = Vec::new();
    let mut unfinished: Vec<TcpStream> = Vec::new();
    for _ in 0..300 {
        let mut stream = UnixStream::connect(&socket).expect("connected");
        let _ = stream.write_all(b"{\"command\":"); // ended already, perhaps
        asking.push(stream);
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connected");
        let _ = stream.write_all(b"GET /met");
        unfinished.push(stream);
    }
    assert!(metrics(port).contains("pdmv2_registrar_leader 1"));
    assert!(lab.ok(&["registrar", "status", "--config", "west.toml"]).contains("registrar west"));
    let (a, b) = (SimBox::start(a), SimBox::start(b));
    wait_for("both seal", || a.opens(&b) && b.opens(&a));
    assert!(lab.ok(&["registrar", "rotate", "--config", "west.toml"]).contains("Done"));
    assert!(open_files(lab.pid(0)) <= 256 - 64, "the reserve is used up");
    // Each is ended, without a word from anybody.
    for mut stream in asking {
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        let ended = stream.read(&mut [0; 512]);
        assert!(ended.as_ref().err().is_none_or(|e| e.kind() == std::io::ErrorKind::ConnectionReset), "{ended:?}");
    }
    for mut stream in unfinished {
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        let ended = stream.read(&mut [0; 512]);
        assert!(ended.as_ref().err().is_none_or(|e| e.kind() == std::io::ErrorKind::ConnectionReset), "{ended:?}");
    }
    assert!(metrics(port).contains("pdmv2_registrar_leader 1"));
}

/// Silent connections from one address, a hundred a second, as long as it lives.
struct Flood {
    stop: Arc<AtomicBool>,
    opened: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    fn start(from: Ipv4Addr, to: u16) -> Self {
        let (stop, opened) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (ends, count) = (Arc::clone(&stop), Arc::clone(&opened));
        let thread = std::thread::spawn(move || {
            block_on(async {
                let (mut open, mut every) = (Vec::new(), tokio::time::interval(Duration::from_millis(10)));
                while !ends.load(Ordering::Relaxed) {
                    every.tick().await;
                    let socket = TcpSocket::new_v4().expect("a socket");
                    socket.bind((from, 0).into()).expect("an address of loopback");
                    open.push(socket.connect((Ipv4Addr::LOCALHOST, to).into()).await.expect("the kernel accepts"));
                    count.fetch_add(1, Ordering::Relaxed);
                    if open.len() > 800 {
                        // The registrar has ended them long ago.
                        open.drain(..200);
                    }
                }
            });
        });
        Self { stop, opened, thread: Some(thread) }
    }

    fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking());
        }
    }
}

fn value(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|l| l.strip_prefix(name));
    assert!(line.is_some(), "no {name} in {metrics}");
    line.unwrap_or_default().trim().parse().expect("a number")
}

#[test]
fn a_flood_of_silent_connections_keeps_no_box_out() {
    let mut lab = Lab::new();
    // The flood's own descriptors.
    assert!(registration::serving::descriptors::raise() > 1024, "too few files may be open for this test");
    let settings: Vec<_> = (1..=4).map(|number| lab.node(0, number)).collect();
    // Some 250 places for handshakes, of 5 s each: a flood of a hundred a second would fill twice as many.
    lab.files = Some(2048);
    lab.start(0);
    wait_for("it listens", || lab.log(0).contains("ready"));
    let (address, port) = (lab.address(0), lab.place(0).telemetry.expect("telemetry"));
    // From elsewhere; then from where the boxes are, one of which is registered.
    for from in [Ipv4Addr::new(127, 0, 0, 66), Ipv4Addr::LOCALHOST] {
        let registered = (from == Ipv4Addr::LOCALHOST).then(|| SimBox::start(settings[0].clone()));
        wait_for("it registers", || registered.as_ref().is_none_or(|r| r.registration.registered()));
        let flood = Flood::start(from, address.1);
        wait_within(Duration::from_secs(60), "the flood", || flood.opened() > 400);
        for _ in 0..3 {
            let before = flood.opened();
            let handshakes = settings.iter().map(|settings| {
                let (tls, address) = (Tls::load(settings.tls.clone()).expect("certificates"), address.clone());
                async move { net::connect(&tls, None, &address).await.map(drop) }
            });
            let results = block_on(futures_util::future::join_all(handshakes));
            assert!(results.iter().all(Result::is_ok), "{from}: {results:?}");
            wait_within(Duration::from_secs(60), "more of the flood", || flood.opened() > before + 50);
        }
        assert!(registered.is_none_or(|r| r.registration.registrations() == 1), "a box that is registered stays so");
        assert!(open_files(lab.pid(0)) <= 512, "handshakes have an eighth");
        let metrics = metrics(port);
        assert!(value(&metrics, "pdmv2_registrar_connections{stage=\"handshake\"}") <= 256.0);
        assert!(value(&metrics, "pdmv2_registrar_connections_ended_total{stage=\"handshake\"}") > 50.0);
        let (log, flooded) = (lab.log(0), flood.opened());
        let said = log.lines().filter(|l| l.contains("connection refused")).count();
        assert!(said > 0 && said < flooded / 2, "{said} lines for {flooded} connections");
        drop(flood);
        wait_for("the rest is told as a number", || lab.log(0).contains("not logged one by one"));
    }
}

#[test]
fn certificates_that_say_nothing_take_few_places_for_a_while() {
    let mut lab = Lab::new();
    let (a, greedy) = (lab.node(0, 1), lab.node(0, 2));
    lab.start(0);
    wait_for("it listens", || lab.log(0).contains("ready"));
    let (address, port) = (lab.address(0), lab.place(0).telemetry.expect("telemetry"));
    let a = SimBox::start(a);
    wait_for("a box registers", || a.registration.registered());
    let open = || value(&metrics(port), "pdmv2_registrar_connections{stage=\"open\"}");
    block_on(async {
        let tls = Tls::load(greedy.tls.clone()).expect("certificates");
        let connector = TlsConnector::from(Arc::new(tls.current().client(None).expect("a configuration")));
        let (mut silent, mut channels) = (Vec::new(), Vec::new());
        for _ in 0..30 {
            let stream = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, address.1)).await.expect("connected");
            let name = server_name("127.0.0.1").expect("a name");
            silent.push(connector.connect(name, stream).await.expect("a good certificate"));
        }
        // Those that speak HTTP/2, and call nothing.
        for _ in 0..30 {
            channels.push(net::connect(&tls, None, &address).await);
        }
        assert!(open() <= 1.0 + 8.0, "{} connections", open());
        // They end without a word of theirs.
        for stream in &mut silent {
            let mut rest = Vec::new();
            let _ = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut rest)).await.expect("an end");
        }
        wait_within(Duration::from_secs(60), "only the box is left", || open() < 2.0);
        drop(channels);
    });
    assert!(a.registration.registered() && a.registration.registrations() == 1);
    assert!(lab.log(0).contains("no place for a connection of node 'box-2'"), "{}", lab.log(0));
}
