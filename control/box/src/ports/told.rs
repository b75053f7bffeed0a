//! What is told of both ports when they have started: what they were set up with, and what of it does not fit the workers, the
//! option, or the other port, with a remedy.

mod fit;
mod spread;

use crate::config::{Config, Device, Rss};
use crate::observe::counts::{PortSettings, RSS_FIELDS, RSS_KEYS, TIMESTAMPS};
use crate::ports::SIDES;
use dpdk_ffi::{Fitted, Port, Started};
use fit::Nodes;
use pipeline::state::policies::OutboundAction;
use protocol::wire::option::Form;
use std::path::Path;

/// What of a configuration the ports are held against.
#[derive(Clone, Debug)]
pub struct Asked {
    rss: Rss,
    /// By worker.
    cores: Vec<usize>,
    /// Whether a port is a device of the machine, inside first: what it writes goes to a node of its own.
    pci: [bool; 2],
    /// Whether a device is to receive frames for all stations.
    promiscuous: [bool; 2],
    /// Whether the outside port's own times of receipt are taken, where there are any.
    timestamps: bool,
    /// The most that an option of the policies takes; 0: none is put in.
    option: usize,
}

impl Asked {
    /// What of a packet is to decide which worker gets it.
    pub const fn rss(&self) -> Rss {
        self.rss
    }

    /// Of this configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let forms = config.policies.iter().filter(|policy| policy.outbound == OutboundAction::Add);
        Self {
            rss: config.workers.rss,
            cores: config.workers.cores.clone(),
            pci: [&config.inside, &config.outside].map(|port| matches!(port.device, Device::Pci(_))),
            promiscuous: [config.inside.promiscuous, config.outside.promiscuous],
            timestamps: config.outside.timestamps,
            option: forms.filter_map(|policy| policy.mode.form()).map(Form::header_len).max().unwrap_or(0),
        }
    }
}

/// Warns of what does not fit of both started ports, inside first.
pub fn warn(ports: [&Port<Started>; 2], asked: &Asked) {
    if asked.timestamps {
        tell_of_stamps(ports[1]);
    }
    // A driver that does not say what its port is has been logged without it.
    if let [Ok(inside), Ok(outside)] = ports.map(Port::fitted) {
        for warning in fit::warnings(&[inside, outside], asked, &Nodes::read(Path::new("/sys"), &asked.cores)) {
            tracing::warn!("{warning}");
        }
    }
}

/// Logs what a started port was set up with, and warns when it will not give each worker its share.
pub fn tell(side: usize, port: &Port<Started>, asked: &Asked) -> PortSettings {
    let rss = asked.rss;
    let driver = port.info().map(|info| info.driver).unwrap_or_default();
    let spread = port.spread().ok();
    let fitted = port.fitted().unwrap_or_default();
    let settings = PortSettings {
        driver,
        offloads: port.offloads().join(" "),
        rss: spread.as_ref().map_or(RSS_FIELDS[3], spread::rss_of),
        rss_key: spread.as_ref().map_or(RSS_KEYS[3], spread::key_of),
        timestamps: TIMESTAMPS[usize::from(port.stamps().is_some())],
        queues: fitted.queues,
        mtu: fitted.mtu,
        headroom: fitted.headroom,
        rx_descriptors: fitted.rx.in_force,
        tx_descriptors: fitted.tx.in_force,
        numa_node: node_name(&fitted),
    };
    let PortSettings { driver, offloads, rss: by, rss_key, queues, mtu, headroom, .. } = &settings;
    let PortSettings { rx_descriptors, tx_descriptors, numa_node, timestamps, .. } = &settings;
    let side = SIDES[side];
    tracing::info!(
        port = port.name(),
        driver,
        offloads,
        queues,
        rss = by,
        rss_key,
        timestamps,
        mtu,
        headroom,
        rx_descriptors,
        tx_descriptors,
        numa_node,
        link = link_name(port),
        "{side}: set up (RSS: the driver's own function, Toeplitz in nearly all)"
    );
    for warning in spread.iter().flat_map(|spread| spread::warnings(side, driver, rss, spread)) {
        tracing::warn!(port = port.name(), "{warning}");
    }
    settings
}

/// Says by what clock packets come, of a port that was asked for its own.
fn tell_of_stamps(outside: &Port<Started>) {
    let driver = outside.info().map(|info| info.driver).unwrap_or_default();
    if outside.stamps().is_some() {
        tracing::info!(
            "outside: time stamps of the device, as {driver} gives them: what packets wait in its queue is known"
        );
    } else {
        tracing::info!(
            "outside: time stamps of the CPU, since {driver} gives none: what packets wait in its queue counts as network, as with \
             [ports] timestamps = \"off\"; docs/ports.md names drivers that give them"
        );
    }
}

fn node_name(fitted: &Fitted) -> String {
    fitted.socket.map_or_else(|| "any".to_owned(), |node| node.to_string())
}

/// How its link stands at this moment. Most take a second or more to come up.
fn link_name(port: &Port<Started>) -> String {
    match port.link() {
        Ok(link) if link.up => {
            let speed = if link.mbit_per_second == 0 {
                "speed unknown".into()
            } else {
                format!("{} Mbit/s", link.mbit_per_second)
            };
            format!("up, {speed}, {} duplex", if link.full_duplex { "full" } else { "half" })
        }
        Ok(_) => "not up yet".into(),
        Err(_) => "unknown".into(),
    }
}
