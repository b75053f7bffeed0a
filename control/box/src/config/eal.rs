//! What EAL is started with.

use super::{Config, Device, Port};
use common::config::reader::Table;
use common::config::report::Report;
use std::path::Path;

/// Arguments that name devices: those come from the ports. Long forms also as `--name=value`.
const DEVICE_ARGS: [&str; 7] = ["-a", "--allow", "-b", "--block", "-w", "--vdev", "--pci-whitelist"];

/// A PCI address that no device has.
const NO_DEVICE: &str = "ffff:ff:1f.7";

/// `[eal] args`: `Some(None)` when there are none, `None` after an error.
#[expect(clippy::option_option, reason = "absent and wrong are different things here")]
pub fn args(
    root: &mut Table<'_>,
    ports: Option<&(Port, Port)>,
    report: &mut Report<'_>,
) -> Option<Option<Vec<String>>> {
    if root.value("eal").is_none() {
        return Some(None);
    }
    let mut table = root.table("eal", report)?;
    let args = if table.value("args").is_some() { Some(table.texts("args", report)?) } else { None };
    table.finish(report);
    let Some(args) = args else { return Some(None) };
    let pci = ports.is_some_and(|(a, b)| [a, b].iter().any(|p| matches!(p.device, Device::Pci(_))));
    for arg in &args {
        let name = arg.value.split('=').next().unwrap_or_default();
        let short = arg.value.get(..2).filter(|s| ["-a", "-b", "-w"].contains(s) && !arg.value.starts_with("--"));
        if DEVICE_ARGS.contains(&name) || short.is_some() {
            let message = format!("'{}' names a device, but the devices come from [ports]", arg.value);
            report.error(arg.at, message, "delete it; write the device into [ports.inside] or [ports.outside]");
        } else if name == "--no-pci" && pci {
            report.error(arg.at, "'--no-pci', but a port is a PCI device", "delete '--no-pci'");
        } else if arg.value == "--" || arg.value.contains('\0') || arg.value.is_empty() {
            report.error(arg.at, format!("{:?} is not an argument of EAL", arg.value), "delete it");
        }
    }
    Some(Some(args.iter().map(|a| a.value.to_owned()).collect()))
}

impl Config {
    /// All of EAL's arguments behind the program's name: the configured ones or a choice that suits this machine, then
    /// the devices.
    #[must_use]
    pub fn eal_command_line(&self) -> Vec<String> {
        let mut args = self.eal_args.clone().unwrap_or_else(|| self.default_args());
        for port in [&self.inside, &self.outside] {
            args.extend(match &port.device {
                Device::Pci(device) => ["-a".to_owned(), device.clone()],
                Device::Virtual(device) => ["--vdev".to_owned(), device.clone()],
            });
        }
        args
    }

    /// The same without the devices: ports come later, and EAL is to take none by itself meanwhile.
    #[must_use]
    pub fn eal_command_line_without_ports(&self) -> Vec<String> {
        let mut args = self.eal_args.clone().unwrap_or_else(|| self.default_args());
        if !args.iter().any(|arg| arg == "--no-pci") {
            // With a list of devices EAL takes those alone; this one is nobody's.
            args.extend(["-a".to_owned(), NO_DEVICE.to_owned()]);
        }
        args
    }

    /// The same beside another process that has the ports, and whose devices address memory so (`va`, `pa`): they come to this one
    /// as they are.
    ///
    /// # Errors
    /// This process would have them address it otherwise; with a remedy.
    pub fn eal_command_line_beside(&self, iova: &str) -> Result<Vec<String>, String> {
        let mut args = self.eal_command_line_without_ports();
        let own = args.iter().find_map(|arg| arg.strip_prefix("--iova-mode=")).map(str::to_owned);
        match own {
            None if !iova.is_empty() => args.push(format!("--iova-mode={iova}")),
            Some(own)
                if own != iova && [&self.inside, &self.outside].iter().any(|p| matches!(p.device, Device::Pci(_))) =>
            {
                return Err(format!(
                    "devices of the box that runs address memory by '{iova}', and this process would have it '{own}': set \
                     hugepages aside for both, give [eal] args the same, or stop the one before the other starts"
                ));
            }
            _ => {}
        }
        Ok(args)
    }

    fn default_args(&self) -> Vec<String> {
        let cores: Vec<_> = self.workers.cores.iter().map(ToString::to_string).collect();
        let mut args = vec!["-l".to_owned(), cores.join(",")];
        if [&self.inside, &self.outside].iter().all(|p| matches!(p.device, Device::Virtual(_))) {
            args.push("--no-pci".to_owned());
        }
        let Hugepages { free, needed } = self.hugepages(Path::new(HUGEPAGES));
        if free < needed {
            // Some 2,500 octets per buffer, and room for rings and drivers.
            let megabytes = 192 + self.workers.mbufs / 256;
            args.extend(["--no-huge", "--no-shconf", "--iova-mode=va", "-m"].map(str::to_owned));
            args.push(megabytes.to_string());
        } else {
            args.push("--in-memory".to_owned()); // which EAL refuses together with --no-huge
        }
        args
    }
}

/// Where the kernel says what hugepages there are.
const HUGEPAGES: &str = "/sys/kernel/mm/hugepages";

/// Octets that the kernel leaves free before a packet in a buffer of AF_XDP's, beside DPDK's own.
const XDP_HEADROOM: usize = 256;

/// Beside packet buffers: rings, and what drivers take.
const BESIDE: u64 = 16 << 20;

/// Octets of hugepages, of all sizes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hugepages {
    /// Those that nobody has, or will have by right.
    pub free: u64,
    /// Those that DPDK needs, and without which it takes ordinary memory.
    pub needed: u64,
}

impl Config {
    /// Octets of a packet buffer. A packet should fit one: headroom, Ethernet with two tags, and the MTU.
    #[must_use]
    pub fn buffer_room(&self) -> u16 {
        let ports = [&self.inside, &self.outside];
        let mtu = ports.iter().filter_map(|port| port.mtu).max().unwrap_or(1500);
        // The kernel keeps room for XDP programs in each buffer that it receives into itself.
        let for_xdp =
            if ports.iter().any(|port| port.device.name().starts_with("net_af_xdp")) { XDP_HEADROOM } else { 0 };
        (usize::from(mtu) + 128 + 64 + for_xdp).clamp(2048 + 128, usize::from(u16::MAX)) as u16
    }

    /// What hugepages there are, and how many the packet buffers need. `None`: EAL's arguments are configured.
    #[must_use]
    pub fn hugepages_for_packets(&self) -> Option<Hugepages> {
        self.eal_args.is_none().then(|| self.hugepages(Path::new(HUGEPAGES)))
    }

    fn hugepages(&self, sizes: &Path) -> Hugepages {
        // With DPDK's own of each buffer.
        let buffers = u64::from(self.workers.mbufs) * (u64::from(self.buffer_room()) + 256);
        Hugepages { free: free_octets(sizes), needed: buffers + BESIDE }
    }
}

fn free_octets(sizes: &Path) -> u64 {
    let Ok(sizes) = std::fs::read_dir(sizes) else { return 0 };
    let of = |size: std::fs::DirEntry| {
        let name = size.file_name().into_string().ok()?;
        let kib: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let read = |file| std::fs::read_to_string(size.path().join(file)).ok()?.trim().parse::<u64>().ok();
        let free = read("free_hugepages")?.saturating_sub(read("resv_hugepages").unwrap_or(0));
        Some(free.saturating_mul(kib) << 10)
    };
    sizes.flatten().filter_map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hugepages_count_as_far_as_nobody_has_them() {
        let dir = tempfile::tempdir().expect("directory");
        let set = |size: &str, file: &str, n: u32| {
            let size = dir.path().join(size);
            std::fs::create_dir_all(&size).expect("directory");
            std::fs::write(size.join(file), format!("{n}\n")).expect("file");
        };
        assert_eq!(free_octets(dir.path()), 0);
        set("hugepages-2048kB", "free_hugepages", 0);
        set("other", "free_hugepages", 7);
        assert_eq!(free_octets(dir.path()), 0);
        set("hugepages-2048kB", "free_hugepages", 12);
        assert_eq!(free_octets(dir.path()), 24 << 20);
        set("hugepages-2048kB", "resv_hugepages", 5);
        assert_eq!(free_octets(dir.path()), 14 << 20);
        set("hugepages-1048576kB", "free_hugepages", 1);
        assert_eq!(free_octets(dir.path()), (1 << 30) + (14 << 20));
        assert_eq!(free_octets(&dir.path().join("absent")), 0);
    }

    #[test]
    fn beside_another_process_devices_address_memory_as_they_do_there() {
        let of = |device: &str, args: &str| {
            let text = format!(
                "[node]\nname = \"a\"\n[ports.inside]\ndevice = \"{device}\"\n[ports.outside]\ndevice = \"net_null1\"\n\
                 [eal]\nargs = [{args}]\n"
            );
            Config::parse(&text, Path::new("box.toml"), common::config::Checks::TextOnly).expect("accepted")
        };
        let pci = of("0000:3b:00.0", "\"-l\", \"0\"");
        let line = pci.eal_command_line_beside("pa").expect("a command line");
        assert_eq!(line, ["-l", "0", "-a", NO_DEVICE, "--iova-mode=pa"]);
        assert_eq!(pci.eal_command_line_beside("").expect("a command line").len(), 4, "it is not known there");
        let own = of("0000:3b:00.0", "\"--iova-mode=va\"");
        assert!(own.eal_command_line_beside("va").is_ok());
        assert!(own.eal_command_line_beside("pa").expect_err("another").contains("hugepages"));
        assert!(of("net_null0", "\"--no-pci\", \"--iova-mode=va\"").eal_command_line_beside("pa").is_ok());
    }

    #[test]
    fn too_few_hugepages_for_the_packets_are_none() {
        let text =
            "[node]\nname = \"a\"\n[ports.inside]\ndevice = \"net_null0\"\n[ports.outside]\ndevice = \"net_null1\"\n";
        let checks = common::config::Checks::TextOnly;
        let config = Config::parse(text, Path::new("box.toml"), checks).expect("accepted");
        let dir = tempfile::tempdir().expect("directory");
        let Hugepages { free, needed } = config.hugepages(dir.path());
        // 16,384 buffers of some 2,400 octets.
        assert!(free == 0 && (50 << 20..64 << 20).contains(&needed), "{needed}");
    }

    #[test]
    fn a_packet_of_the_mtu_fits_one_buffer_also_behind_what_the_kernel_keeps_for_xdp() {
        let room = |inside: &str, mtu: u16| {
            let text = format!(
                "[node]\nname = \"a\"\n[ports.inside]\ndevice = \"{inside}\"\nmtu = {mtu}\n[ports.outside]\ndevice = \"net_null1\"\n"
            );
            let config = Config::parse(&text, Path::new("box.toml"), common::config::Checks::TextOnly);
            config.expect("accepted").buffer_room()
        };
        let framing = 14 + 8 + 4;
        for mtu in [1500, 1540, 1800, 3000] {
            assert!(room("net_null0", mtu) >= mtu + framing + 128, "{mtu}");
            assert!(room("net_af_xdp0,iface=e0", mtu) >= mtu + framing + 128 + 256, "{mtu}");
        }
        assert_eq!(room("net_null0", 1500), 2176);
    }
}
