//! The two services of the `.proto`, for boxes and for client primaries.

use super::core::{Chain, Core, Ending, NotKept, Outgoing, PeerEntry, Registered};
use super::engine::{Denied, SessionId};
use super::entrance::{Call, Shown};
use super::forward;
use crate::engine::Role;
use crate::handout::Handout;
use crate::leadership::Leadership;
use bytes::Bytes;
use common::identity::Kind;
use futures_util::Stream;
use hyper::body::{Body, Frame, SizeHint};
use negotiation as n;
use registration::serving::sparing::Sparing;
use registration::tls::Named;
use registration::wire::proto::primary_server::{Primary, PrimaryServer};
use registration::wire::proto::secondary_server::{Secondary, SecondaryServer};
use registration::wire::{
    Coordination, Forwarded, FromNode, KemRequest, KemResponse, MAX_ADDRESS, MAX_CHAIN, MAX_MESSAGE, MAX_REASON, News,
    Registering, SetupRequest, SetupResponse, ToNode, from_node,
};
use rustls::pki_types::CertificateDer;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tonic::{Code, Request, Response, Status, Streaming};

/// A box says who it is within this.
const HELLO: Duration = Duration::from_secs(10);

/// Why this side has ended a primary's stream.
const CUT: &str = "the connection was not read from, or there is a newer one, or this registrar does not lead any more";

/// Refused calls: so many lines at once, then one a second.
static REFUSALS: LazyLock<Mutex<Sparing>> = LazyLock::new(|| Mutex::new(Sparing::new(20, Duration::from_secs(1))));

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Serves [`Core`].
#[derive(Clone, Debug)]
pub struct Services(pub Arc<Core>);

impl Services {
    /// For client primaries.
    #[must_use]
    pub fn primary(&self) -> PrimaryServer<Self> {
        PrimaryServer::new(self.clone()).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE)
    }

    /// For boxes.
    #[must_use]
    pub fn secondary(&self) -> SecondaryServer<Self> {
        SecondaryServer::new(self.clone()).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE)
    }

    /// Whom a certificate of this side names.
    fn named(&self, chain: &Chain) -> Result<Named, Status> {
        let named = self.0.tls.current().identify(None, chain);
        named.map_err(|error| Status::unauthenticated(format!("{error:#}")))
    }

    /// The peer that has shown this certificate, if this registrar is the server towards it, and leads.
    fn peer(&self, chain: &Chain) -> Result<&PeerEntry, Status> {
        if !self.0.leads() {
            return Err(forward::follower(&self.0.leadership()));
        }
        let material = self.0.tls.current();
        let mut why = "no peer's authority has signed this certificate".to_owned();
        for peer in &self.0.peers {
            let name = &peer.config.name;
            match material.identify(Some(name), chain) {
                Ok(named) if named.kind == Kind::Registrar && named.name == *name => {
                    if peer.config.role == Role::Server {
                        return Ok(peer);
                    }
                    why = format!("both registrars have role client towards each other; set one to server ({name})");
                }
                Ok(named) => why = format!("the certificate names {named}, which is no peer of this registrar"),
                Err(_) => {}
            }
        }
        Err(Status::permission_denied(why))
    }
}

/// A box's next message; it comes within the time for a hello.
async fn first(stream: &mut Streaming<FromNode>) -> Result<Option<from_node::Message>, Status> {
    let message = tokio::time::timeout(HELLO, stream.message()).await;
    Ok(message.map_err(|_| Status::deadline_exceeded("no hello"))??.and_then(|m| m.message))
}

/// What the leader answers a box, until there is another leader.
fn forwarded(
    core: &Core,
    answers: Streaming<ToNode>,
    bad: forward::Bad,
) -> impl Stream<Item = Result<ToNode, Status>> + use<> {
    let leadership = core.leadership_changes();
    futures_util::stream::unfold(Some((leadership, answers, bad)), |state| async move {
        let (mut leadership, mut answers, mut bad) = state?;
        tokio::select! {
            message = answers.message() => match message {
                Ok(message) => message.map(|m| (Ok(m), Some((leadership, answers, bad)))),
                Err(status) => Some((Err(status), None)),
            },
            error = &mut bad => {
                tracing::warn!(error = format!("{error:#}"), "a box is no longer passed on to the registrar that leads");
                Some((Err(Status::unavailable("the registrar that leads is not one that can be trusted any more")), None))
            }
            _ = leadership.changed() => Some((Err(Status::unavailable("another registrar of this side leads now")), None)),
        }
    })
}

fn chain<T>(request: &Request<T>) -> Result<Chain, Status> {
    let shown = request.extensions().get::<Shown>();
    shown.map(|shown| Arc::clone(&shown.chain)).ok_or_else(|| Status::unauthenticated("no certificate"))
}

/// Where a call comes from.
fn address<T>(request: &Request<T>) -> String {
    let shown = request.extensions().get::<Shown>();
    shown.map_or_else(|| "an unknown address".to_owned(), |shown| shown.from.to_string())
}

/// Says in the log what call is refused, whose, and why; the caller is told the same. Also of calls that never reach
/// [`Services`], as those with a message that is too large. As long as a call is under way, its connection is not idle.
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

/// What has gone wrong, in the log; the client is told by number, or that this is not the time.
fn refuse(peer: &PeerEntry, step: &str, error: NotKept) -> Result<n::Refusal, Status> {
    match error {
        NotKept::Refused(error) => {
            tracing::error!(peer = peer.config.name, step, %error, "negotiation refused");
            Ok(error.refusal())
        }
        NotKept::Behind | NotKept::Deposed => Err(Status::unavailable(error.to_string())),
    }
}

#[tonic::async_trait]
impl Primary for Services {
    async fn setup(&self, request: Request<SetupRequest>) -> Result<Response<SetupResponse>, Status> {
        let peer = self.peer(&chain(&request)?)?;
        let request = n::SetupRequest::try_from(request.into_inner())?;
        let response = match self.0.setup(peer, &request) {
            Ok(response) => {
                tracing::info!(
                    peer = peer.config.name,
                    generation = response.generation,
                    "setup: suite chosen, key made"
                );
                response.into()
            }
            Err(error) => SetupResponse::refuse(refuse(peer, "setup", error)?),
        };
        Ok(Response::new(response))
    }

    async fn kem(&self, request: Request<KemRequest>) -> Result<Response<KemResponse>, Status> {
        let peer = self.peer(&chain(&request)?)?;
        let request = n::KemRequest::try_from(request.into_inner())?;
        let response = match self.0.kem(peer, &request).await {
            Ok(response) => {
                tracing::info!(peer = peer.config.name, "kem: the client has the same secret");
                response.into()
            }
            Err(error) => KemResponse::refuse(refuse(peer, "kem", error)?),
        };
        Ok(Response::new(response))
    }

    type CoordinateStream = Answers<Coordination>;

    async fn coordinate(
        &self,
        request: Request<Streaming<Coordination>>,
    ) -> Result<Response<Self::CoordinateStream>, Status> {
        let chain = chain(&request)?;
        let name = self.peer(&chain)?.config.name.clone();
        let (id, news) = self.0.link_up(&name, chain);
        let core = Arc::clone(&self.0);
        let open = LinkGuard { core: Arc::clone(&core), peer: name.clone(), id };
        let (verdict, why) = oneshot::channel();
        tokio::spawn(async move {
            let mut stream = request.into_inner();
            if let Err(error) = read_news(&core, &name, id, &mut stream).await {
                tracing::warn!(peer = name, error = error.message(), "the other primary's stream has ended");
                let _ = verdict.send(error); // its other half may be gone as well
            }
            core.link_down(&name, id);
        });
        Ok(Response::new(Box::pin(tell(news, why, open))))
    }
}

/// Reads until the stream ends.
pub(super) async fn read_news(
    core: &Core,
    peer: &str,
    id: u64,
    stream: &mut Streaming<Coordination>,
) -> Result<(), Status> {
    while let Some(message) = stream.message().await? {
        core.news(peer, id, message.features, News::try_from(message)?);
    }
    Ok(())
}

/// Takes the link down when the stream is dropped.
struct LinkGuard {
    core: Arc<Core>,
    peer: String,
    id: u64,
}

impl Drop for LinkGuard {
    fn drop(&mut self) {
        let (core, peer, id) = (Arc::clone(&self.core), self.peer.clone(), self.id);
        // Without a runtime the program is ending.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { core.link_down(&peer, id) });
        }
    }
}

/// What the other primary is to hear; at the end, why it is the end, when that lies with it.
fn tell(
    news: mpsc::Receiver<News>,
    why: oneshot::Receiver<Status>,
    open: LinkGuard,
) -> impl Stream<Item = Result<Coordination, Status>> {
    futures_util::stream::unfold(Some((news, why, open)), |state| async move {
        let (mut news, mut why, open) = state?;
        match news.recv().await {
            Some(message) => Some((Ok(Coordination::from(&message)), Some((news, why, open)))),
            None => match why.try_recv() {
                Ok(status) => Some((Err(status), None)),
                // It is still being read from: the other half was ended on this side.
                Err(oneshot::error::TryRecvError::Empty) => Some((Err(Status::aborted(CUT)), None)),
                Err(oneshot::error::TryRecvError::Closed) => None,
            },
        }
    })
}

#[tonic::async_trait]
impl Secondary for Services {
    type RegisterStream = Answers<ToNode>;

    async fn register(&self, request: Request<Streaming<FromNode>>) -> Result<Response<Self::RegisterStream>, Status> {
        let (mut chains, mut from) = (vec![chain(&request)?], address(&request));
        let mut named = self.named(&chains[0])?;
        let mut stream = request.into_inner();
        let fellow = self.0.config.etcd.is_some() && named.kind == Kind::Registrar && named.name == self.0.config.name;
        if fellow {
            let Some(from_node::Message::Forwarded(Forwarded { chain, address })) = first(&mut stream).await? else {
                return Err(Status::invalid_argument("the first message of a registrar must be forwarded"));
            };
            if chain.is_empty() || chain.len() > MAX_CHAIN {
                return Err(Status::invalid_argument("too many or no certificates"));
            }
            if address.len() > MAX_ADDRESS {
                return Err(Status::invalid_argument("an address that is too long"));
            }
            from = address.escape_debug().to_string();
            let chain: Chain = Arc::new(chain.into_iter().map(CertificateDer::from).collect());
            named = self.named(&chain)?;
            chains.push(chain);
        }
        if !self.0.leads() {
            // What was passed on once is not passed on again: the two would differ in who leads.
            if fellow || self.0.config.etcd.is_none() {
                return Err(forward::follower(&self.0.leadership()));
            }
            let (answers, bad) = forward::register(&self.0, &chains[0], from, stream).await?;
            return Ok(Response::new(Box::pin(forwarded(&self.0, answers, bad))));
        }
        let hello = match first(&mut stream).await? {
            Some(from_node::Message::Hello(hello)) => hello,
            Some(from_node::Message::Forwarded(_)) => {
                let why = format!("only another registrar of this side passes boxes on; the certificate names {named}");
                return Err(Status::permission_denied(why));
            }
            _ => return Err(Status::invalid_argument("the first message must be hello")),
        };
        let differences = hello.differences;
        let who = Registering::try_from(hello)?;
        if named.kind != Kind::Node || named.name != who.node.name {
            let why = format!("the certificate names {named}, but '{}' registers with it", who.node.name);
            return Err(Status::permission_denied(why));
        }
        let Registered { id, outgoing, probes } =
            self.0.register(&who, chains.clone(), &from).map_err(|error| match error {
                Some(error @ Denied::Taken { .. }) => Status::already_exists(error.to_string()),
                Some(error) => Status::permission_denied(error.to_string()),
                None => forward::follower(&self.0.leadership()),
            })?;
        // A revocation list that has come since the first look was looked through without this session.
        if let Err(status) = chains.iter().try_for_each(|chain| self.named(chain).map(drop)) {
            self.0.gone(id);
            return Err(status);
        }
        tracing::info!(node = who.node.name, from, "registered");
        let (core, node) = (Arc::clone(&self.0), who.node.name);
        let open = SessionGuard { core: Arc::clone(&core), id };
        tokio::spawn(async move {
            let why = read_acks(&core, id, &mut stream).await;
            core.gone(id);
            tracing::info!(node, why, "a box's connection has ended");
        });
        Ok(Response::new(Box::pin(push(outgoing, probes, open, differences))))
    }
}

/// Reads until the stream ends, and says why it has.
async fn read_acks(core: &Core, id: SessionId, stream: &mut Streaming<FromNode>) -> String {
    loop {
        match stream.message().await {
            Ok(Some(FromNode { message: Some(from_node::Message::Ack(ack)) })) => core.ack(id, ack.revision),
            Ok(Some(FromNode { message: Some(from_node::Message::Need(need)) })) if need.reason.len() <= MAX_REASON => {
                core.need(id, &need.reason.escape_debug().to_string());
            }
            Ok(Some(FromNode { message: Some(from_node::Message::Alive(_)) })) => core.alive(id),
            Ok(Some(_)) => return "it has sent something else than an acknowledgement".to_owned(),
            Ok(None) => return "closed".to_owned(),
            Err(status) => return status.message().to_owned(),
        }
    }
}

/// Takes the session down when its stream is dropped.
struct SessionGuard {
    core: Arc<Core>,
    id: SessionId,
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        let (core, id) = (Arc::clone(&self.core), self.id);
        // Without a runtime the program is ending.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { core.gone(id) });
        }
    }
}

/// A box's stream: what it has, and what is to be sent next.
struct ToBox {
    outgoing: watch::Receiver<Outgoing>,
    probes: watch::Receiver<u64>,
    open: SessionGuard,
    /// It takes changes.
    differences: bool,
    /// The version of the opening part that it has.
    has: u64,
    /// The messages that lead to the version of the next key set, shared with the other boxes' streams.
    changes: VecDeque<Bytes>,
    keys: Option<Arc<Handout>>,
}

impl ToBox {
    /// The next message; `None`: the end.
    async fn next(&mut self) -> Option<Result<ToNode, Status>> {
        loop {
            // The end does not wait for what has not been sent.
            if let Outgoing::Close(ending) = &*self.outgoing.borrow() {
                return Some(Err(status(ending)));
            }
            // Nor does the question whether the box lives.
            if self.probes.has_changed().is_ok_and(|changed| changed) {
                self.probes.mark_unchanged();
                return Some(Ok(ToNode { probe: true, ..ToNode::default() }));
            }
            if let Some(changes) = self.changes.pop_front() {
                // One message at a time: what is sent is written out before the next is made.
                tokio::task::yield_now().await;
                return Some(Ok(ToNode { changes, ..ToNode::default() }));
            }
            if let Some(keys) = self.keys.take() {
                // What has lain here while another took over is not handed out.
                if !self.open.core.leads() {
                    return Some(Err(forward::follower(&self.open.core.leadership())));
                }
                let now = Instant::now();
                self.has = keys.opening.version;
                let keys = if self.differences { keys.by_version(now) } else { keys.for_an_earlier_version(now) };
                return Some(Ok(ToNode { keys: Some(keys), ..ToNode::default() }));
            }
            tokio::select! {
                biased;
                changed = self.outgoing.changed() => changed.ok()?,
                Ok(()) = self.probes.changed() => return Some(Ok(ToNode { probe: true, ..ToNode::default() })),
            }
            let next = self.outgoing.borrow_and_update().clone();
            if let Outgoing::Keys(keys) = next {
                if self.differences {
                    self.changes = keys.opening.since(self.has);
                }
                self.keys = Some(keys);
            }
        }
    }
}

/// The newest key set each time there is one, and questions whether the box lives. A box that does not read gets, when it
/// reads again, the newest only.
fn push(
    outgoing: watch::Receiver<Outgoing>,
    probes: watch::Receiver<u64>,
    open: SessionGuard,
    differences: bool,
) -> impl Stream<Item = Result<ToNode, Status>> {
    let to_box = ToBox { outgoing, probes, open, differences, has: 0, changes: VecDeque::new(), keys: None };
    futures_util::stream::unfold(Some(to_box), |to_box| async move {
        let mut to_box = to_box?;
        match to_box.next().await? {
            Ok(message) => Some((Ok(message), Some(to_box))),
            Err(status) => Some((Err(status), None)),
        }
    })
}

fn status(ending: &Ending) -> Status {
    match ending {
        Ending::Anew => Status::aborted("the box has registered anew"),
        Ending::Silent => Status::aborted("the box has not answered, and another process asks for its place"),
        Ending::Revoked => Status::permission_denied("the box was revoked"),
        Ending::Certificate(why) => Status::unauthenticated(format!("the certificate is no longer good: {why}")),
        Ending::Follows => forward::follower(&Leadership::Follows(None)),
    }
}
