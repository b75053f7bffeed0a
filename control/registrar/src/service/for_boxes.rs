//! What boxes call: they register, and get their keys as long as their stream lasts. A follower passes the stream on to the
//! registrar that leads.

use super::{Answers, Services, address, chain};
use crate::core::{Chain, Core, Ending, Outgoing, Registered};
use crate::engine::{Denied, SessionId};
use crate::forward;
use crate::handout::Handout;
use crate::leadership::Leadership;
use crate::messages::Registering;
use bytes::Bytes;
use common::identity::Kind;
use futures_util::Stream;
use registration::wire::proto::secondary_server::Secondary;
use registration::wire::{Forwarded, FromNode, MAX_ADDRESS, MAX_CHAIN, MAX_REASON, ToNode, from_node};
use rustls::pki_types::CertificateDer;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};

/// A box says who it is within this.
const HELLO: Duration = Duration::from_secs(10);

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
                core.box_requests_rotation(id, &need.reason.escape_debug().to_string());
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
            // The question whether the box lives does not wait either.
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
