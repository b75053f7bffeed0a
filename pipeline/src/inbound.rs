//! Coming back from the network: options are opened, counted, and taken out or left in place.
//!
//! Stages over a burst: parse and choose, look up the flow, guess the key, open the batch in one call, try further keys
//! for the few that did not open, account, rewrite. State changes only for packets that authenticate; a packet whose
//! option is in clear never makes any.

use crate::buffer::PacketBuf;
use crate::counters::{Outcome, Reason, WorkerCounters};
use crate::flow::{Fingerprint, Flow};
use crate::keyring::KeyRing;
use crate::open::{Guess, SealedOption, first_guess, guesses, session};
use crate::path::{BURST, Clock, Shared, TrialBudget, Worker, classify, form_of};
use crate::policy::{InboundAction, OnFailure, Policy};
use crate::resync::Sample;
use crate::{mss, parse, rewrite};
use arrayvec::ArrayVec;
use protocol::aead::Slot;
use protocol::delta_time::{self, Scaled};
use protocol::five_tuple::FiveTuple;
use protocol::key_schedule::SessionKey;
use protocol::receiver::Verdict;
use protocol::suite::Aead;
use protocol::wire::dest_opts::{RemovePlan, plan_remove};
use protocol::wire::option::{Form, Metrics};

/// A packet with an option that is ours to look at.
struct Chosen<'a> {
    packet: usize,
    l3: usize,
    plan: RemovePlan,
    form: Form,
    /// Of the packet itself; the flow's is the reverse.
    tuple: FiveTuple,
    print: Fingerprint,
    flow: Option<&'a Flow>,
    policy: usize,
    rule: &'a Policy,
    sealed: Option<(SealedOption, Guess)>,
    clear: Option<Metrics>,
}

/// What opening a packet came to.
enum Opened {
    /// The key; whether it was derived anew; what it opened.
    With(Guess, SessionKey, bool, Metrics),
    Failed(Reason),
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
        let Self { shared, ring, counters, slots, trials, .. } = self;
        let (shared, ring) = (&**shared, &**ring.load());

        let mut chosen: ArrayVec<Chosen<'_>, BURST> = ArrayVec::new();
        for (i, packet) in packets.iter_mut().enumerate().take(BURST) {
            outcomes.push(match choose(shared, ring, counters, packet) {
                Ok(c) => {
                    let form = c.form;
                    chosen.push(Chosen { packet: i, ..c });
                    Outcome::Removed(form)
                }
                Err((OnFailure::Drop, reason)) => Outcome::Dropped(reason),
                Err((OnFailure::Strip, reason)) => match plan_of(packet) {
                    Some((l3, plan)) => {
                        rewrite::strip(packet, l3, &plan);
                        Outcome::Stripped(reason)
                    }
                    None => Outcome::Passed(reason),
                },
                Err((OnFailure::Pass, reason)) => Outcome::Passed(reason),
            });
        }

        let (opened, derived) = open_first(ring, counters, &chosen, slots);
        trials.earn(u64::from(opened.count_ones()));
        for (i, c) in chosen.iter_mut().enumerate() {
            let result = match (c.sealed, c.clear) {
                (Some((option, guess)), _) if opened & 1 << i != 0 => {
                    let slot = &slots[i];
                    let mut key = SessionKey { key: slot.key, base_nonce: slot.nonce };
                    // The slot's nonce is `base_nonce` XOR PRSEQ; the key line keeps the former.
                    key.base_nonce = key.nonce(option.head.prseq);
                    Opened::With(guess, key, derived & 1 << i != 0, Metrics::parse(&slot.text))
                }
                (Some((option, guess)), _) => open_further(shared, ring, counters, trials, c, &option, guess, now),
                (None, clear) => {
                    if let (Some(flow), Some(metrics)) = (c.flow, clear) {
                        flow.seen(now);
                        let (skipped, late) = flow.follow_clear(metrics.psntp);
                        gaps(flow, counters, skipped, late);
                        measure(flow, counters, &metrics, now);
                        flow.count_accepted();
                    }
                    counters.policies[c.policy].accepted.add(1);
                    finish(packets, outcomes, c);
                    continue;
                }
            };
            let failure = match result {
                Opened::With(guess, key, derived, metrics) => {
                    let keep = derived.then_some(&key);
                    account(shared, ring, counters, c, guess, keep, &metrics, now)
                }
                Opened::Failed(reason) => Some(reason),
            };
            match failure {
                None => finish(packets, outcomes, c),
                Some(reason) => {
                    counters.policies[c.policy].failed.add(1);
                    if let Some(flow) = c.flow {
                        flow.count_failed();
                    }
                    fail(packets, outcomes, c, reason);
                }
            }
        }
        self.epoch.leave();
    }
}

fn plan_of<B: PacketBuf>(packet: &B) -> Option<(usize, RemovePlan)> {
    let parse::Parsed { l3, chain } = parse::parse(packet).ok()?;
    Some((l3, plan_remove(&chain, &packet.data()[l3..])?))
}

/// Finds policy, flow and first guess of one packet.
#[inline]
fn choose<'a, B: PacketBuf>(
    shared: &'a Shared,
    ring: &KeyRing,
    counters: &WorkerCounters,
    packet: &mut B,
) -> Result<Chosen<'a>, (OnFailure, Reason)> {
    let pass = |reason| (OnFailure::Pass, reason);
    let parse::Parsed { l3, chain } = parse::parse(packet).map_err(pass)?;
    let config = &shared.config;
    let tuple = chain.five_tuple;
    let outbound = tuple.reversed();
    let words = outbound.words();
    let print = shared.table.fingerprint(&words);
    let flow = shared.table.find(print, &words);
    let policy = match flow {
        Some(flow) => flow.policy(),
        None => classify(config, &outbound).ok_or(pass(Reason::Off))?.0,
    };
    let rule = config.policies.get(policy).ok_or(pass(Reason::Off))?;
    let form = form_of(rule.mode).ok_or(pass(Reason::Off))?;
    if mss::clamp_packet(packet, l3, &chain, config, form) {
        counters.mss_clamped.add(1);
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
    let plan = plan_remove(&chain, data).ok_or(pass(Reason::MalformedOption))?;
    let (mut sealed, mut clear) = (None, None);
    match form {
        Form::Pdm => clear = octets.get(2..).and_then(|o| o.first_chunk()).map(Metrics::parse_pdm),
        Form::Clear => clear = octets.get(6..).and_then(|o| o.first_chunk()).map(Metrics::parse),
        Form::Sealed => {
            if ring.peers.is_empty() {
                return Err(pass(Reason::NoKey));
            }
            let option = SealedOption::parse(octets).ok_or(pass(Reason::MalformedOption))?;
            let Some(guess) = first_guess(ring, flow, &tuple, option.head.f != 0) else {
                counters.policies[policy].failed.add(1);
                return Err((rule.on_failure, Reason::UnknownPeer));
            };
            sealed = Some((option, guess));
        }
    }
    Ok(Chosen { packet: 0, l3, plan, form, tuple, print, flow, policy, rule, sealed, clear })
}

/// Opens every packet's first guess, in one call per AEAD. Bit i: packet i of `chosen`, whose text is in slot i, has
/// opened; and, in the second mask, its key had to be derived.
#[inline]
fn open_first(
    ring: &KeyRing,
    counters: &WorkerCounters,
    chosen: &ArrayVec<Chosen<'_>, BURST>,
    slots: &mut [Slot; BURST],
) -> (u32, u32) {
    let (mut waiting, mut fresh) = (0u32, 0u32);
    let mut common: Option<Aead> = None;
    for (i, c) in chosen.iter().enumerate() {
        let Some((option, guess)) = &c.sealed else { continue };
        let Some((key, derived)) = session(ring, c.flow, &c.tuple, *guess) else { continue };
        counters.derivations.add(u64::from(derived));
        option.load(&mut slots[i], &key);
        waiting |= 1 << i;
        fresh |= u32::from(derived) << i;
        common.get_or_insert(guess.aead);
    }
    let Some(common) = common else { return (0, 0) };
    let same = |c: &Chosen<'_>| c.sealed.as_ref().is_none_or(|(_, g)| g.aead == common);
    if chosen.iter().all(same) {
        // Slots of packets in clear are opened with the others and thrown away.
        return (protocol::aead::open(common, &mut slots[..chosen.len()]) & waiting, fresh);
    }
    // Peers with different suites in one burst: rare, and each packet for itself.
    let mut opened = 0;
    for (i, c) in chosen.iter().enumerate().filter(|(i, _)| waiting & 1 << i != 0) {
        if let Some((_, guess)) = &c.sealed {
            opened |= protocol::aead::open(guess.aead, core::slice::from_mut(&mut slots[i])) << i;
        }
    }
    (opened, fresh)
}

/// Tries the other keys, as long as the worker's budget lasts.
#[cold]
#[expect(clippy::too_many_arguments, reason = "one caller; a struct for it would only rename them")]
fn open_further(
    shared: &Shared,
    ring: &KeyRing,
    counters: &WorkerCounters,
    budget: &mut TrialBudget,
    c: &Chosen<'_>,
    option: &SealedOption,
    first: Guess,
    now: u64,
) -> Opened {
    // An earlier packet of this burst may have brought the flow into the table.
    let flow = c.flow.or_else(|| shared.table.find(c.print, &c.tuple.reversed().words()));
    let mut slot = Slot::ZERO;
    if !budget.admit(now) {
        return Opened::Failed(Reason::NoTrialsLeft);
    }
    for guess in guesses(ring, flow, &c.tuple, option.head.f != 0) {
        if guess == first {
            continue;
        }
        budget.spend(now);
        let Some((key, derived)) = session(ring, flow, &c.tuple, guess) else { continue };
        counters.derivations.add(u64::from(derived));
        counters.trials.add(1);
        option.load(&mut slot, &key);
        if protocol::aead::open(guess.aead, core::slice::from_mut(&mut slot)) != 0 {
            return Opened::With(guess, key, derived, Metrics::parse(&slot.text));
        }
    }
    shared.resync.offer(|| Sample { tuple: c.tuple, option: *option });
    Opened::Failed(Reason::BadTag)
}

/// Takes an authenticated packet into account. The reason why it does not count, if it does not.
#[inline]
#[expect(clippy::too_many_arguments, reason = "one caller; a struct for it would only rename them")]
fn account<'a>(
    shared: &'a Shared,
    ring: &KeyRing,
    counters: &WorkerCounters,
    c: &mut Chosen<'a>,
    guess: Guess,
    derived: Option<&SessionKey>,
    metrics: &Metrics,
    now: u64,
) -> Option<Reason> {
    if let Some(peer) = ring.peer(guess.id.peer()) {
        peer.opened_with(guess.id.generation());
    }
    let flow = match c.flow {
        Some(flow) => flow,
        None => match shared.insert(&c.tuple.reversed(), c.print, c.policy, ring, now) {
            Ok((flow, new)) => {
                counters.flows_inserted.add(u64::from(new));
                c.flow = Some(flow);
                flow
            }
            // It is genuine. Without a record it cannot be told from a replay, which is what a full table costs.
            Err(_) => {
                counters.unrecorded.add(1);
                counters.policies[c.policy].accepted.add(1);
                return None;
            }
        },
    };
    let before = flow.receiver.current();
    match flow.receiver.accept(guess.id, guess.kri, metrics.psntp) {
        Verdict::Fresh { skipped, late } => {
            gaps(flow, counters, skipped, late);
        }
        Verdict::Replayed => return Some(Reason::Replayed),
        Verdict::TooOld => return Some(Reason::TooOld),
    }
    let here = flow.receiver.current() == Some((guess.id, guess.kri));
    counters.rotations.add(u64::from(here && before.is_some_and(|b| b != (guess.id, guess.kri))));
    // Keys of late packets do not push out the one in use.
    if let (true, Some(key), Some(line)) = (here, derived, flow.receiver.key_line(guess.id)) {
        line.put(guess.id, guess.kri, key);
    }
    flow.seen(now);
    measure(flow, counters, metrics, now);
    flow.count_accepted();
    counters.policies[c.policy].accepted.add(1);
    None
}

#[inline]
fn gaps(flow: &Flow, counters: &WorkerCounters, skipped: u32, late: bool) {
    counters.skipped.add(u64::from(skipped));
    counters.reordered.add(u64::from(late));
    flow.count_gaps(skipped, late);
}

#[inline]
fn measure(flow: &Flow, counters: &WorkerCounters, metrics: &Metrics, now: u64) {
    let delay = delta_time::to_nanos(Scaled { value: metrics.delta_tlr, scale: metrics.scale_dtlr });
    let sample = flow.meter.on_receive(metrics.psntp, metrics.psnlr, delay, now);
    if let Some(ns) = sample.round_trip_ns {
        counters.round_trip.record(ns);
    }
    if let Some(ns) = sample.server_delay_ns {
        counters.server_delay.record(ns);
    }
}

#[inline]
fn finish<B: PacketBuf>(packets: &mut [B], outcomes: &mut ArrayVec<Outcome, BURST>, c: &Chosen<'_>) {
    let (Some(packet), Some(outcome)) = (packets.get_mut(c.packet), outcomes.get_mut(c.packet)) else { return };
    if c.rule.inbound == InboundAction::Verify {
        *outcome = Outcome::Verified(c.form);
    } else {
        rewrite::strip(packet, c.l3, &c.plan);
        *outcome = Outcome::Removed(c.form);
    }
}

#[cold]
fn fail<B: PacketBuf>(packets: &mut [B], outcomes: &mut ArrayVec<Outcome, BURST>, c: &Chosen<'_>, reason: Reason) {
    let (Some(packet), Some(outcome)) = (packets.get_mut(c.packet), outcomes.get_mut(c.packet)) else { return };
    *outcome = match c.rule.on_failure {
        OnFailure::Drop => Outcome::Dropped(reason),
        OnFailure::Pass => Outcome::Passed(reason),
        OnFailure::Strip => {
            rewrite::strip(packet, c.l3, &c.plan);
            Outcome::Stripped(reason)
        }
    };
}
