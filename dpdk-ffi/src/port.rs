//! Ports: configured while stopped, used while started.

use crate::eal::{EalInner, check};
use crate::error::Error;
use crate::queue::{RxQueue, TxQueue};
use crate::rss::Hash;
use crate::{Mempool, removal, sys};
use core::cell::Cell;
use std::ffi::CStr;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How a port is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// Receive queues, and as many transmit queues: a pair for each worker.
    pub queues: u16,
    /// Descriptors per receive queue; the driver's bounds are kept to.
    pub rx_descriptors: u16,
    /// Descriptors per transmit queue.
    pub tx_descriptors: u16,
    /// Octets from the network header on; `None` leaves the device's.
    pub mtu: Option<u16>,
    /// Takes frames for other stations: what a bump in the wire needs.
    pub promiscuous: bool,
}

/// A state: the port can be configured.
#[derive(Debug)]
pub struct Stopped;
/// A state: the port's queues can be used.
#[derive(Debug)]
pub struct Started;

/// What the queues and the port share.
///
/// Invariant: this process alone uses the port of this number, from [`Self::new`] until the last Arc of this is dropped.
#[derive(Debug)]
pub(crate) struct PortInner {
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

    /// Has the port hold a pool, before its driver is given it.
    pub fn hold(&self, pool: &Arc<Mempool>) {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if !pools.iter().any(|held| Arc::ptr_eq(held, pool)) {
            pools.push(Arc::clone(pool));
        }
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

    fn driver(&self) -> Option<String> {
        driver_of(&self.dev_info().ok()?)
    }

    fn dev_info(&self) -> Result<sys::rte_eth_dev_info, Error> {
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
fn driver_of(info: &sys::rte_eth_dev_info) -> Option<String> {
    if info.driver_name.is_null() {
        return None;
    }
    // SAFETY: a driver's name is a static, terminated string.
    Some(unsafe { CStr::from_ptr(info.driver_name) }.to_string_lossy().into_owned())
}

/// A port in a state. It goes from thread to thread, but its functions are called by one at a time: drivers do not expect
/// more.
#[derive(Debug)]
pub struct Port<State> {
    pub(crate) inner: Arc<PortInner>,
    pub(crate) queues: u16,
    given: bool,
    /// What it hashes, with several queues.
    pub(crate) hash: Option<Hash>,
    _state: PhantomData<(State, Cell<()>)>,
}

/// What a port is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortInfo {
    /// DPDK's driver.
    pub driver: String,
    /// NUMA node, if it has one.
    pub socket: Option<u32>,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Octets from the network header on.
    pub mtu: u16,
    /// Queue pairs that the device has.
    pub max_queues: u16,
}

/// The link's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Link {
    /// Whether it is up.
    pub up: bool,
    /// Mbit/s, 0 if the driver does not know.
    pub mbit_per_second: u32,
}

/// The driver's counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PortStats {
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Octets received.
    pub rx_octets: u64,
    /// Octets sent.
    pub tx_octets: u64,
    /// Packets the device dropped since the queue was full.
    pub rx_missed: u64,
    /// Damaged packets received.
    pub rx_errors: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// Times that no buffer was free to receive into.
    pub rx_no_buffer: u64,
}

impl<State> Port<State> {
    pub(crate) fn into_state<Other>(self) -> Port<Other> {
        Port { inner: self.inner, queues: self.queues, given: false, hash: self.hash, _state: PhantomData }
    }

    /// The name it was taken by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    pub(crate) fn check(&self, call: &'static str, result: i32) -> Result<(), Error> {
        check(&self.inner.name, call, result)
    }

    pub(crate) fn dev_info(&self) -> Result<sys::rte_eth_dev_info, Error> {
        self.inner.dev_info()
    }

    /// What the port is.
    ///
    /// # Errors
    /// The driver does not say.
    pub fn info(&self) -> Result<PortInfo, Error> {
        let (info, id) = (self.dev_info()?, self.inner.id);
        let (mut mac, mut mtu) = (sys::rte_ether_addr::default(), 0);
        // SAFETY: the port exists; the places are of their types.
        unsafe {
            self.check("rte_eth_macaddr_get", sys::rte_eth_macaddr_get(id, &raw mut mac))?;
            self.check("rte_eth_dev_get_mtu", sys::rte_eth_dev_get_mtu(id, &raw mut mtu))?;
            let driver = driver_of(&info).unwrap_or_default();
            let socket = u32::try_from(sys::rte_eth_dev_socket_id(id)).ok();
            let max_queues = info.max_rx_queues.min(info.max_tx_queues);
            Ok(PortInfo { driver, socket, mac: mac.addr_bytes, mtu, max_queues })
        }
    }

    /// The link's state, as the driver last knew it.
    ///
    /// # Errors
    /// The driver does not say.
    pub fn link(&self) -> Result<Link, Error> {
        let mut mbit_per_second = 0;
        // SAFETY: the port exists.
        let up = unsafe { sys::pdm_link(self.inner.id, &raw mut mbit_per_second) };
        self.check("rte_eth_link_get_nowait", up)?;
        Ok(Link { up: up == 1, mbit_per_second })
    }

    /// Whether the device is gone, or the kernel has asked for it back: whoever unbinds or removes a device that vfio-pci
    /// has waits until this process has closed it.
    #[must_use]
    pub fn removed(&self) -> bool {
        removal::removed(self.inner.id)
    }

    /// Brings the link up or takes it down, where the driver can.
    ///
    /// # Errors
    /// It cannot.
    pub fn set_link(&self, up: bool) -> Result<(), Error> {
        let id = self.inner.id;
        // SAFETY: the port exists.
        let done = unsafe { if up { sys::rte_eth_dev_set_link_up(id) } else { sys::rte_eth_dev_set_link_down(id) } };
        self.check("rte_eth_dev_set_link", done)
    }

    /// The driver's counters.
    ///
    /// # Errors
    /// It has none.
    pub fn stats(&self) -> Result<PortStats, Error> {
        let mut s = sys::rte_eth_stats::default();
        // SAFETY: the port exists; the answer's place is of its type.
        self.check("rte_eth_stats_get", unsafe { sys::rte_eth_stats_get(self.inner.id, &raw mut s) })?;
        Ok(PortStats {
            rx_packets: s.ipackets,
            tx_packets: s.opackets,
            rx_octets: s.ibytes,
            tx_octets: s.obytes,
            rx_missed: s.imissed,
            rx_errors: s.ierrors,
            tx_errors: s.oerrors,
            rx_no_buffer: s.rx_nombuf,
        })
    }
}

impl Port<Stopped> {
    pub(crate) fn new(inner: PortInner) -> Self {
        Self { inner: Arc::new(inner), queues: 0, given: false, hash: None, _state: PhantomData }
    }
}

impl Port<Started> {
    /// Its queue pairs, in order. The second time there are none.
    pub fn take_queues(&mut self) -> Vec<(RxQueue, TxQueue)> {
        if core::mem::replace(&mut self.given, true) {
            return Vec::new();
        }
        let pair = |i| (RxQueue::new(Arc::clone(&self.inner), i), TxQueue::new(Arc::clone(&self.inner), i));
        (0..self.queues).map(pair).collect()
    }

    /// Stops it.
    ///
    /// # Errors
    /// A queue is still out, or the driver refuses; the port is then as it was.
    pub fn stop(mut self) -> Result<Port<Stopped>, (Self, Error)> {
        // Only this port could make more of them, and it is ours. Not by the count alone: what a worker did with a queue
        // before it dropped it must have happened before this.
        if Arc::get_mut(&mut self.inner).is_none() {
            let error = Error::QueuesOut(self.inner.name.clone());
            return Err((self, error));
        }
        // SAFETY: the port exists and no queue of it is in use.
        match self.check("rte_eth_dev_stop", unsafe { sys::rte_eth_dev_stop(self.inner.id) }) {
            Ok(()) => {
                self.inner.set_started(false);
                Ok(self.into_state())
            }
            Err(error) => Err((self, error)),
        }
    }
}
