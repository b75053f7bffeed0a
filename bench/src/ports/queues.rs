//! Queues that stand for ports, or around them.

use super::frames::{self, FlowOrder, Frame};
use arrayvec::ArrayVec;
use dpdk_ffi::{Mbuf, Mempool, Port, Started};
use pipeline::ports::dpdk::DpdkQueue;
use pipeline::ports::{BURST, PortQueue};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
    /// From the first on every so many, without an end: what the warm-up of one of several workers inserts.
    Every(u32, u32),
    /// As a capture holds them.
    Mixed(FlowOrder),
    /// As [`Order::Mixed`], and every so many packets one of a new flow.
    Growing {
        /// Those that are there.
        old: FlowOrder,
        /// Packets to a new one.
        every: u64,
        /// Packets so far.
        made: u64,
        /// The next new one.
        next: u32,
    },
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
            Order::Every(next, step) => {
                let flow = *next;
                *next = flow.wrapping_add(*step);
                flow
            }
            Order::Mixed(order) => order.draw(),
            Order::Growing { old, every, made, next } => {
                *made += 1;
                if made.is_multiple_of(*every) {
                    *next += 1;
                    *next - 1
                } else {
                    old.draw()
                }
            }
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
            frames::set_flow(packet.data_mut(), self.order.draw());
        }
    }

    #[inline]
    fn transmit(&mut self, packets: &mut ArrayVec<Mbuf, BURST>) {
        self.queue.transmit(packets);
    }
}

/// Times that the kernel took the core from a thread that polls without rest.
#[derive(Debug, Default)]
pub struct Stalls {
    /// How many.
    pub count: AtomicU64,
    /// When the last one ended, by the time stamp counter.
    pub until: AtomicU64,
}

/// Says of a thread that calls it without rest when it was not running.
#[derive(Clone, Debug)]
pub struct Watch {
    stalls: Arc<Stalls>,
    last: u64,
    longest: u64,
}

/// No burst takes so long; another process' turn on the core takes longer.
const STALL: f64 = 300e-6;

impl Watch {
    /// From now on.
    #[must_use]
    pub fn new(stalls: &Arc<Stalls>) -> Self {
        let longest = (dpdk_ffi::tsc_hz() as f64 * STALL) as u64;
        Self { stalls: Arc::clone(stalls), last: u64::MAX, longest }
    }

    /// The thread runs; gives the time.
    #[inline]
    pub fn tick(&mut self) -> u64 {
        let now = dpdk_ffi::tsc();
        if now.saturating_sub(self.last) > self.longest {
            self.stalls.until.store(now, Ordering::Release);
            self.stalls.count.fetch_add(1, Ordering::Relaxed);
        }
        self.last = now;
        now
    }

    /// Forgets the time until now: the thread was not polling.
    pub fn restart(&mut self) {
        self.last = u64::MAX;
    }
}

/// A queue whose thread is watched.
pub struct Watched {
    queue: DpdkQueue,
    watch: Watch,
}

impl Watched {
    /// Around a port's queue.
    #[must_use]
    pub const fn new(queue: DpdkQueue, watch: Watch) -> Self {
        Self { queue, watch }
    }
}

impl PortQueue for Watched {
    type Packet = Mbuf;

    #[inline]
    fn receive(&mut self, into: &mut ArrayVec<Mbuf, BURST>) {
        self.watch.tick();
        self.queue.receive(into);
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
