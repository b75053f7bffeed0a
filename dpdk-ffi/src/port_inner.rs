//! What a port is to this process, whoever holds it: closed with the last of port and queues.

use crate::attach::remove;
use crate::eal::EalInner;
use crate::error::{Error, check};
use crate::mempool::Mempool;
use crate::removal::Device;
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
    /// Whether it was closed, or could not be: then it is nobody's any more.
    ended: bool,
    /// Keeps DPDK's memory.
    eal: Arc<EalInner>,
}

impl PortInner {
    pub fn new(id: u16, name: &str, eal: Arc<EalInner>) -> Self {
        removal::watch(id);
        let (started, pools) = (AtomicBool::new(false), Mutex::default());
        Self { id, name: name.to_owned(), started, pools, ended: false, eal }
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

    /// Stops and closes it. `false`: it is there still, and something of it may be at work.
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
        if unsafe { sys::rte_eth_dev_close(self.id) } < 0 {
            // A driver that finds its device gone says so, and DPDK has let go of the port all the same.
            self.eal.keep.store(true, Ordering::Relaxed);
            // SAFETY: looks a number up.
            return unsafe { sys::rte_eth_dev_is_valid_port(self.id) } == 0;
        }
        true
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

impl PortInner {
    /// Closes it, which is done once. `detach`: and its device leaves this process, so that others may have it.
    ///
    /// # Errors
    /// Another port is on the device; or the driver refuses: the port is lost to this process then.
    pub fn end(&mut self, detach: bool) -> Result<(), Error> {
        let eal = Arc::clone(&self.eal);
        let mut taken = eal.taken();
        let unable = |name: &str, what: String| Err(Error::Unable { port: name.to_owned(), what });
        let device = if detach { removal::device_of(self.id) } else { None };
        if let Some(device) = device.as_ref().filter(|device| removal::is_shared(&device.name, self.id)) {
            return unable(
                &self.name,
                format!("another port in use is on its device {}; give that one up too", device.name),
            );
        }
        self.ended = true;
        removal::unwatch(self.id);
        if !self.close() {
            // It stays taken, and the memory stays.
            eal.keep.store(true, Ordering::Relaxed);
            return unable(&self.name, "its driver does not close it; end this process to be rid of it".to_owned());
        }
        taken.retain(|&id| id != self.id);
        match device {
            Some(Device { bus, name }) => remove(&self.name, &bus, &name),
            None if detach => unable(&self.name, "DPDK does not say what device it is on".to_owned()),
            None => Ok(()),
        }
    }
}

impl Drop for PortInner {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.end(false);
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
