//! Coming back from the network: options are opened, counted, and taken out or left in place.
//!
//! Stages over a burst: parse and hash, look up the flow, choose and guess the key, open the batch in one call, try further
//! keys for the few that did not open, account, rewrite. Each asks for the cache lines of the next one. Nearly all packets
//! are of the shape that boxes make and of a known flow; any other goes through [`choose`], which finds the reason when it
//! is not opened. State changes only for packets that authenticate; a packet whose option is in clear never makes any.

mod accounting;
pub mod guess;
pub mod icmp_error;
mod opening;
pub(crate) mod trials;

use crate::flow::hash::FlowHash;
use crate::flow::lookup::{Likely, look_up};
use crate::flow::record::WholeFlow;
use crate::inbound::guess::{Guess, SealedOption, first_guess, same_as_before};
use crate::inbound::trials::Purse;
use crate::observe::counters::{Outcome, Reason, Runs, WorkerCounters};
use crate::packet::buffer::{PacketBuf, make_ready};
use crate::packet::parse;
use crate::packet::{mss, rewrite};
use crate::state::keyring::KeyRing;
use crate::state::policies::{InboundAction, OnFailure};
use crate::state::shared::{BURST, Clock, Shared, Worker, classify, form_of};
use accounting::{account, gaps, measure};
use arrayvec::ArrayVec;
use opening::{Opened, key_of, open_first, open_further};
use protocol::five_tuple::FiveTuple;
use protocol::wire::dest_opts::{RemovePlan, plan_remove};
use protocol::wire::option::{Form, Metrics};

/// A packet with an option that is ours to look at. Small, since there are many of them: what only few need is in
/// [`Plans`].
struct Chosen<'a> {
    /// Always there when there is no plan.
    flow: Option<WholeFlow<'a>>,
    /// What a sealed one was most likely sealed under.
    guess: Option<Guess>,
    policy: u32,
    /// Offset of the option in the frame.
    option_at: u32,
    packet: u8,
    /// Which of the plans is its own; `None`: it is of the measured shape.
    plan: Option<u8>,
    form: Form,
    /// Its slot in the batch, if it got one.
    slot: Option<u8>,
    /// Whether its key was derived.
    derived: bool,
    /// Whether there was no budget to derive it.
    refused: bool,
    /// Whether the option is left in place.
    keeps: bool,
}

/// A packet that is not of the measured shape, or of a flow that is not known.
struct Plan {
    /// Where the IPv6 header is.
    l3: usize,
    /// What goes out.
    remove: RemovePlan,
    /// Of the outbound 5-tuple, which is the reverse of the packet's own.
    words: [u64; 5],
    hash: FlowHash,
}

type Plans = ArrayVec<Plan, BURST>;

impl Chosen<'_> {
    fn plan<'p>(&self, plans: &'p Plans) -> Option<&'p Plan> {
        plans.get(usize::from(self.plan?))
    }

    /// The packet's own 5-tuple.
    fn tuple(&self, plans: &Plans) -> FiveTuple {
        let words = self.plan(plans).map(|p| p.words).or(self.flow.map(|f| f.words()));
        FiveTuple::from_words(words.unwrap_or_default()).reversed()
    }

    /// Where the derivation of its key is paid from.
    const fn purse(&self) -> Purse {
        Purse::first(self.flow.is_some())
    }

    const fn done(&self) -> Outcome {
        if self.keeps { Outcome::Verified(self.form) } else { Outcome::Removed(self.form) }
    }
}

impl Worker {
    /// Works on a burst that the outside port has just received. `outcomes` gets one entry per packet, in order;
    /// at most [`BURST`] packets are looked at.
    pub fn inbound<B: PacketBuf>(
        &mut self,
        packets: &mut [B],
        outcomes: &mut ArrayVec<Outcome, BURST>,
        clock: &impl Clock,
    ) {
        self.enter();
        let now = clock.now_ns();
        outcomes.clear();
        let Self { shared, ring, counters, scratch, trials, errors, .. } = self;
        let (shared, ring) = (&**shared, &**ring.load());
        let packets = packets.get_mut(..packets.len().min(BURST)).unwrap_or_default();

        let mut chosen: ArrayVec<Chosen<'_>, BURST> = ArrayVec::new();
        let mut plans = Plans::new();
        // Which packets are ICMPv6 errors, whose quotation comes last: they may carry an option themselves.
        let mut quoting = 0u32;
        let measured = |packet: &B| parse::measured(packet).map(|(quick, form)| (quick, Some(form)));
        let prefetch = |flow| {
            if let Some(flow) = shared.table.whole(flow) {
                flow.prefetch_inbound();
            }
        };
        look_up(&shared.table, packets, measured, prefetch, |i, packet, likely| {
            if let Some(c) = likely.and_then(|l| choose_known(shared, ring, packet, l, i as u8)) {
                outcomes.push(c.done());
                chosen.push(c);
                return;
            }
            quoting |= u32::from(icmp_error::is_one(packet.data())) << i;
            let choice = choose(shared, ring, counters, packet, &mut plans, now);
            outcomes.push(match choice {
                Ok(c) => {
                    let done = c.done();
                    chosen.push(Chosen { packet: i as u8, ..c });
                    done
                }
                Err((OnFailure::Drop, reason)) => Outcome::Dropped(reason),
                Err((OnFailure::Strip, reason)) => match plan_of(packet) {
                    Some(_) if !make_ready(packet, &counters.copied) => Outcome::Passed(Reason::ReadOnly),
                    Some((l3, plan)) if rewrite::strip(packet, l3, &plan) => Outcome::Stripped(reason),
                    _ => Outcome::Passed(reason),
                },
                Err((OnFailure::Pass, reason)) => Outcome::Passed(reason),
            });
        });

        let opened = open_first(ring, counters, packets, &mut chosen, &plans, scratch, trials, now);
        let mut accepted = Runs::new(counters, |policy| &policy.accepted);
        for c in &mut chosen {
            // What its keys have cost: put back when it turns out to be genuine.
            let (purse, first, mut further) = (c.purse(), u64::from(c.derived), 0);
            let failure = match (c.slot, c.guess) {
                (Some(slot), Some(guess)) if opened & 1 << slot != 0 => {
                    let slot = usize::from(slot) % BURST;
                    let metrics = Metrics::from_words(scratch.batch.text_words(slot));
                    let failure = account(shared, ring, counters, c, &plans, guess, &metrics, now);
                    if let (None, true, Some(flow)) = (failure, c.derived, c.flow) {
                        flow.back.receiver.keep_key(guess.id, guess.kri, &key_of(scratch, slot));
                    }
                    failure
                }
                (_, Some(_)) if c.refused => Some(Reason::NoTrialsLeft),
                (_, Some(guess)) => {
                    match open_further(shared, ring, counters, trials, packets, c, &plans, guess, now) {
                        Ok(Opened { guess, metrics, derived, spent }) => {
                            further = spent;
                            let failure = account(shared, ring, counters, c, &plans, guess, &metrics, now);
                            if let (None, Some(key), Some(flow)) = (failure, derived, c.flow) {
                                flow.back.receiver.keep_key(guess.id, guess.kri, &key);
                            }
                            failure
                        }
                        Err(reason) => Some(reason),
                    }
                }
                (_, None) => {
                    if let (Some(flow), Some(metrics)) = (c.flow, metrics_in_clear(packets, c)) {
                        flow.seen(now);
                        let (skipped, late) = flow.back.follow_clear(metrics.psntp);
                        gaps(flow, counters, skipped, late);
                        measure(flow, counters, &metrics, now);
                    }
                    None
                }
            };
            if let Some(reason) = failure {
                if let Some(policy) = counters.policies.get(c.policy as usize) {
                    policy.failed.add(1);
                }
                if let Some(flow) = c.flow {
                    flow.back.count_failed();
                }
                fail(shared, ring, counters, packets, outcomes, &plans, c, reason);
                continue;
            }
            if first + further > 0 {
                trials.give_back(purse, first);
                trials.give_back(Purse::Further, further);
            }
            accepted.count(c.policy);
            if let (false, Some(packet)) = (c.keeps, packets.get_mut(usize::from(c.packet)))
                && !strip(packet, &plans, c, counters)
                && let Some(outcome) = outcomes.get_mut(usize::from(c.packet))
            {
                *outcome = Outcome::Passed(Reason::ReadOnly);
            }
        }
        accepted.end();
        while quoting != 0 {
            let at = quoting.trailing_zeros() as usize;
            quoting &= quoting - 1;
            if let (Some(packet), Some(outcome)) = (packets.get_mut(at), outcomes.get_mut(at))
                && !matches!(outcome, Outcome::Dropped(_))
                && let Some(reason) = icmp_error::mend(shared, ring, counters, errors, packet, now)
            {
                *outcome = Outcome::Dropped(reason);
            }
        }
        self.epoch.leave();
    }
}

fn plan_of<B: PacketBuf>(packet: &B) -> Option<(usize, RemovePlan)> {
    let parse::Parsed { l3, chain } = parse::parse(packet).ok()?;
    Some((l3, plan_remove(&chain, &packet.data()[l3..])?))
}

fn metrics_in_clear<B: PacketBuf>(packets: &[B], c: &Chosen<'_>) -> Option<Metrics> {
    let octets = octets_of(packets, c)?;
    match c.form {
        Form::Pdm => octets.get(2..)?.first_chunk().map(Metrics::parse_pdm),
        _ => octets.get(6..)?.first_chunk().map(Metrics::parse),
    }
}

/// A packet's first segment, from the option on.
#[inline]
fn octets_of<'p, B: PacketBuf>(packets: &'p [B], c: &Chosen<'_>) -> Option<&'p [u8]> {
    packets.get(usize::from(c.packet))?.data().get(c.option_at as usize..)
}

/// Chooses a packet of the measured shape whose flow is known and in which nothing is out of the way. `None`: [`choose`]
/// it.
#[inline]
fn choose_known<'a, B: PacketBuf>(
    shared: &'a Shared,
    ring: &KeyRing,
    packet: &B,
    Likely { quick, form, flow, .. }: &Likely<'a>,
    number: u8,
) -> Option<Chosen<'a>> {
    let (flow, form) = (flow.filter(|flow| flow.is(&quick.words))?, (*form)?);
    let flow = shared.table.whole(flow)?;
    let policy = flow.policy();
    let way = shared.ways.get(policy)?;
    if way.opens != Some(form) || flow.back.host_measures() {
        return None;
    }
    let option_at = parse::PLAIN_UPPER + form.option_at();
    let guess = if form == Form::Encrypted {
        flow.prefetch_inbound_rest();
        let f = packet.data().get(option_at + 5)? & 1 != 0;
        let source = FiveTuple::from_words(quick.words).reversed().source();
        Some(same_as_before(ring, flow, source, f)?)
    } else {
        None
    };
    Some(Chosen {
        flow: Some(flow),
        guess,
        policy: policy as u32,
        option_at: option_at as u32,
        packet: number,
        plan: None,
        form,
        slot: None,
        derived: false,
        refused: false,
        keeps: way.keeps,
    })
}

/// Finds policy, flow and first guess of one packet.
#[inline(never)]
fn choose<'a, B: PacketBuf>(
    shared: &'a Shared,
    ring: &KeyRing,
    counters: &WorkerCounters,
    packet: &mut B,
    plans: &mut Plans,
    now: u64,
) -> Result<Chosen<'a>, (OnFailure, Reason)> {
    let pass = |reason| (OnFailure::Pass, reason);
    let parse::Parsed { l3, chain } = parse::parse(packet).map_err(pass)?;
    let config = &shared.config;
    let tuple = chain.five_tuple;
    let outbound = tuple.reversed();
    let words = outbound.words();
    let hash = shared.table.hash(&words);
    let flow = shared.table.find(hash, &words);
    let policy = match flow {
        Some(flow) => flow.policy(),
        None => classify(config, &words).ok_or(pass(Reason::Off))?.0,
    };
    let rule = config.policies.get(policy).ok_or(pass(Reason::Off))?;
    let form = form_of(rule.mode).ok_or(pass(Reason::Off))?;
    mss::clamp_packet(packet, l3, &chain, config, form, counters, |len| shared.mtu_with(&tuple.src, len, now))
        .map_err(pass)?;
    let option = chain.option.ok_or(pass(Reason::NoOption))?;
    if rule.inbound == InboundAction::Pass {
        return Err(pass(Reason::PolicyPass));
    }
    if option.form != form {
        return Err(pass(Reason::OtherForm));
    }
    let data = &packet.data()[l3..];
    let octets = data.get(option.offset..option.offset + form.option_len()).ok_or(pass(Reason::Truncated))?;
    let remove = plan_remove(&chain, data).ok_or(pass(Reason::MalformedOption))?;
    // A sealed option says by itself whose it is.
    let others = form != Form::Encrypted && !remove.as_inserted;
    if others || flow.is_some_and(|flow| flow.back.host_measures()) {
        return Err(pass(Reason::HostsOwn));
    }
    let mut guess = None;
    if form == Form::Encrypted {
        if ring.peers.is_empty() {
            return Err(consequence(ring, OnFailure::Pass, Reason::NoKey));
        }
        let option = SealedOption::parse(octets).ok_or(pass(Reason::MalformedOption))?;
        guess = first_guess(ring, flow, &tuple, option.head.f != 0);
        if guess.is_none() {
            if let Some(policy) = counters.policies.get(policy) {
                policy.failed.add(1);
            }
            return Err(consequence(ring, rule.on_failure, Reason::UnknownPeer));
        }
    }
    plans.push(Plan { l3, remove, words, hash });
    let (plan, option_at) = (Some(plans.len() as u8 - 1), (l3 + option.offset) as u32);
    let (policy, keeps) = (policy as u32, rule.inbound == InboundAction::Verify);
    Ok(Chosen {
        flow,
        guess,
        policy,
        option_at,
        packet: 0,
        plan,
        form,
        slot: None,
        derived: false,
        refused: false,
        keeps,
    })
}

/// Takes the option out. `false`: the packet's buffer does not allow it.
#[inline]
fn strip<B: PacketBuf>(packet: &mut B, plans: &Plans, c: &Chosen<'_>, counters: &WorkerCounters) -> bool {
    if !make_ready(packet, &counters.copied) {
        return false;
    }
    match (c.plan(plans), c.form) {
        (Some(plan), _) => rewrite::strip(packet, plan.l3, &plan.remove),
        (None, Form::Encrypted) => rewrite::strip_plain::<B, { Form::Encrypted.header_len() }>(packet),
        (None, _) => rewrite::strip_plain::<B, { Form::Clear.header_len() }>(packet),
    }
}

/// What becomes of a packet that was not accepted, `rule` being what its policy says. A box that is out of touch with its
/// registrars cannot tell a packet under a key that it lacks from a forged one, and must not be why the first is lost. What
/// did open, and is a replay, it can tell as ever.
fn consequence(ring: &KeyRing, rule: OnFailure, reason: Reason) -> (OnFailure, Reason) {
    let opened = matches!(reason, Reason::Replayed | Reason::TooOld);
    if ring.out_of_touch && !opened { (OnFailure::Strip, Reason::OutOfTouch) } else { (rule, reason) }
}

#[cold]
#[expect(clippy::too_many_arguments, reason = "one caller; a struct for it would only rename them")]
fn fail<B: PacketBuf>(
    shared: &Shared,
    ring: &KeyRing,
    counters: &WorkerCounters,
    packets: &mut [B],
    outcomes: &mut ArrayVec<Outcome, BURST>,
    plans: &Plans,
    c: &Chosen<'_>,
    reason: Reason,
) {
    let (Some(packet), Some(outcome)) =
        (packets.get_mut(usize::from(c.packet)), outcomes.get_mut(usize::from(c.packet)))
    else {
        return;
    };
    let rule = shared.config.policies.get(c.policy as usize).map_or(OnFailure::Strip, |rule| rule.on_failure);
    let (on_failure, reason) = consequence(ring, rule, reason);
    *outcome = match on_failure {
        OnFailure::Drop => Outcome::Dropped(reason),
        OnFailure::Pass => Outcome::Passed(reason),
        OnFailure::Strip if strip(packet, plans, c, counters) => Outcome::Stripped(reason),
        OnFailure::Strip => Outcome::Passed(Reason::ReadOnly),
    };
}
