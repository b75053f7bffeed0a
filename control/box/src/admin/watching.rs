//! `/v1/trace` and `/v1/capture`: packets of the running box, as a stream that ends by itself.
//!
//! A task beside the others empties the watch's queue; the reader's pace decides how fast. What a slow reader leaves there is
//! missed, and told at the end: no worker waits for it.

use super::World;
use super::answering::failure;
use super::query::{self, parameters, short};
use super::status::none_of;
use super::told::Teller;
use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use common::admin::{
    CAPTURED, Failure, Line, MOST_CAPTURED, MOST_SECONDS, MOST_SNAPLEN, MOST_TRACED, SNAPLEN, TRACED, WATCHED_SECONDS,
    Watched,
};
use common::capture::{LinkType, write_ng};
use futures_util::stream;
use pipeline::state::watch::note::Point;
use pipeline::state::watch::{Filter, Limits, MOST_WATCHES, Reader};
use registration::serving::http::Streams;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// Octets that are traced of a packet: all headers there may be, and the option.
const TRACED_OCTETS: usize = 256;
/// Packets that are traced in a second, at most.
const TRACES: u64 = 1000;
/// Packets that are captured in a second, at most.
const CAPTURES: u64 = 10_000;
/// How often the queue is looked into when it was empty.
const POLL: Duration = Duration::from_millis(10);
/// Octets that are handed over at once, some more or less.
const PIECE: usize = 64 << 10;
/// Pieces that wait for the reader.
const PIECES: usize = 4;
/// The end is told to a reader that takes it within this.
const LAST: Duration = Duration::from_secs(1);

const POINTS: [(&str, Point); 3] =
    [("inside", Point::Inside), ("outside", Point::Outside), ("dropped", Point::Dropped)];

/// What is asked for.
#[derive(Debug)]
pub struct Asked {
    filter: Filter,
    limits: Limits,
    seconds: u64,
    /// The point's name of a capture.
    capture: Option<&'static str>,
}

/// The parameters of `/v1/trace`.
///
/// # Errors
/// One that there is not, or a value that it cannot have.
pub fn trace(world: &World, query: Option<&str>) -> Result<Asked, Failure> {
    const KNOWN: [&str; 7] = ["address", "prefix", "port", "policy", "protocol", "n", "seconds"];
    let limits = Limits { snaplen: TRACED_OCTETS, packets: TRACED, per_second: TRACES };
    asked(
        world,
        query,
        &KNOWN,
        MOST_TRACED,
        Asked { filter: Filter::default(), limits, seconds: WATCHED_SECONDS, capture: None },
    )
}

/// The parameters of `/v1/capture`.
///
/// # Errors
/// As [`trace`].
pub fn capture(world: &World, query: Option<&str>) -> Result<Asked, Failure> {
    const KNOWN: [&str; 9] = ["address", "prefix", "port", "policy", "protocol", "n", "seconds", "point", "snaplen"];
    let limits = Limits { snaplen: SNAPLEN, packets: CAPTURED, per_second: CAPTURES };
    let filter = Filter { point: Point::Outside, ..Filter::default() };
    asked(
        world,
        query,
        &KNOWN,
        MOST_CAPTURED,
        Asked { filter, limits, seconds: WATCHED_SECONDS, capture: Some("outside") },
    )
}

fn asked(
    world: &World,
    query: Option<&str>,
    known: &[&'static str],
    most: u64,
    mut asked: Asked,
) -> Result<Asked, Failure> {
    let mut flows = form_urlencoded::Serializer::new(String::new());
    for (name, value) in parameters(query, known)? {
        let wrong = |known: &[&str], remedy: String| {
            query::failure(format!("{name}: '{}' is no value of it", short(&value)), remedy, known)
        };
        let number = |most: u64| {
            let number = value.parse().ok().filter(|number| (1..=most).contains(number));
            number.ok_or_else(|| wrong(&[], format!("write a number from 1 to {most}")))
        };
        match name {
            "n" => asked.limits.packets = number(most)?,
            "seconds" => asked.seconds = number(MOST_SECONDS)?,
            "snaplen" => asked.limits.snaplen = number(MOST_SNAPLEN as u64)? as usize,
            "point" => {
                let found = POINTS.iter().find(|(name, _)| *name == value);
                let names = POINTS.map(|(name, _)| name);
                let (name, point) = *found.ok_or_else(|| wrong(&names, "choose one that is known".into()))?;
                (asked.capture, asked.filter.point) = (Some(name), point);
            }
            _ => {
                flows.append_pair(name, &value);
            }
        }
    }
    // Packets are chosen as flows are.
    let flows = query::flows(Some(&flows.finish()))?;
    let Filter { point, .. } = asked.filter;
    let policies = flows.policy.map(|name| {
        let rules = world.shared.snapshots.rules();
        let named = rules.policies().filter(|(policy, _)| policy.name == name);
        let ids: Vec<_> = named.map(|(_, standing)| standing.id).collect();
        if ids.is_empty() {
            Err(none_of("policy", &name, rules.policies().map(|(policy, _)| policy.name.clone())))
        } else {
            Ok(ids)
        }
    });
    asked.filter = Filter {
        address: flows.address,
        prefix: flows.prefix,
        port: flows.port,
        protocol: flows.protocol,
        policies: policies.transpose()?,
        point,
    };
    Ok(asked)
}

/// Begins to watch, and answers with what is seen.
pub fn answer(world: &Arc<World>, asked: Result<Asked, Failure>) -> Response {
    let asked = match asked {
        Ok(asked) => asked,
        Err(wrong) => return failure(StatusCode::BAD_REQUEST, &wrong),
    };
    let Ok(reader) = world.shared.watches.start(asked.filter.clone(), asked.limits) else {
        let error = format!("{MOST_WATCHES} traces and captures are going on, and no more can");
        let remedy = "end one of them, or ask again when one has ended".to_owned();
        return failure(StatusCode::SERVICE_UNAVAILABLE, &Failure { error, remedy, known: Vec::new() });
    };
    let kind = if asked.capture.is_some() { "application/x-pcapng" } else { "application/x-ndjson" };
    let (pieces, unread) = mpsc::channel::<Bytes>(PIECES);
    tokio::spawn(pump(Arc::clone(world), reader, asked, pieces));
    let stream = stream::unfold(unread, |mut unread| async move {
        unread.recv().await.map(|piece| (Ok::<_, Infallible>(piece), unread))
    });
    let mut answer = ([(header::CONTENT_TYPE, kind)], Body::from_stream(stream)).into_response();
    answer.extensions_mut().insert(Streams);
    answer
}

/// Hands on what is noted, until there is enough, the time is over, the box ends, or the reader has gone.
async fn pump(world: Arc<World>, reader: Reader, asked: Asked, pieces: mpsc::Sender<Bytes>) {
    let deadline = Instant::now() + Duration::from_secs(asked.seconds);
    let teller = Teller::new(&world);
    if let Some(point) = asked.capture {
        let snaplen = u32::try_from(asked.limits.snaplen).unwrap_or(u32::MAX);
        let application = concat!("pdmv2-middlebox ", env!("CARGO_PKG_VERSION"));
        let head = write_ng::head(application, point, LinkType::ETHERNET, snaplen);
        if pieces.send(head.into()).await.is_err() {
            return;
        }
    }
    let work = async {
        while !world.stop.load(Relaxed) && !pieces.is_closed() {
            // Whoever has no room for it gets it later, and the workers find no free note meanwhile.
            let Ok(room) = pieces.reserve().await else { return };
            let mut octets = Vec::new();
            while octets.len() < PIECE {
                let Some(made) = reader.next(|note| teller.octets(note, &asked)) else { break };
                octets.extend(made);
            }
            if !octets.is_empty() {
                room.send(octets.into());
            } else if reader.is_done() {
                return;
            } else {
                sleep(POLL).await;
            }
        }
    };
    let _ = timeout_at(deadline, work).await; // then it ends as well
    let (noted, missed) = (reader.noted(), reader.missed());
    drop(reader);
    let last = match asked.capture {
        Some(_) => write_ng::statistics(teller.now(), noted.saturating_add(missed), missed),
        None => line(&Line::End(Watched { noted, missed })),
    };
    let _ = timeout(LAST, pieces.send(last.into())).await; // the reader may have gone
}

fn line(line: &Line) -> Vec<u8> {
    let mut octets = serde_json::to_vec(line).unwrap_or_default();
    octets.push(b'\n');
    octets
}

impl Teller {
    /// A packet as it is handed on.
    fn octets(&self, note: &pipeline::state::watch::note::Note, asked: &Asked) -> Vec<u8> {
        if asked.capture.is_none() {
            return line(&Line::Packet(Box::new(self.told(note))));
        }
        note.at(asked.filter.point).map_or_else(Vec::new, |octets| {
            write_ng::packet(self.wall(note.at_ns), octets.data(), octets.frame_len(), &self.comment(note))
        })
    }
}
