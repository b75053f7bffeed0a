//! The two ports of a running box: taken, set up, and told of by the configuration's words when something is wrong with them.

use crate::config::{Config, Device, Port as Settings};
use crate::ports::pci::Kernel;
use anyhow::anyhow;
use dpdk_ffi::{Eal, Error, Mempool, Port, PortConfig, Spread, Started, Stopped};
use std::sync::Arc;

/// A port's name in messages and metrics, inside first.
pub const SIDES: [&str; 2] = ["inside", "outside"];

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

/// Takes the port that the configuration names.
///
/// # Errors
/// DPDK has none of this name: then with what keeps it from the device, and a remedy.
pub fn take(eal: &Eal, port: &Settings) -> anyhow::Result<Port<Stopped>> {
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
pub fn set_up(
    port: &mut Port<Stopped>,
    settings: &Settings,
    workers: usize,
    pool: &Arc<Mempool>,
) -> anyhow::Result<()> {
    let config = PortConfig {
        queues: workers as u16,
        rx_descriptors: settings.rx_descriptors,
        tx_descriptors: settings.tx_descriptors,
        mtu: settings.mtu,
        promiscuous: settings.promiscuous,
    };
    port.configure(&config, pool).map_err(|error| anyhow!("{}: {error}", settings.place))
}

/// Warns of a started port that will not give each worker its share.
pub fn warn_of_spread(side: usize, port: &Port<Started>) {
    let driver = port.info().map(|info| info.driver).unwrap_or_default();
    if let Ok(spread) = port.spread() {
        for warning in spread_warnings(SIDES[side], &driver, &spread) {
            tracing::warn!(port = port.name(), "{warning}");
        }
    }
}

/// What is to be said of a port's spreading, if anything.
fn spread_warnings(side: &str, driver: &str, spread: &Spread) -> Vec<String> {
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
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_does_not_serve_all_workers_is_named() {
        let spread = |queues, hashes, key: &[u8], reached| Spread { queues, hashes, key: Some(key.to_vec()), reached };
        let said = |spread: &Spread| spread_warnings("inside", "net_x", spread);
        let (ours, other) = ([0x6D, 0x5A, 0x6D, 0x5A], [1, 2, 3, 4]);
        assert!(said(&spread(1, false, &other, Some(1))).is_empty(), "one worker gets all there is");
        assert!(said(&spread(4, true, &ours, Some(4))).is_empty());
        assert!(said(&Spread { queues: 4, hashes: true, key: None, reached: None }).is_empty(), "nothing is known");
        let none = said(&spread(2, false, &ours, None));
        assert!(none.len() == 1 && none[0].contains("worker 0 gets all") && none[0].contains("'net_x'"), "{none:?}");
        let some = said(&spread(4, true, &ours, Some(2)));
        assert!(some.len() == 1 && some[0].contains("use 2 worker(s)") && some[0].contains("other 2"), "{some:?}");
        assert!(said(&spread(4, true, &other, Some(4)))[0].contains("a hash key of its own"));
    }
}
