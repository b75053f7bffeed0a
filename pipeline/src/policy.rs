//! Policy as the workers see it: first match over prefixes, protocol and ports; looked up for the first packet of a
//! flow and kept in the flow.

use protocol::five_tuple::FiveTuple;

/// An IPv6 prefix. `contains` is two masked 64-bit compares.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix {
    network: u128,
    mask: u128,
    len: u8,
}

impl Prefix {
    /// `::/0`: every address.
    pub const ANY: Self = Self { network: 0, mask: 0, len: 0 };

    /// A prefix of `len` bits (at most 128); bits behind it are cleared.
    #[must_use]
    pub const fn new(address: [u8; 16], len: u8) -> Option<Self> {
        if len > 128 {
            return None;
        }
        let mask = if len == 0 { 0 } else { u128::MAX << (128 - len) };
        Some(Self { network: u128::from_be_bytes(address) & mask, mask, len })
    }

    /// Whether the address lies within.
    #[must_use]
    pub const fn contains(&self, address: &[u8; 16]) -> bool {
        self.contains_bits(u128::from_be_bytes(*address))
    }

    /// The same of an address as a number.
    #[inline]
    #[must_use]
    pub const fn contains_bits(&self, address: u128) -> bool {
        address & self.mask == self.network
    }

    /// Whether two prefixes share an address.
    #[must_use]
    pub const fn overlaps(&self, other: &Self) -> bool {
        let mask = self.mask & other.mask;
        self.network & mask == other.network & mask
    }

    /// Its first address.
    #[must_use]
    pub const fn address(&self) -> [u8; 16] {
        self.network.to_be_bytes()
    }

    /// Its first address, as a number.
    #[must_use]
    pub const fn first_bits(&self) -> u128 {
        self.network
    }

    /// Its last address, as a number.
    #[must_use]
    pub const fn last_bits(&self) -> u128 {
        self.network | !self.mask
    }

    /// Prefix length in bits.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a prefix is never empty")]
    pub const fn len(&self) -> u8 {
        self.len
    }

    /// Whether it is `::/0`.
    #[must_use]
    pub const fn is_any(&self) -> bool {
        self.len == 0
    }
}

impl core::fmt::Display for Prefix {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}/{}", core::net::Ipv6Addr::from(self.network), self.len)
    }
}

impl core::fmt::Debug for Prefix {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

impl core::str::FromStr for Prefix {
    type Err = String;

    /// `2001:db8::/32`, or an address alone for a /128. Host bits must be zero.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, len) = match text.split_once('/') {
            Some((a, l)) => (a, l.parse::<u8>().map_err(|_| format!("'{l}' is not a prefix length (0 to 128)"))?),
            None => (text, 128),
        };
        let address: core::net::Ipv6Addr =
            address.parse().map_err(|_| format!("'{address}' is not an IPv6 address"))?;
        let prefix =
            Self::new(address.octets(), len).ok_or_else(|| format!("'{len}' is not a prefix length (0 to 128)"))?;
        if prefix.network != u128::from(address) {
            return Err(format!("'{text}' has bits set behind its prefix length; did you mean {prefix}?"));
        }
        Ok(prefix)
    }
}

/// Which form of the option a policy's packets carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Not measured: packets pass.
    Off,
    /// PDM of RFC 8250, 10 octets of data.
    Pdm,
    /// `PDMv2` in clear, 18 octets of data.
    Clear,
    /// `PDMv2` sealed, 34 octets of data.
    Encrypted,
}

impl Mode {
    /// Its name in configurations and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Pdm => "pdm",
            Self::Clear => "clear",
            Self::Encrypted => "encrypted",
        }
    }
}

/// What happens to a packet whose option does not verify.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnFailure {
    /// The packet is dropped.
    Drop,
    /// The option is taken out and the packet goes on: a measurement that fails is no reason to lose a host's packet.
    #[default]
    Strip,
    /// The packet goes on as it came.
    Pass,
}

/// What is done with packets from the inside port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OutboundAction {
    /// Add the option.
    Add,
    /// Leave the packet as it is.
    Pass,
}

/// What is done with packets from the outside port that carry an option.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InboundAction {
    /// Open, count, take the option out.
    Remove,
    /// Open, count, leave the option in place.
    Verify,
    /// Leave the packet as it is, unopened.
    Pass,
}

/// The transport protocol a policy matches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProtocolMatch {
    /// Every protocol.
    Any,
    /// This IANA protocol number.
    Number(u8),
}

/// One rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Its name in counters and messages.
    pub name: String,
    /// Addresses behind the inside port; empty matches every address.
    pub inside: Vec<Prefix>,
    /// Addresses beyond the outside port; empty matches every address.
    pub outside: Vec<Prefix>,
    /// Transport protocol.
    pub protocol: ProtocolMatch,
    /// Inclusive port ranges, one of which must hold the inside or the outside port; empty matches all.
    pub ports: Vec<(u16, u16)>,
    /// The option's form.
    pub mode: Mode,
    /// What becomes of packets whose option does not verify.
    pub on_failure: OnFailure,
    /// Towards the network.
    pub outbound: OutboundAction,
    /// Coming back.
    pub inbound: InboundAction,
    /// Nanoseconds after the start of the box at which the policy turns itself off (RFC 8250 section 4.4).
    pub lifetime_ns: Option<u64>,
}

impl Policy {
    /// Every packet both ways under this form, all else as it is by default.
    #[must_use]
    pub fn everything(mode: Mode) -> Self {
        Self {
            name: "all".into(),
            inside: vec![],
            outside: vec![],
            protocol: ProtocolMatch::Any,
            ports: vec![],
            mode,
            on_failure: OnFailure::default(),
            outbound: OutboundAction::Add,
            inbound: InboundAction::Remove,
            lifetime_ns: None,
        }
    }

    /// Whether a flow falls under this rule. `outbound` is the 5-tuple of packets from inside to outside, as
    /// [`FiveTuple::words`] gives it.
    #[must_use]
    pub fn matches(&self, outbound: &[u64; 5]) -> bool {
        let tuple = FiveTuple::from_words(*outbound);
        let within = |list: &[Prefix], address: &[u8; 16]| list.is_empty() || list.iter().any(|p| p.contains(address));
        let port = |p: u16| self.ports.iter().any(|&(lo, hi)| (lo..=hi).contains(&p));
        within(&self.inside, &tuple.src)
            && within(&self.outside, &tuple.dst)
            && match self.protocol {
                ProtocolMatch::Any => true,
                ProtocolMatch::Number(n) => n == tuple.protocol,
            }
            && (self.ports.is_empty() || port(tuple.sport) || port(tuple.dport))
    }
}
