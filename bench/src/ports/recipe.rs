//! What is made of a flow's number: a plain frame or, one time in so many, an odd one; between two boxes, or between two
//! sides of thousands.

use super::frames::{self, Frame};
use protocol::wire::ipv6;
use testkit::frames::ETHERNET_LEN;

/// Behind the IPv6 header.
const UPPER: usize = ETHERNET_LEN + ipv6::HEADER_LEN;
/// In an address of a box's hosts: its network within the side's prefix.
const NETWORK: usize = 6;
/// UDP's header.
const UDP_LEN: usize = 8;

/// A packet off the plain shapes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Odd {
    /// TCP that asks for a connection and names no MSS, so that there is nothing to clamp.
    Syn,
    /// An ICMPv6 echo request.
    Echo,
    /// UDP behind Hop-by-Hop Options.
    HopByHop,
    /// The last fragment of something.
    Fragment,
}

impl Odd {
    /// All of them, by turns.
    pub const ALL: [Self; 4] = [Self::Syn, Self::Echo, Self::HopByHop, Self::Fragment];
    /// Octets of the shortest frame that each of them fits: the TCP header is the longest.
    pub const LEAST: usize = UPPER + 20;

    /// What the `i`th frame is when one in `every` is odd; 0: none is.
    #[must_use]
    pub const fn at(i: usize, every: u32) -> Option<Self> {
        let every = every as usize;
        if every == 0 || i % every != every / 2 { None } else { Some(Self::ALL[i / every % Self::ALL.len()]) }
    }

    /// Turns a plain frame into one of these. Shorter ones than [`Odd::LEAST`] stay as they are.
    fn mark(self, frame: &mut [u8]) {
        if frame.len() < Self::LEAST {
            return;
        }
        let (headers, upper) = frame.split_at_mut(UPPER);
        let next = &mut headers[ETHERNET_LEN + ipv6::NEXT_HEADER_AT];
        match self {
            Self::Syn => {
                *next = ipv6::TCP;
                // Ports stay. Number, nothing acknowledged, five words of header, SYN; window, checksum, nothing urgent.
                upper[4..20].copy_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xFF, 0xFF, 0x12, 0x34, 0, 0]);
            }
            Self::Echo => {
                *next = ipv6::ICMPV6;
                upper[..8].copy_from_slice(&[128, 0, 0x12, 0x34, 0, 1, 0, 1]);
            }
            Self::HopByHop => {
                *next = ipv6::HOP_BY_HOP;
                upper.copy_within(..UDP_LEN, 8);
                // One word of padding (PadN).
                upper[..8].copy_from_slice(&[ipv6::UDP, 0, 1, 4, 0, 0, 0, 0]);
                let len = (upper.len() - 8) as u16;
                upper[8 + 4..8 + 6].copy_from_slice(&len.to_be_bytes());
            }
            Self::Fragment => {
                *next = ipv6::FRAGMENT;
                // What comes behind the first 1,448 octets of a datagram, and nothing follows.
                upper[..8].copy_from_slice(&[ipv6::UDP, 0, 0x05, 0xA8, 0, 0, 0, 7]);
            }
        }
    }
}

/// How frames are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recipe {
    /// Sizes.
    pub frame: Frame,
    /// One in so many is odd; 0: none.
    pub odd_every: u32,
    /// Boxes on either side, which flows are dealt out to.
    pub boxes: u16,
}

impl Recipe {
    /// Nothing odd, two boxes.
    #[must_use]
    pub const fn plain(frame: Frame) -> Self {
        Self { frame, odd_every: 0, boxes: 1 }
    }

    /// Writes the `i`th frame, one of this flow's, which fills `to`.
    #[inline]
    pub fn write(&self, to: &mut [u8], i: usize, flow: u32) {
        frames::write(to, flow);
        if self.boxes > 1 {
            let network = network(flow, self.boxes).to_be_bytes();
            for address in [ipv6::SRC_AT, ipv6::DST_AT] {
                to[ETHERNET_LEN + address + NETWORK..][..2].copy_from_slice(&network);
            }
        }
        if let Some(odd) = Odd::at(i, self.odd_every) {
            odd.mark(to);
        }
    }
}

/// The box of a flow, by the network of its hosts: from 0.
const fn network(flow: u32, boxes: u16) -> u16 {
    (flow % boxes as u32) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::wire::ext_chain::{WalkError, walk};
    use std::collections::HashMap;

    fn recipe(odd_every: u32, boxes: u16) -> Recipe {
        Recipe { frame: Frame::Octets(80), odd_every, boxes }
    }

    /// What upper layer a frame has, or why it has none.
    fn kind(frame: &[u8]) -> Result<(u8, usize), WalkError> {
        let packet = &frame[ETHERNET_LEN..];
        walk(packet, packet.len()).map(|chain| (chain.five_tuple.protocol, chain.upper_offset))
    }

    #[test]
    fn one_in_so_many_is_odd_and_the_kinds_take_turns() {
        for every in [1, 20, 100] {
            let mut kinds: HashMap<String, usize> = HashMap::new();
            for i in 0..4000 {
                let mut frame = [0; 80];
                recipe(every, 1).write(&mut frame, i, 7);
                *kinds.entry(format!("{:?}", kind(&frame))).or_default() += 1;
            }
            let each = 4000 / every as usize / 4;
            for odd in ["Ok((6, 40))", "Ok((58, 40))", "Ok((17, 48))", "Err(Fragment)"] {
                assert_eq!(kinds.remove(odd), Some(each), "{odd}, one in {every}: {kinds:?}");
            }
            assert_eq!(kinds.values().sum::<usize>(), 4000 - 4 * each, "{kinds:?}");
        }
        assert_eq!(Odd::at(0, 0), None);
    }

    #[test]
    fn flows_are_dealt_out_to_boxes_on_both_sides() {
        let mut frame = [0; 80];
        recipe(0, 4000).write(&mut frame, 0, 4000 * 3 + 0x0123);
        assert_eq!(frame[14 + 8 + 6..14 + 8 + 8], [0x01, 0x23]);
        assert_eq!(frame[14 + 24 + 6..14 + 24 + 8], [0x01, 0x23]);
        let mut plain = [0; 80];
        recipe(0, 1).write(&mut frame, 0, 5);
        frames::write(&mut plain, 5);
        assert_eq!(frame, plain);
    }
}
