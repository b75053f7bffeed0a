//! Trees as the kernel shows them, one for each thing that goes wrong.

use super::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use tempfile::TempDir;

const PORT: &str = "0000:01:00.0";
const SECOND: &str = "0000:01:00.1";

struct Tree(TempDir);

impl Tree {
    /// A bridge, and a NIC of two ports that the kernel's igb has; the IOMMU is on.
    fn new() -> Self {
        let this = Self(tempfile::tempdir().expect("directory"));
        this.write("sys/bus/pci/devices/0000:00:1f.0/class", "0x060100\n");
        for address in [PORT, SECOND] {
            this.write(&format!("sys/bus/pci/devices/{address}/class"), "0x020000\n");
            this.write(&format!("sys/bus/pci/devices/{address}/vendor"), "0x8086\n");
            this.write(&format!("sys/bus/pci/devices/{address}/device"), "0x10c9\n");
            this.write(&format!("sys/bus/pci/devices/{address}/driver_override"), "(null)\n");
            this.write(&format!("sys/kernel/iommu_groups/12/devices/{address}"), "");
            this.link(&format!("sys/bus/pci/devices/{address}/iommu_group"), "../../../../kernel/iommu_groups/12");
            this.driver(address, Some("igb"));
        }
        this.write(&format!("sys/bus/pci/devices/{PORT}/net/eth0/operstate"), "up\n");
        this
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directory");
        fs::write(path, text).expect("file");
    }

    fn link(&self, path: &str, to: &str) {
        let path = self.path(path);
        let _ = fs::remove_file(&path); // not there the first time
        symlink(to, path).expect("link");
    }

    fn driver(&self, address: &str, driver: Option<&str>) {
        let path = format!("sys/bus/pci/devices/{address}/driver");
        match driver {
            Some(driver) => self.link(&path, &format!("../../../../bus/pci/drivers/{driver}")),
            None => fs::remove_file(self.path(&path)).expect("removed"),
        }
    }

    /// Both ports bound to vfio-pci, with the nodes that this makes.
    fn bound(&self) {
        self.driver(PORT, Some("vfio-pci"));
        self.driver(SECOND, Some("vfio-pci"));
        self.write("dev/vfio/vfio", "");
        self.write("dev/vfio/12", "");
    }

    fn without_iommu(&self) {
        fs::remove_dir_all(self.path("sys/kernel/iommu_groups")).expect("removed");
        for address in [PORT, SECOND] {
            fs::remove_file(self.path(&format!("sys/bus/pci/devices/{address}/iommu_group"))).expect("removed");
        }
    }

    fn kernel(&self) -> Kernel {
        Kernel::at(&self.path("sys"), &self.path("dev"))
    }

    /// What is found, as printed; all of these must be in it.
    fn says(&self, address: &str, words: &[&str]) {
        let said = self.kernel().examine(address).expect_err("something is wrong").to_string();
        let said = said.replace(&self.0.path().display().to_string(), "");
        assert!(words.iter().all(|w| said.contains(w)), "{words:?} are not all in: {said}");
    }
}

#[test]
fn a_device_that_is_bound_and_may_be_opened_is_right() {
    let tree = Tree::new();
    tree.bound();
    assert_eq!(tree.kernel().examine(PORT), Ok(()));
    let said = tree.kernel().nothing_found(PORT).to_string();
    assert!(said.contains("0x8086:0x10c9") && said.contains("librte-net-e1000"), "{said}");
}

#[test]
fn a_wrong_address_is_told_from_a_machine_without_pci() {
    let tree = Tree::new();
    tree.says(
        "0000:01:00.7",
        &["no PCI device has the address 0000:01:00.7", "0000:01:00.0 (igb), 0000:01:00.1 (igb)"],
    );
    tree.says("0000:00:1f.0", &["0000:00:1f.0 is not a network device (class 0x060100)", "0000:01:00.0 (igb)"]);
    for address in [PORT, SECOND] {
        fs::remove_dir_all(tree.path(&format!("sys/bus/pci/devices/{address}"))).expect("removed");
    }
    tree.says(PORT, &["no PCI device has the address", "no PCI network device"]);
    fs::remove_dir_all(tree.path("sys/bus/pci/devices")).expect("removed");
    tree.says(PORT, &["this machine shows no PCI devices", "net_tap0"]);
}

#[test]
fn a_device_that_is_not_bound_names_its_driver() {
    let tree = Tree::new();
    tree.says(
        PORT,
        &["the kernel's driver 'igb' has 0000:01:00.0, as eth0", "--bind=vfio-pci 0000:01:00.0", "logged in"],
    );
    tree.driver(PORT, None);
    tree.says(PORT, &["no driver has 0000:01:00.0;", "'modprobe vfio-pci', then"]);
    tree.write(&format!("sys/bus/pci/devices/{PORT}/driver_override"), "pci-stub\n");
    tree.says(PORT, &["its driver_override names 'pci-stub'"]);
}

#[test]
fn an_iommu_that_is_off_is_named_with_what_this_kernel_can() {
    let tree = Tree::new();
    tree.without_iommu();
    tree.driver(PORT, None);
    tree.says(PORT, &["no driver has", "the IOMMU is off", "intel_iommu=on"]);
    tree.write("sys/module/vfio/version", "0.3\n");
    tree.says(PORT, &["this kernel's vfio cannot do without one"]);
    tree.write("sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "N\n");
    tree.says(PORT, &["the IOMMU is off", "enable_unsafe_noiommu_mode=1"]);
    tree.write("sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n");
    let said = tree.kernel().examine(PORT).expect_err("not bound").to_string();
    assert!(!said.contains("IOMMU is off"), "{said}");
    // Bound, which the kernel allows in no case; something has been taken apart.
    tree.bound();
    tree.says(PORT, &["in no IOMMU group"]);
}

#[test]
fn vfio_without_an_iommu_has_nodes_of_another_name() {
    let tree = Tree::new();
    tree.bound();
    tree.write("sys/kernel/iommu_groups/12/name", "vfio-noiommu\n");
    tree.says(PORT, &["/dev/vfio/noiommu-12 is not there"]);
    tree.write("dev/vfio/noiommu-12", "");
    assert_eq!(tree.kernel().examine(PORT), Ok(()));
}

#[test]
fn a_node_that_is_missing_or_closed_is_named() {
    let tree = Tree::new();
    tree.bound();
    fs::remove_file(tree.path("dev/vfio/12")).expect("removed");
    tree.says(PORT, &["/dev/vfio/12 is not there", "--device"]);
    tree.write("dev/vfio/12", "");
    fs::set_permissions(tree.path("dev/vfio/12"), fs::Permissions::from_mode(0o0)).expect("mode");
    if rustix::process::getuid().is_root() {
        assert_eq!(tree.kernel().examine(PORT), Ok(()), "root may");
    } else {
        tree.says(PORT, &["this user may not open", "/dev/vfio/12", "run as root"]);
    }
}

#[test]
fn a_group_that_is_not_bound_as_a_whole_names_the_other_device() {
    let tree = Tree::new();
    tree.bound();
    tree.driver(SECOND, Some("igb"));
    tree.says(PORT, &["shares IOMMU group 12 with 0000:01:00.1, which 'igb' has", "bind 0000:01:00.1"]);
    tree.driver(SECOND, None);
    assert_eq!(tree.kernel().examine(PORT), Ok(()), "without a driver it is in nobody's way");
}

#[test]
fn uio_and_drivers_beside_the_kernels_need_other_things() {
    let tree = Tree::new();
    tree.without_iommu();
    tree.driver(PORT, Some("uio_pci_generic"));
    tree.says(PORT, &["no uio device"]);
    tree.write(&format!("sys/bus/pci/devices/{PORT}/uio/uio3/name"), "x\n");
    tree.says(PORT, &["/dev/uio3 is not there"]);
    tree.write("dev/uio3", "");
    assert_eq!(tree.kernel().examine(PORT), Ok(()));

    tree.driver(PORT, Some("mlx4_core"));
    tree.says(PORT, &["whose ports no box can name", "use another NIC"]);

    tree.driver(PORT, Some("mlx5_core"));
    tree.says(PORT, &["stays with the kernel's driver 'mlx5_core'", "'modprobe mlx5_ib'"]);
    tree.write(&format!("sys/bus/pci/devices/{PORT}/infiniband/mlx5_0/node_type"), "1\n");
    tree.write(&format!("sys/bus/pci/devices/{PORT}/infiniband_verbs/uverbs0/dev"), "231:192\n");
    tree.says(PORT, &["/dev/infiniband/uverbs0 is not there"]);
    tree.write("dev/infiniband/uverbs0", "");
    assert_eq!(tree.kernel().examine(PORT), Ok(()));
}
