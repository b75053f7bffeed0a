//! Registrars in the namespaces of a rig.

use super::Registrars;
use super::place::{Place, box_sections};
use crate::etcd_cluster::Etcd;
use crate::side::Side;
use crate::topology::Rig;
use anyhow::Result;
use std::path::Path;

/// The ends of the registrars' link.
const LINKS: [&str; 2] = ["m0", "m1"];
/// The port of a side's first registrar; its fellow has the next.
const PORT: u16 = 7447;
/// The first of etcd's ports.
const ETCD: u16 = 12379;

/// Where a rig's registrars are: with their side's box, on a link of their own.
fn place(rig: &Rig, side: Side) -> Place {
    let host = ["198.51.100.1", "198.51.100.2"][side.index()].to_owned();
    Place { host, port: PORT, namespace: Some(rig.place(side).name().to_owned()), telemetry: Some(9470) }
}

/// What the configuration of a rig's box says of registration, with so many registrars on its side.
#[must_use]
pub fn sections(rig: &Rig, side: Side, registrars: u16) -> String {
    let places: Vec<_> = (PORT..).take(registrars.into()).map(|port| Place { port, ..place(rig, side) }).collect();
    box_sections(rig.dir(), side.index(), &places, side.node(), side.address())
}

impl Rig {
    /// Makes a link between the places of the two boxes, beside the wire, and what registrars and boxes need to talk over
    /// it: certificates, and configurations with both boxes. No registrar runs yet.
    ///
    /// # Errors
    /// The program `pdmv2` is missing or fails; there is such a link.
    pub fn registrars(&self, pdmv2: &Path) -> Result<Registrars> {
        let [a, b] = Side::BOTH.map(|side| self.place(side));
        a.ip(&format!("link add {} type veth peer name {} netns {}", LINKS[0], LINKS[1], b.name()))?;
        let places = Side::BOTH.map(|side| place(self, side));
        for ((namespace, link), place) in [a, b].iter().zip(LINKS).zip(&places) {
            namespace.ip(&format!("addr add {}/24 dev {link}", place.host))?;
            namespace.ip(&format!("link set {link} up"))?;
        }
        let mut registrars = Registrars::new(pdmv2, self.dir(), places)?;
        for side in Side::BOTH {
            registrars.add_node(side.index(), side.node(), side.address(), side.prefix())?;
        }
        Ok(registrars)
    }

    /// Puts a side on an etcd of three beside its box, and gives it a second registrar; gives that one's number.
    ///
    /// # Errors
    /// Etcd cannot be started.
    pub fn on_etcd(&self, registrars: &mut Registrars, side: Side) -> Result<(Etcd, usize)> {
        let mut etcd = Etcd::new(self.dir(), Some(self.place(side).name()), std::array::from_fn(|n| ETCD + n as u16));
        etcd.start_all()?;
        registrars.etcd[side.index()] = Some(etcd.lines());
        Ok((etcd, registrars.add(side.index(), PORT + 1)))
    }

    /// Takes the link between the registrars away, or gives it back. Each still has its own box.
    ///
    /// # Errors
    /// There are no registrars.
    pub fn link_registrars(&self, up: bool) -> Result<()> {
        self.place(Side::A).ip(&format!("link set {} {}", LINKS[0], if up { "up" } else { "down" })).map(drop)
    }
}
