//! Queues that stand for ports, or around them.

use super::frames::{self, FlowOrder, Frame};
use arrayvec::ArrayVec;
use dpdk_ffi::{Mbuf, Mempool, Port, Started};
use pipeline::dpdk::DpdkQueue;
use pipeline::path::BURST;
use pipeline::worker::PortQueue;
use std::sync::Arc;

/// Frames of our own making come in; what goes out is freed.
pub struct Feed {
    pool: Arc<Mempool>,
    frame: Frame,
    order: Order,
    made: usize,
    left: u64,
}

/// In which order flows come.
#[derive(Clone, Debug)]
pub enum Order {
    /// By number, from the first to below the second, and again: what a warm-up inserts.
    Rising(u32, u32),
    /// As a capture holds them.
    Mixed(FlowOrder),
}

impl Feed {
    /// No frames yet.
    #[must_use]
    pub fn new(pool: &Arc<Mempool>, frame: Frame, order: Order) -> Self {
        Self { pool: Arc::clone(pool), frame, order, made: 0, left: 0 }
    }

    /// So many more frames are to come.
    pub fn allow(&mut self, frames: u64) {
        self.left += frames;
    }

    /// Flows come in another order from now on.
    pub fn order(&mut self, order: Order) {
        self.order = order;
    }

    fn make(&mut self) -> Option<Mbuf> {
        let mut packet = Mbuf::from_pool(&self.pool)?;
        let flow = match &mut self.order {
            Order::Rising(next, end) => {
                let flow = *next;
                *next = if flow + 1 < *end { flow + 1 } else { 0 };
                flow
            }
            Order::Mixed(order) => order.next(),
        };
        frames::write(packet.append(self.frame.size(self.made))?, flow);
        self.made += 1;
        Some(packet)
    }
}

impl PortQueue for Feed {
    type Packet = Mbuf;

    fn receive(&mut self, into: &mut ArrayVec<Mbuf, BURST>) {
        while self.left > 0 && !into.is_full() {
            let Some(packet) = self.make() else { return };
            into.push(packet);
            self.left -= 1;
        }
    }

    fn transmit(&mut self, packets: &mut ArrayVec<Mbuf, BURST>) {
        packets.clear();
    }
}

/// A port's queue whose frames become those of more flows than its capture holds.
pub struct Rewriting {
    queue: DpdkQueue,
    order: FlowOrder,
}

impl Rewriting {
    /// Around a port's queue.
    #[must_use]
    pub const fn new(queue: DpdkQueue, order: FlowOrder) -> Self {
        Self { queue, order }
    }
}

impl PortQueue for Rewriting {
    type Packet = Mbuf;

    #[inline]
    fn receive(&mut self, into: &mut ArrayVec<Mbuf, BURST>) {
        let before = into.len();
        self.queue.receive(into);
        for packet in &mut into[before..] {
            frames::set_flow(packet.data_mut(), self.order.next());
        }
    }

    #[inline]
    fn transmit(&mut self, packets: &mut ArrayVec<Mbuf, BURST>) {
        self.queue.transmit(packets);
    }
}

/// The two ends of a `net_ring` port of two queues: what is sent at one end is received at the other.
#[must_use]
pub fn ends(port: &mut Port<Started>) -> Option<[DpdkQueue; 2]> {
    let mut queues = port.take_queues().into_iter();
    let ((rx0, tx0), (rx1, tx1)) = (queues.next()?, queues.next()?);
    Some([DpdkQueue::new((rx1, tx0), BURST), DpdkQueue::new((rx0, tx1), BURST)])
}
