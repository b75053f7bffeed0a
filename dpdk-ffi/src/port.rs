//! Ports: configured while stopped, used while started.

use crate::eal::{EalInner, check};
use crate::error::Error;
use crate::queue::{RxQueue, TxQueue};
use crate::{Mbuf, Mempool, sys};
use arrayvec::ArrayVec;
use std::ffi::CStr;
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

#[derive(Debug)]
pub(crate) struct PortInner {
    pub id: u16,
    name: String,
    /// Keeps DPDK's memory.
    eal: Arc<EalInner>,
}

impl PortInner {
    pub fn new(id: u16, name: &str, eal: Arc<EalInner>) -> Self {
        Self { id, name: name.to_owned(), eal }
    }
}

impl Drop for PortInner {
    fn drop(&mut self) {
        // SAFETY: the port exists, and its queues, which hold an Arc of this, are gone. Stopping it twice does nothing.
        unsafe {
            sys::rte_eth_dev_stop(self.id);
            sys::rte_eth_dev_close(self.id);
        }
        let mut taken = self.eal.taken.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        taken.retain(|&id| id != self.id);
    }
}

/// A port in a state.
#[derive(Debug)]
pub struct Port<State> {
    inner: Arc<PortInner>,
    queues: u16,
    given: bool,
    /// Receives into it.
    pool: Option<Arc<Mempool>>,
    _state: PhantomData<State>,
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
    fn into_state<Other>(self) -> Port<Other> {
        Port { inner: self.inner, queues: self.queues, given: false, pool: self.pool, _state: PhantomData }
    }

    /// The name it was taken by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    fn check(&self, call: &'static str, result: i32) -> Result<(), Error> {
        check(&self.inner.name, call, result)
    }

    fn dev_info(&self) -> Result<sys::rte_eth_dev_info, Error> {
        let mut info = sys::rte_eth_dev_info::default();
        // SAFETY: the port exists; the answer's place is of its type.
        self.check("rte_eth_dev_info_get", unsafe { sys::rte_eth_dev_info_get(self.inner.id, &raw mut info) })?;
        Ok(info)
    }

    /// What the port is.
    ///
    /// # Errors
    /// The driver does not say.
    pub fn info(&self) -> Result<PortInfo, Error> {
        let (info, id) = (self.dev_info()?, self.inner.id);
        let (mut mac, mut mtu) = (sys::rte_ether_addr::default(), 0);
        // SAFETY: the port exists; the places are of their types; a driver's name is a static string.
        unsafe {
            self.check("rte_eth_macaddr_get", sys::rte_eth_macaddr_get(id, &raw mut mac))?;
            self.check("rte_eth_dev_get_mtu", sys::rte_eth_dev_get_mtu(id, &raw mut mtu))?;
            let driver = if info.driver_name.is_null() {
                String::new()
            } else {
                CStr::from_ptr(info.driver_name).to_string_lossy().into()
            };
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

/// A Toeplitz key of period 16 bits, under which both directions of a connection hash alike (Woo and Park, 2012).
static SYMMETRIC_KEY: [u8; 52] = {
    let mut key = [0x6D; 52];
    let mut i = 1;
    while i < key.len() {
        key[i] = 0x5A;
        i += 2;
    }
    key
};

/// Ethernet header, two VLAN tags, checksum.
const FRAMING: u32 = 26;

impl Port<Stopped> {
    pub(crate) fn new(inner: PortInner) -> Self {
        Self { inner: Arc::new(inner), queues: 0, given: false, pool: None, _state: PhantomData }
    }

    /// Sets the port up; packets are received into `pool`.
    ///
    /// # Errors
    /// The device has not as many queues, or the driver refuses something.
    pub fn configure(&mut self, config: &PortConfig, pool: &Arc<Mempool>) -> Result<(), Error> {
        let (info, id) = (self.dev_info()?, self.inner.id);
        let most = info.max_rx_queues.min(info.max_tx_queues);
        if config.queues == 0 || config.queues > most {
            let what =
                format!("{} workers need {0} queues, and the device has {most}; use {most} worker(s)", config.queues);
            return Err(Error::Unable { port: self.inner.name.clone(), what });
        }
        let mut conf = sys::rte_eth_conf::default();
        conf.rxmode.mq_mode = sys::PDM_MQ_NONE as _;
        conf.rxmode.mtu = u32::from(config.mtu.unwrap_or(0));
        if config.mtu.is_none() {
            let mut mtu = 0;
            // SAFETY: the port exists.
            self.check("rte_eth_dev_get_mtu", unsafe { sys::rte_eth_dev_get_mtu(id, &raw mut mtu) })?;
            conf.rxmode.mtu = u32::from(mtu);
        }
        // Only for frames that do not fit one buffer: many drivers have a faster path without.
        if conf.rxmode.mtu + FRAMING > u32::from(pool.room()) {
            conf.rxmode.offloads = info.rx_offload_capa & sys::PDM_RX_SCATTER;
            conf.txmode.offloads = info.tx_offload_capa & sys::PDM_TX_MULTI_SEGS;
        }
        let mut key = SYMMETRIC_KEY;
        if config.queues > 1 {
            let fields = info.flow_type_rss_offloads & sys::PDM_RSS_FIELDS;
            if fields != 0 {
                let rss = &mut conf.rx_adv_conf.rss_conf;
                conf.rxmode.mq_mode = sys::PDM_MQ_RSS as _;
                let length = if info.hash_key_size == 0 { 40 } else { info.hash_key_size };
                if usize::from(length) <= key.len() {
                    rss.rss_key = key.as_mut_ptr();
                    rss.rss_key_len = length;
                }
                rss.rss_hf = fields;
            }
        }
        // SAFETY: `conf` is initialised, and DPDK copies it and the key, which live until it returns.
        self.check("rte_eth_dev_configure", unsafe {
            sys::rte_eth_dev_configure(id, config.queues, config.queues, &raw const conf)
        })?;
        let (mut rx, mut tx) = (config.rx_descriptors, config.tx_descriptors);
        // SAFETY: the port is configured; both numbers are ours.
        self.check("rte_eth_dev_adjust_nb_rx_tx_desc", unsafe {
            sys::rte_eth_dev_adjust_nb_rx_tx_desc(id, &raw mut rx, &raw mut tx)
        })?;
        let socket = u32::try_from(socket_of(id)).unwrap_or(u32::MAX);
        for queue in 0..config.queues {
            let (mut rx_conf, mut tx_conf) = (info.default_rxconf, info.default_txconf);
            rx_conf.offloads = conf.rxmode.offloads;
            tx_conf.offloads = conf.txmode.offloads;
            // SAFETY: the port is configured for this many queues; the pool outlives it (held below and by the EAL); the
            // settings are copied.
            unsafe {
                let done = sys::rte_eth_rx_queue_setup(id, queue, rx, socket, &raw const rx_conf, pool.as_ptr());
                self.check("rte_eth_rx_queue_setup", done)?;
                let done = sys::rte_eth_tx_queue_setup(id, queue, tx, socket, &raw const tx_conf);
                self.check("rte_eth_tx_queue_setup", done)?;
            }
        }
        self.pool = Some(Arc::clone(pool));
        if let Some(mtu) = config.mtu {
            // SAFETY: the port exists.
            self.check("rte_eth_dev_set_mtu", unsafe { sys::rte_eth_dev_set_mtu(id, mtu) })?;
        }
        if config.promiscuous {
            // Virtual drivers may have neither; a bump in the wire on them gets everything anyway.
            // SAFETY: the port exists.
            unsafe {
                sys::rte_eth_promiscuous_enable(id);
                sys::rte_eth_allmulticast_enable(id);
            }
        }
        self.queues = config.queues;
        Ok(())
    }

    /// Starts it.
    ///
    /// # Errors
    /// It is not configured, or the driver refuses.
    pub fn start(self) -> Result<Port<Started>, Error> {
        if self.queues == 0 {
            return Err(Error::Unable {
                port: self.inner.name.clone(),
                what: "configure it before it is started".into(),
            });
        }
        // SAFETY: the port is configured and its queues are set up.
        self.check("rte_eth_dev_start", unsafe { sys::rte_eth_dev_start(self.inner.id) })?;
        if self.info()?.driver == PACKET_SOCKET {
            self.forget_strangers();
        }
        Ok(self.into_state())
    }

    /// Throws away what a packet socket has received so far, and counts from there. The driver of DPDK 22.11 opens its
    /// sockets for all interfaces of the namespace and binds them milliseconds later: what passed another interface in
    /// between lies in front of the first packet of this port's, and would be forwarded with it.
    fn forget_strangers(&self) {
        let mut packets = ArrayVec::<Mbuf, 64>::new();
        for number in 0..self.queues {
            let mut queue = RxQueue::new(Arc::clone(&self.inner), number);
            for _ in 0..PACKET_SOCKET_FRAMES / packets.capacity() {
                if queue.burst(&mut packets, usize::MAX) == 0 {
                    break;
                }
                packets.clear();
            }
        }
        // SAFETY: the port exists.
        unsafe { sys::rte_eth_stats_reset(self.inner.id) };
    }
}

/// The driver on a packet socket of the kernel's.
const PACKET_SOCKET: &str = "net_af_packet";
/// At most so many frames are thrown away at the start of a queue: more than any ring holds, and an end where more come
/// all the time.
const PACKET_SOCKET_FRAMES: usize = 1 << 17;

fn socket_of(id: u16) -> i32 {
    // SAFETY: plain look-up.
    unsafe { sys::rte_eth_dev_socket_id(id) }
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
    pub fn stop(self) -> Result<Port<Stopped>, (Self, Error)> {
        // Only this port could make more of them, and it is ours.
        if Arc::strong_count(&self.inner) > 1 {
            let error = Error::QueuesOut(self.inner.name.clone());
            return Err((self, error));
        }
        // SAFETY: the port exists and no queue of it is in use.
        match self.check("rte_eth_dev_stop", unsafe { sys::rte_eth_dev_stop(self.inner.id) }) {
            Ok(()) => Ok(self.into_state()),
            Err(error) => Err((self, error)),
        }
    }
}
