//! The other process: whether it lives, and its end. By a descriptor, not by its number: a number may soon be another's.

use super::talk::readable;
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Pid, PidfdFlags, Signal, getuid, pidfd_open, pidfd_send_signal};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// What a killed process may take to end: the kernel takes its memory apart, and gives its devices back.
const DYING: Duration = Duration::from_secs(10);

/// A process.
#[derive(Debug)]
pub struct Other {
    /// Its number.
    pub process: u32,
    handle: OwnedFd,
}

impl Other {
    /// The process of this number, which is known to live.
    ///
    /// # Errors
    /// It has ended; or the kernel has no such handles (before Linux 5.3).
    pub fn of(process: u32) -> io::Result<Self> {
        let pid = i32::try_from(process).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self { process, handle: pidfd_open(pid, PidfdFlags::empty())? })
    }

    /// Who has connected.
    ///
    /// # Errors
    /// It is another user's process, or has ended.
    pub fn connected(stream: BorrowedFd<'_>) -> io::Result<Self> {
        let who = socket_peercred(stream)?;
        if who.uid != getuid() {
            let user = who.uid.as_raw();
            return Err(io::Error::other(format!("it is a process of user {user}, and not of the box's own")));
        }
        Self::of(who.pid.as_raw_nonzero().get().unsigned_abs())
    }

    /// Whether it has ended, or does within this time.
    #[must_use]
    pub fn ends_within(&self, limit: Duration) -> bool {
        readable(self.handle.as_fd(), limit)
    }

    /// Sees to it that it ends: by itself, in this time, or by SIGKILL. `false`: it lives all the same, which the kernel alone
    /// can bring about.
    #[must_use]
    pub fn end(&self, by_itself: Duration) -> bool {
        self.ends_within(by_itself) || {
            let _ = pidfd_send_signal(&self.handle, Signal::KILL); // it has just ended
            self.ends_within(DYING)
        }
    }
}
