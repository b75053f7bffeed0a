//! TCP MSS clamping on SYNs, so that full-sized segments still fit the network's MTU with the option in them.

use crate::observe::counters::WorkerCounters;
use crate::observe::reasons::Reason;
use crate::packet::buffer::{PacketBuf, make_ready};
use protocol::wire::ext_chain::Chain;
use protocol::wire::ipv6;
use protocol::wire::option::Form;

/// IPv6 and TCP headers without options, which the MSS leaves out of account.
const HEADERS: usize = 60;

/// Clamps a packet of a measured flow, if it is a TCP SYN; `mtu_with` says how long hosts' packets may be that get so many
/// octets more.
///
/// # Errors
/// It ought to be clamped, and its buffer may not be written to.
#[inline]
pub(crate) fn clamp_packet<B: PacketBuf>(
    packet: &mut B,
    l3: usize,
    chain: &Chain,
    form: Form,
    counters: &WorkerCounters,
    mtu_with: impl FnOnce(usize) -> usize,
) -> Result<(), Reason> {
    if chain.five_tuple.protocol != ipv6::TCP {
        return Ok(());
    }
    let segment = |data: &[u8]| l3 + chain.upper_offset..data.len().min(l3 + chain.payload_end);
    let data = packet.data();
    let Some(tcp) = data.get(segment(data)).filter(|tcp| tcp.get(FLAGS).is_some_and(|f| f & SYN != 0)) else {
        return Ok(());
    };
    let limit = mtu_with(form.header_len()).saturating_sub(HEADERS).min(usize::from(u16::MAX)) as u16;
    let Some(at) = place(tcp, limit) else { return Ok(()) };
    if !make_ready(packet, || counters.copied.add(1)) {
        return Err(Reason::ReadOnly);
    }
    let data = packet.data_mut();
    let within = segment(data);
    if let Some(tcp) = data.get_mut(within) {
        lower(tcp, at, limit);
        counters.mss_clamped.add(1);
    }
    Ok(())
}

/// Where a TCP header's flags are, and SYN among them.
pub(crate) const FLAGS: usize = 13;
pub(crate) const SYN: u8 = 0x02;
/// Options that sign the segment, the MSS with it (RFC 2385, RFC 5925): such a SYN is left alone.
const MD5: u8 = 19;
const AUTHENTICATION: u8 = 29;

/// Lowers the MSS option of a TCP SYN to `limit`. `tcp` starts at the TCP header and ends within the first segment.
/// Returns whether anything changed; the checksum follows incrementally (RFC 1624).
#[must_use]
pub fn clamp(tcp: &mut [u8], limit: u16) -> bool {
    let at = place(tcp, limit);
    if let Some(at) = at {
        lower(tcp, at, limit);
    }
    at.is_some()
}

/// Where the MSS of a TCP SYN is that has to be lowered to `limit`.
fn place(tcp: &[u8], limit: u16) -> Option<usize> {
    if tcp.len() < 20 || tcp[FLAGS] & SYN == 0 {
        return None;
    }
    let header = usize::from(tcp[12] >> 4) * 4;
    if header < 20 || header > tcp.len() {
        return None;
    }
    let (mut at, mut mss) = (20, None);
    while at < header {
        match tcp[at] {
            0 => break,
            1 => at += 1,
            kind => {
                let len = usize::from(*tcp[..header].get(at + 1)?);
                if len < 2 || at + len > header {
                    return None;
                }
                if kind == MD5 || kind == AUTHENTICATION {
                    return None;
                }
                if kind == 2 && len == 4 && mss.is_none() {
                    mss = Some(at + 2);
                }
                at += len;
            }
        }
    }
    mss.filter(|&at| u16::from_be_bytes([tcp[at], tcp[at + 1]]) > limit)
}

/// Lowers the MSS at this place.
fn lower(tcp: &mut [u8], at: usize, limit: u16) {
    let old = u16::from_be_bytes([tcp[at], tcp[at + 1]]);
    tcp[at..at + 2].copy_from_slice(&limit.to_be_bytes());
    let sum = u16::from_be_bytes([tcp[16], tcp[17]]);
    // The option need not stand on an even offset; then its octets count with their places exchanged.
    let (from, to) = if at.is_multiple_of(2) { (old, limit) } else { (old.swap_bytes(), limit.swap_bytes()) };
    let mut new = u32::from(!sum) + u32::from(!from) + u32::from(to);
    new = (new & 0xFFFF) + (new >> 16);
    new = (new & 0xFFFF) + (new >> 16);
    tcp[16..18].copy_from_slice(&(!(new as u16)).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(tcp: &[u8]) -> u16 {
        let mut total: u32 =
            tcp.chunks(2).map(|c| u32::from(u16::from_be_bytes([c[0], *c.get(1).unwrap_or(&0)]))).sum();
        while total > 0xFFFF {
            total = (total & 0xFFFF) + (total >> 16);
        }
        total as u16
    }

    fn syn(options: &[u8], flags: u8) -> Vec<u8> {
        let mut tcp = vec![0x12; 20];
        tcp[13] = flags;
        tcp.extend_from_slice(options);
        while !tcp.len().is_multiple_of(4) {
            tcp.push(1);
        }
        tcp[12] = (tcp.len() as u8 / 4) << 4;
        tcp[16..18].fill(0);
        let check = !sum(&tcp);
        tcp[16..18].copy_from_slice(&check.to_be_bytes());
        tcp
    }

    #[test]
    fn lowers_at_even_and_odd_places_and_keeps_the_checksum_right() {
        for options in [&[2, 4, 0x05, 0xA0, 1, 1][..], &[1, 2, 4, 0x05, 0xA0, 0], &[4, 2, 1, 2, 4, 0xFF, 0xFF]] {
            let mut tcp = syn(options, 0x02);
            assert!(clamp(&mut tcp, 1400));
            assert_eq!(sum(&tcp), 0xFFFF, "{options:?}");
            assert!(tcp.windows(4).any(|w| w == [2, 4, 0x05, 0x78]));
            assert!(!clamp(&mut tcp, 1400));
        }
    }

    #[test]
    fn leaves_others_alone() {
        for (options, flags) in
            [(&[2, 4, 5, 0xA0][..], 0x10), (&[2, 4, 5, 0x00], 0x02), (&[3, 3, 7], 0x02), (&[0, 2, 4, 9, 9], 0x02)]
        {
            let mut tcp = syn(options, flags);
            let before = tcp.clone();
            assert!(!clamp(&mut tcp, 1400));
            assert_eq!(tcp, before);
        }
    }

    #[test]
    fn leaves_signed_segments_alone() {
        // RFC 2385 and RFC 5925 sign the segment with its options: a changed MSS would make the peer drop the SYN.
        for kind in [19, 29] {
            for mss_first in [true, false] {
                let mut signature = vec![kind, 18];
                signature.extend_from_slice(&[0xAB; 16]);
                let mss = [2, 4, 0x05, 0xA0];
                let options = if mss_first { [&mss[..], &signature].concat() } else { [&signature[..], &mss].concat() };
                let mut tcp = syn(&options, 0x02);
                let before = tcp.clone();
                assert!(!clamp(&mut tcp, 1400), "kind {kind}");
                assert_eq!(tcp, before);
            }
        }
    }

    proptest! {
        #[test]
        fn never_panics(mut tcp in prop::collection::vec(any::<u8>(), 0..80), limit: u16) {
            let before = tcp.len();
            let _ = clamp(&mut tcp, limit);
            prop_assert_eq!(tcp.len(), before);
        }
    }
}
