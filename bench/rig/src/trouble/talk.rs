//! Requests and answers between the hosts: UDP, so that what is lost is lost.

use crate::side::Side;
use crate::topology::Rig;
use anyhow::{Context, Result};
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// An answer that is not there by then does not come.
const PATIENCE: Duration = Duration::from_millis(400);
/// Between an answer and the next request.
const PAUSE: Duration = Duration::from_millis(5);

/// Host B's program: it answers each request after a time. Gone when dropped.
#[derive(Debug)]
pub struct Server {
    takes_us: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// At this port.
    ///
    /// # Errors
    /// The port is taken.
    pub fn start(rig: &Rig, port: u16, takes: Duration) -> Result<Self> {
        let socket = bound(rig, Side::B, port)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let takes_us = Arc::new(AtomicU64::new(takes.as_micros() as u64));
        let stop = Arc::new(AtomicBool::new(false));
        let (of, until) = (Arc::clone(&takes_us), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !until.load(Ordering::Relaxed) {
                if let Ok((len, from)) = socket.recv_from(&mut buffer) {
                    std::thread::sleep(Duration::from_micros(of.load(Ordering::Relaxed)));
                    let _ = socket.send_to(&buffer[..len], from); // its client has gone
                }
            }
        });
        Ok(Self { takes_us, stop, thread: Some(thread) })
    }

    /// So long from now on.
    pub fn takes(&self, time: Duration) {
        self.takes_us.store(time.as_micros() as u64, Ordering::Relaxed);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What host A saw.
#[derive(Debug, Default)]
pub struct Talk {
    /// Requests.
    pub sent: u64,
    /// Those that were answered.
    pub answered: u64,
    /// How long answers took before the trouble began.
    pub before: Vec<Duration>,
    /// And then.
    pub after: Vec<Duration>,
}

/// Host A's program: one request after the other.
#[derive(Debug)]
pub struct Client {
    socket: UdpSocket,
    talk: Talk,
}

impl Client {
    /// Of the server at this port.
    ///
    /// # Errors
    /// The host has no socket.
    pub fn new(rig: &Rig, port: u16) -> Result<Self> {
        let socket = bound(rig, Side::A, 0)?;
        socket.connect((Side::B.address(), port))?;
        Ok(Self { socket, talk: Talk::default() })
    }

    /// For so long, and at least one; `trouble`: it has begun.
    ///
    /// # Errors
    /// The host cannot send.
    pub fn ask_for(&mut self, time: Duration, trouble: bool) -> Result<()> {
        let start = Instant::now();
        loop {
            let took = ask(&self.socket, self.talk.sent)?;
            self.talk.sent += 1;
            self.talk.answered += u64::from(took.is_some());
            (if trouble { &mut self.talk.after } else { &mut self.talk.before }).extend(took);
            std::thread::sleep(PAUSE);
            if start.elapsed() >= time {
                return Ok(());
            }
        }
    }

    /// What it saw.
    #[must_use]
    pub fn end(self) -> Talk {
        self.talk
    }
}

/// How long an answer took; `None`: it did not come.
fn ask(socket: &UdpSocket, number: u64) -> Result<Option<Duration>> {
    let (request, sent, mut answer) = (number.to_be_bytes(), Instant::now(), [0; 64]);
    socket.send(&request).context("host A cannot send")?;
    while let Some(left) = PATIENCE.checked_sub(sent.elapsed()).filter(|left| !left.is_zero()) {
        socket.set_read_timeout(Some(left))?;
        match socket.recv(&mut answer) {
            Ok(len) if answer[..len] == request => return Ok(Some(sent.elapsed())),
            _ => {} // nothing yet, or the answer to an earlier one
        }
    }
    Ok(None)
}

fn bound(rig: &Rig, side: Side, port: u16) -> Result<UdpSocket> {
    let socket = rig.host(side).enter(move || UdpSocket::bind((side.address(), port)))?;
    socket.with_context(|| format!("host {side:?} has no socket"))
}

/// The one in the middle; `None`: there is none.
pub(super) fn median(times: &[Duration]) -> Option<Duration> {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted.get(sorted.len() / 2).copied()
}
