//! Frames: UDP over IPv6, in Ethernet or without it.

use protocol::five_tuple::FiveTuple;
use protocol::wire::ipv6;

/// A host behind box A: 2001:db8:a::1.
pub const A: [u8; 16] = [0x20, 1, 0xD, 0xB8, 0, 0xA, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
/// A host behind box B: 2001:db8:b::1.
pub const B: [u8; 16] = [0x20, 1, 0xD, 0xB8, 0, 0xB, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// Octets of the addresses and the type in front of an IPv6 packet.
pub const ETHERNET_LEN: usize = 14;
/// Octets of IPv6's and UDP's headers.
pub const UDP_HEADERS: usize = 40 + 8;

/// To the host behind box B, from the one behind box A.
const MACS: [u8; 12] = [2, 0, 0, 0, 0, 0xB, 2, 0, 0, 0, 0, 0xA];
/// `EtherType` of IPv6.
const IPV6: [u8; 2] = [0x86, 0xDD];
/// `EtherType` of an IEEE 802.1Q tag.
const VLAN: [u8; 2] = [0x81, 0];
/// Nobody on the way verifies it: a box does not touch what stands behind the option.
const CHECKSUM: u16 = 0x1234;

/// What stands in front of an IPv6 packet.
pub const ETHERNET: [u8; ETHERNET_LEN] = {
    let mut header = [0; ETHERNET_LEN];
    header.split_at_mut(MACS.len()).0.copy_from_slice(&MACS);
    header.split_at_mut(MACS.len()).1.copy_from_slice(&IPV6);
    header
};

/// Makes a packet of the flow out of octets, the last of which are its payload: writes IPv6's and UDP's headers to the
/// first of them. There are at least [`UDP_HEADERS`] octets, and at most 65,575.
#[inline]
pub fn write_udp_headers(packet: &mut [u8], flow: &FiveTuple) {
    let len = (packet.len() - 40) as u16;
    packet[..4].copy_from_slice(&[0x60, 0, 0, 0]);
    packet[4..6].copy_from_slice(&len.to_be_bytes());
    packet[6..8].copy_from_slice(&[ipv6::UDP, 64]);
    packet[8..24].copy_from_slice(&flow.src);
    packet[24..40].copy_from_slice(&flow.dst);
    for (at, word) in [flow.sport, flow.dport, len, CHECKSUM].into_iter().enumerate() {
        packet[40 + 2 * at..][..2].copy_from_slice(&word.to_be_bytes());
    }
}

/// An IPv6 packet of UDP.
#[must_use]
pub fn udp_packet(flow: &FiveTuple, payload: &[u8]) -> Vec<u8> {
    let mut packet = [&[0; UDP_HEADERS], payload].concat();
    write_udp_headers(&mut packet, flow);
    packet
}

/// An IPv6 packet in Ethernet, behind VLAN tags with these contents.
#[must_use]
pub fn in_ethernet(tags: &[u16], packet: &[u8]) -> Vec<u8> {
    let mut frame = MACS.to_vec();
    for tag in tags {
        frame.extend([VLAN, tag.to_be_bytes()].concat());
    }
    frame.extend(IPV6);
    frame.extend(packet);
    frame
}

/// A UDP packet in Ethernet, its payload numbered octets.
#[must_use]
pub fn udp(src: [u8; 16], dst: [u8; 16], sport: u16, dport: u16, payload: usize) -> Vec<u8> {
    let payload: Vec<u8> = (0..payload).map(|i| i as u8).collect();
    in_ethernet(&[], &udp_packet(&FiveTuple { src, sport, dst, dport, protocol: ipv6::UDP }, &payload))
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::wire::ext_chain::walk;

    #[test]
    fn a_frame_is_udp_over_ipv6_of_its_flow_and_length() {
        for payload in [0, 1, 1400, 65_527] {
            let frame = udp(A, B, 7, 443, payload);
            assert_eq!(frame[..ETHERNET_LEN], ETHERNET);
            let packet = &frame[ETHERNET_LEN..];
            assert_eq!(packet.len(), UDP_HEADERS + payload);
            let chain = walk(packet, packet.len()).expect("a plain chain");
            assert_eq!(chain.five_tuple, FiveTuple { src: A, sport: 7, dst: B, dport: 443, protocol: 17 });
            assert_eq!(packet[44..46], ((8 + payload) as u16).to_be_bytes());
            assert!(packet[UDP_HEADERS..].iter().enumerate().all(|(i, &octet)| octet == i as u8));
        }
    }

    #[test]
    fn tags_stand_between_addresses_and_type() {
        let frame = in_ethernet(&[0x6007, 8], &[0x60]);
        assert_eq!(frame[12..], [0x81, 0, 0x60, 7, 0x81, 0, 0, 8, 0x86, 0xDD, 0x60]);
    }
}
