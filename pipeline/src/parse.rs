//! Stage 1: where the IPv6 header is, and what the chain behind it holds.

use crate::buffer::PacketBuf;
use crate::counters::Reason;
use protocol::wire::ext_chain::{self, Chain};

/// VLAN tags that are stepped over at most (QinQ needs two).
const MAX_TAGS: usize = 4;

/// Octets before the first EtherType.
const ETHERTYPE_AT: usize = 12;

/// A parsed frame.
#[derive(Clone, Copy, Debug)]
pub struct Parsed {
    /// Offset of the IPv6 header in the frame.
    pub l3: usize,
    /// What is behind it; offsets count from the IPv6 header.
    pub chain: Chain,
}

/// Offset of the IPv6 header, if the frame carries one under at most [`MAX_TAGS`] VLAN tags.
#[inline]
fn l3_offset(frame: &[u8]) -> Option<usize> {
    let mut at = ETHERTYPE_AT;
    for _ in 0..=MAX_TAGS {
        match *frame.get(at..at + 2)? {
            [0x86, 0xDD] => return Some(at + 2),
            [0x81 | 0x91 | 0x92, 0x00] | [0x88, 0xA8] => at += 4,
            _ => return None,
        }
    }
    None
}

/// Parses one frame.
///
/// # Errors
/// The reason why the packet is none that could carry, or does not carry, an option.
#[inline]
pub fn parse<B: PacketBuf>(packet: &B) -> Result<Parsed, Reason> {
    let frame = packet.data();
    let l3 = l3_offset(frame).ok_or(Reason::NotIpv6)?;
    let chain = ext_chain::walk(&frame[l3..], packet.frame_len() - l3)?;
    Ok(Parsed { l3, chain })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_over_tags_and_nothing_else() {
        let frame = |types: &[[u8; 2]]| {
            let mut f = vec![0; 12];
            for (i, t) in types.iter().enumerate() {
                f.extend_from_slice(t);
                if i + 1 < types.len() {
                    f.extend_from_slice(&[0, 5]);
                }
            }
            f
        };
        let six = [0x86, 0xDD];
        assert_eq!(l3_offset(&frame(&[six])), Some(14));
        assert_eq!(l3_offset(&frame(&[[0x81, 0], six])), Some(18));
        assert_eq!(l3_offset(&frame(&[[0x88, 0xA8], [0x81, 0], six])), Some(22));
        assert_eq!(l3_offset(&frame(&[[0x81, 0]; 6])), None);
        assert_eq!(l3_offset(&frame(&[[8, 0]])), None);
        assert_eq!(l3_offset(&[0; 13]), None);
        assert_eq!(l3_offset(&[]), None);
    }
}
