//! What EAL is started with.

use super::{Config, Device, Port};
use common::config::reader::Table;
use common::config::report::Report;
use std::path::Path;

/// Arguments that name devices: those come from the ports. Long forms also as `--name=value`.
const DEVICE_ARGS: [&str; 7] = ["-a", "--allow", "-b", "--block", "-w", "--vdev", "--pci-whitelist"];

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

    fn default_args(&self) -> Vec<String> {
        let cores: Vec<_> = self.workers.cores.iter().map(ToString::to_string).collect();
        let mut args = vec!["-l".to_owned(), cores.join(",")];
        if [&self.inside, &self.outside].iter().all(|p| matches!(p.device, Device::Virtual(_))) {
            args.push("--no-pci".to_owned());
        }
        if !hugepages_free(Path::new("/sys/kernel/mm/hugepages")) {
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

fn hugepages_free(sizes: &Path) -> bool {
    let Ok(sizes) = std::fs::read_dir(sizes) else { return false };
    sizes.flatten().any(|size| {
        let free = std::fs::read_to_string(size.path().join("free_hugepages")).unwrap_or_default();
        free.trim().parse::<u64>().is_ok_and(|n| n > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hugepages_count_only_when_some_are_free() {
        let dir = tempfile::tempdir().expect("directory");
        let size = dir.path().join("hugepages-2048kB");
        std::fs::create_dir(&size).expect("directory");
        assert!(!hugepages_free(dir.path()));
        std::fs::write(size.join("free_hugepages"), "0\n").expect("file");
        assert!(!hugepages_free(dir.path()));
        std::fs::write(size.join("free_hugepages"), "12\n").expect("file");
        assert!(hugepages_free(dir.path()));
        assert!(!hugepages_free(&dir.path().join("absent")));
    }
}
