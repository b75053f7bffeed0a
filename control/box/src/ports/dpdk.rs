//! The two ports of a running box under DPDK: taken, set up, started, and told of by the configuration's words when something is wrong with them.

use crate::config::{Config, Device, Hugepages, Port as Settings, Rss};
use crate::observe::counts::{MemoryCount, PortCounts, PortLink, PortSettings, Ports, RSS_FIELDS, RSS_KEYS};
use crate::ports::SIDES;
use crate::ports::link::{Linked, Links};
use crate::ports::pci::Kernel;
use anyhow::anyhow;
use dpdk_ffi::{
    Eal, Error, HashedBy, Mempool, Port, PortConfig, PortStats, Spread, Started, Stopped, ThreadRegistration,
};
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
    rss: Rss,
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
        Ok(Self { eal, inside, outside, buffers, rss: config.workers.rss })
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
        let settings = [tell_settings(0, &inside, self.rss), tell_settings(1, &outside, self.rss)];
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
    PortCounts {
        rx_packets: s.rx_packets,
        tx_packets: s.tx_packets,
        rx_octets: s.rx_octets,
        tx_octets: s.tx_octets,
        rx_missed: s.rx_missed,
        rx_errors: s.rx_errors,
        tx_errors: s.tx_errors,
        rx_no_buffer: s.rx_no_buffer,
        link: PortLink { link_up: port.link().is_ok_and(|l| l.up), ..PortLink::default() },
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

/// Logs what a started port was set up with, and warns when it will not give each worker its share.
fn tell_settings(side: usize, port: &Port<Started>, rss: Rss) -> PortSettings {
    let driver = port.info().map(|info| info.driver).unwrap_or_default();
    let spread = port.spread().ok();
    let settings = PortSettings {
        driver,
        offloads: port.offloads().join(" "),
        rss: spread.as_ref().map_or(RSS_FIELDS[3], rss_of),
        rss_key: spread.as_ref().map_or(RSS_KEYS[3], key_of),
    };
    let PortSettings { driver, offloads, rss: by, rss_key } = &settings;
    let (side, queues) = (SIDES[side], spread.as_ref().map_or(0, |spread| spread.queues));
    tracing::info!(
        port = port.name(),
        driver,
        offloads,
        queues,
        rss = by,
        rss_key,
        "{side}: set up (RSS: the driver's own function, Toeplitz in nearly all)"
    );
    for warning in spread.iter().flat_map(|spread| spread_warnings(side, driver, rss, spread)) {
        tracing::warn!(port = port.name(), "{warning}");
    }
    settings
}

/// What of IPv6 packets spreads them over a port's queues.
const fn rss_of(spread: &Spread) -> &'static str {
    match spread.ipv6 {
        Some(HashedBy::Addresses) => RSS_FIELDS[1],
        Some(HashedBy::Ports) => RSS_FIELDS[2],
        None if spread.hashes => RSS_FIELDS[3],
        Some(HashedBy::Nothing) | None => RSS_FIELDS[0],
    }
}

/// What key it hashes them under.
fn key_of(spread: &Spread) -> &'static str {
    match spread.symmetric() {
        _ if !spread.hashes => RSS_KEYS[0],
        Some(true) => RSS_KEYS[1],
        Some(false) => RSS_KEYS[2],
        None => RSS_KEYS[3],
    }
}

/// What is to be said of a port's spreading, if anything.
fn spread_warnings(side: &str, driver: &str, rss: Rss, spread: &Spread) -> Vec<String> {
    let workers = spread.queues;
    if workers < 2 {
        return Vec::new();
    }
    if !spread.hashes {
        return vec![format!(
            "{side}: {workers} workers, and the driver '{driver}' does not say that it spreads packets over queues (RSS): \
             unless it does so in a way of its own, worker 0 gets all that comes in here, and the others nothing; use one \
             worker, or a port with RSS"
        )];
    }
    let mut warnings = Vec::new();
    if let Some(reached) = spread.reached.filter(|&reached| reached < workers) {
        warnings.push(format!(
            "{side}: {workers} workers, and the driver '{driver}' spreads packets over {reached} queue(s) of them: the other \
             {} worker(s) get nothing from here; use {reached} worker(s)",
            workers - reached
        ));
    }
    if spread.symmetric() == Some(false) {
        warnings.push(format!(
            "{side}: the driver '{driver}' keeps a hash key of its own: the two directions of a flow may meet on different \
             workers, which is right and slower"
        ));
    }
    if rss == Rss::Addresses && spread.ipv6 == Some(HashedBy::Ports) {
        warnings.push(format!(
            "{side}: the driver '{driver}', or the other port's, hashes IPv6 packets with their ports, which few find behind an \
             option: the two directions of a flow may meet on different workers, which is right and slower"
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_does_not_serve_all_workers_is_named() {
        let spread = |queues, hashes, key: &[u8], reached| Spread {
            queues,
            hashes,
            key: Some(key.to_vec()),
            reached,
            ipv6: Some(HashedBy::Addresses),
        };
        let said = |spread: &Spread| spread_warnings("inside", "net_x", Rss::Addresses, spread);
        let (ours, other) = ([0x6D, 0x5A, 0x6D, 0x5A], [1, 2, 3, 4]);
        assert!(said(&spread(1, false, &other, Some(1))).is_empty(), "one worker gets all there is");
        assert!(said(&spread(4, true, &ours, Some(4))).is_empty());
        assert!(said(&Spread { key: None, ipv6: None, ..spread(4, true, &ours, None) }).is_empty(), "nothing is known");
        let none = said(&spread(2, false, &ours, None));
        assert!(none.len() == 1 && none[0].contains("worker 0 gets all") && none[0].contains("'net_x'"), "{none:?}");
        let some = said(&spread(4, true, &ours, Some(2)));
        assert!(some.len() == 1 && some[0].contains("use 2 worker(s)") && some[0].contains("other 2"), "{some:?}");
        assert!(said(&spread(4, true, &other, Some(4)))[0].contains("a hash key of its own"));
        let ports = Spread { ipv6: Some(HashedBy::Ports), ..spread(4, true, &ours, Some(4)) };
        assert!(said(&ports)[0].contains("with their ports"));
        assert!(spread_warnings("inside", "net_x", Rss::Ports, &ports).is_empty(), "as it is configured");
    }

    #[test]
    fn what_is_in_force_has_a_name() {
        let of = |hashes, key: Option<&[u8]>, ipv6| {
            let spread = Spread { queues: 4, hashes, key: key.map(<[u8]>::to_vec), reached: None, ipv6 };
            (rss_of(&spread), key_of(&spread))
        };
        let (ours, other) = ([0x6D, 0x5A, 0x6D, 0x5A], [1, 2, 3, 4]);
        assert_eq!(of(false, None, None), ("off", "none"));
        assert_eq!(of(false, Some(&ours), Some(HashedBy::Nothing)), ("off", "none"));
        assert_eq!(of(true, Some(&ours), Some(HashedBy::Addresses)), ("addresses", "symmetric"));
        assert_eq!(of(true, Some(&other), Some(HashedBy::Ports)), ("ports", "own"));
        assert_eq!(of(true, None, None), ("unknown", "unknown"));
    }
}
