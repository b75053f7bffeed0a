//! The IPv6 packets of a frame, outermost first: the one behind the link header, and those that it, or an IPv4 packet,
//! carries for others. A person who looks for a packet's option does not care how many headers stand before it.

use super::link;
use super::{Frame, LinkType};
use protocol::wire::ext_chain::{self, Chain, WalkError};
use protocol::wire::ipv6;

/// IP headers that are looked at, one within the other.
const MAX_LAYERS: usize = 8;

const IPV4_IN_IP: u8 = 4;
const GRE: u8 = 47;
const UDP_HEADER: usize = 8;
const VXLAN_HEADER: usize = 8;
/// The port that IANA has assigned, and the one that Linux takes when it is not told.
const VXLAN_PORTS: [u16; 2] = [4789, 8472];

/// An IPv6 packet in a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packet<'f> {
    /// From its header on, as far as it was captured.
    pub octets: &'f [u8],
    /// Octets there were on the wire from its header to the end of what carries it.
    pub total_len: usize,
    /// Its headers.
    pub chain: Result<Chain, WalkError>,
    /// What it is carried in, outermost first; empty: directly behind the link header.
    pub within: Vec<&'static str>,
}

/// The IPv6 packets of a frame, outermost first.
#[must_use]
pub fn ipv6_packets<'f>(frame: &Frame<'f>) -> Packets<'f> {
    let at = link::ip_offset(frame.link, frame.data);
    Packets { data: frame.data, end: frame.original_len, at, within: Vec::new(), layers: 0 }
}

/// See [`ipv6_packets`].
#[derive(Debug)]
pub struct Packets<'f> {
    data: &'f [u8],
    /// Where what is being looked at ends, on the wire.
    end: usize,
    /// Where the next IP header begins.
    at: Option<usize>,
    within: Vec<&'static str>,
    layers: usize,
}

impl<'f> Iterator for Packets<'f> {
    type Item = Packet<'f>;

    fn next(&mut self) -> Option<Packet<'f>> {
        while self.layers < MAX_LAYERS {
            self.layers += 1;
            let at = self.at.take()?;
            let octets = self.data.get(at..).filter(|o| !o.is_empty())?;
            if octets[0] >> 4 == 4 {
                self.at = self.behind_ipv4(at, octets);
                continue;
            }
            let total_len = self.end.checked_sub(at)?;
            let chain = ext_chain::walk(octets, total_len);
            let within = self.within.clone();
            if let Ok(chain) = &chain {
                self.end = at + chain.payload_end;
                self.at = self.behind_ip("IPv6", chain.five_tuple.protocol, at + chain.upper_offset);
            }
            return Some(Packet { octets, total_len, chain, within });
        }
        None
    }
}

impl Packets<'_> {
    fn behind_ipv4(&mut self, at: usize, octets: &[u8]) -> Option<usize> {
        let header: &[u8; 20] = octets.first_chunk()?;
        let header_len = usize::from(header[0] & 0xF) * 4;
        let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let fragment_offset = u16::from_be_bytes([header[6], header[7]]) & 0x1FFF;
        if header_len < 20 || fragment_offset != 0 {
            return None;
        }
        // 0: a segment that the NIC is to cut, longer than what has a place here.
        if total_len >= header_len {
            self.end = self.end.min(at + total_len);
        }
        self.behind_ip("IPv4", header[9], at + header_len)
    }

    /// Where the next IP header begins in what an IP header of this protocol is followed by.
    fn behind_ip(&mut self, outer: &'static str, protocol: u8, at: usize) -> Option<usize> {
        let rest = self.data.get(at..)?;
        let (what, next) = match protocol {
            ipv6::IPV6 | IPV4_IN_IP => (outer, at),
            GRE => ("GRE", at + behind_gre(rest)?),
            ipv6::UDP => {
                let port = u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]);
                let header = rest.get(UDP_HEADER..UDP_HEADER + VXLAN_HEADER)?;
                // The flag says that there is a network identifier: without it this is something else on that port.
                if !VXLAN_PORTS.contains(&port) || header[0] & 0x08 == 0 {
                    return None;
                }
                let frame = UDP_HEADER + VXLAN_HEADER;
                ("VXLAN", at + frame + link::ip_offset(LinkType::ETHERNET, rest.get(frame..)?)?)
            }
            _ => return None,
        };
        self.within.push(what);
        matches!(self.data.get(next)? >> 4, 4 | 6).then_some(next)
    }
}

/// GRE (RFC 2784, RFC 2890): behind its header an IP packet, or a frame of Ethernet. Where that one's IP header begins.
fn behind_gre(octets: &[u8]) -> Option<usize> {
    const CHECKSUM: u8 = 0x80;
    const ROUTING: u8 = 0x40;
    const KEY: u8 = 0x20;
    const SEQUENCE: u8 = 0x10;
    let &[flags, version, protocol @ ..] = octets.first_chunk::<4>()?;
    if version & 7 != 0 || flags & ROUTING != 0 {
        return None;
    }
    let len = 4 + [CHECKSUM, KEY, SEQUENCE].iter().filter(|&&flag| flags & flag != 0).count() * 4;
    match protocol {
        [0x86, 0xDD] | [0x08, 0x00] => Some(len),
        [0x65, 0x58] => Some(len + link::ip_offset(LinkType::ETHERNET, octets.get(len..)?)?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv6 packet of this protocol.
    fn six(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let len = (payload.len() as u16).to_be_bytes();
        [&[0x60, 0, 0, 0, len[0], len[1], protocol, 64][..], &[0x20; 32], payload].concat()
    }

    fn four(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let len = (payload.len() as u16 + 24).to_be_bytes();
        // With an option of four octets.
        [&[0x46, 0, len[0], len[1], 0, 0, 0x40, 0, 64, protocol, 0, 0][..], &[10; 8], &[1; 4], payload].concat()
    }

    fn vxlan(port: u16, frame: &[u8]) -> Vec<u8> {
        let (port, len) = (port.to_be_bytes(), (frame.len() as u16 + 16).to_be_bytes());
        [&[0x12, 0x34][..], &port, &len, &[0, 0, 8, 0, 0, 0, 0, 0, 7, 0], frame].concat()
    }

    fn ethernet(types: &[u8], packet: &[u8]) -> Vec<u8> {
        [&[2; 12][..], types, packet].concat()
    }

    fn packets(link: u16, data: &[u8], cut: usize) -> Vec<(Vec<u8>, usize, Vec<&'static str>)> {
        let kept = data.get(..data.len() - cut).expect("no more than there is");
        let frame = Frame {
            number: 1,
            time_ns: None,
            is_fine: false,
            link: LinkType(link),
            data: kept,
            original_len: data.len(),
            check_sequence: 0,
        };
        ipv6_packets(&frame).map(|p| (p.octets.to_vec(), p.total_len, p.within)).collect()
    }

    #[test]
    fn packets_are_found_in_all_that_carries_them() {
        let inner = six(59, &[]);
        let framed = ethernet(&[0x81, 0, 0, 5, 0x86, 0xDD], &inner);
        let gre = |flags: u8, rest: &[u8]| [&[flags, 0][..], rest].concat();
        let session = [&[0x88, 0x64, 0x11, 0, 0, 1, 0, 42, 0, 0x57][..]].concat();
        let cases: [(Vec<u8>, Vec<&str>); 12] = [
            (ethernet(&[0x86, 0xDD], &inner), vec![]),
            (ethernet(&session, &inner), vec![]),
            (ethernet(&[8, 0], &four(41, &inner)), vec!["IPv4"]),
            (ethernet(&[0x88, 0xA8, 0, 1, 0x81, 0, 0, 5, 8, 0], &four(41, &inner)), vec!["IPv4"]),
            (ethernet(&[8, 0], &four(4, &four(41, &inner))), vec!["IPv4", "IPv4"]),
            (ethernet(&[8, 0], &four(47, &gre(0, &[&[0x86, 0xDD][..], &inner].concat()))), vec!["GRE"]),
            (ethernet(&[8, 0], &four(47, &gre(0xB0, &[&[0x86, 0xDD][..], &[0; 12], &inner].concat()))), vec!["GRE"]),
            (ethernet(&[8, 0], &four(47, &gre(0x20, &[&[0x65, 0x58][..], &[0; 4], &framed].concat()))), vec!["GRE"]),
            (ethernet(&[8, 0], &four(17, &vxlan(4789, &framed))), vec!["VXLAN"]),
            (ethernet(&[8, 0], &four(17, &vxlan(8472, &framed))), vec!["VXLAN"]),
            (ethernet(&[0x86, 0xDD], &six(41, &inner)), vec!["IPv6"]),
            (
                ethernet(&[0x86, 0xDD], &six(17, &vxlan(4789, &ethernet(&[8, 0], &four(41, &inner))))),
                vec!["VXLAN", "IPv4"],
            ),
        ];
        for (frame, within) in cases {
            // Padding behind it, as short frames have, is no part of the packet.
            let padded = [&frame[..], &[0; 6]].concat();
            for (data, padding) in [(&frame, 0), (&padded, 6)] {
                let all = packets(1, data, 0);
                let (octets, total_len, found) = all.last().expect("the packet");
                assert_eq!((&octets[..octets.len() - padding], found), (&inner[..], &within));
                let own_end = if within.is_empty() { padding } else { 0 };
                assert_eq!(*total_len, inner.len() + own_end, "{within:?}");
            }
            for cut in 0..=frame.len() {
                let _ = packets(1, &frame, cut);
            }
        }
    }

    #[test]
    fn what_only_looks_like_a_tunnel_is_none() {
        let inner = six(59, &[]);
        let mut later = four(41, &inner);
        later[7] = 1;
        let mut short = four(41, &inner);
        short[0] = 0x44;
        let mut unnamed = vxlan(4789, &ethernet(&[0x86, 0xDD], &inner));
        unnamed[8] = 0;
        for packet in [
            later,
            short,
            four(17, &unnamed),
            four(17, &vxlan(4790, &ethernet(&[0x86, 0xDD], &inner))),
            four(47, &[&[0x40, 0, 0x86, 0xDD][..], &inner].concat()),
            four(47, &[&[0, 1, 0x86, 0xDD][..], &inner].concat()),
            four(47, &[&[0, 0, 0x88, 0x0B][..], &inner].concat()),
            four(6, &inner),
            four(41, &[]),
        ] {
            assert_eq!(packets(101, &packet, 0), [], "{packet:02x?}");
        }
    }

    #[test]
    fn layers_without_end_have_one() {
        let mut packet = six(59, &[]);
        for _ in 0..100 {
            packet = six(41, &packet);
        }
        assert_eq!(packets(101, &packet, 0).len(), MAX_LAYERS);
    }
}
