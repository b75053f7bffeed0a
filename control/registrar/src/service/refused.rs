//! Refused calls: said in the log, also those that never reach the services.

use crate::entrance::{Call, Shown};
use hyper::body::{Body, Frame, SizeHint};
use registration::serving::sparing::Sparing;
use std::pin::Pin;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tonic::{Code, Status};

/// Refused calls: so many lines at once, then one a second.
static REFUSALS: LazyLock<Mutex<Sparing>> = LazyLock::new(|| Mutex::new(Sparing::new(20, Duration::from_secs(1))));

/// Says in the log what call is refused, whose, and why; the caller is told the same. Also of calls that never reach
/// [`Services`](super::Services), as those with a message that is too large. As long as a call is under way, its connection is not idle.
pub async fn say_refused(request: axum::extract::Request, next: axum::middleware::Next) -> axum::response::Response {
    let shown = request.extensions().get::<Shown>().cloned();
    let under_way = shown.as_ref().map(Shown::call);
    let call: String = request.uri().path().rsplit('/').next().unwrap_or_default().chars().take(32).collect();
    let response = next.run(request).await;
    // Whose place is taken tries again and again: the engine says so, now and then.
    let refused = |status: &Status| !matches!(status.code(), Code::Ok | Code::AlreadyExists);
    if let Some(status) = Status::from_header_map(response.headers()).filter(refused) {
        let named = shown.as_ref().and_then(|shown| registration::tls::named(shown.chain.first()?).ok());
        let certificate = named.map_or_else(|| "nobody".to_owned(), |n| n.to_string());
        // Whoever has a certificate can call as often as he likes.
        let may = REFUSALS.lock().unwrap_or_else(PoisonError::into_inner).may(Instant::now());
        if let Some(unsaid) = may {
            tracing::warn!(call, certificate, why = status.message(), unsaid, "a call is refused");
        }
    }
    response.map(|body| axum::body::Body::new(Answering { body, _under_way: under_way }))
}

/// An answer's body, and that its call is under way until all of it is sent or nobody wants it.
struct Answering {
    body: axum::body::Body,
    _under_way: Option<Call>,
}

impl Body for Answering {
    type Data = axum::body::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
