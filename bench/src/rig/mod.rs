//! Two boxes between two hosts, in network namespaces of their own:
//!
//! ```text
//!   host A ── tA [box A] w0 ── wire (veth) ── w1 [box B] tB ── host B
//! ```
//!
//! The taps are made by the boxes' DPDK processes and then moved into the hosts' namespaces, where the kernel is a real
//! IPv6 host. With [`registrars`] a second link joins the boxes' places, for those alone. No traffic leaves the
//! namespaces. Everything is gone when the [`Rig`] is dropped.

pub mod boxes;
pub mod capture;
pub mod cleanup;
pub mod command;
pub mod counters;
pub mod etcd;
pub mod namespace;
pub mod registrars;
pub mod routers;
pub mod traffic;

use anyhow::{Context, Result, bail};
use cleanup::Item;
use command::Running;
use namespace::Namespace;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// One end of the rig.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The client's.
    A,
    /// The server's.
    B,
}

impl Side {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// 0 or 1.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The other end.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// The host's interface.
    #[must_use]
    pub const fn tap(self) -> &'static str {
        ["tA", "tB"][self.index()]
    }

    /// The box's end of the wire.
    #[must_use]
    pub const fn wire(self) -> &'static str {
        ["w0", "w1"][self.index()]
    }

    /// The host's IPv6 address.
    #[must_use]
    pub const fn address(self) -> &'static str {
        ["2001:db8:a::1", "2001:db8:b::1"][self.index()]
    }

    /// The prefix that the box speaks for.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        ["2001:db8:a::/48", "2001:db8:b::/48"][self.index()]
    }

    /// The host's IPv6 address on VLAN 7.
    #[must_use]
    pub const fn vlan_address(self) -> &'static str {
        ["2001:db8:a:7::1", "2001:db8:b:7::1"][self.index()]
    }

    /// The host's IPv4 address.
    #[must_use]
    pub const fn address4(self) -> &'static str {
        ["192.0.2.1", "192.0.2.2"][self.index()]
    }

    /// The box's name.
    #[must_use]
    pub const fn node(self) -> &'static str {
        ["box-a", "box-b"][self.index()]
    }

    /// Stays the same when a box is started again, so that the hosts need not learn it anew.
    const fn mac(self) -> &'static str {
        ["02:00:00:00:00:0a", "02:00:00:00:00:0b"][self.index()]
    }
}

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
    options: Options,
    dir: Directory,
}

/// What may be turned off on the ends of the wire: packets shall look there as they would on a cable.
const OFFLOADS: &str = "rx off tx off sg off tso off gso off gro off rxvlan off txvlan off";

impl Rig {
    /// Makes the namespaces and the wire between the boxes'.
    ///
    /// # Errors
    /// A program is missing, or the rights are.
    pub fn new(options: Options) -> Result<Self> {
        able()?;
        cleanup::stale();
        let tag = new_tag();
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
        let [a, b] = &rig.boxes;
        a.ip(&format!("link add w0 type veth peer name w1 netns {}", b.name()))?;
        for (namespace, end) in [(a, "w0"), (b, "w1")] {
            namespace.ip(&format!("link set {end} mtu {} promisc on up", options.wire_mtu))?;
            let line: Vec<_> = ["ethtool", "-K", end].into_iter().chain(OFFLOADS.split(' ')).collect();
            // ethtool exits 1 for one that cannot be changed, having changed the rest.
            namespace.run(&line, Duration::from_secs(10)).context("cannot run ethtool")?;
        }
        Ok(rig)
    }

    /// Where files of this run are, until it ends.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir.0
    }

    /// What the names of this run's things begin with.
    fn tag(&self) -> String {
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

    /// Moves the tap that a box has made into the host's namespace. The host stays silent there until
    /// [`Rig::connect`]: an interface that is being moved takes no frames, and the box would have to drop them.
    ///
    /// # Errors
    /// The box has made no tap.
    pub fn attach(&self, side: Side) -> Result<()> {
        let (host, tap) = (self.host(side), side.tap());
        self.place(side).ip(&format!("link set {tap} netns {}", host.name()))?;
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
    fn reach(&self, limit: Duration) -> Result<()> {
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

/// Whether this process can make a rig at all.
///
/// # Errors
/// What is missing, and the remedy.
pub fn able() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("network namespaces and taps need root: run with sudo");
    }
    if !Path::new("/dev/net/tun").exists() {
        bail!("there is no /dev/net/tun: load the kernel module (modprobe tun), or give the container that device");
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = |program: &str| std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    for (program, package) in [
        ("ip", "iproute2"),
        ("setpriv", "util-linux"),
        ("ethtool", "ethtool"),
        ("sysctl", "procps"),
        ("ping", "iputils-ping"),
        ("iperf3", "iperf3"),
        ("tcpdump", "tcpdump"),
    ] {
        if !there(program) {
            bail!("the program '{program}' is missing: apt install {package}");
        }
    }
    Ok(())
}

/// A port of this machine's loopback that nothing listens on. No port is given twice in a process; and it is below those
/// that the kernel gives to outgoing connections, of which one could have it by the time that it is used.
///
/// # Panics
/// All are in use.
#[must_use]
pub fn free_port() -> u16 {
    const PORTS: std::ops::Range<u32> = 13_000..32_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let free = (0..PORTS.len()).find_map(|_| {
        // Processes at the same time begin in different places.
        let at = std::process::id().wrapping_mul(61).wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        let port = (PORTS.start + at % PORTS.len() as u32) as u16;
        std::net::TcpListener::bind(("127.0.0.1", port)).is_ok().then_some(port)
    });
    free.expect("a port that is free")
}

/// A directory for this run, for root's eyes only: a key file lies in it.
#[derive(Debug)]
pub struct Directory(PathBuf);

/// A name that no other run has, nor another part of this one.
fn new_tag() -> String {
    static RUN: AtomicU32 = AtomicU32::new(0);
    format!("{}{}-{}", cleanup::PREFIX, std::process::id(), RUN.fetch_add(1, Ordering::Relaxed))
}

impl Directory {
    /// One for a run without namespaces.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn scratch() -> Result<Self> {
        cleanup::stale();
        Self::new(&new_tag())
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    fn new(tag: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(tag);
        cleanup::remember(Item::Directory(path.clone()));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let item = Item::Directory(self.0.clone());
        cleanup::take_down(&item);
        cleanup::forget(&item);
    }
}
