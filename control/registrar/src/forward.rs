//! A follower's part: it passes a box's stream on to the registrar that leads, over a connection of both registrars'
//! certificates, with the box's certificates in front.

use super::core::Core;
use crate::leadership::Leadership;
use registration::net;
use registration::tls;
use registration::wire::proto::secondary_client::SecondaryClient;
use registration::wire::{Forwarded, FromNode, MAX_MESSAGE, ToNode, from_node};
use rustls::pki_types::CertificateDer;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tonic::{Request, Status, Streaming};

/// Why a box or a primary is sent to another registrar.
#[must_use]
pub fn follower(leadership: &Leadership) -> Status {
    Status::unavailable(match leadership {
        Leadership::Follows(Some(leader)) => {
            format!("this registrar follows '{}' ({}:{}); try that one", leader.member, leader.host, leader.port)
        }
        _ => "no registrar of this side leads at the moment; try again".to_owned(),
    })
}

/// Is there when the leader's certificate is no longer good.
pub type Bad = Pin<Box<dyn Future<Output = anyhow::Error> + Send>>;

/// Passes both directions on.
///
/// # Errors
/// Nobody leads, the leader cannot be reached or is none of this side's, or it refuses.
pub async fn register(
    core: &Arc<Core>,
    chain: &[CertificateDer<'static>],
    address: String,
    incoming: Streaming<FromNode>,
) -> Result<(Streaming<ToNode>, Bad), Status> {
    let leadership = core.leadership();
    let Leadership::Follows(Some(leader)) = &leadership else { return Err(follower(&leadership)) };
    let place = (leader.host.clone(), leader.port);
    let unreachable = |error: anyhow::Error| {
        tracing::warn!(leader = leader.member, error = format!("{error:#}"), "the leader cannot be reached");
        Status::unavailable("the registrar that leads cannot be reached from here; try another")
    };
    let connection = net::connect(&core.tls, None, &place).await.map_err(unreachable)?;
    let named = core.tls.current().identify(None, &connection.chain);
    let named = named.map_err(unreachable)?;
    if named.name != core.config.name {
        return Err(unreachable(anyhow::anyhow!("it names {named}, not a registrar of this side")));
    }
    let mut client = SecondaryClient::new(connection.channel)
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    let first = Forwarded { chain: chain.iter().map(|c| c.to_vec()).collect(), address };
    let first = FromNode { message: Some(from_node::Message::Forwarded(first)) };
    let outgoing = futures_util::stream::unfold((Some(first), incoming), |(first, mut incoming)| async move {
        match first {
            Some(first) => Some((first, (None, incoming))),
            // An error of the box's stream ends the other too.
            None => incoming.message().await.ok().flatten().map(|message| (message, (None, incoming))),
        }
    });
    let answer = tokio::time::timeout(net::ANSWER, client.register(Request::new(outgoing))).await;
    let answers = answer.map_err(|_| Status::unavailable("no answer of the registrar that leads"))??.into_inner();
    let (core, shown) = (Arc::clone(core), connection.chain);
    let bad = async move { tls::until_bad(&core.tls, None, &place.0, &shown).await };
    Ok((answers, Box::pin(bad)))
}
