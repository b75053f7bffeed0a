//! The traits of the path for DPDK's mbufs and queues.

use crate::packet::buffer::{PacketBuf, Writable};
use crate::state::shared::{BURST, Clock};
use crate::worker::PortQueue;
use arrayvec::ArrayVec;
use dpdk_ffi::{Mbuf, RxQueue, TxQueue};

impl PacketBuf for Mbuf {
    #[inline]
    fn data(&self) -> &[u8] {
        Mbuf::data(self)
    }

    #[inline]
    fn data_mut(&mut self) -> &mut [u8] {
        Mbuf::data_mut(self)
    }

    #[inline]
    fn make_writable(&mut self) -> Writable {
        if self.is_writable() {
            return Writable::Yes;
        }
        if Mbuf::make_writable(self) { Writable::Copied } else { Writable::No }
    }

    #[inline]
    fn frame_len(&self) -> usize {
        self.pkt_len()
    }

    #[inline]
    fn headroom(&self) -> usize {
        Mbuf::headroom(self)
    }

    #[inline]
    fn prepend(&mut self, n: usize) -> bool {
        Mbuf::prepend(self, n)
    }

    #[inline]
    fn trim_front(&mut self, n: usize) -> bool {
        Mbuf::trim_front(self, n)
    }

    #[inline]
    fn truncate(&mut self, len: usize) -> bool {
        Mbuf::truncate(self, len)
    }
}

/// A worker's queue of one port.
pub struct DpdkQueue {
    rx: RxQueue,
    tx: TxQueue,
    burst: usize,
}

impl DpdkQueue {
    /// The pair that a port gave out, to be polled for at most `burst` packets at once.
    #[must_use]
    pub fn new((rx, tx): (RxQueue, TxQueue), burst: usize) -> Self {
        Self { rx, tx, burst: burst.clamp(1, BURST) }
    }
}

impl PortQueue for DpdkQueue {
    type Packet = Mbuf;

    #[inline]
    fn receive(&mut self, into: &mut ArrayVec<Mbuf, BURST>) {
        self.rx.burst(into, self.burst);
    }

    #[inline]
    fn transmit(&mut self, packets: &mut ArrayVec<Mbuf, BURST>) {
        self.tx.burst(packets);
    }
}

/// The time stamp counter, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct TscClock {
    /// Nanoseconds per cycle, times 2^32.
    scale: u64,
    start: u64,
}

impl TscClock {
    /// A clock that starts at 1 ns now. All workers of a process share one (copies of it agree).
    #[must_use]
    pub fn new() -> Self {
        let hz = u128::from(dpdk_ffi::tsc_hz()).max(1);
        Self { scale: ((1_000_000_000u128 << 32) / hz) as u64, start: dpdk_ffi::tsc() }
    }
}

impl Default for TscClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TscClock {
    #[inline]
    fn now_ns(&self) -> u64 {
        let cycles = dpdk_ffi::tsc().saturating_sub(self.start);
        1 + ((u128::from(cycles) * u128::from(self.scale)) >> 32) as u64
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::observe::counters::{Outcome, Reason};
    use crate::state::policies::Mode;
    use crate::testing::{self, SMALL, back, frame, out};
    use dpdk_ffi::{Eal, Mempool};
    use protocol::wire::option::Form;

    /// Packets as some drivers hand them over (mlx5 with `mprq_en`): in memory that is not the pool's. One EAL per process,
    /// so one test.
    #[test]
    fn packets_in_memory_of_a_device_go_in_and_out_as_copies() {
        let arguments =
            ["--no-huge", "-m", "64", "--no-pci", "--no-shconf", "--no-telemetry", "--iova-mode=va", "-l", "0"];
        let eal = Eal::init(&[&arguments[..], &["--log-level=error"]].concat()).expect("EAL");
        let pool = Mempool::new(&eal, "test", 63, 0, 2048 + 128, None).expect("pool");
        for (mode, form) in [(Mode::Pdm, Form::Pdm), (Mode::Clear, Form::Clear), (Mode::Encrypted, Form::Encrypted)] {
            let worker = |is_a| {
                let config = testing::config(vec![testing::policy(mode)]);
                testing::worker(testing::side(config, testing::ring(is_a, 1, 1), SMALL, 1).shared, 0)
            };
            let (mut a, mut b) = (worker(true), worker(false));
            for i in 0..3 {
                let original = frame(1000, 10 + i);
                let mut packet = Mbuf::outside_of_pool(&pool, &original).expect("a buffer");
                assert_eq!(out(&mut a, &mut packet, 5), Outcome::Added(form));
                let sealed = packet.data().to_vec();
                // On the way two hold it: a switch that copies packets to a third port, for one.
                let kept = packet.share(&pool).expect("a buffer");
                assert_eq!(back(&mut b, &mut packet, 5), Outcome::Removed(form));
                assert_eq!((packet.data(), kept.data()), (&original[..], &sealed[..]));
                // With no buffer left the next one passes as it came.
                let mut packet = Mbuf::outside_of_pool(&pool, &original).expect("a buffer");
                let rest: Vec<_> = core::iter::from_fn(|| Mbuf::from_pool(&pool)).collect();
                assert_eq!(out(&mut a, &mut packet, 5), Outcome::Passed(Reason::ReadOnly));
                assert_eq!(packet.data(), &original[..]);
                drop(rest);
            }
            assert_eq!((a.counters.copied.get(), b.counters.copied.get()), (3, 3));
        }
        assert_eq!(pool.in_use(), 0);
    }
}
