//! Pools of packet buffers.

use crate::eal::{Eal, EalInner};
use crate::error::{Error, last};
use crate::pool::Pool;
use crate::sys;
use core::ptr::NonNull;
use std::ffi::CString;
use std::sync::{Arc, PoisonError};

/// A pool of mbufs. What can take buffers out of it holds it; its memory stays until the EAL is cleaned up, and that waits
/// for buffers that are out.
#[derive(Debug)]
pub struct Mempool {
    pool: Pool,
    room: u16,
    _eal: Arc<EalInner>,
}

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
        let cache = cache.min(512).min(buffers / 3 * 2);
        // SAFETY: a terminated string and plain numbers; DPDK checks them.
        let pool = unsafe { sys::rte_pktmbuf_pool_create(c_name.as_ptr(), buffers, cache, 0, room, socket) };
        let pool = NonNull::new(pool).ok_or_else(|| Error::Mempool { buffers, room, reason: last() })?;
        // SAFETY: DPDK has just made it, and frees it with the EAL; nobody here does before.
        let pool = unsafe { Pool::new(pool) };
        eal.inner.pools.lock().unwrap_or_else(PoisonError::into_inner).push(pool);
        Ok(Arc::new(Self { pool, room, _eal: Arc::clone(&eal.inner) }))
    }

    pub(crate) fn as_ptr(&self) -> *mut sys::rte_mempool {
        self.pool.as_ptr()
    }

    /// Buffers that are out: in packets, or in a port's receive ring.
    #[must_use]
    pub fn in_use(&self) -> u32 {
        self.pool.in_use()
    }

    /// Octets of a frame that fit one buffer.
    #[must_use]
    pub fn room(&self) -> u16 {
        self.room.saturating_sub(sys::PDM_HEADROOM as u16)
    }

    /// Octets that it takes, but for what is kept of it as a whole.
    #[must_use]
    pub fn octets(&self) -> usize {
        // SAFETY: the pool is there, since the EAL is.
        self.size() as usize * unsafe { sys::pdm_pool_octets_each(self.as_ptr()) } as usize
    }

    /// Octets of the pages that it lies on. `None`: DPDK does not know.
    #[must_use]
    pub fn page(&self) -> Option<usize> {
        // SAFETY: as above.
        usize::try_from(unsafe { sys::pdm_pool_page(self.as_ptr()) }).ok().filter(|&page| page > 0)
    }

    /// Buffers there are.
    #[must_use]
    pub fn size(&self) -> u32 {
        // SAFETY: the pool is there, since the EAL is.
        unsafe { sys::pdm_pool_size(self.as_ptr()) }
    }
}
