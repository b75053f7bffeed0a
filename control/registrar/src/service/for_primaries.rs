//! What client primaries call: a negotiation's two steps, and the stream on which both sides say how they stand.

use super::{Answers, Services, chain};
use crate::core::{Core, NotKept, PeerEntry};
use crate::messages::News;
use futures_util::Stream;
use negotiation as n;
use registration::wire::proto::primary_server::Primary;
use registration::wire::{Coordination, KemRequest, KemResponse, SetupRequest, SetupResponse};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tonic::{Request, Response, Status, Streaming};

/// Why this side has ended a primary's stream.
const CUT: &str = "the connection was not read from, or there is a newer one, or this registrar does not lead any more";

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
pub(crate) async fn read_news(
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
