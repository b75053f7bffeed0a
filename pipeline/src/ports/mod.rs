//! Where packets come from and go to, and where the time comes from: what a kind of port has to give. A new kind of port is a
//! file here that implements [`PortQueue`] for its queues and [`PacketBuf`] for its packets.

#[cfg(feature = "dpdk")]
pub mod dpdk;
pub mod lending;
pub mod stamps;

use crate::packet::buffer::PacketBuf;
use arrayvec::ArrayVec;
use protocol::aead::BATCH;
use stamps::Told;

/// Packets taken from a queue at once, at most.
pub const BURST: usize = BATCH;

/// When the packets of a burst came.
#[derive(Clone, Copy, Debug)]
pub struct Came<'a> {
    /// By their places, on the clock that was asked.
    pub at: &'a [u64; BURST],
    /// How far the port was believed.
    pub told: Told,
}

/// A queue pair of a port.
pub trait PortQueue {
    /// Its packets.
    type Packet: PacketBuf;
    /// Appends what has arrived, as much as fits.
    fn receive(&mut self, into: &mut ArrayVec<Self::Packet, BURST>);
    /// When each packet of the burst just received has come, where the port says so: its own time, not when the burst was taken.
    #[inline]
    fn came(&mut self, _: &[Self::Packet], _: &impl Clock) -> Option<Came<'_>> {
        None
    }
    /// Sends from the front and removes what was sent; keeps the rest in order.
    fn transmit(&mut self, packets: &mut ArrayVec<Self::Packet, BURST>);
    /// Drops packets: their buffers go back to where they are from.
    #[inline]
    fn discard(&mut self, packets: &mut ArrayVec<Self::Packet, BURST>) {
        packets.clear();
    }
}

/// A port that is not there: nothing comes from it, and it takes nothing.
#[cfg(not(loom))]
pub(crate) struct Nowhere<P>(core::marker::PhantomData<P>);

#[cfg(not(loom))]
impl<P> Nowhere<P> {
    pub(crate) const fn new() -> Self {
        Self(core::marker::PhantomData)
    }
}

#[cfg(not(loom))]
impl<P: PacketBuf> PortQueue for Nowhere<P> {
    type Packet = P;

    fn receive(&mut self, _: &mut ArrayVec<P, BURST>) {}

    fn transmit(&mut self, _: &mut ArrayVec<P, BURST>) {}
}

/// Where the path gets the time from: nanoseconds since any fixed moment, never going back.
pub trait Clock {
    /// Now.
    fn now_ns(&self) -> u64;
}

impl<F: Fn() -> u64> Clock for F {
    #[inline]
    fn now_ns(&self) -> u64 {
        self()
    }
}
