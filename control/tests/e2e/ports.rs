//! Kinds of ports, between hosts whose kernels do as they do on them.

use crate::boxes::{self, ROOMY, end_quietly, key_file, turn};
use crate::hosts;
use rig::forwarders::BoxConfig;
use rig::{Rig, Side};
use rustix::net::{AddressFamily, SocketType, socket};
use std::fs::DirEntry;
use std::path::Path;

/// Where Debian and Ubuntu have DPDK's drivers, by release.
const DRIVERS: &str = "/usr/lib/x86_64-linux-gnu/dpdk";

/// A host behind a veth does not sum up what it sends, and notes beside each packet that nobody has. The box hands the octets on,
/// and the note is lost: it has to finish them, or no TCP connection comes to be.
fn hosts_behind_veths(inside: &'static str) {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new(ROOMY).expect("rig");
    Side::BOTH.iter().for_each(|&side| rig.inside_by_veth(side).expect("a veth"));
    let keys = key_file(&rig);
    let boxes = boxes::start_both(&rig, &BoxConfig { keys, inside: Some(inside), ..BoxConfig::default() });
    for side in Side::BOTH {
        let pings = rig.ping(side, side.other().address(), 20, 10).expect("ping");
        assert_eq!(pings.received, pings.sent, "pings from {side:?}");
        hosts::send_tcp(&rig, side, side.other().address(), 5001, 4 << 20);
        hosts::send_tcp(&rig, side, side.other().address4(), 5001, 1 << 20);
    }
    hosts::exchange_udp(&rig, 5002, (0..100).map(|i| i * 1412 / 99));
    for counters in end_quietly(&rig, boxes) {
        assert!(counters.get("/outbound/added/encrypted") > 3000, "{}", counters.0);
        assert!(counters.get("/inbound/removed/encrypted") > 3000, "{}", counters.0);
    }
}

#[test]
fn e2e_checksums_that_hosts_leave_out_are_there_behind_packet_sockets() {
    hosts_behind_veths("net_af_packet1,iface=i0,framecnt=4096");
}

/// Needs a kernel with AF_XDP, and DPDK's driver (librte-net-af-xdp).
#[test]
fn e2e_a_box_on_af_xdp_is_a_wire() {
    if let Some(lacking) = af_xdp_lacks() {
        eprintln!("left out: {lacking}");
        return;
    }
    hosts_behind_veths("net_af_xdp1,iface=i0");
}

/// What keeps AF_XDP from working here, if anything.
fn af_xdp_lacks() -> Option<String> {
    // Of an unknown family the kernel says that it is not supported.
    const AF_XDP: u16 = 44;
    if let Err(error) = socket(AddressFamily::from_raw(AF_XDP), SocketType::RAW, None) {
        return Some(format!("this kernel gives no AF_XDP socket: {error}"));
    }
    let listed = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten().collect::<Vec<_>>();
    let is_driver = |file: &DirEntry| file.file_name().to_string_lossy().starts_with("librte_net_af_xdp.so");
    let found = listed(Path::new(DRIVERS)).iter().any(|release| listed(&release.path()).iter().any(is_driver));
    (!found).then(|| "DPDK's driver librte_net_af_xdp is not installed".to_owned())
}
