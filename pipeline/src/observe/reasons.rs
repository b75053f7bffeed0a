//! Why packets were not measured, and what was found of errors about them: two lists, from which metrics, JSON and
//! documentation take their names.

use protocol::wire::ext_chain::WalkError;

/// Makes an enum of names, each with a label for programs and a sentence for people: its documentation. Behind an arrow: what
/// to do about it.
macro_rules! named {
    ($(#[$meta:meta])+ $type:ident { $($(#[doc = $doc:literal])+ $name:ident = $label:literal $(=> $remedy:literal)?,)+ }) => {
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

            /// What to do about it; nothing of what calls for nothing.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$name => concat!("" $(, $remedy)?),)+ }
            }
        }
    };
}

named! {
    /// Why a packet was not measured, or did not verify. The same names stand in metrics, JSON and `docs/metrics.md`.
    Reason {
        /// Not an IPv6 packet, or IPv6 under something else than at most four VLAN tags.
        NotIpv6 = "not_ipv6"
            => "Nothing: only IPv6 is measured.",
        /// No policy matches, or the one that does has `mode = "off"`. Where all are off, or there are none, every
        /// packet, whatever it is: none is looked into.
        Off = "off"
            => "Nothing, if it is meant; else add a policy that matches, or move it in front of the one with `mode = \"off\"`.",
        /// The policy says `pass` for this direction (inbound: for a packet that carries an option).
        PolicyPass = "policy_pass"
            => "Nothing, if it is meant; else set the policy's `outbound` to `add`, its `inbound` to `remove` or `verify`.",
        /// Outbound: the policy has ended, by its `lifetime` or since it was stopped.
        PolicyExpired = "policy_expired"
            => "Nothing, if it is meant; else start it again: `pdmv2 policy start NAME --for 1h`. To last, change its `lifetime`.",
        /// Shorter than its headers say, headers that go on behind its payload length (0, for instance, as offloading
        /// leaves it in packets above 64 KiB), or headers beyond the first buffer segment.
        Truncated = "truncated"
            => "Look at a capture of the inside: a host's or a NIC's offload (GSO, LRO) makes packets whose headers do not fit; turn it off.",
        /// More than 16 extension headers.
        TooManyHeaders = "too_many_headers"
            => "Look at who sends such packets: no host needs as many headers.",
        /// A Fragment header, atomic fragments included.
        Fragment = "fragment"
            => "Let hosts send packets that fit (`mss_clamp`, a larger outside MTU): fragments cannot be measured.",
        /// An Authentication Header covers the chain.
        AuthenticationHeader = "authentication_header"
            => "Nothing: what AH covers may not be changed.",
        /// Jumbo Payload option, or Hop-by-Hop Options under a payload length of 0.
        Jumbogram = "jumbogram"
            => "Nothing: jumbograms cannot be measured.",
        /// Neighbor Discovery, its inverse and secure variants.
        NeighborDiscovery = "neighbor_discovery"
            => "Nothing: it is not for the network between the boxes.",
        /// Multicast Listener Discovery, Multicast Router Discovery.
        Mld = "mld"
            => "Nothing: it is not for the network between the boxes.",
        /// An extension header contradicts its length, or Hop-by-Hop Options are not in front.
        MalformedHeader = "malformed_header"
            => "Look at a capture for the host that sends broken headers.",
        /// Option 0x0F of another length or version, or a second one: passed, whatever `on_failure` says.
        MalformedOption = "malformed_option"
            => "See that the other side's option is of this version: something else uses option 0x0F, or the path damages it.",
        /// Routing header of an unknown type with segments left: no final destination.
        UnknownRouting = "unknown_routing"
            => "Nothing: the final destination of such packets cannot be known.",
        /// Outbound: it carries an option of the policy's form already, since its host measures by itself.
        AlreadyMeasured = "already_measured"
            => "Nothing, if hosts are to measure by themselves; else turn PDM off in the host.",
        /// Outbound: its Destination Options header would pass 2,048 octets, or it has 16 extension headers already.
        HeaderFull = "header_full"
            => "Look at who sends packets with so many options or headers.",
        /// Outbound: with the option it would not fit the outside MTU, or pass 65,535 octets. Passed, or answered with
        /// Packet Too Big (`oversize = "ptb"`).
        Oversize = "oversize"
            => "Raise the outside port's MTU by 40 octets, or set `mss_clamp = true` and `oversize = \"ptb\"`.",
        /// Outbound: with the option it would not fit the path to its destination, whose MTU a router has reported
        /// within the last ten minutes; where that is less than 1,280 and the option, every packet to there. Passed, or
        /// answered with Packet Too Big (`oversize = "ptb"`).
        PathMtu = "path_mtu"
            => "Nothing for a while; if it stays, set `oversize = \"ptb\"`, or raise the MTU on the path (docs/path-mtu.md).",
        /// Inbound: an ICMPv6 error about what the box has put in, which is dropped. Outbound: a packet to where that
        /// was about, for ten minutes.
        OptionRefused = "option_refused"
            => "Find the router or host that refuses options (docs/path-mtu.md), or set a policy with `mode = \"off\"` for that destination.",
        /// Outbound: a clear form would stand outside ESP (RFC 8250 section 3.4.1).
        ClearOutsideEsp = "clear_outside_esp"
            => "Set `mode = \"encrypted\"` for ESP, or leave it unmeasured.",
        /// Outbound: no room before the packet in its buffer.
        NoHeadroom = "no_headroom"
            => "Use a port whose driver leaves headroom before packets; this is a defect otherwise: report it.",
        /// Its buffer may not be written to, and there was none to copy it into; inbound its option is left in, whether
        /// it verified or not.
        ReadOnly = "read_only"
            => "Raise `[workers] mbufs`.",
        /// Encrypted form, and no key to seal with (outbound) or no peer in the key file (inbound); also a client that
        /// a registrar was not told of, in scope `client`.
        NoKey = "no_key"
            => "See `keys` in the status: configure [keys] or [registration], and list the other side in the key file.",
        /// Outbound: encrypted form, and the source is in none of this node's prefixes.
        SourceNotOurs = "source_not_ours"
            => "Add the source's prefix to this node, in the key file of all boxes or at the registrar; or keep such packets off the inside.",
        /// Outbound: no room for a new flow.
        TableFull = "table_full"
            => "Raise `[flow_table] capacity`, or lower `idle_timeout`.",
        /// Outbound: the flow is being taken out of the table at this moment.
        FlowLeaving = "flow_leaving"
            => "Nothing; if it is often, raise `[flow_table] idle_timeout`.",
        /// Outbound: the flow has used all 2^32 Kri of its generation.
        Exhausted = "exhausted"
            => "Set `[keys] max_age`, so that generations change in time.",
        /// Outbound: workers met in one flow's state too often, or the generation has just changed.
        Contended = "contended"
            => "Nothing; if it is often, set `[workers] rss = \"addresses\"`, so that a flow comes to one worker.",
        /// Outbound: its flow is another worker's, and there was no room in the ring to that worker, or that worker has ended.
        HandOverFull = "hand_over_full"
            => "Use ports that spread both directions alike (`[workers] rss = \"addresses\"`), or more workers.",
        /// Outbound: it was handed over to the worker that had its flow, which had given the flow away when it took the packet.
        OwnerChanged = "owner_changed"
            => "Nothing; if it is often, see `hand_over_full`.",
        /// Inbound: the policy measures it, but it carries no option.
        NoOption = "no_option"
            => "See that the other side has a box, that its policies match this one's, and that no firewall on the path takes options out.",
        /// It carries an option of another form than the policy's.
        OtherForm = "other_form"
            => "Give both boxes' policies the same `mode`.",
        /// Inbound: its option is the hosts' own. The inside host has sent one of this form in the flow by itself, or,
        /// in clear forms, it stands where no box puts it.
        HostsOwn = "hosts_own"
            => "Nothing: the hosts measure by themselves.",
        /// Inbound: no peer speaks for its source. `on_failure` decides.
        UnknownPeer = "unknown_peer"
            => "Add the other side's prefixes to the key file or the registrar, if the source is a box of yours; else somebody else sends options.",
        /// Inbound: it verifies under no key that was tried. `on_failure` decides.
        BadTag = "bad_tag"
            => "See that both boxes have the same key file, or registrars that agree; else the path changes packets, or somebody forges them.",
        /// Inbound: its key had to be derived, or its first key failed, and the worker's budget for that was used up.
        /// `on_failure` decides.
        NoTrialsLeft = "no_trials_left"
            => "Nothing, if it is short; else somebody floods the box with options that do not open: filter by source.",
        /// Inbound: it did not open (`unknown_peer`, `bad_tag`, `no_trials_left`, or no key at all) while the box was
        /// out of touch with its registrars, and may lack the key. Stripped, whatever `on_failure` says.
        OutOfTouch = "out_of_touch"
            => "Make the registrar reachable again: see `registration` in the status, and the box's log.",
        /// Inbound: it was accepted before. `on_failure` decides.
        Replayed = "replayed"
            => "Look for a link or switch on the path that duplicates packets; else somebody replays them.",
        /// Inbound: behind the replay window of 1,116 packets, or under a key its flow has left. `on_failure` decides.
        TooOld = "too_old"
            => "Look for a path that reorders packets by more than 1,116, or a queue that holds them for very long.",
        /// The outgoing port did not take it after 64 attempts: dropped.
        TxFull = "tx_full"
            => "The outgoing port is slower than what comes: use a faster port, or raise its `tx_descriptors`.",
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

    #[test]
    fn every_reason_says_what_to_do() {
        for reason in Reason::ALL {
            let remedy = reason.remedy();
            assert!(remedy.len() > 8 && remedy.ends_with('.') && !remedy.contains('\n'), "{}: {remedy}", reason.name());
        }
    }
}
