//! Coming back from the network: options are opened, counted, and taken out or left in place.
//!
//! Stages over a burst: parse and hash, look up the flow, choose and guess the key, open the batch in one call, try further
//! keys for the few that did not open, account, rewrite. Each asks for the cache lines of the next one. Nearly all packets
//! are of the shape that boxes make and of a known flow; any other goes through `choose`, which finds the reason when it
//! is not opened. State changes only for packets that authenticate; a packet whose option is in clear never makes any.

mod accounting;
mod chosen;
pub mod guess;
mod icmp_error;
mod opening;

use crate::flow::lookup::{Likely, look_up};
use crate::flow::record::WholeFlow;
use crate::observe::counters::{Outcome, WorkerCounters};
use crate::observe::reasons::Reason;
use crate::packet::buffer::{PacketBuf, make_ready};
use crate::packet::encrypted::EncryptedOption;
use crate::packet::parse;
use crate::packet::{mss, rewrite};
use crate::ports::{BURST, Clock};
use crate::state::budgets::{ErrorBudget, Purse, TrialBudget};
use crate::state::keyring::KeyRing;
use crate::state::policies::{InboundAction, OnFailure};
use crate::state::rules::{Rules, Runs};
use crate::state::shared::Shared;
use crate::state::snapshot::Snapshot;
use crate::state::worker::{Scratch, Worker, look};
use accounting::{account, gaps, measure};
use arrayvec::ArrayVec;
use chosen::{Chosen, Plan, Plans, metrics_in_clear};
use guess::{first_guess, same_as_before};
use opening::{Opened, key_of, open_first, open_further};
use protocol::five_tuple::FiveTuple;
use protocol::wire::dest_opts::{RemovePlan, plan_remove};
use protocol::wire::option::{Form, Metrics};
use protocol::wire::profile;

impl Worker {
    /// Works on a burst that the outside port has just received. `outcomes` gets one entry per packet, in order;
    /// at most [`BURST`] packets are looked at.
    pub fn inbound<B: PacketBuf>(
        &mut self,
        packets: &mut [B],
        outcomes: &mut ArrayVec<Outcome, BURST>,
        clock: &impl Clock,
    ) {
        let Self { shared, snapshot, counters, scratch, trials, errors, index, epoch, sifting, .. } = self;
        let (shared, counters) = (&**shared, &**counters);
        // From here on no record that a look-up finds is used for another flow.
        epoch.enter();
        let snapshot = look(snapshot, shared.seen_by(*index));
        let (ring, rules) = (&*snapshot.ring, &*snapshot.rules);
        let packets = packets.get_mut(..packets.len().min(BURST)).unwrap_or_default();
        let shape = |packet: &B| parse::plain_back(packet).or_else(|| Some(parse::measured(packet)?.0));
        let Some(off) = rules.sieve.sift(sifting[1], packets, shape, outcomes) else { return epoch.leave() };
        let now = clock.now_ns();

        let mut chosen: ArrayVec<Chosen<'_>, BURST> = ArrayVec::new();
        let mut plans = Plans::new();
        // Which packets are ICMPv6 errors, whose quotation comes last: they may carry an option themselves.
        let mut quoting = 0u32;
        let measured = |packet: &B| parse::measured(packet).map(|(quick, form)| (quick, Some(form)));
        let prefetch = |flow: WholeFlow<'_>| flow.prefetch_inbound();
        look_up(&shared.table, packets, off, measured, prefetch, |i, packet, likely| {
            if off & 1 << i != 0 {
                return outcomes.push(Outcome::Passed(Reason::Off));
            }
            if let Some(c) = likely.and_then(|l| choose_known(ring, rules, packet, l, i as u8)) {
                outcomes.push(c.done());
                chosen.push(c);
                return;
            }
            quoting |= u32::from(icmp_error::is_one(packet.data())) << i;
            outcomes.push(match choose(shared, snapshot, counters, packet, &mut plans, now) {
                Ok(c) => {
                    let done = c.done();
                    chosen.push(Chosen { packet: i as u8, ..c });
                    done
                }
                Err((on_failure, reason)) => not_opened(packet, counters, on_failure, reason),
            });
        });

        sifting[1] = rules.sieve.is_worth_it(outcomes);
        let opened = open_first(ring, counters, packets, &mut chosen, &plans, scratch, trials, now);
        let mut accepted = Runs::new(rules, counters.worker, |policy| &policy.accepted);
        for c in &mut chosen {
            let first_opened = c.slot.is_some_and(|slot| opened & 1 << slot != 0);
            match settle(shared, snapshot, counters, scratch, trials, packets, &plans, c, first_opened, now) {
                None => accepted.count(c.policy),
                Some(reason) => {
                    fail(snapshot, counters, packets, outcomes, &plans, c, reason);
                    continue;
                }
            }
            if let (false, Some(packet)) = (c.keeps, packets.get_mut(usize::from(c.packet)))
                && !strip(packet, &plans, c, counters)
                && let Some(outcome) = outcomes.get_mut(usize::from(c.packet))
            {
                *outcome = Outcome::Passed(Reason::ReadOnly);
            }
        }
        accepted.end();
        if quoting != 0 {
            mend_quotations(shared, snapshot, counters, errors, packets, outcomes, quoting, now);
        }
        epoch.leave();
    }
}

/// What becomes of a packet whose option is not opened, as its policy, or the lack of one, says.
fn not_opened<B: PacketBuf>(
    packet: &mut B,
    counters: &WorkerCounters,
    on_failure: OnFailure,
    reason: Reason,
) -> Outcome {
    match on_failure {
        OnFailure::Drop => Outcome::Dropped(reason),
        OnFailure::Strip => match plan_of(packet) {
            Some(_) if !make_ready(packet, || counters.copied.add(1)) => Outcome::Passed(Reason::ReadOnly),
            Some((l3, plan)) if rewrite::strip(packet, l3, &plan) => Outcome::Stripped(reason),
            _ => Outcome::Passed(reason),
        },
        OnFailure::Pass => Outcome::Passed(reason),
    }
}

/// Takes a packet into account, further keys tried if its first did not open it. The reason why it is not accepted, if it is
/// not.
#[inline(always)] // as long as one loop calls it: a call has more arguments than registers
#[expect(clippy::too_many_arguments, reason = "one caller; a struct for it would only rename them")]
fn settle<'a, B: PacketBuf>(
    shared: &'a Shared,
    snapshot: &Snapshot,
    counters: &WorkerCounters,
    scratch: &Scratch,
    trials: &mut TrialBudget,
    packets: &[B],
    plans: &Plans,
    c: &mut Chosen<'a>,
    first_opened: bool,
    now: u64,
) -> Option<Reason> {
    // What its keys have cost: put back when it turns out to be genuine.
    let (purse, first, mut further) = (c.purse(), u64::from(c.derived), 0);
    let failure = match (c.slot, c.guess) {
        (Some(slot), Some(guess)) if first_opened => {
            let slot = usize::from(slot) % BURST;
            let metrics = Metrics::from_words(scratch.batch.text_words(slot));
            let failure = account(shared, snapshot, counters, c, plans, guess, &metrics, now);
            if let (None, true, Some(flow)) = (failure, c.derived, c.flow) {
                flow.back.receiver.keep_key(guess.id, guess.kri, &key_of(scratch, slot));
            }
            failure
        }
        (_, Some(_)) if c.refused => Some(Reason::NoTrialsLeft),
        (_, Some(guess)) => match open_further(shared, &snapshot.ring, counters, trials, packets, c, plans, guess, now)
        {
            Ok(Opened { guess, metrics, derived, spent }) => {
                further = spent;
                let failure = account(shared, snapshot, counters, c, plans, guess, &metrics, now);
                if let (None, Some(key), Some(flow)) = (failure, derived, c.flow) {
                    flow.back.receiver.keep_key(guess.id, guess.kri, &key);
                }
                failure
            }
            Err(reason) => Some(reason),
        },
        (_, None) => {
            if let (Some(flow), Some(metrics)) = (c.flow, metrics_in_clear(packets, c)) {
                flow.back.seen(now);
                let (skipped, late) = flow.back.follow_clear(metrics.psntp);
                gaps(flow, counters, skipped, late);
                measure(flow, counters, &metrics, now);
            }
            None
        }
    };
    if failure.is_none() && first + further > 0 {
        trials.give_back(purse, first);
        trials.give_back(Purse::Further, further);
    }
    failure
}

/// Puts the ICMPv6 errors of a burst into terms that hosts understand; bit i: packet i is one.
#[cold]
#[expect(clippy::too_many_arguments, reason = "one caller; a struct for it would only rename them")]
fn mend_quotations<B: PacketBuf>(
    shared: &Shared,
    snapshot: &Snapshot,
    counters: &WorkerCounters,
    errors: &mut ErrorBudget,
    packets: &mut [B],
    outcomes: &mut ArrayVec<Outcome, BURST>,
    mut quoting: u32,
    now: u64,
) {
    while quoting != 0 {
        let at = quoting.trailing_zeros() as usize;
        quoting &= quoting - 1;
        if let (Some(packet), Some(outcome)) = (packets.get_mut(at), outcomes.get_mut(at))
            && !matches!(outcome, Outcome::Dropped(_))
            && let Some(reason) = icmp_error::mend(shared, snapshot, counters, errors, packet, now)
        {
            *outcome = Outcome::Dropped(reason);
        }
    }
}

fn plan_of<B: PacketBuf>(packet: &B) -> Option<(usize, RemovePlan)> {
    let parse::Parsed { l3, chain } = parse::parse(packet).ok()?;
    Some((l3, plan_remove(&chain, &packet.data()[l3..])?))
}

/// Chooses a packet of the measured shape whose flow is known and in which nothing is out of the way. `None`: [`choose`]
/// it.
#[inline]
fn choose_known<'a, B: PacketBuf>(
    ring: &KeyRing,
    rules: &Rules,
    packet: &B,
    Likely { quick, form, flow, .. }: &Likely<'a>,
    number: u8,
) -> Option<Chosen<'a>> {
    let (flow, form) = (flow.filter(|flow| flow.back.is(&quick.words))?, (*form)?);
    let (policy, way) = rules.way(flow.back.policy())?;
    if way.opens != Some(form) || flow.back.host_measures(form) {
        return None;
    }
    let option_at = parse::PLAIN_UPPER + form.option_at();
    let guess = if form == Form::Encrypted {
        flow.prefetch_inbound_rest();
        let f = profile::is_f(*packet.data().get(option_at + profile::FLAGS_AT)?);
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
    snapshot: &Snapshot,
    counters: &WorkerCounters,
    packet: &mut B,
    plans: &mut Plans,
    now: u64,
) -> Result<Chosen<'a>, (OnFailure, Reason)> {
    let pass = |reason| (OnFailure::Pass, reason);
    let parse::Parsed { l3, chain } = parse::parse(packet).map_err(pass)?;
    let (ring, rules) = (&*snapshot.ring, &*snapshot.rules);
    let tuple = chain.five_tuple;
    let outbound = tuple.reversed();
    let words = outbound.words();
    let hash = shared.table.hash(&words);
    let flow = shared.table.find(hash, &words);
    let policy = rules.policy_of(flow.map(|flow| flow.back), &words).ok_or(pass(Reason::Off))?;
    let rule = rules.policy(policy).ok_or(pass(Reason::Off))?;
    let form = rule.mode.form().ok_or(pass(Reason::Off))?;
    if rules.config.mss_clamp {
        let mtu_with = |len| shared.mtu_with(rules, &tuple.src, len, now);
        mss::clamp_packet(packet, l3, &chain, form, counters, mtu_with).map_err(pass)?;
    }
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
    // An encrypted option says by itself whose it is.
    let others = form != Form::Encrypted && !remove.as_inserted;
    if others || flow.is_some_and(|flow| flow.back.host_measures(form)) {
        return Err(pass(Reason::HostsOwn));
    }
    let mut guess = None;
    if form == Form::Encrypted {
        if ring.peers.is_empty() {
            return Err(consequence(ring, OnFailure::Pass, Reason::NoKey));
        }
        let option = EncryptedOption::parse(octets).ok_or(pass(Reason::MalformedOption))?;
        guess = first_guess(ring, flow, &tuple, option.head.f != 0);
        if guess.is_none() {
            if let Some(policy) = rules.counters(policy as u32, counters.worker) {
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
    if !make_ready(packet, || counters.copied.add(1)) {
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

/// Counts a packet that was not accepted, and does with it what its policy says.
#[cold]
fn fail<B: PacketBuf>(
    Snapshot { ring, rules, .. }: &Snapshot,
    counters: &WorkerCounters,
    packets: &mut [B],
    outcomes: &mut ArrayVec<Outcome, BURST>,
    plans: &Plans,
    c: &Chosen<'_>,
    reason: Reason,
) {
    if let Some(policy) = rules.counters(c.policy, counters.worker) {
        policy.failed.add(1);
    }
    if let Some(flow) = c.flow {
        flow.back.count_failed();
    }
    let (Some(packet), Some(outcome)) =
        (packets.get_mut(usize::from(c.packet)), outcomes.get_mut(usize::from(c.packet)))
    else {
        return;
    };
    let rule = rules.policy(c.policy as usize).map_or(OnFailure::Strip, |rule| rule.on_failure);
    let (on_failure, reason) = consequence(ring, rule, reason);
    *outcome = match on_failure {
        OnFailure::Drop => Outcome::Dropped(reason),
        OnFailure::Pass => Outcome::Passed(reason),
        OnFailure::Strip if strip(packet, plans, c, counters) => Outcome::Stripped(reason),
        OnFailure::Strip => Outcome::Passed(Reason::ReadOnly),
    };
}
