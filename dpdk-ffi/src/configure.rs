//! Setting a port up, and starting it.

use crate::error::{Error, text};
use crate::fitted::Descriptors;
use crate::mbuf::Mbuf;
use crate::mempool::Mempool;
use crate::port::{Port, PortConfig, Started, Stopped};
use crate::queue::RxQueue;
use crate::rss::Hash;
use crate::stamps::Stamps;
use crate::sys;
use arrayvec::ArrayVec;
use std::sync::Arc;

/// Ethernet header, two VLAN tags, checksum.
const FRAMING: u32 = 26;

impl Port<Stopped> {
    /// Sets the port up; packets are received into `pool`.
    ///
    /// # Errors
    /// The device has not as many queues, or the driver refuses something.
    pub fn configure(&mut self, config: &PortConfig, pool: &Arc<Mempool>) -> Result<(), Error> {
        // What fails half-way cannot be started.
        self.queues = 0;
        let (info, id) = (self.dev_info()?, self.inner.id);
        let most = info.max_rx_queues.min(info.max_tx_queues);
        if config.queues == 0 || config.queues > most {
            let what =
                format!("{} workers need {0} queues, and the device has {most}; use {most} worker(s)", config.queues);
            return Err(Error::Unable { port: self.name().to_owned(), what });
        }
        let mut conf = sys::rte_eth_conf::default();
        // Some drivers notice on their own that the device is pulled.
        conf.intr_conf.set_rmv(u32::from(flags_of(&info) & sys::PDM_INTR_RMV != 0));
        conf.rxmode.mq_mode = sys::PDM_MQ_NONE as _;
        let mut now = 0;
        // SAFETY: the port exists; the answer's place is of its type.
        self.check("rte_eth_dev_get_mtu", unsafe { sys::rte_eth_dev_get_mtu(id, &raw mut now) })?;
        conf.rxmode.mtu = u32::from(config.mtu.unwrap_or(now));
        self.choose_offloads(&mut conf, &info, pool);
        self.setup.hash = if config.queues > 1 { Hash::new(id, &info, self.setup.by_addresses) } else { None };
        if let Some(hash) = self.setup.hash {
            conf.rxmode.mq_mode = sys::PDM_MQ_RSS as _;
            conf.rx_adv_conf.rss_conf = hash.conf();
        }
        // SAFETY: `conf` is initialised, and DPDK copies it. Of what it points to, the hash key, DPDK keeps the pointer; the
        // key lives for good.
        let done = unsafe { sys::rte_eth_dev_configure(id, config.queues, config.queues, &raw const conf) };
        let limits = MtuLimits::of(&info);
        match config.mtu {
            Some(mtu) if done < 0 && !limits.allow(mtu) => return Err(self.refused_mtu(mtu, now, limits, done)),
            _ => self.check("rte_eth_dev_configure", done)?,
        }
        let (mut rx, mut tx) = (config.rx_descriptors, config.tx_descriptors);
        // SAFETY: the port is configured; both numbers are ours.
        self.check("rte_eth_dev_adjust_nb_rx_tx_desc", unsafe {
            sys::rte_eth_dev_adjust_nb_rx_tx_desc(id, &raw mut rx, &raw mut tx)
        })?;
        self.setup.descriptors = [(config.rx_descriptors, rx), (config.tx_descriptors, tx)]
            .map(|(asked, in_force)| Descriptors { asked, in_force });
        self.inner.hold(pool);
        let socket = u32::try_from(socket_of(id)).unwrap_or(u32::MAX);
        for queue in 0..config.queues {
            let (mut rx_conf, mut tx_conf) = (info.default_rxconf, info.default_txconf);
            rx_conf.offloads = conf.rxmode.offloads;
            tx_conf.offloads = conf.txmode.offloads;
            // SAFETY: the port is configured for this many queues, and holds the pool until it is closed; the settings are
            // copied.
            unsafe {
                let done = sys::rte_eth_rx_queue_setup(id, queue, rx, socket, &raw const rx_conf, pool.as_ptr());
                self.check("rte_eth_rx_queue_setup", done)?;
                let done = sys::rte_eth_tx_queue_setup(id, queue, tx, socket, &raw const tx_conf);
                self.check("rte_eth_tx_queue_setup", done)?;
            }
        }
        if let Some(mtu) = config.mtu {
            // SAFETY: the port exists.
            let done = unsafe { sys::rte_eth_dev_set_mtu(id, mtu) };
            if done < 0 {
                return Err(self.refused_mtu(mtu, now, limits, done));
            }
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

    /// What the device does by itself of receiving and sending.
    fn choose_offloads(&mut self, conf: &mut sys::rte_eth_conf, info: &sys::rte_eth_dev_info, pool: &Arc<Mempool>) {
        // Only for frames that do not fit one buffer: many drivers have a faster path without.
        let fits = conf.rxmode.mtu + FRAMING <= u32::from(pool.room());
        if !fits {
            conf.rxmode.offloads = info.rx_offload_capa & sys::PDM_RX_SCATTER;
            conf.txmode.offloads = info.tx_offload_capa & sys::PDM_TX_MULTI_SEGS;
        }
        self.setup.stamps = if self.setup.wants_stamps { Stamps::of(info) } else { None };
        if self.setup.stamps.is_some() {
            conf.rxmode.offloads |= info.rx_offload_capa & sys::PDM_RX_TIMESTAMP;
        }
        // Otherwise the driver may be handed frames of several buffers, and has to look at each.
        let alike = fits && !self.inner.receives_into_devices();
        let fast_free = info.tx_offload_capa & sys::PDM_TX_FAST_FREE;
        self.setup.fast_free = (alike && fast_free != 0).then(|| Arc::clone(pool));
        if self.setup.fast_free.is_some() {
            conf.txmode.offloads |= fast_free;
        }
        self.setup.offloads = [conf.rxmode.offloads, conf.txmode.offloads];
    }

    /// `now`: the MTU it had.
    fn refused_mtu(&self, mtu: u16, now: u16, limits: MtuLimits, error: i32) -> Error {
        let limits = limits.say(mtu, now, error.abs() == libc::ENOTSUP);
        Error::Mtu { port: self.name().to_owned(), mtu, reason: text(error), limits }
    }

    /// Starts it.
    ///
    /// # Errors
    /// It is not configured, or the driver refuses.
    pub fn start(self) -> Result<Port<Started>, Error> {
        if self.queues == 0 {
            return Err(Error::Unable {
                port: self.name().to_owned(),
                what: "configure it before it is started".into(),
            });
        }
        // SAFETY: the port is configured and its queues are set up.
        self.check("rte_eth_dev_start", unsafe { sys::rte_eth_dev_start(self.inner.id) })?;
        self.inner.set_started(true);
        if let Some(hash) = self.setup.hash {
            hash.put_in_force();
        }
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

/// The MTUs a device says it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct MtuLimits {
    least: u16,
    most: u16,
}

impl MtuLimits {
    /// As DPDK checks them: by the MTU, and by the longest frame.
    fn of(info: &sys::rte_eth_dev_info) -> Self {
        let longest = info.max_rx_pktlen;
        let framing = match longest.checked_sub(u32::from(info.max_mtu)) {
            Some(framing @ 1..) if info.max_mtu != u16::MAX => framing,
            _ => 18, // Ethernet's header and checksum
        };
        let most = longest.saturating_sub(framing).min(u32::from(info.max_mtu));
        Self { least: info.min_mtu, most: most.try_into().unwrap_or(u16::MAX) }
    }

    const fn allow(self, mtu: u16) -> bool {
        self.least <= mtu && mtu <= self.most
    }

    /// What it takes, and what to write; `now`: the MTU it had.
    fn say(self, mtu: u16, now: u16, cannot: bool) -> String {
        let Self { least, most } = self;
        if cannot {
            return format!("its driver sets none; leave mtu out (it is {now}), or set it where the device comes from");
        }
        if mtu > most {
            return format!("it takes {least} to {most}; set mtu = {most} or less");
        }
        if mtu < least {
            return format!("it takes {least} to {most}; set mtu = {least} or more");
        }
        format!("it says that it takes {least} to {most}, and has {now} now; set mtu = {now}, or leave it out")
    }
}

fn flags_of(info: &sys::rte_eth_dev_info) -> u32 {
    // SAFETY: DPDK points to the flags of a port that exists, or nowhere.
    unsafe { info.dev_flags.as_ref() }.copied().unwrap_or(0)
}

fn socket_of(id: u16) -> i32 {
    // SAFETY: plain look-up.
    unsafe { sys::rte_eth_dev_socket_id(id) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mempool, testing};

    fn limits(min_mtu: u16, max_mtu: u16, max_rx_pktlen: u32) -> MtuLimits {
        MtuLimits::of(&sys::rte_eth_dev_info { min_mtu, max_mtu, max_rx_pktlen, ..Default::default() })
    }

    #[test]
    fn the_limits_of_an_mtu_are_the_devices() {
        assert_eq!(limits(68, 9702, 9728), MtuLimits { least: 68, most: 9702 });
        assert_eq!(limits(68, u16::MAX, 1514), MtuLimits { least: 68, most: 1496 });
        assert_eq!(limits(68, u16::MAX, u32::MAX), MtuLimits { least: 68, most: u16::MAX });
        assert_eq!(limits(68, 9000, 1522), MtuLimits { least: 68, most: 1504 });
        let igb = limits(68, 9712, 9730);
        assert!(igb.allow(1500) && igb.allow(9712) && !igb.allow(9713) && !igb.allow(67));
        assert_eq!(igb.say(9713, 1500, false), "it takes 68 to 9712; set mtu = 9712 or less");
        assert_eq!(
            igb.say(9000, 1500, false),
            "it says that it takes 68 to 9712, and has 1500 now; set mtu = 1500, or leave it out"
        );
    }

    #[test]
    fn an_mtu_that_is_refused_is_named_with_what_to_write() {
        let eal = testing::eal();
        let pool = Mempool::new(&eal, "mtu", 1023, 0, 2048 + 128, None).expect("pool");
        let mut port = eal.port("net_ring0").expect("port");
        let config =
            PortConfig { queues: 1, rx_descriptors: 256, tx_descriptors: 256, mtu: Some(9000), promiscuous: true };
        let error = port.configure(&config, &pool).expect_err("net_ring sets no MTU").to_string();
        assert!(
            error.contains("'net_ring0' does not take an MTU of 9000") && error.contains("leave mtu out (it is 1500"),
            "{error}"
        );
        // And a port that was refused can be set up otherwise: DPDK has noted the MTU, which changes nothing here.
        port.configure(&PortConfig { mtu: None, ..config }, &pool).expect("configured");
        port.start().map(drop).expect("started");
    }
}
