//! DPDK's own pools, as what keeps its memory has to know them.

use crate::sys;
use core::ptr::NonNull;

/// DPDK's pool. Invariant: it is there until the EAL is cleaned up; nobody frees it before.
#[derive(Clone, Copy, Debug)]
pub struct Pool(NonNull<sys::rte_mempool>);

// SAFETY: DPDK's mempools are made for use by several threads at once; registered threads have caches of their own, and
// others go without (RTE_MEMPOOL_F_SC_GET and _SP_PUT are not set).
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

impl Pool {
    /// # Safety
    /// DPDK has made it, and nobody frees it before the EAL is cleaned up.
    pub const unsafe fn new(pool: NonNull<sys::rte_mempool>) -> Self {
        Self(pool)
    }

    /// For DPDK's functions.
    pub const fn as_ptr(self) -> *mut sys::rte_mempool {
        self.0.as_ptr()
    }

    /// Buffers that are out. Called only while the EAL is not cleaned up.
    pub fn in_use(self) -> u32 {
        // SAFETY: the pool is there.
        unsafe { sys::rte_mempool_in_use_count(self.0.as_ptr()) }
    }
}
