//! What a frame starts with, and where IPv6 begins in it.

use protocol::wire::ethernet;
use std::fmt;

/// A link type, as pcap and pcapng number it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkType(pub u16);

impl LinkType {
    /// BSD loopback, the address family in the byte order of the machine.
    pub const NULL: Self = Self(0);
    /// Ethernet.
    pub const ETHERNET: Self = Self(1);
    /// PPP, with or without address and control octets.
    pub const PPP: Self = Self(9);
    /// PPP behind HDLC framing.
    pub const PPP_HDLC: Self = Self(50);
    /// A `PPPoE` session, from its header on.
    pub const PPP_ETHER: Self = Self(51);
    /// An IP packet of either version.
    pub const RAW: Self = Self(101);
    /// OpenBSD loopback, the address family in network byte order.
    pub const LOOP: Self = Self(108);
    /// Linux cooked.
    pub const LINUX_SLL: Self = Self(113);
    /// An IPv4 packet.
    pub const IPV4: Self = Self(228);
    /// An IPv6 packet.
    pub const IPV6: Self = Self(229);
    /// Linux cooked, version 2.
    pub const LINUX_SLL2: Self = Self(276);
    /// What raw IP is called in files of some systems.
    const RAW_ELSEWHERE: [Self; 2] = [Self(12), Self(14)];

    /// The link types whose frames [`ipv6_offset`] looks into, for people.
    pub const KNOWN: &str = "Ethernet, raw IP, Linux cooked (both versions), PPP and BSD loopback";

    /// Its name, where frames of this type are looked into, or are so common that the number alone would be unkind.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::NULL | Self::LOOP => "BSD loopback",
            Self::ETHERNET => "Ethernet",
            Self::PPP | Self::PPP_HDLC => "PPP",
            Self::PPP_ETHER => "PPPoE",
            Self::RAW | Self(12 | 14) => "raw IP",
            Self::IPV4 => "raw IPv4",
            Self::IPV6 => "raw IPv6",
            Self::LINUX_SLL => "Linux cooked",
            Self::LINUX_SLL2 => "Linux cooked v2",
            Self(105) => "IEEE 802.11",
            Self(127) => "IEEE 802.11 with radiotap",
            Self(147..=162) => "private use",
            Self(187 | 201) => "Bluetooth HCI",
            Self(189 | 220 | 249) => "USB",
            Self(239) => "Linux netfilter log",
            Self(252) => "Wireshark upper PDU",
            Self(253) => "Linux netlink",
            _ => return None,
        })
    }

    /// Whether [`ipv6_offset`] looks into frames of this type.
    #[must_use]
    pub fn is_known(self) -> bool {
        self.kind().is_some()
    }

    fn kind(self) -> Option<Kind> {
        Some(match self {
            Self::ETHERNET => Kind::Typed { type_at: 12, header: 14 },
            Self::LINUX_SLL => Kind::Typed { type_at: 14, header: 16 },
            Self::LINUX_SLL2 => Kind::Typed { type_at: 0, header: 20 },
            Self::RAW | Self::IPV4 | Self::IPV6 => Kind::Bare(0),
            _ if Self::RAW_ELSEWHERE.contains(&self) => Kind::Bare(0),
            Self::NULL | Self::LOOP => Kind::Bare(4),
            Self::PPP | Self::PPP_HDLC => Kind::Ppp(0),
            Self::PPP_ETHER => Kind::Ppp(6),
            _ => return None,
        })
    }
}

impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        self.name().map_or(Ok(()), |name| write!(f, " ({name})"))
    }
}

/// How the link header says what is behind it.
enum Kind {
    /// By an EtherType, which may be a VLAN tag's.
    Typed { type_at: usize, header: usize },
    /// Not at all: the IP version does.
    Bare(usize),
    /// By a PPP protocol number, behind so many octets.
    Ppp(usize),
}

/// Where the IPv6 header starts in a frame of this link type: behind the link header and the VLAN tags that the box steps
/// over. `None` when there is none, or the link type is not known ([`LinkType::is_known`]).
#[must_use]
pub fn ipv6_offset(link: LinkType, data: &[u8]) -> Option<usize> {
    ip_offset(link, data).filter(|&at| data.get(at).is_some_and(|o| o >> 4 == 6))
}

/// The same for IP of either version.
pub(super) fn ip_offset(link: LinkType, data: &[u8]) -> Option<usize> {
    let offset = match link.kind()? {
        Kind::Typed { type_at, header } => behind_type(*data.get(type_at..)?.first_chunk()?, data, header)?,
        Kind::Bare(header) => header,
        Kind::Ppp(header) => behind_ppp(data, header)?,
    };
    matches!(data.get(offset)? >> 4, 4 | 6).then_some(offset)
}

/// Where what an EtherType names begins, `at` being where what follows the type does.
fn behind_type(mut ethertype: [u8; 2], data: &[u8], mut at: usize) -> Option<usize> {
    /// Octets of a `PPPoE` session's header (RFC 2516).
    const SESSION: usize = 6;
    for _ in 0..=ethernet::MAX_TAGS {
        match ethertype {
            [0x86, 0xDD] | [0x08, 0x00] => return Some(at),
            [0x88, 0x64] => return behind_ppp(data, at + SESSION),
            tag if ethernet::is_tag(tag) => {
                ethertype = *data.get(at + ethernet::TAG_LEN - 2..)?.first_chunk()?;
                at += ethernet::TAG_LEN;
            }
            _ => return None,
        }
    }
    None
}

/// PPP (RFC 1661, RFC 1662): address and control octets may be left out, and so may the first octet of the protocol.
fn behind_ppp(data: &[u8], mut at: usize) -> Option<usize> {
    const IPV4: u8 = 0x21;
    const IPV6: u8 = 0x57;
    if data.get(at..)?.starts_with(&[0xFF, 0x03]) {
        at += 2;
    }
    match *data.get(at..)? {
        [0, IPV4 | IPV6, ..] => Some(at + 2),
        [IPV4 | IPV6, ..] => Some(at + 1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_is_found_behind_every_known_link_header() {
        let behind = |header: &[u8]| [header, &[0x60, 0, 0, 0]].concat();
        let sll = |ty: [u8; 2]| [&[0, 0, 0, 1, 0, 6, 2, 2, 2, 2, 2, 2, 0, 0][..], &ty].concat();
        let sll2 = |ty: [u8; 2]| [&ty[..], &[0; 18]].concat();
        let cases: [(u16, Vec<u8>); 17] = [
            (1, [&[2; 12][..], &[0x86, 0xDD]].concat()),
            (1, [&[2; 12][..], &[0x92, 0, 0, 5, 0x81, 0, 0, 6, 0x86, 0xDD]].concat()),
            (113, sll([0x86, 0xDD])),
            (113, [&sll([0x81, 0])[..], &[0, 5, 0x86, 0xDD]].concat()),
            (276, sll2([0x86, 0xDD])),
            (276, [&sll2([0x81, 0])[..], &[0, 5, 0x86, 0xDD]].concat()),
            (276, [&sll2([0x88, 0xA8])[..], &[0, 5, 0x81, 0, 0, 6, 0x86, 0xDD]].concat()),
            (101, vec![]),
            (12, vec![]),
            (14, vec![]),
            (229, vec![]),
            (0, vec![30, 0, 0, 0]),
            (108, vec![0, 0, 0, 24]),
            (9, vec![0xFF, 3, 0, 0x57]),
            (9, vec![0x57]),
            (50, vec![0, 0x57]),
            (51, vec![0x11, 0, 0, 1, 0, 44, 0, 0x57]),
        ];
        for (link, header) in cases {
            let frame = behind(&header);
            assert_eq!(ipv6_offset(LinkType(link), &frame), Some(header.len()), "{link}: {header:02x?}");
            for len in 0..=header.len() {
                assert_eq!(ipv6_offset(LinkType(link), &frame[..len]), None, "{link}: {len}");
            }
            let version_4 = [&header[..], &[0x45]].concat();
            assert_eq!(ipv6_offset(LinkType(link), &version_4), None, "{link}");
            assert!(LinkType(link).is_known() && LinkType(link).name().is_some());
        }
        for unknown in [2, 8, 105, 127, 147, 189, u16::MAX] {
            assert!(!LinkType(unknown).is_known());
            assert_eq!(ipv6_offset(LinkType(unknown), &[0x60; 64]), None);
        }
        assert_eq!(LinkType(105).to_string(), "105 (IEEE 802.11)");
        assert_eq!(LinkType(40_000).to_string(), "40000");
    }
}
