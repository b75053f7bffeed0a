//! The answers that are made of the counts.

use super::rates::{Interval, OUTCOMES};
use crate::observe::counts::{Counts, PortCounts};
use crate::observe::sums::{CountedPair, CountedPolicy, Sums};
use common::admin::{
    Bucket, Direction, Failure, FlowTable, Histogram, Histograms, Keys, Measured, Pair, Pairs, Policies, Policy, Port,
    Quantiles, Rates, Registration, Status, TakeOver, Unmeasured, Worker,
};
use pipeline::observe::counters::PolicyCounters;
use pipeline::observe::histogram::{Histogram as Counted, Merged};
use pipeline::observe::reasons::Reason;

/// `/v1/status`.
#[must_use]
pub fn status(counts: &Counts, interval: Option<&Interval>) -> Status {
    let registration = counts.registration.map(|r| Registration {
        registered: r.registered,
        out_of_touch: r.out_of_touch,
        keys_expire_seconds: r.keys_expire_seconds,
    });
    let flows = &counts.flows;
    Status {
        node: counts.node.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds: counts.uptime_seconds,
        keys: Keys { generation: counts.generation, registration },
        ports: ports(counts),
        link_follow: counts.link_follow.to_owned(),
        directions: directions(counts, interval),
        reasons: reasons(counts, interval),
        workers: workers(counts, interval),
        flows: FlowTable {
            in_table: flows.in_table,
            capacity: flows.capacity,
            expired: flows.expired,
            resynced: flows.resynced,
            inserted: counts.sum(|w| &w.flows_inserted),
            split: counts.sum(|w| &w.flows_split),
            memory_octets: flows.memory_octets,
        },
        interval_seconds: interval.map(|interval| interval.seconds),
        resumptions: counts.resumptions.values().sum(),
        take_over: TakeOver {
            process: std::process::id(),
            from_process: counts.take_over.from.map(|(process, _)| process),
            gap_seconds: counts.take_over.from.map(|(_, gap)| gap),
            failed: counts.take_over.failed,
            last_failure: counts.take_over.last_failure.clone(),
        },
    }
}

fn ports(counts: &Counts) -> Vec<Port> {
    let port = |(i, port): (usize, &PortCounts)| Port {
        port: crate::ports::SIDES[i].to_owned(),
        driver: counts.port_settings.get(i).map_or_else(String::new, |settings| settings.driver.clone()),
        link_up: port.link.link_up,
        link_changes: port.link.link_changes,
        link_taken_down: port.link.link_taken_down,
        device_gone: port.link.device_gone,
        rx_packets: port.rx_packets,
        tx_packets: port.tx_packets,
        rx_octets: port.rx_octets,
        tx_octets: port.tx_octets,
        rx_missed: port.rx_missed,
        rx_errors: port.rx_errors,
        tx_errors: port.tx_errors,
        rx_no_buffer: port.rx_no_buffer,
    };
    [&counts.ports.inside, &counts.ports.outside].into_iter().enumerate().map(port).collect()
}

fn directions(counts: &Counts, interval: Option<&Interval>) -> Vec<Direction> {
    let direction = |(i, (name, direction)): (usize, (&str, crate::observe::counts::Direction<'_>))| {
        let rate = |interval: &Interval, which: usize| interval.per_second(|sample| Some(sample.directions[i][which]));
        let rates =
            |interval| Rates { received: rate(interval, 0), forwarded: rate(interval, 1), dropped: rate(interval, 2) };
        Direction {
            direction: name.to_owned(),
            received: direction.received(),
            forwarded: direction.forwarded(),
            dropped: direction.dropped(),
            per_second: interval.map(rates),
        }
    };
    counts.directions().into_iter().enumerate().map(direction).collect()
}

/// What has occurred, the most frequent first.
fn reasons(counts: &Counts, interval: Option<&Interval>) -> Vec<Unmeasured> {
    let mut all = Vec::new();
    for (i, (direction, counted)) in counts.directions().into_iter().enumerate() {
        for (j, (outcome, counters)) in OUTCOMES.into_iter().enumerate() {
            for (reason, packets) in Reason::ALL.iter().zip(counted.sums(counters)).filter(|(_, packets)| *packets > 0)
            {
                let at = *reason as usize;
                all.push(Unmeasured {
                    direction: direction.to_owned(),
                    outcome: outcome.to_owned(),
                    reason: reason.name().to_owned(),
                    packets,
                    per_second: interval
                        .map(|interval| interval.per_second(|sample| sample.reasons[i][j].get(at).copied())),
                    meaning: reason.describe().trim().to_owned(),
                    remedy: reason.remedy().to_owned(),
                });
            }
        }
    }
    all.sort_by_key(|unmeasured| std::cmp::Reverse(unmeasured.packets));
    all
}

fn workers(counts: &Counts, interval: Option<&Interval>) -> Vec<Worker> {
    let worker = |(i, w): (usize, &std::sync::Arc<pipeline::observe::counters::WorkerCounters>)| {
        let load = |interval: &Interval| {
            let [busy, empty] = [1, 2].map(|which| interval.grown(|sample| sample.workers.get(i).map(|w| w[which])));
            if busy + empty == 0 { 0.0 } else { busy as f64 / (busy + empty) as f64 }
        };
        Worker {
            worker: i as u64,
            received: w.outbound.received.get() + w.inbound.received.get(),
            bursts: w.bursts.get(),
            empty_polls: w.empty_polls.get(),
            load: interval.map(load),
            per_second: interval.map(|interval| interval.per_second(|sample| sample.workers.get(i).map(|w| w[0]))),
        }
    };
    counts.workers.iter().enumerate().map(worker).collect()
}

pub(super) fn quantiles(merged: &Merged) -> Quantiles {
    let of = |share| merged.quantile(share).unwrap_or_default();
    Quantiles {
        count: merged.count(),
        mean_ns: merged.mean_ns(),
        p50_ns: of(0.5),
        p90_ns: of(0.9),
        p99_ns: of(0.99),
        p999_ns: of(0.999),
    }
}

/// One histogram of a policy.
type Of = fn(&PolicyCounters) -> &Counted;
const TIMES: [(&str, Of); 3] =
    [("round_trip", |p| &p.round_trip), ("server_delay", |p| &p.server_delay), ("end_to_end", |p| &p.end_to_end)];

fn measured(sums: &Sums) -> Measured {
    let [round_trip, server_delay, end_to_end] = TIMES.map(|(_, of)| quantiles(&sums.merged(of)));
    Measured {
        added: sums.of(|p| &p.added),
        accepted: sums.of(|p| &p.accepted),
        failed: sums.of(|p| &p.failed),
        lost: sums.lost(),
        duplicates: sums.of(|p| &p.duplicates),
        late: sums.of(|p| &p.late),
        round_trip,
        server_delay,
        end_to_end,
    }
}

/// `/v1/policies`.
#[must_use]
pub fn policies(counts: &Counts) -> Policies {
    Policies { policies: counts.policies.iter().map(|one| policy(counts, one)).collect() }
}

fn policy(counts: &Counts, policy: &CountedPolicy) -> Policy {
    Policy {
        name: policy.name.clone(),
        mode: policy.mode.to_owned(),
        ends_in_seconds: counts.ends_in_seconds(policy),
        measured: measured(&policy.sums),
    }
}

/// One of them. `None`: there is none of this name.
#[must_use]
pub fn policy_named(counts: &Counts, name: &str) -> Option<Policy> {
    counts.policies.iter().find(|policy| policy.name == name).map(|one| policy(counts, one))
}

/// `/v1/pairs`.
#[must_use]
pub fn pairs(counts: &Counts) -> Pairs {
    let pair = |pair: &CountedPair| Pair { name: pair.name.clone(), measured: measured(&pair.sums) };
    Pairs { pairs: counts.pairs.iter().map(pair).collect() }
}

fn histogram(policy: Option<&str>, of: &str, merged: &Merged) -> Histogram {
    Histogram {
        policy: policy.map(str::to_owned),
        of: of.to_owned(),
        quantiles: quantiles(merged),
        sum_ns: merged.sum_ns(),
        buckets: merged.buckets().map(|(from_ns, below_ns, count)| Bucket { from_ns, below_ns, count }).collect(),
    }
}

/// Round trip and server delay of the whole box.
pub(super) fn of_box(counts: &Counts) -> [Histogram; 2] {
    let workers = &counts.workers;
    [
        histogram(None, TIMES[0].0, &workers.iter().map(|w| &w.round_trip).collect()),
        histogram(None, TIMES[1].0, &workers.iter().map(|w| &w.server_delay).collect()),
    ]
}

/// The same of a policy.
///
/// # Errors
/// There is no such policy.
pub(super) fn of_policy(counts: &Counts, name: &str) -> Result<[Histogram; 2], Failure> {
    let one = counts.policies.iter().find(|policy| policy.name == name);
    let one = one.ok_or_else(|| none_of("policy", name, counts.policies.iter().map(|policy| policy.name.clone())))?;
    Ok([TIMES[0], TIMES[1]].map(|(of, which)| histogram(Some(name), of, &one.sums.merged(which))))
}

/// `/v1/histograms`: of this policy, or of all and of the whole box.
///
/// # Errors
/// There is no such policy.
pub fn histograms(counts: &Counts, policy: Option<&str>) -> Result<Histograms, Failure> {
    let mut histograms = Vec::new();
    if policy.is_none() {
        histograms.extend(of_box(counts));
    }
    let asked_for = |one: &&CountedPolicy| policy.is_none_or(|name| one.name == name);
    for one in counts.policies.iter().filter(asked_for) {
        histograms.extend(TIMES.map(|(name, of)| histogram(Some(&one.name), name, &one.sums.merged(of))));
    }
    match policy {
        Some(name) if histograms.is_empty() => {
            Err(none_of("policy", name, counts.policies.iter().map(|policy| policy.name.clone())))
        }
        _ => Ok(Histograms { histograms }),
    }
}

/// What is said when a policy or a pair is asked for that there is not.
pub fn none_of(what: &str, name: &str, known: impl Iterator<Item = String>) -> Failure {
    let name: String = name.chars().take(60).collect();
    let remedy = "choose one that is known".to_owned();
    Failure { error: format!("{what}: there is no {what} '{name}'"), remedy, known: known.collect() }
}
