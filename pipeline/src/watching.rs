//! The workers' part of watching: before a burst, behind it, and when it has been sent.

use crate::flow::record::WholeFlow;
use crate::inbound::guess::{Guess, session};
use crate::observe::counters::{Outcome, WorkerCounters};
use crate::observe::reasons::Reason;
use crate::packet::buffer::PacketBuf;
use crate::packet::encrypted::EncryptedOption;
use crate::packet::parse::{self, Parsed};
use crate::ports::{BURST, Clock};
use crate::state::keyring::KeyRing;
use crate::state::shared::Shared;
use crate::state::watch::note::{Direction, Note, OptionSeen};
use crate::state::watch::{Pending, Watch};
use crate::state::worker::{Worker, look};
use core::sync::atomic::Ordering;
use protocol::aead::KeyState;
use protocol::five_tuple::FiveTuple;
use protocol::key_schedule::ReadyKey;
use protocol::wire::option::{Form, Metrics, Prefix6};
use protocol::wire::profile::TYPE_AND_LEN;

/// A burst's way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) direction: Direction,
    /// The worker that has handed it over.
    pub(crate) from: Option<u16>,
}

impl Way {
    pub(crate) const OUTBOUND: Self = Self { direction: Direction::Outbound, from: None };
    pub(crate) const INBOUND: Self = Self { direction: Direction::Inbound, from: None };

    pub(crate) const fn taken(from: u16) -> Self {
        Self { direction: Direction::Outbound, from: Some(from) }
    }

    const fn outbound(self, tuple: &FiveTuple) -> FiveTuple {
        match self.direction {
            Direction::Outbound => *tuple,
            Direction::Inbound => tuple.reversed(),
        }
    }
}

fn counted(counters: &WorkerCounters, direction: Direction) -> [u64; 2] {
    let of = match direction {
        Direction::Outbound => &counters.outbound,
        Direction::Inbound => &counters.inbound,
    };
    [of.dropped[Reason::TxFull as usize].get(), counters.refused.get()]
}

impl Worker {
    /// Before a burst. `false`: nothing of it is watched.
    #[inline]
    pub(crate) fn watch<B: PacketBuf>(&mut self, way: Way, packets: &[B], clock: &impl Clock) -> bool {
        let wanted = self.shared.watches.wanted();
        wanted | self.watching.list.version != 0 && self.watch_closely(wanted, way, packets, clock.now_ns())
    }

    #[cold]
    #[inline(never)]
    fn watch_closely<B: PacketBuf>(&mut self, wanted: u64, way: Way, packets: &[B], now: u64) -> bool {
        let Self { shared, snapshot, watching, epoch, index, counters, .. } = self;
        if wanted != watching.list.version {
            watching.list = shared.watches.list();
        }
        if watching.list.watches.is_empty() {
            return false;
        }
        epoch.enter();
        let rules = &look(snapshot, shared.seen_by(*index)).rules;
        for (place, packet) in packets.iter().enumerate().take(BURST) {
            let parsed = parse::parse(packet);
            let tuple = parsed.map(|parsed| way.outbound(&parsed.chain.five_tuple));
            let of = tuple.as_ref().ok();
            let flow = || of.and_then(|tuple| find(shared, tuple));
            for (at, watch) in watching.list.watches.iter().enumerate() {
                if watch.is_full() || watching.pending.is_full() || !watch.filter.may_match(of) {
                    continue;
                }
                let flow = flow();
                // The policy of a new flow shows behind the burst.
                let policy = flow.and_then(|flow| rules.id_of(flow.back));
                if policy.is_some() && !watch.filter.has_policy(policy) {
                    continue;
                }
                let Some(mut note) = watch.take(now) else { continue };
                begin(&mut note, way, *index as u16, now, packet);
                (note.tuple, note.came_with) = (tuple, parsed.ok().and_then(|p| Some(p.chain.option?.form)));
                note.flow_before = flow.map(|flow| flow.figures(now));
                watching.pending.push(Pending { place, watch: at, note, behind: 0 });
            }
        }
        epoch.leave();
        watching.counted = counted(counters, way.direction);
        !watching.pending.is_empty()
    }

    /// Behind a burst, before it is sent: `alike` is what has become of all packets, if it is known of all together.
    #[cold]
    #[inline(never)]
    pub(crate) fn watch_outcomes<B: PacketBuf>(&mut self, packets: &[B], outcomes: &[Outcome], alike: Option<Outcome>) {
        let Self { shared, snapshot, watching, epoch, index, .. } = self;
        epoch.enter();
        let snapshot = look(snapshot, shared.seen_by(*index));
        let of = |place: usize| alike.or_else(|| outcomes.get(place).copied());
        let total = packets.len();
        for Pending { place, note, behind, .. } in &mut watching.pending {
            let (Some(packet), Some(outcome)) = (packets.get(*place), of(*place)) else { continue };
            note.outcome = outcome;
            // Nothing of a packet that was handed over is this worker's any more.
            let alike = |other: Outcome| core::mem::discriminant(&other) == core::mem::discriminant(&outcome);
            let like = |other: Outcome| {
                if matches!(outcome, Outcome::HandedOver(_)) { alike(other) } else { forwards(other) }
            };
            *behind = (*place + 1..total).filter(|&other| of(other).is_some_and(like)).count() as u64;
            if note.is_forwarded() || outcome == Outcome::TooBig {
                note.after.copy(packet.data(), packet.frame_len());
            }
            finish(note, shared, &snapshot.ring);
            note.policy = note.tuple.ok().and_then(|tuple| snapshot.rules.id_of(find(shared, &tuple)?.back));
        }
        epoch.leave();
    }

    /// When a burst has been sent: whoever watches gets what was noted.
    #[cold]
    #[inline(never)]
    pub(crate) fn watch_sent(&mut self, way: Way) {
        let Self { watching, counters, .. } = self;
        let now = counted(counters, way.direction);
        let [unsent, refused] = [0, 1].map(|i| now[i].wrapping_sub(watching.counted[i]));
        for Pending { watch, mut note, behind, .. } in watching.pending.drain(..) {
            // Ports, and other workers' rings, take from the front: those that were not taken are the last ones.
            match note.outcome {
                Outcome::HandedOver(_) if behind < refused => {
                    note.outcome = Outcome::Passed(Reason::HandOverFull);
                }
                outcome if forwards(outcome) && behind < unsent => {
                    note.outcome = Outcome::Dropped(Reason::TxFull);
                }
                _ => {}
            }
            if let Some(watch) = watching.list.watches.get(watch) {
                Watch::give(watch, note);
            }
        }
    }
}

const fn forwards(outcome: Outcome) -> bool {
    !matches!(outcome, Outcome::Dropped(_) | Outcome::TooBig | Outcome::HandedOver(_))
}

fn find<'a>(shared: &'a Shared, tuple: &FiveTuple) -> Option<WholeFlow<'a>> {
    let words = tuple.words();
    shared.table.find(shared.table.hash(&words), &words)
}

fn begin<B: PacketBuf>(note: &mut Note, way: Way, worker: u16, now: u64, packet: &B) {
    (note.at_ns, note.worker, note.direction, note.from) = (now, worker, way.direction, way.from);
    note.before.copy(packet.data(), packet.frame_len());
    note.after.copy(&[], 0);
    (note.option, note.policy, note.flow, note.flow_before) = (None, None, None, None);
    note.outcome = Outcome::Passed(Reason::Off);
}

/// What is known of it behind its burst.
fn finish(note: &mut Note, shared: &Shared, ring: &KeyRing) {
    let Ok(tuple) = note.tuple else { return };
    let flow = find(shared, &tuple);
    note.flow = flow.map(|flow| flow.figures(note.at_ns));
    let (octets, carries) = match note.direction {
        Direction::Outbound => (&note.after, true),
        Direction::Inbound => (&note.before, note.came_with.is_some()),
    };
    let Some(parsed) = parse_octets(octets.data(), octets.frame_len()).filter(|_| carries) else { return };
    let Some(option) = parsed.chain.option else { return };
    let Some(octets) = octets.data().get(parsed.l3 + option.offset..) else { return };
    note.option = Some(read(octets, option.form, note.direction, flow, ring, &tuple));
}

/// A frame whose headers are in these octets.
fn parse_octets(data: &[u8], frame_len: usize) -> Option<Parsed> {
    let l3 = protocol::wire::ethernet::ipv6_offset(data)?;
    let chain = protocol::wire::ext_chain::walk(data.get(l3..)?, frame_len.checked_sub(l3)?).ok()?;
    Some(Parsed { l3, chain })
}

fn read(
    octets: &[u8],
    form: Form,
    direction: Direction,
    flow: Option<WholeFlow<'_>>,
    ring: &KeyRing,
    tuple: &FiveTuple,
) -> OptionSeen {
    let head = octets.first_chunk().and_then(Prefix6::parse).filter(|_| form != Form::Pdm);
    let mut seen = OptionSeen { form, head, metrics: None, key: None };
    match form {
        Form::Pdm => seen.metrics = octets.get(TYPE_AND_LEN..).and_then(|o| Some(Metrics::parse_pdm(o.first_chunk()?))),
        Form::Clear => {
            let at = protocol::wire::profile::AAD_LEN;
            seen.metrics = octets.get(at..).and_then(|o| Some(Metrics::parse(o.first_chunk()?)));
        }
        Form::Encrypted => {
            let opened = match direction {
                Direction::Outbound => opened_as_sealed(octets, flow, ring),
                Direction::Inbound => opened_as_came(octets, flow, ring, tuple),
            };
            if let Some((metrics, key)) = opened {
                (seen.metrics, seen.key) = (Some(metrics), Some(key));
            }
        }
    }
    seen
}

/// What an option sealed a moment ago says, with the key that the flow seals with. This worker is the flow's owner: it has just
/// sealed.
fn opened_as_sealed(octets: &[u8], flow: Option<WholeFlow<'_>>, ring: &KeyRing) -> Option<(Metrics, (u32, u32))> {
    let (option, flow) = (EncryptedOption::parse(octets)?, flow?);
    let kri = (flow.front.nonce_end.load(Ordering::Relaxed) >> 32) as u32;
    let id = flow.back.key_id();
    let mut state = KeyState::ZERO;
    let base_nonce = flow.key(id, kri, &mut state)?.base_nonce();
    let metrics = option.open(ring.sealer.as_ref()?.aead, &ReadyKey { state, base_nonce })?;
    Some((metrics, (id.generation(), kri)))
}

/// What an option that has come says, with one of the two keys that its flow was opened with last.
fn opened_as_came(
    octets: &[u8],
    flow: Option<WholeFlow<'_>>,
    ring: &KeyRing,
    tuple: &FiveTuple,
) -> Option<(Metrics, (u32, u32))> {
    let (option, flow) = (EncryptedOption::parse(octets)?, flow?);
    let receiver = &flow.back.receiver;
    [receiver.current(), receiver.previous()].into_iter().flatten().find_map(|(id, kri)| {
        let aead = ring.peer(id.peer())?.aead;
        let (key, _) = session(ring, Some(flow), &tuple.reversed(), Guess { id, kri, aead })?;
        Some((option.open(aead, &key)?, (id.generation(), kri)))
    })
}
