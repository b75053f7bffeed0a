//! The checksum of ICMPv6, TCP and UDP.

use protocol::wire::ipv6;

/// The sum of octets as words of 16 bits, the last one padded; to be [`folded`].
pub(crate) fn words(octets: &[u8]) -> u64 {
    let (pairs, rest) = octets.as_chunks::<2>();
    let sum: u64 = pairs.iter().map(|&pair| u64::from(u16::from_be_bytes(pair))).sum();
    sum + rest.first().map_or(0, |&last| u64::from(last) << 8)
}

/// A sum in 16 bits, carries added.
pub(crate) fn folded(mut sum: u64) -> u16 {
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    sum as u16
}

/// The checksum of an ICMPv6 message between these addresses (RFC 4443 section 2.3), whose own field counts as it stands:
/// with it in place, 0 says that it is right.
pub(crate) fn checksum(src: &[u8; 16], dst: &[u8; 16], icmp: &[u8]) -> u16 {
    !folded(u64::from(ipv6::ICMPV6) + icmp.len() as u64 + words(src) + words(dst) + words(icmp))
}
