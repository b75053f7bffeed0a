//! A TCP connection between the hosts that is busy all the time, and every octet of which is accounted for.

use rig::{Rig, Side};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// So long may nothing come, while a box is away and TCP's pauses grow.
const PATIENCE: Duration = Duration::from_secs(90);
/// Octets written at once, every [`PACE`]: some packets all the time, and no queue that fills up.
const CHUNK: usize = 4096;
const PACE: Duration = Duration::from_millis(5);

const fn octet(at: u64) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16) ^ (at >> 24)) as u8
}

/// Host A sends, host B sends it back, host A compares.
pub struct Stream {
    stop: Arc<AtomicBool>,
    returned: Arc<AtomicU64>,
    sender: JoinHandle<u64>,
    echo: JoinHandle<()>,
    reader: JoinHandle<()>,
}

impl Stream {
    pub fn start(rig: &Rig, port: u16) -> Self {
        let listener = rig.host(Side::B).enter(move || TcpListener::bind((Side::B.address(), port)));
        let listener = listener.expect("namespace").expect("socket");
        let client = rig.host(Side::A).enter(move || TcpStream::connect((Side::B.address(), port)));
        let client = client.expect("namespace").expect("connected");
        let (server, _) = listener.accept().expect("connection");
        for socket in [&client, &server] {
            socket.set_nodelay(true).expect("an option");
            socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
            socket.set_write_timeout(Some(PATIENCE)).expect("a time-out");
        }
        let (stop, returned) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let sender = {
            let (stop, mut socket) = (Arc::clone(&stop), client.try_clone().expect("a socket"));
            std::thread::spawn(move || {
                let mut sent = 0;
                while !stop.load(Ordering::Relaxed) {
                    let chunk: Vec<u8> = (sent..sent + CHUNK as u64).map(octet).collect();
                    socket.write_all(&chunk).expect("the connection holds, host A to host B");
                    sent += CHUNK as u64;
                    std::thread::sleep(PACE);
                }
                socket.shutdown(Shutdown::Write).expect("an end");
                sent
            })
        };
        let echo = std::thread::spawn(move || {
            let (mut from, mut to) = (&server, &server);
            std::io::copy(&mut from, &mut to).expect("the connection holds, host B");
            server.shutdown(Shutdown::Write).expect("an end");
        });
        let reader = {
            let (returned, mut socket) = (Arc::clone(&returned), client);
            std::thread::spawn(move || {
                let (mut buffer, mut at) = (vec![0; 65536], 0);
                loop {
                    let n = socket.read(&mut buffer).expect("the connection holds, host B to host A");
                    if n == 0 {
                        break;
                    }
                    assert!(buffer[..n].iter().zip(at..).all(|(&b, i)| b == octet(i)), "octets differ after {at}");
                    at += n as u64;
                    returned.store(at, Ordering::Relaxed);
                }
            })
        };
        Self { stop, returned, sender, echo, reader }
    }

    /// Octets that have been there and back.
    pub fn returned(&self) -> u64 {
        self.returned.load(Ordering::Relaxed)
    }

    /// Waits until the connection has gone on from here by some chunks.
    pub fn goes_on(&self, why: &str) {
        let from = self.returned();
        crate::boxes::wait_for(why, || {
            assert!(!self.sender.is_finished() && !self.reader.is_finished(), "the connection has ended: {why}");
            self.returned() >= from + 16 * CHUNK as u64
        });
    }

    /// Ends the connection; every octet that was sent has come back. Gives how many.
    pub fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().expect("the sender");
        self.echo.join().expect("the echo");
        self.reader.join().expect("the reader");
        assert_eq!(self.returned.load(Ordering::Relaxed), sent, "octets sent, and come back");
        sent
    }
}
