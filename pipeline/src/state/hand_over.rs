//! How packets get from the worker that a port gave them to, to the worker that owns their flow: a ring for each ordered pair
//! of workers.
//!
//! A ring is a bounded queue and a count at either end. The ends look at the counts alone, and ask the queue for no more than
//! these promise. So nobody ever waits for a step that another worker is in the middle of (the queue by itself would, for as
//! long as the kernel keeps that worker from its core), and a burst costs one store that others see.
//!
//! Workers leave in any order, and none waits for another: whoever leaves a ring second has it for itself, and deals with what
//! is left in it. So nothing is lost, and nothing is dealt with twice.

use crate::ports::BURST;
use arrayvec::ArrayVec;
use crossbeam_queue::ArrayQueue;
use crossbeam_utils::CachePadded;
use protocol::sync::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;

/// Packets that the rings towards one worker hold together, as long as each of them holds a burst.
const TOWARDS_ONE: usize = 256;

/// Packets that one ring holds among so many workers.
const fn capacity(workers: usize) -> usize {
    let share = TOWARDS_ONE / if workers > 2 { workers - 1 } else { 1 };
    if share > BURST { share } else { BURST }
}

/// Packets that may lie in all the rings among so many workers: buffers that no port has meanwhile.
#[must_use]
pub const fn held(workers: usize) -> usize {
    if workers < 2 { 0 } else { workers * (workers - 1) * capacity(workers) }
}

#[derive(Debug)]
struct Ring<P> {
    packets: ArrayQueue<P>,
    /// Packets ever put in. Written by the worker that hands over.
    put: CachePadded<AtomicU64>,
    /// Packets ever taken out. Written by the worker that takes over.
    taken: CachePadded<AtomicU64>,
    /// Whether one of the two has left.
    left: AtomicBool,
}

impl<P> Ring<P> {
    fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            packets: ArrayQueue::new(capacity.max(1)),
            put: CachePadded::new(AtomicU64::new(0)),
            taken: CachePadded::new(AtomicU64::new(0)),
            left: AtomicBool::new(false),
        })
    }

    /// One end leaves. `true`: the other one has left before, and does not touch the queue any more.
    fn leave(&self) -> bool {
        self.left.swap(true, Ordering::AcqRel)
    }
}

/// A ring's end where packets go in.
#[derive(Debug)]
pub(crate) struct Outgoing<P> {
    ring: Arc<Ring<P>>,
    put: u64,
    announced: u64,
    /// As it was seen last.
    taken: u64,
    /// Whether the ring was full in this burst: then the rest of the burst stays here too, behind what had no room.
    refuses: bool,
    left: bool,
}

impl<P> Outgoing<P> {
    fn new(ring: &Arc<Ring<P>>) -> Self {
        Self { ring: Arc::clone(ring), put: 0, announced: 0, taken: 0, refuses: false, left: false }
    }

    fn put(&mut self, packet: P) -> Result<(), P> {
        let capacity = self.ring.packets.capacity() as u64;
        if self.put.wrapping_sub(self.taken) >= capacity {
            // Whoever took packets has let go of their places before it said so.
            self.taken = self.ring.taken.load(Ordering::Acquire);
        }
        self.refuses |= self.put.wrapping_sub(self.taken) >= capacity || self.ring.left.load(Ordering::Relaxed);
        if self.refuses {
            return Err(packet);
        }
        self.ring.packets.push(packet)?; // there is room
        self.put = self.put.wrapping_add(1);
        Ok(())
    }

    fn announce(&mut self) {
        self.refuses = false;
        if self.announced != self.put {
            self.announced = self.put;
            self.ring.put.store(self.put, Ordering::Release);
        }
    }

    /// Leaves the ring. `true`: the other worker has left before, and what is in it is this one's again.
    pub(crate) fn leave(&mut self) -> bool {
        self.announce();
        self.left = true;
        self.ring.leave()
    }

    /// What is this one's again.
    pub(crate) fn take_back(&self, into: &mut ArrayVec<P, BURST>) {
        into.extend((into.len()..BURST).map_while(|_| self.ring.packets.pop()));
    }
}

impl<P> Drop for Outgoing<P> {
    fn drop(&mut self) {
        if !self.left {
            self.ring.leave(); // a worker that has panicked: the others go on
        }
    }
}

/// A ring's end where packets come out.
#[derive(Debug)]
pub(crate) struct Incoming<P> {
    ring: Arc<Ring<P>>,
    /// The worker at the other end.
    pub(crate) from: u16,
    taken: u64,
    left: bool,
}

impl<P> Incoming<P> {
    fn new(ring: Arc<Ring<P>>, from: usize) -> Self {
        Self { ring, from: from as u16, taken: 0, left: false }
    }

    /// Packets in the ring.
    pub(crate) fn waiting(&self) -> usize {
        self.ring.put.load(Ordering::Acquire).wrapping_sub(self.taken) as usize
    }

    /// Takes `count` packets at most, which wait.
    pub(crate) fn take(&mut self, into: &mut ArrayVec<P, BURST>, count: usize) {
        let (before, count) = (into.len(), count.min(into.remaining_capacity()));
        into.extend((0..count).map_while(|_| self.ring.packets.pop()));
        self.taken = self.taken.wrapping_add((into.len() - before) as u64);
        self.ring.taken.store(self.taken, Ordering::Release);
    }

    /// Leaves the ring. `true`: the other worker has left before, and what waits now is all that ever will.
    pub(crate) fn leave(&mut self) -> bool {
        self.left = true;
        self.ring.leave()
    }
}

impl<P> Drop for Incoming<P> {
    fn drop(&mut self) {
        if !self.left {
            self.ring.leave();
        }
    }
}

/// One worker's side: its ends of the rings to all others and from them. Of a worker alone it is empty.
#[derive(Debug)]
pub struct HandOver<P> {
    /// By worker; none in its own place.
    pub(crate) to: Vec<Option<Outgoing<P>>>,
    pub(crate) from: Vec<Incoming<P>>,
    /// Whose turn it is to be looked at first.
    next: usize,
}

impl<P> HandOver<P> {
    /// The side of a worker that has no others beside it.
    #[must_use]
    pub const fn alone() -> Self {
        Self { to: Vec::new(), from: Vec::new(), next: 0 }
    }

    /// The sides of so many workers, in their order; each is to be given to its worker. All memory is taken here.
    #[must_use]
    pub fn among(workers: usize) -> Vec<Self> {
        let mut sides: Vec<Self> = (0..workers).map(|_| Self::alone()).collect();
        for giver in 0..workers {
            for taker in 0..workers {
                let ring = (giver != taker).then(|| Ring::new(capacity(workers)));
                if let Some(side) = sides.get_mut(giver) {
                    side.to.push(ring.as_ref().map(Outgoing::new));
                }
                if let (Some(side), Some(ring)) = (sides.get_mut(taker), ring) {
                    side.from.push(Incoming::new(ring, giver));
                }
            }
        }
        sides
    }

    /// Hands a packet over to another worker, which sees it after the next [`HandOver::announce`]. It comes back when there is
    /// no room, or nobody to take it; then so does the rest of the burst that is for that worker.
    pub(crate) fn hand(&mut self, to: u16, packet: P) -> Result<(), P> {
        match self.to.get_mut(usize::from(to)) {
            Some(Some(ring)) => ring.put(packet),
            _ => Err(packet),
        }
    }

    /// Lets the other workers see a burst's packets.
    pub(crate) fn announce(&mut self) {
        self.to.iter_mut().flatten().for_each(Outgoing::announce);
    }

    /// Workers that may hand packets over to this one.
    #[inline]
    pub(crate) const fn others(&self) -> usize {
        self.from.len()
    }

    /// Takes `limit` packets at most of the worker whose turn it is; the next call is another one's. Gives the worker's number.
    #[inline]
    pub(crate) fn take(&mut self, into: &mut ArrayVec<P, BURST>, limit: usize) -> Option<u16> {
        let others = self.from.len();
        let ring = self.from.get_mut(self.next)?;
        self.next = if self.next + 1 < others { self.next + 1 } else { 0 };
        let waiting = ring.waiting();
        if waiting == 0 {
            return None;
        }
        ring.take(into, waiting.min(limit));
        Some(ring.from)
    }
}

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(all(test, loom))]
mod loom_tests;
