//! The settings of the path as workers read them: policies, what each means for a packet, and what a policy keeps while others
//! come and go around it.
//!
//! Rules are immutable and replaced as a whole, as part of the [snapshot](crate::state::snapshot). A flow remembers which policy
//! it falls under as one word. Each rules' words are numbers of their own: that of an earlier rules is none of them, so
//! whoever reads it looks the policy up anew, once (`Rules::policy_of`).

use crate::flow::record::FlowBack;
use crate::observe::counter::Counter;
use crate::observe::counters::PolicyCounters;
use crate::state::policies::{InboundAction, Mode, OutboundAction, Policy};
use crate::state::sieve::Sieve;
use crossbeam_utils::CachePadded;
use protocol::wire::option::Form;
use std::sync::Arc;

/// What to do with packets that would not fit the outgoing MTU with the option.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Oversize {
    /// They pass without it.
    #[default]
    Pass,
    /// They are answered with ICMPv6 Packet Too Big.
    PacketTooBig,
}

/// Times after which something ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// Nanoseconds without a packet after which a flow leaves the table.
    pub idle_ns: u64,
}

impl Default for Timeouts {
    /// A minute.
    fn default() -> Self {
        Self { idle_ns: 60_000_000_000 }
    }
}

/// Whether times are kept by flow and by policy. Packets, and what is lost of them, are counted either way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Diagnostics {
    /// They are.
    #[default]
    Flows,
    /// All flows together only.
    Off,
}

/// Settings of the path. All of them can be replaced while workers run. `outside_mtu` is a fact of the port: who replaces
/// the others gives it again as it is.
#[derive(Clone, Debug, Default)]
pub struct PathConfig {
    /// The policies, first match wins.
    pub policies: Vec<Policy>,
    /// When what lasts ends.
    pub timeouts: Timeouts,
    /// MTU of the outside port, octets from the IPv6 header on.
    pub outside_mtu: usize,
    /// See [`Oversize`].
    pub oversize: Oversize,
    /// Lower the MSS of SYNs so that segments fit with the option.
    pub mss_clamp: bool,
    /// See [`Diagnostics`].
    pub diagnostics: Diagnostics,
    /// When these settings came, on the workers' clock: lifetimes of the policies that are new with them count from it.
    pub started_ns: u64,
}

/// Stands for a policy's name as long as there is a policy of this name, and for no other name ever.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PolicyId(pub u32);

/// What a policy has from the settings that brought its name to those that no longer have it, whatever else changes in it and
/// around it.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Its id.
    pub id: PolicyId,
    /// When it came, on the workers' clock.
    pub since_ns: u64,
    /// Its counters, by worker. Each has one writer.
    pub counters: Arc<[CachePadded<PolicyCounters>]>,
}

/// What a worker wants to know of a policy for nearly every packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// Packets up to this length, octets, get the option without a further question; 0: none does.
    pub(crate) add_up_to: usize,
    /// The option that is opened, and counted.
    pub(crate) opens: Option<Form>,
    /// Whether it is left in place then.
    pub(crate) keeps: bool,
    pub(crate) form: Form,
}

impl Way {
    fn of(policy: &Policy, outside_mtu: usize) -> Self {
        let form = policy.mode.form();
        let adds = policy.outbound == OutboundAction::Add && policy.lifetime_ns.is_none();
        let room = |form: Form| outside_mtu.saturating_sub(form.header_len());
        Self {
            add_up_to: form.filter(|_| adds).map_or(0, room),
            opens: form.filter(|_| policy.inbound != InboundAction::Pass),
            keeps: policy.inbound == InboundAction::Verify,
            form: form.unwrap_or(Form::Encrypted),
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Rules {
    /// The settings.
    pub config: PathConfig,
    /// What none of the policies can name.
    pub(crate) sieve: Sieve,
    lanes_form: Option<Form>,
    lanes_open: Option<Form>,
    ways: Box<[Way]>,
    standings: Box<[Standing]>,
    /// A flow's word for the first policy; the others' follow.
    first_word: u32,
    /// The id of the next policy whose name is new.
    next_id: u32,
}

impl Rules {
    /// The rules that follow on these. Policies whose names stay keep what is theirs ([`Standing`]); new ones begin. Of several
    /// policies with one name only the first keeps anything.
    pub(crate) fn followed_by(&self, config: PathConfig, workers: usize) -> Self {
        let mut next_id = self.next_id;
        let mut standings: Vec<Standing> = Vec::with_capacity(config.policies.len());
        for (i, policy) in config.policies.iter().enumerate() {
            let first = config.policies.iter().take(i).all(|before| before.name != policy.name);
            let known = self.policies().find(|(known, _)| first && known.name == policy.name);
            standings.push(match known {
                Some((_, standing)) => standing.clone(),
                None => {
                    next_id = next_id.wrapping_add(1);
                    let counters = (0..workers).map(|_| CachePadded::default()).collect();
                    Standing { id: PolicyId(next_id - 1), since_ns: config.started_ns, counters }
                }
            });
        }
        Self {
            sieve: Sieve::of(&config.policies),
            lanes_form: lanes_form(&config.policies),
            lanes_open: lanes_open(&config.policies),
            ways: config.policies.iter().map(|p| Way::of(p, config.outside_mtu)).collect(),
            standings: standings.into(),
            // A word comes again after 2^32 policies that were put in force. A flow cannot have been idle that long.
            first_word: self.first_word.wrapping_add(self.ways.len() as u32),
            next_id,
            config,
        }
    }

    /// The policies, in their order, with what each keeps.
    pub fn policies(&self) -> impl Iterator<Item = (&Policy, &Standing)> {
        self.config.policies.iter().zip(&self.standings)
    }

    /// The id of the policy that a flow was last found to fall under. `None`: these rules have not been asked yet.
    #[must_use]
    pub fn id_of(&self, flow: &FlowBack) -> Option<PolicyId> {
        self.standings.get(self.index_of(flow.policy())).map(|standing| standing.id)
    }

    /// The policy at this place.
    pub(crate) fn policy(&self, index: usize) -> Option<&Policy> {
        self.config.policies.get(index)
    }

    /// Where the policy with this word stands; behind all others if it is another rules' word.
    #[inline]
    const fn index_of(&self, word: u32) -> usize {
        word.wrapping_sub(self.first_word) as usize
    }

    /// A flow's word for the policy at this place.
    #[inline]
    pub(crate) const fn word_of(&self, index: usize) -> u32 {
        self.first_word.wrapping_add(index as u32)
    }

    /// The policy of a flow's word, its place before it. `None`: the word is another rules', see [`Rules::policy_of`].
    #[inline]
    pub(crate) fn way(&self, word: u32) -> Option<(usize, &Way)> {
        let index = self.index_of(word);
        Some((index, self.ways.get(index)?))
    }

    /// Of which form the options are that lanes put in under these rules: the greatest of those that policies have.
    #[inline]
    pub(crate) fn lanes_form(&self) -> Form {
        self.lanes_form.unwrap_or(Form::Encrypted)
    }

    /// Of which form the options are that lanes open. `None`: there are none.
    #[inline]
    pub(crate) fn lanes_open(&self) -> Option<Form> {
        self.lanes_open
    }

    /// What the policy at this place means.
    #[inline]
    pub(crate) fn way_at(&self, index: usize) -> Option<&Way> {
        self.ways.get(index)
    }

    /// The first policy that matches an outbound 5-tuple (as words). `None`: there is none, or it is off.
    pub(crate) fn classify(&self, outbound: &[u64; 5]) -> Option<usize> {
        let first = self.config.policies.iter().enumerate().find(|(_, p)| p.matches(outbound));
        first.filter(|(_, p)| p.mode != Mode::Off).map(|(index, _)| index)
    }

    /// The place of a flow's policy, which is looked up if the flow is new, or was last asked about under other rules.
    pub(crate) fn policy_of(&self, flow: Option<&FlowBack>, outbound: &[u64; 5]) -> Option<usize> {
        let Some(flow) = flow else { return self.classify(outbound) };
        if let Some((index, _)) = self.way(flow.policy()) {
            return Some(index);
        }
        let index = self.classify(outbound)?;
        flow.set_policy(self.word_of(index));
        Some(index)
    }

    /// Whether the lifetime of the policy at this place is over (RFC 8250 section 4.4).
    pub(crate) fn expired(&self, index: usize, now: u64) -> bool {
        let lifetime = self.policy(index).and_then(|policy| policy.lifetime_ns);
        let since = self.standings.get(index).map_or(0, |standing| standing.since_ns);
        lifetime.is_some_and(|lifetime| now.saturating_sub(since) >= lifetime)
    }

    /// What a worker counts of the policy at this place.
    #[inline]
    pub(crate) fn counters(&self, index: u32, worker: usize) -> Option<&PolicyCounters> {
        self.standings.get(index as usize)?.counters.get(worker).map(|padded| &**padded)
    }
}

/// The greatest form of options that are added.
fn lanes_form(policies: &[Policy]) -> Option<Form> {
    let forms = policies.iter().filter(|p| p.outbound == OutboundAction::Add).filter_map(|p| p.mode.form());
    forms.max_by_key(|form| form.header_len())
}

/// The greatest form of options that are opened, but for PDM, which lanes do not know on its way back.
fn lanes_open(policies: &[Policy]) -> Option<Form> {
    let forms = policies.iter().filter(|p| p.inbound != InboundAction::Pass).filter_map(|p| p.mode.form());
    forms.filter(|&form| form != Form::Pdm).max_by_key(|form| form.header_len())
}

/// Counts packets by policy: a counter is added to once for each run of packets of one policy.
pub(crate) struct Runs<'a> {
    rules: &'a Rules,
    worker: usize,
    counter: fn(&PolicyCounters) -> &Counter,
    policy: u32,
    count: u64,
}

impl<'a> Runs<'a> {
    pub(crate) const fn new(rules: &'a Rules, worker: usize, counter: fn(&PolicyCounters) -> &Counter) -> Self {
        Self { rules, worker, counter, policy: 0, count: 0 }
    }

    #[inline]
    pub(crate) fn count(&mut self, policy: u32) {
        self.count_many(policy, 1);
    }

    /// Counts packets that follow one another.
    #[inline]
    pub(crate) fn count_many(&mut self, policy: u32, packets: u64) {
        if self.policy != policy {
            self.add();
            self.policy = policy;
        }
        self.count += packets;
    }

    /// Ends the last run.
    pub(crate) fn end(mut self) {
        self.add();
    }

    #[inline]
    fn add(&mut self) {
        if let Some(policy) = self.rules.counters(self.policy, self.worker) {
            (self.counter)(policy).add(core::mem::take(&mut self.count));
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use protocol::five_tuple::FiveTuple;

    fn named(name: &str, mode: Mode) -> Policy {
        Policy { name: name.into(), ..Policy::everything(mode) }
    }

    fn rules(before: &Rules, names: &[&str], started_ns: u64) -> Rules {
        let policies = names.iter().map(|name| named(name, Mode::Clear)).collect();
        before.followed_by(PathConfig { policies, started_ns, ..PathConfig::default() }, 2)
    }

    #[test]
    fn what_a_policy_keeps_goes_by_its_name_and_ends_with_it() {
        let first = rules(&Rules::default(), &["a", "b"], 10);
        first.counters(0, 1).expect("counters").added.add(7);
        let second = rules(&first, &["c", "b", "a"], 20);
        let third = rules(&second, &["b"], 30);
        let fourth = rules(&third, &["a"], 40);
        let of = |rules: &Rules, i: usize| {
            let (_, standing) = rules.policies().nth(i).expect("a policy");
            let added: u64 = standing.counters.iter().map(|c| c.added.get()).sum();
            (standing.id.0, standing.since_ns, added)
        };
        assert_eq!([of(&second, 0), of(&second, 1), of(&second, 2)], [(2, 20, 0), (1, 10, 0), (0, 10, 7)]);
        assert_eq!((of(&third, 0), of(&fourth, 0)), ((1, 10, 0), (3, 40, 0)), "'a' came anew");
        let twice = rules(&first, &["a", "a"], 50);
        assert_eq!((of(&twice, 0).0, of(&twice, 1).0), (0, 2), "one id stands for one policy");
    }

    #[test]
    fn a_flows_policy_is_looked_up_once_under_each_rules() {
        let words = FiveTuple::default().words();
        let flow = FlowBack::default();
        let mut before = rules(&Rules::default(), &["a"], 1);
        flow.set_policy(before.word_of(0));
        for names in [&["b", "a"][..], &["a"], &["c", "d", "a"], &[], &["a"]] {
            let now = rules(&before, names, 1);
            assert!(now.id_of(&flow).is_none() && now.way(flow.policy()).is_none());
            let expected = (!names.is_empty()).then_some(0);
            assert_eq!(now.policy_of(Some(&flow), &words), expected, "{names:?}");
            assert_eq!(now.way(flow.policy()).map(|(index, _)| index), expected);
            assert_eq!(now.id_of(&flow), now.policies().next().map(|(_, standing)| standing.id));
            before = now;
        }
    }
}
