//! The IPv6 header (RFC 8200 section 3) and the protocol numbers that matter in a header chain.

/// Octets of the IPv6 header.
pub const HEADER_LEN: usize = 40;
/// Offset of the Payload Length, two octets.
pub const PAYLOAD_LEN_AT: usize = 4;
/// Offset of the Next Header octet.
pub const NEXT_HEADER_AT: usize = 6;
/// Offset of the source address.
pub const SRC_AT: usize = 8;
/// Offset of the destination address.
pub const DST_AT: usize = 24;
/// Highest Payload Length.
pub const MAX_PAYLOAD: usize = 0xFFFF;

/// Hop-by-Hop Options header.
pub const HOP_BY_HOP: u8 = 0;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// DCCP.
pub const DCCP: u8 = 33;
/// An IPv6 packet in the packet.
pub const IPV6: u8 = 41;
/// Routing header.
pub const ROUTING: u8 = 43;
/// Fragment header.
pub const FRAGMENT: u8 = 44;
/// Encapsulating Security Payload.
pub const ESP: u8 = 50;
/// Authentication Header.
pub const AH: u8 = 51;
/// `ICMPv6`.
pub const ICMPV6: u8 = 58;
/// Nothing follows.
pub const NO_NEXT: u8 = 59;
/// Destination Options header.
pub const DEST_OPTS: u8 = 60;
/// SCTP.
pub const SCTP: u8 = 132;
/// Mobility header (RFC 6275).
pub const MOBILITY: u8 = 135;
/// UDP-Lite.
pub const UDPLITE: u8 = 136;
/// Host Identity Protocol (RFC 7401).
pub const HIP: u8 = 139;
/// Shim6 (RFC 5533).
pub const SHIM6: u8 = 140;

/// Short name of an upper-layer protocol, `None` for those that go by their number here.
#[must_use]
pub const fn name(protocol: u8) -> Option<&'static str> {
    Some(match protocol {
        TCP => "tcp",
        UDP => "udp",
        DCCP => "dccp",
        IPV6 => "ipv6",
        ESP => "esp",
        ICMPV6 => "icmpv6",
        NO_NEXT => "none",
        SCTP => "sctp",
        MOBILITY => "mobility",
        UDPLITE => "udplite",
        HIP => "hip",
        SHIM6 => "shim6",
        _ => return None,
    })
}

/// Whether an address lies in `fe80::/10` (RFC 4291 section 2.5.6), by its first half, little-endian
/// ([`FiveTuple::words`](crate::five_tuple::FiveTuple::words)).
#[inline]
#[must_use]
pub const fn is_link_local(first: u64) -> bool {
    first & 0xC0FF == 0x80FE
}

/// The Payload Length of a packet that holds at least the IPv6 header.
///
/// # Panics
/// When it holds less.
#[inline]
#[must_use]
pub fn payload_len(packet: &[u8]) -> usize {
    usize::from(u16::from_be_bytes([packet[PAYLOAD_LEN_AT], packet[PAYLOAD_LEN_AT + 1]]))
}

/// Writes the Payload Length, of which the low 16 bits count.
///
/// # Panics
/// When it does not hold the IPv6 header.
#[inline]
pub fn set_payload_len(packet: &mut [u8], len: usize) {
    packet[PAYLOAD_LEN_AT..PAYLOAD_LEN_AT + 2].copy_from_slice(&(len as u16).to_be_bytes());
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn link_local_is_fe80_to_febf() {
        let of = |a, b| is_link_local(u64::from_le_bytes([a, b, 0, 0, 0, 0, 0, 0]));
        assert!(of(0xFE, 0x80) && of(0xFE, 0xBF));
        assert!(!of(0xFE, 0x7F) && !of(0xFE, 0xC0) && !of(0xFD, 0x80) && !of(0xFF, 0x80) && !of(0x20, 0x01));
    }

    #[test]
    fn payload_length_is_written_where_it_is_read() {
        let mut packet = [0xFF; HEADER_LEN];
        set_payload_len(&mut packet, 0x1234);
        assert_eq!(packet[3..7], [0xFF, 0x12, 0x34, 0xFF]);
        assert_eq!(payload_len(&packet), 0x1234);
    }
}
