//! Packets that somebody else was to finish: a host that leaves checksums to its NIC, where that is a piece of software that hands
//! the packet on as it is.

use super::Mbuf;
use crate::sys;

/// What is left to be done to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfinished {
    /// The checksum of TCP or UDP: where it belongs stands a part of it.
    Checksum,
    /// It is to become several packets.
    CutUp,
}

/// How a port's packets stand with their checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksums {
    /// They are there.
    Done,
    /// The driver says of each packet whether its sender has left it out.
    Flagged,
    /// A sender on this machine may have left it out, and the driver does not say so.
    Unsaid,
}

impl Checksums {
    /// Those of a driver. Kinds of ports by which hosts of the same machine are reached have no wire that needs checksums.
    pub(crate) fn of(driver: &str) -> Self {
        const UNSAID: [&str; 2] = ["net_af_packet", "net_af_xdp"];
        const FLAGGED: [&str; 4] = ["net_virtio", "net_virtio_user", "net_vhost", "net_tap"];
        match driver {
            driver if UNSAID.contains(&driver) => Self::Unsaid,
            driver if FLAGGED.contains(&driver) => Self::Flagged,
            _ => Self::Done,
        }
    }
}

impl Mbuf {
    /// What the packet's flags say is left to be done, if anything.
    #[inline]
    #[must_use]
    pub fn unfinished(&self) -> Option<Unfinished> {
        let flags = self.ol_flags();
        if flags & sys::PDM_CUTS_UP != 0 {
            return Some(Unfinished::CutUp);
        }
        let left = flags & sys::PDM_RX_L4 == sys::PDM_RX_L4_LEFT || flags & sys::PDM_TX_L4 != 0;
        left.then_some(Unfinished::Checksum)
    }

    /// Marks what is left to be done; `None`: it was done, or nobody is to do it. Then no driver is asked for anything that
    /// counts from where headers were.
    pub fn set_unfinished(&mut self, left: Option<Unfinished>) {
        let flags = self.ol_flags() & !(sys::PDM_HAS_WORK | sys::PDM_CUTS_UP | sys::PDM_RX_L4);
        self.set_ol_flags(match left {
            None => flags,
            Some(Unfinished::Checksum) => flags | sys::PDM_RX_L4_LEFT,
            Some(Unfinished::CutUp) => flags | sys::PDM_CUTS_UP,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mempool, testing};

    #[test]
    fn who_leaves_checksums_to_others_is_known_by_driver() {
        assert_eq!(Checksums::of("net_ice"), Checksums::Done);
        assert_eq!(Checksums::of("net_virtio"), Checksums::Flagged);
        assert_eq!(Checksums::of("net_af_packet"), Checksums::Unsaid);
    }

    #[test]
    fn what_is_left_is_read_from_flags_of_either_direction_and_taken_away_from_both() {
        let eal = testing::eal();
        let pool = Mempool::new(&eal, "unfinished", 63, 0, 2048 + 128, None).expect("pool");
        let mut packet = Mbuf::from_pool(&pool).expect("a buffer");
        packet.append(60).expect("room").fill(7);
        assert_eq!(packet.unfinished(), None);
        for flags in [sys::PDM_RX_L4_LEFT, sys::PDM_TX_TCP] {
            packet.set_ol_flags(packet.ol_flags() | flags);
            assert_eq!(packet.unfinished(), Some(Unfinished::Checksum));
            assert!(packet.is_writable());
            packet.set_unfinished(None);
            assert_eq!((packet.unfinished(), packet.ol_flags()), (None, 0));
        }
        // Good or bad is the other host's to see.
        for bad_or_good in [sys::PDM_RX_L4 & (1 << 3), sys::PDM_RX_L4 & (1 << 8)] {
            packet.set_ol_flags(bad_or_good);
            assert_eq!((packet.unfinished(), bad_or_good != 0), (None, true));
        }
        // What is to become several packets is not written to: each of them would have it.
        packet.set_unfinished(Some(Unfinished::CutUp));
        assert_eq!(packet.unfinished(), Some(Unfinished::CutUp));
        assert!(!packet.is_writable() && !packet.make_writable() && packet.headroom() == 0);
        assert!(packet.window::<0, 1>().is_none() && !packet.prepend(8) && packet.data_mut().is_empty());
        let shared = packet.share(&pool).expect("a buffer");
        assert!(!packet.make_writable() && shared.data() == [7; 60]);
        packet.set_unfinished(None);
        drop(shared);
        assert!(packet.is_writable());
    }

    #[test]
    fn segments_are_chained_read_together_and_given_back() {
        let eal = testing::eal();
        let pool = Mempool::new(&eal, "segments", 63, 0, 2048 + 128, None).expect("pool");
        let of = |octets: &[u8]| {
            let mut packet = Mbuf::from_pool(&pool).expect("a buffer");
            packet.append(octets.len()).expect("room").copy_from_slice(octets);
            packet
        };
        let mut packet = of(b"one");
        assert!(packet.chain(of(b"two")) && packet.chain(Mbuf::outside_of_pool(&pool, b"three").expect("a buffer")));
        assert_eq!((packet.segments(), packet.pkt_len(), packet.data()), (3, 11, &b"one"[..]));
        assert_eq!((packet.octets(), pool.in_use()), (b"onetwothree".to_vec(), 3));
        drop(packet);
        assert_eq!(pool.in_use(), 0);
    }
}
