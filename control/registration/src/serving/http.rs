//! HTTP for metrics and for those who ask a box: nobody who connects, and asks nothing or does not read, keeps others from being answered, or takes
//! more than a bounded number of descriptors for a bounded time. A connection is for one request.

use super::accepting::{Accepting, Reception};
use super::descriptors;
use super::places::{Comer, Door, Lost, Place, Rules, Source, Stage};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream, unix};
use tokio::sync::oneshot;
use tower::ServiceExt as _;

/// Connections at once, at most.
const PLACES: usize = 64;
/// A request is there within this.
const REQUEST: Duration = Duration::from_secs(5);
/// Its answer is read within this.
const ANSWER: Duration = Duration::from_secs(10);
/// A stream has ended within this.
const STREAM: Duration = Duration::from_secs(3700);
/// Octets of a request's head, at most (hyper's least buffer).
const HEAD: usize = 8192;
/// Header lines, at most.
const HEADERS: usize = 64;
/// The slow are looked for so often.
const SWEEP: Duration = Duration::from_millis(250);

const ASKING: Stage = Stage { safe: Some(Duration::ZERO), patience: Some(REQUEST), crowded: Some(REQUEST) };
const ANSWERING: Stage = Stage { safe: Some(Duration::from_secs(1)), patience: Some(ANSWER), crowded: Some(ANSWER) };
/// An answer that goes on as long as its reader wants; whoever makes one bounds their number, and their time within this.
const STREAMING: Stage = Stage { safe: None, patience: Some(STREAM), crowded: Some(STREAM) };
const STAGES: &[Stage] = &[ASKING, ANSWERING, STREAMING];

/// Among an answer's extensions: it is a stream.
#[derive(Clone, Copy, Debug)]
pub struct Streams;

/// What one hears who finds no place.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// Answers, as long as it is polled.
pub async fn serve(listener: TcpListener, router: Router) -> Infallible {
    Accepting::new("telemetry", SWEEP).run(listener, Web::new(router)).await
}

/// Answers at a socket of this machine, as long as it is polled.
pub async fn serve_local(listener: UnixListener, router: Router) -> Infallible {
    Accepting::new("admin", SWEEP).run(listener, Web::new(router)).await
}

struct Web {
    places: usize,
    door: Door,
    router: Router,
}

impl Web {
    fn new(router: Router) -> Self {
        let places = descriptors::share(PLACES, 8);
        Self { places, door: Door::new(Rules { all: places, reserved: 0, stages: STAGES }), router }
    }

    fn comer(&self, source: Source) -> Comer {
        Comer { source, known: false, most: self.places }
    }
}

impl Reception<TcpListener> for Web {
    fn door(&self) -> &Door {
        &self.door
    }

    fn comer(&self, from: &SocketAddr) -> Comer {
        self.comer(Source::from(from.ip()))
    }

    fn admit(&self, stream: TcpStream, _from: SocketAddr, place: Place, lost: oneshot::Receiver<Lost>) {
        tokio::spawn(connection(stream, self.router.clone(), place, lost));
    }

    fn turn_away(&self, stream: TcpStream, _from: SocketAddr) {
        // All places are taken by those that are being answered.
        drop(stream.try_write(BUSY));
    }
}

impl Reception<UnixListener> for Web {
    fn door(&self) -> &Door {
        &self.door
    }

    fn comer(&self, _from: &unix::SocketAddr) -> Comer {
        self.comer(Source::Local)
    }

    fn admit(&self, stream: UnixStream, _from: unix::SocketAddr, place: Place, lost: oneshot::Receiver<Lost>) {
        tokio::spawn(connection(stream, self.router.clone(), place, lost));
    }

    fn turn_away(&self, stream: UnixStream, _from: unix::SocketAddr) {
        drop(stream.try_write(BUSY)); // as above
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    place: Place,
    lost: oneshot::Receiver<Lost>,
) {
    let place = &place;
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        place.advance(1);
        let answer = router.clone().oneshot(request.map(Body::new));
        async move {
            let answer = answer.await;
            if let Ok(answer) = &answer
                && answer.extensions().get::<Streams>().is_some()
            {
                place.advance(2);
            }
            answer
        }
    });
    let mut http = http1::Builder::new();
    http.keep_alive(false).max_buf_size(HEAD).max_headers(HEADERS);
    let serving = http.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        ended = serving => if let Err(error) = ended {
            tracing::debug!(%error, "a connection has ended");
        },
        why = lost => tracing::debug!(?why, "a connection is ended"),
    }
}
