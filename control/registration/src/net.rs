//! Connections to registrars: TCP, TLS with both sides' certificates, HTTP/2. Everything that waits for the other side waits
//! only so long. How a registrar takes connections: `entrance.rs`.

use super::tls::{self, Tls, server_name};
use anyhow::{Context as _, anyhow, ensure};
use hyper_util::rt::TokioIo;
use rustls::pki_types::CertificateDer;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// How long a connection may take to come about, each of its steps.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an answer to a call is waited for.
pub const ANSWER: Duration = Duration::from_secs(10);
/// A silent connection is asked for a sign of life after this.
pub const KEEPALIVE: Duration = Duration::from_secs(5);
/// It is over when none comes within this.
pub const KEEPALIVE_ANSWER: Duration = Duration::from_secs(5);
/// Octets that may be under way to this side of a call, which the other side holds until they are read: a registrar sends to
/// thousands of boxes at once. Two messages with changes fit.
const WINDOW: u32 = 16 << 10;

/// A connection to a registrar.
#[derive(Clone, Debug)]
pub struct Connection {
    /// For calls.
    pub channel: Channel,
    /// The certificates that it has shown.
    pub chain: Arc<Vec<CertificateDer<'static>>>,
    /// What has ended the connection below the calls: an alert in TLS, say, by which a certificate was refused.
    ended: Arc<OnceLock<String>>,
}

impl Connection {
    /// Why a call came to nothing.
    #[must_use]
    pub fn why(&self, status: &Status) -> anyhow::Error {
        let below = self.ended.get().map(|ended| format!(" ({ended})")).unwrap_or_default();
        anyhow!("{}: {}{below}", status.code(), status.message())
    }
}

/// Connects to a registrar: of the own side, or to the primary of the other side that `peer` names.
///
/// # Errors
/// It cannot be reached, its certificate is not good, or it is somebody else.
pub async fn connect(tls: &Tls, peer: Option<&str>, (host, port): &(String, u16)) -> anyhow::Result<Connection> {
    let place = format!("{host}:{port}");
    let stream = tokio::time::timeout(PATIENCE, TcpStream::connect((host.as_str(), *port)))
        .await
        .map_err(|_| anyhow!("{place}: no answer"))?
        .with_context(|| format!("{place}: cannot connect"))?;
    stream.set_nodelay(true).with_context(|| place.clone())?;
    let material = tls.current();
    let connector = TlsConnector::from(Arc::new(material.client(peer)?));
    let stream = tokio::time::timeout(PATIENCE, connector.connect(server_name(host)?, stream))
        .await
        .map_err(|_| anyhow!("{place}: no answer in TLS"))?
        .with_context(|| format!("{place}: TLS failed"))?;
    ensure!(
        stream.get_ref().1.alpn_protocol() == Some(tls::ALPN),
        "{place}: does not speak HTTP/2 (no ALPN 'h2'): it is no registrar; correct the address"
    );
    // The handshake has verified it, and whom it names.
    let chain = stream.get_ref().1.peer_certificates().with_context(|| format!("{place}: no certificate"))?;
    let chain = Arc::new(chain.iter().map(|c| c.clone().into_owned()).collect());
    let ended = Arc::default();
    let channel = channel(&place, Noted { stream, ended: Arc::clone(&ended) }).await?;
    Ok(Connection { channel, chain, ended })
}

/// Keeps the first error, of which the caller of a call hears only that there was one.
struct Noted {
    stream: client::TlsStream<TcpStream>,
    ended: Arc<OnceLock<String>>,
}

impl Noted {
    fn note<T>(&self, polled: Poll<std::io::Result<T>>) -> Poll<std::io::Result<T>> {
        if let Poll::Ready(Err(error)) = &polled {
            self.ended.get_or_init(|| error.to_string());
        }
        polled
    }
}

impl AsyncRead for Noted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, into);
        self.note(polled)
    }
}

impl AsyncWrite for Noted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, octets);
        if let Poll::Ready(Err(_)) = polled {
            // It was closed by the other side, which may have said why: that is still to be read.
            let mut one = [0];
            let why = Pin::new(&mut self.stream).poll_read(cx, &mut ReadBuf::new(&mut one));
            let _ = self.note(why);
        }
        self.note(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.note(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// HTTP/2 over one connection; when it ends the channel ends.
async fn channel(place: &str, stream: Noted) -> anyhow::Result<Channel> {
    let mut stream = Some(TokioIo::new(stream));
    let connector = tower::service_fn(move |_| {
        let stream = stream.take().ok_or_else(|| std::io::Error::other("the connection has ended"));
        std::future::ready(stream)
    });
    Endpoint::from_shared("http://registrar")
        .context("an address")?
        .initial_stream_window_size(WINDOW)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_ANSWER)
        .keep_alive_while_idle(true)
        .connect_with_connector(connector)
        .await
        .with_context(|| format!("{place}: HTTP/2 failed"))
}

/// Between `least` and `most`, longer with every failure, and a random part of it, so that many do not come at once.
#[must_use]
pub fn pause(failures: u32, least: Duration, most: Duration) -> Duration {
    let longest = least.saturating_mul(1 << failures.min(16)).min(most);
    let mut random = [0; 4];
    // Without random numbers it is the longest.
    let share = match getrandom::fill(&mut random) {
        Ok(()) => f64::from(u32::from_be_bytes(random)) / f64::from(u32::MAX),
        Err(_) => 1.0,
    };
    (longest / 2 + longest.mul_f64(share / 2.0)).max(least.min(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_differ() {
        let (least, most) = (Duration::from_millis(100), Duration::from_secs(5));
        for failures in 0..40 {
            let one = pause(failures, least, most);
            assert!((least..=most).contains(&one), "{failures}: {one:?}");
        }
        assert!(pause(30, least, most) >= most / 2);
        let some: std::collections::HashSet<_> = (0..20).map(|_| pause(30, least, most)).collect();
        assert!(some.len() > 1);
    }
}
