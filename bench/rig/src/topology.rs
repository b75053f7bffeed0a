//! The namespaces and the wire of a [`Rig`], and the hosts' addresses.

use crate::directory::{self, Directory};
use crate::namespace::Namespace;
use crate::running::Running;
use crate::side::Side;
use crate::{cleanup, command, requirements};
use anyhow::{Context, Result};
use std::path::Path;
use std::time::Duration;

/// Sizes that matter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// The hosts' MTU.
    pub host_mtu: u16,
    /// The wire's; 40 more than the hosts', and no packet is too long for its option. DPDK's packet socket driver takes
    /// it to be 1,500 and no more.
    pub wire_mtu: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self { host_mtu: 1500, wire_mtu: 1500 }
    }
}

/// The namespaces and the wire. Boxes, captures and servers that run in it are dropped before it.
#[derive(Debug)]
pub struct Rig {
    hosts: [Namespace; 2],
    boxes: [Namespace; 2],
    pub(crate) options: Options,
    dir: Directory,
}

/// What may be turned off on the ends of the wire: packets shall look there as they would on a cable.
pub(crate) const OFFLOADS: &str = "rx off tx off sg off tso off gso off gro off rxvlan off txvlan off";

impl Rig {
    /// Makes the namespaces and the wire between the boxes'.
    ///
    /// # Errors
    /// A program is missing, or the rights are.
    pub fn new(options: Options) -> Result<Self> {
        requirements::able()?;
        cleanup::stale();
        let tag = directory::new_tag();
        let namespace = |what| Namespace::new(format!("{tag}-{what}"));
        let rig = Self {
            dir: Directory::new(&tag)?,
            hosts: [namespace("host-a")?, namespace("host-b")?],
            boxes: [namespace("box-a")?, namespace("box-b")?],
            options,
        };
        for host in &rig.hosts {
            host.sysctl(&[
                "net.ipv6.conf.default.disable_ipv6=1",
                "net.ipv6.conf.default.accept_dad=0",
                "net.ipv6.conf.default.accept_ra=0",
                "net.ipv6.conf.default.autoconf=0",
                "net.ipv6.conf.default.router_solicitations=0",
            ])?;
        }
        for namespace in &rig.boxes {
            // The kernel must not speak on the wire.
            namespace.sysctl(&["net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"])?;
        }
        rig.lay_wire()?;
        Ok(rig)
    }

    /// Makes the wire between the boxes, which there is none of: at the start, or after [`Rig::cut_wire`].
    ///
    /// # Errors
    /// `ip` refuses it.
    pub fn lay_wire(&self) -> Result<()> {
        let [a, b] = &self.boxes;
        a.ip(&format!("link add w0 type veth peer name w1 netns {}", b.name()))?;
        for (namespace, end) in [(a, "w0"), (b, "w1")] {
            namespace.ip(&format!("link set {end} mtu {} promisc on up", self.options.wire_mtu))?;
            let line: Vec<_> = ["ethtool", "-K", end].into_iter().chain(OFFLOADS.split(' ')).collect();
            // ethtool exits 1 for one that cannot be changed, having changed the rest.
            namespace.run(&line, Duration::from_secs(10)).context("cannot run ethtool")?;
        }
        Ok(())
    }

    /// Deletes the wire, with the interfaces at both its ends.
    ///
    /// # Errors
    /// There is none.
    pub fn cut_wire(&self) -> Result<()> {
        self.place(Side::A).ip("link del w0").map(drop)
    }

    /// Where files of this run are, until it ends.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What the names of this run's things begin with.
    pub(crate) fn tag(&self) -> String {
        self.dir().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// A host's namespace.
    #[must_use]
    pub const fn host(&self, side: Side) -> &Namespace {
        &self.hosts[side.index()]
    }

    /// A box's namespace.
    #[must_use]
    pub const fn place(&self, side: Side) -> &Namespace {
        &self.boxes[side.index()]
    }

    /// Moves the tap that a box has made, if it has, into the host's namespace. The host stays silent there until
    /// [`Rig::connect`]: an interface that is being moved takes no frames, and the box would have to drop them.
    ///
    /// # Errors
    /// The box has made no tap, and the host has no other interface in its place.
    pub fn attach(&self, side: Side) -> Result<()> {
        let (host, tap) = (self.host(side), side.tap());
        if self.place(side).ip(&format!("link show {tap}")).is_ok() {
            self.place(side).ip(&format!("link set {tap} netns {}", host.name()))?;
        }
        host.ip(&format!("link set {tap} address {} mtu {} up", side.mac(), self.options.host_mtu)).map(drop)
    }

    /// Gives both hosts their addresses, where they have none, and waits until each reaches the other.
    ///
    /// # Errors
    /// A host is not attached, or does not reach the other within `limit`.
    pub fn connect(&self, limit: Duration) -> Result<()> {
        for side in Side::BOTH {
            let (host, tap) = (self.host(side), side.tap());
            host.sysctl(&[&format!("net.ipv6.conf.{tap}.disable_ipv6=0")])?;
            host.ip(&format!("addr replace {}/64 dev {tap} nodad", side.address()))?;
            host.ip(&format!("-6 route replace 2001:db8::/32 dev {tap}"))?;
            host.ip(&format!("addr replace {}/24 dev {tap}", side.address4()))?;
        }
        self.reach(limit)
    }

    /// Waits until each host reaches the other.
    pub(crate) fn reach(&self, limit: Duration) -> Result<()> {
        for side in Side::BOTH {
            let ping = ["ping", "-6", "-c", "1", "-W", "1", side.other().address()];
            let through = command::until(limit, || {
                let ping = self.host(side).run(&ping, Duration::from_secs(5))?;
                Ok(ping.status.success().then_some(()))
            })?;
            through.with_context(|| format!("host {side:?} does not reach the other within {limit:?}"))?;
        }
        Ok(())
    }

    /// Gives both hosts an address on VLAN 7. `false`: this kernel has no VLANs.
    ///
    /// # Errors
    /// The hosts are not attached.
    pub fn add_vlans(&self) -> Result<bool> {
        for side in Side::BOTH {
            let (host, tap) = (self.host(side), side.tap());
            if host.ip(&format!("link add link {tap} name {tap}.7 type vlan id 7")).is_err() {
                return Ok(false);
            }
            host.ip(&format!("link set {tap}.7 up"))?;
            host.sysctl(&[&format!("net/ipv6/conf/{tap}.7/disable_ipv6=0")])?;
            host.ip(&format!("addr add {}/64 dev {tap}.7 nodad", side.vlan_address()))?;
            host.ip(&format!("-6 route add {}/128 dev {tap}.7", side.other().vlan_address()))?;
        }
        Ok(true)
    }

    /// Silences the hosts and lets what is on its way arrive, so that counters can be compared to the last packet.
    ///
    /// # Errors
    /// A host cannot be silenced.
    pub fn quiesce(&self) -> Result<()> {
        for side in Side::BOTH {
            let host = self.host(side);
            host.sysctl(&["net.ipv6.conf.all.disable_ipv6=1"])?;
            host.ip(&format!("-4 addr flush dev {}", side.tap()))?;
        }
        std::thread::sleep(Duration::from_millis(500));
        Ok(())
    }

    /// A counter that the kernel keeps of an interface, such as `rx_packets`.
    ///
    /// # Errors
    /// There is no such interface or counter.
    pub fn kernel_counter(&self, namespace: &Namespace, interface: &str, counter: &str) -> Result<u64> {
        let path = format!("/sys/class/net/{interface}/statistics/{counter}");
        // `ip netns exec` shows the namespace's own /sys.
        let text = namespace.check(&["cat", &path], Duration::from_secs(10))?;
        text.trim().parse().with_context(|| format!("{path} is not a number: {text}"))
    }

    /// Starts a command in a host's namespace, in the background.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_on_host(&self, side: Side, name: &str, args: &[&str]) -> Result<Running> {
        self.host(side).start(name, args, self.dir())
    }
}
