//! The frames that go in: which sizes, which flow, and as a capture file for `net_pcap`.

use super::recipe::Recipe;
use anyhow::{Context, Result, bail};
use pipeline::packet::buffer::{PacketBuf, VecBuf};
use pipeline::ports::BURST;
use protocol::five_tuple::FiveTuple;
use protocol::wire::ipv6;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::time::Duration;
use testkit::captures::{self, Pcap, Record};
use testkit::frames::{B, ETHERNET, ETHERNET_LEN, UDP_HEADERS, write_udp_headers};

/// Ethernet, IPv6 and UDP: a frame is no shorter.
pub const LEAST: usize = ETHERNET_LEN + UDP_HEADERS;
/// Where the flow's number stands in a frame: the end of the source address, that of a host behind box A.
const FLOW_AT: usize = ETHERNET_LEN + 8 + 12;
const SPORT_AT: usize = ETHERNET_LEN + 40;
/// All of them talk to one host behind box B.
const FLOW: FiveTuple = FiveTuple { src: testkit::frames::A, sport: 0, dst: B, dport: 443, protocol: ipv6::UDP };

/// Seven small, four middle, one large, as mixed as they go.
const IMIX: [u16; 12] = [80, 590, 80, 590, 80, 1500, 80, 590, 80, 590, 80, 80];

/// Sizes of frames, octets from the Ethernet header on, without the checksum behind.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Debug)]
pub enum Frame {
    /// All alike.
    Octets(u16),
    /// 7 of 80 octets to 4 of 590 to 1 of 1500.
    Imix,
}

impl Frame {
    /// The size of the `i`th frame.
    #[must_use]
    pub const fn size(self, i: usize) -> usize {
        match self {
            Self::Octets(n) => n as usize,
            Self::Imix => IMIX[i % IMIX.len()] as usize,
        }
    }

    /// The longest there is.
    #[must_use]
    pub const fn longest(self) -> usize {
        match self {
            Self::Octets(n) => n as usize,
            Self::Imix => 1500,
        }
    }

    /// The shortest there is.
    #[must_use]
    pub const fn shortest(self) -> usize {
        match self {
            Self::Octets(n) => n as usize,
            Self::Imix => IMIX[0] as usize,
        }
    }

    /// The mean size.
    #[must_use]
    pub fn mean(self) -> f64 {
        match self {
            Self::Octets(n) => f64::from(n),
            Self::Imix => IMIX.iter().map(|&n| f64::from(n)).sum::<f64>() / IMIX.len() as f64,
        }
    }

    /// Octets of a packet buffer for it, headroom and what DPDK wants beside included.
    #[must_use]
    pub const fn room(self) -> u16 {
        (128 + self.longest()).next_multiple_of(64) as u16 + 64 * (self.longest() > 128) as u16
    }

    /// Frames of a capture: as many as are still cheap to hold in packet buffers. A power of two.
    #[must_use]
    pub const fn capture_frames(self) -> usize {
        if self.longest() <= 256 { 65_536 } else { 16_384 }
    }
}

impl std::fmt::Display for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Octets(n) => write!(f, "{n}"),
            Self::Imix => f.write_str("imix"),
        }
    }
}

impl std::str::FromStr for Frame {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "imix" {
            return Ok(Self::Imix);
        }
        let octets = text.parse().ok().filter(|n| (LEAST as u16..=1514).contains(n));
        octets.map(Self::Octets).ok_or_else(|| format!("'{text}' is no frame size: use imix, or {LEAST} to 1514"))
    }
}

/// A packet of the same flow's other direction.
#[must_use]
pub fn answer(packet: &VecBuf) -> VecBuf {
    let mut frame = packet.data().to_vec();
    if let Some((addresses, ports)) = frame.get_mut(22..58).and_then(|fields| fields.split_at_mut_checked(32)) {
        addresses.rotate_left(16);
        ports.rotate_left(2);
    }
    VecBuf::new(&frame)
}

/// Writes a frame of flow `flow` that fills `to` (at least [`LEAST`] octets).
pub fn write(to: &mut [u8], flow: u32) {
    to.fill(0x5A);
    let (ethernet, packet) = to.split_at_mut(ETHERNET_LEN);
    ethernet.copy_from_slice(&ETHERNET);
    write_udp_headers(packet, &FLOW);
    set_flow(to, flow);
}

/// Makes a frame one of another flow.
#[inline]
pub fn set_flow(frame: &mut [u8], flow: u32) {
    if let Some(at) = frame.get_mut(FLOW_AT..FLOW_AT + 4) {
        at.copy_from_slice(&flow.to_be_bytes());
    }
    if let Some(at) = frame.get_mut(SPORT_AT..SPORT_AT + 2) {
        at.copy_from_slice(&(1024 + (flow & 0x3FFF) as u16).to_be_bytes());
    }
}

/// Flows one after the other, each equally often, in an order that no prefetcher guesses. Worker `share.0` of `share.1`
/// gets those whose number fits it, as RSS would deal them out.
#[derive(Clone, Debug)]
pub struct FlowOrder {
    at: u64,
    mask: u64,
    /// Flows of this worker.
    own: u64,
    share: (u32, u32),
}

impl FlowOrder {
    /// All of `flows` that fall to worker `share.0` of `share.1`.
    #[must_use]
    pub fn new(flows: u32, share: (u32, u32)) -> Self {
        let own = u64::from(flows.div_ceil(share.1)).max(1);
        Self { at: 12_345, mask: own.next_power_of_two() - 1, own, share }
    }

    /// The next one.
    #[inline]
    pub fn draw(&mut self) -> u32 {
        loop {
            // A full period for any power of two (Hull and Dobell); the low bits alone would alternate, so the
            // order is taken from a mix of them that is itself one to one.
            self.at =
                self.at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) & self.mask;
            let mut x = self.at;
            x ^= (x << 7) & self.mask;
            x = x.wrapping_mul(0x9E37_79B9_7F4A_7C15) & self.mask;
            if x < self.own {
                return x as u32 * self.share.1 + self.share.0;
            }
        }
    }
}

/// Writes the capture of one queue; each flow of the queue equally often where it holds that many.
///
/// # Errors
/// The file cannot be written.
pub fn capture(path: &Path, recipe: Recipe, frames: usize, flows: u32, share: (u32, u32)) -> Result<()> {
    if !frames.is_multiple_of(BURST) {
        bail!("a capture holds whole bursts, not {frames} frames");
    }
    let mut order = FlowOrder::new(flows.min((frames as u32).saturating_mul(share.1)), share);
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let mut write_all = || -> std::io::Result<()> {
        let mut pcap = Pcap::new(BufWriter::new(&file), captures::ETHERNET)?;
        let mut octets = [0; 1536];
        for i in 0..frames {
            let octets = &mut octets[..recipe.frame.size(i)];
            recipe.write(octets, i, order.draw());
            pcap.record(&Record { time: Duration::from_micros(i as u64), ..Record::whole(octets) })?;
        }
        pcap.finish().map(drop)
    };
    write_all().with_context(|| {
        format!("cannot write {}; is there room in its directory? TMPDIR names another", path.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::wire::ext_chain::walk;
    use std::collections::HashSet;

    #[test]
    fn frames_are_udp_over_ipv6_of_their_length_and_flow() {
        for size in [LEAST, 80, 256, 1514] {
            let mut octets = vec![0; size];
            write(&mut octets, 0x0102_0304);
            let chain = walk(&octets[14..], size - 14).expect("a plain chain");
            assert_eq!((chain.five_tuple.protocol, chain.upper_offset), (17, 40), "{size}");
            assert_eq!(octets[FLOW_AT..FLOW_AT + 4], [1, 2, 3, 4]);
            set_flow(&mut octets, 9);
            assert_eq!(octets[14 + 8..14 + 24][12..], [0, 0, 0, 9]);
        }
    }

    #[test]
    fn imix_is_seven_to_four_to_one() {
        let count = |n| (0..1200).filter(|&i| Frame::Imix.size(i) == n).count();
        assert_eq!((count(80), count(590), count(1500)), (700, 400, 100));
        assert!((Frame::Imix.mean() - 4420.0 / 12.0).abs() < 1e-9);
    }

    #[test]
    fn sizes_are_read_as_they_are_written() {
        for frame in [Frame::Octets(80), Frame::Imix] {
            assert_eq!(frame.to_string().parse(), Ok(frame));
        }
        for wrong in ["61", "1515", "x", ""] {
            assert!(wrong.parse::<Frame>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_flow_comes_once_a_round_and_workers_share_them() {
        for (flows, shares) in [(1u32, 1u32), (1000, 1), (1000, 2), (1024, 2)] {
            let mut seen = HashSet::new();
            for share in 0..shares {
                let mut order = FlowOrder::new(flows, (share, shares));
                let round: HashSet<_> = (0..flows / shares).map(|_| order.draw()).collect();
                assert_eq!(round.len() as u32, (flows / shares).max(1), "{flows} flows, share {share}");
                seen.extend(round);
            }
            assert_eq!(seen.len() as u32, flows);
            assert!(seen.iter().all(|&f| f < flows));
        }
    }

    #[test]
    fn a_capture_holds_what_was_asked_for() {
        let path = std::env::temp_dir().join(format!("pdmv2-capture-test-{}.pcap", std::process::id()));
        capture(&path, Recipe::plain(Frame::Imix), 96, 48, (0, 1)).expect("written");
        let frames = captures::frames(&path);
        std::fs::remove_file(&path).expect("removed");
        let mut flows = HashSet::new();
        for (i, frame) in frames.iter().enumerate() {
            assert_eq!(frame.len(), Frame::Imix.size(i));
            walk(&frame[ETHERNET_LEN..], frame.len() - ETHERNET_LEN).expect("a plain chain");
            flows.insert(frame[FLOW_AT..FLOW_AT + 4].to_vec());
        }
        assert_eq!((frames.len(), flows.len()), (96, 48));
    }
}
