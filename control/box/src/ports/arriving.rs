//! Ports on their way into this process, step by step, and how long each step takes.

use crate::ports::dpdk::Site;
use crate::ports::interface::Interface;
use anyhow::anyhow;
use dpdk_ffi::{Port, Started, Stopped};
use std::fmt;
use std::time::{Duration, Instant};

/// Ports that are not the workers' yet. What does not arrive leaves its device again.
#[derive(Default)]
pub(super) struct Arriving {
    stopped: [Option<Port<Stopped>>; 2],
    started: [Option<Port<Started>>; 2],
    interfaces: [Option<Interface>; 2],
}

impl Arriving {
    /// Has DPDK take the devices of these sides, and looks first what they stand on.
    ///
    /// # Errors
    /// One is not there, or its driver refuses it: with its place in the configuration.
    pub fn attach(&mut self, site: &Site, which: [bool; 2]) -> anyhow::Result<()> {
        for side in (0..2).filter(|&side| which[side]) {
            if self.stopped[side].is_none() {
                self.interfaces[side] = Interface::of(site.device(side));
                self.stopped[side] = Some(site.attach(side)?);
            }
        }
        Ok(())
    }

    /// Sets up those that are attached.
    ///
    /// # Errors
    /// A device or its driver refuses something.
    pub fn set_up(&mut self, site: &Site) -> anyhow::Result<()> {
        site.set_up(self.stopped.each_mut().map(Option::as_mut))
    }

    /// Starts them.
    ///
    /// # Errors
    /// A driver refuses.
    pub fn start(&mut self, site: &Site) -> anyhow::Result<()> {
        for side in 0..2 {
            let Some(port) = self.stopped[side].take() else { continue };
            let port = port.start().map_err(|error| anyhow!("{}: {error}", site.place(side)))?;
            self.started[side] = Some(port);
        }
        if let Some(outside) = &self.started[1] {
            site.tell_of_mtu(outside);
        }
        Ok(())
    }

    /// The port of a side that has arrived, and what it stands on.
    pub fn arrived(&mut self, side: usize) -> Option<(Port<Started>, Option<Interface>)> {
        Some((self.started[side].take()?, self.interfaces[side].take()))
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let stopped = self.started.each_mut().map(|port| port.take().and_then(|port| port.stop().ok()));
        let left = self.stopped.each_mut().map(Option::take);
        for port in stopped.into_iter().chain(left).flatten() {
            let name = port.name().to_owned();
            if let Err(error) = port.detach() {
                tracing::warn!(%error, port = name, "a port that could not be set up does not leave its device");
            }
        }
    }
}

/// How long the steps of a move take: `stopped 12.0 ms, closed 310.2 ms`.
pub(super) struct Laps {
    since: Instant,
    laps: Vec<(&'static str, Duration)>,
}

impl Laps {
    pub fn start() -> Self {
        Self { since: Instant::now(), laps: Vec::new() }
    }

    /// This is done, and took from the last one on.
    pub fn done(&mut self, what: &'static str) {
        let now = Instant::now();
        self.laps.push((what, now.duration_since(self.since)));
        self.since = now;
    }
}

impl fmt::Display for Laps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (what, time)) in self.laps.iter().enumerate() {
            write!(f, "{}{what} {:.1} ms", if i == 0 { "" } else { ", " }, time.as_secs_f64() * 1e3)?;
        }
        Ok(())
    }
}
