//! Why packets were not measured, and what was found of errors about them: two lists, from which metrics, JSON and
//! documentation take their names.

use protocol::wire::ext_chain::WalkError;

/// Makes an enum of names, each with a label for programs and a sentence for people: its documentation.
macro_rules! named {
    ($(#[$meta:meta])+ $type:ident { $($(#[doc = $doc:literal])+ $name:ident = $label:literal,)+ }) => {
        $(#[$meta])+
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        #[repr(u8)]
        pub enum $type { $($(#[doc = $doc])+ $name,)+ }

        impl $type {
            /// Every one, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Its name in metrics and JSON.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }

            /// A sentence for people.
            #[must_use]
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+),)+ }
            }
        }
    };
}

named! {
    /// Why a packet was not measured, or did not verify. The same names stand in metrics, JSON and `docs/counters.md`.
    Reason {
        /// Not an IPv6 packet (or under tags that are not VLAN tags).
        NotIpv6 = "not_ipv6",
        /// No policy matches, or the policy that does is off.
        Off = "off",
        /// The policy says to pass packets of this direction as they are.
        PolicyPass = "policy_pass",
        /// The policy's lifetime is over.
        PolicyExpired = "policy_expired",
        /// The packet is shorter than its headers say.
        Truncated = "truncated",
        /// More extension headers than are walked.
        TooManyHeaders = "too_many_headers",
        /// A fragment, or an atomic fragment.
        Fragment = "fragment",
        /// An Authentication Header covers the header chain.
        AuthenticationHeader = "authentication_header",
        /// A jumbogram, or a packet without a payload length.
        Jumbogram = "jumbogram",
        /// Neighbor Discovery.
        NeighborDiscovery = "neighbor_discovery",
        /// Multicast Listener Discovery or Multicast Router Discovery.
        Mld = "mld",
        /// An extension header or its options contradict their lengths.
        MalformedHeader = "malformed_header",
        /// An option 0x0F of a wrong length or version, or a second one.
        MalformedOption = "malformed_option",
        /// A Routing header of an unknown type with segments left: the final destination is not known.
        UnknownRouting = "unknown_routing",
        /// The packet already carries an option of the policy's form: its host measures by itself.
        AlreadyMeasured = "already_measured",
        /// The Destination Options header would become longer than 2,048 octets.
        HeaderFull = "header_full",
        /// With the option the packet would not fit the outgoing MTU.
        Oversize = "oversize",
        /// With the option it would not fit the path, whose MTU a router has reported.
        PathMtu = "path_mtu",
        /// A node on the path refuses the option: its error is dropped, and packets there go without for ten minutes.
        OptionRefused = "option_refused",
        /// A clear option outside ESP would leak what ESP hides.
        ClearOutsideEsp = "clear_outside_esp",
        /// The buffer has no room before the packet.
        NoHeadroom = "no_headroom",
        /// The packet's buffer may not be written to, and there is none to copy it into.
        ReadOnly = "read_only",
        /// There is no key to seal or open with.
        NoKey = "no_key",
        /// The source address is not in the prefixes that this node speaks for.
        SourceNotOurs = "source_not_ours",
        /// The flow table is full.
        TableFull = "table_full",
        /// The flow is being taken out of the table at this moment.
        FlowLeaving = "flow_leaving",
        /// The flow has used every Kri of its generation.
        Exhausted = "exhausted",
        /// Workers met in one flow's state too often.
        Contended = "contended",
        /// The packet carries no PDM option.
        NoOption = "no_option",
        /// The option is of another form than the policy's; it belongs to somebody else.
        OtherForm = "other_form",
        /// The option is the hosts' own: the one on the inside measures by itself, or no box would have put it there.
        HostsOwn = "hosts_own",
        /// No peer speaks for the packet's source address.
        UnknownPeer = "unknown_peer",
        /// The tag does not verify under any key that was tried.
        BadTag = "bad_tag",
        /// The tag did not verify, and the worker had no trial openings left for this moment.
        NoTrialsLeft = "no_trials_left",
        /// It did not open while the box was out of touch with its registrars: it may lack the key.
        OutOfTouch = "out_of_touch",
        /// The packet was accepted before.
        Replayed = "replayed",
        /// The packet lies behind the replay window or under a key its flow has left.
        TooOld = "too_old",
        /// The outgoing port did not take the packet.
        TxFull = "tx_full",
    }
}

named! {
    /// What was found of an ICMPv6 error that quotes an option. The same names stand in metrics, JSON and `docs/counters.md`.
    Finding {
        /// The option was taken out of the quotation.
        Mended = "mended",
        /// It is about what the box has put in, of which the host knows nothing: dropped.
        Refused = "refused",
        /// The quotation ends before the whole option, or before the 5-tuple.
        TooShort = "too_short",
        /// The packet quoted is of no flow in the table, or its option of another form than the flow's.
        NotOurs = "not_ours",
        /// The quoted option's number is none that was lately sent in its flow, or its tag does not verify.
        NotSent = "not_sent",
        /// A Packet Too Big with an MTU below 1280, or of no less than the packet had.
        BadMtu = "bad_mtu",
        /// The checksum is wrong.
        BadChecksum = "bad_checksum",
        /// More of them came than are worked on.
        TooOften = "too_often",
    }
}

/// How many reasons there are.
pub const REASONS: usize = Reason::ALL.len();

/// How many findings there are.
pub const FINDINGS: usize = Finding::ALL.len();

impl From<WalkError> for Reason {
    fn from(error: WalkError) -> Self {
        match error {
            WalkError::NotIpv6 => Self::NotIpv6,
            WalkError::Truncated => Self::Truncated,
            WalkError::TooManyHeaders => Self::TooManyHeaders,
            WalkError::Fragment => Self::Fragment,
            WalkError::AuthenticationHeader => Self::AuthenticationHeader,
            WalkError::Jumbogram => Self::Jumbogram,
            WalkError::NeighborDiscovery => Self::NeighborDiscovery,
            WalkError::Mld => Self::Mld,
            WalkError::MalformedHeader => Self::MalformedHeader,
            WalkError::MalformedOption => Self::MalformedOption,
            WalkError::UnknownRouting => Self::UnknownRouting,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_names_every_reason() {
        let text = include_str!("../../../docs/counters.md");
        for reason in Reason::ALL {
            assert!(text.contains(&format!("\n| `{}` | ", reason.name())), "docs/counters.md lacks {}", reason.name());
        }
    }

    #[test]
    fn reasons_have_distinct_names() {
        let names: std::collections::HashSet<_> = Reason::ALL.iter().map(|r| r.name()).collect();
        assert_eq!(names.len(), REASONS);
        assert!(Reason::ALL.iter().enumerate().all(|(i, &r)| r as usize == i));
    }
}
