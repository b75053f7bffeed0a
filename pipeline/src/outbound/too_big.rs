//! `oversize = "ptb"`: a packet that would not fit the network's MTU with the option in it becomes, in its own buffer,
//! the ICMPv6 Packet Too Big that its sender gets (RFC 4443 section 3.2).
//!
//! The box has no address of its own. The answer comes from the address that the packet was meant for, as if the far
//! host's network had said it, which is true.

use crate::packet::buffer::PacketBuf;
use crate::packet::checksum::checksum;
use crate::packet::parse;
use crate::state::path_mtu::MIN_MTU;
use protocol::wire::ipv6;
use protocol::wire::profile::PROFILE;

/// Octets before the packet that is quoted. An answer is no longer than [`MIN_MTU`] (RFC 4443 section 3.2).
const ICMP: usize = 8;
/// Room that a policy's option may take: the largest header of the three forms.
const GROWTH: usize = PROFILE.longest_header();

/// Turns the packet into the answer, to go back where it came from. `false`: no answer may be sent, or there is no room;
/// nothing changed. `mtu_to` gives the MTU of the path to a destination, as far as it is known.
pub fn answer<B: PacketBuf>(packet: &mut B, mtu_to: impl FnOnce(&[u8; 16]) -> usize) -> bool {
    let Ok(parse::Parsed { l3, chain }) = parse::parse(packet) else { return false };
    let (src, dst) = (chain.five_tuple.src, chain.five_tuple.dst);
    let mtu = mtu_to(&dst).saturating_sub(GROWTH);
    let data = packet.data();
    let is_error =
        chain.five_tuple.protocol == ipv6::ICMPV6 && data.get(l3 + chain.upper_offset).is_none_or(|&t| t < 128);
    let unanswerable = |a: &[u8; 16]| a[0] == 0xFF || a == &[0; 16];
    if mtu < MIN_MTU || is_error || unanswerable(&src) || unanswerable(&dst) || data[0] & 1 != 0 {
        return false;
    }
    let added = ipv6::HEADER_LEN + ICMP;
    let quoted = chain.payload_end.min(MIN_MTU - added);
    // What may not be written to is empty to whoever wants to.
    if packet.data_mut().is_empty()
        || packet.headroom() < added
        || !packet.truncate(l3 + quoted)
        || !packet.prepend(added)
    {
        return false;
    }
    let frame = packet.data_mut();
    frame.copy_within(added..added + l3, 0);
    let (mut a, mut b) = ([0; 6], [0; 6]);
    a.copy_from_slice(&frame[0..6]);
    b.copy_from_slice(&frame[6..12]);
    frame[0..6].copy_from_slice(&b);
    frame[6..12].copy_from_slice(&a);
    let (ip, icmp) = frame[l3..].split_at_mut(ipv6::HEADER_LEN);
    ip.fill(0);
    ip[0] = 0x60;
    ip[4..6].copy_from_slice(&(icmp.len() as u16).to_be_bytes());
    (ip[6], ip[7]) = (ipv6::ICMPV6, 64);
    ip[8..24].copy_from_slice(&dst);
    ip[24..40].copy_from_slice(&src);
    icmp[..ICMP].fill(0);
    icmp[0] = 2;
    icmp[4..8].copy_from_slice(&(mtu as u32).to_be_bytes());
    let checksum = checksum(&dst, &src, icmp);
    icmp[2..4].copy_from_slice(&checksum.to_be_bytes());
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::buffer::VecBuf;

    fn frame(payload: usize, dst0: u8) -> Vec<u8> {
        let mut f = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x86, 0xDD];
        f.extend_from_slice(&[0x60, 0, 0, 0]);
        f.extend_from_slice(&(payload as u16).to_be_bytes());
        f.extend_from_slice(&[17, 64]);
        f.extend_from_slice(&[0x20; 16]);
        f.extend_from_slice(&[dst0; 16]);
        f.extend((0..payload).map(|i| i as u8));
        f
    }

    #[test]
    fn answers_the_sender_with_the_mtu_less_the_option() {
        let before = frame(1452, 0x30);
        let mut packet = VecBuf::new(&before);
        assert!(answer(&mut packet, |destination| if destination == &[0x30; 16] { 1500 } else { 9000 }));
        let f = packet.data();
        assert_eq!(&f[..14], &[2, 0, 0, 0, 0, 8, 2, 0, 0, 0, 0, 9, 0x86, 0xDD]);
        assert_eq!(f.len(), 14 + 1280);
        let (ip, icmp) = f[14..].split_at(40);
        assert_eq!((&ip[8..24], &ip[24..40]), (&[0x30; 16][..], &[0x20; 16][..]));
        assert_eq!((icmp[0], icmp[1], &icmp[4..8]), (2, 0, &1460u32.to_be_bytes()[..]));
        assert_eq!(&icmp[8..], &before[14..14 + 1232], "the packet is quoted from its IPv6 header on");
        assert_eq!(checksum(&[0x30; 16], &[0x20; 16], icmp), 0, "the checksum covers itself");
    }

    #[test]
    fn says_nothing_to_multicast_and_about_errors_and_below_the_least_mtu() {
        let mut error = frame(1452, 0x30);
        (error[20], error[54]) = (58, 1);
        for (f, mtu) in [(frame(1452, 0xFF), 1500), (frame(1300, 0x30), 1300), (error, 1500)] {
            let mut packet = VecBuf::new(&f);
            assert!(!answer(&mut packet, |_| mtu));
            assert_eq!(packet.data(), &f[..]);
        }
    }
}
