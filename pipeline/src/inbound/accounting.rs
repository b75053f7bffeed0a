//! What an authenticated packet says is taken into account: replays, gaps, times, keys that the box opened with.

use super::chosen::{Chosen, Plans};
use crate::flow::record::WholeFlow;
use crate::inbound::guess::Guess;
use crate::observe::counters::WorkerCounters;
use crate::observe::reasons::Reason;
use crate::state::keyring::KeyRing;
use crate::state::shared::Shared;
use crate::state::snapshot::Snapshot;
use protocol::delta_time::{self, Scaled};
use protocol::five_tuple::FiveTuple;
use protocol::meter::Sample;
use protocol::receiver::Verdict;
use protocol::wire::option::Metrics;

/// Takes an authenticated packet into account. The reason why it does not count, if it does not.
#[inline]
#[expect(clippy::too_many_arguments, reason = "one caller; a struct for it would only rename them")]
pub(super) fn account<'a>(
    shared: &'a Shared,
    snapshot: &Snapshot,
    counters: &WorkerCounters,
    c: &mut Chosen<'a>,
    plans: &Plans,
    guess: Guess,
    metrics: &Metrics,
    now: u64,
) -> Option<Reason> {
    let flow = match c.flow {
        Some(flow) => flow,
        None => match first_of_flow(shared, snapshot, counters, c, plans, now) {
            Some(flow) => flow,
            // It is genuine. Without a record it cannot be told from a replay, which is what a full table costs.
            None => {
                opened_with(&snapshot.ring, guess);
                counters.unrecorded.add(1);
                return None;
            }
        },
    };
    let (before, this) = (flow.back.receiver.current(), Some((guess.id, guess.kri)));
    if before.is_none_or(|(id, _)| id != guess.id) {
        opened_with(&snapshot.ring, guess);
    }
    match flow.back.receiver.accept(guess.id, guess.kri, metrics.psntp) {
        Verdict::Fresh { skipped, late } => gaps(flow, counters, skipped, late),
        Verdict::Replayed => return Some(Reason::Replayed),
        Verdict::TooOld => return Some(Reason::TooOld),
    }
    if before != this && before.is_some() && flow.back.receiver.current() == this {
        counters.rotations.add(1);
    }
    flow.back.seen(now);
    measure(flow, counters, metrics, now);
    None
}

fn opened_with(ring: &KeyRing, guess: Guess) {
    if let Some(peer) = ring.peer(guess.id.peer()) {
        peer.opened_with(guess.id.generation());
    }
}

/// Brings the flow of its first packet into the table.
#[cold]
fn first_of_flow<'a>(
    shared: &'a Shared,
    snapshot: &Snapshot,
    counters: &WorkerCounters,
    c: &mut Chosen<'a>,
    plans: &Plans,
    now: u64,
) -> Option<WholeFlow<'a>> {
    let plan = c.plan(plans)?;
    let tuple = FiveTuple::from_words(plan.words);
    let (flow, new) =
        shared.insert(counters.worker, &tuple, plan.hash, c.policy as usize, &snapshot.rules, now).ok()?;
    counters.flows_inserted.add(u64::from(new));
    c.flow = Some(flow);
    Some(flow)
}

#[inline]
pub(super) fn gaps(flow: WholeFlow<'_>, counters: &WorkerCounters, skipped: u32, late: bool) {
    if skipped > 0 || late {
        counters.skipped.add(u64::from(skipped));
        counters.reordered.add(u64::from(late));
        flow.back.count_gaps(skipped, late);
    }
}

/// What a packet's metrics, which came now, say of the path; the flow's next packet will answer them.
#[inline]
pub(super) fn sampled(flow: WholeFlow<'_>, metrics: &Metrics, now: u64) -> Sample {
    let delay = delta_time::to_nanos(Scaled { value: metrics.delta_tlr, scale: metrics.scale_dtlr });
    flow.meter.on_receive(metrics.psntp, metrics.psnlr, delay, now)
}

#[inline]
pub(super) fn measure(flow: WholeFlow<'_>, counters: &WorkerCounters, metrics: &Metrics, now: u64) {
    let sample = sampled(flow, metrics, now);
    if let Some(ns) = sample.round_trip_ns {
        counters.round_trip.record(ns);
    }
    if let Some(ns) = sample.server_delay_ns {
        counters.server_delay.record(ns);
    }
}
