//! What happened to every packet: one list of reasons, and counters that each worker keeps for itself.

use crate::inbound::icmp_error::FINDINGS;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use protocol::wire::ext_chain::WalkError;
use protocol::wire::option::Form;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $label:literal,)+) => {
        /// Why a packet was not measured, or did not verify. The same names stand in metrics, JSON and `docs/counters.md`.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        #[repr(u8)]
        pub enum Reason { $($(#[doc = $doc])+ $name,)+ }

        impl Reason {
            /// Every reason, in the order of its number.
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

reasons! {
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

/// How many reasons there are.
pub const REASONS: usize = Reason::ALL.len();

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

/// A counter with one writer, which therefore needs no atomic addition, and any number of readers.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds. Only from the worker that owns it.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The present value.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Eight buckets per doubling: a quantile is off by 12.5 per cent at the most.
const SUB_BITS: u32 = 3;
/// Buckets of a [`Histogram`].
pub const BUCKETS: usize = 62 << SUB_BITS;

/// Times in nanoseconds, by size.
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[Counter; BUCKETS]>,
    sum: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: Box::new(core::array::from_fn(|_| Counter::default())), sum: Counter::default() }
    }
}

impl Histogram {
    fn bucket(ns: u64) -> usize {
        let exponent = ns.max(1 << SUB_BITS).ilog2() - SUB_BITS;
        (((exponent as usize) << SUB_BITS) + (ns >> exponent) as usize).min(BUCKETS - 1)
    }

    /// The smallest time, in nanoseconds, of bucket `i`.
    #[must_use]
    pub fn lower_bound(i: usize) -> u64 {
        let (exponent, rest) = (i >> SUB_BITS, i as u64 & ((1 << SUB_BITS) - 1));
        if exponent == 0 { rest } else { (rest + (1 << SUB_BITS)) << (exponent - 1) }
    }

    /// Counts one time.
    #[inline]
    pub fn record(&self, ns: u64) {
        self.buckets[Self::bucket(ns)].add(1);
        self.sum.add(ns);
    }

    /// Adds this histogram's counts to `into` (of [`BUCKETS`] entries); gives the sum in nanoseconds.
    pub fn merge_into(&self, into: &mut [u64]) -> u64 {
        for (sum, bucket) in into.iter_mut().zip(self.buckets.iter()) {
            *sum += bucket.get();
        }
        self.sum.get()
    }
}

/// One direction's counters.
#[derive(Debug)]
pub struct DirectionCounters {
    /// Packets received from the port.
    pub received: Counter,
    /// Options added (outbound) by form.
    pub added: [Counter; 3],
    /// Options taken out (inbound) by form.
    pub removed: [Counter; 3],
    /// Options checked and left in place (inbound) by form.
    pub verified: [Counter; 3],
    /// Packets passed as they came, by reason.
    pub passed: [Counter; REASONS],
    /// Packets whose option did not verify and was taken out, by reason.
    pub stripped: [Counter; REASONS],
    /// Packets dropped, by reason.
    pub dropped: [Counter; REASONS],
    /// Packets answered with ICMPv6 Packet Too Big.
    pub too_big: Counter,
}

impl Default for DirectionCounters {
    fn default() -> Self {
        let reasons = || core::array::from_fn(|_| Counter::default());
        Self {
            received: Counter::default(),
            added: Default::default(),
            removed: Default::default(),
            verified: Default::default(),
            passed: reasons(),
            stripped: reasons(),
            dropped: reasons(),
            too_big: Counter::default(),
        }
    }
}

/// What became of one packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It got an option.
    Added(Form),
    /// Its option verified and was taken out.
    Removed(Form),
    /// Its option verified and stays.
    Verified(Form),
    /// It goes on as it came.
    Passed(Reason),
    /// Its option did not verify and was taken out.
    Stripped(Reason),
    /// It is dropped.
    Dropped(Reason),
    /// It was turned into an ICMPv6 Packet Too Big and goes back.
    TooBig,
}

impl DirectionCounters {
    /// Counts packets of one outcome.
    #[inline]
    pub fn count(&self, outcome: Outcome, packets: u64) {
        let counter = match outcome {
            Outcome::Added(form) => &self.added[form as usize],
            Outcome::Removed(form) => &self.removed[form as usize],
            Outcome::Verified(form) => &self.verified[form as usize],
            Outcome::Passed(reason) => &self.passed[reason as usize],
            Outcome::Stripped(reason) => &self.stripped[reason as usize],
            Outcome::Dropped(reason) => &self.dropped[reason as usize],
            Outcome::TooBig => &self.too_big,
        };
        counter.add(packets);
    }
}

/// Counters of one policy.
#[derive(Debug, Default)]
pub struct PolicyCounters {
    /// Options added.
    pub added: Counter,
    /// Options that verified.
    pub accepted: Counter,
    /// Options that did not.
    pub failed: Counter,
}

/// Counts packets by policy: a counter is added to once for each run of packets of one policy.
pub(crate) struct Runs<'a> {
    policies: &'a [PolicyCounters],
    counter: fn(&PolicyCounters) -> &Counter,
    policy: u32,
    count: u64,
}

impl<'a> Runs<'a> {
    pub(crate) const fn new(counters: &'a WorkerCounters, counter: fn(&PolicyCounters) -> &Counter) -> Self {
        Self { policies: counters.policies.as_slice(), counter, policy: 0, count: 0 }
    }

    #[inline]
    pub(crate) fn count(&mut self, policy: u32) {
        if self.policy != policy {
            self.add();
            self.policy = policy;
        }
        self.count += 1;
    }

    /// Ends the last run.
    pub(crate) fn end(mut self) {
        self.add();
    }

    #[inline]
    fn add(&mut self) {
        if let Some(policy) = self.policies.get(self.policy as usize) {
            (self.counter)(policy).add(core::mem::take(&mut self.count));
        }
    }
}

/// Everything one worker counts.
#[derive(Debug, Default)]
pub struct WorkerCounters {
    /// From inside to outside.
    pub outbound: DirectionCounters,
    /// From outside to inside.
    pub inbound: DirectionCounters,
    /// By policy, in the configuration's order.
    pub policies: Vec<PolicyCounters>,
    /// Bursts that held packets.
    pub bursts: Counter,
    /// Polls that found none.
    pub empty_polls: Counter,
    /// Packet sequence numbers that were skipped when a later one came: lost, or reordered.
    pub skipped: Counter,
    /// Packets that came behind a later one.
    pub reordered: Counter,
    /// Kri changes seen in packets opened.
    pub rotations: Counter,
    /// Kri changes made in packets sealed.
    pub rotations_sealed: Counter,
    /// Session keys derived.
    pub derivations: Counter,
    /// Openings tried beyond a packet's first.
    pub trials: Counter,
    /// Flows put into the table.
    pub flows_inserted: Counter,
    /// Genuine packets let through without a record, since the flow table was full.
    pub unrecorded: Counter,
    /// TCP SYNs whose MSS was lowered.
    pub mss_clamped: Counter,
    /// ICMPv6 errors that quote an option, by [`Finding`](crate::inbound::icmp_error::Finding).
    pub quotations: [Counter; FINDINGS],
    /// Changes of what is known of paths.
    pub path_mtus_learnt: Counter,
    /// Packets that were copied to be changed, since their buffer may not be written to.
    pub copied: Counter,
    /// Round-trip times between the boxes.
    pub round_trip: Histogram,
    /// Delays at the other side.
    pub server_delay: Histogram,
}

impl WorkerCounters {
    /// Counters for a configuration of this many policies.
    #[must_use]
    pub fn new(policies: usize) -> Self {
        Self { policies: (0..policies).map(|_| PolicyCounters::default()).collect(), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histogram_buckets_are_in_order_and_hold_their_bounds() {
        for ns in (0..5000u64).chain((0..60).map(|s| 3 << s)).chain([u64::MAX]) {
            let b = Histogram::bucket(ns);
            assert!(Histogram::lower_bound(b) <= ns, "{ns} in bucket {b}");
            assert!(b + 1 == BUCKETS || Histogram::lower_bound(b + 1) > ns, "{ns} in bucket {b}");
        }
    }

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
