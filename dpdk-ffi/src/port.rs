//! Ports: configured while stopped, used while started.

use crate::eal::Eal;
use crate::error::{Error, check};
use crate::fitted::Descriptors;
use crate::mempool::Mempool;
use crate::port_inner::{PortInner, driver_of};
use crate::queue::{RxQueue, TxQueue};
use crate::rss::{self, Hash, Spread, queues_reached};
use crate::stamps::Stamps;
use crate::{removal, sys};
use core::cell::Cell;
use std::ffi::{CStr, CString};
use std::marker::PhantomData;
use std::sync::Arc;

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

/// How a port was set up. (Beside the port, which is handed from state to state.)
#[derive(Debug, Default)]
pub struct Setup {
    /// What it hashes, with several queues.
    pub hash: Option<Hash>,
    /// Whether it is to hash IPv6 packets by their addresses alone.
    pub by_addresses: bool,
    /// Whether its own times of receipt are wanted, where its driver gives them.
    pub wants_stamps: bool,
    /// Where they stand in its packets, if it gives them.
    pub stamps: Option<Stamps>,
    /// The pool of all that it is handed, if its driver gives buffers back without looking at them.
    pub fast_free: Option<Arc<Mempool>>,
    /// What it was set up with, receiving and sending.
    pub offloads: [u64; 2],
    /// Descriptors of a queue, receiving and sending.
    pub descriptors: [Descriptors; 2],
}

/// A port in a state. It goes from thread to thread, but its functions are called by one at a time: drivers do not expect
/// more.
#[derive(Debug)]
pub struct Port<State> {
    pub(crate) inner: Arc<PortInner>,
    pub(crate) queues: u16,
    given: bool,
    pub(crate) setup: Box<Setup>,
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
    /// Whether it sends and receives at once. Meaningless while it is down.
    pub full_duplex: bool,
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
        Port { inner: self.inner, queues: self.queues, given: false, setup: self.setup, _state: PhantomData }
    }

    /// DPDK's names of the offloads that it was set up with, in lower case: `tx_mbuf_fast_free`.
    #[must_use]
    pub fn offloads(&self) -> Vec<String> {
        let name = |(receiving, bit): (bool, u32)| {
            // SAFETY: gives a static, terminated string for any number.
            let name = unsafe {
                CStr::from_ptr(if receiving {
                    sys::rte_eth_dev_rx_offload_name(1 << bit)
                } else {
                    sys::rte_eth_dev_tx_offload_name(1 << bit)
                })
            };
            format!("{}_{}", if receiving { "rx" } else { "tx" }, name.to_string_lossy().to_lowercase())
        };
        let [rx, tx] = self.setup.offloads.map(|offloads| (0..64).filter(move |bit| offloads >> bit & 1 == 1));
        rx.map(|bit| (true, bit)).chain(tx.map(|bit| (false, bit))).map(name).collect()
    }

    /// The name it was taken by.
    #[must_use]
    pub fn name(&self) -> &str {
        self.inner.name()
    }

    pub(crate) fn check(&self, call: &'static str, result: i32) -> Result<(), Error> {
        check(self.inner.name(), call, result)
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
        let (mut mbit_per_second, mut full_duplex) = (0, 0);
        // SAFETY: the port exists; the places are of their types.
        let up = unsafe { sys::pdm_link(self.inner.id, &raw mut mbit_per_second, &raw mut full_duplex) };
        self.check("rte_eth_link_get_nowait", up)?;
        Ok(Link { up: up == 1, mbit_per_second, full_duplex: full_duplex != 0 })
    }

    /// Whether the device is gone, or the kernel has asked for it back: whoever unbinds or removes a device that vfio-pci
    /// has waits until this process has closed it.
    #[must_use]
    pub fn removed(&self) -> bool {
        removal::removed(self.inner.id)
    }

    /// Whether the device is gone, as far as the driver can tell: what is read of it then means nothing.
    #[must_use]
    pub fn gone(&self) -> bool {
        removal::gone(self.inner.id)
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

impl Eal {
    /// The ports there are, by name.
    #[must_use]
    pub fn port_names(&self) -> Vec<String> {
        let _none_is_closed = self.inner.taken();
        names()
    }

    /// Takes a port by the name DPDK knows it under: a PCI address, or a vdev's name such as `net_tap0`.
    ///
    /// # Errors
    /// There is none of this name, or it was taken before.
    pub fn port(&self, name: &str) -> Result<Port<Stopped>, Error> {
        let c_name = CString::new(name).map_err(|_| Error::BadText(name.to_owned()))?;
        let mut taken = self.inner.taken();
        let mut id = 0;
        // SAFETY: a terminated string and a place for the answer.
        if unsafe { sys::rte_eth_dev_get_port_by_name(c_name.as_ptr(), &raw mut id) } != 0 {
            return Err(Error::NoPort { name: name.to_owned(), there: names().join(", ") });
        }
        if taken.contains(&id) {
            return Err(Error::PortTaken(name.to_owned()));
        }
        taken.push(id);
        Ok(Port::new(PortInner::new(id, name, Arc::clone(&self.inner))))
    }
}

/// The names of all ports. The caller holds the lock on those taken: none is closed meanwhile.
fn names() -> Vec<String> {
    let mut names = Vec::new();
    // SAFETY: plain look-up; gives RTE_MAX_ETHPORTS when there are no more.
    let next = |from: u16| unsafe { sys::rte_eth_find_next(from) };
    let mut port = next(0);
    while u32::from(port) < sys::RTE_MAX_ETHPORTS {
        names.push(port_name(port));
        port = next(port + 1);
    }
    names
}

fn port_name(id: u16) -> String {
    let mut name = [0; sys::RTE_ETH_NAME_MAX_LEN as usize];
    // SAFETY: the buffer is as long as DPDK's longest name.
    if unsafe { sys::rte_eth_dev_get_name_by_port(id, name.as_mut_ptr()) } != 0 {
        return format!("port {id}");
    }
    // SAFETY: DPDK has written a terminated string into it.
    unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned()
}

impl Port<Stopped> {
    pub(crate) fn new(inner: PortInner) -> Self {
        Self { inner: Arc::new(inner), queues: 0, given: false, setup: Box::default(), _state: PhantomData }
    }

    /// Whether it can hash IPv6 packets by their addresses alone.
    ///
    /// # Errors
    /// The driver does not say what it is.
    pub fn can_hash_addresses(&self) -> Result<bool, Error> {
        Ok(rss::by_addresses(&self.dev_info()?))
    }

    /// Whether it shall, where it can, when it is configured next. Otherwise ports are hashed too, as far as the driver finds
    /// them: in a packet with an extension header many do not.
    pub fn hash_addresses(&mut self, alone: bool) {
        self.setup.by_addresses = alone;
    }
}

impl Port<Started> {
    /// Its queue pairs, in order. The second time there are none.
    pub fn take_queues(&mut self) -> Vec<(RxQueue, TxQueue)> {
        if core::mem::replace(&mut self.given, true) {
            return Vec::new();
        }
        let tx = |i| TxQueue::new(Arc::clone(&self.inner), i, self.setup.fast_free.clone());
        let rx = |i| RxQueue::new(Arc::clone(&self.inner), i).with_stamps(self.setup.stamps);
        let pair = |i| (rx(i), tx(i));
        (0..self.queues).map(pair).collect()
    }

    /// How packets are spread over its queues.
    ///
    /// # Errors
    /// The driver does not say what it is.
    pub fn spread(&self) -> Result<Spread, Error> {
        let Some(hash) = self.setup.hash else {
            return Ok(Spread { queues: self.queues, hashes: false, key: None, reached: None, ipv6: None });
        };
        let in_force = hash.in_force();
        let hashes = in_force.as_ref().is_none_or(|(fields, _)| *fields != 0);
        let reached = queues_reached(self.inner.id, self.queues, self.dev_info()?.reta_size);
        let ipv6 = in_force.as_ref().map(|&(fields, _)| rss::of_ipv6(fields));
        Ok(Spread { queues: self.queues, hashes, key: in_force.map(|(_, key)| key), reached, ipv6 })
    }

    /// Sets the device's MTU while it runs: octets from the network header on.
    ///
    /// # Errors
    /// The driver refuses it, or sets none.
    pub fn set_mtu(&self, mtu: u16) -> Result<(), Error> {
        // SAFETY: the port exists.
        self.check("rte_eth_dev_set_mtu", unsafe { sys::rte_eth_dev_set_mtu(self.inner.id, mtu) })
    }

    /// Stops it.
    ///
    /// # Errors
    /// A queue is still out, or the driver refuses; the port is then as it was.
    pub fn stop(mut self) -> Result<Port<Stopped>, (Self, Error)> {
        // Only this port could make more of them, and it is ours. Not by the count alone: what a worker did with a queue
        // before it dropped it must have happened before this.
        if Arc::get_mut(&mut self.inner).is_none() {
            let error = Error::QueuesOut(self.inner.name().to_owned());
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
