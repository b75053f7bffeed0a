//! Where records go. All of it is done by a thread that nobody waits for, and everything has a time limit.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Result, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// Where records go, as configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// A collector, by datagrams.
    Udp(SocketAddr),
    /// A collector, by a connection.
    Tcp(SocketAddr),
    /// A file, at whose end they are put.
    File(PathBuf),
    /// A Unix socket that somebody listens on.
    Unix(PathBuf),
}

impl std::fmt::Display for Target {
    /// As the configuration has it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Udp(address) => write!(f, "udp://{address}"),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A connection or write takes so long, at most.
const TIME_LIMIT: Duration = Duration::from_secs(2);

#[derive(Debug)]
enum Stream {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Unix(UnixStream),
    File { file: File, written: u64 },
}

/// A target, and the connection to it.
#[derive(Debug)]
pub struct Outlet {
    target: Target,
    file_limit: u64,
    stream: Option<Stream>,
}

impl Outlet {
    /// Not yet open. `file_limit`: octets at which a file is full.
    #[must_use]
    pub const fn new(target: Target, file_limit: u64) -> Self {
        Self { target, file_limit, stream: None }
    }

    /// Where it leads.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// Whether what is sent may get lost without a trace, and the next may arrive.
    #[must_use]
    pub const fn is_datagrams(&self) -> bool {
        matches!(self.target, Target::Udp(_))
    }

    /// Connects, or opens.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(&mut self) -> Result<()> {
        self.stream = None;
        self.stream = Some(match &self.target {
            Target::Udp(address) => {
                let any = if address.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
                let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
                socket.connect(address)?;
                socket.set_write_timeout(Some(TIME_LIMIT))?;
                Stream::Udp(socket)
            }
            Target::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, TIME_LIMIT)?;
                stream.set_write_timeout(Some(TIME_LIMIT))?;
                Stream::Tcp(stream)
            }
            Target::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_write_timeout(Some(TIME_LIMIT))?;
                Stream::Unix(stream)
            }
            Target::File(path) => {
                // Who talked with whom is not for everybody.
                let file = OpenOptions::new().create(true).append(true).mode(0o640).open(path)?;
                let written = file.metadata()?.len();
                Stream::File { file, written }
            }
        });
        Ok(())
    }

    /// Sends all of it, or fails.
    ///
    /// # Errors
    /// What the system says; [`ErrorKind::FileTooLarge`]: the file is full.
    pub fn write(&mut self, octets: &[u8]) -> Result<()> {
        match &mut self.stream {
            None => Err(ErrorKind::NotConnected.into()),
            Some(Stream::Udp(socket)) => socket.send(octets).map(|_| ()),
            Some(Stream::Tcp(stream)) => {
                check_open(stream)?;
                stream.write_all(octets)
            }
            Some(Stream::Unix(stream)) => stream.write_all(octets),
            Some(Stream::File { file, written }) => {
                if written.saturating_add(octets.len() as u64) > self.file_limit {
                    return Err(Error::new(ErrorKind::FileTooLarge, "the file is full"));
                }
                *written += octets.len() as u64;
                file.write_all(octets)
            }
        }
    }
}

/// The first write behind a collector's end succeeds, and what it wrote is lost: so it is asked for before.
fn check_open(stream: &TcpStream) -> Result<()> {
    stream.set_nonblocking(true)?;
    let seen = stream.peek(&mut [0]);
    stream.set_nonblocking(false)?;
    match seen {
        Ok(0) => Err(ErrorKind::ConnectionAborted.into()),
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    }
}
