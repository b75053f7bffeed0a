//! The new process's part: it asks the one that runs, step by step.

use super::now_ns;
use super::other::Other;
use super::sockets::Inherited;
use super::talk::{Facts, FromNew, FromOld, Lost, SharedSocket, Talk};
use anyhow::{Context, anyhow, bail};
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// An answer that needs no work.
const SOON: Duration = Duration::from_secs(10);
/// For ports to be given up: a driver may take seconds to stop.
const GIVING: Duration = Duration::from_secs(30);
/// For the old process to take note that it is not needed any more.
const GONE: Duration = Duration::from_secs(2);

/// Whether packet sockets of these two processes on one interface would get a part of its packets each, and not all of them: DPDK's
/// `net_af_packet` puts its own into a group, whose number it makes of 16 bits of the process number.
const fn share_packets(one: u32, other: u32) -> bool {
    (one ^ other) & 0xffff == 0
}

/// A take-over under way.
pub struct Taking {
    talk: Talk,
    old: Other,
    /// What the old process says of itself.
    pub facts: Facts,
    /// Its sockets.
    pub sockets: Inherited,
    /// When it gave its ports up.
    since_ns: Option<u64>,
}

impl Taking {
    /// Asks the process that runs. `None`: there is none.
    ///
    /// # Errors
    /// There is one, and it refuses.
    pub fn connect(place: &Path) -> anyhow::Result<Option<Self>> {
        let at = place.display();
        let stream = match UnixStream::connect(place) {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) => return Err(error).with_context(|| format!("{at}: the box that runs cannot be asked")),
        };
        let mut talk = Talk::new(stream);
        let hello = FromNew::Hello { version: env!("CARGO_PKG_VERSION").to_owned() };
        let answer = talk.say(&hello, &[]).and_then(|()| talk.hear(SOON, &mut || true));
        let facts = match answer {
            Ok(FromOld::Here(facts)) => facts,
            Ok(FromOld::Refused { why }) => bail!("{at}: the box that runs refuses: {why}"),
            // A process that was killed leaves its socket, and one may end just now.
            Err(Lost::Closed) => bail!("{at}: the box that runs closes the connection; is it ending? Try again"),
            Ok(other) => bail!("{at}: the box that runs says {other:?}; start the box anew"),
            Err(lost) => bail!("{at}: the box that runs does not answer: {lost}"),
        };
        let old = Other::of(facts.process).with_context(|| format!("process {}", facts.process))?;
        let sockets = Inherited::new(&facts.sockets, std::mem::take(&mut talk.sockets));
        Ok(Some(Self { talk, old, facts, sockets, since_ns: None }))
    }

    /// The old process's admin socket, if it has one.
    #[must_use]
    pub fn admin_socket(&self) -> Option<&Path> {
        self.facts.sockets.iter().find_map(|socket| match socket {
            SharedSocket::Admin(path) => Some(path.as_path()),
            _ => None,
        })
    }

    /// Gets the keys' state.
    ///
    /// # Errors
    /// The old process goes on, and this one is to end.
    pub fn prepare(&mut self) -> anyhow::Result<()> {
        match self.ask(&FromNew::Prepare, SOON)? {
            Some(FromOld::Prepared) | None => Ok(()),
            Some(other) => bail!("the box that runs says {other:?}, where it was asked for the keys' state"),
        }
    }

    /// Whether this process may open ports beside the old one's, if their drivers allow it.
    #[must_use]
    pub fn may_hold_beside(&self) -> bool {
        self.facts.steps_aside && !share_packets(self.facts.process, std::process::id())
    }

    /// Gets the ports: from now on the old process has none, and waits for [`Taking::done`]. `beside`: this one holds ports of its own,
    /// and the old one leaves those that it has alone.
    ///
    /// # Errors
    /// As [`Taking::prepare`].
    pub fn give(&mut self, beside: bool) -> anyhow::Result<()> {
        let asked = now_ns();
        let please = if beside { FromNew::StepAside } else { FromNew::Give };
        self.since_ns = match self.ask(&please, GIVING)? {
            Some(FromOld::Given { since_ns }) => Some(since_ns),
            None => Some(asked),
            Some(other) => bail!("the box that runs says {other:?}, where it was asked for the ports"),
        };
        Ok(())
    }

    /// Nanoseconds since the old process gave its ports up.
    #[must_use]
    pub fn gap_ns(&self) -> u64 {
        self.since_ns.map_or(0, |since| now_ns().saturating_sub(since))
    }

    /// This process forwards, and the old one may end. `keeps_socket`: it answers at the same admin socket.
    pub fn done(mut self, gap_ns: u64, keeps_socket: bool) {
        match self.ask(&FromNew::Done { gap_ns, keeps_socket }, GONE) {
            Ok(Some(FromOld::Gone)) => {}
            // It cannot have the ports: before it took them up again it would have ended this process.
            other => tracing::warn!(?other, "the process before does not say that it ends"),
        }
    }

    /// This process cannot go on, and ends at once: the old one waits for that.
    pub fn failed(self, why: &str) {
        let _ = self.talk.say(&FromNew::Failed { why: why.to_owned() }, &[]); // it sees the end too
    }

    /// Asks something. `None`: the old process is no more, and all it had is free: somebody has to forward.
    fn ask(&mut self, what: &FromNew, limit: Duration) -> anyhow::Result<Option<FromOld>> {
        let answer = self.talk.say(what, &[]).and_then(|()| self.talk.hear(limit, &mut || true));
        match answer {
            Ok(FromOld::Refused { why }) => Err(anyhow!("the box that runs goes on as it was: {why}")),
            Ok(answer) => Ok(Some(answer)),
            Err(_) if self.old.ends_within(GONE) => {
                tracing::warn!(process = self.old.process, "the process before has ended; this one goes on without it");
                Ok(None)
            }
            Err(lost) => Err(anyhow!("the box that runs lives, and cannot be talked with: {lost}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::share_packets;

    #[test]
    fn packets_are_not_shared_with_a_process_of_another_group() {
        // In containers of their own both may be the first.
        assert!(share_packets(1, 1) && share_packets(1, 1 + (1 << 16)));
        assert!(!share_packets(1, 2) && !share_packets(0x8001, 1));
    }
}
