//! Towards the network: the option goes into the packets that a policy names.
//!
//! Stages over a burst: parse and hash, look up the flow, choose, take numbers and times, seal the batch in one call,
//! rewrite. Each asks for the cache lines of the next one. Nearly all packets are of a plain shape and of a known flow; any
//! other goes through `choose`, which finds the reason when it passes as it came.

mod choosing;
mod chosen;
mod filling;
mod inserting;
mod numbering;
mod owning;
mod short_way;
pub mod too_big;

use crate::flow::hash::Fingerprint;
use crate::flow::lookup::{Likely, look_up};
use crate::flow::record::{Name, WholeFlow};
use crate::lanes::{ShortWay, View};
use crate::observe::audit::AuditSink;
use crate::observe::counters::{Outcome, WorkerCounters};
use crate::observe::reasons::Reason;
use crate::packet::buffer::{PacketBuf, make_ready};
use crate::packet::parse::{self, Quick};
use crate::ports::{BURST, Clock};
use crate::state::budgets::TokenBucket;
use crate::state::rules::Oversize;
use crate::state::shared::Shared;
use crate::state::snapshot::Snapshot;
use crate::state::worker::{Scratch, Worker, look};
use arrayvec::ArrayVec;
use choosing::{choose, choose_known, choose_measured, is_off};
use chosen::{Chosen, Not, Plans};
use filling::fill;
use inserting::insert;
use numbering::{number, refuse_sealed};
#[cfg(all(test, not(loom)))]
pub(crate) use owning::STREAK;
use protocol::sender::NoNumber;
use protocol::wire::dest_opts::InsertError;
use protocol::wire::option::Form;
use short_way::finish;

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
            NoNumber::Exhausted => Self::Exhausted,
            // This worker's snapshot is a little older than that of who had the flow before: the next burst has the new one.
            NoNumber::NewerGeneration => Self::Contended,
        }
    }
}

/// What goes for all packets of a burst.
#[derive(Clone, Copy)]
struct Burst<'a> {
    shared: &'a Shared,
    snapshot: &'a Snapshot,
    counters: &'a WorkerCounters,
    /// What this worker calls the snapshot, with what is known of paths.
    name: Name,
    /// This worker.
    me: u16,
    /// The other worker that has handed the burst over, if one has.
    taken_from: Option<u16>,
    now: u64,
}

impl Worker {
    /// Works on a burst from the inside port. `outcomes` gets one entry per packet, in order; at most [`BURST`] packets
    /// are looked at. Gives what has become of all of them, where it is known that all came out alike.
    pub fn outbound<B: PacketBuf>(
        &mut self,
        packets: &mut [B],
        outcomes: &mut ArrayVec<Outcome, BURST>,
        clock: &impl Clock,
    ) -> Option<Outcome> {
        self.outbound_of(None, packets, outcomes, clock)
    }

    /// The same, of a burst that this other worker has handed over; none of its packets is handed on. When they have been sent,
    /// [`Worker::give_away`] is to be called.
    pub fn outbound_taken<B: PacketBuf>(
        &mut self,
        from: u16,
        packets: &mut [B],
        outcomes: &mut ArrayVec<Outcome, BURST>,
        clock: &impl Clock,
    ) -> Option<Outcome> {
        self.outbound_of(Some(from), packets, outcomes, clock)
    }

    fn outbound_of<B: PacketBuf>(
        &mut self,
        taken_from: Option<u16>,
        packets: &mut [B],
        outcomes: &mut ArrayVec<Outcome, BURST>,
        clock: &impl Clock,
    ) -> Option<Outcome> {
        let Self { shared, snapshot, counters, index, epoch, naming, sifting, .. } = self;
        let shared = &**shared;
        // From here on no record that a look-up finds is used for another flow.
        epoch.enter();
        let snapshot = look(snapshot, shared.seen_by(*index));
        let packets = packets.get_mut(..packets.len().min(BURST)).unwrap_or_default();
        let Some(off) = snapshot.rules.sieve.sift(sifting[0], packets, parse::plain, outcomes) else {
            epoch.leave();
            return Some(Outcome::Passed(Reason::Off));
        };
        let now = clock.now_ns();
        let name = naming.of(snapshot.version, shared.path_mtus.epoch(), snapshot.rules.ended(now));
        let burst = Burst { shared, snapshot, counters, name, me: *index as u16, taken_from, now };
        let own = Own {
            scratch: &mut self.scratch,
            lanes: &mut self.lanes,
            audit: &mut self.audit,
            too_big: &mut self.too_big,
            to_give: &mut self.to_give,
        };
        let alike = burst.go(own, off, packets, outcomes, clock);
        sifting[0] = alike.is_none() && snapshot.rules.sieve.is_worth_it(outcomes);
        epoch.leave();
        alike
    }
}

/// A packet of a shape that is parsed quickly: the plain one, or with an option that it came with.
#[inline]
fn quick<B: PacketBuf>(packet: &B) -> Option<(Quick, Option<Form>)> {
    if let Some(quick) = parse::plain(packet) {
        return Some((quick, None));
    }
    parse::measured_out(packet).map(|(quick, form)| (quick, Some(form)))
}

/// What a worker has for itself.
struct Own<'a> {
    scratch: &'a mut Scratch,
    lanes: &'a mut ShortWay,
    audit: &'a mut Option<AuditSink>,
    too_big: &'a mut TokenBucket,
    /// The 5-tuples of flows that are to be given away.
    to_give: &'a mut ArrayVec<[u64; 5], BURST>,
}

impl<'a> Burst<'a> {
    /// The stages. `off`: the packets that no policy names, as bits, as far as that is known. Gives what has become of all packets,
    /// where they all went the short way.
    fn go<B: PacketBuf>(
        self,
        Own { scratch, lanes, audit, too_big, to_give }: Own<'a>,
        off: u32,
        packets: &mut [B],
        outcomes: &mut ArrayVec<Outcome, BURST>,
        clock: &impl Clock,
    ) -> Option<Outcome> {
        let Self { shared, snapshot, .. } = self;
        let rules = &*snapshot.rules;
        let (key, index, records) = shared.table.view();
        let view = View {
            key,
            index,
            records,
            name: self.name.word(),
            me: self.me,
            form: rules.lanes_form(),
            now_ns: self.now,
        };
        // A burst that was handed over is of flows that may have to be given away, which is noted of each packet.
        let mut in_lanes = if self.taken_from.is_none() { lanes.front(&view, packets) } else { None };
        let mut chosen: ArrayVec<Chosen<'_>, BURST> = ArrayVec::new();
        let mut plans = Plans::new();
        let mut take = |i: usize, packet: &mut B, likely: Option<&Likely<'a>>| {
            if off >> i & 1 != 0 {
                return Outcome::Passed(Reason::Off);
            }
            self.decide(too_big, &mut chosen, &mut plans, i as u8, packet, likely)
        };
        match &in_lanes {
            None => {
                let prefetch = |flow: WholeFlow<'_>| flow.prefetch_outbound_first();
                look_up(&shared.table, packets, off, quick, prefetch, |i, packet, likely| {
                    outcomes.push(take(i, packet, likely));
                });
            }
            Some(fast) if fast.is_whole() => {
                let all = [Outcome::Added(fast.form()); BURST];
                let _ = outcomes.try_extend_from_slice(all.get(..packets.len())?); // as many as it holds
            }
            Some(fast) => {
                let (lanes, fast, form) = (fast, fast.fast(), fast.form());
                for (i, packet) in packets.iter_mut().enumerate() {
                    outcomes.push(if fast >> i & 1 != 0 {
                        Outcome::Added(form)
                    } else {
                        let parsed = if off >> i & 1 == 0 { quick(packet) } else { None };
                        let likely = parsed.map(|(quick, form)| {
                            let hash = lanes.fingerprint(i).map(Fingerprint::hash);
                            Likely { form, ..Likely::of(&shared.table, quick, hash) }
                        });
                        take(i, packet, likely.as_ref())
                    });
                }
            }
        }
        if chosen.is_empty() && in_lanes.is_none() {
            return None;
        }
        // RFC 8250 section 3.5.2: the time of sending, as near the wire as the number allows.
        let sent = clock.now_ns();
        let pointers = number(self, &mut in_lanes, &mut chosen, outcomes);
        if !chosen.is_empty() {
            self.put_in(scratch, audit, packets, outcomes, &mut chosen, &plans, sent);
            if shared.has_several_workers() {
                owning::note(&chosen, self.taken_from, to_give);
            }
        }
        let fast = in_lanes?;
        let whole = fast.is_whole().then_some((fast.fast(), fast.form()));
        let done = finish(self, fast, audit, packets, outcomes, pointers, sent);
        whole.filter(|&(all, _)| done == all).map(|(_, form)| Outcome::Added(form))
    }

    /// Puts the options into the packets of the slow way.
    #[inline]
    #[expect(clippy::too_many_arguments, reason = "one caller; a struct for it would only rename them")]
    fn put_in<B: PacketBuf>(
        self,
        scratch: &mut Scratch,
        audit: &mut Option<AuditSink>,
        packets: &mut [B],
        outcomes: &mut ArrayVec<Outcome, BURST>,
        chosen: &mut ArrayVec<Chosen<'_>, BURST>,
        plans: &Plans,
        sent: u64,
    ) {
        let Self { shared, snapshot, counters, .. } = self;
        let (ring, rules) = (&*snapshot.ring, &*snapshot.rules);
        let mut filled = fill(shared, ring, counters, scratch, chosen, sent);
        if filled.is_none() {
            refuse_sealed(chosen, outcomes);
            filled = fill(shared, ring, counters, scratch, chosen, sent);
        }
        let sealed = filled.unwrap_or(0);
        if let Some(sealer) = &ring.sealer {
            let (batch, keys) = scratch.split(sealed);
            if audit.as_mut().is_none_or(|audit| audit.record(&keys, batch)) {
                batch.seal(sealer.aead, &keys);
            } else {
                refuse_sealed(chosen, outcomes);
            }
        }
        insert(rules, counters.worker, scratch, packets, outcomes, chosen, plans);
    }

    /// What becomes of a packet that is not in the lanes. `likely`: what is known of one of the plain shape.
    #[inline]
    fn decide<B: PacketBuf>(
        self,
        too_big: &mut TokenBucket,
        chosen: &mut ArrayVec<Chosen<'a>, BURST>,
        plans: &mut Plans,
        place: u8,
        packet: &mut B,
        likely: Option<&Likely<'a>>,
    ) -> Outcome {
        let Self { shared, snapshot, counters, now, .. } = self;
        let rules = &*snapshot.rules;
        if let Some(c) = likely.and_then(|likely| choose_known(self, packet, likely, place)) {
            let form = c.form;
            chosen.push(c);
            return Outcome::Added(form);
        }
        if let Some(reason) = likely.and_then(|likely| choose_measured(self, likely)) {
            return Outcome::Passed(reason);
        }
        let choice = if is_off(rules, likely) { Err(Not::For(Reason::Off)) } else { choose(self, packet, plans) };
        match choice {
            Ok(c) => {
                let form = c.form;
                chosen.push(Chosen { packet: place, ..c });
                Outcome::Added(form)
            }
            Err(Not::For(Reason::Oversize | Reason::PathMtu))
                if rules.config.oversize == Oversize::PacketTooBig
                    && too_big.take(now)
                    && make_ready(packet, || counters.copied.add(1))
                    && too_big::answer(packet, |destination| shared.mtu_to(rules, destination, now)) =>
            {
                Outcome::TooBig
            }
            Err(Not::For(reason)) => Outcome::Passed(reason),
            Err(Not::Of(owner)) if self.taken_from.is_none() => Outcome::HandedOver(owner),
            Err(Not::Of(_)) => Outcome::Passed(Reason::OwnerChanged),
        }
    }
}
