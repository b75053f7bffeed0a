//! `/metrics` for Prometheus and `/healthz`, on a thread of its own. Which metrics: [`figures`](super::figures). How
//! connections are bounded: `http.rs`.

use crate::observe::counts::Counts;
use crate::observe::figures::BOOK;
use anyhow::Context;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use common::metrics::prometheus::{self, TEXT_FORMAT};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// Gives the present counts, or what is wrong with the box.
pub type Source = Arc<dyn Fn() -> Counts + Send + Sync>;

/// The server; ends when dropped.
pub struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The address, listened on; nobody is answered yet.
pub struct Listener {
    runtime: tokio::runtime::Runtime,
    listener: tokio::net::TcpListener,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Listener {
    /// Listens.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub fn bind(listen: SocketAddr) -> anyhow::Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start telemetry")?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind(listen)).with_context(|| {
            format!("[telemetry] listen: cannot listen on {listen}; choose a free port, or an address of this machine")
        })?;
        let address = listener.local_addr().context("cannot start telemetry")?;
        Ok(Self { runtime, listener, address })
    }

    /// Answers, on a thread of its own.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn serve(self, source: Source) -> anyhow::Result<Server> {
        let (stop, stopped) = oneshot::channel();
        let app = Router::new()
            .route("/metrics", get(move || async move { metrics(&source()) }))
            .route("/healthz", get(|| async { "ok\n" }));
        let Self { runtime, listener, .. } = self;
        let thread = std::thread::Builder::new().name("telemetry".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    never = registration::serving::http::serve(listener, app) => match never {},
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Server { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(()); // it has ended already
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn metrics(counts: &Counts) -> impl IntoResponse + use<> {
    match prometheus::text(&BOOK, counts) {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, TEXT_FORMAT)], text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], error.to_string()),
    }
}
