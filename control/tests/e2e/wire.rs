//! Captures as the tests read them.

use common::capture::{Capture, CaptureError, LinkType, ipv6_offset};
use protocol::five_tuple::FiveTuple;
use protocol::wire::ext_chain::{self, WalkError};
use protocol::wire::ipv6;
use protocol::wire::option::Form;
use std::path::Path;
use std::process::Command;

/// An Ethernet frame of a capture.
pub type Octets = Vec<u8>;

/// All frames, whole.
pub fn frames(path: &Path) -> Vec<Octets> {
    let mut frames = Vec::new();
    let each = |frame: common::capture::Frame<'_>| {
        assert_eq!(frame.data.len(), frame.original_len, "a frame was cut off");
        frames.push(frame.data.to_vec());
        Ok::<_, CaptureError>(true)
    };
    Capture::open(path).expect("capture").for_each(each).expect("whole capture");
    frames
}

/// Where the IPv6 header of a frame is.
pub fn ipv6_at(frame: &[u8]) -> Option<usize> {
    ipv6_offset(LinkType::ETHERNET, frame)
}

/// A packet of a kind that a policy measures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Measured {
    pub tuple: FiveTuple,
    /// The option it carries.
    pub form: Option<Form>,
    /// Whether the host of side A sent it.
    pub from_a: bool,
}

/// The TCP, UDP and echo packets among frames. Two options in one packet, or one of a wrong length, end the test.
pub fn measured(frames: &[Octets]) -> Vec<Measured> {
    let mut packets = Vec::new();
    for frame in frames {
        let Some(packet) = ipv6_at(frame).map(|at| &frame[at..]) else { continue };
        let chain = match ext_chain::walk(packet, packet.len()) {
            Ok(chain) => chain,
            Err(WalkError::NeighborDiscovery | WalkError::Mld) => continue,
            Err(error) => panic!("{error:?} in a packet of the hosts: {frame:02x?}"),
        };
        let tuple = chain.five_tuple;
        let echo = tuple.protocol == ipv6::ICMPV6 && matches!(packet[chain.upper_offset], 128 | 129);
        if echo || [ipv6::TCP, ipv6::UDP].contains(&tuple.protocol) {
            packets.push(Measured { tuple, form: chain.option.map(|o| o.form), from_a: tuple.src[5] == 0x0a });
        }
    }
    packets
}

/// Frames that are not IPv6 and that the MAC address ending in `last` sent, in an order of their own.
pub fn others(frames: &[Octets], last: u8) -> Vec<Octets> {
    let mut others: Vec<_> = frames.iter().filter(|f| f[11] == last && ipv6_at(f).is_none()).cloned().collect();
    others.sort();
    others
}

/// Wireshark's group of expert messages for what is malformed (PI_MALFORMED).
const MALFORMED: &str = "117440512";

/// tshark must find nothing malformed, but that a PDM option is longer than RFC 8250's: it does not know PDMv2.
pub fn assert_well_formed(path: &Path) {
    let tshark = Command::new("tshark")
        .arg("-r")
        .arg(path)
        .args(["-Y", "_ws.malformed", "-T", "fields", "-E", "occurrence=a", "-E", "aggregator=;"])
        .args(["-e", "frame.number", "-e", "_ws.expert.group", "-e", "_ws.expert.message"])
        .output();
    let output = tshark.expect("tshark is missing: apt install tshark");
    assert!(output.status.success(), "tshark failed: {}", String::from_utf8_lossy(&output.stderr));
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let fields: Vec<_> = line.split('\t').collect();
        let [_, groups, messages] = fields[..] else { panic!("not three fields: {line}") };
        let known = ["PDM: Invalid length (18 bytes)", "PDM: Invalid length (34 bytes)"];
        let mut malformed = groups.split(';').zip(messages.split(';')).filter(|(group, _)| *group == MALFORMED);
        assert!(malformed.clone().count() == 1 && malformed.all(|(_, m)| known.contains(&m)), "malformed: {line}");
    }
}
