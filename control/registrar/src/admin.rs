//! The local socket: one line of JSON asks, one answers. `pdmv2 registrar status|nodes|rotate|revoke` talk to it.

use super::core::{Core, StoreStatus};
use super::engine::EngineStatus;
use crate::leadership::Leadership;
use anyhow::{Context, anyhow, bail, ensure};
use registration::serving::descriptors;
use registration::serving::http::Accepting;
use registration::serving::places::{Comer, Door, Place, Rules, Source, Stage};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream as Stream};

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
    let place = path.display();
    match std::fs::symlink_metadata(path) {
        Ok(metadata) => {
            ensure!(
                metadata.file_type().is_socket(),
                "{place}: there is something that is no socket; correct [registrar] admin"
            );
            if UnixStream::connect(path).is_ok() {
                bail!("{place}: another registrar answers there; stop it, or give this one its own [registrar] admin");
            }
            std::fs::remove_file(path).with_context(|| format!("{place}: cannot be removed"))?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| place.to_string()),
    }
    let listener = UnixListener::bind(path).with_context(|| format!("{place}: cannot listen; make its directory"))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).with_context(|| place.to_string())?;
    Ok(listener)
}

/// Answers, as long as the program runs.
pub async fn serve(core: Arc<Core>, listener: UnixListener) {
    let places = descriptors::share(PLACES, 32);
    let door = Door::new(Rules { all: places, reserved: 0, stages: STAGES });
    let mut accepting = Accepting::new("[registrar] admin");
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = sweep.tick() => {
                door.sweep();
                continue;
            }
        };
        let Some((stream, _)) = accepting.through(accepted).await else { continue };
        let Some((place, lost)) = door.enter(Comer { source: Source::Local, known: true, most: places }) else {
            // Those that are being answered have all of them; the socket's buffer has room for this.
            drop(stream.try_write(BUSY.as_bytes()));
            continue;
        };
        let core = Arc::clone(&core);
        tokio::spawn(async move {
            tokio::select! {
                done = answer_one(&core, stream, &place) => if let Err(error) = done {
                    tracing::debug!(%error, "admin socket");
                },
                why = lost => tracing::debug!(?why, "admin socket: a connection is ended"),
            }
        });
        // Whoever has lost a place closes its connection before there is another: no more are open than there are places.
        tokio::task::yield_now().await;
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
