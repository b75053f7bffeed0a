//! The traits of the path for DPDK's mbufs and queues.

use crate::packet::buffer::{PacketBuf, WINDOW_BEFORE, Window, Writable};
use crate::packet::finish::finish;
use crate::ports::stamps::DeviceClock;
use crate::ports::{BURST, Came, Clock, PortQueue};
use arrayvec::ArrayVec;
use dpdk_ffi::{Checksums, Mbuf, RxQueue, Stamps, TxQueue, Unfinished};

impl PacketBuf for Mbuf {
    #[inline]
    fn data(&self) -> &[u8] {
        Mbuf::data(self)
    }

    #[inline]
    fn prefetch(&self) {
        Mbuf::prefetch(self);
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

    #[inline]
    fn window(&mut self) -> Option<&mut Window> {
        Mbuf::window::<WINDOW_BEFORE, _>(self)
    }

    #[inline]
    fn grow_window(&mut self, by: usize) -> Option<&mut Window> {
        Mbuf::grow_window::<WINDOW_BEFORE, _>(self, by)
    }
}

/// A worker's queue of one port.
pub struct DpdkQueue {
    rx: RxQueue,
    tx: TxQueue,
    burst: usize,
    stamped: Option<Box<Stamped>>,
}

/// What a queue has whose packets come with times of their own.
struct Stamped {
    stamps: Stamps,
    device: DeviceClock,
    came: [u64; BURST],
}

impl DpdkQueue {
    /// The pair that a port gave out, to be polled for at most `burst` packets at once.
    #[must_use]
    pub fn new((rx, tx): (RxQueue, TxQueue), burst: usize) -> Self {
        let stamped = |stamps| Box::new(Stamped { stamps, device: DeviceClock::default(), came: [0; BURST] });
        let stamped = rx.stamps().map(stamped);
        Self { rx, tx, burst: burst.clamp(1, BURST), stamped }
    }
}

/// More than any driver lets wait in a queue.
const MOST_WAITING: u64 = 1 << 16;

impl DpdkQueue {
    /// Drops what has arrived and waits. Gives how many packets that were.
    pub fn drain(&mut self) -> u64 {
        let (mut packets, mut drained) = (ArrayVec::<Mbuf, BURST>::new(), 0);
        while drained < MOST_WAITING && self.rx.burst(&mut packets, BURST) > 0 {
            drained += packets.len() as u64;
            Mbuf::free_all(&mut packets);
        }
        drained
    }
}

impl PortQueue for DpdkQueue {
    type Packet = Mbuf;

    #[inline]
    fn receive(&mut self, into: &mut ArrayVec<Mbuf, BURST>) {
        self.rx.burst(into, self.burst);
        let checksums = self.rx.checksums();
        if checksums != Checksums::Done {
            finish_all(into, checksums);
        }
    }

    #[inline]
    fn came(&mut self, packets: &[Mbuf], clock: &impl Clock) -> Option<Came<'_>> {
        let Stamped { stamps, device, came } = self.stamped.as_deref_mut()?;
        let told = device.burst(clock.now_ns(), packets.iter().map(|packet| packet.stamp(*stamps)), came);
        Some(Came { at: came, told })
    }

    #[inline]
    fn transmit(&mut self, packets: &mut ArrayVec<Mbuf, BURST>) {
        self.tx.burst(packets);
    }

    #[inline]
    fn discard(&mut self, packets: &mut ArrayVec<Mbuf, BURST>) {
        Mbuf::free_all(packets);
    }
}

/// Finishes what the senders of a burst have left to be done. Not for ports of a wire: there all is done.
#[cold]
fn finish_all(packets: &mut [Mbuf], checksums: Checksums) {
    for packet in packets {
        let told = match packet.unfinished() {
            Some(Unfinished::CutUp) => continue, // goes on as it came, with all that its driver says of it
            Some(Unfinished::Checksum) => true,
            None if checksums == Checksums::Unsaid => false,
            None => continue,
        };
        if finish(packet, told) && told {
            packet.set_unfinished(None);
        }
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
