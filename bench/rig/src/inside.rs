//! Hosts behind a veth, as containers and virtual machines are: their kernels leave checksums to interfaces that make none.

use crate::namespace::Namespace;
use crate::side::Side;
use crate::topology::{OFFLOADS, Rig};
use anyhow::{Context, Result};
use std::time::Duration;

/// The box's end of the host's veth.
pub const INSIDE_END: &str = "i0";

impl Rig {
    /// Puts a veth between a host and its box, whose inside port is then on [`INSIDE_END`]. The host sends packets of its MTU,
    /// as on a cable, and leaves their checksums out, as on a veth. Before the box starts.
    ///
    /// # Errors
    /// The rights are missing.
    pub fn inside_by_veth(&self, side: Side) -> Result<()> {
        let (host, place): (&Namespace, _) = (self.host(side), self.place(side));
        let (tap, mtu) = (side.tap(), self.options.wire_mtu);
        host.ip(&format!("link add {tap} type veth peer name {INSIDE_END} netns {}", place.name()))?;
        place.ip(&format!("link set {INSIDE_END} mtu {mtu} promisc on up"))?;
        host.ip(&format!("link set {tap} up"))?;
        for (at, end, line) in [(host, tap, "tso off gso off gro off tx on"), (place, INSIDE_END, OFFLOADS)] {
            let line: Vec<_> = ["ethtool", "-K", end].into_iter().chain(line.split(' ')).collect();
            // It exits 1 for one that cannot be changed, having changed the rest.
            at.run(&line, Duration::from_secs(10)).context("cannot run ethtool")?;
        }
        Ok(())
    }
}
