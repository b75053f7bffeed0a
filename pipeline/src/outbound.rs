//! Towards the network: the option goes into the packets that a policy names.
//!
//! Stages over a burst: parse and hash, look up the flow, choose, take numbers and times, seal the batch in one call,
//! rewrite. Each asks for the cache lines of the next one. Nearly all packets are of a plain shape and of a known flow; any
//! other goes through [`choose`], which finds the reason when it passes as it came.

use crate::buffer::PacketBuf;
use crate::counters::{Outcome, Reason, WorkerCounters};
use crate::flow::Flow;
use crate::flow_hash::FlowHash;
use crate::keyring::{KeyRing, Sealer};
use crate::parse::{self, Quick};
use crate::path::{BURST, Clock, Oversize, PathConfig, Scratch, Shared, Worker, classify, expired, form_of};
use crate::policy::OutboundAction;
use crate::{mss, rewrite, too_big};
use arrayvec::ArrayVec;
use protocol::aead::KeyState;
use protocol::delta_time;
use protocol::key_line::{Found, SecretId};
use protocol::key_schedule::{ReadyKey, nonce};
use protocol::prseq::{PrseqKey, prseq};
use protocol::sender::{NoNumber, Number};
use protocol::wire::dest_opts::{InsertError, InsertPlan, plan_insert};
use protocol::wire::option::{self, Form, Metrics, Prefix6};

/// A packet that is to get an option.
struct Chosen<'a> {
    packet: usize,
    /// `None`: it is of the plain shape.
    place: Option<(usize, InsertPlan)>,
    form: Form,
    flow: &'a Flow,
    policy: usize,
    generation: u32,
    link_local: bool,
}

/// One that has its number.
struct Numbered<'a> {
    chosen: Chosen<'a>,
    number: Number,
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
        let Self { shared, ring, counters, scratch, audit, too_big, .. } = self;
        let (shared, ring) = (&**shared, &**ring.load());
        let packets = packets.get_mut(..packets.len().min(BURST)).unwrap_or_default();

        let mut quick: [Option<Quick>; BURST] = [None; BURST];
        let mut hashes = [FlowHash::default(); BURST];
        for ((packet, quick), hash) in packets.iter().zip(&mut quick).zip(&mut hashes) {
            *quick = parse::plain(packet);
            if let Some(quick) = quick {
                *hash = shared.table.hash(&quick.words);
                shared.table.prefetch(*hash);
            }
        }
        let mut candidates: [Option<&Flow>; BURST] = [None; BURST];
        for ((candidate, quick), &hash) in candidates.iter_mut().zip(&quick).zip(&hashes).take(packets.len()) {
            if quick.is_some() {
                *candidate = shared.table.candidate(hash);
                if let Some(flow) = candidate {
                    flow.prefetch_outbound();
                }
            }
        }

        let mut chosen: ArrayVec<Chosen<'_>, BURST> = ArrayVec::new();
        for (i, packet) in packets.iter_mut().enumerate() {
            let known = quick[i].as_ref().zip(candidates[i]);
            let easy = known.and_then(|(quick, flow)| choose_known(&shared.config, ring, packet, quick, flow, now));
            let choice = easy.map_or_else(|| choose(shared, ring, counters, packet, now), Ok);
            outcomes.push(match choice {
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
            // RFC 8250 section 3.5.2: the time of sending, as near the wire as the number allows.
            let sent = clock.now_ns();
            let mut numbered = number(counters, chosen, outcomes);
            let pointers = point(shared, &numbered);
            let sealed = fill(shared, ring, counters, scratch, &numbered, pointers, sent);
            if let Some(sealer) = &ring.sealer {
                let (batch, keys) = scratch.split(sealed);
                if audit.as_mut().is_none_or(|audit| audit.record(&keys, batch)) {
                    batch.seal(sealer.aead, &keys);
                } else {
                    refuse_sealed(&mut numbered, outcomes);
                }
            }
            insert(counters, scratch, packets, outcomes, &numbered);
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
    quick: &Quick,
    flow: &'a Flow,
    now: u64,
) -> Option<Chosen<'a>> {
    if !flow.is(&quick.words) {
        return None;
    }
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
    flow.seen(now);
    let link_local = is_link_local(src_hi);
    Some(Chosen { packet: 0, place: None, form, flow, policy: index, generation, link_local })
}

/// Finds the policy and the flow of one packet, and everything that could keep it from getting an option.
#[inline(never)]
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
    let hash = shared.table.hash(&words);
    let known = shared.table.find(hash, &words);
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
    let link_local = is_link_local(words[0]);
    Ok(Chosen { packet: 0, place: Some((l3, plan)), form, flow, policy: index, generation, link_local })
}

/// `fe80::/10`, by the first half of an address.
const fn is_link_local(high: u64) -> bool {
    high >> 54 == 0xFE80 >> 6
}

/// Gives each packet its number.
#[inline]
fn number<'a>(
    counters: &WorkerCounters,
    chosen: ArrayVec<Chosen<'a>, BURST>,
    outcomes: &mut ArrayVec<Outcome, BURST>,
) -> ArrayVec<Numbered<'a>, BURST> {
    let mut numbered = ArrayVec::new();
    for chosen in chosen {
        if chosen.form == Form::Sealed {
            chosen.flow.will_seal();
        }
        match chosen.flow.sender.take(chosen.generation) {
            Ok(number) => {
                if number.index() == 0 && number.n > 0 {
                    counters.rotations_sealed.add(1);
                }
                numbered.push(Numbered { chosen, number });
            }
            Err(no) => {
                if let Some(outcome) = outcomes.get_mut(chosen.packet) {
                    *outcome = Outcome::Passed(no.into());
                }
            }
        }
    }
    numbered
}

/// Takes the Global Pointers of the whole burst at once, and as late as may be: no value is skipped. The first ones for
/// global and for link-local sources.
#[inline]
fn point(shared: &Shared, numbered: &[Numbered<'_>]) -> [u32; 2] {
    let (mut count, mut locals) = (0, 0);
    for p in numbered {
        let pointed = u32::from(p.chosen.form != Form::Pdm);
        count += pointed;
        locals += pointed & u32::from(p.chosen.link_local);
    }
    [shared.take_global_pointer(false, count - locals), shared.take_global_pointer(true, locals)]
}

/// Makes each packet's metrics, PRSEQ and nonce, in the batch's slots: slot i is packet i's of those in `numbered`, so that
/// metrics in clear stand in theirs too. Sealed options stand in front, in order; their number is given.
#[inline]
fn fill(
    shared: &Shared,
    ring: &KeyRing,
    counters: &WorkerCounters,
    Scratch { batch, keys }: &mut Scratch,
    numbered: &[Numbered<'_>],
    mut pointers: [u32; 2],
    sent: u64,
) -> usize {
    let mut sealed = 0;
    // Options in clear are filled in from behind: the two never meet, as there are as many slots as packets.
    let mut clear = BURST;
    for Numbered { chosen: c, number } in numbered {
        let times = c.flow.meter.on_send(number.psntp, sent);
        let (tlr, tls) = (delta_time::from_nanos(times.delta_tlr_ns), delta_time::from_nanos(times.delta_tls_ns));
        let mut metrics = Metrics {
            scale_dtlr: tlr.scale,
            scale_dtls: tls.scale,
            global_pointer: 0,
            psntp: number.psntp,
            psnlr: times.psnlr,
            delta_tlr: tlr.value,
            delta_tls: tls.value,
        };
        if c.form == Form::Pdm {
            clear -= 1;
            batch.set(clear, &[0; 12], &[0; 6], &metrics.emit());
            continue;
        }
        let pointer = &mut pointers[usize::from(c.link_local)];
        metrics.global_pointer = *pointer;
        *pointer = pointer.wrapping_add(1);
        let (slot, sealer) = match (c.form, &ring.sealer) {
            (Form::Sealed, Some(sealer)) => {
                sealed += 1;
                (sealed - 1, Some(sealer))
            }
            _ => {
                clear -= 1;
                (clear, None)
            }
        };
        let found = key(shared, counters, c, sealer, *number, &mut keys[slot]);
        let prseq = prseq(found.extra, number.index());
        let head = Prefix6 { reserved: 0, prseq, f: u8::from(number.f()) }.emit(c.form);
        batch.set(slot, &nonce(found.base_nonce, prseq), &head, &metrics.emit());
    }
    sealed
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
#[inline]
fn insert<B: PacketBuf>(
    counters: &WorkerCounters,
    Scratch { batch, .. }: &Scratch,
    packets: &mut [B],
    outcomes: &mut ArrayVec<Outcome, BURST>,
    numbered: &[Numbered<'_>],
) {
    let (mut sealed, mut clear) = (0, BURST);
    for Numbered { chosen: c, .. } in numbered {
        let slot = if c.form == Form::Sealed {
            sealed += 1;
            sealed - 1
        } else {
            clear -= 1;
            clear
        };
        let (head, text) = (batch.aad_of(slot), batch.text_of(slot));
        let Some(packet) = packets.get_mut(c.packet) else { continue };
        let done = match c.form {
            Form::Pdm => place(packet, c, &option::emit_pdm(&Metrics::parse(text)), pdm_header),
            Form::Clear => {
                let prefix = Prefix6::parse(head).unwrap_or_default();
                place(packet, c, &option::emit_clear(&prefix, &Metrics::parse(text)), clear_header)
            }
            Form::Sealed => place(packet, c, &option::emit_sealed(head, text, &batch.tag[slot]), sealed_header),
        };
        if done {
            counters.policies[c.policy].added.add(1);
            c.flow.count_added();
        } else if let Some(outcome) = outcomes.get_mut(c.packet) {
            *outcome = Outcome::Passed(Reason::NoHeadroom);
        }
    }
}

#[inline]
fn place<B: PacketBuf, const O: usize, const H: usize>(
    packet: &mut B,
    c: &Chosen<'_>,
    option: &[u8; O],
    header: impl Fn(&[u8; O]) -> [u8; H],
) -> bool {
    match &c.place {
        None => rewrite::insert_plain(packet, &header(option)),
        Some((l3, plan)) => rewrite::insert(packet, *l3, plan, option),
    }
}

/// The header that an option makes where there is none: `NH 04 | 01 00 | option`; the Next Header octet is set later.
#[inline]
fn sealed_header(option: &[u8; 36]) -> [u8; 40] {
    let mut header = [0; 40];
    (header[1], header[2]) = (4, 1);
    header[4..].copy_from_slice(option);
    header
}

/// `NH 02 | 01 00 | option`.
#[inline]
fn clear_header(option: &[u8; 20]) -> [u8; 24] {
    let mut header = [0; 24];
    (header[1], header[2]) = (2, 1);
    header[4..].copy_from_slice(option);
    header
}

/// `NH 01 | option | 01 00`.
#[inline]
fn pdm_header(option: &[u8; 12]) -> [u8; 16] {
    let mut header = [0; 16];
    (header[1], header[14]) = (1, 1);
    header[2..14].copy_from_slice(option);
    header
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
