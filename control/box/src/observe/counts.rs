//! What a box has counted, taken together from its workers: one structure for JSON, the table on the terminal, and
//! Prometheus.

mod paths;
mod table;

pub use paths::Paths;
use pipeline::observe::counter::Counter;
use pipeline::observe::counters::{DirectionCounters, PolicyCounters, WorkerCounters};
use pipeline::observe::histogram::{BUCKETS, Histogram};
use pipeline::observe::reasons::Reason;
use pipeline::state::rules::{Rules, Standing};
use serde::Serialize;
use std::collections::BTreeMap;

/// By form of the option.
#[derive(Clone, Copy, Debug, Default, Serialize, PartialEq, Eq)]
pub struct ByForm {
    /// PDM of RFC 8250.
    pub pdm: u64,
    /// PDMv2 in clear.
    pub clear: u64,
    /// PDMv2 sealed.
    pub encrypted: u64,
}

impl ByForm {
    fn sum<'a>(counters: impl Iterator<Item = &'a [Counter; 3]>) -> Self {
        counters.fold(Self::default(), |sum, c| Self {
            pdm: sum.pdm + c[0].get(),
            clear: sum.clear + c[1].get(),
            encrypted: sum.encrypted + c[2].get(),
        })
    }

    /// Of any form.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.pdm + self.clear + self.encrypted
    }

    /// Label and value.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [("pdm", self.pdm), ("clear", self.clear), ("encrypted", self.encrypted)].into_iter()
    }
}

/// By [`Reason::name`], without those that never occurred.
pub type ByReason = BTreeMap<&'static str, u64>;

fn by_reason<'a>(counters: impl Iterator<Item = &'a [Counter]>) -> ByReason {
    let mut sum = ByReason::new();
    for worker in counters {
        for (&reason, counter) in Reason::ALL.iter().zip(worker) {
            if counter.get() > 0 {
                *sum.entry(reason.name()).or_default() += counter.get();
            }
        }
    }
    sum
}

/// One direction.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Direction {
    /// Packets received from the port.
    pub received: u64,
    /// Packets handed to a port.
    pub forwarded: u64,
    /// Packets dropped, for whatever reason.
    pub dropped_total: u64,
    /// Options added.
    pub added: ByForm,
    /// Options that verified and were taken out.
    pub removed: ByForm,
    /// Options that verified and stay.
    pub verified: ByForm,
    /// Packets passed as they came.
    pub passed: ByReason,
    /// Packets whose option did not verify and was taken out.
    pub stripped: ByReason,
    /// Packets dropped.
    pub dropped: ByReason,
    /// Packets answered with ICMPv6 Packet Too Big.
    pub too_big: u64,
}

impl Direction {
    fn of(workers: &[&DirectionCounters]) -> Self {
        let received = workers.iter().map(|w| w.received.get()).sum();
        let dropped = by_reason(workers.iter().map(|w| &w.dropped[..]));
        let dropped_total = dropped.values().sum();
        let forms = |f: fn(&DirectionCounters) -> &[Counter; 3]| ByForm::sum(workers.iter().map(|w| f(w)));
        let (added, removed, verified) = (forms(|w| &w.added), forms(|w| &w.removed), forms(|w| &w.verified));
        let (passed, stripped) =
            (by_reason(workers.iter().map(|w| &w.passed[..])), by_reason(workers.iter().map(|w| &w.stripped[..])));
        let too_big = workers.iter().map(|w| w.too_big.get()).sum();
        let forwarded = added.total()
            + removed.total()
            + verified.total()
            + passed.values().sum::<u64>()
            + stripped.values().sum::<u64>()
            + too_big;
        Self { received, forwarded, dropped_total, added, removed, verified, passed, stripped, dropped, too_big }
    }
}

/// One policy.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyCounts {
    /// Its name.
    pub name: String,
    /// off, pdm, clear or encrypted.
    pub mode: &'static str,
    /// Options added.
    pub added: u64,
    /// Options that verified.
    pub accepted: u64,
    /// Options that did not.
    pub failed: u64,
}

/// The flow table.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Flows {
    /// Records in use.
    pub in_table: u64,
    /// Records there are.
    pub capacity: u64,
    /// Flows put in.
    pub inserted: u64,
    /// Flows taken out after their idle time.
    pub expired: u64,
    /// Flows remembered after they left.
    pub tombstones: u64,
    /// Places for them.
    pub tombstone_capacity: u64,
    /// Genuine packets let through without a record, since the table was full.
    pub unrecorded: u64,
    /// Octets the table takes, all of them since the start.
    pub memory_octets: u64,
}

/// Packet sequence numbers of packets that verified.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sequence {
    /// Numbers skipped when a later one came: lost, or late.
    pub skipped: u64,
    /// Packets that came behind a later one. Lost is skipped − reordered.
    pub reordered: u64,
}

/// Key rotations.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Rotations {
    /// In packets sealed.
    pub sealed: u64,
    /// In packets opened.
    pub opened: u64,
}

/// Work with keys.
#[derive(Clone, Debug, Default, Serialize)]
pub struct KeyCounts {
    /// Session keys derived.
    pub derivations: u64,
    /// Openings tried beyond a packet's first.
    pub trials: u64,
    /// Flows found again that had gone too far ahead.
    pub resynced: u64,
}

/// Delays in nanoseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Delay {
    /// Samples.
    pub count: u64,
    /// Mean.
    pub mean_ns: u64,
    /// Half of them are shorter, exact to 12.5 per cent.
    pub p50_ns: u64,
    /// 90 per cent are shorter.
    pub p90_ns: u64,
    /// 99 per cent are shorter.
    pub p99_ns: u64,
    /// By bucket.
    #[serde(skip)]
    pub buckets: Vec<u64>,
    /// Sum.
    #[serde(skip)]
    pub sum_ns: u64,
}

impl Delay {
    fn of<'a>(workers: impl Iterator<Item = &'a Histogram>) -> Self {
        let mut buckets = vec![0; BUCKETS];
        let sum_ns = workers.fold(0u64, |sum, h| sum.wrapping_add(h.merge_into(&mut buckets)));
        let count: u64 = buckets.iter().sum();
        let quantile = |per_cent: u64| {
            let rank = (count * per_cent).div_ceil(100).max(1);
            let mut seen = 0;
            let bucket = buckets.iter().position(|b| {
                seen += b;
                seen >= rank
            });
            bucket.filter(|_| count > 0).map_or(0, |i| {
                // The middle of the bucket.
                let (low, high) = (Histogram::lower_bound(i), Histogram::lower_bound(i + 1));
                low + high.saturating_sub(low) / 2
            })
        };
        let (p50_ns, p90_ns, p99_ns) = (quantile(50), quantile(90), quantile(99));
        Self { count, mean_ns: sum_ns.checked_div(count).unwrap_or(0), p50_ns, p90_ns, p99_ns, buckets, sum_ns }
    }
}

/// The two delays of RFC 8250.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Delays {
    /// Between the boxes and back, without the far side's delay.
    pub round_trip: Delay,
    /// From the far box's receiving a packet to its sending the next one back.
    pub server_delay: Delay,
}

/// What one worker has done.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct WorkerCounts {
    /// Packets received, from both ports.
    pub received: u64,
    /// Bursts that held packets.
    pub bursts: u64,
    /// Polls of both ports that found nothing.
    pub empty_polls: u64,
}

/// A driver's counters.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct PortCounts {
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Octets received.
    pub rx_octets: u64,
    /// Octets sent.
    pub tx_octets: u64,
    /// Packets the device dropped since its queue was full.
    pub rx_missed: u64,
    /// Damaged packets received.
    pub rx_errors: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// Times that no buffer was free to receive into.
    pub rx_no_buffer: u64,
    /// Its link.
    #[serde(flatten)]
    pub link: PortLink,
}

/// How the following of links may stand.
pub const LINK_STATES: [&str; 6] = ["off", "waiting", "following", "down", "rising", "lost"];

/// What is known of a port's link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PortLink {
    /// Whether it is up.
    pub link_up: bool,
    /// How often it has gone up or down since the start.
    pub link_changes: u64,
    /// Whether this box has taken it down, since the other port has none.
    pub link_taken_down: bool,
    /// Whether the device is gone, or asked back by the kernel.
    pub device_gone: bool,
}

/// Both ports.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Ports {
    /// Towards the hosts.
    pub inside: PortCounts,
    /// Towards the network.
    pub outside: PortCounts,
}

/// A box that registers.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct RegistrationCounts {
    /// Whether a registrar has it at the moment.
    pub registered: bool,
    /// Whether it has had none for so long that the others may use keys that it has not got.
    pub out_of_touch: bool,
    /// Seconds until it stops sealing, unless it hears otherwise; `None`: it does not seal.
    pub keys_expire_seconds: Option<f64>,
}

/// Everything.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counts {
    /// The box's name.
    pub node: String,
    /// Generation it seals under; `None`: it does not.
    pub generation: Option<u32>,
    /// How it stands with its registrars; `None`: it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration: Option<RegistrationCounts>,
    /// Seconds since it started.
    pub uptime_seconds: f64,
    /// Worker loops.
    pub workers: usize,
    /// From inside to outside.
    pub outbound: Direction,
    /// From outside to inside.
    pub inbound: Direction,
    /// In the configuration's order.
    pub policies: Vec<PolicyCounts>,
    /// The flow table.
    pub flows: Flows,
    /// Loss and reordering.
    pub sequence: Sequence,
    /// Key rotations.
    pub rotations: Rotations,
    /// Work with keys.
    pub keys: KeyCounts,
    /// How often the box noticed that it was resumed from a snapshot or is a clone, by cause.
    pub resumptions: BTreeMap<&'static str, u64>,
    /// Delays.
    pub delays: Delays,
    /// TCP SYNs whose MSS was lowered.
    pub mss_clamped: u64,
    /// ICMPv6 errors that quote an option, and what is known of paths.
    #[serde(flatten)]
    pub paths: Paths,
    /// Packets that were copied to be changed, since their buffers may not be written to.
    pub copied: u64,
    /// Worker by worker.
    pub by_worker: Vec<WorkerCounts>,
    /// The drivers' counters.
    pub ports: Ports,
    /// How the following of links stands: one of [`LINK_STATES`].
    pub link_follow: &'static str,
}

impl Counts {
    /// Sums up the workers' counters. What is not theirs is left for the caller to fill in.
    #[must_use]
    pub fn of(workers: &[std::sync::Arc<WorkerCounters>], rules: &Rules) -> Self {
        let sum = |f: fn(&WorkerCounters) -> &Counter| workers.iter().map(|w| f(w).get()).sum::<u64>();
        let policy = |standing: &Standing, f: fn(&PolicyCounters) -> &Counter| {
            standing.counters.iter().map(|counters| f(counters).get()).sum::<u64>()
        };
        Self {
            workers: workers.len(),
            outbound: Direction::of(&workers.iter().map(|w| &w.outbound).collect::<Vec<_>>()),
            inbound: Direction::of(&workers.iter().map(|w| &w.inbound).collect::<Vec<_>>()),
            policies: rules
                .policies()
                .map(|(p, standing)| PolicyCounts {
                    name: p.name.clone(),
                    mode: p.mode.name(),
                    added: policy(standing, |p| &p.added),
                    accepted: policy(standing, |p| &p.accepted),
                    failed: policy(standing, |p| &p.failed),
                })
                .collect(),
            flows: Flows {
                inserted: sum(|w| &w.flows_inserted),
                unrecorded: sum(|w| &w.unrecorded),
                ..Flows::default()
            },
            sequence: Sequence { skipped: sum(|w| &w.skipped), reordered: sum(|w| &w.reordered) },
            rotations: Rotations { sealed: sum(|w| &w.rotations_sealed), opened: sum(|w| &w.rotations) },
            keys: KeyCounts { derivations: sum(|w| &w.derivations), trials: sum(|w| &w.trials), resynced: 0 },
            delays: Delays {
                round_trip: Delay::of(workers.iter().map(|w| &w.round_trip)),
                server_delay: Delay::of(workers.iter().map(|w| &w.server_delay)),
            },
            mss_clamped: sum(|w| &w.mss_clamped),
            paths: Paths::of(workers),
            copied: sum(|w| &w.copied),
            by_worker: workers
                .iter()
                .map(|w| WorkerCounts {
                    received: w.outbound.received.get() + w.inbound.received.get(),
                    bursts: w.bursts.get(),
                    empty_polls: w.empty_polls.get(),
                })
                .collect(),
            link_follow: LINK_STATES[0],
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn workers_are_summed_up_and_quantiles_lie_within_their_bounds() {
        let workers: Vec<_> = (0..2).map(|_| Arc::new(WorkerCounters::new(0))).collect();
        for (i, w) in workers.iter().enumerate() {
            w.outbound.received.add(10);
            w.outbound.added[2].add(7);
            w.outbound.passed[Reason::NoKey as usize].add(2);
            w.outbound.dropped[Reason::TxFull as usize].add(1);
            (1..=500).for_each(|k| w.round_trip.record((i as u64 * 500 + k) * 1000));
        }
        let counts = Counts::of(&workers, &Rules::default());
        let out = &counts.outbound;
        assert_eq!((out.received, out.forwarded, out.dropped_total, out.added.encrypted), (20, 18, 2, 14));
        assert_eq!((out.passed["no_key"], out.dropped["tx_full"]), (4, 2));
        let d = &counts.delays.round_trip;
        assert_eq!((d.count, d.mean_ns), (1000, 500_500));
        assert!(
            d.p50_ns.abs_diff(500_000) < 63_000 && d.p99_ns.abs_diff(990_000) < 124_000,
            "{} {}",
            d.p50_ns,
            d.p99_ns
        );
        let json = serde_json::to_value(&counts).expect("JSON");
        assert_eq!(json["outbound"]["added"]["encrypted"], 14);
        assert!(counts.to_string().contains("passed: no_key"));
    }
}
