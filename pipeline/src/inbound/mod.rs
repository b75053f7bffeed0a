//! Coming back from the network: options are opened, counted, and taken out or left in place.
//!
//! Stages over a burst: parse and hash, look up the flow, choose and guess the key, open the batch in one call, try further
//! keys for the few that did not open, account, rewrite. Each asks for the cache lines of the next one. Nearly all packets
//! are of the shape that boxes make, of a known flow, and under the key of the flow's packet before: those take the short
//! way (`ShortWay`, with `lanes::inbound`). Any other goes through `choose`, which finds the reason when it
//! is not opened. Packets are taken into account in order, whichever way they go. State changes only for packets that
//! authenticate; a packet whose option is in clear never makes any.

mod accounting;
mod choosing;
mod chosen;
pub mod guess;
mod icmp_error;
mod measuring;
mod opening;
mod receipt;
mod short_way;

use crate::flow::lookup::{Likely, look_up};
use crate::flow::record::WholeFlow;
use crate::observe::counters::{Outcome, WorkerCounters};
use crate::observe::reasons::Reason;
use crate::packet::buffer::{PacketBuf, make_ready};
use crate::packet::parse;
use crate::packet::rewrite;
use crate::ports::{BURST, Came, Clock};
use crate::state::budgets::{Purse, TrialBudget};
use crate::state::keyring::KeyRing;
use crate::state::policies::OnFailure;
use crate::state::rules::Runs;
use crate::state::shared::Shared;
use crate::state::snapshot::Snapshot;
use crate::state::worker::{Scratch, Worker, look};
use accounting::account;
use arrayvec::ArrayVec;
use choosing::{choose, choose_known, plan_of};
use chosen::{Chosen, Plans, is_bare, metrics_in_clear};
use measuring::Measuring;
use opening::{Opened, key_of, open_first, open_further};
use protocol::wire::option::{Form, Metrics};
use receipt::{Each, Receipt, Together};
use short_way::{Met, ShortWay};

impl Worker {
    /// Works on a burst that the outside port has just received. `outcomes` gets one entry per packet, in order;
    /// at most [`BURST`] packets are looked at. Gives what has become of all of them, where it is known that all came out alike.
    pub fn inbound<B: PacketBuf>(
        &mut self,
        packets: &mut [B],
        outcomes: &mut ArrayVec<Outcome, BURST>,
        clock: &impl Clock,
    ) -> Option<Outcome> {
        self.inbound_of(packets, outcomes, clock, Together)
    }

    /// The same, of a burst whose port says when each packet came.
    pub fn inbound_at<B: PacketBuf>(
        &mut self,
        packets: &mut [B],
        outcomes: &mut ArrayVec<Outcome, BURST>,
        clock: &impl Clock,
        came: &Came<'_>,
    ) -> Option<Outcome> {
        self.counters.stamps_used.add(came.told.used);
        self.counters.stamps_refused.add(came.told.refused);
        self.inbound_of(packets, outcomes, clock, |_| Each(came.at))
    }

    /// `receipt`: of the time at which the burst is worked on.
    #[inline]
    fn inbound_of<B: PacketBuf, R: Receipt>(
        &mut self,
        packets: &mut [B],
        outcomes: &mut ArrayVec<Outcome, BURST>,
        clock: &impl Clock,
        receipt: impl FnOnce(u64) -> R,
    ) -> Option<Outcome> {
        let Self { shared, snapshot, counters, scratch, trials, errors, index, epoch, sifting, lanes_back, .. } = self;
        let (shared, counters) = (&**shared, &**counters);
        // From here on no record that a look-up finds is used for another flow.
        epoch.enter();
        let snapshot = look(snapshot, shared.seen_by(*index));
        let (ring, rules) = (&*snapshot.ring, &*snapshot.rules);
        let packets = packets.get_mut(..packets.len().min(BURST)).unwrap_or_default();
        let shape = |packet: &B| parse::plain_back(packet).or_else(|| Some(parse::measured(packet)?.0));
        let Some(off) = rules.sieve.sift(sifting[1], packets, shape, outcomes) else {
            epoch.leave();
            return Some(Outcome::Passed(Reason::Off));
        };
        let now = clock.now_ns();
        let burst = Burst { shared, snapshot, counters, now, receipt: receipt(now) };
        let mut chosen: ArrayVec<Chosen<'_>, BURST> = ArrayVec::new();
        let mut plans = Plans::new();
        let mut known = ArrayVec::new();
        let mut short = ShortWay::front(lanes_back, &mut known, &shared.table, ring, rules, packets);
        let mut alike = short.as_ref().and_then(|short| short.outcome_of_all(packets.len()));
        let mut quoting = 0;
        if let Some(outcome) = alike {
            let all = [outcome; BURST];
            let _ = outcomes.try_extend_from_slice(all.get(..packets.len()).unwrap_or_default()); // as many as it holds
        } else {
            quoting = burst.choose_all(short.as_ref(), off, packets, outcomes, &mut chosen, &mut plans);
        }
        sifting[1] = alike.is_none() && rules.sieve.is_worth_it(outcomes);
        let mut opened = 0;
        if !chosen.is_empty() {
            opened = open_first(ring, counters, packets, &mut chosen, &plans, scratch, trials, burst.now);
        }
        if let Some(short) = &mut short {
            short.open(packets, outcomes, &mut chosen, &mut plans);
        }
        if !burst.settle_all(short.as_ref(), scratch, trials, packets, outcomes, &mut chosen, &mut plans, opened) {
            alike = None;
        }
        if quoting != 0 {
            icmp_error::mend_all(shared, snapshot, counters, errors, packets, outcomes, quoting, burst.now);
        }
        epoch.leave();
        alike
    }
}

/// What goes for all packets of a burst.
#[derive(Clone, Copy)]
struct Burst<'a, R> {
    shared: &'a Shared,
    snapshot: &'a Snapshot,
    counters: &'a WorkerCounters,
    /// When it is worked on.
    now: u64,
    /// When its packets came.
    receipt: R,
}

impl<'a, R: Receipt> Burst<'a, R> {
    /// Chooses the packets that are not in the lanes, and notes what becomes of all of them if nothing comes between. Gives
    /// those that are ICMPv6 errors, whose quotation comes last: they may carry an option themselves.
    #[inline]
    fn choose_all<B: PacketBuf>(
        self,
        short: Option<&ShortWay<'a, '_>>,
        off: u32,
        packets: &mut [B],
        outcomes: &mut ArrayVec<Outcome, BURST>,
        chosen: &mut ArrayVec<Chosen<'a>, BURST>,
        plans: &mut Plans,
    ) -> u32 {
        let Self { shared, snapshot, counters, now, .. } = self;
        let (ring, rules) = (&*snapshot.ring, &*snapshot.rules);
        let mut quoting = 0;
        let measured = |packet: &B| parse::measured(packet).map(|(quick, form)| (quick, Some(form)));
        let mut take = |i: usize, packet: &mut B, likely: Option<&Likely<'a>>| {
            if off >> i & 1 != 0 {
                return Outcome::Passed(Reason::Off);
            }
            if let Some(c) = likely.and_then(|l| choose_known(ring, rules, packet, l, i as u8)) {
                let done = c.done();
                chosen.push(c);
                return done;
            }
            quoting |= u32::from(icmp_error::is_one(packet.data())) << i;
            match choose(shared, snapshot, counters, packet, plans, now) {
                Ok(c) => {
                    let done = c.done();
                    chosen.push(Chosen { packet: i as u8, ..c });
                    done
                }
                Err((on_failure, reason)) => not_opened(packet, counters, on_failure, reason),
            }
        };
        let Some(short) = short else {
            let prefetch = |flow: WholeFlow<'_>| flow.prefetch_inbound();
            look_up(&shared.table, packets, off, measured, prefetch, |i, packet, likely| {
                outcomes.push(take(i, packet, likely));
            });
            return quoting;
        };
        for (i, packet) in packets.iter_mut().enumerate() {
            outcomes.push(short.outcome(i).unwrap_or_else(|| {
                // What no policy names is not looked up.
                let measured = if off >> i & 1 == 0 { measured(packet) } else { None };
                let likely = measured.map(|(quick, form)| Likely { form, ..Likely::of(&shared.table, quick, None) });
                take(i, packet, likely.as_ref())
            }));
        }
        quoting
    }

    /// Takes the packets into account, in order, and the options out. Whether all of them went the short way to its end.
    #[inline]
    #[expect(clippy::too_many_arguments, reason = "one caller; a struct for it would only rename them")]
    fn settle_all<B: PacketBuf>(
        self,
        short: Option<&ShortWay<'a, '_>>,
        scratch: &Scratch,
        trials: &mut TrialBudget,
        packets: &mut [B],
        outcomes: &mut ArrayVec<Outcome, BURST>,
        chosen: &mut ArrayVec<Chosen<'a>, BURST>,
        plans: &mut Plans,
        opened: u32,
    ) -> bool {
        let Self { shared, snapshot, counters, now, receipt } = self;
        let (mut short_to_the_end, alone) = (chosen.is_empty(), !shared.has_several_workers());
        let mut accepted = Runs::new(&snapshot.rules, counters.worker, |policy| &policy.accepted);
        let mut measuring = Measuring::new(&snapshot.rules, counters, now);
        let mut slow = chosen.iter_mut().peekable();
        let mut rest = short.map_or(&[][..], ShortWay::known);
        loop {
            while let Some(c) = slow.next_if(|c| rest.first().is_none_or(|known| c.packet < known.packet)) {
                let failure = self.settle(scratch, trials, &mut measuring, packets, plans, c, opened);
                self.finish(&mut measuring, packets, outcomes, plans, c, failure, &mut accepted);
            }
            let Some(short) = short.filter(|_| !rest.is_empty()) else { break };
            let run = slow.peek().map_or(rest.len(), |c| rest.iter().take_while(|k| k.packet < c.packet).count());
            let (fine, met) = short.account(rest.get(..run).unwrap_or(rest), packets, &mut measuring, alone, receipt);
            let (fine, others) = rest.split_at_checked(fine).unwrap_or((rest, &[]));
            for known in fine {
                accepted.count(known.policy);
                short_to_the_end &= short.strip(known, packets, outcomes, counters);
            }
            rest = others;
            let (Some(met), Some((odd, others))) = (met, rest.split_first()) else { continue };
            rest = others;
            short_to_the_end = false;
            let Some(mut c) = short.chosen(odd, packets, outcomes, plans) else { continue };
            let failure = match met {
                Met::Refused(reason) => Some(reason),
                Met::Moved => {
                    let (metrics, bare) = (short.metrics(odd), is_bare(packets, &c));
                    let came = receipt.of(odd.packet);
                    account(shared, snapshot, &mut measuring, &mut c, plans, odd.guess, &metrics, came, bare)
                }
            };
            self.finish(&mut measuring, packets, outcomes, plans, &c, failure, &mut accepted);
        }
        measuring.end();
        accepted.end();
        short_to_the_end
    }

    /// [`settle`] of a packet that went the slow way.
    #[expect(clippy::too_many_arguments, reason = "one caller; a struct for it would only rename them")]
    fn settle<B: PacketBuf>(
        self,
        scratch: &Scratch,
        trials: &mut TrialBudget,
        measuring: &mut Measuring<'_>,
        packets: &[B],
        plans: &Plans,
        c: &mut Chosen<'a>,
        opened: u32,
    ) -> Option<Reason> {
        let Self { shared, snapshot, receipt, .. } = self;
        let (first_opened, came) = (c.slot.is_some_and(|slot| opened & 1 << slot != 0), receipt.of(c.packet));
        settle(shared, snapshot, measuring, scratch, trials, packets, plans, c, first_opened, came)
    }

    /// Takes the option out of a packet, or does what its policy says of one that was not accepted.
    #[inline]
    #[expect(
        clippy::too_many_arguments,
        reason = "what a packet is finished with; a struct for it would only rename them"
    )]
    fn finish<B: PacketBuf>(
        self,
        measuring: &mut Measuring<'_>,
        packets: &mut [B],
        outcomes: &mut ArrayVec<Outcome, BURST>,
        plans: &Plans,
        c: &Chosen<'_>,
        failure: Option<Reason>,
        accepted: &mut Runs<'_>,
    ) {
        let Self { snapshot, counters, .. } = self;
        if let Some(reason) = failure {
            if let (Reason::Replayed, Some(flow)) = (reason, c.flow) {
                measuring.duplicate(flow, c.policy);
            }
            return fail(snapshot, counters, packets, outcomes, plans, c, reason);
        }
        accepted.count(c.policy);
        if let (false, Some(packet)) = (c.keeps, packets.get_mut(usize::from(c.packet)))
            && !strip(packet, plans, c, counters)
            && let Some(outcome) = outcomes.get_mut(usize::from(c.packet))
        {
            *outcome = Outcome::Passed(Reason::ReadOnly);
        }
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

/// Takes a packet into account that came at this time, further keys tried if its first did not open it. The reason why it is not accepted, if it is
/// not.
#[inline(always)] // as long as one function calls it: a call has more arguments than registers
#[expect(clippy::too_many_arguments, reason = "one caller; a struct for it would only rename them")]
fn settle<'a, B: PacketBuf>(
    shared: &'a Shared,
    snapshot: &Snapshot,
    measuring: &mut Measuring<'_>,
    scratch: &Scratch,
    trials: &mut TrialBudget,
    packets: &[B],
    plans: &Plans,
    c: &mut Chosen<'a>,
    first_opened: bool,
    came: u64,
) -> Option<Reason> {
    // What its keys have cost: put back when it turns out to be genuine.
    let (purse, first, mut further) = (c.purse(), u64::from(c.derived), 0);
    let failure = match (c.slot, c.guess) {
        (Some(slot), Some(guess)) if first_opened => {
            let slot = usize::from(slot) % BURST;
            let metrics = Metrics::from_words(scratch.batch.text_words(slot));
            let bare = is_bare(packets, c);
            let failure = account(shared, snapshot, measuring, c, plans, guess, &metrics, came, bare);
            if let (None, true, Some(flow)) = (failure, c.derived, c.flow) {
                flow.back.receiver.keep_key(guess.id, guess.kri, &key_of(scratch, slot));
            }
            failure
        }
        (_, Some(_)) if c.refused => Some(Reason::NoTrialsLeft),
        (_, Some(guess)) => {
            match open_further(
                shared,
                &snapshot.ring,
                measuring.counters,
                trials,
                packets,
                c,
                plans,
                guess,
                measuring.now,
            ) {
                Ok(Opened { guess, metrics, derived, spent }) => {
                    further = spent;
                    let bare = is_bare(packets, c);
                    let failure = account(shared, snapshot, measuring, c, plans, guess, &metrics, came, bare);
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
                let alone = !shared.has_several_workers();
                measuring.take_clear(flow, c.policy, &metrics, alone, came, is_bare(packets, c));
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
