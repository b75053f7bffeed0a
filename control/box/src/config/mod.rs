//! The configuration: one TOML file, validated as a whole before anything starts. Every error is found in one run, with
//! its place and a remedy.

mod eal;
mod export;
mod pairs;
mod policies;
mod registration;
mod sections;

use crate::keys::connection::RegistrationSettings;
use crate::keys::from_file::KeyFileSettings;
use common::admin::config::Admin;
use common::config::reader::Table;
use common::config::report::{Errors, Problem, Report};
use common::config::{Checks, parsed, text_of};
use common::logging::Telemetry;
use pipeline::state::pairs::Pair;
use pipeline::state::policies::{Mode, Policy};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use eal::Hugepages;
pub use pipeline::state::rules::{Diagnostics, Oversize};

/// The whole configuration, in force as it stands.
#[derive(Debug)]
pub struct Config {
    /// Which node of the key file this box is.
    pub node: String,
    /// Arguments for EAL as configured; see [`Config::eal_command_line`].
    pub eal_args: Option<Vec<String>>,
    /// Towards the hosts.
    pub inside: Port,
    /// Towards the network.
    pub outside: Port,
    /// The worker loops.
    pub workers: Workers,
    /// What happens to packets beside the option.
    pub forwarding: Forwarding,
    /// What is measured beside that.
    pub diagnostics: Diagnostics,
    /// Sizes and times of the flow table.
    pub flow_table: FlowTable,
    /// Key source; `None`: the box has a registration, or forwards without keys.
    pub keys: Option<KeyFileSettings>,
    /// Where secrets are written down for those who read captures.
    pub key_log: Option<PathBuf>,
    /// How it registers, in place of a key file.
    pub registration: Option<RegistrationSettings>,
    /// Metrics and logs.
    pub telemetry: Telemetry,
    /// Where it answers those who ask it; `None`: nowhere.
    pub admin: Option<Admin>,
    /// Where flows are told to.
    pub export: crate::export::Settings,
    /// Where every (key, nonce) pair is recorded, for tests.
    pub audit: Option<PathBuf>,
    /// The rules, first match wins.
    pub policies: Vec<Policy>,
    /// Pairs of prefixes whose flows are counted together, first match wins.
    pub pairs: Vec<Pair>,
    /// What works but is hardly meant.
    pub warnings: Vec<Problem>,
}

/// A port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Port {
    /// What it is.
    pub device: Device,
    /// Where the configuration names it: file, line and column.
    pub place: String,
    /// Set on the device at start, octets from the IP header on; `None`: left as it is.
    pub mtu: Option<u16>,
    /// Descriptors of each receive queue.
    pub rx_descriptors: u16,
    /// Descriptors of each transmit queue.
    pub tx_descriptors: u16,
    /// Whether it receives frames for other MAC addresses; a bump in the wire has to.
    pub promiscuous: bool,
    /// Whether packets are taken to have come when its driver says, where it does. Only ever of the outside port: what is measured is
    /// when packets came from the network, and when others were sent there.
    pub timestamps: bool,
}

/// What a port is to EAL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Device {
    /// A NIC by its PCI address, with its domain: `0000:3b:00.0`, and device arguments behind a comma.
    Pci(String),
    /// A virtual device with its arguments: `net_tap0,iface=tA`.
    Virtual(String),
}

impl Device {
    /// The name of the DPDK port it becomes.
    #[must_use]
    pub fn name(&self) -> &str {
        let (Self::Pci(text) | Self::Virtual(text)) = self;
        text.split(',').next().unwrap_or(text)
    }
}

/// What an idle worker does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Idle {
    /// Goes on polling: least delay, a whole core.
    Poll,
    /// Gives way to other threads that want the core.
    Yield,
    /// Sleeps for some microseconds.
    Sleep,
}

/// What of an IPv6 packet decides, with several workers, which of them gets it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rss {
    /// Its addresses, where both ports can: both directions of a flow meet then, with and without the option.
    Addresses,
    /// Its ports too, where a port finds them.
    Ports,
}

/// The worker loops.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Workers {
    /// One worker per core; worker i owns queue i of every port.
    pub cores: Vec<usize>,
    /// What they do without packets.
    pub idle: Idle,
    /// Frames per burst, 1 to 32.
    pub burst: u16,
    /// Packet buffers in the pool.
    pub mbufs: u32,
    /// What spreads packets over them.
    pub rss: Rss,
}

/// What happens to packets beside the option.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Forwarding {
    /// Packets that would not fit the outgoing MTU with the option.
    pub oversize: Oversize,
    /// Whether TCP's MSS is clamped so that segments have room for the option.
    pub mss_clamp: bool,
    /// Whether the link of one port follows the other's.
    pub link_follow: bool,
}

/// Sizes and times of the flow table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowTable {
    /// Flows at once.
    pub capacity: usize,
    /// A flow without packets for so long leaves.
    pub idle_timeout: Duration,
    /// Places for what must outlive a flow that left.
    pub tombstones: usize,
}

impl Config {
    /// Reads and checks a configuration for a box that is to start here.
    ///
    /// # Errors
    /// Every problem found, in this file and in the key file it names.
    pub fn load(path: &Path) -> Result<Self, Errors> {
        Self::parse(&text_of(path)?, path, Checks::Everything)
    }

    /// Checks the text of a configuration. `path` names it in errors; paths in it start at its directory.
    ///
    /// # Errors
    /// Every problem found.
    pub fn parse(text: &str, path: &Path, checks: Checks) -> Result<Self, Errors> {
        let (mut config, warnings) = parsed(text, path, |root, dir, report| read(root, dir, checks, report))?;
        config.warnings = warnings;
        Ok(config)
    }
}

/// Reads all sections before it gives up, so that every error is found.
fn read(mut root: Table<'_>, dir: &Path, checks: Checks, report: &mut Report<'_>) -> Option<Config> {
    let node = sections::node(&mut root, report);
    let ports = sections::ports(&mut root, report);
    let eal_args = eal::args(&mut root, ports.as_ref(), report);
    let workers = sections::workers(&mut root, ports.as_ref(), checks, report);
    let forwarding = sections::forwarding(&mut root, report);
    let diagnostics = sections::diagnostics(&mut root, report);
    let flow_table = sections::flow_table(&mut root, report);
    let (keys, key_log) = sections::keys(&mut root, dir, checks, report);
    let registration = registration::section(&mut root, node.as_ref(), dir, checks, report);
    let telemetry = common::logging::telemetry(&mut root, true, report);
    let admin = common::admin::config::admin(&mut root, node.as_ref().map(|node| node.value), dir, report);
    let export = export::export(&mut root, dir, report);
    let audit = sections::audit(&mut root, dir, report);
    let policies = policies::policies(&mut root, report);
    let pairs = pairs::pairs(&mut root, &policies, report);
    root.finish(report);

    if let (Some(node), Some(keys)) = (&node, &keys) {
        check_node(node.value, node.at, keys, &policies, report);
    }
    if let (Some(_), Some(registration)) = (&keys, &registration) {
        let remedy = "keep one of the two: a registrar's keys, or a key file's";
        report.error(registration.at, "both [keys] and [registration]", remedy);
    }
    if keys.is_none()
        && registration.is_none()
        && let Some(policy) = policies.iter().find(|p| p.mode == Mode::Encrypted)
    {
        let message = format!(
            "policy '{}' is encrypted, but there are no keys: its packets pass without the option",
            policy.name
        );
        report.warn(0, message, "add [registration], or [keys] with file = \"…\" ('pdmv2 keygen' makes one)");
    }
    let (inside, outside) = ports?;
    Some(Config {
        node: node?.value.to_owned(),
        eal_args: eal_args?,
        inside,
        outside,
        workers: workers?,
        forwarding,
        diagnostics,
        flow_table: flow_table?,
        keys,
        key_log,
        registration: registration.map(|r| r.value),
        telemetry,
        admin,
        export,
        audit,
        policies,
        pairs,
        warnings: Vec::new(),
    })
}

fn check_node(name: &str, at: usize, keys: &KeyFileSettings, policies: &[Policy], report: &mut Report<'_>) {
    let Some(file) = &keys.key_file else { return };
    let Some(node) = file.node(name) else {
        let names: Vec<_> = file.nodes.iter().map(|n| n.name.as_str()).collect();
        let message = format!("'{name}' is not a node of {}", keys.file.display());
        report.error(at, message, common::config::report::suggestion(name, &names));
        return;
    };
    for policy in policies.iter().filter(|p| p.mode == Mode::Encrypted && !p.inside.is_empty()) {
        if !policy.inside.iter().any(|i| node.prefixes.iter().any(|p| p.overlaps(i))) {
            let message = format!(
                "policy '{}' is encrypted, but '{name}' speaks for none of its inside addresses in {}: nothing is sealed",
                policy.name,
                keys.file.display()
            );
            report.warn(
                at,
                message,
                "correct the policy's 'inside', or the node's prefixes in the key file on all boxes",
            );
        }
    }
}
