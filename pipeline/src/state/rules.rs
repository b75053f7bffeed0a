//! The settings of the path as workers read them: policies, what each means for a packet, and what a policy keeps while others
//! come and go around it.
//!
//! Rules are immutable and replaced as a whole, as part of the [snapshot](crate::state::snapshot). A flow remembers which policy
//! it falls under as one word. Each rules' words are numbers of their own: that of an earlier rules is none of them, so
//! whoever reads it looks the policy up anew, once (`Rules::policy_of`).
//!
//! Where [pairs of prefixes](crate::state::pairs) are named, the flows of a policy that one of them names are a `Class` of
//! their own, and the word stands for the class. So what is counted by pair costs a packet nothing: a policy's figures are the
//! sums of its classes', and so are a pair's.

use crate::flow::record::FlowBack;
use crate::observe::counter::Counter;
use crate::observe::counters::PolicyCounters;
use crate::state::pairs::{Pair, PairStanding};
use crate::state::policies::{InboundAction, Mode, OutboundAction, Policy};
use crate::state::sieve::Sieve;
use crate::state::standing::{CountersByWorker, Standing, counters_for};
use protocol::wire::option::Form;
use std::sync::Arc;

pub use crate::state::standing::PolicyId;

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
    /// Pairs of prefixes whose flows are counted together, first match wins.
    pub pairs: Vec<Pair>,
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

/// What a worker wants to know of a policy for nearly every packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// Packets up to this length, octets, get the option without a further question, unless the policy has ended; 0: none does.
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
        let adds = policy.outbound == OutboundAction::Add;
        let room = |form: Form| outside_mtu.saturating_sub(form.header_len());
        Self {
            add_up_to: form.filter(|_| adds).map_or(0, room),
            opens: form.filter(|_| policy.inbound != InboundAction::Pass),
            keeps: policy.inbound == InboundAction::Verify,
            form: form.unwrap_or(Form::Encrypted),
        }
    }
}

/// Flows that are counted together: those of a policy that a pair names, or those of it that none does.
#[derive(Clone, Debug)]
struct Class {
    /// The place of the policy.
    policy: usize,
    /// That of the pair.
    pair: Option<usize>,
    counters: CountersByWorker,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The settings.
    pub config: PathConfig,
    /// What none of the policies can name.
    pub(crate) sieve: Sieve,
    lanes_form: Option<Form>,
    lanes_open: Option<Form>,
    /// By class, as the next.
    ways: Box<[Way]>,
    /// Those of one policy stand together, the one without a pair first.
    classes: Box<[Class]>,
    /// Where each policy's classes begin, and where the last one's end.
    first_class: Box<[usize]>,
    standings: Box<[Standing]>,
    pairs: Box<[PairStanding]>,
    /// When policies end, in order.
    ends: Box<[u64]>,
    /// A flow's word for the first class; the others' follow.
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
            let mut standing = match known {
                Some((_, standing)) => standing.clone(),
                None => {
                    next_id = next_id.wrapping_add(1);
                    Standing::new(PolicyId(next_id - 1), config.started_ns, workers)
                }
            };
            standing.end_with(policy.lifetime_ns);
            standings.push(standing);
        }
        let kept = |pair: &Pair| self.pairs.iter().find(|kept| kept.is_of(pair)).cloned();
        let mut pairs: Vec<_> =
            config.pairs.iter().map(|pair| kept(pair).unwrap_or_else(|| PairStanding::new(pair))).collect();
        let (mut classes, mut first_class) = (Vec::with_capacity(standings.len()), vec![0]);
        for (policy, (rule, standing)) in config.policies.iter().zip(&mut standings).enumerate() {
            classes.push(Class { policy, pair: None, counters: Arc::clone(&standing.counters) });
            for (pair, (named, sums)) in config.pairs.iter().zip(&mut pairs).enumerate() {
                if rule.mode != Mode::Off && named.may_share_flows_with(rule) {
                    let counters = standing.of_pair(sums.name(), || counters_for(workers));
                    sums.keep(&counters);
                    classes.push(Class { policy, pair: Some(pair), counters });
                }
            }
            standing.forget(classes.len() - first_class.last().copied().unwrap_or(0) - 1);
            first_class.push(classes.len());
        }
        for (at, pair) in pairs.iter_mut().enumerate() {
            pair.forget(classes.iter().filter(|class| class.pair == Some(at)).count());
        }
        let mut ends: Vec<u64> = standings.iter().filter_map(Standing::ends_ns).collect();
        ends.sort_unstable();
        let way = |class: &Class| config.policies.get(class.policy).map(|policy| Way::of(policy, config.outside_mtu));
        Self {
            sieve: Sieve::of(&config.policies),
            lanes_form: lanes_form(&config.policies),
            lanes_open: lanes_open(&config.policies),
            ways: classes.iter().filter_map(way).collect(),
            standings: standings.into(),
            pairs: pairs.into(),
            ends: ends.into(),
            // A word comes again after 2^32 classes that were put in force. A flow cannot have been idle that long.
            first_word: self.first_word.wrapping_add(self.classes.len() as u32),
            classes: classes.into(),
            first_class: first_class.into(),
            next_id,
            config,
        }
    }

    /// The same, but that the policy of this name ends then, on the workers' clock, whatever its lifetime; `None`: it does not.
    /// `None` is given where there is no such policy.
    pub(crate) fn with_end(&self, name: &str, end: Option<u64>, workers: usize) -> Option<Self> {
        let mut before = self.clone();
        let at = self.config.policies.iter().position(|policy| policy.name == name)?;
        before.standings.get_mut(at)?.end_at(end);
        Some(before.followed_by(self.config.clone(), workers))
    }

    /// The policies, in their order, with what each keeps.
    pub fn policies(&self) -> impl Iterator<Item = (&Policy, &Standing)> {
        self.config.policies.iter().zip(&self.standings)
    }

    /// The pairs, in their order, with what each keeps.
    pub fn pairs(&self) -> impl Iterator<Item = (&Pair, &PairStanding)> {
        self.config.pairs.iter().zip(&self.pairs)
    }

    /// The id of the policy that a flow was last found to fall under. `None`: these rules have not been asked yet.
    #[must_use]
    pub fn id_of(&self, flow: &FlowBack) -> Option<PolicyId> {
        let class = self.classes.get(self.index_of(flow.policy()))?;
        self.standings.get(class.policy).map(|standing| standing.id)
    }

    /// The pair that a flow was last found to fall under. `None`: none, or these rules have not been asked yet.
    #[must_use]
    pub fn pair_of(&self, flow: &FlowBack) -> Option<&Pair> {
        let class = self.classes.get(self.index_of(flow.policy()))?;
        self.config.pairs.get(class.pair?)
    }

    /// The policy of the class at this place.
    pub(crate) fn policy(&self, index: usize) -> Option<&Policy> {
        self.config.policies.get(self.classes.get(index)?.policy)
    }

    /// Where the class with this word stands; behind all others if it is another rules' word.
    #[inline]
    const fn index_of(&self, word: u32) -> usize {
        word.wrapping_sub(self.first_word) as usize
    }

    /// A flow's word for the class at this place.
    #[inline]
    pub(crate) const fn word_of(&self, index: usize) -> u32 {
        self.first_word.wrapping_add(index as u32)
    }

    /// What the class of a flow's word means, its place before it. `None`: the word is another rules', see
    /// [`Rules::policy_of`].
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

    /// What the class at this place means.
    #[inline]
    pub(crate) fn way_at(&self, index: usize) -> Option<&Way> {
        self.ways.get(index)
    }

    /// The class of an outbound 5-tuple (as words): the first policy that matches, and the first pair that does. `None`: there is
    /// no policy, or it is off.
    pub(crate) fn classify(&self, outbound: &[u64; 5]) -> Option<usize> {
        let (at, policy) = self.config.policies.iter().enumerate().find(|(_, p)| p.matches(outbound))?;
        if policy.mode == Mode::Off {
            return None;
        }
        let (first, end) = (*self.first_class.get(at)?, *self.first_class.get(at + 1)?);
        let named = |class: &Class| {
            class.pair.and_then(|pair| self.config.pairs.get(pair)).is_some_and(|pair| pair.matches(outbound))
        };
        Some(first + self.classes.get(first..end)?.iter().position(named).unwrap_or(0))
    }

    /// The place of a flow's class, which is looked up if the flow is new, or was last asked about under other rules.
    pub(crate) fn policy_of(&self, flow: Option<&FlowBack>, outbound: &[u64; 5]) -> Option<usize> {
        let Some(flow) = flow else { return self.classify(outbound) };
        if let Some((index, _)) = self.way(flow.policy()) {
            return Some(index);
        }
        let index = self.classify(outbound)?;
        flow.set_policy(self.word_of(index));
        Some(index)
    }

    /// Whether the policy of the class at this place has ended (RFC 8250 section 4.4).
    pub(crate) fn expired(&self, index: usize, now: u64) -> bool {
        let standing = self.classes.get(index).and_then(|class| self.standings.get(class.policy));
        standing.and_then(Standing::ends_ns).is_some_and(|end| now >= end)
    }

    /// How many policies have ended: what flows were told before one of them did, they are told anew.
    #[inline]
    pub(crate) fn ended(&self, now: u64) -> u32 {
        self.ends.partition_point(|&end| end <= now) as u32
    }

    /// What a worker counts of the class at this place.
    #[inline]
    pub(crate) fn counters(&self, index: u32, worker: usize) -> Option<&PolicyCounters> {
        self.classes.get(index as usize)?.counters.get(worker).map(|padded| &**padded)
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

/// Counts packets by class: a counter is added to once for each run of packets of one class.
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
mod tests;
