//! A port's queues: a burst in, a burst out, one call of DPDK each.

use crate::mbuf::{Checksums, Mbuf};
use crate::mempool::Mempool;
use crate::port_inner::PortInner;
use crate::stamps::Stamps;
use crate::sys;
use arrayvec::ArrayVec;
use std::marker::PhantomData;
use std::sync::Arc;

/// A receive queue. Goes from thread to thread, but is used by one at a time.
///
/// Invariant (both queues): the port is started for as long as the queue exists, since [`crate::Port::stop`] refuses
/// while one is out and the port is closed by the last of port and queues; there is one of its number; the pools that it
/// receives into are held by the port.
pub struct RxQueue {
    port: Arc<PortInner>,
    number: u16,
    checksums: Checksums,
    stamps: Option<Stamps>,
    _not_sync: PhantomData<core::cell::Cell<()>>,
}

/// A transmit queue.
pub struct TxQueue {
    port: Arc<PortInner>,
    number: u16,
    /// Where the driver gives buffers back to without looking at them: the pool of all that it may be handed.
    fast_free: Option<Arc<Mempool>>,
    _not_sync: PhantomData<core::cell::Cell<()>>,
}

impl RxQueue {
    pub(crate) fn new(port: Arc<PortInner>, number: u16) -> Self {
        let checksums = port.driver().map_or(Checksums::Done, |driver| Checksums::of(&driver));
        Self { port, number, checksums, stamps: None, _not_sync: PhantomData }
    }

    pub(crate) fn with_stamps(self, stamps: Option<Stamps>) -> Self {
        Self { stamps, ..self }
    }

    /// Where its packets' times of receipt stand, if it gives them.
    #[inline]
    #[must_use]
    pub const fn stamps(&self) -> Option<Stamps> {
        self.stamps
    }

    /// How its packets stand with their checksums.
    #[inline]
    #[must_use]
    pub const fn checksums(&self) -> Checksums {
        self.checksums
    }

    /// Appends at most `most` packets that have arrived, as many as the vector has room for. Gives their number.
    #[inline]
    pub fn burst<const N: usize>(&mut self, into: &mut ArrayVec<Mbuf, N>, most: usize) -> usize {
        let (len, room) = (into.len(), (N - into.len()).min(most).min(usize::from(u16::MAX)));
        // SAFETY: there are `room` free elements behind the first `len`; an Mbuf is a non-null pointer to an rte_mbuf, and
        // that is what DPDK writes, giving its packets away. The queue is set up, started and ours alone.
        unsafe {
            let free = into.as_mut_ptr().add(len).cast::<*mut sys::rte_mbuf>();
            let got = usize::from(sys::pdm_rx_burst(self.port.id, self.number, free, room as u16));
            into.set_len(len + got.min(room));
            got
        }
    }
}

impl TxQueue {
    pub(crate) fn new(port: Arc<PortInner>, number: u16, fast_free: Option<Arc<Mempool>>) -> Self {
        Self { port, number, fast_free, _not_sync: PhantomData }
    }

    /// Sends from the front as many packets as the queue takes, and removes them. Gives their number. A packet that the
    /// driver could not give back as it does the others is copied; where there is no buffer for that, it and what is behind
    /// it are not taken.
    #[inline]
    pub fn burst<const N: usize>(&mut self, packets: &mut ArrayVec<Mbuf, N>) -> usize {
        let len = packets.len();
        let ready = self.fast_free.as_ref().map_or(len, |pool| plain_front(packets, pool));
        // SAFETY: `len` pointers to packets of ours. DPDK takes the first `sent` of them, so they leave the vector without
        // being dropped, and the others move to its front. The queue is set up, started and ours alone.
        unsafe {
            let first = packets.as_mut_ptr();
            let sent =
                sys::pdm_tx_burst(self.port.id, self.number, first.cast(), ready.min(usize::from(u16::MAX)) as u16);
            let sent = usize::from(sent).min(ready);
            if sent < len {
                core::ptr::copy(first.add(sent), first, len - sent);
            }
            packets.set_len(len - sent);
            sent
        }
    }
}

/// How many packets from the front are buffers of this pool that are nobody else's, those copied that were not.
#[inline]
fn plain_front(packets: &mut [Mbuf], pool: &Mempool) -> usize {
    let all = packets.iter().fold(true, |all, packet| all & packet.is_plain(pool.as_ptr()));
    if all { packets.len() } else { make_plain(packets, pool) }
}

#[cold]
fn make_plain(packets: &mut [Mbuf], pool: &Mempool) -> usize {
    let unable = |packet: &mut Mbuf| !packet.is_plain(pool.as_ptr()) && !packet.make_plain(pool);
    packets.iter_mut().position(unable).unwrap_or(packets.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PortConfig, testing};

    fn with(pool: &Mempool, octets: &[u8]) -> Mbuf {
        let mut packet = Mbuf::from_pool(pool).expect("a buffer");
        packet.append(octets.len()).expect("room").copy_from_slice(octets);
        packet
    }

    /// A driver that frees fast puts each buffer into the pool of the first, whoever else has it. `net_ring` does not, and
    /// shows what it was handed.
    #[test]
    fn what_frees_fast_is_handed_only_what_is_nobody_elses() {
        let eal = testing::eal();
        let pool = Mempool::new(&eal, "fast", 63, 0, 2048 + 128, None).expect("pool");
        let other = Mempool::new(&eal, "other", 63, 0, 2048 + 128, None).expect("pool");
        let mut port = eal.port("net_ring1").expect("port");
        let config = PortConfig { queues: 1, rx_descriptors: 256, tx_descriptors: 256, mtu: None, promiscuous: true };
        port.configure(&config, &pool).expect("configured");
        assert!(port.setup.fast_free.is_none() && port.offloads().is_empty(), "net_ring does not free at all");
        let port = port.start().expect("started");
        let mut rx = RxQueue::new(Arc::clone(&port.inner), 0);
        let mut tx = TxQueue::new(Arc::clone(&port.inner), 0, Some(Arc::clone(&pool)));

        // Of two that share octets either may go.
        let (kept, lent) = (with(&pool, b"first"), with(&pool, b"lent"));
        let borrowed = lent.share(&pool).expect("a buffer");
        let mut burst: ArrayVec<Mbuf, 5> = ArrayVec::new();
        burst.push(kept.share(&pool).expect("a buffer"));
        burst.push(lent);
        burst.push(with(&pool, b"plain"));
        burst.push(with(&other, b"other"));
        burst.push(Mbuf::outside_of_pool(&pool, b"device").expect("a buffer"));
        assert_eq!((tx.burst(&mut burst), burst.len()), (5, 0));
        assert_eq!(borrowed.data(), b"lent");
        drop(borrowed);
        assert!(kept.is_writable() && other.in_use() == 0, "the copies went, and it is alone now");
        assert_eq!(rx.burst(&mut burst, 5), 5);
        let came: Vec<_> = burst.iter().map(Mbuf::data).collect();
        assert_eq!(came, [&b"first"[..], b"lent", b"plain", b"other", b"device"]);
        assert!(burst.iter().all(|packet| packet.is_plain(pool.as_ptr())));
        Mbuf::free_all(&mut burst);
        assert!(burst.is_empty());

        // Longer than a buffer, or without a buffer for the copy: it stays, and what is behind it.
        burst.push(with(&pool, b"plain"));
        burst.push(Mbuf::outside_of_pool(&pool, &[7; 9000]).expect("a buffer"));
        burst.push(with(&pool, b"behind"));
        assert_eq!((tx.burst(&mut burst), tx.burst(&mut burst), burst.len()), (1, 0, 2));
        Mbuf::free_all(&mut burst);
        burst.push(kept.share(&pool).expect("a buffer"));
        let rest: Vec<_> = core::iter::from_fn(|| Mbuf::from_pool(&pool)).collect();
        assert_eq!((tx.burst(&mut burst), burst.len()), (0, 1));
        drop(rest);
        assert_eq!((tx.burst(&mut burst), burst.len()), (1, 0));
        let mut came: ArrayVec<Mbuf, 4> = ArrayVec::new();
        assert_eq!(rx.burst(&mut came, 4), 2);
        drop((came, kept));
        assert_eq!((pool.in_use(), other.in_use()), (0, 0));
    }

    #[test]
    fn packets_are_given_back_together() {
        let eal = testing::eal();
        let pools = ["one", "two"].map(|name| Mempool::new(&eal, name, 63, 0, 2048 + 128, None).expect("pool"));
        let mut packets: ArrayVec<Mbuf, 32> = ArrayVec::new();
        Mbuf::free_all(&mut packets);
        for i in 0..30 {
            packets.push(with(&pools[i % 2], b"x"));
        }
        packets.push(Mbuf::outside_of_pool(&pools[0], &[1; 3000]).expect("a buffer"));
        let kept = packets[0].share(&pools[1]).expect("a buffer");
        Mbuf::free_all(&mut packets);
        assert_eq!((packets.len(), kept.data(), pools[0].in_use()), (0, &b"x"[..], 1));
        drop(kept);
        assert_eq!(pools.map(|pool| pool.in_use()), [0, 0]);
    }
}
