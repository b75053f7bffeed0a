//! What the two processes say to each other, a line of JSON each. Open sockets come beside the first answer.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, IoSlice, IoSliceMut};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Sockets that come with one message, at most.
const SOCKETS: usize = 4;
/// Octets of a line, at most.
const LINE: usize = 1 << 16;
/// While one side waits for the other it looks at what else there is to do so often.
const SLICE: Duration = Duration::from_millis(50);
/// A line is taken by the kernel within this: there is never more than one on its way.
const SENDING: Duration = Duration::from_secs(2);

/// What the new process says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum FromNew {
    /// It wants to take over.
    Hello {
        /// The program's version.
        version: String,
    },
    /// It has what it needs but for keys and ports: the keys' state, please.
    Prepare,
    /// It has keys of its own: the ports, please.
    Give,
    /// The same of one that holds ports of its own beside the old one's: those need not be closed, and are to stand still.
    StepAside,
    /// It forwards.
    Done {
        /// From the moment that [`FromOld::Given`] names until then, nanoseconds.
        gap_ns: u64,
        /// Whether it answers at the old one's admin socket, which is then not to be removed.
        keeps_socket: bool,
    },
    /// It cannot go on, and ends.
    Failed {
        /// Why.
        why: String,
    },
}

/// What the old process says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum FromOld {
    /// What the new one has to know of it; its sockets come with it.
    Here(Facts),
    /// The keys' state is the other's.
    Prepared,
    /// The ports are, or the old one's stand still.
    Given {
        /// When they were called in, on [`now_ns`](super::now_ns).
        since_ns: u64,
    },
    /// It has taken note that the other forwards, and ends.
    Gone,
    /// It goes on as it was.
    Refused {
        /// Why.
        why: String,
    },
}

/// What a new process has to know of the old one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Facts {
    /// The program's version.
    pub version: String,
    /// Its process id.
    pub process: u32,
    /// The outside port's MTU, octets from the IPv6 header on.
    pub outside_mtu: usize,
    /// Whether it seals: then the other has to, before it takes over.
    pub seals: bool,
    /// How its devices address memory (DPDK's `--iova-mode`).
    pub iova: String,
    /// Whether it knows [`FromNew::StepAside`].
    #[serde(default)]
    pub steps_aside: bool,
    /// What the sockets are that come with this, in their order.
    pub sockets: Vec<SharedSocket>,
}

/// A socket that the old process listens on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SharedSocket {
    /// `[telemetry] listen`, as it is configured.
    Telemetry(SocketAddr),
    /// `[admin] socket`.
    Admin(PathBuf),
    /// This one, where processes take over.
    TakeOver(PathBuf),
}

/// Why nothing more comes from the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lost {
    /// It has closed the connection, or has ended.
    Closed,
    /// It has said nothing for so long.
    Silent(Duration),
    /// It has said something else than these two know.
    Nonsense(String),
    /// This process is to stop.
    Stopped,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => write!(f, "it has ended, or closed the connection"),
            Self::Silent(limit) => write!(f, "it has said nothing for {} s", limit.as_secs_f64()),
            Self::Nonsense(what) => write!(f, "it has said what this version does not know: {}", what.escape_debug()),
            Self::Stopped => write!(f, "the box is being stopped"),
        }
    }
}

/// One end of a conversation.
#[derive(Debug)]
pub struct Talk {
    stream: UnixStream,
    read: Vec<u8>,
    /// What has come beside lines.
    pub sockets: Vec<OwnedFd>,
}

impl Talk {
    /// Over this connection.
    #[must_use]
    pub const fn new(stream: UnixStream) -> Self {
        Self { stream, read: Vec::new(), sockets: Vec::new() }
    }

    /// The connection.
    #[must_use]
    pub fn stream(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Says something, with these sockets. It waits for the kernel alone, and not for long.
    ///
    /// # Errors
    /// The other is not there, or does not read.
    pub fn say(&self, what: &impl Serialize, sockets: &[BorrowedFd<'_>]) -> Result<(), Lost> {
        let mut line = serde_json::to_vec(what).map_err(|error| Lost::Nonsense(error.to_string()))?;
        line.push(b'\n');
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !sockets.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(sockets)) {
            return Err(Lost::Nonsense("more sockets than fit a message".to_owned()));
        }
        let (mut at, start) = (0, Instant::now());
        while at < line.len() {
            let rest = line.get(at..).unwrap_or_default();
            let sent =
                sendmsg(&self.stream, &[IoSlice::new(rest)], &mut beside, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
            match sent {
                Ok(n) => {
                    at += n;
                    beside.clear();
                }
                Err(Errno::AGAIN | Errno::INTR) if start.elapsed() < SENDING => std::thread::sleep(SLICE / 50),
                Err(_) => return Err(Lost::Closed),
            }
        }
        Ok(())
    }

    /// Waits for what the other says, so long at most. `meanwhile` is called again and again, and says whether to go on.
    ///
    /// # Errors
    /// Nothing has come, or something else.
    pub fn hear<T: DeserializeOwned>(
        &mut self,
        limit: Duration,
        meanwhile: &mut dyn FnMut() -> bool,
    ) -> Result<T, Lost> {
        let start = Instant::now();
        loop {
            if let Some(end) = self.read.iter().position(|&octet| octet == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return serde_json::from_slice(&line)
                    .map_err(|_| Lost::Nonsense(String::from_utf8_lossy(&line).into()));
            }
            if self.read.len() > LINE {
                return Err(Lost::Nonsense(format!("a line of more than {LINE} octets")));
            }
            if !meanwhile() {
                return Err(Lost::Stopped);
            }
            let left = limit.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Err(Lost::Silent(limit));
            }
            if readable(self.stream.as_fd(), left.min(SLICE)) {
                self.receive()?;
            }
        }
    }

    fn receive(&mut self) -> Result<(), Lost> {
        let mut octets = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let n = match recvmsg(&self.stream, &mut [IoSliceMut::new(&mut octets)], &mut beside, flags) {
            Ok(message) => message.bytes,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(_) => return Err(Lost::Closed),
        };
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(sockets) = message {
                self.sockets.extend(sockets);
            }
        }
        if n == 0 {
            return Err(Lost::Closed);
        }
        self.read.extend(octets.iter().take(n));
        Ok(())
    }
}

/// Whether there is something to read, or the end, within this time.
pub fn readable(what: BorrowedFd<'_>, within: Duration) -> bool {
    let within = Timespec { tv_sec: within.as_secs() as i64, tv_nsec: i64::from(within.subsec_nanos()) };
    let mut polled = [PollFd::from_borrowed_fd(what, PollFlags::IN)];
    matches!(poll(&mut polled, Some(&within)), Ok(n) if n > 0)
}
