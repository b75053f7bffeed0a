//! Towards the network: the option goes into the packets that a policy names.
//!
//! Stages over a burst: parse and choose, look up the flow, take numbers and times, seal the batch in one call, rewrite.
//! What cannot be measured passes as it came, with a reason.

use crate::buffer::PacketBuf;
use crate::counters::{Outcome, Reason, WorkerCounters};
use crate::flow::Flow;
use crate::keyring::{KeyRing, Sealer};
use crate::path::{BURST, Clock, Oversize, Shared, Worker, classify, expired, form_of};
use crate::policy::OutboundAction;
use crate::{mss, parse, rewrite, too_big};
use arrayvec::ArrayVec;
use protocol::delta_time;
use protocol::five_tuple::FiveTuple;
use protocol::prseq::PrseqKey;
use protocol::sender::{NoNumber, Number};
use protocol::wire::dest_opts::{InsertError, InsertPlan, plan_insert};
use protocol::wire::ipv6;
use protocol::wire::option::{self, Form, Metrics, Prefix6};

/// A packet that is to get an option.
struct Chosen<'a> {
    packet: usize,
    l3: usize,
    plan: InsertPlan,
    form: Form,
    tuple: FiveTuple,
    flow: &'a Flow,
    policy: usize,
    generation: u32,
}

/// One that has its number.
struct Numbered<'a> {
    chosen: Chosen<'a>,
    number: Number,
    head: [u8; 6],
    metrics: Metrics,
}

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
            // This worker's ring is a moment older than another's: the next burst has the new one.
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
        self.enter();
        let now = clock.now_ns();
        outcomes.clear();
        let Self { shared, ring, counters, slots, audit, too_big, .. } = self;
        let (shared, ring) = (&**shared, &**ring.load());

        let mut chosen: ArrayVec<Chosen<'_>, BURST> = ArrayVec::new();
        for (i, packet) in packets.iter_mut().enumerate().take(BURST) {
            outcomes.push(match choose(shared, ring, counters, packet, now) {
                Ok(c) => {
                    let form = c.form;
                    chosen.push(Chosen { packet: i, ..c });
                    Outcome::Added(form)
                }
                Err(Reason::Oversize)
                    if shared.config.oversize == Oversize::PacketTooBig
                        && too_big.take(now)
                        && too_big::answer(packet, shared.config.outside_mtu) =>
                {
                    Outcome::TooBig
                }
                Err(reason) => Outcome::Passed(reason),
            });
        }
        if !chosen.is_empty() {
            let mut numbered = number(shared, counters, chosen, outcomes, clock);
            point(shared, &mut numbered);

            // The sealed ones' slots stand in the same order as the packets.
            let mut sealed = 0;
            if let Some(sealer) = &ring.sealer {
                for p in numbered.iter().filter(|p| p.chosen.form == Form::Sealed) {
                    let slot = &mut slots[sealed];
                    let key = seal_key(p, sealer, counters);
                    slot.key = key.key;
                    slot.nonce = key.nonce(prseq_of(&p.head));
                    slot.aad = p.head;
                    slot.text = p.metrics.emit();
                    sealed += 1;
                }
                let written = audit.as_mut().is_none_or(|audit| audit.record(&slots[..sealed]));
                if written {
                    protocol::aead::seal(sealer.aead, &mut slots[..sealed]);
                } else {
                    refuse_sealed(&mut numbered, outcomes);
                }
            }

            let mut next = slots.iter();
            for p in &numbered {
                let c = &p.chosen;
                let Some(packet) = packets.get_mut(c.packet) else { continue };
                let done = match c.form {
                    Form::Pdm => rewrite::insert(packet, c.l3, &c.plan, &option::emit_pdm(&p.metrics)),
                    Form::Clear => {
                        let head = Prefix6::parse(&p.head).unwrap_or_default();
                        rewrite::insert(packet, c.l3, &c.plan, &option::emit_clear(&head, &p.metrics))
                    }
                    Form::Sealed => next.next().is_some_and(|slot| {
                        let option = option::emit_sealed(&slot.aad, &slot.text, &slot.tag);
                        rewrite::insert(packet, c.l3, &c.plan, &option)
                    }),
                };
                if done {
                    counters.policies[c.policy].added.add(1);
                    c.flow.count_added();
                } else if let Some(outcome) = outcomes.get_mut(c.packet) {
                    *outcome = Outcome::Passed(Reason::NoHeadroom);
                }
            }
        }
        self.epoch.leave();
    }
}

/// Finds the policy and the flow of one packet, and everything that could keep it from getting an option.
#[inline]
fn choose<'a, B: PacketBuf>(
    shared: &'a Shared,
    ring: &KeyRing,
    counters: &WorkerCounters,
    packet: &mut B,
    now: u64,
) -> Result<Chosen<'a>, Reason> {
    let parse::Parsed { l3, chain } = parse::parse(packet)?;
    let config = &shared.config;
    let tuple = chain.five_tuple;
    let words = tuple.words();
    let print = shared.table.fingerprint(&words);
    let known = shared.table.find(print, &words);
    let index = match known {
        Some(flow) => flow.policy(),
        None => classify(config, &tuple).ok_or(Reason::Off)?.0,
    };
    let policy = config.policies.get(index).ok_or(Reason::Off)?;
    let form = form_of(policy.mode).ok_or(Reason::Off)?;
    if mss::clamp_packet(packet, l3, &chain, config, form) {
        counters.mss_clamped.add(1);
    }
    if policy.outbound == OutboundAction::Pass {
        return Err(Reason::PolicyPass);
    }
    if expired(config, policy, now) {
        return Err(Reason::PolicyExpired);
    }
    if chain.option.is_some() {
        return Err(Reason::AlreadyMeasured);
    }
    let generation = match (form, &ring.sealer) {
        (Form::Sealed, None) => return Err(Reason::NoKey),
        (Form::Sealed, Some(sealer)) if !sealer.speaks_for(&tuple.src) => return Err(Reason::SourceNotOurs),
        (_, sealer) => sealer.as_ref().map_or(0, |s| s.generation),
    };
    let plan = plan_insert(&chain, &packet.data()[l3..], form)?;
    if chain.payload_end + plan.len > config.outside_mtu {
        return Err(Reason::Oversize);
    }
    if packet.headroom() < plan.len {
        return Err(Reason::NoHeadroom);
    }
    let flow = match known {
        Some(flow) => flow,
        None => {
            let (flow, new) = shared.insert(&tuple, print, index, ring, now)?;
            counters.flows_inserted.add(u64::from(new));
            flow
        }
    };
    flow.seen(now);
    Ok(Chosen { packet: 0, l3, plan, form, tuple, flow, policy: index, generation })
}

/// Gives each packet its number, PRSEQ and times.
#[inline]
fn number<'a>(
    shared: &Shared,
    counters: &WorkerCounters,
    chosen: ArrayVec<Chosen<'a>, BURST>,
    outcomes: &mut ArrayVec<Outcome, BURST>,
    clock: &impl Clock,
) -> ArrayVec<Numbered<'a>, BURST> {
    // RFC 8250 section 3.5.2: the time of sending, as near the wire as the number allows.
    let now = clock.now_ns();
    let mut numbered = ArrayVec::new();
    for c in chosen {
        if c.form == Form::Sealed {
            c.flow.will_seal();
        }
        let number = match c.flow.sender.take(c.generation) {
            Ok(number) => number,
            Err(no) => {
                if let Some(outcome) = outcomes.get_mut(c.packet) {
                    *outcome = Outcome::Passed(no.into());
                }
                continue;
            }
        };
        if number.index() == 0 && number.n > 0 {
            counters.rotations_sealed.add(1);
        }
        let mut head = [0; 6];
        if c.form != Form::Pdm {
            let flow = c.flow.fingerprint().bits();
            let order = PrseqKey::derive(&shared.master, flow, c.generation, number.kri());
            head = Prefix6 { reserved: 0, prseq: order.prseq(number.index()), f: u8::from(number.f()) }.emit(c.form);
        }
        let times = c.flow.meter.on_send(number.psntp, now);
        let (tlr, tls) = (delta_time::from_nanos(times.delta_tlr_ns), delta_time::from_nanos(times.delta_tls_ns));
        let metrics = Metrics {
            scale_dtlr: tlr.scale,
            scale_dtls: tls.scale,
            global_pointer: 0,
            psntp: number.psntp,
            psnlr: times.psnlr,
            delta_tlr: tlr.value,
            delta_tls: tls.value,
        };
        numbered.push(Numbered { chosen: c, number, head, metrics });
    }
    numbered
}

/// Takes the Global Pointers of the whole burst at once, and as late as may be: no value is skipped.
#[inline]
fn point(shared: &Shared, numbered: &mut ArrayVec<Numbered<'_>, BURST>) {
    let local = |p: &Numbered<'_>| ipv6::is_link_local(&p.chosen.tuple.src);
    let pointed = |p: &&Numbered<'_>| p.chosen.form != Form::Pdm;
    let count = numbered.iter().filter(pointed).count() as u32;
    let locals = numbered.iter().filter(pointed).filter(|p| local(p)).count() as u32;
    let mut next = [shared.take_global_pointer(false, count - locals), shared.take_global_pointer(true, locals)];
    for p in numbered.iter_mut().filter(|p| p.chosen.form != Form::Pdm) {
        let class = usize::from(local(p));
        p.metrics.global_pointer = next[class];
        next[class] = next[class].wrapping_add(1);
    }
}

const fn prseq_of(head: &[u8; 6]) -> u16 {
    u16::from_be_bytes([head[4], head[5]]) >> 1
}

#[inline]
fn seal_key(p: &Numbered<'_>, sealer: &Sealer, counters: &WorkerCounters) -> protocol::key_schedule::SessionKey {
    let (id, kri) = (sealer.id(), p.number.kri());
    let line = &p.chosen.flow.seal_key;
    line.get(id, kri).unwrap_or_else(|| {
        counters.derivations.add(1);
        let key = sealer.keys.session(&p.chosen.tuple, kri);
        line.put(id, kri, &key);
        key
    })
}

/// The audit could not be written: a pair that is not on record must not be used.
#[cold]
fn refuse_sealed(numbered: &mut ArrayVec<Numbered<'_>, BURST>, outcomes: &mut ArrayVec<Outcome, BURST>) {
    numbered.retain(|p| {
        let keep = p.chosen.form != Form::Sealed;
        if let (false, Some(outcome)) = (keep, outcomes.get_mut(p.chosen.packet)) {
            *outcome = Outcome::Passed(Reason::NoKey);
        }
        keep
    });
}
