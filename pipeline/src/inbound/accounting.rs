//! What an authenticated packet says is taken into account: replays, keys that the box opened with; gaps and times:
//! [`measuring`](super::measuring).

use super::chosen::{Chosen, Plans};
use super::measuring::Measuring;
use crate::flow::record::WholeFlow;
use crate::inbound::guess::Guess;
use crate::observe::counters::WorkerCounters;
use crate::observe::reasons::Reason;
use crate::state::keyring::KeyRing;
use crate::state::shared::Shared;
use crate::state::snapshot::Snapshot;
use protocol::five_tuple::FiveTuple;
use protocol::receiver::Verdict;
use protocol::wire::option::Metrics;

/// Takes an authenticated packet into account, which came at this time. The reason why it does not count, if it does not.
#[inline]
#[expect(clippy::too_many_arguments, reason = "one caller; a struct for it would only rename them")]
pub(super) fn account<'a>(
    shared: &'a Shared,
    snapshot: &Snapshot,
    measuring: &mut Measuring<'_>,
    c: &mut Chosen<'a>,
    plans: &Plans,
    guess: Guess,
    metrics: &Metrics,
    came: u64,
    is_bare: impl FnOnce() -> bool,
) -> Option<Reason> {
    let counters = measuring.counters;
    let flow = match c.flow {
        Some(flow) => flow,
        None => match first_of_flow(shared, snapshot, counters, c, plans, measuring.now) {
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
        if before.is_none() {
            flow.count_if_split(counters);
        }
    }
    let verdict = flow.back.receiver.accept(guess.id, guess.kri, metrics.psntp);
    match verdict {
        Verdict::Fresh { .. } => {}
        Verdict::Replayed => return Some(Reason::Replayed),
        Verdict::TooOld => return Some(Reason::TooOld),
    }
    if before != this && before.is_some() && flow.back.receiver.current() == this {
        counters.rotations.add(1);
    }
    measuring.take(flow, c.policy, verdict, metrics, came, is_bare);
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
