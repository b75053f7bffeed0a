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
    /// Why a packet was not measured, or did not verify. The same names stand in metrics, JSON and `docs/metrics.md`.
    Reason {
        /// Not an IPv6 packet, or IPv6 under something else than at most four VLAN tags.
        NotIpv6 = "not_ipv6",
        /// No policy matches, or the one that does has `mode = "off"`. Where all are off, or there are none, every
        /// packet, whatever it is: none is looked into.
        Off = "off",
        /// The policy says `pass` for this direction (inbound: for a packet that carries an option).
        PolicyPass = "policy_pass",
        /// Outbound: the policy's `lifetime` is over.
        PolicyExpired = "policy_expired",
        /// Shorter than its headers say, headers that go on behind its payload length (0, for instance, as offloading
        /// leaves it in packets above 64 KiB), or headers beyond the first buffer segment.
        Truncated = "truncated",
        /// More than 16 extension headers.
        TooManyHeaders = "too_many_headers",
        /// A Fragment header, atomic fragments included.
        Fragment = "fragment",
        /// An Authentication Header covers the chain.
        AuthenticationHeader = "authentication_header",
        /// Jumbo Payload option, or Hop-by-Hop Options under a payload length of 0.
        Jumbogram = "jumbogram",
        /// Neighbor Discovery, its inverse and secure variants.
        NeighborDiscovery = "neighbor_discovery",
        /// Multicast Listener Discovery, Multicast Router Discovery.
        Mld = "mld",
        /// An extension header contradicts its length, or Hop-by-Hop Options are not in front.
        MalformedHeader = "malformed_header",
        /// Option 0x0F of another length or version, or a second one: passed, whatever `on_failure` says.
        MalformedOption = "malformed_option",
        /// Routing header of an unknown type with segments left: no final destination.
        UnknownRouting = "unknown_routing",
        /// Outbound: it carries an option of the policy's form already, since its host measures by itself.
        AlreadyMeasured = "already_measured",
        /// Outbound: its Destination Options header would pass 2,048 octets, or it has 16 extension headers already.
        HeaderFull = "header_full",
        /// Outbound: with the option it would not fit the outside MTU, or pass 65,535 octets. Passed, or answered with
        /// Packet Too Big (`oversize = "ptb"`).
        Oversize = "oversize",
        /// Outbound: with the option it would not fit the path to its destination, whose MTU a router has reported
        /// within the last ten minutes; where that is less than 1,280 and the option, every packet to there. Passed, or
        /// answered with Packet Too Big (`oversize = "ptb"`).
        PathMtu = "path_mtu",
        /// Inbound: an ICMPv6 error about what the box has put in, which is dropped. Outbound: a packet to where that
        /// was about, for ten minutes.
        OptionRefused = "option_refused",
        /// Outbound: a clear form would stand outside ESP (RFC 8250 section 3.4.1).
        ClearOutsideEsp = "clear_outside_esp",
        /// Outbound: no room before the packet in its buffer.
        NoHeadroom = "no_headroom",
        /// Its buffer may not be written to, and there was none to copy it into; inbound its option is left in, whether
        /// it verified or not.
        ReadOnly = "read_only",
        /// Encrypted form, and no key to seal with (outbound) or no peer in the key file (inbound); also a client that
        /// a registrar was not told of, in scope `client`.
        NoKey = "no_key",
        /// Outbound: encrypted form, and the source is in none of this node's prefixes.
        SourceNotOurs = "source_not_ours",
        /// Outbound: no room for a new flow.
        TableFull = "table_full",
        /// Outbound: the flow is being taken out of the table at this moment.
        FlowLeaving = "flow_leaving",
        /// Outbound: the flow has used all 2^32 Kri of its generation.
        Exhausted = "exhausted",
        /// Outbound: workers met in one flow's state too often, or the generation has just changed.
        Contended = "contended",
        /// Outbound: its flow is another worker's, and there was no room in the ring to that worker, or that worker has ended.
        HandOverFull = "hand_over_full",
        /// Outbound: it was handed over to the worker that had its flow, which had given the flow away when it took the packet.
        OwnerChanged = "owner_changed",
        /// Inbound: the policy measures it, but it carries no option.
        NoOption = "no_option",
        /// It carries an option of another form than the policy's.
        OtherForm = "other_form",
        /// Inbound: its option is the hosts' own. The inside host has sent one of this form in the flow by itself, or,
        /// in clear forms, it stands where no box puts it.
        HostsOwn = "hosts_own",
        /// Inbound: no peer speaks for its source. `on_failure` decides.
        UnknownPeer = "unknown_peer",
        /// Inbound: it verifies under no key that was tried. `on_failure` decides.
        BadTag = "bad_tag",
        /// Inbound: its key had to be derived, or its first key failed, and the worker's budget for that was used up.
        /// `on_failure` decides.
        NoTrialsLeft = "no_trials_left",
        /// Inbound: it did not open (`unknown_peer`, `bad_tag`, `no_trials_left`, or no key at all) while the box was
        /// out of touch with its registrars, and may lack the key. Stripped, whatever `on_failure` says.
        OutOfTouch = "out_of_touch",
        /// Inbound: it was accepted before. `on_failure` decides.
        Replayed = "replayed",
        /// Inbound: behind the replay window of 1,116 packets, or under a key its flow has left. `on_failure` decides.
        TooOld = "too_old",
        /// The outgoing port did not take it after 64 attempts: dropped.
        TxFull = "tx_full",
    }
}

named! {
    /// What was found of an ICMPv6 error that quotes an option. The same names stand in metrics, JSON and `docs/metrics.md`.
    Finding {
        /// The quoted option is the box's own: it was taken out of the quotation, and a Packet Too Big's MTU lowered.
        Mended = "mended",
        /// It is about the option itself, of which the host knows nothing: dropped (`option_refused`).
        Refused = "refused",
        /// The quotation ends before the whole option, or before the 5-tuple.
        TooShort = "too_short",
        /// The packet quoted is of no flow in the table, or its option of another form than the flow's policy puts in.
        NotOurs = "not_ours",
        /// The quoted option's number is none that was lately sent in its flow, or its tag does not verify: forged, or
        /// sent under the generation before.
        NotSent = "not_sent",
        /// A Packet Too Big with an MTU below 1,280, or of no less than the packet had.
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
    fn reasons_have_distinct_names() {
        let names: std::collections::HashSet<_> = Reason::ALL.iter().map(|r| r.name()).collect();
        assert_eq!(names.len(), REASONS);
        assert!(Reason::ALL.iter().enumerate().all(|(i, &r)| r as usize == i));
    }
}
