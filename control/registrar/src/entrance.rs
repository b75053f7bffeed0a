//! Where boxes and other primaries come in: TCP, TLS with certificates of both sides, places.
//!
//! A handshake and an open connection each have one of a bounded number of places (`places.rs`). Of those for handshakes an
//! address gets no more than half, and a quarter is for addresses from which somebody with a certificate has come lately, so
//! that strangers keep no box out. An open connection on which nothing is asked ends after a while, and a box has only so
//! many of them.

use anyhow::{Context as _, anyhow};
use common::identity::Kind;
use registration::serving::accepting::{Accepting, Reception};
use registration::serving::descriptors;
use registration::serving::places::{Comer, Door, Lost, Place, PlaceCounts, Rules, Source, Stage};
use registration::serving::sparing::Sparing;
use registration::tls::{Tls, named};
use rustls::pki_types::CertificateDer;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::{LazyConfigAcceptor, server};
use tonic::transport::server::Connected;

/// Handshakes under way at once, at most.
const HANDSHAKES: usize = 2048;
/// Open connections at once, at most.
const CONNECTIONS: usize = 65_536;
/// Open connections of one box, at most: it needs one, and has more only until those that it lost are noticed.
const OF_ONE_BOX: usize = 8;
/// A refused client has so long, and may send so much, while it is given to read why.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_OCTETS: u64 = 64 << 10;
/// The slow are looked for so often.
const SWEEP: Duration = Duration::from_millis(100);
/// An address is known so long after somebody with a certificate has come from it.
const LATELY: Duration = Duration::from_secs(3600);
/// Addresses that are remembered, at most.
const REMEMBERED: usize = 8192;
/// Refusals that are logged at once; then one each second.
const REFUSALS: u32 = 10;

const fn stage(safe_ms: u64, patience_ms: u64, crowded_ms: u64) -> Stage {
    Stage {
        safe: Some(Duration::from_millis(safe_ms)),
        patience: Some(Duration::from_millis(patience_ms)),
        crowded: Some(Duration::from_millis(crowded_ms)),
    }
}

/// The stages of a handshake: before its first message, and after.
const HANDSHAKE: &[Stage] = &[stage(100, 5000, 1000), stage(500, 5000, 2000)];
const SPOKEN: usize = 1;

/// The stages of an open connection: without a call, and with one.
const OPEN: &[Stage] = &[stage(2000, 15_000, 5000), Stage { safe: None, patience: None, crowded: None }];
const IDLE: usize = 0;
const CALLED: usize = 1;

/// The places of a registrar.
#[derive(Clone, Debug)]
pub struct Doors {
    handshakes: Door,
    open: Door,
    of_one_address: usize,
    connections: usize,
}

impl Doors {
    /// As many as there are descriptors for.
    #[must_use]
    pub fn new() -> Self {
        let (handshakes, connections) = (descriptors::share(HANDSHAKES, 8), descriptors::share(CONNECTIONS, 2));
        Self {
            handshakes: Door::new(Rules { all: handshakes, reserved: handshakes / 4, stages: HANDSHAKE }),
            open: Door::new(Rules { all: connections, reserved: 0, stages: OPEN }),
            of_one_address: handshakes.div_ceil(2),
            connections,
        }
    }

    /// Connections that may be open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections
    }

    /// Handshakes, and open connections.
    #[must_use]
    pub fn counts(&self) -> [PlaceCounts; 2] {
        [self.handshakes.counts(), self.open.counts()]
    }
}

impl Default for Doors {
    fn default() -> Self {
        Self::new()
    }
}

/// A connection whose certificate is good.
#[derive(Debug)]
pub struct Accepted {
    stream: server::TlsStream<TcpStream>,
    shown: Shown,
    lost: Option<oneshot::Receiver<Lost>>,
}

/// What a service sees of the connection that a call came over.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The certificates that were shown.
    pub chain: Arc<Vec<CertificateDer<'static>>>,
    /// Where it comes from.
    pub from: SocketAddr,
    open: Arc<Open>,
}

impl Shown {
    /// A call begins; it ends when this is dropped.
    #[must_use]
    pub fn call(&self) -> Call {
        self.open.change(|calls| *calls += 1);
        Call(Arc::clone(&self.open))
    }
}

/// An open connection's place, and the calls under way on it.
#[derive(Debug)]
struct Open {
    place: Place,
    calls: Mutex<usize>,
}

impl Open {
    fn change(&self, how: impl FnOnce(&mut usize)) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *calls;
        how(&mut calls);
        if (before == 0) != (*calls == 0) {
            self.place.advance(if *calls == 0 { IDLE } else { CALLED });
        }
    }
}

/// A call under way.
#[derive(Debug)]
pub struct Call(Arc<Open>);

impl Drop for Call {
    fn drop(&mut self) {
        self.0.change(|calls| *calls = calls.saturating_sub(1));
    }
}

impl Connected for Accepted {
    type ConnectInfo = Shown;

    fn connect_info(&self) -> Shown {
        self.shown.clone()
    }
}

impl Accepted {
    /// An error, once the place is lost.
    fn poll_lost(&mut self, cx: &mut Context<'_>) -> std::io::Result<()> {
        let lost = self.lost.as_mut().map(|lost| Pin::new(lost).poll(cx));
        match lost {
            Some(Poll::Pending) => return Ok(()),
            Some(Poll::Ready(_)) => self.lost = None,
            None => {}
        }
        Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "nothing was asked on it, and it is ended"))
    }
}

impl AsyncRead for Accepted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        self.poll_lost(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<std::io::Result<usize>> {
        self.poll_lost(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Addresses from which somebody with a certificate has come lately.
#[derive(Debug, Default)]
struct Lately(HashMap<Source, Instant>);

impl Lately {
    fn note(&mut self, now: Instant, source: Source) {
        if self.0.len() >= REMEMBERED && !self.0.contains_key(&source) {
            self.0.retain(|_, at| now.saturating_duration_since(*at) < LATELY);
            if self.0.len() >= REMEMBERED
                && let Some(oldest) = self.0.iter().min_by_key(|(_, at)| **at).map(|(source, _)| source.clone())
            {
                self.0.remove(&oldest);
            }
        }
        self.0.insert(source, now);
    }

    fn knows(&self, now: Instant, source: &Source) -> bool {
        self.0.get(source).is_some_and(|at| now.saturating_duration_since(*at) < LATELY)
    }
}

/// What the tasks of one listener share.
struct Entrance {
    tls: Arc<Tls>,
    doors: Doors,
    lately: Mutex<Lately>,
    refusals: Mutex<Sparing>,
    accepted: mpsc::Sender<std::io::Result<Accepted>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Accepts connections and gives those that have shown a certificate.
///
/// # Errors
/// The address cannot be listened on.
pub async fn listen(
    tls: Arc<Tls>,
    doors: Doors,
    address: SocketAddr,
) -> anyhow::Result<(SocketAddr, mpsc::Receiver<std::io::Result<Accepted>>)> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("[registrar] listen: cannot listen on {address}; choose a free port, or an address of this machine")
    })?;
    let address = listener.local_addr().context("[registrar] listen")?;
    let (accepted, connections) = mpsc::channel(16);
    let refusals = Mutex::new(Sparing::new(REFUSALS, Duration::from_secs(1)));
    let entrance = Entrance { tls, doors, lately: Mutex::default(), refusals, accepted };
    tokio::spawn(Accepting::new("[registrar] listen", SWEEP).run(listener, AtTheDoor(Arc::new(entrance))));
    Ok((address, connections))
}

/// The listener's side of it.
struct AtTheDoor(Arc<Entrance>);

impl Reception<TcpListener> for AtTheDoor {
    fn door(&self) -> &Door {
        &self.0.doors.handshakes
    }

    fn comer(&self, from: &SocketAddr) -> Comer {
        let source = Source::from(from.ip());
        let known = lock(&self.0.lately).knows(Instant::now(), &source);
        Comer { source, known, most: self.0.doors.of_one_address }
    }

    fn admit(&self, stream: TcpStream, from: SocketAddr, place: Place, lost: oneshot::Receiver<Lost>) {
        tokio::spawn(greet(Arc::clone(&self.0), stream, from, place, lost));
    }

    fn turn_away(&self, _stream: TcpStream, from: SocketAddr) {
        self.0.refused(from, &anyhow!("no place for a handshake: too many are under way"));
    }

    fn sweep(&self) {
        self.0.doors.handshakes.sweep();
        self.0.doors.open.sweep();
        if let Some(unsaid) = lock(&self.0.refusals).unsaid(Instant::now()) {
            tracing::warn!(unsaid, "connections refused that were not logged one by one");
        }
    }
}

impl Entrance {
    fn refused(&self, from: SocketAddr, error: &anyhow::Error) {
        if let Some(unsaid) = lock(&self.refusals).may(Instant::now()) {
            tracing::warn!(%from, error = format!("{error:#}"), unsaid, "connection refused");
        }
    }

    /// Gives a place to a connection that has shown a certificate.
    fn open(&self, stream: server::TlsStream<TcpStream>, from: SocketAddr) -> anyhow::Result<Accepted> {
        let chain = stream.get_ref().1.peer_certificates().context("no certificate")?;
        let chain: Arc<Vec<_>> = Arc::new(chain.iter().map(|c| c.clone().into_owned()).collect());
        let holder = named(chain.first().context("no certificate")?);
        // A follower has a connection for each box that it passes on.
        let most = match &holder {
            Ok(holder) if holder.kind == Kind::Registrar => self.doors.connections,
            _ => OF_ONE_BOX,
        };
        let name = holder.map_or_else(|_| "nobody".to_owned(), |holder| holder.to_string());
        lock(&self.lately).note(Instant::now(), Source::from(from.ip()));
        let comer = Comer { source: Source::Named(name.clone()), known: true, most };
        let (place, lost) = self.doors.open.enter(comer).with_context(|| {
            format!("no place for a connection of {name}: it has {most}, or all {} are taken", self.doors.connections)
        })?;
        let shown = Shown { chain, from, open: Arc::new(Open { place, calls: Mutex::new(0) }) };
        Ok(Accepted { stream, shown, lost: Some(lost) })
    }
}

/// A connection's handshake.
async fn greet(
    entrance: Arc<Entrance>,
    stream: TcpStream,
    from: SocketAddr,
    place: Place,
    mut lost: oneshot::Receiver<Lost>,
) {
    let done = tokio::select! {
        done = handshake(&entrance.tls, stream, &place) => done,
        why = &mut lost => Err((anyhow!(match why {
            Ok(Lost::Displaced) => "others needed its place before there was a TLS handshake",
            Ok(Lost::Slow) | Err(_) => "no TLS handshake in time",
        }), None)),
    };
    match done {
        Ok(stream) => match entrance.open(stream, from) {
            Ok(accepted) => drop(entrance.accepted.send(Ok(accepted)).await), // else the program ends
            Err(error) => entrance.refused(from, &error),
        },
        Err((error, stream)) => {
            entrance.refused(from, &error);
            if let Some(stream) = stream {
                tokio::select! {
                    _ = tokio::time::timeout(LINGER, read_out(stream)) => {}
                    _ = lost => {}
                }
            }
        }
    }
    drop(place);
}

/// On failure with the connection, when TLS has an alert under way on it.
async fn handshake(
    tls: &Tls,
    stream: TcpStream,
    place: &Place,
) -> Result<server::TlsStream<TcpStream>, (anyhow::Error, Option<TcpStream>)> {
    if let Err(error) = stream.set_nodelay(true) {
        return Err((error.into(), None));
    }
    let failed = |error: std::io::Error| registration::tls::why(error).context("TLS failed");
    let mut first = std::pin::pin!(LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream));
    let start = match first.as_mut().await {
        Ok(start) => start,
        Err(error) => return Err((failed(error), first.take_io())),
    };
    place.advance(SPOKEN);
    let done = start.into_stream(tls.current().server()).into_fallible().await;
    done.map_err(|(error, stream)| (failed(error), Some(stream)))
}

/// Reads what a refused client still sends, and forgets it, until it closes. Whose handshake is over before its certificate is
/// looked at (TLS 1.3) has sent its first call already; if that lay unread when the connection is closed, the kernel would
/// reset it, and the client would not get to see the alert that says why.
async fn read_out(mut stream: TcpStream) {
    if stream.shutdown().await.is_ok() {
        let _ = tokio::io::copy(&mut stream.take(LINGER_OCTETS), &mut tokio::io::sink()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_known_for_a_while_and_so_many_only() {
        let (mut lately, start) = (Lately::default(), Instant::now());
        let source = |n: u32| Source::V4(n.to_be_bytes());
        lately.note(start, source(0));
        assert!(lately.knows(start + LATELY / 2, &source(0)) && !lately.knows(start, &source(1)));
        assert!(!lately.knows(start + LATELY, &source(0)));
        for n in 0..REMEMBERED as u32 + 100 {
            lately.note(start + Duration::from_millis(n.into()), source(n));
            assert!(lately.0.len() <= REMEMBERED);
        }
        let last = start + Duration::from_millis(REMEMBERED as u64 + 100);
        assert!(lately.knows(last, &source(REMEMBERED as u32 + 99)) && !lately.knows(last, &source(0)));
    }
}
