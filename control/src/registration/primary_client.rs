//! The client primary's side of a link: connects to the server primary, keeps in touch, negotiates when its engine wants.

use super::core::{Core, Negotiate, PeerEntry, rng};
use super::net;
use super::seat::Seat;
use super::service::read_news;
use super::wire::proto::primary_client::PrimaryClient;
use super::wire::{Coordination, MAX_MESSAGE, SetupRequest};
use crate::fault;
use anyhow::{Context, anyhow};
use protocol::negotiation as n;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// Pauses between attempts to connect.
const LEAST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A link that lasted so long was a good one.
const GOOD: Duration = Duration::from_millis(500);

/// Runs as long as the program.
pub async fn run(core: Arc<Core>, peer: String, mut wishes: mpsc::UnboundedReceiver<Negotiate>) {
    let (mut failures, mut seats) = (0, core.seats());
    let addresses = core.peer(&peer).map(|p| p.config.addresses.clone()).unwrap_or_default();
    // Tried in turn: of several registrars of the other side one leads.
    for (number, address) in addresses.iter().enumerate().cycle() {
        if seats.wait_for(|seat| *seat == Seat::Leads).await.is_err() {
            return; // the program ends
        }
        let began = Instant::now();
        let ended = tokio::select! {
            ended = link(&core, &peer, address, &mut wishes) => ended,
            _ = seats.wait_for(|seat| *seat != Seat::Leads) => Err(anyhow!("this registrar does not lead any more")),
        };
        let why = ended.map_or_else(|error| format!("{error:#}"), |()| "closed by the other primary".to_owned());
        let good = began.elapsed() >= GOOD;
        failures = if good { 0 } else { failures + 1 };
        // The others are asked at once.
        let pause = if good || number + 1 == addresses.len() {
            net::pause(failures / addresses.len() as u32, LEAST_PAUSE, LONGEST_PAUSE)
        } else {
            Duration::ZERO
        };
        tracing::warn!(peer, why, pause_ms = pause.as_millis() as u64, "no link to the other primary; trying again");
        tokio::time::sleep(pause).await;
    }
}

/// One connection, until it ends.
async fn link(
    core: &Arc<Core>,
    name: &str,
    address: &(String, u16),
    wishes: &mut mpsc::UnboundedReceiver<Negotiate>,
) -> anyhow::Result<()> {
    let (channel, chain) = net::connect(&core.tls, Some(name), address).await?;
    let mut client =
        PrimaryClient::new(channel).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE);
    let (id, news) = core.link_up(name, chain);
    // Whatever happens from here on, the link goes down with it.
    let _open = Open { core, name, id };
    let outgoing = futures_util::stream::unfold(news, |mut news| async move {
        let message = news.recv().await?;
        Some((Coordination::from(&message), news))
    });
    let answer = tokio::time::timeout(net::ANSWER, client.coordinate(Request::new(outgoing))).await;
    let mut incoming = answer.map_err(|_| anyhow!("no answer"))?.map_err(|s| said(&s))?.into_inner();
    // A wish of an earlier link was for a state that is over: the engine, told that it failed, wishes anew.
    while wishes.try_recv().is_ok() {
        core.negotiation_failed(name, "the link was lost before it began");
    }
    let reading = read_news(core, name, id, &mut incoming);
    tokio::pin!(reading);
    loop {
        tokio::select! {
            ended = &mut reading => return ended.map_err(|s| said(&s)),
            wish = wishes.recv() => {
                let wish = wish.context("the program ends")?;
                let (core, name, client) = (Arc::clone(core), name.to_owned(), client.clone());
                tokio::spawn(async move { negotiate(&core, &name, client, &wish).await });
            }
        }
    }
}

struct Open<'a> {
    core: &'a Arc<Core>,
    name: &'a str,
    id: u64,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let (core, name, id) = (Arc::clone(self.core), self.name.to_owned(), self.id);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { core.link_down(&name, id) });
        }
    }
}

fn said(status: &Status) -> anyhow::Error {
    anyhow!("{}: {}", status.code(), status.message())
}

/// Steps 1 to 4; the engine hears how it went.
async fn negotiate(core: &Core, name: &str, client: PrimaryClient<Channel>, wish: &Negotiate) {
    let Some(peer) = core.peer(name) else { return };
    tracing::info!(peer = name, reason = wish.reason, "negotiating a new generation");
    match steps(core, peer, client, wish.last).await {
        Ok(agreed) => core.negotiated(name, &agreed),
        Err(error) => core.negotiation_failed(name, &format!("{error:#}")),
    }
}

async fn steps(
    core: &Core,
    peer: &PeerEntry,
    mut client: PrimaryClient<Channel>,
    last: u32,
) -> anyhow::Result<n::Agreed> {
    let (waiting, request) =
        n::Client::start(&core.identity, &peer.keys, peer.config.scope, last, &peer.config.suites)?;
    fault::point("setup-sent");
    let mut call = Request::new(SetupRequest::from(request));
    call.set_timeout(net::ANSWER);
    let response = client.setup(call).await.map_err(|s| said(&s)).context("setup")?.into_inner();
    let response = response.outcome()?.map_err(n::Error::Refused).context("setup")?;
    let (waiting, request) = waiting.encapsulate(&response, &mut rng())?;
    tracing::info!(peer = peer.config.name, "kem: secret made and encapsulated");
    fault::point("encapsulated");
    let mut call = Request::new(request.into());
    call.set_timeout(net::ANSWER);
    let response = client.kem(call).await.map_err(|s| said(&s)).context("kem")?.into_inner();
    let response = response.outcome()?.map_err(n::Error::Refused).context("kem")?;
    fault::point("kem-answered");
    Ok(waiting.finish(&response)?)
}
