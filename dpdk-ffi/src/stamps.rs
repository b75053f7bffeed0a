//! Times of receipt that drivers write beside packets, in ticks of the device's clock: what these are and since when is the driver's
//! affair (nanoseconds, a NIC's cycles; of `net_pcap` microseconds since 1970).

use crate::port::{Port, Stopped};
use crate::port_inner::driver_of;
use crate::sys;

/// Writes them without being asked to, and without saying that it can.
const UNASKED: &str = "net_pcap";

/// Where they stand in a packet's mbuf, and the flag that says of one that it has one.
///
/// Invariant: DPDK has given out these eight octets of every mbuf for this, for as long as the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamps {
    at: u16,
    flag: u64,
}

impl Stamps {
    /// Those of a port that is this, if it can give them.
    pub(crate) fn of(info: &sys::rte_eth_dev_info) -> Option<Self> {
        let gives = info.rx_offload_capa & sys::PDM_RX_TIMESTAMP != 0;
        (gives || driver_of(info).as_deref() == Some(UNASKED)).then(Self::register).flatten()
    }

    /// Their place, which is the same for all ports. `None`: mbufs have no place left.
    pub(crate) fn register() -> Option<Self> {
        let (mut at, mut flag) = (0, 0);
        // SAFETY: the places are of their types. Who asks again gets the same answer.
        let done = unsafe { sys::rte_mbuf_dyn_rx_timestamp_register(&raw mut at, &raw mut flag) };
        (done == 0 && flag != 0).then_some(Self { at: u16::try_from(at).ok()?, flag })
    }

    #[inline]
    pub(crate) const fn at(self) -> usize {
        self.at as usize
    }

    #[inline]
    pub(crate) const fn flag(self) -> u64 {
        self.flag
    }
}

impl Port<Stopped> {
    /// Whether its own times of receipt are wanted, where its driver gives them, when it is configured next.
    pub fn want_stamps(&mut self, wanted: bool) {
        self.setup.wants_stamps = wanted;
    }
}

impl<State> Port<State> {
    /// Where its packets' times of receipt stand, if it was configured to give them.
    #[must_use]
    pub fn stamps(&self) -> Option<Stamps> {
        self.setup.stamps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mbuf, Mempool, PortConfig, testing};

    #[test]
    fn a_time_of_receipt_is_read_where_there_is_one_and_means_nothing_to_who_sends() {
        let eal = testing::eal();
        let pool = Mempool::new(&eal, "stamps", 63, 0, 2048 + 128, None).expect("pool");
        let stamps = Stamps::register().expect("a place");
        assert_eq!(Stamps::register(), Some(stamps));
        assert_eq!(stamps.flag() & (sys::PDM_HAS_WORK | sys::PDM_CUTS_UP | sys::PDM_NOT_OURS | sys::PDM_RX_L4), 0);
        let mut packet = Mbuf::from_pool(&pool).expect("a buffer");
        packet.append(60).expect("room").fill(7);
        assert_eq!(packet.stamp(stamps), None);
        for ticks in [0, 1, u64::MAX] {
            packet.set_stamp(stamps, ticks);
            assert_eq!(packet.stamp(stamps), Some(ticks));
        }
        assert!(packet.is_writable() && packet.is_plain(pool.as_ptr()) && packet.unfinished().is_none());
        assert!(packet.window::<0, 1>().is_some());
        assert_eq!((packet.data(), packet.segments()), (&[7; 60][..], 1));
        drop(packet);
        // The buffer is used again; nobody has stamped this packet.
        let again: Vec<_> = core::iter::from_fn(|| Mbuf::from_pool(&pool)).collect();
        assert!(again.iter().all(|packet| packet.stamp(stamps).is_none()));
    }

    #[test]
    fn only_a_port_that_is_asked_to_and_can_gives_them() {
        let eal = testing::eal();
        let pool = Mempool::new(&eal, "stamping", 1023, 0, 2048 + 128, None).expect("pool");
        let info = |capa| sys::rte_eth_dev_info { rx_offload_capa: capa, ..Default::default() };
        assert!(Stamps::of(&info(sys::PDM_RX_TIMESTAMP | 1)).is_some() && Stamps::of(&info(1)).is_none());
        let pcap = sys::rte_eth_dev_info { driver_name: c"net_pcap".as_ptr(), ..info(0) };
        assert!(Stamps::of(&pcap).is_some());
        let mut port = eal.port("net_null4").expect("port");
        let config = PortConfig { queues: 1, rx_descriptors: 256, tx_descriptors: 256, mtu: None, promiscuous: true };
        port.want_stamps(true);
        port.configure(&config, &pool).expect("configured");
        let mut port = port.start().expect("started");
        assert_eq!((port.stamps(), port.offloads()), (None, Vec::new()));
        assert!(port.take_queues().iter().all(|(rx, _)| rx.stamps().is_none()));
    }
}
