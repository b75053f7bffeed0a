//! Whether what both ports were set up with fits the workers, the option, and each other.

use super::Asked;
use crate::ports::SIDES;
use dpdk_ffi::{Descriptors, Fitted};
use pipeline::packet::buffer::WINDOW_BEFORE;
use std::path::Path;

/// The NUMA node of each worker's core. `None`: the kernel does not say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Nodes(pub Vec<Option<u32>>);

impl Nodes {
    /// Of these cores, by the kernel's tree.
    #[must_use]
    pub fn read(sys: &Path, cores: &[usize]) -> Self {
        Self(cores.iter().map(|core| node_of(&sys.join(format!("devices/system/cpu/cpu{core}")))).collect())
    }
}

/// A core's directory has one entry `nodeN`.
fn node_of(core: &Path) -> Option<u32> {
    let entries = std::fs::read_dir(core).ok()?;
    entries.flatten().find_map(|entry| entry.file_name().to_str()?.strip_prefix("node")?.parse().ok())
}

/// What does not fit, with a remedy for each.
#[must_use]
pub fn warnings(ports: &[Fitted; 2], asked: &Asked, nodes: &Nodes) -> Vec<String> {
    let sides = || SIDES.into_iter().zip(ports);
    let mut warnings: Vec<_> = sides().filter_map(|(side, port)| headroom(side, port.headroom)).collect();
    warnings.extend(mtu(ports[0].mtu, ports[1].mtu, asked.option));
    for (side, port) in sides() {
        warnings.extend(descriptors(side, "rx_descriptors", port.rx));
        warnings.extend(descriptors(side, "tx_descriptors", port.tx));
    }
    for (i, (side, port)) in sides().enumerate() {
        let asked = asked.pci[i] && asked.promiscuous[i];
        warnings.extend((asked && !port.promiscuous).then(|| deaf(side)));
    }
    let sockets = [0, 1].map(|side| ports[side].socket.filter(|_| asked.pci[side]));
    for (side, socket) in SIDES.into_iter().zip(sockets) {
        warnings.extend(socket.and_then(|node| far_workers(side, node, &asked.cores, nodes)));
    }
    warnings.extend(far_ports(sockets));
    warnings
}

/// A device that hears its own address alone.
fn deaf(side: &str) -> String {
    format!(
        "{side}: the driver does not take frames for other MAC addresses (promiscuous mode): what hosts send to each other does not \
         reach the box, which is no wire then; use another NIC, allow it for a virtual function ('ip link set PF vf N trust on'), \
         or set promiscuous = false if all frames are for this port's own address (docs/ports.md)"
    )
}

/// Room in front of a packet for the longest option, whatever the policies are: they can change.
fn headroom(side: &str, headroom: u16) -> Option<String> {
    (usize::from(headroom) < WINDOW_BEFORE).then(|| {
        format!(
            "{side}: {headroom} octets of headroom in front of packets, and an option takes up to {WINDOW_BEFORE}: packets pass \
             without it (no_headroom); use a DPDK that was built with RTE_PKTMBUF_HEADROOM of {WINDOW_BEFORE} or more (128 is usual)"
        )
    })
}

/// Whether the longest packet from inside has room for the option outside.
fn mtu(inside: u16, outside: u16, option: usize) -> Option<String> {
    let (inside, outside) = (usize::from(inside), usize::from(outside));
    (outside < inside + option).then(|| {
        let least = inside + option;
        format!(
            "the inside MTU is {inside} and the outside MTU {outside}, and an option takes {option}: packets of more than {} octets \
             do not fit with it, and pass without, or as [forwarding] oversize says; set mtu = {least} under [ports.outside] and on \
             what is beyond it, or mtu = {0} under [ports.inside] and at the hosts",
            outside.saturating_sub(option)
        )
    })
}

/// Whether queues are as long as they were to be.
fn descriptors(side: &str, key: &str, Descriptors { asked, in_force }: Descriptors) -> Option<String> {
    (in_force < asked).then(|| {
        format!(
            "{side}: {key} is {asked}, and the driver has {in_force} for a queue: shorter bursts of traffic overflow it; set {key} = \
             {in_force}, which is all there is, or spread the packets over more workers"
        )
    })
}

/// Workers that are not on the node of a port.
fn far_workers(side: &str, node: u32, cores: &[usize], nodes: &Nodes) -> Option<String> {
    let far = cores.iter().zip(&nodes.0).filter(|&(_, at)| at.is_some_and(|at| at != node));
    let far: Vec<_> = far.map(|(core, _)| core.to_string()).collect();
    (!far.is_empty()).then(|| {
        format!(
            "{side}: the port is on NUMA node {node}, and the worker(s) on core(s) {} are not: every packet goes from node to node, \
             which is slower; choose [workers] cores from /sys/devices/system/node/node{node}/cpulist",
            far.join(", ")
        )
    })
}

/// Ports on two nodes: all buffers are on the inside port's.
fn far_ports(sockets: [Option<u32>; 2]) -> Option<String> {
    match sockets {
        [Some(inside), Some(outside)] if inside != outside => Some(format!(
            "the inside port is on NUMA node {inside}, the outside port on node {outside}: the packet buffers are on node {inside}, \
             and every packet goes from node to node, which is slower; put both NICs into slots of one node, or use two ports of one"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Rss;

    fn alike(n: u16) -> Descriptors {
        Descriptors { asked: n, in_force: n }
    }

    fn port(mtu: u16, socket: Option<u32>) -> Fitted {
        Fitted { queues: 2, mtu, headroom: 128, socket, promiscuous: true, rx: alike(1024), tx: alike(512) }
    }

    fn asked(option: usize) -> Asked {
        Asked {
            rss: Rss::Addresses,
            cores: vec![2, 3],
            pci: [true; 2],
            promiscuous: [true, false],
            timestamps: false,
            option,
        }
    }

    const NEAR: [Option<u32>; 2] = [Some(0), Some(0)];

    /// The one thing that is said.
    fn said(ports: [Fitted; 2], asked: &Asked, nodes: [Option<u32>; 2]) -> String {
        let warnings = warnings(&ports, asked, &Nodes(nodes.into()));
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        warnings.concat()
    }

    #[test]
    fn what_fits_is_not_mentioned() {
        let fits = [
            ([port(1500, Some(0)), port(1540, Some(0))], asked(40), NEAR),
            ([port(1500, None), port(1540, None)], asked(40), [Some(1), Some(0)]),
            ([port(1500, Some(0)), port(1540, Some(0))], asked(40), [None, None]),
            ([port(1500, Some(0)), port(1500, Some(0))], asked(0), NEAR),
            ([port(1500, Some(0)), port(1524, Some(0))], asked(24), NEAR),
            // A software port is on no node, whatever DPDK says of it.
            ([port(1500, Some(0)), port(1540, Some(1))], Asked { pci: [false; 2], ..asked(40) }, [Some(1), Some(0)]),
        ];
        for (ports, asked, nodes) in fits {
            assert_eq!(warnings(&ports, &asked, &Nodes(nodes.into())), [""; 0]);
        }
    }

    #[test]
    fn an_outside_mtu_without_room_for_the_option_is_named_with_both_remedies() {
        let said = |inside, outside, option| said([port(inside, None), port(outside, None)], &asked(option), NEAR);
        let text = said(1500, 1539, 40);
        assert!(text.contains("more than 1499 octets") && text.contains("mtu = 1540 under [ports.outside]"), "{text}");
        assert!(text.contains("mtu = 1499 under [ports.inside]"), "{text}");
        assert!(said(9000, 1500, 16).contains("mtu = 9016 under [ports.outside]"));
        assert!(said(u16::MAX, u16::MAX, 40).contains("mtu = 65495 under [ports.inside]"));
    }

    #[test]
    fn a_device_that_hears_its_own_address_alone_is_named() {
        let deaf = |mtu| Fitted { promiscuous: false, ..port(mtu, None) };
        let text = said([deaf(1500), deaf(1540)], &asked(40), NEAR);
        assert!(
            text.starts_with("inside: ") && text.contains("promiscuous mode") && text.contains("trust on"),
            "{text}"
        );
        let software = Asked { pci: [false; 2], ..asked(40) };
        assert!(warnings(&[deaf(1500), deaf(1540)], &software, &Nodes(NEAR.into())).is_empty());
    }

    #[test]
    fn headroom_that_is_too_short_is_named_by_port() {
        let short = Fitted { headroom: 39, ..port(1540, None) };
        let text = said([port(1500, None), short], &asked(40), NEAR);
        assert!(text.starts_with("outside: 39 octets of headroom") && text.contains("RTE_PKTMBUF_HEADROOM"), "{text}");
        let enough = Fitted { headroom: 40, ..port(1540, None) };
        assert!(warnings(&[port(1500, None), enough], &asked(40), &Nodes(NEAR.into())).is_empty());
    }

    #[test]
    fn queues_that_were_cut_are_named_with_what_to_write() {
        let cut = Descriptors { asked: 4096, in_force: 512 };
        let of = |inside, outside| said([inside, outside], &asked(40), NEAR);
        let text = of(Fitted { rx: cut, ..port(1500, None) }, port(1540, None));
        assert!(
            text.starts_with("inside: rx_descriptors is 4096") && text.contains("set rx_descriptors = 512"),
            "{text}"
        );
        let text = of(port(1500, None), Fitted { tx: cut, ..port(1540, None) });
        assert!(text.starts_with("outside: tx_descriptors is 4096"), "{text}");
        // More than was asked for is nothing to complain of.
        let more = Fitted { rx: Descriptors { asked: 32, in_force: 64 }, ..port(1500, None) };
        assert!(warnings(&[more, port(1540, None)], &asked(40), &Nodes(NEAR.into())).is_empty());
    }

    #[test]
    fn workers_and_ports_on_different_nodes_are_named() {
        let near = || [port(1500, Some(0)), port(1540, Some(0))];
        let far = warnings(&near(), &asked(40), &Nodes(vec![Some(0), Some(1)]));
        assert_eq!(far.len(), 2, "of each port: {far:?}");
        assert!(
            far[0].starts_with("inside: the port is on NUMA node 0, and the worker(s) on core(s) 3 are not"),
            "{far:?}"
        );
        assert!(
            far[1].starts_with("outside: ") && far[1].contains("/sys/devices/system/node/node0/cpulist"),
            "{far:?}"
        );
        let text = said([port(1500, Some(0)), port(1540, Some(1))], &asked(40), [None, None]);
        assert!(text.contains("inside port is on NUMA node 0, the outside port on node 1"), "{text}");
    }

    #[test]
    fn a_cores_node_is_read_from_the_kernels_tree() {
        let sys = tempfile::tempdir().expect("a directory");
        for (core, node) in [(2, "node1"), (3, "node0"), (4, "topology")] {
            std::fs::create_dir_all(sys.path().join(format!("devices/system/cpu/cpu{core}/{node}"))).expect("made");
        }
        assert_eq!(Nodes::read(sys.path(), &[3, 2, 4, 5]), Nodes(vec![Some(0), Some(1), None, None]));
    }
}
