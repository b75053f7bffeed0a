//! The sockets a process listens on, which the next one goes on with: nobody who connects in between is refused.

use super::talk::SharedSocket;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Those that came from the process before.
#[derive(Debug, Default)]
pub struct Inherited {
    telemetry: Option<(SocketAddr, OwnedFd)>,
    admin: Option<(PathBuf, OwnedFd)>,
    take_over: Option<(PathBuf, OwnedFd)>,
}

impl Inherited {
    /// These, which are so called, in this order.
    #[must_use]
    pub fn new(called: &[SharedSocket], sockets: Vec<OwnedFd>) -> Self {
        let mut this = Self::default();
        for (called, socket) in called.iter().cloned().zip(sockets) {
            match called {
                SharedSocket::Telemetry(at) => this.telemetry = Some((at, socket)),
                SharedSocket::Admin(at) => this.admin = Some((at, socket)),
                SharedSocket::TakeOver(at) => this.take_over = Some((at, socket)),
            }
        }
        this
    }

    /// The one at this address, if there is one.
    pub fn telemetry(&mut self, at: SocketAddr) -> Option<OwnedFd> {
        self.telemetry.take_if(|(there, _)| *there == at).map(|(_, socket)| socket)
    }

    /// The admin interface's at this place.
    pub fn admin(&mut self, at: &Path) -> Option<OwnedFd> {
        self.admin.take_if(|(there, _)| there == at).map(|(_, socket)| socket)
    }

    /// That at this place, where processes take over.
    pub fn take_over(&mut self, at: &Path) -> Option<OwnedFd> {
        self.take_over.take_if(|(there, _)| there == at).map(|(_, socket)| socket)
    }
}

/// Those of this process, for the next one. Telemetry may move while the box runs.
#[derive(Clone, Debug, Default)]
pub struct Own(Arc<Mutex<Vec<(SharedSocket, OwnedFd)>>>);

impl Own {
    /// Puts one in, in the place of that of the same kind.
    pub fn put(&self, called: SharedSocket, socket: OwnedFd) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(there, _)| std::mem::discriminant(there) != std::mem::discriminant(&called));
        all.push((called, socket));
    }

    /// Telemetry answers nowhere from now on.
    pub fn no_telemetry(&self) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(there, _)| !matches!(there, SharedSocket::Telemetry(_)));
    }

    /// Does something with all of them.
    pub fn with<T>(&self, what: impl FnOnce(Vec<SharedSocket>, &[BorrowedFd<'_>]) -> T) -> T {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sockets: Vec<_> = all.iter().map(|(_, socket)| socket.as_fd()).collect();
        what(all.iter().map(|(called, _)| called.clone()).collect(), &sockets)
    }
}
