//! The flows that somebody wants to see: the first so many of all that match, in one pass over the table, with memory for those
//! alone.

use super::query::Flows as Query;
use super::status::none_of;
use common::admin::{Failure, Flow, Flows, Sort, Times};
use pipeline::flow::figures::{FlowFigures, Times as Measured};
use pipeline::flow::record::WholeFlow;
use pipeline::state::pairs::Pair;
use pipeline::state::rules::{PolicyId, Rules};
use pipeline::state::shared::Shared;
use protocol::five_tuple::FiveTuple;
use protocol::wire::ipv6;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::Ipv6Addr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// A flow that is shown, as far as is known yet.
struct Kept<'r> {
    policy: Option<PolicyId>,
    pair: Option<&'r Pair>,
    figures: FlowFigures,
}

/// Whether there is anything to sort it by, that, and what decides between equals.
type Rank = (bool, u64, u64);

/// `/v1/flows`, as far as it gets until the `stop`. `now` on the workers' clock.
///
/// # Errors
/// There is no such policy, or no such pair.
pub fn best(shared: &Shared, query: &Query, now: u64, stop: &AtomicBool) -> Result<Flows, Failure> {
    let rules = shared.snapshots.rules();
    let wanted = wanted(&rules, query)?;
    if let Some(name) = query.pair.as_ref().filter(|name| rules.pairs().all(|(pair, _)| pair.name != **name)) {
        return Err(none_of("pair", name, rules.pairs().map(|(pair, _)| pair.name.clone())));
    }
    let (mut in_table, mut matching) = (0, 0);
    // Ranks of those that are kept, the least on top, and where they are kept.
    let mut ranks: BinaryHeap<Reverse<(Rank, usize)>> = BinaryHeap::new();
    let mut kept: Vec<Kept<'_>> = Vec::new();
    for flow in shared.table.iter() {
        in_table += 1;
        if in_table % 1024 == 0 && stop.load(Relaxed) {
            break;
        }
        let tuple = flow.back.tuple();
        let (policy, pair) = (rules.id_of(flow.back), rules.pair_of(flow.back));
        if !matches(query, &tuple)
            || wanted.as_ref().is_some_and(|wanted| policy.is_none_or(|id| !wanted.contains(&id)))
            || query.pair.as_ref().is_some_and(|name| pair.is_none_or(|pair| pair.name != *name))
        {
            continue;
        }
        let Some(figures) = figures(flow, &tuple, now) else { continue };
        matching += 1;
        let rank = rank(&figures, query);
        if kept.len() < query.limit {
            ranks.push(Reverse((rank, kept.len())));
            kept.push(Kept { policy, pair, figures });
        } else if let Some(mut least) = ranks.peek_mut()
            && least.0.0 < rank
            && let Some(place) = kept.get_mut(least.0.1)
        {
            least.0.0 = rank;
            *place = Kept { policy, pair, figures };
        }
    }
    let order = ranks.into_sorted_vec().into_iter().filter_map(|Reverse((_, at))| kept.get(at));
    let flows = order.map(|kept| shown(kept, &rules)).collect();
    Ok(Flows { in_table, matching, flows })
}

/// Those of the policy asked for, if one is.
fn wanted(rules: &Rules, query: &Query) -> Result<Option<Vec<PolicyId>>, Failure> {
    let Some(name) = &query.policy else { return Ok(None) };
    let named = rules.policies().filter(|(policy, _)| policy.name == *name);
    let ids: Vec<_> = named.map(|(_, standing)| standing.id).collect();
    if ids.is_empty() {
        return Err(none_of("policy", name, rules.policies().map(|(policy, _)| policy.name.clone())));
    }
    Ok(Some(ids))
}

fn matches(query: &Query, tuple: &FiveTuple) -> bool {
    query.address.is_none_or(|address| tuple.src == address || tuple.dst == address)
        && query.prefix.is_none_or(|prefix| prefix.contains(&tuple.src) || prefix.contains(&tuple.dst))
        && query.port.is_none_or(|port| tuple.sport == port || tuple.dport == port)
        && query.protocol.is_none_or(|protocol| tuple.protocol == protocol)
}

/// What was measured of it. `None`: it left meanwhile, and its record may be another's.
fn figures(flow: WholeFlow<'_>, tuple: &FiveTuple, now: u64) -> Option<FlowFigures> {
    let figures = flow.figures(now);
    (figures.tuple == *tuple && flow.back.tuple() == *tuple).then_some(figures)
}

fn rank(figures: &FlowFigures, query: &Query) -> Rank {
    let of = |times: &Measured| (times.samples > 0, times.smoothed_ns, times.samples);
    let (known, value, then) = match query.sort {
        Sort::Rtt => of(&figures.round_trip),
        Sort::ServerDelay => of(&figures.server_delay),
        Sort::Loss => (sent(figures) > 0, (loss(figures) * 1e15) as u64, figures.lost),
        Sort::Late => (true, figures.late, figures.received),
        Sort::Idle => (true, figures.idle_ns, 0),
        Sort::Received => (true, figures.received, 0),
    };
    // Those that have nothing to be sorted by come last in either order.
    if query.ascending { (known, !value, then) } else { (known, value, then) }
}

/// Packets that the other side sent, as far as they were noticed.
fn sent(figures: &FlowFigures) -> u64 {
    figures.received.saturating_add(figures.lost)
}

fn loss(figures: &FlowFigures) -> f64 {
    if figures.lost == 0 { 0.0 } else { figures.lost as f64 / sent(figures) as f64 }
}

fn shown(kept: &Kept<'_>, rules: &Rules) -> Flow {
    let Kept { policy, pair, figures } = kept;
    let named = |id| rules.policies().find(|(_, standing)| standing.id == id).map(|(policy, _)| policy.name.clone());
    let FlowFigures { tuple, owner, idle_ns, received, lost, duplicates, late, failed, .. } = figures;
    Flow {
        inside: Ipv6Addr::from(tuple.src).to_string(),
        inside_port: tuple.sport,
        outside: Ipv6Addr::from(tuple.dst).to_string(),
        outside_port: tuple.dport,
        protocol: ipv6::name(tuple.protocol).map_or_else(|| tuple.protocol.to_string(), str::to_owned),
        policy: policy.and_then(named),
        pair: pair.map(|pair| pair.name.clone()),
        worker: *owner,
        idle_ns: *idle_ns,
        received: *received,
        lost: *lost,
        loss: loss(figures),
        duplicates: *duplicates,
        late: *late,
        failed: *failed,
        round_trip: times(&figures.round_trip),
        server_delay: times(&figures.server_delay),
        end_to_end: times(&figures.end_to_end),
        peer_packets_per_second: figures.peer_packets_per_second,
    }
}

fn times(of: &Measured) -> Times {
    let Measured { samples, last_ns, smoothed_ns, least_ns, greatest_ns, .. } = *of;
    Times { samples, last_ns, smoothed_ns, least_ns, greatest_ns }
}
