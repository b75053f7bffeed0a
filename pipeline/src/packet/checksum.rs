//! The checksum of ICMPv6.

use protocol::wire::ipv6;

/// The checksum of an ICMPv6 message between these addresses (RFC 4443 section 2.3), whose own field counts as it stands:
/// with it in place, 0 says that it is right.
pub(crate) fn checksum(src: &[u8; 16], dst: &[u8; 16], icmp: &[u8]) -> u16 {
    let words = |octets: &[u8]| -> u64 {
        let (pairs, rest) = octets.as_chunks::<2>();
        let sum: u64 = pairs.iter().map(|&pair| u64::from(u16::from_be_bytes(pair))).sum();
        sum + rest.first().map_or(0, |&last| u64::from(last) << 8)
    };
    let mut sum = u64::from(ipv6::ICMPV6) + icmp.len() as u64 + words(src) + words(dst) + words(icmp);
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !(sum as u16)
}
