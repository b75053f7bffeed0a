//! Towards the network: the option goes into the packets that a policy names.
//!
//! Stages over a burst: parse and hash, look up the flow, choose, take numbers and times, seal the batch in one call,
//! rewrite. Each asks for the cache lines of the next one. Nearly all packets are of a plain shape and of a known flow; any
//! other goes through `choose`, which finds the reason when it passes as it came.

mod chosen;
mod filling;
mod inserting;
pub mod too_big;

use crate::flow::hash::FlowHash;
use crate::flow::lookup::{Likely, look_up};
use crate::flow::record::{Flow, Stamp, WholeFlow};
use crate::flow::table::NoFlow;
use crate::observe::counters::{Outcome, WorkerCounters};
use crate::observe::reasons::Reason;
use crate::packet::buffer::{PacketBuf, make_ready};
use crate::packet::mss;
use crate::packet::parse::{self, Quick};
use crate::ports::{BURST, Clock};
use crate::state::keyring::KeyRing;
use crate::state::path_mtu::Known;
use crate::state::policies::{InboundAction, OutboundAction};
use crate::state::rules::{Oversize, Rules, Way};
use crate::state::shared::Shared;
use crate::state::snapshot::Snapshot;
use crate::state::worker::{Worker, look};
use arrayvec::ArrayVec;
use chosen::{Chosen, Plans};
use filling::fill;
use inserting::insert;
use protocol::five_tuple::FiveTuple;
use protocol::sender::{NoNumber, Number};
use protocol::wire::dest_opts::{InsertError, plan_insert};
use protocol::wire::ipv6;
use protocol::wire::option::Form;

impl From<InsertError> for Reason {
    fn from(error: InsertError) -> Self {
        match error {
            InsertError::HeaderFull => Self::HeaderFull,
            InsertError::PayloadTooLong => Self::Oversize,
            InsertError::ClearOutsideEsp => Self::ClearOutsideEsp,
        }
    }
}

impl From<NoNumber> for Reason {
    fn from(no: NoNumber) -> Self {
        match no {
            NoNumber::Frozen => Self::FlowLeaving,
            NoNumber::Exhausted => Self::Exhausted,
            // This worker's snapshot is a little older than another's: the next burst has the new one.
            NoNumber::NewerGeneration | NoNumber::Contended => Self::Contended,
        }
    }
}

impl Worker {
    /// Works on a burst from the inside port. `outcomes` gets one entry per packet, in order; at most [`BURST`] packets
    /// are looked at.
    pub fn outbound<B: PacketBuf>(
        &mut self,
        packets: &mut [B],
        outcomes: &mut ArrayVec<Outcome, BURST>,
        clock: &impl Clock,
    ) {
        let Self { shared, snapshot, counters, scratch, audit, too_big, index, epoch, sifting, .. } = self;
        let shared = &**shared;
        // From here on no record that a look-up finds is used for another flow.
        epoch.enter();
        let snapshot = look(snapshot, shared.seen_by(*index));
        let (ring, rules) = (&*snapshot.ring, &*snapshot.rules);
        let packets = packets.get_mut(..packets.len().min(BURST)).unwrap_or_default();
        let Some(off) = rules.sieve.sift(sifting[0], packets, parse::plain, outcomes) else { return epoch.leave() };
        let now = clock.now_ns();
        let stamp = shared.stamp(snapshot.version);

        let mut chosen: ArrayVec<Chosen<'_>, BURST> = ArrayVec::new();
        let mut plans = Plans::new();
        let plain = |packet: &B| Some((parse::plain(packet)?, None));
        look_up(&shared.table, packets, off, plain, Flow::prefetch_outbound, |i, packet, likely| {
            if off & 1 << i != 0 {
                return outcomes.push(Outcome::Passed(Reason::Off));
            }
            if let Some(c) = likely.and_then(|l| choose_known(shared, ring, rules, stamp, packet, l, i as u8, now)) {
                outcomes.push(Outcome::Added(c.form));
                chosen.push(c);
                return;
            }
            let choice = if is_off(rules, likely) {
                Err(Reason::Off)
            } else {
                choose(shared, snapshot, counters, packet, &mut plans, now)
            };
            outcomes.push(match choice {
                Ok(c) => {
                    let form = c.form;
                    chosen.push(Chosen { packet: i as u8, ..c });
                    Outcome::Added(form)
                }
                Err(Reason::Oversize | Reason::PathMtu)
                    if rules.config.oversize == Oversize::PacketTooBig
                        && too_big.take(now)
                        && make_ready(packet, || counters.copied.add(1))
                        && too_big::answer(packet, |destination| shared.mtu_to(rules, destination, now)) =>
                {
                    Outcome::TooBig
                }
                Err(reason) => Outcome::Passed(reason),
            });
        });
        sifting[0] = rules.sieve.is_worth_it(outcomes);
        if !chosen.is_empty() {
            // RFC 8250 section 3.5.2: the time of sending, as near the wire as the number allows.
            let sent = clock.now_ns();
            let pointers = number(shared, ring.sealing_generation(), counters, &mut chosen, outcomes);
            let mut filled = fill(shared, ring, counters, scratch, &chosen, pointers, sent);
            if filled.is_none() {
                refuse_sealed(&mut chosen, outcomes);
                filled = fill(shared, ring, counters, scratch, &chosen, pointers, sent);
            }
            let sealed = filled.unwrap_or(0);
            if let Some(sealer) = &ring.sealer {
                let (batch, keys) = scratch.split(sealed);
                if audit.as_mut().is_none_or(|audit| audit.record(&keys, batch)) {
                    batch.seal(sealer.aead, &keys);
                } else {
                    refuse_sealed(&mut chosen, outcomes);
                }
            }
            insert(rules, counters.worker, scratch, packets, outcomes, &chosen, &plans);
        }
        epoch.leave();
    }
}

/// Chooses a packet of the plain shape whose flow is known and in which nothing is out of the way. `None`: [`choose`] it.
#[inline]
#[expect(clippy::too_many_arguments, reason = "one caller; a struct for it would only rename them")]
fn choose_known<'a, B: PacketBuf>(
    shared: &Shared,
    ring: &KeyRing,
    rules: &Rules,
    stamp: Stamp,
    packet: &B,
    Likely { quick, flow, .. }: &Likely<'a>,
    number: u8,
    now: u64,
) -> Option<Chosen<'a>> {
    let flow = flow.filter(|flow| flow.is(&quick.words))?;
    let (index, &Way { add_up_to, form, .. }) = rules.way(flow.policy())?;
    let room = match flow.room(stamp) {
        Some(room) => room,
        None => vouch(shared, ring, stamp, flow, quick, form, now)?,
    };
    if quick.len > add_up_to.min(room) || packet.headroom() < form.header_len() {
        return None;
    }
    flow.prefetch_outbound_rest();
    flow.seen(now);
    let link_local = ipv6::is_link_local(quick.words[0]);
    Some(Chosen { flow, number: Number::default(), policy: index as u32, packet: number, plan: None, form, link_local })
}

/// What a flow is told once while a snapshot lasts and what is known of paths: whether this box speaks for its source, and how long its packets may be for the
/// option to fit the path.
#[cold]
fn vouch(
    shared: &Shared,
    ring: &KeyRing,
    stamp: Stamp,
    flow: &Flow,
    quick: &Quick,
    form: Form,
    now: u64,
) -> Option<usize> {
    let tuple = FiveTuple::from_words(quick.words);
    if form == Form::Encrypted && !ring.sealer.as_ref()?.seals(&tuple) {
        return None;
    }
    let room = shared.path_mtus.known(&tuple.dst, now).map_or(usize::MAX, |known| known.room(form.header_len()));
    flow.vouch(stamp, room);
    Some(room)
}

/// Whether a packet is none to be measured. Such packets have no flow, and there may be many of them. (Not inlined: the loop that
/// asks needs its registers for packets that are measured.)
#[inline(never)]
fn is_off(rules: &Rules, likely: Option<&Likely<'_>>) -> bool {
    matches!(likely, Some(Likely { quick, flow: None, .. }) if rules.classify(&quick.words).is_none())
}

/// Finds the policy and the flow of one packet, and everything that could keep it from getting an option.
#[inline(never)]
fn choose<'a, B: PacketBuf>(
    shared: &'a Shared,
    snapshot: &Snapshot,
    counters: &WorkerCounters,
    packet: &mut B,
    plans: &mut Plans,
    now: u64,
) -> Result<Chosen<'a>, Reason> {
    let (ring, rules) = (&*snapshot.ring, &*snapshot.rules);
    let parse::Parsed { l3, chain } = parse::parse(packet)?;
    let tuple = chain.five_tuple;
    let words = tuple.words();
    let hash = shared.table.hash(&words);
    let known = shared.table.find(hash, &words);
    let index = rules.policy_of(known.map(|flow| flow.front), &words).ok_or(Reason::Off)?;
    let policy = rules.policy(index).ok_or(Reason::Off)?;
    let form = policy.mode.form().ok_or(Reason::Off)?;
    if rules.config.mss_clamp {
        let mtu_with = |len| shared.mtu_with(rules, &tuple.dst, len, now);
        mss::clamp_packet(packet, l3, &chain, form, counters, mtu_with)?;
    }
    let measured = chain.option.map(|option| option.form);
    if measured == Some(form) && policy.inbound != InboundAction::Pass {
        // What comes back with an option may be the other host's, and is left to this one.
        let flow = known.or_else(|| enter(shared, snapshot, counters, &tuple, hash, index, now).ok());
        if let Some(flow) = flow {
            flow.back.set_host_measures(form);
            flow.seen(now);
        }
    }
    if policy.outbound == OutboundAction::Pass {
        return Err(Reason::PolicyPass);
    }
    if rules.expired(index, now) {
        return Err(Reason::PolicyExpired);
    }
    if let Some(measured) = measured {
        return Err(if measured == form { Reason::AlreadyMeasured } else { Reason::OtherForm });
    }
    match (form, &ring.sealer) {
        (Form::Encrypted, None) => return Err(Reason::NoKey),
        (Form::Encrypted, Some(sealer)) if !sealer.speaks_for(tuple.source()) => return Err(Reason::SourceNotOurs),
        (Form::Encrypted, Some(sealer)) if !sealer.keys.has(&tuple) => return Err(Reason::NoKey),
        _ => {}
    }
    let plan = plan_insert(&chain, &packet.data()[l3..], form)?;
    if chain.payload_end + plan.len > rules.config.outside_mtu {
        return Err(Reason::Oversize);
    }
    match shared.path_mtus.known(&tuple.dst, now) {
        Some(Known::Refused) => return Err(Reason::OptionRefused),
        Some(known) if chain.payload_end > known.room(plan.len) => return Err(Reason::PathMtu),
        _ => {}
    }
    if !make_ready(packet, || counters.copied.add(1)) {
        return Err(Reason::ReadOnly);
    }
    if packet.headroom() < plan.len {
        return Err(Reason::NoHeadroom);
    }
    let flow = match known {
        Some(flow) => flow.front,
        None => enter(shared, snapshot, counters, &tuple, hash, index, now)?.front,
    };
    flow.seen(now);
    let link_local = ipv6::is_link_local(words[0]);
    plans.push((l3, plan));
    let plan = Some(plans.len() as u8 - 1);
    Ok(Chosen { flow, number: Number::default(), policy: index as u32, packet: 0, plan, form, link_local })
}

/// Brings a flow into the table.
fn enter<'a>(
    shared: &'a Shared,
    snapshot: &Snapshot,
    counters: &WorkerCounters,
    tuple: &FiveTuple,
    hash: FlowHash,
    policy: usize,
    now: u64,
) -> Result<WholeFlow<'a>, NoFlow> {
    let (flow, new) = shared.insert(tuple, hash, policy, snapshot, now)?;
    counters.flows_inserted.add(u64::from(new));
    Ok(flow)
}

/// Gives each packet its number, those to be sealed under this generation; those that get none pass. Then takes the Global
/// Pointers of the whole burst at once, and as late as may be: no value is skipped. Gives the first ones for global and for
/// link-local sources.
#[inline(never)]
fn number(
    shared: &Shared,
    generation: u32,
    counters: &WorkerCounters,
    chosen: &mut ArrayVec<Chosen<'_>, BURST>,
    outcomes: &mut ArrayVec<Outcome, BURST>,
) -> [u32; 2] {
    let (mut without, mut rotations, mut pointed, mut locals) = (0u32, 0, 0, 0);
    for (i, c) in chosen.iter_mut().enumerate() {
        let taken = if c.form == Form::Encrypted {
            c.flow.will_seal();
            c.flow.sender.take(generation)
        } else {
            c.flow.sender.take_in_clear()
        };
        match taken {
            Ok(number) => {
                rotations += u64::from(number.index == 0 && number.kri > 0);
                c.number = number;
                pointed += u32::from(c.form != Form::Pdm);
                locals += u32::from((c.form != Form::Pdm) & c.link_local);
            }
            Err(no) => {
                without |= 1 << i;
                if let Some(outcome) = outcomes.get_mut(usize::from(c.packet)) {
                    *outcome = Outcome::Passed(no.into());
                }
            }
        }
    }
    if rotations > 0 {
        counters.rotations_sealed.add(rotations);
    }
    if without != 0 {
        let mut at = 0;
        chosen.retain(|_| {
            at += 1;
            without & 1 << (at - 1) == 0
        });
    }
    [shared.take_global_pointer(false, pointed - locals), shared.take_global_pointer(true, locals)]
}

/// Those of a burst that are to be sealed pass as they came: the audit could not be written, and a pair that is not on
/// record must not be used; or a key is missing.
#[cold]
fn refuse_sealed(chosen: &mut ArrayVec<Chosen<'_>, BURST>, outcomes: &mut ArrayVec<Outcome, BURST>) {
    chosen.retain(|c| {
        let keep = c.form != Form::Encrypted;
        if let (false, Some(outcome)) = (keep, outcomes.get_mut(usize::from(c.packet))) {
            *outcome = Outcome::Passed(Reason::NoKey);
        }
        keep
    });
}
