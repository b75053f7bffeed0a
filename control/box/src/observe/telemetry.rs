//! `/metrics` for Prometheus and `/healthz`, the admin interface and the page, on a thread of its own. Which metrics:
//! [`figures`](super::figures). What else is answered: [`crate::admin`]. How connections are bounded: `http.rs`.

use crate::admin::{self, Admin, World, page};
use crate::observe::counts::Counts;
use crate::observe::figures::BOOK;
use anyhow::Context;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use common::logging::Telemetry;
use common::metrics::prometheus::{self, TEXT_FORMAT};
use registration::serving;
use registration::serving::local::{self, Asked, Remove};
use std::future::pending;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// Gives the present counts, or what is wrong with the box.
pub type Source = Arc<dyn Fn() -> Counts + Send + Sync>;

/// The server; ends when dropped.
pub struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What is listened on; nobody is answered yet.
pub struct Listener {
    runtime: tokio::runtime::Runtime,
    tcp: Option<(tokio::net::TcpListener, SocketAddr)>,
    /// Whether the admin interface is there too.
    admin_too: bool,
    socket: Option<(tokio::net::UnixListener, Remove)>,
}

impl Listener {
    /// Listens. Before the program has other threads.
    ///
    /// # Errors
    /// An address or a socket cannot be listened on.
    pub fn bind(telemetry: &Telemetry, admin: Option<&common::admin::config::Admin>) -> anyhow::Result<Self> {
        // One thread beside the first, for what takes its time.
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().max_blocking_threads(1).build().context("cannot start telemetry")?;
        let within = runtime.enter();
        let tcp = telemetry.listen.map(|listen| {
            let listener = runtime.block_on(tokio::net::TcpListener::bind(listen)).with_context(|| {
                format!(
                    "[telemetry] listen: cannot listen on {listen}; choose a free port, or an address of this machine"
                )
            })?;
            let address = listener.local_addr().context("cannot start telemetry")?;
            anyhow::Ok((listener, address))
        });
        let socket = admin.map(|admin| {
            let common::admin::config::Access { mode, group } = &admin.access;
            let asked = Asked { setting: "[admin] socket", who: "box", mode: *mode, group: group.as_deref() };
            let listener = local::listen(&admin.socket, &asked)?;
            anyhow::Ok((listener, Remove(admin.socket.clone())))
        });
        let (tcp, socket) = (tcp.transpose()?, socket.transpose()?);
        drop(within);
        Ok(Self { runtime, tcp, admin_too: telemetry.admin, socket })
    }

    /// Where it listens: the address, and the socket.
    #[must_use]
    pub fn places(&self) -> (Option<SocketAddr>, Option<&Path>) {
        (self.tcp.as_ref().map(|(_, address)| *address), self.socket.as_ref().map(|(_, Remove(path))| path.as_path()))
    }

    /// Answers, on a thread of its own; nobody, if nothing is listened on.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn serve(self, source: Source, world: World) -> anyhow::Result<Server> {
        if self.places() == (None, None) {
            return Ok(Server { stop: None, thread: None });
        }
        let (stop, stopped) = oneshot::channel();
        let admin = Admin::new(world);
        let app = router(source, &admin, self.admin_too);
        // What nobody can ask for is not kept.
        let kept = self.admin_too || self.socket.is_some();
        let Self { runtime, tcp, socket, .. } = self;
        let thread = std::thread::Builder::new().name("telemetry".into()).spawn(move || {
            runtime.block_on(async {
                let metrics = async {
                    match tcp {
                        Some((listener, _)) => serving::http::serve(listener, app).await,
                        None => pending().await,
                    }
                };
                let answers = async {
                    match socket {
                        // The socket goes with the listener.
                        Some((listener, _remove)) => {
                            serving::http::serve_local(listener, admin::alone(admin.clone())).await
                        }
                        None => pending().await,
                    }
                };
                tokio::select! {
                    never = metrics => match never {},
                    never = answers => match never {},
                    never = admin.clone().keep_rates() => match never {},
                    never = admin.clone().keep_history(), if kept => match never {},
                    _ = stopped => {}
                }
            });
            // What is at work beside it has been told to stop.
            runtime.shutdown_timeout(Duration::from_secs(5));
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

/// What is answered at the telemetry address. Who talks to whom only where the configuration says so.
fn router(source: Source, admin: &Admin, admin_too: bool) -> Router {
    let app = Router::new()
        .route("/metrics", get(move || async move { metrics(&source()) }))
        .route("/healthz", get(|| async { "ok\n" }));
    if admin_too {
        app.merge(admin::router(admin.clone())).merge(page::router(admin.clone()))
    } else {
        app.merge(page::closed())
    }
}

fn metrics(counts: &Counts) -> impl IntoResponse + use<> {
    match prometheus::text(&BOOK, counts) {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, TEXT_FORMAT)], text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], error.to_string()),
    }
}
