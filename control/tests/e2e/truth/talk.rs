//! Clients at host A, and servers at host B that take a known time.

use crate::hosts::udp;
use rig::{Rig, Side};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between an answer and the next request.
const THINK: Duration = Duration::from_millis(20);
/// A bound on a hang.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a server looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(100);
/// Octets of a message: its number, and as many more.
const LEN: usize = 16;

/// A server that takes a time.
#[derive(Debug)]
pub struct Case {
    /// Its policy's name too.
    pub name: &'static str,
    pub port: u16,
    pub tcp: bool,
    pub takes: Duration,
    pub mode: &'static str,
}

impl Case {
    pub fn protocol(&self) -> &'static str {
        if self.tcp { "tcp" } else { "udp" }
    }
}

/// One client and its server: a request, an answer, a pause, and so on.
pub struct Talk {
    /// The client is to stop, and the server.
    stop: [Arc<AtomicBool>; 2],
    takes_us: Arc<AtomicU64>,
    client: JoinHandle<Ends>,
    server: JoinHandle<Ends>,
}

/// Sockets, which stay open as long as this.
pub enum Ends {
    Udp(#[expect(dead_code, reason = "it is kept open")] UdpSocket),
    Tcp(#[expect(dead_code, reason = "it is kept open")] TcpStream),
}

impl Talk {
    pub fn start(rig: &Rig, case: &Case) -> Self {
        let stop = <[Arc<AtomicBool>; 2]>::default();
        let takes_us = Arc::new(AtomicU64::new(case.takes.as_micros() as u64));
        let takes = Arc::clone(&takes_us);
        let pause = move || std::thread::sleep(Duration::from_micros(takes.load(Ordering::Relaxed)));
        let talk = if case.tcp { over_tcp } else { over_udp };
        let (client, server) = talk(rig, case.port, stop.clone(), Box::new(pause));
        Self { stop, takes_us, client, server }
    }

    /// The server takes so long from now on.
    pub fn takes(&self, time: Duration) {
        self.takes_us.store(time.as_micros() as u64, Ordering::Relaxed);
    }

    /// After the answer to the present request no more is asked.
    pub fn end(self) -> [Ends; 2] {
        let [stop_client, stop_server] = self.stop;
        stop_client.store(true, Ordering::Relaxed);
        let client = self.client.join().expect("the client has all its answers");
        stop_server.store(true, Ordering::Relaxed);
        [client, self.server.join().expect("the server")]
    }
}

fn message(number: u64) -> [u8; LEN] {
    let mut message = [0; LEN];
    message[..8].copy_from_slice(&number.to_be_bytes());
    message
}

/// The number of what is a message.
pub fn number(payload: &[u8]) -> Option<u64> {
    (payload.len() == LEN).then(|| payload.first_chunk().copied().map(u64::from_be_bytes)).flatten()
}

type Threads = (JoinHandle<Ends>, JoinHandle<Ends>);

type Pause = Box<dyn Fn() + Send>;

fn over_udp(rig: &Rig, port: u16, [stop, until]: [Arc<AtomicBool>; 2], pause: Pause) -> Threads {
    let (client, server) = (udp(rig, Side::A, 0), udp(rig, Side::B, port));
    client.connect((Side::B.address(), port)).expect("connected");
    server.set_read_timeout(Some(LOOK)).expect("a time-out");
    let server = std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while !until.load(Ordering::Relaxed) {
            let Ok((len, from)) = server.recv_from(&mut buffer) else { continue };
            pause();
            server.send_to(&buffer[..len], from).expect("an answer");
        }
        Ends::Udp(server)
    });
    let client = std::thread::spawn(move || {
        let mut answer = [0; 64];
        for i in 1.. {
            client.send(&message(i)).expect("a request");
            let len = client.recv(&mut answer).expect("an answer");
            assert_eq!(number(&answer[..len]), Some(i));
            if stop.load(Ordering::Relaxed) {
                break;
            }
            std::thread::sleep(THINK);
        }
        Ends::Udp(client)
    });
    (client, server)
}

fn over_tcp(rig: &Rig, port: u16, [stop, until]: [Arc<AtomicBool>; 2], pause: Pause) -> Threads {
    let listener = rig.host(Side::B).enter(move || TcpListener::bind((Side::B.address(), port)));
    let listener = listener.expect("namespace").expect("socket");
    let client = rig.host(Side::A).enter(move || TcpStream::connect((Side::B.address(), port)));
    let mut client = client.expect("namespace").expect("connected");
    let (mut server, _) = listener.accept().expect("connection");
    for (socket, patience) in [(&client, PATIENCE), (&server, LOOK)] {
        socket.set_nodelay(true).expect("an option");
        socket.set_read_timeout(Some(patience)).expect("a time-out");
    }
    let server = std::thread::spawn(move || {
        let mut buffer = [0; LEN];
        while !until.load(Ordering::Relaxed) {
            if server.peek(&mut buffer).is_err() {
                continue; // nothing yet
            }
            server.read_exact(&mut buffer).expect("a request");
            pause();
            server.write_all(&buffer).expect("an answer");
        }
        Ends::Tcp(server)
    });
    let client = std::thread::spawn(move || {
        let mut answer = [0; LEN];
        for i in 1.. {
            client.write_all(&message(i)).expect("a request");
            client.read_exact(&mut answer).expect("an answer");
            assert_eq!(number(&answer), Some(i));
            if stop.load(Ordering::Relaxed) {
                break;
            }
            std::thread::sleep(THINK);
        }
        Ends::Tcp(client)
    });
    (client, server)
}
