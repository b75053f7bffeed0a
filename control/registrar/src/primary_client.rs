//! The client primary's side of a link: connects to the server primary, keeps in touch, negotiates when its engine wants.

use crate::core::{Core, Negotiate, PeerEntry};
use crate::leadership::Leadership;
use crate::messages::News;
use crate::random::rng;
use crate::service::for_primaries::read_news;
use anyhow::{Context, anyhow};
use common::fault;
use negotiation as n;
use registration::net;
use registration::tls;
use registration::wire::proto::primary_client::PrimaryClient;
use registration::wire::{Coordination, MAX_MESSAGE, SetupRequest};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tonic::transport::Channel;
use tonic::{Request, Status};

/// Pauses between attempts to connect.
const LEAST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long the other side may take to end a link too.
const PARTING: Duration = Duration::from_secs(1);
/// A link that lasted so long was a good one.
const GOOD: Duration = Duration::from_millis(500);

/// Runs as long as the program.
pub async fn run(core: Arc<Core>, peer: String, mut orders: mpsc::UnboundedReceiver<Negotiate>) {
    let (mut failures, mut leadership) = (0, core.leadership_changes());
    let addresses = core.peer(&peer).map(|p| p.config.addresses.clone()).unwrap_or_default();
    // Tried in turn: of several registrars of the other side one leads.
    for (number, address) in addresses.iter().enumerate().cycle() {
        if leadership.wait_for(|now| *now == Leadership::Leads).await.is_err() {
            return; // the program ends
        }
        let began = Instant::now();
        let ended = tokio::select! {
            ended = link(&core, &peer, address, &mut orders) => ended,
            _ = leadership.wait_for(|now| *now != Leadership::Leads) => Err(anyhow!("this registrar does not lead any more")),
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
    orders: &mut mpsc::UnboundedReceiver<Negotiate>,
) -> anyhow::Result<()> {
    let connection = net::connect(&core.tls, Some(name), address).await?;
    let mut client = PrimaryClient::new(connection.channel.clone())
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    let (start, started) = oneshot::channel();
    let outgoing = futures_util::stream::unfold((Some(started), None), |(started, news)| async move {
        let mut news: mpsc::Receiver<News> = match started {
            Some(started) => started.await.ok()?,
            None => news?,
        };
        let message = news.recv().await?;
        Some((Coordination::from(&message), (None, Some(news))))
    });
    let answer = tokio::time::timeout(net::ANSWER, client.coordinate(Request::new(outgoing))).await;
    let mut incoming = answer.map_err(|_| anyhow!("no answer"))?.map_err(|s| connection.why(&s))?.into_inner();
    // Only now it is certain that the other side takes this side's certificate.
    let (id, news) = core.link_up(name, Arc::clone(&connection.chain));
    // Whatever happens from here on, the link goes down with it.
    let open = Open { core, name, id };
    let _ = start.send(news); // else the call has ended already
    // A order of an earlier link was for a state that is over: the engine, told that it failed, orders anew.
    while orders.try_recv().is_ok() {
        core.negotiation_failed(name, "the link was lost before it began");
    }
    let (cut, was_cut) = watch::channel(false);
    let ended = {
        let reading = read_news(core, name, id, &mut incoming);
        let bad = tls::until_bad(&core.tls, Some(name), &address.0, &connection.chain);
        tokio::pin!(reading, bad);
        loop {
            tokio::select! {
                ended = &mut reading => break ended,
                // Nothing more is said to it, and nothing of what is under way with it comes about.
                error = &mut bad => {
                    let _ = cut.send(true); // nothing is under way
                    return Err(error);
                }
                order = orders.recv() => {
                    let order = order.context("the program ends")?;
                    let (core, name, client) = (Arc::clone(core), name.to_owned(), client.clone());
                    let was_cut = was_cut.clone();
                    tokio::spawn(async move { negotiate(&core, &name, client, &order, was_cut).await });
                }
            }
        }
    };
    if let Err(why) = &ended {
        // The other side hears it, when it was a message that was wrong, before its stream ends.
        core.complain(name, why.message());
        drop(open);
        let rest = async { while let Ok(Some(_)) = incoming.message().await {} };
        let _ = tokio::time::timeout(PARTING, rest).await;
    }
    ended.map_err(|s| connection.why(&s))
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

/// Steps 1 to 4, as long as the other side is not cut off; the engine hears how it went.
async fn negotiate(
    core: &Core,
    name: &str,
    client: PrimaryClient<Channel>,
    order: &Negotiate,
    mut was_cut: watch::Receiver<bool>,
) {
    let Some(peer) = core.peer(name) else { return };
    tracing::info!(peer = name, reason = order.reason, "negotiating a new generation");
    let cut_off = async {
        // A link that has ended otherwise does not end the call: its answer may be on its way.
        if was_cut.wait_for(|cut| *cut).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let agreed = tokio::select! {
        agreed = steps(core, peer, client, order.last) => agreed,
        () = cut_off => Err(anyhow!("the other primary's certificate is no longer good")),
    };
    match agreed {
        Ok(agreed) => core.negotiated(name, &agreed),
        Err(error) => {
            let why = format!("{error:#}");
            // Also what the other side is said to have refused: it may not have.
            core.complain(name, &why);
            core.negotiation_failed(name, &why);
        }
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
    core.plausible(&peer.config.name, response.generation).context("setup")?;
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
