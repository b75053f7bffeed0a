//! The 5-tuple of a packet: what keys, packet numbers and meters are kept by (profile section 2).

use core::fmt;
use core::net::Ipv6Addr;

use crate::wire::ipv6;

/// Octets of a 5-tuple in the key schedule.
pub const OCTETS: usize = 37;

/// Source, destination and upper-layer protocol of one packet. The two directions of a flow have different ones.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct FiveTuple {
    /// Source address.
    pub src: [u8; 16],
    /// Source port; the Identifier of an ICMPv6 echo; else 0.
    pub sport: u16,
    /// Destination address, the final one where a Routing header still has segments left.
    pub dst: [u8; 16],
    /// Destination port; the Identifier of an ICMPv6 echo; else 0.
    pub dport: u16,
    /// Upper-layer protocol number, ESP included.
    pub protocol: u8,
}

fn halves(address: [u8; 16]) -> [u64; 2] {
    let bits = u128::from_le_bytes(address);
    [bits as u64, (bits >> 64) as u64]
}

fn address(first: u64, second: u64) -> [u8; 16] {
    (u128::from(second) << 64 | u128::from(first)).to_le_bytes()
}

impl FiveTuple {
    /// `SrcIP(16) || SrcPort(2) || DstIP(16) || DstPort(2) || Protocol(1)`, as the key schedule takes it.
    #[must_use]
    pub fn octets(&self) -> [u8; OCTETS] {
        let mut o = [0; OCTETS];
        o[..16].copy_from_slice(&self.src);
        o[16..18].copy_from_slice(&self.sport.to_be_bytes());
        o[18..34].copy_from_slice(&self.dst);
        o[34..36].copy_from_slice(&self.dport.to_be_bytes());
        o[36] = self.protocol;
        o
    }

    /// The inverse of [`FiveTuple::octets`].
    #[must_use]
    pub fn from_octets(o: &[u8; OCTETS]) -> Self {
        let mut tuple = Self {
            sport: u16::from_be_bytes([o[16], o[17]]),
            dport: u16::from_be_bytes([o[34], o[35]]),
            protocol: o[36],
            ..Self::default()
        };
        tuple.src.copy_from_slice(&o[..16]);
        tuple.dst.copy_from_slice(&o[18..34]);
        tuple
    }

    /// The 5-tuple of the other direction.
    #[inline]
    #[must_use]
    pub const fn reversed(&self) -> Self {
        Self { src: self.dst, sport: self.dport, dst: self.src, dport: self.sport, protocol: self.protocol }
    }

    /// As words, for hashing and comparing: source, destination, then `ports | protocol << 32`, `ports` being the source
    /// and the destination port. Octets are little-endian in the words, so that a packet's can be taken as they stand.
    #[inline]
    #[must_use]
    pub fn words(&self) -> [u64; 5] {
        let ([src, src2], [dst, dst2]) = (halves(self.src), halves(self.dst));
        let [[s0, s1], [d0, d1]] = [self.sport.to_be_bytes(), self.dport.to_be_bytes()];
        let ports = u32::from_le_bytes([s0, s1, d0, d1]);
        [src, src2, dst, dst2, u64::from(ports) | u64::from(self.protocol) << 32]
    }

    /// The source address as a number.
    #[inline]
    #[must_use]
    pub const fn source(&self) -> u128 {
        u128::from_be_bytes(self.src)
    }

    /// The inverse of [`FiveTuple::words`].
    #[inline]
    #[must_use]
    pub fn from_words([src, src2, dst, dst2, rest]: [u64; 5]) -> Self {
        let [s0, s1, d0, d1] = (rest as u32).to_le_bytes();
        Self {
            src: address(src, src2),
            sport: u16::from_be_bytes([s0, s1]),
            dst: address(dst, dst2),
            dport: u16::from_be_bytes([d0, d1]),
            protocol: (rest >> 32) as u8,
        }
    }
}

impl fmt::Display for FiveTuple {
    /// `[2001:db8::1]:80 > [2001:db8::2]:443 tcp`; a protocol without a short name goes by its number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (src, dst) = (Ipv6Addr::from(self.src), Ipv6Addr::from(self.dst));
        write!(f, "[{src}]:{} > [{dst}]:{} ", self.sport, self.dport)?;
        match ipv6::name(self.protocol) {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.protocol),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn order_of_octets_and_words() {
        let tuple = FiveTuple { src: [1; 16], sport: 0x0203, dst: [4; 16], dport: 0x0506, protocol: 7 };
        let o = tuple.octets();
        assert_eq!(
            (&o[..16], &o[16..18], &o[18..34], &o[34..]),
            (&[1; 16][..], &[2, 3][..], &[4; 16][..], &[5, 6, 7][..])
        );
        let (one, four) = (0x0101010101010101, 0x0404040404040404);
        assert_eq!(tuple.words(), [one, one, four, four, 0x07_0605_0302]);
    }

    #[test]
    fn reads_well() {
        let a = |last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).octets();
        let mut tuple = FiveTuple { src: a(1), sport: 80, dst: a(2), dport: 443, protocol: 6 };
        assert_eq!(tuple.to_string(), "[2001:db8::1]:80 > [2001:db8::2]:443 tcp");
        tuple.protocol = 253;
        assert_eq!(tuple.to_string(), "[2001:db8::1]:80 > [2001:db8::2]:443 253");
    }

    proptest! {
        #[test]
        fn comes_back(src: [u8; 16], sport: u16, dst: [u8; 16], dport: u16, protocol: u8) {
            let tuple = FiveTuple { src, sport, dst, dport, protocol };
            prop_assert_eq!(FiveTuple::from_octets(&tuple.octets()), tuple);
            prop_assert_eq!(FiveTuple::from_words(tuple.words()), tuple);
            prop_assert_eq!(tuple.reversed().reversed(), tuple);
            prop_assert_eq!(tuple.reversed().src, tuple.dst);
            prop_assert_eq!(tuple.reversed().sport, tuple.dport);
        }
    }
}
