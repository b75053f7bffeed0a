//! One packet's buffer, owned.
//!
//! What a driver says of a packet that it received (RX flags, packet type, hash, time stamp) means nothing to one that sends it:
//! those look at TX flags, and at lengths of headers only where these ask for work. No packet gets any here, so an option that goes
//! in or out leaves nothing stale that is believed; packets that came with work of their own are [`Unfinished`]. A time of receipt
//! ([`Stamps`](crate::Stamps)) has a flag of its own, beside the one that asks a sender to wait for a time.

mod unfinished;

use crate::mempool::Mempool;
use crate::stamps::Stamps;
use crate::sys;
use arrayvec::ArrayVec;
use core::ptr::NonNull;
pub use unfinished::{Checksums, Unfinished};

/// A packet. Dropping it gives its buffers back to their pool.
///
/// Invariant: it is the only handle to this mbuf, and the memory of its pool, and of its octets if they are elsewhere, is
/// mapped (see [`Mempool`]). The octets may be shared with other mbufs: then nobody writes to them.
#[repr(transparent)]
pub struct Mbuf(NonNull<sys::rte_mbuf>);

// SAFETY: an mbuf may be freed and sent by any thread; see Mempool.
unsafe impl Send for Mbuf {}

macro_rules! field {
    ($name:ident, $set:ident, $type:ty, $at:ident) => {
        #[inline]
        fn $name(&self) -> $type {
            // SAFETY: the mbuf is ours and mapped; the C compiler says that a field of this type is at this place.
            unsafe { self.0.as_ptr().cast::<u8>().add(sys::$at as usize).cast::<$type>().read() }
        }

        #[allow(dead_code, reason = "made for every field, and not every field is set")]
        #[inline]
        fn $set(&mut self, value: $type) {
            // SAFETY: as above, and `&mut self` says that nobody else reads it.
            unsafe { self.0.as_ptr().cast::<u8>().add(sys::$at as usize).cast::<$type>().write(value) }
        }
    };
}

impl Mbuf {
    field!(buf_addr, set_buf_addr, *mut u8, PDM_AT_BUF_ADDR);
    field!(data_off, set_data_off, u16, PDM_AT_DATA_OFF);
    field!(refcnt, set_refcnt, u16, PDM_AT_REFCNT);
    field!(nb_segs, set_nb_segs, u16, PDM_AT_NB_SEGS);
    field!(ol_flags, set_ol_flags, u64, PDM_AT_OL_FLAGS);
    field!(all_len, set_all_len, u32, PDM_AT_PKT_LEN);
    field!(seg_len, set_seg_len, u16, PDM_AT_DATA_LEN);
    field!(pool, set_pool, *mut sys::rte_mempool, PDM_AT_POOL);
    field!(buf_len, set_buf_len, u16, PDM_AT_BUF_LEN);

    /// When its device received it, in ticks of the device's clock, if the driver has said so.
    #[inline]
    #[must_use]
    pub fn stamp(&self, stamps: Stamps) -> Option<u64> {
        // SAFETY: the mbuf is ours and mapped; DPDK gave out the place of eight octets in it for this.
        let there = || unsafe { self.0.as_ptr().cast::<u8>().add(stamps.at()).cast::<u64>().read_unaligned() };
        (self.ol_flags() & stamps.flag() != 0).then(there)
    }

    /// Gives it a time of receipt, as a driver does.
    pub fn set_stamp(&mut self, stamps: Stamps, ticks: u64) {
        // SAFETY: as above, and `&mut self` says that nobody else reads it.
        unsafe { self.0.as_ptr().cast::<u8>().add(stamps.at()).cast::<u64>().write_unaligned(ticks) };
        self.set_ol_flags(self.ol_flags() | stamps.flag());
    }

    /// Takes an empty packet from a pool. `None`: the pool is empty.
    #[must_use]
    pub fn from_pool(pool: &Mempool) -> Option<Self> {
        // SAFETY: the pool is alive. What comes out of it is nobody else's.
        NonNull::new(unsafe { sys::pdm_alloc(pool.as_ptr()) }).map(Self)
    }

    /// Whether its first segment may be written: not shared with another mbuf, nor in somebody else's memory, nor to become
    /// several packets, each of which would have what is written.
    #[inline]
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.refcnt() == 1 && self.ol_flags() & (sys::PDM_NOT_OURS | sys::PDM_CUTS_UP) == 0
    }

    /// Makes it a copy of itself if it may not be written: from the pool it is from, with headroom as packets have it there;
    /// what was shared is given back. `false`: the pool is empty, or has no room for data, or the packet is to become several; nothing
    /// changed.
    #[cold]
    pub fn make_writable(&mut self) -> bool {
        if self.is_writable() {
            return true;
        }
        if self.ol_flags() & sys::PDM_CUTS_UP != 0 {
            return false;
        }
        // SAFETY: the mbuf is ours and mapped, and so is its pool. What comes back is nobody else's.
        match NonNull::new(unsafe { sys::pdm_copy(self.0.as_ptr(), self.pool()) }) {
            Some(copy) => *self = Self(copy), // and the one before goes back to where it is from
            None => return false,
        }
        true
    }

    /// Whether it is one buffer of this pool, whose octets are its own and nobody else's: what a driver may give back
    /// without looking at it (`RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE`).
    #[inline]
    pub(crate) fn is_plain(&self, pool: *const sys::rte_mempool) -> bool {
        let alone = (self.refcnt() ^ 1) | (self.nb_segs() ^ 1);
        // Without a branch: it is asked of every packet, and nearly always true.
        (alone == 0) & (self.ol_flags() & sys::PDM_NOT_OURS == 0) & core::ptr::eq(self.pool(), pool)
    }

    /// Makes it a copy of itself that is. `false`: the pool is empty, or its buffers are too short; nothing changed.
    #[cold]
    pub(crate) fn make_plain(&mut self, pool: &Mempool) -> bool {
        // SAFETY: the mbuf is ours and mapped, and the pool alive. What comes back is nobody else's.
        let copy = NonNull::new(unsafe { sys::pdm_copy(self.0.as_ptr(), pool.as_ptr()) }).map(Self);
        let Some(copy) = copy.filter(|copy| copy.is_plain(pool.as_ptr())) else { return false };
        *self = copy;
        true
    }

    /// Drops packets, in one call.
    #[inline]
    pub fn free_all<const N: usize>(packets: &mut ArrayVec<Self, N>) {
        let len = packets.len();
        // SAFETY: `len` pointers to packets of ours, which leave the vector without being dropped, and are freed here.
        unsafe {
            packets.set_len(0);
            sys::rte_pktmbuf_free_bulk(packets.as_mut_ptr().cast(), len.min(u32::MAX as usize) as u32);
        }
    }

    /// Another packet with the same octets: neither may be written while the other is there. `None`: the pool is empty.
    #[must_use]
    pub fn share(&self, pool: &Mempool) -> Option<Self> {
        // SAFETY: the mbuf is ours and the pool alive. DPDK counts references to the octets, and both handles refuse to
        // write while there is more than one.
        NonNull::new(unsafe { sys::pdm_clone(self.0.as_ptr(), pool.as_ptr()) }).map(Self)
    }

    /// A packet with these octets in memory that is not the pool's, as some drivers hand packets over. `None`: the pool is
    /// empty, there is no memory, or there are more octets than a packet may have.
    #[must_use]
    pub fn outside_of_pool(pool: &Mempool, octets: &[u8]) -> Option<Self> {
        let len = u16::try_from(octets.len()).ok()?;
        // SAFETY: the pool is alive, and as many octets are copied as there are. What comes back is nobody else's.
        NonNull::new(unsafe { sys::pdm_external(pool.as_ptr(), octets.as_ptr(), len) }).map(Self)
    }

    /// Puts another packet's octets behind its own, as segments of it. `false`: they would be too many; nothing changed.
    pub fn chain(&mut self, tail: Self) -> bool {
        // SAFETY: both are ours; when it is done the second is a part of the first, and given back with it.
        let done = unsafe { sys::pdm_chain(self.0.as_ptr(), tail.0.as_ptr()) } == 0;
        if done {
            core::mem::forget(tail);
        }
        done
    }

    /// The octets of all segments, copied.
    #[must_use]
    pub fn octets(&self) -> Vec<u8> {
        let mut octets = vec![0; self.pkt_len()];
        // SAFETY: the mbuf is ours and mapped; its segments' lengths add up to the packet's, for which there is room.
        unsafe { sys::pdm_read(self.0.as_ptr(), octets.as_mut_ptr()) };
        octets
    }

    /// The first segment's octets.
    #[inline]
    #[must_use]
    pub fn data(&self) -> &[u8] {
        // SAFETY: DPDK keeps data_off + data_len within buf_len; the functions below do too.
        unsafe {
            core::slice::from_raw_parts(self.buf_addr().add(usize::from(self.data_off())), usize::from(self.seg_len()))
        }
    }

    /// Asks for the two cache lines that begin at the first segment's data.
    #[inline]
    pub fn prefetch(&self) {
        #[cfg(target_arch = "x86_64")]
        for at in [0, 64] {
            use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let first = self.buf_addr().wrapping_add(usize::from(self.data_off()) + at);
            // SAFETY: a prefetch reads nothing that a program can see, and faults at no address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(first.cast()) };
        }
    }

    /// The first segment's octets, to write to. Empty when they are shared with another mbuf.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        if !self.is_writable() {
            return &mut [];
        }
        // SAFETY: as above; the data is not shared, and `&mut self` makes this the only view of it.
        unsafe {
            core::slice::from_raw_parts_mut(
                self.buf_addr().add(usize::from(self.data_off())),
                usize::from(self.seg_len()),
            )
        }
    }

    /// Octets of all segments.
    #[inline]
    #[must_use]
    pub fn pkt_len(&self) -> usize {
        self.all_len() as usize
    }

    /// Segments it consists of.
    #[inline]
    #[must_use]
    pub fn segments(&self) -> usize {
        usize::from(self.nb_segs())
    }

    /// Free octets before the first segment's data; 0 when they may not be written.
    #[inline]
    #[must_use]
    pub fn headroom(&self) -> usize {
        if self.is_writable() { usize::from(self.data_off()) } else { 0 }
    }

    /// Free octets behind the data of a packet of one segment.
    #[must_use]
    pub fn tailroom(&self) -> usize {
        if !self.is_writable() || self.nb_segs() != 1 {
            return 0;
        }
        usize::from(self.buf_len()).saturating_sub(usize::from(self.data_off()) + usize::from(self.seg_len()))
    }

    /// Makes it `n` octets longer at its front (with what stands there). `false`: no room, nothing changed.
    #[inline]
    pub fn prepend(&mut self, n: usize) -> bool {
        let (off, len) = (self.data_off(), self.seg_len());
        if n > self.headroom() || usize::from(len) + n > usize::from(u16::MAX) {
            return false;
        }
        self.set_data_off(off - n as u16);
        self.set_seg_len(len + n as u16);
        self.set_all_len(self.all_len() + n as u32);
        true
    }

    /// Makes it `n` octets shorter at its front. `false`: the first segment is shorter, nothing changed.
    #[inline]
    pub fn trim_front(&mut self, n: usize) -> bool {
        let (off, len) = (self.data_off(), self.seg_len());
        if n > usize::from(len) {
            return false;
        }
        self.set_data_off(off + n as u16);
        self.set_seg_len(len - n as u16);
        self.set_all_len(self.all_len() - n as u32);
        true
    }

    /// The `N` octets around its start, from `BEFORE` octets before it on. `None`: the first segment's buffer has not that
    /// room, or may not be written; or the packet cannot become `BEFORE` octets longer, or asks its port for work (checksums,
    /// cutting up) that counts from its start.
    #[inline]
    pub fn window<const BEFORE: usize, const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        const { assert!(BEFORE <= N) };
        let off = usize::from(self.data_off());
        let not_here = sys::PDM_NOT_OURS | sys::PDM_HAS_WORK | sys::PDM_CUTS_UP;
        let is_ours = (self.refcnt() == 1) & (self.ol_flags() & not_here == 0);
        let has_room = (off >= BEFORE) & (off + (N - BEFORE) <= usize::from(self.buf_len()));
        let may_grow = usize::from(self.seg_len()) + BEFORE <= usize::from(u16::MAX);
        // SAFETY: these octets are within the buffer, which has `buf_len` of them; it is mapped, was given out by a pool whose
        // memory has been written, is shared with nobody, and `&mut self` makes this the only view of it.
        (is_ours & has_room & may_grow).then(|| unsafe { &mut *self.buf_addr().add(off - BEFORE).cast() })
    }

    /// Makes it `by` octets longer at its front, at most `BEFORE`, and gives the octets that [`Mbuf::window`] gave before.
    /// `None`: as there, or it is more; nothing changed.
    #[inline]
    pub fn grow_window<const BEFORE: usize, const N: usize>(&mut self, by: usize) -> Option<&mut [u8; N]> {
        let window: *mut [u8; N] = self.window::<BEFORE, N>().filter(|_| by <= BEFORE)?;
        self.set_data_off(self.data_off() - by as u16);
        self.set_seg_len(self.seg_len() + by as u16);
        self.set_all_len(self.all_len() + by as u32);
        // SAFETY: what was given a moment ago, and what is set since stands elsewhere: in the mbuf, not in its buffer.
        Some(unsafe { &mut *window })
    }

    /// Makes a packet of one segment `n` octets longer at its end; gives the new octets. `None`: no room.
    pub fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        let len = usize::from(self.seg_len());
        if n > self.tailroom() {
            return None;
        }
        self.set_seg_len((len + n) as u16);
        self.set_all_len(self.all_len() + n as u32);
        self.data_mut().get_mut(len..)
    }

    /// Cuts a packet of one segment to `len` octets. `false`: several segments, or shorter already; nothing changed.
    pub fn truncate(&mut self, len: usize) -> bool {
        let fits = self.nb_segs() == 1 && len <= usize::from(self.seg_len());
        if fits {
            self.set_seg_len(len as u16);
            self.set_all_len(len as u32);
        }
        fits
    }
}

impl Drop for Mbuf {
    fn drop(&mut self) {
        // SAFETY: it is ours, and this is the last that is seen of it.
        unsafe { sys::pdm_free(self.0.as_ptr()) }
    }
}

impl core::fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Mbuf({} octets in {} segments)", self.pkt_len(), self.segments())
    }
}
