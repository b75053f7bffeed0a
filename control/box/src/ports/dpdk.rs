//! The two ports of a running box under DPDK: taken, set up, started, and told of by the configuration's words when something is wrong with them.

use crate::config::{Config, Device, Hugepages, Port as Settings, Rss};
use crate::observe::counts::{MemoryCount, PortSettings};
use crate::ports::interface::Interface;
use crate::ports::pci::Kernel;
use crate::ports::told::{self, Asked};
use anyhow::anyhow;
use dpdk_ffi::{Eal, Error, Mempool, Port, PortConfig, Started, Stopped, ThreadRegistration};
use pipeline::ports::dpdk::DpdkQueue;
use pipeline::ports::lending::Borrower;
use std::sync::Arc;

pub use crate::ports::pair::Pair;

/// What sysfs says is wrong with the ports of a configuration, each with its place and a remedy.
#[must_use]
pub fn examine(config: &Config, kernel: &Kernel) -> Vec<String> {
    let found = |port: &Settings| match &port.device {
        Device::Pci(_) => kernel.examine(port.device.name()).err(),
        Device::Virtual(_) => None,
    };
    let ports = [&config.inside, &config.outside];
    ports.iter().filter_map(|port| Some(format!("{}: {}", port.place, found(port)?))).collect()
}

/// EAL, and both ports, set up and not started. Nothing else of the box knows DPDK's types.
pub struct Opened {
    site: Site,
    /// `None`: they come later.
    ports: Option<[Port<Stopped>; 2]>,
    interfaces: [Option<Interface>; 2],
    buffers: MemoryCount,
}

/// What ports are set up with: at the start, and whenever one comes back.
pub struct Site {
    eal: Eal,
    pool: Arc<Mempool>,
    settings: [Settings; 2],
    workers: usize,
    asked: Asked,
    /// Packets taken at once.
    burst: usize,
    /// Of the outside port, octets from the IPv6 header on; what the path goes by since the start.
    outside_mtu: usize,
}

/// What threads need of EAL to work on queues.
#[derive(Clone)]
pub struct Lcores(Eal);

impl Opened {
    /// Starts EAL, takes the ports of the configuration, and sets them up for its workers.
    ///
    /// # Errors
    /// EAL, a device or its driver refuses something, or a device is not there.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        let interfaces = [&config.inside, &config.outside].map(|port| Interface::of(&port.device));
        let eal = start_eal(config, &config.eal_command_line())?;
        let mut ports = [take(&eal, &config.inside)?, take(&eal, &config.outside)?];
        let [inside, outside] = &mut ports;
        let mut site = Site::new(config, eal, outside.info()?.socket)?;
        site.set_up([Some(inside), Some(outside)])?;
        site.outside_mtu = usize::from(outside.info()?.mtu);
        Ok(Self { buffers: site.buffers(), site, ports: Some(ports), interfaces })
    }

    /// Starts EAL and leaves the ports where they are, in another process for one: they come by [`Pair::take_up`].
    ///
    /// # Errors
    /// EAL does not start, has no memory for packet buffers, or would have devices address it otherwise than they do (`iova`).
    pub fn without_ports(config: &Config, outside_mtu: usize, iova: &str) -> anyhow::Result<Self> {
        let arguments = config.eal_command_line_beside(iova).map_err(|why| anyhow!("{why}"))?;
        let eal = start_eal(config, &arguments)?;
        let site = Site { outside_mtu, ..Site::new(config, eal, None)? };
        Ok(Self { buffers: site.buffers(), site, ports: None, interfaces: [None, None] })
    }

    /// What the packet buffers take.
    #[must_use]
    pub const fn buffers(&self) -> MemoryCount {
        self.buffers
    }

    /// MTU of the outside port, octets from the IPv6 header on.
    #[must_use]
    pub const fn outside_mtu(&self) -> usize {
        self.site.outside_mtu
    }

    /// Starts both ports. Gives what each worker borrows its queues by.
    ///
    /// # Errors
    /// A driver refuses.
    pub fn start(self) -> anyhow::Result<(Pair, Vec<Borrower<DpdkQueue>>, Lcores)> {
        let Self { site, ports, interfaces, buffers } = self;
        let started = match ports {
            Some([inside, outside]) => Some([inside.start()?, outside.start()?]),
            None => None,
        };
        let lcores = Lcores(site.eal.clone());
        let (pair, borrowers) = Pair::new(site, started, interfaces, buffers);
        Ok((pair, borrowers, lcores))
    }
}

fn start_eal(config: &Config, arguments: &[String]) -> anyhow::Result<Eal> {
    if let Some(Hugepages { free: free @ 1.., needed }) = config.hugepages_for_packets()
        && free < needed
    {
        tracing::warn!(
            "{} MiB of hugepages are free, and the packet buffers need {}: they are put into ordinary memory",
            free >> 20,
            needed.div_ceil(1 << 20)
        );
    }
    let eal = Eal::init(arguments)?;
    tracing::info!(version = dpdk_ffi::version(), aead = protocol::aead::Path::best().name(), "EAL started");
    Ok(eal)
}

impl Site {
    fn new(config: &Config, eal: Eal, socket: Option<u32>) -> anyhow::Result<Self> {
        let (mbufs, room) = (config.workers.mbufs, config.buffer_room());
        let pool = Mempool::new(&eal, "packets", mbufs, 256, room, socket)?;
        Ok(Self {
            eal,
            pool,
            settings: [config.inside.clone(), config.outside.clone()],
            workers: config.workers.cores.len(),
            asked: Asked::of(config),
            burst: usize::from(config.workers.burst),
            outside_mtu: 0,
        })
    }

    fn buffers(&self) -> MemoryCount {
        let pages = match self.pool.page() {
            Some(page) if page >= 1 << 30 => "1G",
            Some(page) if page >= 2 << 20 => "2M",
            _ => "ordinary",
        };
        MemoryCount { of: "buffers", pages, octets: self.pool.octets() as u64 }
    }

    /// For how many workers ports are set up.
    pub const fn workers(&self) -> usize {
        self.workers
    }

    /// A side's place in the configuration, for messages.
    pub fn place(&self, side: usize) -> &str {
        &self.settings[side].place
    }

    /// A side's device.
    pub const fn device(&self, side: usize) -> &Device {
        &self.settings[side].device
    }

    /// Has DPDK take a side's device.
    ///
    /// # Errors
    /// It is not there, or its driver refuses it.
    pub fn attach(&self, side: usize) -> anyhow::Result<Port<Stopped>> {
        let settings = &self.settings[side];
        let (Device::Pci(text) | Device::Virtual(text)) = &settings.device;
        self.eal.attach(text).map_err(|error| anyhow!("{}: {error}: {}", settings.place, why_absent(&settings.device)))
    }

    /// Whether two processes may have a side's device open at once, without one taking packets from the other.
    pub fn may_be_held_twice(&self, side: usize) -> bool {
        // A packet socket gets a copy of everything, whoever has others on the interface.
        matches!(self.device(side), Device::Virtual(text) if text.starts_with("net_af_packet"))
    }

    /// Another process may have set a side's interface up otherwise, while this one had its port and did not use it.
    pub fn set_mtu_again(&self, side: usize, port: &Port<Started>) {
        let Settings { mtu: Some(mtu), place, .. } = &self.settings[side] else { return };
        if port.info().is_ok_and(|info| info.mtu != *mtu)
            && let Err(error) = port.set_mtu(*mtu)
        {
            tracing::warn!("{place}: its MTU was changed, and is not {mtu} again: {error}");
        }
    }

    /// Sets up those ports that are there, inside first.
    ///
    /// # Errors
    /// A device or its driver refuses something.
    pub fn set_up(&self, ports: [Option<&mut Port<Stopped>>; 2]) -> anyhow::Result<()> {
        // By addresses at both ports or at none: only then both directions of a flow are hashed from the same octets.
        let mut alone = self.asked.rss() == Rss::Addresses;
        for port in ports.iter().flatten() {
            alone = alone && port.can_hash_addresses()?;
        }
        for (port, settings) in ports.into_iter().zip(&self.settings) {
            let Some(port) = port else { continue };
            port.hash_addresses(alone);
            port.want_stamps(settings.timestamps);
            let config = PortConfig {
                queues: self.workers as u16,
                rx_descriptors: settings.rx_descriptors,
                tx_descriptors: settings.tx_descriptors,
                mtu: settings.mtu,
                promiscuous: settings.promiscuous,
            };
            port.configure(&config, &self.pool).map_err(|error| anyhow!("{}: {error}", settings.place))?;
        }
        Ok(())
    }

    /// Takes the queues of a port that was started.
    pub fn take_queues(&self, port: &mut Port<Started>) -> Vec<DpdkQueue> {
        port.take_queues().into_iter().map(|queues| DpdkQueue::new(queues, self.burst)).collect()
    }

    /// Logs what a started port was set up with.
    pub fn tell(&self, side: usize, port: &Port<Started>) -> PortSettings {
        told::tell(side, port, &self.asked)
    }

    /// Warns of what does not fit of both ports, which have started.
    pub fn warn_of_misfits(&self, ports: [&Port<Started>; 2]) {
        told::warn(ports, &self.asked);
    }

    /// Says so when the outside port's MTU is another than it was at the start.
    pub fn tell_of_mtu(&self, outside: &Port<Started>) {
        let mtu = outside.info().map_or(self.outside_mtu, |info| usize::from(info.mtu));
        if mtu != self.outside_mtu {
            tracing::warn!(
                "outside: its MTU is {mtu} now, and was {}: the box goes on by the latter; write 'mtu' into [ports.outside], or \
                 start the box again",
                self.outside_mtu
            );
        }
    }
}

impl Lcores {
    /// Pins this thread to a core, and makes it known to DPDK for as long as what is returned lives.
    ///
    /// # Errors
    /// DPDK has no place for a thread more.
    pub fn enter(&self, core: usize) -> anyhow::Result<ThreadRegistration> {
        if !core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
            tracing::warn!(core, "a worker could not be pinned to its core and runs where the kernel lets it");
        }
        Ok(ThreadRegistration::new(&self.0)?)
    }
}

/// Takes the port that the configuration names.
///
/// # Errors
/// DPDK has none of this name: then with what keeps it from the device, and a remedy.
fn take(eal: &Eal, port: &Settings) -> anyhow::Result<Port<Stopped>> {
    let name = port.device.name();
    eal.port(name).map_err(|error| match &error {
        Error::NoPort { there, .. } => {
            let others = if there.is_empty() { String::new() } else { format!(" (DPDK has {there})") };
            anyhow!("{}: DPDK has no port '{name}'{others}: {}", port.place, why_absent(&port.device))
        }
        _ => anyhow!("{}: {error}", port.place),
    })
}

/// What keeps DPDK from a device, and a remedy.
fn why_absent(device: &Device) -> String {
    match device {
        Device::Pci(_) => {
            let (kernel, name) = (Kernel::default(), device.name());
            kernel.examine(name).err().unwrap_or_else(|| kernel.nothing_found(name)).to_string()
        }
        Device::Virtual(_) => "EAL's lines above say why its driver has not made it".to_owned(),
    }
}
