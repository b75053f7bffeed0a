//! A port of a running box, or its place while it is away: what is known of it all the time.

use crate::observe::counts::{PortCounts, PortLink, PortSettings};
use crate::ports::dpdk::Site;
use crate::ports::follow::Seen;
use crate::ports::interface::{Interface, Now};
use crate::ports::link::LinkPort;
use dpdk_ffi::{Error, Port, PortStats, Started, Stopped};
use pipeline::ports::dpdk::DpdkQueue;

/// A port, or its place.
pub(super) struct Side {
    pub name: String,
    /// `None`: it is away.
    pub port: Option<Port<Started>>,
    /// By worker, while the port is here and the workers do not have them.
    pub queues: Vec<DpdkQueue>,
    /// What the ports counted that were here before.
    pub before: PortCounts,
    /// What this one had counted when it was looked at last.
    last: PortCounts,
    pub settings: PortSettings,
    interface: Option<Interface>,
    /// Whether nobody has been told what its port was set up with.
    is_new: bool,
    /// Whether its device is lost, and not back.
    pub is_lost: bool,
}

/// How it is known that a port's device is lost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Loss {
    /// The kernel asks for it back, or it is gone.
    Device,
    /// The interface that it stands on.
    Interface(String, Now),
}

impl Side {
    /// A place, whose port comes later.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            port: None,
            queues: Vec::new(),
            before: PortCounts::default(),
            last: PortCounts::default(),
            settings: PortSettings::default(),
            interface: None,
            is_new: false,
            is_lost: false,
        }
    }

    /// Its port is here.
    pub fn install(&mut self, site: &Site, mut port: Port<Started>, interface: Option<Interface>) {
        self.queues = site.take_queues(&mut port);
        self.port = Some(port);
        self.is_new = true;
        self.interface = interface;
        self.before = self.before.and(&self.last);
        self.before.taken_up += u64::from(core::mem::take(&mut self.is_lost));
        self.last = PortCounts::default();
    }

    /// Takes note of what its port was set up with, and logs it. `false`: it has done so before.
    pub fn tell(&mut self, site: &Site, side: usize) -> bool {
        let Some(port) = self.port.as_ref().filter(|_| self.is_new) else { return false };
        self.settings = site.tell(side, port);
        self.is_new = false;
        true
    }

    /// Takes note of what it has counted, now that it is stopped.
    pub fn leave(&mut self, port: &Port<Stopped>) {
        if let Ok(stats) = port.stats()
            && !port.gone()
        {
            self.last = self.last.at_least(&of(&stats));
        }
    }

    /// What its ports count, and have counted.
    pub fn counts(&mut self) -> PortCounts {
        if let Some(port) = &self.port
            && !port.gone()
            && let Ok(stats) = port.stats()
        {
            self.last = of(&stats);
        }
        let link = self.port.as_ref().and_then(|port| port.link().ok()).filter(|link| link.up);
        let link_octets_per_second = link.map_or(0, |link| u64::from(link.mbit_per_second) * 125_000);
        let link = PortLink { link_up: link.is_some(), ..PortLink::default() };
        PortCounts { link_octets_per_second, link, ..self.before.and(&self.last) }
    }

    /// Whether its device is lost.
    pub fn lost(&self) -> Option<Loss> {
        if self.port.as_ref()?.removed() {
            return Some(Loss::Device);
        }
        let interface = self.interface.as_ref()?;
        let now = interface.now().filter(|now| *now != Now::Same)?;
        Some(Loss::Interface(interface.name.clone(), now))
    }

    /// It was here all the time, with nobody who polled it.
    pub fn stays(&mut self, site: &Site, side: usize) {
        if let Some(port) = &self.port {
            site.set_mtu_again(side, port);
        }
        self.before.discarded += self.queues.iter_mut().map(DpdkQueue::drain).sum::<u64>();
    }
}

/// A driver's counters.
fn of(stats: &PortStats) -> PortCounts {
    PortCounts {
        rx_packets: stats.rx_packets,
        tx_packets: stats.tx_packets,
        rx_octets: stats.rx_octets,
        tx_octets: stats.tx_octets,
        rx_missed: stats.rx_missed,
        rx_errors: stats.rx_errors,
        tx_errors: stats.tx_errors,
        rx_no_buffer: stats.rx_no_buffer,
        ..PortCounts::default()
    }
}

impl LinkPort for Side {
    fn name(&self) -> &str {
        &self.name
    }

    fn look(&self) -> Seen {
        match &self.port {
            Some(port) if !port.removed() => match port.link() {
                Ok(link) if link.up => Seen::Up,
                Ok(_) => Seen::Down,
                Err(_) => Seen::Unknown,
            },
            _ => Seen::Gone,
        }
    }

    fn set(&self, up: bool) -> Result<(), Error> {
        match &self.port {
            Some(port) => port.set_link(up),
            None => Err(Error::Unable { port: self.name.clone(), what: "it is away".into() }),
        }
    }
}
