//! The two ends of the rig, and what is called after them.

/// One end of the rig.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The client's.
    A,
    /// The server's.
    B,
}

impl Side {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// 0 or 1.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The other end.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// The host's interface.
    #[must_use]
    pub const fn tap(self) -> &'static str {
        ["tA", "tB"][self.index()]
    }

    /// The box's end of the wire.
    #[must_use]
    pub const fn wire(self) -> &'static str {
        ["w0", "w1"][self.index()]
    }

    /// The host's IPv6 address.
    #[must_use]
    pub const fn address(self) -> &'static str {
        ["2001:db8:a::1", "2001:db8:b::1"][self.index()]
    }

    /// The prefix that the box speaks for.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        ["2001:db8:a::/48", "2001:db8:b::/48"][self.index()]
    }

    /// The host's IPv6 address on VLAN 7.
    #[must_use]
    pub const fn vlan_address(self) -> &'static str {
        ["2001:db8:a:7::1", "2001:db8:b:7::1"][self.index()]
    }

    /// The host's IPv4 address.
    #[must_use]
    pub const fn address4(self) -> &'static str {
        ["192.0.2.1", "192.0.2.2"][self.index()]
    }

    /// The box's name.
    #[must_use]
    pub const fn node(self) -> &'static str {
        ["box-a", "box-b"][self.index()]
    }

    /// The MAC address of the host. It stays the same when a box is started again, so that the hosts need not learn it
    /// anew.
    pub(crate) const fn mac(self) -> &'static str {
        ["02:00:00:00:00:0a", "02:00:00:00:00:0b"][self.index()]
    }
}
