//! What sysfs says of a PCI device that DPDK does not find, and what to do about it.

use std::fmt;
use std::path::{Path, PathBuf};

/// Kernel drivers that DPDK's own work beside, through RDMA verbs; and what gives the device its verbs.
const BESIDE: [(&str, &str); 2] = [("mlx5_core", "mlx5_ib"), ("mana", "mana_ib")];

/// That of a NIC whose two ports have one PCI address, by which DPDK then calls neither.
const TWO_AT_ONE_ADDRESS: &str = "mlx4_core";

/// Drivers that hand a device to DPDK without an IOMMU.
const UIO: [&str; 2] = ["uio_pci_generic", "igb_uio"];

/// Whose network devices need which packages of DPDK's drivers, by the vendor's number.
const PACKAGES: [(&str, &str); 9] = [
    ("0x8086", "librte-net-e1000, -igc, -ixgbe, -i40e, -ice, -iavf"),
    ("0x15b3", "librte-net-mlx5"),
    ("0x1af4", "librte-net-virtio"),
    ("0x15ad", "librte-net-vmxnet3"),
    ("0x14e4", "librte-net-bnxt"),
    ("0x1d0f", "librte-net-ena"),
    ("0x1425", "librte-net-cxgbe"),
    ("0x1077", "librte-net-qede"),
    ("0x1924", "librte-net-sfc"),
];

/// What is wrong, and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

fn finding(what: impl Into<String>, remedy: impl Into<String>) -> Result<(), Finding> {
    Err(Finding { what: what.into(), remedy: remedy.into() })
}

/// Where the kernel shows its devices.
#[derive(Clone, Debug)]
pub struct Kernel {
    sys: PathBuf,
    dev: PathBuf,
}

impl Default for Kernel {
    fn default() -> Self {
        Self { sys: "/sys".into(), dev: "/dev".into() }
    }
}

impl Kernel {
    /// With other trees than `/sys` and `/dev`.
    #[must_use]
    pub fn at(sys: &Path, dev: &Path) -> Self {
        Self { sys: sys.to_owned(), dev: dev.to_owned() }
    }

    /// Looks for what keeps DPDK from a device.
    ///
    /// # Errors
    /// The first thing found.
    pub fn examine(&self, address: &str) -> Result<(), Finding> {
        let device = self.device(address);
        if entries(&self.sys.join("bus/pci/devices")).is_empty() {
            return finding(
                "this machine shows no PCI devices",
                "name a virtual device such as \"net_tap0,iface=tA\"; in a container, have the host's /sys in it",
            );
        }
        if !device.is_dir() {
            return finding(format!("no PCI device has the address {address}"), self.others());
        }
        let class = text(&device.join("class"));
        // Some NICs call themselves co-processors or accelerators.
        if !["0x02", "0x0b40", "0x12"].iter().any(|c| class.starts_with(c)) {
            return finding(format!("{address} is not a network device (class {class})"), self.others());
        }
        match link_name(&device.join("driver")).as_deref() {
            None => finding(format!("no driver has {address}{}", self.override_of(&device)), self.bind(address)),
            Some("vfio-pci") => self.vfio(address, &device),
            Some(driver @ TWO_AT_ONE_ADDRESS) => finding(
                format!("{address} is a NIC of '{driver}' (ConnectX-3), whose ports no box can name"),
                "use another NIC (docs/ports.md)",
            ),
            Some(driver) if UIO.contains(&driver) => self.uio(address, driver, &device),
            Some(driver) => match BESIDE.iter().find(|(kernel, _)| *kernel == driver) {
                Some((_, verbs)) => self.beside(address, driver, verbs, &device),
                None => self.kernels(address, driver, &device),
            },
        }
    }

    /// What to say of a device that looks as it should and that DPDK does not find all the same.
    #[must_use]
    pub fn nothing_found(&self, address: &str) -> Finding {
        let device = self.device(address);
        let (vendor, id) = (text(&device.join("vendor")), text(&device.join("device")));
        let packages = PACKAGES.iter().find(|(v, _)| *v == vendor).map_or("librte-net-…", |(_, packages)| packages);
        Finding {
            what: format!("sysfs shows nothing that would keep DPDK from {address}"),
            remedy: format!(
                "EAL's lines above may say more; look whether another process has it, whether a unit's DeviceAllow= leaves it out, \
                 and whether DPDK's driver for {vendor}:{id} is installed (apt-cache search librte-net: {packages}; librte-bus-pci)"
            ),
        }
    }

    fn device(&self, address: &str) -> PathBuf {
        self.sys.join("bus/pci/devices").join(address)
    }

    /// The network devices there are, as a remedy.
    fn others(&self) -> String {
        let mut found: Vec<_> = entries(&self.sys.join("bus/pci/devices"))
            .into_iter()
            .filter(|address| text(&self.device(address).join("class")).starts_with("0x02"))
            .map(|address| {
                let driver = link_name(&self.device(&address).join("driver"));
                format!("{address} ({})", driver.as_deref().unwrap_or("no driver"))
            })
            .collect();
        found.sort();
        match found.as_slice() {
            [] => "this machine has no PCI network device: name a virtual one such as \"net_tap0,iface=tA\"".into(),
            found => format!("this machine's network devices are {}", found.join(", ")),
        }
    }

    /// How a device comes to vfio-pci.
    fn bind(&self, address: &str) -> String {
        let bind = format!("'modprobe vfio-pci', then 'dpdk-devbind.py --bind=vfio-pci {address}'");
        if !entries(&self.sys.join("kernel/iommu_groups")).is_empty() || self.no_iommu_mode() == Some(true) {
            return bind;
        }
        let without = match self.no_iommu_mode() {
            Some(_) => {
                "; where there is none, as in many virtual machines: 'modprobe vfio enable_unsafe_noiommu_mode=1'"
            }
            None if self.sys.join("module/vfio").is_dir() => "; this kernel's vfio cannot do without one",
            None => "",
        };
        format!(
            "the IOMMU is off, and vfio-pci takes no device without: turn it on in the firmware (VT-d, AMD-Vi) and boot with \
             intel_iommu=on iommu=pt (Intel) or iommu=pt (AMD){without}; then {bind}"
        )
    }

    /// Whether vfio may do without an IOMMU; `None`: it is not loaded, or was built so that it never does.
    fn no_iommu_mode(&self) -> Option<bool> {
        match text(&self.sys.join("module/vfio/parameters/enable_unsafe_noiommu_mode")).as_str() {
            "" => None,
            mode => Some(["Y", "1"].contains(&mode)),
        }
    }

    fn override_of(&self, device: &Path) -> String {
        match text(&device.join("driver_override")).as_str() {
            "" | "(null)" => String::new(),
            driver => format!(" (and its driver_override names '{driver}', so no other takes it)"),
        }
    }

    /// The kernel's own driver has it.
    fn kernels(&self, address: &str, driver: &str, device: &Path) -> Result<(), Finding> {
        let interfaces = entries(&device.join("net"));
        let as_interface =
            if interfaces.is_empty() { String::new() } else { format!(", as {}", interfaces.join(", ")) };
        let remedy =
            format!("{}; not a port that you are logged in through: the kernel no longer has it", self.bind(address));
        finding(format!("the kernel's driver '{driver}' has {address}{as_interface}, so DPDK does not"), remedy)
    }

    /// The kernel's driver has it as it should; DPDK's needs more.
    fn beside(&self, address: &str, driver: &str, verbs: &str, device: &Path) -> Result<(), Finding> {
        if entries(&device.join("infiniband")).is_empty() {
            return finding(
                format!("{address} stays with the kernel's driver '{driver}', but has no RDMA device"),
                format!("'modprobe {verbs}' and 'modprobe ib_uverbs', and install rdma-core and ibverbs-providers"),
            );
        }
        let verbs = entries(&device.join("infiniband_verbs"));
        for node in verbs.iter().map(|name| self.dev.join("infiniband").join(name)) {
            may_open(&node, "modprobe ib_uverbs")?;
        }
        Ok(())
    }

    fn uio(&self, address: &str, driver: &str, device: &Path) -> Result<(), Finding> {
        let nodes = entries(&device.join("uio"));
        let Some(node) = nodes.first() else {
            return finding(
                format!("'{driver}' has {address}, but there is no uio device for it"),
                format!("bind it again: 'dpdk-devbind.py --bind={driver} {address}'"),
            );
        };
        may_open(&self.dev.join(node), &format!("modprobe {driver}"))
    }

    fn vfio(&self, address: &str, device: &Path) -> Result<(), Finding> {
        let Some(group) = link_name(&device.join("iommu_group")) else {
            return finding(format!("vfio-pci has {address}, but it is in no IOMMU group"), self.bind(address));
        };
        let of_group = self.sys.join("kernel/iommu_groups").join(&group);
        let without_iommu = text(&of_group.join("name")) == "vfio-noiommu";
        let node = if without_iommu { format!("noiommu-{group}") } else { group.clone() };
        for node in ["vfio", &node] {
            may_open(&self.dev.join("vfio").join(node), "modprobe vfio-pci")?;
        }
        let others = entries(&of_group.join("devices")).into_iter().filter(|other| other != address);
        for other in others {
            let class = text(&self.device(&other).join("class"));
            let driver = link_name(&self.device(&other).join("driver"));
            let harmless = |driver: &str| ["vfio-pci", "pci-stub", "pcieport"].contains(&driver);
            if let Some(driver) = driver.filter(|driver| !harmless(driver) && !class.starts_with("0x06")) {
                return finding(
                    format!(
                        "{address} shares IOMMU group {group} with {other}, which '{driver}' has: vfio gives out none of it"
                    ),
                    format!("bind {other} to vfio-pci too, or put the card into another slot"),
                );
            }
        }
        Ok(())
    }
}

/// Whether this process may use a device node.
fn may_open(node: &Path, module: &str) -> Result<(), Finding> {
    use rustix::fs::{Access, access};
    let shown = node.display();
    if !node.exists() {
        return finding(
            format!("{shown} is not there"),
            format!("'{module}'; in a container, hand it in: --device {shown}"),
        );
    }
    if access(node, Access::READ_OK | Access::WRITE_OK).is_err() {
        return finding(
            format!("this user may not open {shown}"),
            format!("run as root, or give the user the file: 'chown USER {shown}', by a udev rule to keep it"),
        );
    }
    Ok(())
}

/// A file of one line; empty when it cannot be read.
fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// The names in a directory, in order; none when there is no such directory.
fn entries(path: &Path) -> Vec<String> {
    let Ok(dir) = std::fs::read_dir(path) else { return Vec::new() };
    let mut names: Vec<_> = dir.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The last part of what a link points to.
fn link_name(path: &Path) -> Option<String> {
    Some(std::fs::read_link(path).ok()?.file_name()?.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests;
