//! Two routers on the wire between the boxes, and between them a link with an MTU of its own, as a tunnel has it:
//!
//! ```text
//!   host A ── tA [box A] w0 ── r0 [router A] x0 ── narrow ── x1 [router B] r1 ── w1 [box B] tB ── host B
//! ```

use crate::namespace::Namespace;
use crate::side::Side;
use crate::topology::{OFFLOADS, Rig};
use anyhow::Result;
use std::time::Duration;

/// The routers, gone when dropped: after the boxes, before the rig.
#[derive(Debug)]
pub struct Routers([Namespace; 2]);

/// A router's address on the link to its host.
const fn gateway(side: Side) -> &'static str {
    ["2001:db8:a::ffff", "2001:db8:b::ffff"][side.index()]
}

/// A router's address on the link between them.
const fn between(side: Side) -> &'static str {
    ["2001:db8:ffff::a", "2001:db8:ffff::b"][side.index()]
}

impl Rig {
    /// Puts the routers in the wire's place. Before the boxes start.
    ///
    /// # Errors
    /// The rights are missing.
    pub fn routers(&self, narrow_mtu: u16) -> Result<Routers> {
        let namespace = |side: Side| Namespace::new(format!("{}-router-{}", self.tag(), side.node()));
        let routers = Routers([namespace(Side::A)?, namespace(Side::B)?]);
        self.place(Side::A).ip("link del w0")?; // and with it the other end
        let [a, b] = &routers.0;
        a.ip(&format!("link add x0 type veth peer name x1 netns {}", b.name()))?;
        for (side, router) in Side::BOTH.into_iter().zip(&routers.0) {
            let (place, wire) = (self.place(side), side.wire());
            router.sysctl(&["net.ipv6.conf.all.forwarding=1", "net.ipv6.conf.default.accept_dad=0"])?;
            place.ip(&format!("link add {wire} type veth peer name r netns {}", router.name()))?;
            place.ip(&format!("link set {wire} mtu {} promisc on up", self.options.wire_mtu))?;
            let narrow = ["x0", "x1"][side.index()];
            router.ip(&format!("link set r mtu {}", self.options.wire_mtu))?;
            router.ip(&format!("link set {narrow} mtu {narrow_mtu} up"))?;
            router.ip(&format!("addr add {}/64 dev r nodad", gateway(side)))?;
            router.ip(&format!("addr add {}/64 dev {narrow} nodad", between(side)))?;
            router.ip(&format!("-6 route add {} via {}", side.other().prefix(), between(side.other())))?;
            for (namespace, end) in [(place, wire), (router, "r"), (router, narrow)] {
                let line: Vec<_> = ["ethtool", "-K", end].into_iter().chain(OFFLOADS.split(' ')).collect();
                // It exits 1 for one that cannot be changed, having changed the rest.
                namespace.run(&line, Duration::from_secs(10))?;
            }
        }
        Ok(routers)
    }

    /// As [`Rig::connect`], through routers. What they say of themselves they say from now on: before, a box would have to
    /// drop it, since its host was not there.
    ///
    /// # Errors
    /// A host is not attached, or does not reach the other within `limit`.
    pub fn connect_through(&self, routers: &Routers, limit: Duration) -> Result<()> {
        for side in Side::BOTH {
            let (host, tap) = (self.host(side), side.tap());
            host.sysctl(&[&format!("net.ipv6.conf.{tap}.disable_ipv6=0")])?;
            host.ip(&format!("addr replace {}/64 dev {tap} nodad", side.address()))?;
            host.ip(&format!("-6 route replace default via {}", gateway(side)))?;
            routers.0[side.index()].ip("link set r up")?;
        }
        self.reach(limit)
    }
}
