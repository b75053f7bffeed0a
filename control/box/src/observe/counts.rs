//! What a box knows of itself at one moment: its workers' counters, and what the control thread and the drivers say. Which
//! figures are made of it: [`figures`](super::figures).

use super::sums::{CountedPair, CountedPolicy, Sums, shown};
use crate::export::ExportCounters;
use common::metrics::{Sample, Times};
use pipeline::observe::counter::Counter;
use pipeline::observe::counters::{DirectionCounters, WorkerCounters};
use pipeline::observe::histogram::Histogram;
use pipeline::observe::reasons::{Finding, REASONS, Reason};
use pipeline::state::rules::Rules;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

mod ports;

pub use ports::{LINK_STATES, PortCounts, PortLink, PortSettings, Ports, RSS_FIELDS, RSS_KEYS, TIMESTAMPS};

/// The forms of the option, in the order of their counters.
pub const FORMS: [&str; 3] = ["pdm", "clear", "encrypted"];

/// One direction's counters, of all workers.
pub struct Direction<'a>(Vec<&'a DirectionCounters>);

impl Direction<'_> {
    /// The sum of one counter.
    pub fn sum(&self, counter: fn(&DirectionCounters) -> &Counter) -> u64 {
        self.0.iter().map(|worker| counter(worker).get()).sum()
    }

    /// The sums of counters that belong together.
    pub(crate) fn sums<const N: usize>(&self, counters: fn(&DirectionCounters) -> &[Counter; N]) -> [u64; N] {
        let mut sums = [0; N];
        for worker in &self.0 {
            sums.iter_mut().zip(counters(worker)).for_each(|(sum, counter)| *sum += counter.get());
        }
        sums
    }

    /// By form of the option.
    pub fn by_form(&self, counters: fn(&DirectionCounters) -> &[Counter; 3]) -> Vec<Sample> {
        FORMS.into_iter().zip(self.sums(counters)).map(|(form, n)| Sample::new([form], n)).collect()
    }

    /// Packets received from the port.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.sum(|d| &d.received)
    }

    /// Packets handed to a port.
    #[must_use]
    pub fn forwarded(&self) -> u64 {
        let forms = [self.sums(|d| &d.added), self.sums(|d| &d.removed), self.sums(|d| &d.verified)];
        let reasons = [self.sums(|d| &d.passed), self.sums(|d| &d.stripped)];
        let sum = forms.as_flattened().iter().sum::<u64>() + reasons.as_flattened().iter().sum::<u64>();
        sum + self.sum(|d| &d.too_big)
    }

    /// Packets dropped, for whatever reason.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.sums(|d| &d.dropped).iter().sum()
    }
}

/// The flow table.
#[derive(Clone, Debug, Default)]
pub struct Flows {
    /// Records in use.
    pub in_table: u64,
    /// Records there are.
    pub capacity: u64,
    /// Flows taken out after their idle time.
    pub expired: u64,
    /// Flows remembered after they left.
    pub tombstones: u64,
    /// Places for them.
    pub tombstone_capacity: u64,
    /// Octets the table takes, all of them since the start.
    pub memory_octets: u64,
    /// Flows found again that had gone too far ahead.
    pub resynced: u64,
}

/// What is known of the paths to destinations.
#[derive(Clone, Copy, Debug, Default)]
pub struct PathMtu {
    /// Destinations of which something is known.
    pub known: u64,
    /// Destinations there are places for.
    pub capacity: u64,
}

/// Memory on pages of one size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryCount {
    /// What it is of: a part of the flow table, or packet buffers.
    pub of: &'static str,
    /// The size of its pages: `1G`, `2M`, `ordinary`.
    pub pages: &'static str,
    /// Octets.
    pub octets: u64,
}

/// A box that registers.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct RegistrationCounts {
    /// Whether a registrar has it at the moment.
    pub registered: bool,
    /// Whether it has had none for so long that the others may use keys that it has not got.
    pub out_of_touch: bool,
    /// Seconds until it stops sealing, unless it hears otherwise; `None`: it does not seal.
    pub keys_expire_seconds: Option<f64>,
}

/// A destination that flows are told to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ExportCount {
    /// `ipfix` or `json`.
    pub to: &'static str,
    /// Records sent, or written.
    pub sent: u64,
    /// Records that were not.
    pub unsent: u64,
    /// Whether there is a connection or file.
    pub connected: bool,
}

impl ExportCount {
    /// The present counts.
    #[must_use]
    pub fn of(to: &'static str, counters: &ExportCounters) -> Self {
        let [sent, unsent] = [&counters.sent, &counters.unsent].map(|count| count.load(Relaxed));
        Self { to, sent, unsent, connected: counters.connected.load(Relaxed) }
    }
}

/// Processes of this box, one in the place of another.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct TakeOverCounts {
    /// The process that this one took over from, and the seconds in which neither had the ports; `None`: it was started otherwise.
    pub from: Option<(u32, f64)>,
    /// How often another was to take over from this one, and did not.
    pub failed: u64,
    /// Why, the last time.
    pub last_failure: Option<String>,
}

/// Everything.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// The box's name.
    pub node: String,
    /// Generation it seals under; `None`: it does not.
    pub generation: Option<u32>,
    /// How it stands with its registrars; `None`: it has none.
    pub registration: Option<RegistrationCounts>,
    /// Seconds since it started.
    pub uptime_seconds: f64,
    /// What each worker counts. They go on counting while this is read.
    pub workers: Vec<Arc<WorkerCounters>>,
    /// In the configuration's order.
    pub policies: Vec<CountedPolicy>,
    /// In the configuration's order.
    pub pairs: Vec<CountedPair>,
    /// The workers' clock, in nanoseconds.
    pub now_ns: u64,
    /// Seconds since each worker was last seen to make a turn. Empty: nobody looks.
    pub turn_ages: Vec<f64>,
    /// The flow table.
    pub flows: Flows,
    /// How often the box noticed that it was resumed from a snapshot or is a clone, by cause.
    pub resumptions: BTreeMap<&'static str, u64>,
    /// Take-overs.
    pub take_over: TakeOverCounts,
    /// What is known of paths.
    pub path_mtu: PathMtu,
    /// What memory lies on.
    pub memory: Vec<MemoryCount>,
    /// The drivers' counters.
    pub ports: Ports,
    /// What both ports were set up with, inside first. Nothing where there are none.
    pub port_settings: Vec<PortSettings>,
    /// Where flows are told to.
    pub export: Vec<ExportCount>,
    /// How the following of links stands: one of [`LINK_STATES`].
    pub link_follow: &'static str,
}

impl Counts {
    /// What the workers count. What is not theirs is left for the caller to fill in.
    #[must_use]
    pub fn of(workers: &[Arc<WorkerCounters>], rules: &Rules) -> Self {
        let policies = rules.policies().map(|(policy, standing)| CountedPolicy {
            name: policy.name.clone(),
            mode: policy.mode.name(),
            ends_ns: standing.ends_ns(),
            sums: Sums(standing.by_worker().cloned().collect()),
        });
        let pairs = rules
            .pairs()
            .map(|(pair, standing)| CountedPair { name: pair.name.clone(), sums: Sums(standing.counters().to_vec()) });
        Self {
            workers: workers.to_vec(),
            policies: policies.collect(),
            pairs: pairs.collect(),
            link_follow: LINK_STATES[0],
            ..Self::default()
        }
    }

    /// The sum of one counter over the workers.
    #[must_use]
    pub fn sum(&self, counter: fn(&WorkerCounters) -> &Counter) -> u64 {
        self.workers.iter().map(|worker| counter(worker).get()).sum()
    }

    /// From inside to outside.
    #[must_use]
    pub fn outbound(&self) -> Direction<'_> {
        Direction(self.workers.iter().map(|worker| &worker.outbound).collect())
    }

    /// From outside to inside.
    #[must_use]
    pub fn inbound(&self) -> Direction<'_> {
        Direction(self.workers.iter().map(|worker| &worker.inbound).collect())
    }

    /// Both directions, by name.
    #[must_use]
    pub fn directions(&self) -> [(&'static str, Direction<'_>); 2] {
        [("outbound", self.outbound()), ("inbound", self.inbound())]
    }

    pub(super) fn by_direction(&self, count: fn(&Direction<'_>) -> u64) -> Vec<Sample> {
        self.directions().map(|(name, direction)| Sample::new([name], count(&direction))).into()
    }

    /// By direction and reason, reasons by name.
    pub(super) fn by_reason(&self, counters: fn(&DirectionCounters) -> &[Counter; REASONS]) -> Vec<Sample> {
        let of = |(name, direction): (&'static str, Direction<'_>)| {
            let counts = Reason::ALL.iter().map(|r| r.name()).zip(direction.sums(counters));
            let sorted: BTreeMap<_, _> = counts.collect();
            sorted.into_iter().map(move |(reason, n)| Sample::new([name, reason], n))
        };
        self.directions().into_iter().flat_map(of).collect()
    }

    /// Seconds until a policy ends, of each that does; 0: it has.
    pub(super) fn policies_end(&self) -> Vec<Sample> {
        let of = |policy: &CountedPolicy| Some(Sample::new([&policy.name], self.ends_in_seconds(policy)?));
        self.policies.iter().filter_map(of).collect()
    }

    /// Seconds until a policy ends; 0: it has. `None`: it does not.
    #[must_use]
    pub fn ends_in_seconds(&self, policy: &CountedPolicy) -> Option<f64> {
        Some(policy.ends_ns?.saturating_sub(self.now_ns) as f64 / 1e9)
    }

    pub(super) fn by_finding(&self) -> Vec<Sample> {
        let count = |f: Finding| self.workers.iter().map(|worker| worker.quotations[f as usize].get()).sum::<u64>();
        let counts: BTreeMap<_, _> = Finding::ALL.iter().map(|&finding| (finding.name(), count(finding))).collect();
        counts.into_iter().map(|(finding, n)| Sample::new([finding], n)).collect()
    }

    pub(super) fn by_worker(&self, count: fn(&WorkerCounters) -> u64) -> Vec<Sample> {
        self.workers.iter().enumerate().map(|(i, worker)| Sample::new([i], count(worker))).collect()
    }

    /// Seconds since each worker's last turn.
    pub(super) fn turn_ages(&self) -> Vec<Sample> {
        self.turn_ages.iter().enumerate().map(|(i, &age)| Sample::new([i], age)).collect()
    }

    pub(super) fn by_port<V: Into<common::metrics::Value>>(&self, value: fn(&PortCounts) -> V) -> Vec<Sample> {
        let ports = [("inside", &self.ports.inside), ("outside", &self.ports.outside)];
        ports.map(|(name, port)| Sample::new([name], value(port))).into()
    }

    pub(super) fn by_export<V: Into<common::metrics::Value>>(&self, value: fn(&ExportCount) -> V) -> Vec<Sample> {
        self.export.iter().map(|export| Sample::new([export.to], value(export))).collect()
    }

    /// Of each port that there is: what it was set up with.
    pub(super) fn by_settings(&self, value: fn(&PortSettings) -> &str) -> Vec<Sample> {
        let ports = crate::ports::SIDES.into_iter().zip(&self.port_settings);
        ports.map(|(name, port)| Sample::new([name], value(port))).collect()
    }

    /// The same of a number.
    pub(super) fn by_setting(&self, value: fn(&PortSettings) -> u16) -> Vec<Sample> {
        let ports = crate::ports::SIDES.into_iter().zip(&self.port_settings);
        ports.map(|(name, port)| Sample::new([name], u64::from(value(port)))).collect()
    }

    /// The same as labels.
    pub(super) fn port_settings(&self) -> Vec<Sample> {
        let ports = crate::ports::SIDES.into_iter().zip(&self.port_settings);
        let labels = |(name, p): (&'static str, &PortSettings)| {
            let numbers = [p.queues, p.mtu, p.headroom, p.rx_descriptors, p.tx_descriptors].map(|n| n.to_string());
            let words = [name, &p.driver, &p.offloads, p.rss, p.rss_key, p.timestamps].map(str::to_owned);
            Sample::new(words.into_iter().chain(numbers).chain([p.numa_node.clone()]), 1u64)
        };
        ports.map(labels).collect()
    }

    /// Nothing of a box that does not register.
    pub(super) fn of_registration<V: Into<common::metrics::Value>>(
        &self,
        value: fn(&RegistrationCounts) -> V,
    ) -> Vec<Sample> {
        self.registration.iter().map(|registration| Sample::new([""; 0], value(registration))).collect()
    }

    /// Times of all workers.
    pub(super) fn times(&self, of: fn(&WorkerCounters) -> &Histogram) -> Times {
        shown(&self.workers.iter().map(|worker| of(worker)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_summed_up_and_quantiles_lie_within_their_bounds() {
        let workers: Vec<_> = (0..2).map(|_| Arc::new(WorkerCounters::new(0))).collect();
        for (i, w) in workers.iter().enumerate() {
            w.outbound.received.add(10);
            w.outbound.added[2].add(7);
            w.outbound.passed[Reason::NoKey as usize].add(2);
            w.outbound.dropped[Reason::TxFull as usize].add(1);
            w.quotations[Finding::Mended as usize].add(3);
            (1..=500).for_each(|k| w.round_trip.record((i as u64 * 500 + k) * 1000));
        }
        let counts = Counts::of(&workers, &Rules::default());
        let out = counts.outbound();
        assert_eq!((out.received(), out.forwarded(), out.dropped()), (20, 18, 2));
        let d = counts.times(|w| &w.round_trip);
        assert_eq!((d.count, d.mean_ns()), (1000, 500_500));
        assert!(
            d.p50_ns.abs_diff(500_000) < 16_000 && d.p99_ns.abs_diff(990_000) < 31_000,
            "{} {}",
            d.p50_ns,
            d.p99_ns
        );
        let json = serde_json::to_value(&counts).expect("JSON");
        assert_eq!(json["outbound"]["added"]["encrypted"], 14);
        assert_eq!(json["outbound"]["passed"], serde_json::json!({"no_key": 4}));
        assert_eq!(json["quotations"], serde_json::json!({"mended": 6}));
        assert!(counts.to_string().contains("             4  passed: no_key\n"));
        assert_eq!(Counts::default().times(|w| &w.round_trip).p99_ns, 0);
    }
}
