//! The two services of the `.proto`, for boxes and for client primaries.

mod for_boxes;
pub(crate) mod for_primaries;
mod refused;

use crate::core::{Chain, Core, PeerEntry};
use crate::engine::Role;
use crate::entrance::Shown;
use crate::forward;
use common::identity::Kind;
use futures_util::Stream;
pub use refused::say_refused;
use registration::tls::Named;
use registration::wire::MAX_MESSAGE;
use registration::wire::proto::primary_server::PrimaryServer;
use registration::wire::proto::secondary_server::SecondaryServer;
use std::pin::Pin;
use std::sync::Arc;
use tonic::{Request, Status};

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

fn chain<T>(request: &Request<T>) -> Result<Chain, Status> {
    let shown = request.extensions().get::<Shown>();
    shown.map(|shown| Arc::clone(&shown.chain)).ok_or_else(|| Status::unauthenticated("no certificate"))
}

/// Where a call comes from.
fn address<T>(request: &Request<T>) -> String {
    let shown = request.extensions().get::<Shown>();
    shown.map_or_else(|| "an unknown address".to_owned(), |shown| shown.from.to_string())
}
