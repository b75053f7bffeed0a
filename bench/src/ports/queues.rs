//! Queues that stand for ports, or around them.

use super::frames::{self, FlowOrder};
use super::recipe::Recipe;
use crate::measure::Random;
use arrayvec::ArrayVec;
use dpdk_ffi::{Mbuf, Mempool, Port, Started};
use pipeline::ports::dpdk::DpdkQueue;
use pipeline::ports::{BURST, PortQueue};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Frames of our own making come in; what goes out is freed.
pub struct Feed {
    pool: Arc<Mempool>,
    recipe: Recipe,
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
    pub fn new(pool: &Arc<Mempool>, recipe: Recipe, order: Order) -> Self {
        Self { pool: Arc::clone(pool), recipe, order, made: 0, left: 0 }
    }

    /// So many more frames are to come.
    pub fn allow(&mut self, frames: u64) {
        self.left += frames;
    }

    /// One frame in so many is odd from now on (0: none); gives how many were.
    pub const fn odd(&mut self, every: u32) -> u32 {
        std::mem::replace(&mut self.recipe.odd_every, every)
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
        self.recipe.write(packet.append(self.recipe.frame.size(self.made))?, self.made, flow);
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

/// Flows of another worker that come to this one now and then, as when the two directions of a flow are dealt out to
/// different queues.
#[derive(Clone, Debug)]
pub struct Strays {
    order: FlowOrder,
    per_cent: u8,
    random: Random,
}

impl Strays {
    /// So many in 100 packets are of the flows of `order`.
    #[must_use]
    pub const fn new(order: FlowOrder, per_cent: u8) -> Self {
        Self { order, per_cent, random: Random::new(0x5EED) }
    }

    /// Draws a flow, if it is the turn of these.
    #[inline]
    fn draw(&mut self) -> Option<u32> {
        (self.random.below(100) < self.per_cent as usize).then(|| self.order.draw())
    }
}

/// A port's queue whose frames become those of more flows than its capture holds, or of another order than it has.
pub struct Rewriting {
    queue: DpdkQueue,
    order: FlowOrder,
    strays: Option<Strays>,
}

impl Rewriting {
    /// Around a port's queue.
    #[must_use]
    pub const fn new(queue: DpdkQueue, order: FlowOrder, strays: Option<Strays>) -> Self {
        Self { queue, order, strays }
    }
}

impl PortQueue for Rewriting {
    type Packet = Mbuf;

    #[inline]
    fn receive(&mut self, into: &mut ArrayVec<Mbuf, BURST>) {
        let before = into.len();
        self.queue.receive(into);
        for packet in &mut into[before..] {
            let stray = self.strays.as_mut().and_then(Strays::draw);
            frames::set_flow(packet.data_mut(), stray.unwrap_or_else(|| self.order.draw()));
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn strays_are_of_the_other_worker_and_as_many_as_asked_for() {
        for per_cent in [0, 1, 50, 100] {
            let mut strays = Strays::new(FlowOrder::new(1000, (1, 2)), per_cent);
            let drawn: Vec<u32> = (0..100_000).filter_map(|_| strays.draw()).collect();
            assert!(drawn.iter().all(|flow| flow % 2 == 1));
            let found = drawn.len() as f64 / 1000.0;
            assert!((found - f64::from(per_cent)).abs() < 0.6, "{found} per cent, not {per_cent}");
            assert!(per_cent == 0 || drawn.iter().collect::<HashSet<_>>().len() == 500, "each of its flows");
        }
    }
}
