//! `/metrics` for Prometheus and `/healthz`, the admin interface and the page, on a thread of its own. Which metrics:
//! [`figures`](super::figures). What else is answered: [`crate::admin`]. How connections are bounded: `http.rs`.

use crate::admin::{self, Admin, World, page};
use crate::observe::counts::Counts;
use crate::observe::figures::BOOK;
use crate::take_over::sockets::{Inherited, Own};
use crate::take_over::talk::SharedSocket;
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
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// An order is done within this.
const PATIENCE: Duration = Duration::from_secs(10);

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
    /// As the configuration has it.
    listen: Option<SocketAddr>,
    tcp: Option<(std::net::TcpListener, SocketAddr)>,
    /// Whether the admin interface is there too.
    admin_too: bool,
    socket: Option<(tokio::net::UnixListener, Remove)>,
    /// Where another process of this box may take over.
    take_over: Option<(UnixListener, Remove)>,
    /// All of them, for that process.
    own: Own,
    /// Whether it goes on with them.
    left: Arc<AtomicBool>,
    moves: (Moves, mpsc::UnboundedReceiver<Move>),
}

/// Where to answer from now on.
struct Move {
    listen: Option<SocketAddr>,
    admin_too: bool,
    done: std::sync::mpsc::SyncSender<anyhow::Result<()>>,
}

/// Has telemetry answer elsewhere while it goes on.
#[derive(Clone)]
pub struct Moves(mpsc::UnboundedSender<Move>);

impl Moves {
    /// From now on at this address, with the admin interface or without it. Who is being answered still is.
    ///
    /// # Errors
    /// The address cannot be listened on: all is as it was.
    pub fn to(&self, telemetry: &Telemetry) -> anyhow::Result<()> {
        let (done, answer) = std::sync::mpsc::sync_channel(1);
        let order = Move { listen: telemetry.listen, admin_too: telemetry.admin, done };
        let gone = "telemetry has ended; start the box again";
        self.0.send(order).ok().context(gone)?;
        answer.recv_timeout(PATIENCE).context(gone)?
    }
}

impl Listener {
    /// Listens, with those sockets of the process before that it would have to make otherwise. Before the program has other
    /// threads.
    ///
    /// # Errors
    /// An address or a socket cannot be listened on.
    pub fn bind(
        telemetry: &Telemetry,
        admin: Option<&common::admin::config::Admin>,
        inherited: &mut Inherited,
    ) -> anyhow::Result<Self> {
        // One thread beside the first, for what takes its time.
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().max_blocking_threads(1).build().context("cannot start telemetry")?;
        let within = runtime.enter();
        let own = Own::default();
        let tcp = telemetry.listen.map(|listen| {
            let listener = match inherited.telemetry(listen) {
                Some(socket) => std::net::TcpListener::from(socket),
                None => runtime.block_on(bind(listen))?,
            };
            let address = listener.local_addr().context("cannot start telemetry")?;
            own.put(SharedSocket::Telemetry(listen), listener.as_fd().try_clone_to_owned()?);
            anyhow::Ok((listener, address))
        });
        let socket = admin.map(|admin| {
            let common::admin::config::Access { mode, group } = &admin.access;
            let asked = Asked { setting: "[admin] socket", who: "box", mode: *mode, group: group.as_deref() };
            let inherited = inherited.admin(&admin.socket);
            // Only once this process listens: until then the name may be another box's.
            let is_ours = inherited.is_none();
            let listener = local(&admin.socket, &asked, inherited)?;
            let remove = Remove { path: admin.socket.clone(), is_ours };
            own.put(SharedSocket::Admin(admin.socket.clone()), listener.as_fd().try_clone_to_owned()?);
            anyhow::Ok((listener, remove))
        });
        let take_over = admin.map(|admin| {
            let place = crate::take_over::place(&admin.socket);
            // Who takes over has the ports and the keys: the box's own user, and nobody of its group.
            let asked = Asked { setting: "[admin] socket", who: "box", mode: 0o600, group: None };
            let inherited = inherited.take_over(&place);
            let is_ours = inherited.is_none();
            let listener = local(&place, &asked, inherited)?;
            let (listener, remove) = (listener.into_std()?, Remove { path: place.clone(), is_ours });
            own.put(SharedSocket::TakeOver(place), listener.as_fd().try_clone_to_owned()?);
            anyhow::Ok((listener, remove))
        });
        let (tcp, socket, take_over) = (tcp.transpose()?, socket.transpose()?, take_over.transpose()?);
        drop(within);
        let (orders, taken) = mpsc::unbounded_channel();
        Ok(Self {
            runtime,
            listen: telemetry.listen,
            tcp,
            admin_too: telemetry.admin,
            socket,
            take_over,
            own,
            left: Arc::default(),
            moves: (Moves(orders), taken),
        })
    }

    /// Has it answer elsewhere, once it does.
    #[must_use]
    pub fn moves(&self) -> Moves {
        self.moves.0.clone()
    }

    /// Where another process may take over, and what it then goes on with; `None`: there is no admin interface beside which that
    /// would be.
    ///
    /// # Errors
    /// The system gives no more descriptors.
    pub fn take_over(&self) -> std::io::Result<Option<(UnixListener, Own)>> {
        let listener = self.take_over.as_ref().map(|(listener, _)| listener.try_clone()).transpose()?;
        Ok(listener.map(|listener| (listener, self.own.clone())))
    }

    /// This process goes on in the place of the one before: the names of its sockets are this one's from now on. Until then that one
    /// still answers there, whatever becomes of this one.
    pub fn have_taken_over(&mut self) {
        let names = [self.socket.as_mut().map(|(_, name)| name), self.take_over.as_mut().map(|(_, name)| name)];
        names.into_iter().flatten().for_each(|name| name.is_ours = true);
    }

    /// To be set when another process goes on with the sockets: they are not taken away at the end.
    #[must_use]
    pub fn left(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.left)
    }

    /// Where it listens: the address, and the socket.
    #[must_use]
    pub fn places(&self) -> (Option<SocketAddr>, Option<&Path>) {
        (self.tcp.as_ref().map(|(_, address)| *address), self.socket.as_ref().map(|(_, remove)| remove.path.as_path()))
    }

    /// Answers, on a thread of its own.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn serve(self, source: Source, world: World) -> anyhow::Result<Server> {
        let (stop, stopped) = oneshot::channel();
        let admin = Admin::new(world);
        let Self { runtime, listen, tcp, admin_too, socket, take_over, own, left, moves: (_, moves) } = self;
        let tcp = tcp.map(|(listener, _)| listener);
        let there = Place { listen, tcp, admin_too, has_socket: socket.is_some(), own };
        let (socket, remove) = socket.unzip();
        // The sockets go with the listeners.
        let remove = (remove, take_over);
        let thread = std::thread::Builder::new().name("telemetry".into()).spawn(move || {
            runtime.block_on(async {
                let answers = async {
                    match socket {
                        Some(listener) => serving::http::serve_local(listener, admin::alone(admin.clone())).await,
                        None => pending().await,
                    }
                };
                tokio::select! {
                    never = there.serve(source, &admin, moves) => match never {},
                    never = answers => match never {},
                    never = admin.clone().keep_rates() => match never {},
                    _ = stopped => {}
                }
            });
            // What is at work beside it has been told to stop.
            runtime.shutdown_timeout(Duration::from_secs(5));
            if left.load(Ordering::Relaxed) {
                // The names stay: the process that took over answers there.
                std::mem::forget(remove);
            }
        })?;
        Ok(Server { stop: Some(stop), thread: Some(thread) })
    }
}

/// Listens at a socket of this machine, or goes on with this one, which has that name.
fn local(place: &Path, asked: &Asked<'_>, inherited: Option<OwnedFd>) -> anyhow::Result<tokio::net::UnixListener> {
    match inherited {
        Some(socket) => {
            local::give_as_asked(place, asked)?;
            Ok(tokio::net::UnixListener::from_std(UnixListener::from(socket))?)
        }
        None => local::listen(place, asked),
    }
}

/// Listens at an address.
async fn bind(listen: SocketAddr) -> anyhow::Result<std::net::TcpListener> {
    let listener = tokio::net::TcpListener::bind(listen).await.and_then(tokio::net::TcpListener::into_std);
    listener.with_context(|| {
        format!("[telemetry] listen: cannot listen on {listen}; choose a free port, or an address of this machine")
    })
}

/// Where telemetry answers.
struct Place {
    /// As the configuration has it.
    listen: Option<SocketAddr>,
    tcp: Option<std::net::TcpListener>,
    admin_too: bool,
    /// Whether the admin interface is asked at a socket.
    has_socket: bool,
    /// For the process that takes over.
    own: Own,
}

impl Place {
    /// Answers there, until it is to move, and then elsewhere.
    async fn serve(
        mut self,
        source: Source,
        admin: &Admin,
        mut moves: mpsc::UnboundedReceiver<Move>,
    ) -> std::convert::Infallible {
        loop {
            let Move { listen, admin_too, done } = self.answer(&source, admin, &mut moves).await;
            let moved = self.go(listen).await;
            if moved.is_ok() {
                self.admin_too = admin_too;
            }
            let _ = done.try_send(moved); // who asked may have gone
        }
    }

    /// Answers at this place, until there is an order to move. Then nobody is let in here any more.
    async fn answer(&self, source: &Source, admin: &Admin, moves: &mut mpsc::UnboundedReceiver<Move>) -> Move {
        let app = router(Arc::clone(source), admin, self.admin_too);
        let listener = self.tcp.as_ref().map(|tcp| tcp.try_clone().and_then(tokio::net::TcpListener::from_std));
        let answers = async {
            match listener {
                Some(Ok(listener)) => serving::http::serve(listener, app).await,
                Some(Err(error)) => {
                    tracing::error!(%error, "no telemetry");
                    pending().await
                }
                None => pending().await,
            }
        };
        // What nobody can ask for is not kept.
        let kept = self.admin_too || self.has_socket;
        tokio::select! {
            never = answers => match never {},
            never = admin.clone().keep_history(), if kept => match never {},
            Some(order) = moves.recv() => order,
        }
    }

    /// Listens at another address, if it is another. The old one is kept until that works.
    async fn go(&mut self, listen: Option<SocketAddr>) -> anyhow::Result<()> {
        if self.listen == listen {
            return Ok(());
        }
        self.tcp = match listen {
            Some(listen) => Some(bind(listen).await?),
            None => None,
        };
        self.listen = listen;
        match (listen, &self.tcp) {
            (Some(listen), Some(tcp)) => {
                self.own.put(SharedSocket::Telemetry(listen), tcp.as_fd().try_clone_to_owned()?);
            }
            _ => self.own.no_telemetry(),
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use common::admin::config::{Access, Admin as Settings};
    use common::logging::{LogFormat, LogLevel};

    #[test]
    fn names_of_sockets_stay_the_old_ones_until_this_process_has_taken_over() {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("box.sock");
        let place = crate::take_over::place(&socket);
        let admin = Settings { socket: socket.clone(), access: Access { mode: 0o600, group: None } };
        let (log_level, log_format) = (LogLevel::Info, LogFormat::Text);
        let telemetry = Telemetry { listen: None, admin: false, log_level, log_format };
        let old = Listener::bind(&telemetry, Some(&admin), &mut Inherited::default()).expect("sockets");
        let inherited = || {
            old.own.with(|called, sockets| {
                let sockets = sockets.iter().map(|socket| socket.try_clone_to_owned().expect("a socket")).collect();
                Inherited::new(&called, sockets)
            })
        };
        let there = || socket.exists() && place.exists();
        let new = Listener::bind(&telemetry, Some(&admin), &mut inherited()).expect("the same sockets");
        assert_eq!(new.places(), (None, Some(socket.as_path())));
        drop(new);
        assert!(there(), "it has not taken over");
        let mut new = Listener::bind(&telemetry, Some(&admin), &mut inherited()).expect("the same sockets");
        new.have_taken_over();
        drop(new);
        assert!(!socket.exists() && !place.exists(), "they were its own");
    }
}
