//! What a port is to this process, whoever holds it: closed with the last of port and queues.

use crate::eal::EalInner;
use crate::error::{Error, check};
use crate::mempool::Mempool;
use crate::{removal, sys};
use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What the queues and the port share.
///
/// Invariant: this process alone uses the port of this number, from [`Self::new`] until the last Arc of this is dropped.
#[derive(Debug)]
pub struct PortInner {
    pub id: u16,
    name: String,
    /// Whether the driver runs.
    started: AtomicBool,
    /// Every pool that the driver was ever given: it may take buffers out of them until the port is closed.
    pools: Mutex<Vec<Arc<Mempool>>>,
    /// Keeps DPDK's memory.
    eal: Arc<EalInner>,
}

impl PortInner {
    pub fn new(id: u16, name: &str, eal: Arc<EalInner>) -> Self {
        removal::watch(id);
        Self { id, name: name.to_owned(), started: AtomicBool::new(false), pools: Mutex::default(), eal }
    }

    /// The name it was taken by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Has the port hold a pool, before its driver is given it.
    pub fn hold(&self, pool: &Arc<Mempool>) {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if !pools.iter().any(|held| Arc::ptr_eq(held, pool)) {
            pools.push(Arc::clone(pool));
        }
    }

    /// See [`EalInner::receives_into_devices`].
    pub fn receives_into_devices(&self) -> bool {
        self.eal.receives_into_devices()
    }

    /// Says whether the driver runs.
    pub fn set_started(&self, started: bool) {
        self.started.store(started, Ordering::Relaxed);
    }

    fn holds_buffers_out(&self) -> bool {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|pool| pool.in_use() > 0)
    }

    /// Stops and closes it. `false`: something of it may still be at work.
    fn close(&self) -> bool {
        // SAFETY: the port exists, and its queues, which hold an Arc of this, are gone.
        if self.started.load(Ordering::Relaxed) && unsafe { sys::rte_eth_dev_stop(self.id) } < 0 {
            return false;
        }
        // A packet in memory of the driver's own: closing would free it under its reader. A stopped port of these
        // drivers has given back all that it held itself.
        if self.driver().is_some_and(|driver| LENDS_MEMORY.iter().any(|name| driver.starts_with(name)))
            && self.holds_buffers_out()
        {
            return false;
        }
        // SAFETY: as above, and it is stopped.
        unsafe { sys::rte_eth_dev_close(self.id) >= 0 }
    }

    /// Its driver's name.
    pub fn driver(&self) -> Option<String> {
        driver_of(&self.dev_info().ok()?)
    }

    /// What the driver says of it.
    pub fn dev_info(&self) -> Result<sys::rte_eth_dev_info, Error> {
        let mut info = sys::rte_eth_dev_info::default();
        // SAFETY: the port exists; the answer's place is of its type.
        check(&self.name, "rte_eth_dev_info_get", unsafe { sys::rte_eth_dev_info_get(self.id, &raw mut info) })?;
        Ok(info)
    }
}

impl Drop for PortInner {
    fn drop(&mut self) {
        let mut taken = self.eal.taken();
        removal::unwatch(self.id);
        if self.close() {
            taken.retain(|&id| id != self.id);
        } else {
            // It stays taken, and the memory stays.
            self.eal.keep.store(true, Ordering::Relaxed);
        }
    }
}

/// Drivers whose packets may lie in memory of their own (`RTE_MBUF_F_EXTERNAL`; mlx5 with `mprq_en=1`), which they free when
/// the port is closed.
const LENDS_MEMORY: [&str; 1] = ["mlx5"];

/// A driver's name, if it has one.
pub fn driver_of(info: &sys::rte_eth_dev_info) -> Option<String> {
    if info.driver_name.is_null() {
        return None;
    }
    // SAFETY: a driver's name is a static, terminated string.
    Some(unsafe { CStr::from_ptr(info.driver_name) }.to_string_lossy().into_owned())
}
