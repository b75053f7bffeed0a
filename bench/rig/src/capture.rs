//! tcpdump on an interface of the rig.

use crate::namespace::Namespace;
use crate::running::Running;
use crate::side::Side;
use crate::topology::Rig;
use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bounds of a capture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Octets kept of each frame; 0: all.
    pub snap: u16,
    /// Frames; the capture ends after them.
    pub frames: u32,
}

impl Default for Limits {
    /// Whole frames.
    fn default() -> Self {
        Self { snap: 0, frames: 2_000_000 }
    }
}

/// A capture that is being written.
#[derive(Debug)]
pub struct Capturing {
    running: Running,
    path: PathBuf,
}

impl Rig {
    /// Starts a capture of one interface into `NAME.pcap`.
    ///
    /// # Errors
    /// tcpdump does not start.
    pub fn capture(&self, place: &Namespace, interface: &str, name: &str, limits: Limits) -> Result<Capturing> {
        let path = self.dir().join(format!("{name}.pcap"));
        let (file, snap, frames) = (path.display().to_string(), limits.snap.to_string(), limits.frames.to_string());
        // --immediate-mode: it hands frames on as they come, and not when a buffer is full or a second has passed. -Z root: else it gives up the right to write into this run's directory. -B: in KiB.
        let args = [
            "tcpdump",
            "-i",
            interface,
            "-w",
            &file,
            "-s",
            &snap,
            "-B",
            "65536",
            "-c",
            &frames,
            "-U",
            "-n",
            "-Z",
            "root",
            "--immediate-mode",
        ];
        let mut running = place.start(&format!("tcpdump-{name}"), &args, self.dir())?;
        running.wait_for("listening on", Duration::from_secs(20))?;
        Ok(Capturing { running, path })
    }
}

impl Rig {
    /// Starts captures of both directions of the wire, each where it arrives: what DPDK sends through a packet socket
    /// passes by the captures on the interface it leaves from. `wire-from-a.pcap` and `wire-from-b.pcap`.
    ///
    /// # Errors
    /// tcpdump does not start.
    pub fn capture_wire(&self, limits: Limits) -> Result<[Capturing; 2]> {
        let from = |side: Side, name| self.capture(self.place(side.other()), side.other().wire(), name, limits);
        Ok([from(Side::A, "wire-from-a")?, from(Side::B, "wire-from-b")?])
    }
}

impl Capturing {
    /// Where the frames are.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Ends the capture; gives the number of frames that tcpdump missed.
    ///
    /// # Errors
    /// tcpdump does not end, or fails.
    pub fn stop(mut self) -> Result<(PathBuf, u64)> {
        // What has been on the interface so far reaches tcpdump at once, but not before it has a turn.
        std::thread::sleep(Duration::from_millis(200));
        let status = self.running.stop(Signal::INT, Duration::from_secs(20))?;
        if !status.success() {
            bail!("tcpdump failed ({status}):\n{}", self.running.tail());
        }
        let line = self.running.line("dropped by kernel").context("tcpdump does not say what it missed")?;
        let missed = line.split_whitespace().next().and_then(|n| n.parse().ok());
        Ok((self.path, missed.with_context(|| format!("not a number: {line}"))?))
    }
}
