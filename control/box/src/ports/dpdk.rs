//! The two ports of a running box under DPDK: taken, set up, started, and told of by the configuration's words when something is wrong with them.

use crate::config::{Config, Device, Hugepages, Port as Settings, Rss};
use crate::observe::counts::{MemoryCount, PortCounts, PortLink, PortSettings, Ports};
use crate::ports::link::{Linked, Links};
use crate::ports::pci::Kernel;
use crate::ports::told::{self, Asked};
use anyhow::anyhow;
use dpdk_ffi::{Eal, Error, Mempool, Port, PortConfig, PortStats, Started, Stopped, ThreadRegistration};
use pipeline::ports::dpdk::DpdkQueue;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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
    eal: Eal,
    inside: Port<Stopped>,
    outside: Port<Stopped>,
    buffers: MemoryCount,
    asked: Asked,
}

/// Both ports at work, for the threads that ask them something.
pub struct Pair {
    ports: Mutex<(Port<Started>, Port<Started>)>,
    settings: [PortSettings; 2],
    buffers: MemoryCount,
}

/// Each worker's queues: of the inside port, of the outside port.
pub type Queues = Vec<[DpdkQueue; 2]>;

/// What threads need of EAL to work on queues.
#[derive(Clone)]
pub struct Lcores(Eal);

impl Opened {
    /// Starts EAL, takes the ports of the configuration, and sets them up for its workers.
    ///
    /// # Errors
    /// EAL, a device or its driver refuses something, or a device is not there.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        if let Some(Hugepages { free: free @ 1.., needed }) = config.hugepages_for_packets()
            && free < needed
        {
            tracing::warn!(
                "{} MiB of hugepages are free, and the packet buffers need {}: they are put into ordinary memory",
                free >> 20,
                needed.div_ceil(1 << 20)
            );
        }
        let eal = Eal::init(&config.eal_command_line())?;
        tracing::info!(version = dpdk_ffi::version(), aead = protocol::aead::Path::best().name(), "EAL started");
        let (mut inside, mut outside) = (take(&eal, &config.inside)?, take(&eal, &config.outside)?);
        let (mbufs, room) = (config.workers.mbufs, config.buffer_room());
        let pool = Mempool::new(&eal, "packets", mbufs, 256, room, outside.info()?.socket)?;
        let workers = config.workers.cores.len();
        // By addresses at both ports or at none: only then both directions of a flow are hashed from the same octets.
        let alone =
            config.workers.rss == Rss::Addresses && inside.can_hash_addresses()? && outside.can_hash_addresses()?;
        inside.hash_addresses(alone);
        outside.hash_addresses(alone);
        set_up(&mut inside, &config.inside, workers, &pool)?;
        set_up(&mut outside, &config.outside, workers, &pool)?;
        let pages = match pool.page() {
            Some(page) if page >= 1 << 30 => "1G",
            Some(page) if page >= 2 << 20 => "2M",
            _ => "ordinary",
        };
        let buffers = MemoryCount { of: "buffers", pages, octets: pool.octets() as u64 };
        Ok(Self { eal, inside, outside, buffers, asked: Asked::of(config) })
    }

    /// What the packet buffers take.
    #[must_use]
    pub const fn buffers(&self) -> MemoryCount {
        self.buffers
    }

    /// MTU of the outside port, octets from the IPv6 header on.
    ///
    /// # Errors
    /// The driver does not say.
    pub fn outside_mtu(&self) -> anyhow::Result<usize> {
        Ok(usize::from(self.outside.info()?.mtu))
    }

    /// Starts both ports.
    ///
    /// # Errors
    /// A driver refuses.
    pub fn start(self, burst: usize) -> anyhow::Result<(Pair, Queues, Lcores)> {
        let (mut inside, mut outside) = (self.inside.start()?, self.outside.start()?);
        let settings = told::tell([&inside, &outside], &self.asked);
        let pairs = inside.take_queues().into_iter().zip(outside.take_queues());
        let queues = pairs.map(|(inside, outside)| [inside, outside].map(|q| DpdkQueue::new(q, burst))).collect();
        let pair = Pair { ports: Mutex::new((inside, outside)), settings, buffers: self.buffers };
        Ok((pair, queues, Lcores(self.eal)))
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

impl Pair {
    fn lock(&self) -> MutexGuard<'_, (Port<Started>, Port<Started>)> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Their names, inside first.
    #[must_use]
    pub fn names(&self) -> [String; 2] {
        let ports = self.lock();
        [ports.0.name().to_owned(), ports.1.name().to_owned()]
    }

    /// What the devices count.
    #[must_use]
    pub fn counts(&self) -> Ports {
        let ports = self.lock();
        Ports { inside: port_counts(&ports.0), outside: port_counts(&ports.1) }
    }

    /// What they were set up with, inside first.
    #[must_use]
    pub fn settings(&self) -> Vec<PortSettings> {
        self.settings.to_vec()
    }

    /// What the packet buffers take.
    #[must_use]
    pub const fn buffers(&self) -> MemoryCount {
        self.buffers
    }

    /// Stops both; a device that does not stop is logged.
    pub fn stop(self) {
        let (inside, outside) = self.ports.into_inner().unwrap_or_else(PoisonError::into_inner);
        for port in [inside, outside] {
            if let Err((port, error)) = port.stop() {
                tracing::error!(%error, port = port.name(), "port not stopped");
            }
        }
    }
}

impl Linked for Arc<Pair> {
    fn look(&self, links: &mut Links, now: Duration) {
        let ports = self.lock();
        links.look(now, [&ports.0, &ports.1]);
    }
}

/// A port's counters; zeros where the driver has none.
fn port_counts(port: &Port<Started>) -> PortCounts {
    let s = port.stats().unwrap_or_else(|_| PortStats::default());
    let link = port.link().unwrap_or_default();
    PortCounts {
        rx_packets: s.rx_packets,
        tx_packets: s.tx_packets,
        rx_octets: s.rx_octets,
        tx_octets: s.tx_octets,
        rx_missed: s.rx_missed,
        rx_errors: s.rx_errors,
        tx_errors: s.tx_errors,
        rx_no_buffer: s.rx_no_buffer,
        link_octets_per_second: if link.up { u64::from(link.mbit_per_second) * 125_000 } else { 0 },
        link: PortLink { link_up: link.up, ..PortLink::default() },
    }
}

/// Takes the port that the configuration names.
///
/// # Errors
/// DPDK has none of this name: then with what keeps it from the device, and a remedy.
fn take(eal: &Eal, port: &Settings) -> anyhow::Result<Port<Stopped>> {
    let name = port.device.name();
    eal.port(name).map_err(|error| match (&error, &port.device) {
        (Error::NoPort { there, .. }, device) => {
            let why = match device {
                Device::Pci(_) => {
                    let kernel = Kernel::default();
                    kernel.examine(name).err().unwrap_or_else(|| kernel.nothing_found(name)).to_string()
                }
                Device::Virtual(_) => "EAL's lines above say why its driver has not made it".to_owned(),
            };
            let others = if there.is_empty() { String::new() } else { format!(" (DPDK has {there})") };
            anyhow!("{}: DPDK has no port '{name}'{others}: {why}", port.place)
        }
        _ => anyhow!("{}: {error}", port.place),
    })
}

/// Sets a port up for so many workers.
///
/// # Errors
/// The device or its driver refuses something.
fn set_up(port: &mut Port<Stopped>, settings: &Settings, workers: usize, pool: &Arc<Mempool>) -> anyhow::Result<()> {
    let config = PortConfig {
        queues: workers as u16,
        rx_descriptors: settings.rx_descriptors,
        tx_descriptors: settings.tx_descriptors,
        mtu: settings.mtu,
        promiscuous: settings.promiscuous,
    };
    port.configure(&config, pool).map_err(|error| anyhow!("{}: {error}", settings.place))
}
