//! Asks a box at its admin socket.

use anyhow::{Context, anyhow, bail};
use common::admin::{Failure, config};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

/// An answer is there within this.
const PATIENCE: Duration = Duration::from_secs(10);
/// Octets of an answer, at most.
const MOST: usize = 64 << 20;

/// Which box.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Which {
    /// The box's admin socket [default: the only one in /run/pdmv2]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// The box's configuration, which names its socket
    #[arg(long, value_name = "FILE", conflicts_with = "socket")]
    pub config: Option<PathBuf>,
}

impl Which {
    /// The socket.
    ///
    /// # Errors
    /// The configuration names none, or nobody says which of several boxes it is.
    pub fn socket(&self) -> anyhow::Result<PathBuf> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        match &self.config {
            Some(file) => config::socket_of(file).map_err(|errors| anyhow!("{errors}")),
            None => only_one(Path::new(config::DIRECTORY)),
        }
    }
}

/// The only socket in this directory.
fn only_one(dir: &Path) -> anyhow::Result<PathBuf> {
    const HINT: &str = "give its configuration an [admin] section and start it, or name its socket with --socket, or its \
                        configuration with --config";
    let place = dir.display();
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => bail!("there is no box in {place}: {HINT}"),
        Err(error) => return Err(error).with_context(|| format!("{place}: name the box's socket with --socket")),
    };
    let mut sockets: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    sockets.retain(|path| path.extension().is_some_and(|extension| extension == "sock"));
    sockets.sort();
    match sockets.as_slice() {
        [] => bail!("there is no box in {place}: {HINT}"),
        [socket] => Ok(socket.clone()),
        several => {
            let names: Vec<_> = several.iter().map(|path| path.display().to_string()).collect();
            bail!("there are several boxes: choose one with --socket: {}", names.join(", "))
        }
    }
}

/// Asks one box, again and again.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    /// Of this box.
    ///
    /// # Errors
    /// It is not known which, or the system gives no runtime.
    pub fn new(which: &Which) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { socket: which.socket()?, runtime })
    }

    /// The answer to this path.
    ///
    /// # Errors
    /// The box is not there, does not let the caller in, is busy, does not understand, or is of another version.
    pub fn ask<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.answer(&self.octets(path)?)
    }

    /// The answer to this path when it is to do something.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn order<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.answer(&self.octets_of(Method::POST, path)?)
    }

    fn answer<T: DeserializeOwned>(&self, octets: &[u8]) -> anyhow::Result<T> {
        serde_json::from_slice(octets).with_context(|| {
            format!("{}: an answer of another version; use the 'pdmv2' that came with the box", self.socket.display())
        })
    }

    /// An answer that goes on, as it comes, until it ends or `each` has had enough (`Ok(false)`).
    ///
    /// # Errors
    /// As [`Client::ask`]; and what `each` returns.
    pub fn stream(&self, path: &str, mut each: impl FnMut(&[u8]) -> anyhow::Result<bool>) -> anyhow::Result<()> {
        let place = self.socket.display();
        self.runtime.block_on(async {
            let begun = tokio::time::timeout(PATIENCE, begin(&self.socket, path)).await;
            let mut answer = match begun {
                Ok(answer) => answer?,
                Err(_) => bail!("{place}: no answer within {} s; is the box stopped?", PATIENCE.as_secs()),
            };
            let status = answer.status();
            if status != StatusCode::OK {
                let body = Limited::new(answer.into_body(), MOST).collect().await;
                let octets = body.map_err(|error| anyhow!("{place}: the answer ends early: {error}"))?.to_bytes();
                return Err(self.refused(status, &octets));
            }
            while let Some(frame) = answer.body_mut().frame().await {
                let frame = frame.with_context(|| format!("{place}: the answer ends early; has the box ended?"))?;
                if let Some(octets) = frame.data_ref()
                    && !each(octets)?
                {
                    break;
                }
            }
            Ok(())
        })
    }

    /// The same as [`Client::ask`], as it comes.
    ///
    /// # Errors
    /// As [`Client::ask`], but for the version.
    pub fn octets(&self, path: &str) -> anyhow::Result<Bytes> {
        self.octets_of(Method::GET, path)
    }

    fn octets_of(&self, method: Method, path: &str) -> anyhow::Result<Bytes> {
        let place = self.socket.display();
        let whole = whole(&self.socket, method, path);
        let answer = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, whole).await });
        let (status, octets) = match answer {
            Ok(answer) => answer?,
            Err(_) => bail!("{place}: no answer within {} s; is the box stopped?", PATIENCE.as_secs()),
        };
        if status == StatusCode::OK {
            return Ok(octets);
        }
        Err(self.refused(status, &octets))
    }

    fn refused(&self, status: StatusCode, octets: &[u8]) -> anyhow::Error {
        let place = self.socket.display();
        match serde_json::from_slice::<Failure>(octets) {
            Ok(Failure { error, remedy, known }) if known.is_empty() => anyhow!("{error}: {remedy}"),
            Ok(Failure { error, remedy, known }) => anyhow!("{error}: {remedy}: {}", known.join(", ")),
            Err(_) if status == StatusCode::SERVICE_UNAVAILABLE => anyhow!("{place}: too many ask at once; ask again"),
            Err(_) => anyhow!("{place}: the answer is {status}"),
        }
    }
}

/// The head of an answer; its body follows while the connection, which goes on beside it, is driven.
async fn begin(socket: &Path, path: &str) -> anyhow::Result<hyper::Response<hyper::body::Incoming>> {
    let place = socket.display();
    let stream = UnixStream::connect(socket).await.map_err(|error| not_there(socket, &error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get(path).header(header::HOST, "box").body(Empty::<Bytes>::new());
    let request = request.with_context(|| format!("'{path}' cannot be asked for"))?;
    sender.send_request(request).await.with_context(|| format!("{place}: no answer; ask again"))
}

async fn whole(socket: &Path, method: Method, path: &str) -> anyhow::Result<(StatusCode, Bytes)> {
    let place = socket.display();
    let stream = UnixStream::connect(socket).await.map_err(|error| not_there(socket, &error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder().method(method).uri(path).header(header::HOST, "box").body(Empty::<Bytes>::new());
    let request = request.with_context(|| format!("'{path}' cannot be asked for"))?;
    let answer = async {
        let answer = sender.send_request(request).await.with_context(|| format!("{place}: no answer; ask again"))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MOST).collect().await;
        let body = body.map_err(|error| anyhow!("{place}: the answer ends early, or is too long: {error}"))?;
        anyhow::Ok((status, body.to_bytes()))
    };
    tokio::pin!(answer, connection);
    tokio::select! {
        answer = &mut answer => answer,
        ended = &mut connection => {
            ended.with_context(|| format!("{place}: no answer; ask again"))?;
            answer.await
        }
    }
}

fn not_there(socket: &Path, error: &std::io::Error) -> anyhow::Error {
    let place = socket.display();
    match error.kind() {
        ErrorKind::NotFound => anyhow!(
            "{place}: there is no box; start it with an [admin] section in its configuration, or name another socket with --socket"
        ),
        ErrorKind::PermissionDenied => anyhow!(
            "{place}: you may not ask this box; do it as root, or as a member of the group that [admin] names \
             (group = \"…\" in the box's configuration)"
        ),
        ErrorKind::ConnectionRefused => {
            anyhow!("{place}: the box has ended; see its log, and start it again")
        }
        _ => anyhow!("{place}: cannot be connected to: {error}; is it the box's admin socket?"),
    }
}

/// A path with parameters.
#[must_use]
pub fn with_parameters<'a>(path: &str, parameters: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(parameters);
    let query = query.finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

#[cfg(test)]
mod tests;
