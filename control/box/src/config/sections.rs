//! The sections of the configuration but for EAL's arguments and the policies.

use super::{Device, Diagnostics, FlowTable, Forwarding, Idle, Oversize, Port, Rss, Workers};
use crate::keys::from_file::KeyFileSettings;
use common::config::reader::{self, Table};
use common::config::report::{At, Report};
use common::config::{Checks, path, section};
use common::identity;
use common::key_file::{KeyFile, Scope};
use common::key_log::Writer;
use pipeline::ports::BURST;
use pipeline::state::hand_over;
use std::path::{Path, PathBuf};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
/// The flows' times are kept in 47 bits of nanoseconds, half of which tell later from earlier: some 19 hours.
const LONGEST_IDLE: Duration = Duration::from_secs(18 * 3600);

pub fn node<'t>(root: &mut Table<'t>, report: &mut Report<'_>) -> Option<At<&'t str>> {
    if !root.require("node", "[node] with name = \"…\": which [[node]] of the key file this box is", report) {
        return None;
    }
    let mut table = root.table("node", report)?;
    table.require("name", "name = \"…\": which [[node]] of the key file this box is", report);
    let name = table.text("name", report);
    table.finish(report);
    let name = name?;
    if let Err(message) = identity::check_name(name.value) {
        report.error(name.at, message, identity::NAME_REMEDY);
        return None;
    }
    Some(name)
}

pub fn ports(root: &mut Table<'_>, report: &mut Report<'_>) -> Option<(Port, Port)> {
    if !root.require("ports", "[ports.inside] and [ports.outside], each with device = \"…\"", report) {
        return None;
    }
    let mut table = root.table("ports", report)?;
    const TIMESTAMPS: [(&str, bool); 2] = [("off", false), ("auto", true)];
    let timestamps = table.choice("timestamps", &TIMESTAMPS, report).is_some_and(|choice| choice.value);
    let inside = port(&mut table, "inside", report);
    let outside = port(&mut table, "outside", report);
    table.finish(report);
    let (inside, mut outside) = (inside?, outside?);
    outside.value.timestamps = timestamps;
    if inside.value.device.name() == outside.value.device.name() {
        let message = format!("both ports are '{}'", inside.value.device.name());
        report.error(
            outside.at,
            message,
            "give each its own device; two virtual ones differ in the number: net_tap0, net_tap1",
        );
    } else if let (Some(a), Some(b)) = (interface(&inside.value.device), interface(&outside.value.device))
        && a == b
    {
        report.error(outside.at, format!("both ports use the interface '{a}'"), "give each its own iface=");
    }
    Some((inside.value, outside.value))
}

/// The kernel interface a virtual device stands on or makes.
fn interface(device: &Device) -> Option<&str> {
    match device {
        Device::Virtual(text) => text.split(',').find_map(|arg| arg.strip_prefix("iface=")),
        Device::Pci(_) => None,
    }
}

fn port(ports: &mut Table<'_>, key: &'static str, report: &mut Report<'_>) -> Option<At<Port>> {
    if !ports.require(key, &format!("[ports.{key}] with device = \"0000:3b:00.0\" or a virtual device"), report) {
        return None;
    }
    let mut table = ports.table(key, report)?;
    table.require("device", "device = \"0000:3b:00.0\" or a virtual device such as \"net_tap0,iface=tA\"", report);
    let device = table.text("device", report);
    // 9710: a frame of 9,728 octets, DPDK's RTE_ETHER_MAX_JUMBO_FRAME_LEN. 1280: RFC 8200 section 5.
    let mtu = table.integer("mtu", 1280..=9710, report).map(|n| n.value as u16);
    let mut descriptors = |key| table.integer(key, 32..=32768, report).map_or(1024, |n| n.value as u16);
    let (rx_descriptors, tx_descriptors) = (descriptors("rx_descriptors"), descriptors("tx_descriptors"));
    let promiscuous = table.boolean("promiscuous", true, report);
    table.finish(report);
    let device = device?;
    let at = device.at;
    let parsed = parse_device(device.value);
    if parsed.is_none() {
        let message = format!("'{}' is neither a PCI address nor a virtual device", device.value.escape_debug());
        let remedy = "write it like \"0000:3b:00.0\" ('dpdk-devbind.py --status' lists them) or \"net_tap0,iface=tA\"";
        report.error(at, message, remedy);
    }
    let place = report.place(at);
    let timestamps = false;
    Some(At {
        value: Port { device: parsed?, place, mtu, rx_descriptors, tx_descriptors, promiscuous, timestamps },
        at,
    })
}

fn parse_device(text: &str) -> Option<Device> {
    let (name, args) = text.split_once(',').map_or((text, None), |(n, a)| (n, Some(a)));
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return None;
    }
    if let Some(address) = pci_address(name) {
        return Some(Device::Pci(args.map_or(address.clone(), |a| format!("{address},{a}"))));
    }
    // What DPDK's drivers call themselves: net_tap, net_af_packet, net_pcap, net_ring, net_virtio_user, and older names.
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let known = ["net_", "eth_", "virtio_user"].iter().any(|p| name.len() > p.len() && name.starts_with(p));
    // RTE_DEV_NAME_MAX_LEN is 64 with the final zero.
    (plain && known && name.len() < 64).then(|| Device::Virtual(text.to_owned()))
}

/// `[domain:]bus:device.function`, in lower case and with its domain.
fn pci_address(text: &str) -> Option<String> {
    let (rest, function) = text.rsplit_once('.')?;
    let parts: Vec<_> = rest.split(':').collect();
    let (domain, bus, device) = match parts.as_slice() {
        [bus, device] => ("0000", *bus, *device),
        [domain, bus, device] => (*domain, *bus, *device),
        _ => return None,
    };
    let hex = |s: &str, lens: std::ops::RangeInclusive<usize>| {
        lens.contains(&s.len()) && s.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let fits =
        hex(domain, 4..=8) && hex(bus, 2..=2) && hex(device, 2..=2) && matches!(function.as_bytes(), [b'0'..=b'7']);
    fits.then(|| format!("{domain}:{bus}:{device}.{function}").to_lowercase())
}

pub fn workers(
    root: &mut Table<'_>,
    ports: Option<&(Port, Port)>,
    checks: Checks,
    report: &mut Report<'_>,
) -> Option<Workers> {
    const RSS: [(&str, Rss); 2] = [("addresses", Rss::Addresses), ("ports", Rss::Ports)];
    const IDLE: [(&str, Idle); 3] = [("poll", Idle::Poll), ("yield", Idle::Yield), ("sleep", Idle::Sleep)];
    let Some(mut table) = section(root, "workers", report)? else {
        let mbufs = mbufs_needed(1, ports).next_power_of_two().max(16384);
        return Some(Workers { cores: vec![0], idle: Idle::Poll, burst: BURST as u16, mbufs, rss: Rss::Addresses });
    };
    let cores = cores(&mut table, checks, report);
    let idle = table.choice("idle", &IDLE, report).map_or(Idle::Poll, |i| i.value);
    let rss = table.choice("rss", &RSS, report).map_or(Rss::Addresses, |rss| rss.value);
    let burst = table.integer("burst", 1..=BURST as i64, report).map_or(BURST as u16, |n| n.value as u16);
    let needed = mbufs_needed(cores.as_ref().map_or(1, Vec::len), ports);
    let mbufs = table.integer("mbufs", 1024..=1 << 24, report);
    if let Some(n) = mbufs
        && n.value < i64::from(needed)
    {
        let message = format!("{} packet buffers are too few: queues and caches alone may hold {needed}", n.value);
        report.error(n.at, message, format!("set mbufs = {}, or fewer descriptors", needed.next_power_of_two()));
    }
    table.finish(report);
    let mbufs = mbufs.map_or(needed.next_power_of_two().max(16384), |n| n.value as u32);
    Some(Workers { cores: cores?, idle, burst, mbufs, rss })
}

/// Buffers that may lie in queues, caches and the rings between workers at once; with fewer the box stalls.
fn mbufs_needed(workers: usize, ports: Option<&(Port, Port)>) -> u32 {
    /// A worker's pool cache, its overflow, and the bursts in its hands.
    const PER_WORKER: u32 = 512;
    let queues = ports.map_or(4096, |(inside, outside)| {
        [inside, outside].iter().map(|p| u32::from(p.rx_descriptors) + u32::from(p.tx_descriptors)).sum()
    });
    (workers as u32).saturating_mul(queues + PER_WORKER).saturating_add(hand_over::held(workers) as u32)
}

fn cores(table: &mut Table<'_>, checks: Checks, report: &mut Report<'_>) -> Option<Vec<usize>> {
    if table.value("cores").is_none() {
        return Some(vec![0]);
    }
    let list = table.list("cores", report)?;
    let there: Vec<usize> = core_affinity::get_core_ids().unwrap_or_default().iter().map(|c| c.id).collect();
    let mut cores: Vec<usize> = Vec::new();
    for value in list.value {
        // RTE_MAX_LCORE of the usual builds is 128 to 256; the bound only keeps nonsense out.
        let core = reader::integer(value, "workers.cores", 0..=1023, report)? as usize;
        if cores.contains(&core) {
            report.error(value.span().start, format!("core {core} has two workers"), "name each core once");
        }
        if checks == Checks::Everything && !there.is_empty() && !there.contains(&core) {
            let names: Vec<_> = there.iter().map(ToString::to_string).collect();
            let message = format!("core {core} is not one that this program may use here");
            report.error(value.span().start, message, format!("use one of: {}", names.join(", ")));
        }
        cores.push(core);
    }
    Some(cores)
}

pub fn forwarding(root: &mut Table<'_>, report: &mut Report<'_>) -> Forwarding {
    const OVERSIZE: [(&str, Oversize); 2] = [("pass", Oversize::Pass), ("ptb", Oversize::PacketTooBig)];
    let mut forwarding = Forwarding { oversize: Oversize::Pass, mss_clamp: true, link_follow: true };
    if let Some(Some(mut table)) = section(root, "forwarding", report) {
        forwarding.oversize = table.choice("oversize", &OVERSIZE, report).map_or(Oversize::Pass, |o| o.value);
        forwarding.mss_clamp = table.boolean("mss_clamp", true, report);
        forwarding.link_follow = table.boolean("link_follow", true, report);
        table.finish(report);
    }
    forwarding
}

pub fn diagnostics(root: &mut Table<'_>, report: &mut Report<'_>) -> Diagnostics {
    let Some(Some(mut table)) = section(root, "diagnostics", report) else { return Diagnostics::default() };
    let flows = table.boolean("flows", true, report);
    table.finish(report);
    if flows { Diagnostics::Flows } else { Diagnostics::Off }
}

pub fn flow_table(root: &mut Table<'_>, report: &mut Report<'_>) -> Option<FlowTable> {
    let mut sizes = FlowTable { capacity: 131_072, idle_timeout: Duration::from_secs(60), tombstones: 262_144 };
    let Some(mut table) = section(root, "flow_table", report)? else { return Some(sizes) };
    let capacity = table.integer("capacity", 64..=1 << 26, report);
    let idle_timeout = table.duration("idle_timeout", Duration::from_millis(100)..=LONGEST_IDLE, report);
    let tombstones = table.integer("tombstones", 64..=1 << 28, report);
    table.finish(report);
    sizes.capacity = capacity.map_or(sizes.capacity, |n| n.value as usize);
    // Without a word on tombstones they grow with the table: each flow that leaves needs one.
    sizes.tombstones = tombstones.map_or(sizes.tombstones.max(2 * sizes.capacity), |n| n.value as usize);
    sizes.idle_timeout = idle_timeout.map_or(sizes.idle_timeout, |d| d.value);
    Some(sizes)
}

/// The key file, and the key log; this one may stand alone when the keys come from a registrar.
pub fn keys(
    root: &mut Table<'_>,
    dir: &Path,
    checks: Checks,
    report: &mut Report<'_>,
) -> (Option<KeyFileSettings>, Option<PathBuf>) {
    let registered = root.value("registration").is_some();
    let Some(mut table) = section(root, "keys", report).flatten() else { return (None, None) };
    let log = path(&mut table, "log", dir, report);
    if let Some(log) = &log {
        let message = format!(
            "the key log '{}' gets the secrets in use: who reads it opens, and forges, options",
            log.value.display()
        );
        report.warn(log.at, message, "delete 'log' when nobody reads captures with it");
        if checks == Checks::Everything
            && log.value.symlink_metadata().is_ok()
            && let Err(error) = Writer::open(&log.value)
        {
            report.error(log.at, error.to_string(), "or name another file");
        }
    }
    let keys = if registered && log.is_some() && table.value("file").is_none() {
        table.finish(report);
        None
    } else {
        key_file(table, dir, checks, report)
    };
    if let (Some(log), Some(file)) = (&log, keys.as_ref().and_then(|k| k.key_file.as_ref()))
        && file.scope == Scope::Client
    {
        let message = "a key file of scope client has a secret for every address, which no key log can list";
        report.error(log.at, message, "delete 'log', and give 'pdmv2 decode --keys' the key file");
    }
    (keys, log.map(|log| log.value))
}

fn key_file(mut table: Table<'_>, dir: &Path, checks: Checks, report: &mut Report<'_>) -> Option<KeyFileSettings> {
    table.require("file", "file = \"pdmv2.keys\"", report);
    let file = path(&mut table, "file", dir, report);
    let state_dir = path(&mut table, "state_dir", dir, report);
    let max_age = table.duration("max_age", Duration::from_secs(1)..=DAY * 3650, report).map(|d| d.value);
    table.finish(report);
    let file = file?.value;
    let key_file = match checks {
        Checks::TextOnly => None,
        Checks::Everything => KeyFile::load(&file).map_err(|errors| report.adopt(errors)).ok(),
    };
    if let Some(state_dir) = &state_dir
        && checks == Checks::Everything
        && !state_dir.value.is_dir()
    {
        let remedy = format!("mkdir -m 700 {}", state_dir.value.display());
        report.error(state_dir.at, format!("'{}' is not a directory", state_dir.value.display()), remedy);
    }
    let beside = || file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
    let state_dir = state_dir.map_or_else(beside, |d| d.value);
    Some(KeyFileSettings { file, state_dir, max_age, key_file })
}

pub fn audit(root: &mut Table<'_>, dir: &Path, report: &mut Report<'_>) -> Option<PathBuf> {
    let mut table = section(root, "audit", report)??;
    table.require("file", "file = \"audit.bin\", or delete [audit]", report);
    let file = path(&mut table, "file", dir, report);
    let at = table.at;
    table.finish(report);
    report.warn(at, "audit mode writes a record for every sealed packet", "delete [audit] outside of tests");
    file.map(|f| f.value)
}
