//! A port's queues: a burst in, a burst out, one call of DPDK each.

use crate::mbuf::Mbuf;
use crate::port_inner::PortInner;
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
    _not_sync: PhantomData<core::cell::Cell<()>>,
}

/// A transmit queue.
pub struct TxQueue {
    port: Arc<PortInner>,
    number: u16,
    _not_sync: PhantomData<core::cell::Cell<()>>,
}

impl RxQueue {
    pub(crate) fn new(port: Arc<PortInner>, number: u16) -> Self {
        Self { port, number, _not_sync: PhantomData }
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
    pub(crate) fn new(port: Arc<PortInner>, number: u16) -> Self {
        Self { port, number, _not_sync: PhantomData }
    }

    /// Sends from the front as many packets as the queue takes, and removes them. Gives their number.
    #[inline]
    pub fn burst<const N: usize>(&mut self, packets: &mut ArrayVec<Mbuf, N>) -> usize {
        let len = packets.len();
        // SAFETY: `len` pointers to packets of ours. DPDK takes the first `sent` of them, so they leave the vector without
        // being dropped, and the others move to its front. The queue is set up, started and ours alone.
        unsafe {
            let first = packets.as_mut_ptr();
            let sent =
                sys::pdm_tx_burst(self.port.id, self.number, first.cast(), len.min(usize::from(u16::MAX)) as u16);
            let sent = usize::from(sent).min(len);
            core::ptr::copy(first.add(sent), first, len - sent);
            packets.set_len(len - sent);
            sent
        }
    }
}
