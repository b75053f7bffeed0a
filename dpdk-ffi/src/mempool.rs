//! Pools of packet buffers.

use crate::eal::EalInner;
use crate::error::{Error, last};
use crate::{Eal, sys};
use core::ptr::NonNull;
use std::ffi::CString;
use std::sync::Arc;

/// A pool of mbufs. It stays until the EAL is cleaned up.
#[derive(Debug)]
pub struct Mempool {
    pool: NonNull<sys::rte_mempool>,
    room: u16,
    /// Some until drop.
    eal: Option<Arc<EalInner>>,
}

// SAFETY: DPDK's mempools are made for use by several threads at once; registered threads have caches of their own, and
// others go without (RTE_MEMPOOL_F_SC_GET and _SP_PUT are not set).
unsafe impl Send for Mempool {}
// SAFETY: as above.
unsafe impl Sync for Mempool {}

impl Mempool {
    /// Makes a pool of `buffers` mbufs with room for `room` octets each (headroom included), on a NUMA node or on any
    /// (`None`). `cache` buffers are kept by each thread (at most 512).
    ///
    /// # Errors
    /// No memory, or the name is in use.
    pub fn new(
        eal: &Eal,
        name: &str,
        buffers: u32,
        cache: u32,
        room: u16,
        socket: Option<u32>,
    ) -> Result<Arc<Self>, Error> {
        let c_name = CString::new(name).map_err(|_| Error::BadText(name.to_owned()))?;
        let socket = socket.map_or(-1, |s| s as i32); // SOCKET_ID_ANY
        let cache = cache.min(512).min(buffers * 2 / 3);
        // SAFETY: a terminated string and plain numbers; DPDK checks them.
        let pool = unsafe { sys::rte_pktmbuf_pool_create(c_name.as_ptr(), buffers, cache, 0, room, socket) };
        let pool = NonNull::new(pool).ok_or_else(|| Error::Mempool { buffers, room, reason: last() })?;
        Ok(Arc::new(Self { pool, room, eal: Some(Arc::clone(&eal.inner)) }))
    }

    pub(crate) fn as_ptr(&self) -> *mut sys::rte_mempool {
        self.pool.as_ptr()
    }

    /// Buffers that are out: in packets, or in a port's receive ring.
    #[must_use]
    pub fn in_use(&self) -> u32 {
        // SAFETY: the pool exists as long as the EAL, which `eal` keeps.
        unsafe { sys::rte_mempool_in_use_count(self.pool.as_ptr()) }
    }

    /// Octets of a frame that fit one buffer.
    #[must_use]
    pub fn room(&self) -> u16 {
        self.room.saturating_sub(sys::PDM_HEADROOM as u16)
    }

    /// Buffers there are.
    #[must_use]
    pub fn size(&self) -> u32 {
        // SAFETY: as above.
        unsafe { sys::pdm_pool_size(self.pool.as_ptr()) }
    }
}

impl Drop for Mempool {
    fn drop(&mut self) {
        // Mbufs that are still out point into the pool's memory. Then the EAL is never cleaned up: a leak at the end of
        // the process is harmless, a packet in memory that is gone is not.
        if self.in_use() > 0 {
            core::mem::forget(self.eal.take());
        }
    }
}
