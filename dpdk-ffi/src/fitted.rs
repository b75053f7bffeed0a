//! What a started port came to, as its driver has it.

use crate::error::Error;
use crate::port::{Port, Started};
use crate::sys;

/// Descriptors of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Descriptors {
    /// What was asked for.
    pub asked: u16,
    /// What there are, within the driver's bounds.
    pub in_force: u16,
}

/// What a port was set up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Fitted {
    /// Queue pairs.
    pub queues: u16,
    /// Octets from the network header on.
    pub mtu: u16,
    /// Octets that a buffer has in front of what is received into it.
    pub headroom: u16,
    /// NUMA node, if it has one.
    pub socket: Option<u32>,
    /// Whether it receives frames for all stations; software ports may do so without saying it.
    pub promiscuous: bool,
    /// Of each receive queue.
    pub rx: Descriptors,
    /// Of each transmit queue.
    pub tx: Descriptors,
}

impl Port<Started> {
    /// What it was set up with.
    ///
    /// # Errors
    /// The driver does not say what it is.
    pub fn fitted(&self) -> Result<Fitted, Error> {
        let info = self.info()?;
        let [mut rx, mut tx] = self.setup.descriptors;
        // Some drivers take fewer than they let DPDK know; few say what they took.
        let (mut of_rx, mut of_tx) = (sys::rte_eth_rxq_info::default(), sys::rte_eth_txq_info::default());
        // SAFETY: the port exists, and has a queue 0, since it is started; the answers' places are of their types.
        unsafe {
            if sys::rte_eth_rx_queue_info_get(self.inner.id, 0, &raw mut of_rx) == 0 && of_rx.nb_desc > 0 {
                rx.in_force = of_rx.nb_desc;
            }
            if sys::rte_eth_tx_queue_info_get(self.inner.id, 0, &raw mut of_tx) == 0 && of_tx.nb_desc > 0 {
                tx.in_force = of_tx.nb_desc;
            }
        }
        // SAFETY: the port exists.
        let promiscuous = unsafe { sys::rte_eth_promiscuous_get(self.inner.id) } == 1;
        let headroom = sys::PDM_HEADROOM as u16;
        Ok(Fitted { queues: self.queues, mtu: info.mtu, headroom, socket: info.socket, promiscuous, rx, tx })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mempool, PortConfig, testing};

    #[test]
    fn what_was_asked_for_and_what_came_of_it() {
        let eal = testing::eal();
        let pool = Mempool::new(&eal, "fitted", 1023, 0, 2048 + 128, None).expect("pool");
        let mut port = eal.port("net_null3").expect("port");
        let config = PortConfig { queues: 2, rx_descriptors: 256, tx_descriptors: 128, mtu: None, promiscuous: true };
        port.configure(&config, &pool).expect("configured");
        let fitted = port.start().expect("started").fitted().expect("said");
        let alike = |n| Descriptors { asked: n, in_force: n };
        let Fitted { socket, promiscuous, .. } = fitted;
        let expected =
            Fitted { queues: 2, mtu: 1500, headroom: 128, socket, promiscuous, rx: alike(256), tx: alike(128) };
        assert_eq!(fitted, expected);
    }
}
