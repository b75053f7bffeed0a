//! HTTP for metrics: nobody who connects, and asks nothing or does not read, keeps others from being answered, or takes
//! more than a bounded number of descriptors for a bounded time. A connection is for one request.

use crate::serving::places::{Comer, Door, Lost, Place, Rules, Source, Stage};
use crate::serving::sparing::Sparing;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tower::ServiceExt as _;

/// Connections at once, at most.
const PLACES: usize = 64;
/// A request is there within this.
const REQUEST: Duration = Duration::from_secs(5);
/// Its answer is read within this.
const ANSWER: Duration = Duration::from_secs(10);
/// Octets of a request's head, at most (hyper's least buffer).
const HEAD: usize = 8192;
/// Header lines, at most.
const HEADERS: usize = 64;
/// The slow are looked for so often.
const SWEEP: Duration = Duration::from_millis(250);

const ASKING: Stage = Stage { safe: Some(Duration::ZERO), patience: Some(REQUEST), crowded: Some(REQUEST) };
const ANSWERING: Stage = Stage { safe: Some(Duration::from_secs(1)), patience: Some(ANSWER), crowded: Some(ANSWER) };
const STAGES: &[Stage] = &[ASKING, ANSWERING];

/// What one hears who finds no place.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// Errors in accepting: without a descriptor for a connection (others use them up) it is tried again, ever less often, and
/// said now and then.
#[derive(Debug)]
pub struct Accepting {
    what: &'static str,
    sparing: Sparing,
    pause: Duration,
}

impl Accepting {
    const LEAST_PAUSE: Duration = Duration::from_millis(10);
    const LONGEST_PAUSE: Duration = Duration::from_secs(1);

    /// For this listener, as the log is to name it.
    #[must_use]
    pub fn new(what: &'static str) -> Self {
        Self { what, sparing: Sparing::new(1, Duration::from_secs(10)), pause: Self::LEAST_PAUSE }
    }

    /// The connection, if there is one; else after a pause.
    pub async fn through<T>(&mut self, accepted: io::Result<T>) -> Option<T> {
        match accepted {
            Ok(connection) => {
                self.pause = Self::LEAST_PAUSE;
                Some(connection)
            }
            Err(error) => {
                if let Some(unsaid) = self.sparing.may(Instant::now()) {
                    tracing::warn!(on = self.what, %error, unsaid, "a connection could not be accepted");
                }
                let pause = self.pause;
                self.pause = (pause * 2).min(Self::LONGEST_PAUSE);
                tokio::time::sleep(pause).await;
                None
            }
        }
    }
}

/// Answers, as long as it is polled.
pub async fn serve(listener: TcpListener, router: Router) -> Infallible {
    let places = crate::serving::descriptors::share(PLACES, 8);
    let door = Door::new(Rules { all: places, reserved: 0, stages: STAGES });
    let mut accepting = Accepting::new("telemetry");
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = sweep.tick() => {
                door.sweep();
                continue;
            }
        };
        let Some((stream, from)) = accepting.through(accepted).await else { continue };
        match door.enter(Comer { source: Source::from(from.ip()), known: false, most: places }) {
            Some((place, lost)) => drop(tokio::spawn(connection(stream, router.clone(), place, lost))),
            // All places are taken by those that are being answered.
            None => drop(stream.try_write(BUSY)),
        }
        // Whoever has lost a place closes its connection before there is another: no more are open than there are places.
        tokio::task::yield_now().await;
    }
}

async fn connection(stream: TcpStream, router: Router, place: Place, lost: oneshot::Receiver<Lost>) {
    let service = hyper::service::service_fn(|request: Request<Incoming>| {
        place.advance(1);
        router.clone().oneshot(request.map(Body::new))
    });
    let mut http = http1::Builder::new();
    http.keep_alive(false).max_buf_size(HEAD).max_headers(HEADERS);
    let serving = http.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        ended = serving => if let Err(error) = ended {
            tracing::debug!(%error, "telemetry: a connection has ended");
        },
        why = lost => tracing::debug!(?why, "telemetry: a connection is ended"),
    }
}
