//! Policy as the workers see it: first match over prefixes, protocol and ports; looked up for the first packet of a
//! flow, and once more when policies are replaced.

use protocol::five_tuple::FiveTuple;
use protocol::prefix::Prefix;
use protocol::wire::option::Form;

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
    /// The form of the option under it; `None`: there is none.
    #[inline]
    #[must_use]
    pub const fn form(self) -> Option<Form> {
        match self {
            Self::Off => None,
            Self::Pdm => Some(Form::Pdm),
            Self::Clear => Some(Form::Clear),
            Self::Encrypted => Some(Form::Encrypted),
        }
    }

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
    /// Nanoseconds after it came at which the policy turns itself off (RFC 8250 section 4.4), unless an operator has it end at
    /// another time.
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
