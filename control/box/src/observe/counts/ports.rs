//! What is known of ports: how they were set up, what their drivers count, how their links stand.

/// What a port was set up with.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PortSettings {
    /// DPDK's driver.
    pub driver: String,
    /// Offloads in use, by DPDK's names, with blanks between.
    pub offloads: String,
    /// What of IPv6 packets spreads them over queues: one of [`RSS_FIELDS`].
    pub rss: &'static str,
    /// What key it hashes them under: one of [`RSS_KEYS`].
    pub rss_key: &'static str,
    /// By what clock its packets come: one of [`TIMESTAMPS`].
    pub timestamps: &'static str,
    /// Queue pairs, one a worker.
    pub queues: u16,
    /// Octets from the network header on.
    pub mtu: u16,
    /// Octets in front of a packet in its buffer.
    pub headroom: u16,
    /// Descriptors of each receive queue, as the driver has them.
    pub rx_descriptors: u16,
    /// Descriptors of each transmit queue.
    pub tx_descriptors: u16,
    /// NUMA node, or `any`.
    pub numa_node: String,
}

/// What of IPv6 packets spreads them over queues.
pub const RSS_FIELDS: [&str; 4] = ["off", "addresses", "ports", "unknown"];

/// What key a port hashes packets under.
pub const RSS_KEYS: [&str; 4] = ["none", "symmetric", "own", "unknown"];

/// By what clock packets come.
pub const TIMESTAMPS: [&str; 2] = ["cpu", "device"];

/// A driver's counters.
#[derive(Clone, Copy, Debug, Default)]
pub struct PortCounts {
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Octets received.
    pub rx_octets: u64,
    /// Octets sent.
    pub tx_octets: u64,
    /// Packets the device dropped since its queue was full.
    pub rx_missed: u64,
    /// Damaged packets received.
    pub rx_errors: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// Times that no buffer was free to receive into.
    pub rx_no_buffer: u64,
    /// Packets that had come while the other port was away, dropped when it came back.
    pub discarded: u64,
    /// Times that its device was lost.
    pub lost: u64,
    /// Times that it was taken up again after that.
    pub taken_up: u64,
    /// Speed of its link in octets a second; 0: it is down, or the driver does not say.
    pub link_octets_per_second: u64,
    /// Its link.
    pub link: PortLink,
}

impl PortCounts {
    /// Both together; the link is the first one's.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    /// Of each the larger; the link is the first one's.
    #[must_use]
    pub fn at_least(&self, other: &Self) -> Self {
        self.with(other, u64::max)
    }

    fn with(&self, other: &Self, of: fn(u64, u64) -> u64) -> Self {
        Self {
            rx_packets: of(self.rx_packets, other.rx_packets),
            tx_packets: of(self.tx_packets, other.tx_packets),
            rx_octets: of(self.rx_octets, other.rx_octets),
            tx_octets: of(self.tx_octets, other.tx_octets),
            rx_missed: of(self.rx_missed, other.rx_missed),
            rx_errors: of(self.rx_errors, other.rx_errors),
            tx_errors: of(self.tx_errors, other.tx_errors),
            rx_no_buffer: of(self.rx_no_buffer, other.rx_no_buffer),
            discarded: of(self.discarded, other.discarded),
            lost: of(self.lost, other.lost),
            taken_up: of(self.taken_up, other.taken_up),
            link_octets_per_second: self.link_octets_per_second,
            link: self.link,
        }
    }
}

/// How the following of links may stand.
pub const LINK_STATES: [&str; 6] = ["off", "waiting", "following", "down", "rising", "lost"];

/// What is known of a port's link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortLink {
    /// Whether it is up.
    pub link_up: bool,
    /// How often it has gone up or down since the start.
    pub link_changes: u64,
    /// Whether this box has taken it down, since the other port has none.
    pub link_taken_down: bool,
    /// Whether the device is gone, or asked back by the kernel.
    pub device_gone: bool,
}

/// Both ports.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ports {
    /// Towards the hosts.
    pub inside: PortCounts,
    /// Towards the network.
    pub outside: PortCounts,
}
