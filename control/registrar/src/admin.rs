//! The local socket: one line of JSON asks, one answers. `pdmv2 registrar status|nodes|rotate|revoke` talk to it.

use crate::core::{Core, StoreStatus};
use crate::engine::EngineStatus;
use crate::leadership::Leadership;
use anyhow::{Context, anyhow};
use registration::serving::accepting::{Accepting, Reception};
use registration::serving::descriptors;
use registration::serving::local::{self, Asked};
use registration::serving::places::{Comer, Door, Lost, Place, Rules, Source, Stage};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream as Stream};
use tokio::sync::oneshot;

/// Octets of the longest question.
const MAX_QUESTION: u64 = 4096;
/// Octets of the longest answer.
const MAX_ANSWER: u64 = 64 << 20;
/// How long one side waits for the other.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections at once, at most.
const PLACES: usize = 16;
/// The slow are looked for so often.
const SWEEP: Duration = Duration::from_millis(250);
/// What one hears who finds no place.
const BUSY: &str = "{\"error\":\"too many ask at once; ask again\"}\n";

/// While the question is read, and while it is answered.
const STAGES: &[Stage] = &[
    Stage { safe: Some(Duration::ZERO), patience: Some(PATIENCE), crowded: Some(PATIENCE) },
    Stage { safe: None, patience: Some(PATIENCE), crowded: Some(PATIENCE) },
];

/// What can be asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase", deny_unknown_fields)]
pub enum Question {
    /// How things stand.
    Status,
    /// A new generation, with one peer or with all.
    Rotate {
        /// The peer.
        peer: Option<String>,
    },
    /// Strike a box out, or take that back.
    Revoke {
        /// The box.
        node: String,
        /// Take it back.
        undo: bool,
    },
}

/// What is answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Answer {
    /// How things stand.
    Status {
        /// The registrar's name.
        name: String,
        /// Its version.
        version: String,
        /// `leader` or `follower`.
        role: String,
        /// Who leads this side: a member's name; of a registrar on its own its name.
        leader: Option<String>,
        /// By peer; of a follower none.
        peers: Vec<EngineStatus>,
        /// How it stands with what is to be kept; of a follower nothing.
        store: Option<StoreStatus>,
    },
    /// Done, with these.
    Done(Vec<String>),
    /// Not done.
    Error(String),
}

/// Listens; the socket is its owner's alone.
///
/// # Errors
/// There is another registrar, or something else in its place.
pub fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    local::listen(path, &Asked { setting: "[registrar] admin", who: "registrar", mode: 0o600, group: None })
}

/// Answers, as long as the program runs.
pub async fn serve(core: Arc<Core>, listener: UnixListener) -> Infallible {
    let places = descriptors::share(PLACES, 32);
    let door = Door::new(Rules { all: places, reserved: 0, stages: STAGES });
    Accepting::new("[registrar] admin", SWEEP).run(listener, Socket { core, places, door }).await
}

struct Socket {
    core: Arc<Core>,
    places: usize,
    door: Door,
}

impl Reception<UnixListener> for Socket {
    fn door(&self) -> &Door {
        &self.door
    }

    fn comer(&self, _from: &SocketAddr) -> Comer {
        Comer { source: Source::Local, known: true, most: self.places }
    }

    fn admit(&self, stream: Stream, _from: SocketAddr, place: Place, lost: oneshot::Receiver<Lost>) {
        let core = Arc::clone(&self.core);
        tokio::spawn(async move {
            tokio::select! {
                done = answer_one(&core, stream, &place) => if let Err(error) = done {
                    tracing::debug!(%error, "admin socket");
                },
                why = lost => tracing::debug!(?why, "admin socket: a connection is ended"),
            }
        });
    }

    fn turn_away(&self, stream: Stream, _from: SocketAddr) {
        // Those that are being answered have all places; the socket's buffer has room for this.
        drop(stream.try_write(BUSY.as_bytes()));
    }
}

async fn answer_one(core: &Core, stream: Stream, place: &Place) -> anyhow::Result<()> {
    let (reading, mut writing) = stream.into_split();
    let mut line = String::new();
    tokio::io::BufReader::new(reading).take(MAX_QUESTION).read_line(&mut line).await?;
    place.advance(1);
    let answer = match serde_json::from_str(&line) {
        Ok(question) => answer(core, &question).await,
        Err(error) => Answer::Error(format!("not a question: {error}")),
    };
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    writing.write_all(&text).await?;
    Ok(writing.shutdown().await?)
}

async fn answer(core: &Core, question: &Question) -> Answer {
    let done = match question {
        Question::Status => {
            let (name, version) = (core.config.name.clone(), env!("CARGO_PKG_VERSION").to_owned());
            let (role, leader) = match core.leadership() {
                Leadership::Leads => ("leader", Some(core.config.etcd.as_ref().map_or(&name, |e| &e.member).clone())),
                Leadership::Follows(leader) => ("follower", leader.map(|l| l.member)),
            };
            let status = core.status();
            let (peers, store) = (status.peers.clone(), status.store.clone());
            return Answer::Status { name, version, role: role.to_owned(), leader, peers, store };
        }
        Question::Rotate { peer } => core.rotate(peer.as_deref()),
        Question::Revoke { node, undo } => core.revoke(node, !undo).await.map(|()| vec![node.clone()]),
    };
    done.map_or_else(|error| Answer::Error(format!("{error:#}")), Answer::Done)
}

/// Asks the registrar at this socket.
///
/// # Errors
/// Nobody answers, or the answer is an error.
pub fn ask(path: &Path, question: &Question) -> anyhow::Result<Answer> {
    let place = path.display();
    let stream = UnixStream::connect(path)
        .with_context(|| format!("{place}: no registrar answers; start it with 'pdmv2 registrar run'"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut text = serde_json::to_vec(question)?;
    text.push(b'\n');
    (&stream).write_all(&text).with_context(|| place.to_string())?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_ANSWER)).read_line(&mut line).with_context(|| place.to_string())?;
    match serde_json::from_str(&line).with_context(|| format!("{place}: an answer of another version"))? {
        Answer::Error(error) => Err(anyhow!(error)),
        answer => Ok(answer),
    }
}
