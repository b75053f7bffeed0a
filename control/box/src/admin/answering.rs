//! How answers are made and handed out, so that many or slow readers take a bounded memory and time.

use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use common::admin::Failure;
use futures_util::stream;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The content type of all answers.
pub const JSON: &str = "application/json";
/// Octets of large answers that are not read yet, all together.
const UNREAD: usize = 48 << 20;
/// An answer is handed over in pieces of this size.
const PIECE: usize = 64 << 10;

/// Makes large answers.
#[derive(Clone, Debug)]
pub struct Answering {
    /// One at a time.
    turn: Arc<Semaphore>,
    unread: Arc<Semaphore>,
}

impl Default for Answering {
    fn default() -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), unread: Arc::new(Semaphore::new(UNREAD)) }
    }
}

impl Answering {
    /// Makes an answer of JSON.
    pub async fn large<T: Serialize>(&self, work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Response {
        let made = |status, answer: Result<Vec<u8>, _>| answer.ok().map(|octets| Made { status, kind: JSON, octets });
        self.make(move || match work() {
            Ok(answer) => made(StatusCode::OK, serde_json::to_vec(&answer)),
            Err(wrong) => made(StatusCode::BAD_REQUEST, serde_json::to_vec(&wrong)),
        })
        .await
    }

    /// Makes an answer in a thread that may take its time. Whoever goes away while it waits for its turn costs nothing. `None`
    /// of the work is a defect.
    pub async fn make(&self, work: impl FnOnce() -> Option<Made> + Send + 'static) -> Response {
        let Ok(turn) = Arc::clone(&self.turn).acquire_owned().await else { return busy() };
        let made = tokio::task::spawn_blocking(move || {
            // It is kept until the answer is made, also when nobody waits for it any more.
            let _turn = turn;
            work()
        });
        match made.await {
            Ok(Some(made)) => self.hand_out(made),
            Ok(None) | Err(_) => defect(),
        }
    }

    fn hand_out(&self, made: Made) -> Response {
        let Made { status, kind, octets } = made;
        let Ok(weight) = u32::try_from(octets.len()) else { return busy() };
        let Ok(permit) = Arc::clone(&self.unread).try_acquire_many_owned(weight) else { return busy() };
        let len = octets.len().to_string();
        let pieces = stream::unfold(Unread { left: octets.into(), _permit: permit }, |mut unread| async move {
            let piece = unread.left.split_to(unread.left.len().min(PIECE));
            (!piece.is_empty()).then_some((Ok::<_, Infallible>(piece), unread))
        });
        let headers = [(header::CONTENT_TYPE, kind), (header::CONTENT_LENGTH, len.as_str())];
        (status, headers, Body::from_stream(pieces)).into_response()
    }
}

/// A large answer.
#[derive(Debug)]
pub struct Made {
    /// Its status.
    pub status: StatusCode,
    /// Its content type.
    pub kind: &'static str,
    /// All of it.
    pub octets: Vec<u8>,
}

/// What of an answer is still to be handed over; dropped when all of it is, or the reader has gone.
struct Unread {
    left: Bytes,
    _permit: OwnedSemaphorePermit,
}

/// A small answer.
pub fn json(answer: &impl Serialize) -> Response {
    match serde_json::to_vec(answer) {
        Ok(octets) => ([(header::CONTENT_TYPE, JSON)], octets).into_response(),
        Err(_) => defect(),
    }
}

/// What is answered instead.
pub fn failure(status: StatusCode, failure: &Failure) -> Response {
    (status, json(failure)).into_response()
}

fn busy() -> Response {
    let error = "others have not read their answers yet".to_owned();
    let remedy = "ask again in some seconds, or for fewer".to_owned();
    failure(StatusCode::SERVICE_UNAVAILABLE, &Failure { error, remedy, known: Vec::new() })
}

fn defect() -> Response {
    let (error, remedy) = ("no answer could be made".to_owned(), "report it: this is a defect".to_owned());
    (StatusCode::INTERNAL_SERVER_ERROR, json_of_defect(&error, &remedy)).into_response()
}

fn json_of_defect(error: &str, remedy: &str) -> Response {
    let text = format!("{{\"error\":\"{error}\",\"remedy\":\"{remedy}\",\"known\":[]}}");
    ([(header::CONTENT_TYPE, JSON)], text).into_response()
}

/// Takes this thread off the workers' cores if there are others, and behind the workers if there are none. As far as the system lets
/// it.
pub fn step_aside(cores: &[usize]) {
    let Ok(mut free) = sched_getaffinity(None) else { return };
    cores.iter().filter(|&&core| core < CpuSet::MAX_CPU).for_each(|&core| free.unset(core));
    if free.count() > 0 {
        let _ = sched_setaffinity(None, &free); // then it runs where it did
    } else {
        // Of a process's threads it is this one's alone.
        let _ = rustix::process::setpriority_process(None, 10); // then as the others
    }
}
