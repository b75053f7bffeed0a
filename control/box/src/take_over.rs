//! A process of this box takes over from the one that runs: it prepares all it can beside it, gets the keys' state and then the
//! ports, and the old one ends. The box forwards meanwhile, but for the moment in which the ports change hands.
//!
//! The two talk over a socket beside the admin interface's, in lines of JSON ([`talk`]); whoever may connect there is the box's own
//! user. What follows on what, the old one decides ([`steps`]), and does ([`old`]); the new one asks ([`new`]). Two things hold
//! whatever dies when:
//!
//! * **Never two on the ports.** The old one takes them up again only when the new process has ended, which it sees to itself
//!   ([`other`]): a silence that lasts too long is ended by SIGKILL, and so is whoever has closed the connection.
//! * **No (key, nonce) pair twice.** Each process seals under a generation of its own. With a key file the old one lets go of the
//!   state file and keeps its generation; the new one takes the next one out of the file, as any start does, before it has the ports.
//!   When the old one goes on after all, its generation is still nobody else's: numbers in the file only rise. With registrars the
//!   new one registers as a process that nobody has seen before, and gets secrets that are negotiated after that; the old one goes
//!   on with what it has, and registers anew when it has to go on, which makes it a new process to its registrar in turn.

#[cfg(feature = "dpdk")]
pub mod hands;
pub mod new;
pub mod old;
pub mod other;
pub mod sockets;
pub mod steps;
#[cfg(feature = "dpdk")]
pub mod successor;
pub mod talk;

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the process that runs is asked, given its admin socket.
#[must_use]
pub fn place(admin: &Path) -> PathBuf {
    admin.with_extension("take-over")
}

/// Nanoseconds on the machine's clock that all processes share and nobody sets.
#[must_use]
pub fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    (now.tv_sec.unsigned_abs()).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec.unsigned_abs())
}

/// How long the old process waits for the new one.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Until it has what it needs beside the keys: memory, mostly.
    pub prepare: Duration,
    /// From then until it has keys of its own, and asks for the ports.
    pub give: Duration,
    /// From then until it forwards. Nobody does meanwhile.
    pub done: Duration,
    /// For its end, when it has said that it fails, before it is killed.
    pub end: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            prepare: Duration::from_secs(180),
            give: Duration::from_secs(90),
            done: Duration::from_secs(20),
            end: Duration::from_secs(3),
        }
    }
}

#[cfg(test)]
mod tests;
