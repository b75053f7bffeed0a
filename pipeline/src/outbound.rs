//! Towards the network: the option goes into the packets that a policy names.
//!
//! Stages over a burst: parse and hash, look up the flow, choose, take numbers and times, seal the batch in one call,
//! rewrite. Each asks for the cache lines of the next one. Nearly all packets are of a plain shape and of a known flow; any
//! other goes through [`choose`], which finds the reason when it passes as it came.

use crate::buffer::PacketBuf;
use crate::counters::{Outcome, Reason, WorkerCounters};
use crate::flow::Flow;
use crate::keyring::{KeyRing, Sealer};
use crate::lookup::{Likely, look_up};
use crate::parse;
use crate::path::{BURST, Clock, Oversize, PathConfig, Scratch, Shared, Worker, classify, expired, form_of};
use crate::policy::OutboundAction;
use crate::{mss, rewrite, too_big};
use arrayvec::ArrayVec;
use protocol::aead::KeyState;
use protocol::delta_time;
use protocol::key_line::{Found, SecretId};
use protocol::key_schedule::ReadyKey;
use protocol::prseq::PrseqKey;
use protocol::sender::{NoNumber, Number};
use protocol::wire::dest_opts::{InsertError, InsertPlan, begin_header, plan_insert};
use protocol::wire::ipv6;
use protocol::wire::option::{self, Form, Metrics, Prefix6};

/// A packet that is to get an option. Small, since there are many of them: what only few need is in [`Plans`].
struct Chosen<'a> {
    flow: &'a Flow,
    /// Set by [`number`].
    number: Option<Number>,
    generation: u32,
    policy: u32,
    packet: u8,
    /// Which of the plans is its own; `None`: it is of the plain shape.
    plan: Option<u8>,
    form: Form,
    link_local: bool,
}

/// Where the IPv6 header is and where the option goes, of packets that are not of the plain shape.
type Plans = ArrayVec<(usize, InsertPlan), BURST>;

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
        let Self { shared, ring, counters, scratch, audit, too_big, .. } = self;
        let (shared, ring) = (&**shared, &**ring.load());
        let packets = packets.get_mut(..packets.len().min(BURST)).unwrap_or_default();

        let plain = |packet: &B| Some((parse::plain(packet)?, None));
        let likely = look_up(&shared.table, packets, plain, Flow::prefetch_outbound);
        let mut chosen: ArrayVec<Chosen<'_>, BURST> = ArrayVec::new();
        let mut plans = Plans::new();
        for ((i, packet), likely) in packets.iter_mut().enumerate().zip(&likely) {
            let easy = likely.as_ref().and_then(|l| choose_known(&shared.config, ring, packet, l, i as u8, now));
            if let Some(c) = easy {
                outcomes.push(Outcome::Added(c.form));
                chosen.push(c);
                continue;
            }
            let choice = choose(shared, ring, counters, packet, likely.as_ref(), &mut plans, now);
            outcomes.push(match choice {
                Ok(c) => {
                    let form = c.form;
                    chosen.push(Chosen { packet: i as u8, ..c });
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
            // RFC 8250 section 3.5.2: the time of sending, as near the wire as the number allows.
            let sent = clock.now_ns();
            number(counters, &mut chosen, outcomes);
            let pointers = point(shared, &chosen);
            let sealed = fill(shared, ring, counters, scratch, &chosen, pointers, sent);
            if let Some(sealer) = &ring.sealer {
                let (batch, keys) = scratch.split(sealed);
                if audit.as_mut().is_none_or(|audit| audit.record(&keys, batch)) {
                    batch.seal(sealer.aead, &keys);
                } else {
                    refuse_sealed(&mut chosen, outcomes);
                }
            }
            insert(counters, scratch, packets, outcomes, &chosen, &plans);
        }
        self.epoch.leave();
    }
}

/// Chooses a packet of the plain shape whose flow is known and in which nothing is out of the way. `None`: [`choose`] it.
#[inline]
fn choose_known<'a, B: PacketBuf>(
    config: &PathConfig,
    ring: &KeyRing,
    packet: &B,
    Likely { quick, flow, .. }: &Likely<'a>,
    number: u8,
    now: u64,
) -> Option<Chosen<'a>> {
    let flow = flow.filter(|flow| flow.is(&quick.words))?;
    let index = flow.policy();
    let policy = config.policies.get(index)?;
    let form = form_of(policy.mode)?;
    let [src_hi, src_lo, ..] = quick.words;
    let source = u128::from(src_hi) << 64 | u128::from(src_lo);
    let generation = match (form, &ring.sealer) {
        (Form::Sealed, Some(sealer)) if sealer.speaks_for(source) => sealer.generation,
        (Form::Sealed, _) => return None,
        (_, sealer) => sealer.as_ref().map_or(0, |s| s.generation),
    };
    let fits = quick.len + form.header_len() <= config.outside_mtu && packet.headroom() >= form.header_len();
    if policy.outbound != OutboundAction::Add || policy.lifetime_ns.is_some() || !fits {
        return None;
    }
    flow.prefetch_outbound_rest();
    flow.seen(now);
    let link_local = ipv6::is_link_local(src_hi);
    Some(Chosen { flow, number: None, generation, policy: index as u32, packet: number, plan: None, form, link_local })
}

/// Finds the policy and the flow of one packet, and everything that could keep it from getting an option.
#[inline(never)]
fn choose<'a, B: PacketBuf>(
    shared: &'a Shared,
    ring: &KeyRing,
    counters: &WorkerCounters,
    packet: &mut B,
    likely: Option<&Likely<'_>>,
    plans: &mut Plans,
    now: u64,
) -> Result<Chosen<'a>, Reason> {
    let config = &shared.config;
    // Packets that are not to be measured have no flow, and there may be many of them.
    if let Some(Likely { quick, flow: None, .. }) = likely
        && classify(config, &quick.words).is_none()
    {
        return Err(Reason::Off);
    }
    let parse::Parsed { l3, chain } = parse::parse(packet)?;
    let tuple = chain.five_tuple;
    let words = tuple.words();
    let hash = shared.table.hash(&words);
    let known = shared.table.find(hash, &words);
    let index = match known {
        Some(flow) => flow.policy(),
        None => classify(config, &words).ok_or(Reason::Off)?.0,
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
        (Form::Sealed, Some(sealer)) if !sealer.speaks_for(tuple.source()) => return Err(Reason::SourceNotOurs),
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
            let (flow, new) = shared.insert(&tuple, hash, index, ring, now)?;
            counters.flows_inserted.add(u64::from(new));
            flow
        }
    };
    flow.seen(now);
    let link_local = ipv6::is_link_local(words[0]);
    plans.push((l3, plan));
    let plan = Some(plans.len() as u8 - 1);
    Ok(Chosen { flow, number: None, generation, policy: index as u32, packet: 0, plan, form, link_local })
}

/// Gives each packet its number. Those that get none pass.
#[inline(never)]
fn number(
    counters: &WorkerCounters,
    chosen: &mut ArrayVec<Chosen<'_>, BURST>,
    outcomes: &mut ArrayVec<Outcome, BURST>,
) {
    let mut without = false;
    for c in chosen.iter_mut() {
        if c.form == Form::Sealed {
            c.flow.will_seal();
        }
        match c.flow.sender.take(c.generation) {
            Ok(number) => {
                if number.index() == 0 && number.n > 0 {
                    counters.rotations_sealed.add(1);
                }
                c.number = Some(number);
            }
            Err(no) => {
                without = true;
                if let Some(outcome) = outcomes.get_mut(usize::from(c.packet)) {
                    *outcome = Outcome::Passed(no.into());
                }
            }
        }
    }
    if without {
        chosen.retain(|c| c.number.is_some());
    }
}

/// Takes the Global Pointers of the whole burst at once, and as late as may be: no value is skipped. The first ones for
/// global and for link-local sources.
#[inline]
fn point(shared: &Shared, chosen: &[Chosen<'_>]) -> [u32; 2] {
    let (mut count, mut locals) = (0, 0);
    for c in chosen {
        let pointed = u32::from(c.form != Form::Pdm);
        count += pointed;
        locals += pointed & u32::from(c.link_local);
    }
    [shared.take_global_pointer(false, count - locals), shared.take_global_pointer(true, locals)]
}

/// Makes each packet's metrics, PRSEQ and nonce, in the batch's slots. Sealed options stand in front, in order; their
/// number is given. Those in clear are filled in from behind: the two never meet, as there are as many slots as packets.
#[inline(never)]
fn fill(
    shared: &Shared,
    ring: &KeyRing,
    counters: &WorkerCounters,
    Scratch { batch, keys, .. }: &mut Scratch,
    chosen: &[Chosen<'_>],
    mut pointers: [u32; 2],
    sent: u64,
) -> usize {
    let mut slots = Slots::default();
    // As arrays of words: a pair would be put together in memory, and read before it is there.
    let (mut first, mut second, mut indices) = ([0; BURST], [0; BURST], [0; BURST]);
    for (i, c) in chosen.iter().enumerate().take(BURST) {
        let Some(number) = c.number else { continue };
        let slot = slots.next(c.form);
        let sealer = if c.form == Form::Sealed { ring.sealer.as_ref() } else { None };
        if c.form != Form::Pdm {
            let found = key(shared, counters, c, sealer, number, &mut keys[slot]);
            batch.nonce[slot][..12].copy_from_slice(&found.base_nonce);
            [first[i], second[i]] = found.extra;
            indices[i] = number.index();
        }
    }
    // In a loop of its own, in which the rounds of several packets overlap.
    let mut prseqs = [0; BURST];
    for (i, prseq) in prseqs.iter_mut().enumerate().take(chosen.len()) {
        *prseq = protocol::prseq::prseq([first[i], second[i]], indices[i]);
    }
    let sealed = slots.sealed;
    slots = Slots::default();
    for (c, &prseq) in chosen.iter().zip(&prseqs) {
        let Some(number) = c.number else { continue };
        let slot = slots.next(c.form);
        let times = c.flow.meter.on_send(number.psntp, sent);
        let (tlr, tls) = (delta_time::from_nanos(times.delta_tlr_ns), delta_time::from_nanos(times.delta_tls_ns));
        let pointer = &mut pointers[usize::from(c.link_local)];
        let metrics = Metrics {
            scale_dtlr: tlr.scale,
            scale_dtls: tls.scale,
            global_pointer: *pointer,
            psntp: number.psntp,
            psnlr: times.psnlr,
            delta_tlr: tlr.value,
            delta_tls: tls.value,
        };
        *pointer = pointer.wrapping_add(u32::from(c.form != Form::Pdm));
        batch.text[slot][..14].copy_from_slice(&metrics.emit());
        if c.form != Form::Pdm {
            let head = Prefix6 { reserved: 0, prseq, f: u8::from(number.f()) }.emit(c.form);
            batch.aad[slot][..6].copy_from_slice(&head);
            let [high, low] = prseq.to_be_bytes();
            batch.nonce[slot][10] ^= high;
            batch.nonce[slot][11] ^= low;
        }
    }
    sealed
}

/// Which slot of the batch is whose; see [`fill`].
#[derive(Default)]
struct Slots {
    sealed: usize,
    clear: usize,
}

impl Slots {
    #[inline]
    fn next(&mut self, form: Form) -> usize {
        let count = if form == Form::Sealed { &mut self.sealed } else { &mut self.clear };
        *count += 1;
        if form == Form::Sealed { *count - 1 } else { BURST - *count }
    }
}

/// In the place of a peer's number in the name of what goes with options in clear: there is no key, but an order of PRSEQ.
const IN_CLEAR: u16 = u16::MAX;

/// The flow's key and PRSEQ order under this number's Kri: from its line, or made anew.
#[inline]
fn key(
    shared: &Shared,
    counters: &WorkerCounters,
    c: &Chosen<'_>,
    sealer: Option<&Sealer>,
    number: Number,
    into: &mut KeyState,
) -> Found<2> {
    let id = sealer.map_or(SecretId::new(IN_CLEAR, c.generation), Sealer::id);
    let found = c.flow.seal_key().get(id, number.kri(), into);
    found.unwrap_or_else(|| new_key(shared, counters, c, sealer, id, number.kri(), into))
}

#[cold]
fn new_key(
    shared: &Shared,
    counters: &WorkerCounters,
    c: &Chosen<'_>,
    sealer: Option<&Sealer>,
    id: SecretId,
    kri: u32,
    into: &mut KeyState,
) -> Found<2> {
    let ready = match sealer {
        Some(sealer) => {
            counters.derivations.add(1);
            sealer.keys.session(&c.flow.tuple(), kri).ready(sealer.aead)
        }
        None => ReadyKey { state: KeyState::ZERO, base_nonce: [0; 12] },
    };
    let extra = PrseqKey::derive(&shared.master, c.flow.fingerprint().bits(), c.generation, kri).to_words();
    c.flow.seal_key().put(id, kri, &ready, extra);
    into.clone_from(&ready.state);
    Found { base_nonce: ready.base_nonce, extra }
}

/// Puts the options into the packets.
#[inline(never)]
fn insert<B: PacketBuf>(
    counters: &WorkerCounters,
    Scratch { batch, .. }: &Scratch,
    packets: &mut [B],
    outcomes: &mut ArrayVec<Outcome, BURST>,
    chosen: &[Chosen<'_>],
    plans: &Plans,
) {
    let mut slots = Slots::default();
    for c in chosen {
        let slot = slots.next(c.form);
        let Some(packet) = packets.get_mut(usize::from(c.packet)) else { continue };
        let plan = c.plan.and_then(|at| plans.get(usize::from(at)));
        let done = match c.form {
            Form::Sealed => place::<_, { Form::Sealed.option_len() }, { Form::Sealed.header_len() }>(
                packet,
                plan,
                c.form,
                |option| batch.emit_sealed(slot, option),
            ),
            Form::Clear => {
                place::<_, { Form::Clear.option_len() }, { Form::Clear.header_len() }>(packet, plan, c.form, |option| {
                    let prefix = Prefix6::parse(batch.aad_of(slot)).unwrap_or_default();
                    *option = option::emit_clear(&prefix, &Metrics::parse(batch.text_of(slot)));
                })
            }
            Form::Pdm => {
                place::<_, { Form::Pdm.option_len() }, { Form::Pdm.header_len() }>(packet, plan, c.form, |option| {
                    *option = option::emit_pdm(&Metrics::parse(batch.text_of(slot)));
                })
            }
        };
        if done {
            counters.policies[c.policy as usize].added.add(1);
            c.flow.count_added();
        } else if let Some(outcome) = outcomes.get_mut(usize::from(c.packet)) {
            *outcome = Outcome::Passed(Reason::NoHeadroom);
        }
    }
}

/// Puts one option in; `write` gets its octets to write. `false`: no headroom.
#[inline]
fn place<B: PacketBuf, const O: usize, const H: usize>(
    packet: &mut B,
    plan: Option<&(usize, InsertPlan)>,
    form: Form,
    write: impl FnOnce(&mut [u8; O]),
) -> bool {
    let Some((l3, plan)) = plan else {
        return rewrite::insert_plain::<B, H>(packet, |header| {
            begin_header(header, form);
            if let Some(option) = header.get_mut(form.option_at()..).and_then(<[u8]>::first_chunk_mut) {
                write(option);
            }
        });
    };
    let mut option = [0; O];
    write(&mut option);
    rewrite::insert(packet, *l3, plan, &option)
}

/// The audit could not be written: a pair that is not on record must not be used.
#[cold]
fn refuse_sealed(chosen: &mut ArrayVec<Chosen<'_>, BURST>, outcomes: &mut ArrayVec<Outcome, BURST>) {
    chosen.retain(|c| {
        let keep = c.form != Form::Sealed;
        if let (false, Some(outcome)) = (keep, outcomes.get_mut(usize::from(c.packet))) {
            *outcome = Outcome::Passed(Reason::NoKey);
        }
        keep
    });
}
