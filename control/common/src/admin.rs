//! What a box answers over its admin interface, as those who answer and those who ask both read it. The same is written for
//! others in `docs/openapi.json`, which a test holds against real answers.

pub mod config;
mod history;
mod measured;
mod traced;

pub use history::{History, Moment, Recent, Spread};
pub use measured::{Measured, Pair, Pairs, Policies, Policy};
pub use traced::{Line, Step, Traced, Watched};

use serde::{Deserialize, Serialize};

/// Paths begin with it. It changes when a field goes or means something else; fields may be added at any time.
pub const VERSION: &str = "v1";
/// Flows that are shown when nobody says how many.
pub const FLOWS: usize = 100;
/// Flows that are shown at most.
pub const MOST_FLOWS: usize = 10_000;
/// Packets that are traced when nobody says how many.
pub const TRACED: u64 = 20;
/// Packets that are traced at most.
pub const MOST_TRACED: u64 = 1000;
/// Packets that are captured when nobody says how many.
pub const CAPTURED: u64 = 10_000;
/// Packets that are captured at most.
pub const MOST_CAPTURED: u64 = 1_000_000;
/// Octets of a packet that are captured when nobody says how many.
pub const SNAPLEN: usize = 2048;
/// Octets of a packet that are captured at most.
pub const MOST_SNAPLEN: usize = 16_384;
/// Seconds that a trace or a capture takes when nobody says how many.
pub const WATCHED_SECONDS: u64 = 60;
/// Seconds that it takes at most.
pub const MOST_SECONDS: u64 = 3600;
/// Seconds for which a policy is started, at most: a hundred years.
pub const MOST_POLICY_SECONDS: u64 = 100 * 365 * 86_400;

/// What flows can be sorted by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// The round trip, smoothed.
    Rtt,
    /// The other side's delay, smoothed.
    ServerDelay,
    /// The part of the other side's packets that never came.
    Loss,
    /// Packets that came behind a later one.
    Late,
    /// Time since the last packet.
    Idle,
    /// Packets that came back.
    Received,
}

impl Sort {
    /// Each with its name.
    pub const ALL: [(&str, Self); 6] = [
        ("rtt", Self::Rtt),
        ("server_delay", Self::ServerDelay),
        ("loss", Self::Loss),
        ("late", Self::Late),
        ("idle", Self::Idle),
        ("received", Self::Received),
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, sort)| *sort == self).map_or("", |(name, _)| name)
    }
}

/// `/v1/status`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The box's name.
    pub node: String,
    /// The program's version.
    pub version: String,
    /// Seconds since it started.
    pub uptime_seconds: f64,
    /// Its keys.
    pub keys: Keys,
    /// Both ports.
    pub ports: Vec<Port>,
    /// How the following of links stands.
    pub link_follow: String,
    /// Packets by direction, outbound first.
    pub directions: Vec<Direction>,
    /// What becomes of packets that are not measured, or do not verify; nothing that has not occurred.
    pub reasons: Vec<Unmeasured>,
    /// By worker.
    pub workers: Vec<Worker>,
    /// The flow table.
    pub flows: FlowTable,
    /// How long the interval was that rates and loads are of, in seconds. `null`: the box has just started.
    pub interval_seconds: Option<f64>,
    /// How often it noticed that it was resumed from a snapshot.
    pub resumptions: u64,
    /// Which process of the box this is, and how it came to its ports.
    pub take_over: TakeOver,
}

/// Processes of one box, one in the place of another.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct TakeOver {
    /// The id of the process that answers.
    pub process: u32,
    /// That of the process it took over from. `null`: it was started otherwise.
    pub from_process: Option<u32>,
    /// Seconds in which neither of the two had the ports.
    pub gap_seconds: Option<f64>,
    /// How often another process was to take over from this one, and did not.
    pub failed: u64,
    /// Why, the last time.
    pub last_failure: Option<String>,
}

/// `/v1/take-over`: a process was started that is to take over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Successor {
    /// Its id.
    pub process: u32,
    /// The id of the process that answers, which forwards until then.
    pub from_process: u32,
}

/// The keys of a box.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Keys {
    /// The generation that it seals under. `null`: it does not seal.
    pub generation: Option<u32>,
    /// How it stands with its registrars. `null`: it has none.
    pub registration: Option<Registration>,
}

/// How a box stands with its registrars.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Registration {
    /// Whether one has it at the moment.
    pub registered: bool,
    /// Whether others may use keys that it has not got.
    pub out_of_touch: bool,
    /// Seconds until it stops sealing unless it hears from one. `null`: it does not seal.
    pub keys_expire_seconds: Option<f64>,
}

/// A port.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Port {
    /// `inside` or `outside`.
    pub port: String,
    /// Its driver in DPDK.
    pub driver: String,
    /// Whether its link is up.
    pub link_up: bool,
    /// How often that has changed.
    pub link_changes: u64,
    /// Whether the box has taken it down, since the other port has none.
    pub link_taken_down: bool,
    /// Whether the device is gone.
    pub device_gone: bool,
    /// Packets received, as the driver counts.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Octets received.
    pub rx_octets: u64,
    /// Octets sent.
    pub tx_octets: u64,
    /// Packets that the device dropped since its queue was full.
    pub rx_missed: u64,
    /// Damaged packets.
    pub rx_errors: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// Times that no buffer was free.
    pub rx_no_buffer: u64,
}

/// One direction.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Direction {
    /// `outbound` (inside to outside) or `inbound`.
    pub direction: String,
    /// Packets received.
    pub received: u64,
    /// Packets handed to a port.
    pub forwarded: u64,
    /// Packets dropped.
    pub dropped: u64,
    /// The same in a second, over the last interval.
    pub per_second: Option<Rates>,
}

/// Packets a second.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Rates {
    /// Received.
    pub received: f64,
    /// Handed to a port.
    pub forwarded: f64,
    /// Dropped.
    pub dropped: f64,
}

/// Packets that were not measured or did not verify, for one reason.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Unmeasured {
    /// `outbound` or `inbound`.
    pub direction: String,
    /// What became of them: `passed`, `stripped` or `dropped`.
    pub outcome: String,
    /// The reason's name.
    pub reason: String,
    /// How many.
    pub packets: u64,
    /// In a second, over the last interval.
    pub per_second: Option<f64>,
    /// What the reason means.
    pub meaning: String,
    /// What to do about it.
    pub remedy: String,
}

/// A worker.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Worker {
    /// Its number.
    pub worker: u64,
    /// Packets it took from both ports.
    pub received: u64,
    /// Bursts that held packets.
    pub bursts: u64,
    /// Polls of both ports that found nothing.
    pub empty_polls: u64,
    /// The part of its polls that found packets, over the last interval: 1 means that it never finds a queue empty.
    pub load: Option<f64>,
    /// Packets a second, over the last interval.
    pub per_second: Option<f64>,
}

/// The flow table.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct FlowTable {
    /// Flows in it.
    pub in_table: u64,
    /// Places.
    pub capacity: u64,
    /// Flows that left after their idle time.
    pub expired: u64,
    /// Flows found again that had gone too far ahead.
    pub resynced: u64,
    /// Flows that came into it since the start.
    pub inserted: u64,
    /// Those of them whose packets came to more than one worker.
    pub split: u64,
    /// Octets it takes.
    pub memory_octets: u64,
}

/// How long something took: quantiles out of a histogram, or of one flow.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Quantiles {
    /// Samples.
    pub count: u64,
    /// Their mean, in nanoseconds; 0 of none, as all that follow.
    pub mean_ns: u64,
    /// Half of them are shorter.
    pub p50_ns: u64,
    /// 90 per cent are.
    pub p90_ns: u64,
    /// 99 per cent are.
    pub p99_ns: u64,
    /// 99.9 per cent are.
    pub p999_ns: u64,
}

/// `/v1/histograms`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Histograms {
    /// Of each policy its three; of the whole box, without a policy, its two.
    pub histograms: Vec<Histogram>,
}

/// Times by how long they are.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Histogram {
    /// The policy. `null`: the whole box.
    pub policy: Option<String>,
    /// `round_trip`, `server_delay` or `end_to_end`.
    pub of: String,
    /// Quantiles of it.
    pub quantiles: Quantiles,
    /// The sum of all samples, in nanoseconds.
    pub sum_ns: u64,
    /// Those that hold something, in ascending order.
    pub buckets: Vec<Bucket>,
}

/// Samples of about one length.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Bucket {
    /// No shorter than this, in nanoseconds.
    pub from_ns: u64,
    /// Shorter than this.
    pub below_ns: u64,
    /// How many.
    pub count: u64,
}

/// `/v1/flows`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Flows {
    /// Flows in the table.
    pub in_table: u64,
    /// Those of them that match.
    pub matching: u64,
    /// The first of these, as sorted.
    pub flows: Vec<Flow>,
}

/// A flow.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Flow {
    /// The host's address on the inside.
    pub inside: String,
    /// Its port.
    pub inside_port: u16,
    /// The address beyond the outside port.
    pub outside: String,
    /// Its port.
    pub outside_port: u16,
    /// The protocol's short name, or its number.
    pub protocol: String,
    /// Its policy. `null`: it has not been asked for since the policies changed.
    pub policy: Option<String>,
    /// The pair of prefixes that it is between. `null`: none that is named, or as with the policy.
    pub pair: Option<String>,
    /// The worker that numbers its packets.
    pub worker: u16,
    /// Nanoseconds since its last packet.
    pub idle_ns: u64,
    /// Packets that came back with an option that verified.
    pub received: u64,
    /// Numbers of the other side that never came.
    pub lost: u64,
    /// The part of the other side's packets that they are, from 0 to 1.
    pub loss: f64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Packets that came behind a later one.
    pub late: u64,
    /// Options that did not verify.
    pub failed: u64,
    /// The network between the boxes, there and back.
    pub round_trip: Times,
    /// The other side's delay.
    pub server_delay: Times,
    /// Both together.
    pub end_to_end: Times,
    /// Packets a second of the other box, all flows together. `null`: not known.
    pub peer_packets_per_second: Option<u64>,
}

impl Flow {
    /// What tells it from others.
    #[must_use]
    pub fn name(&self) -> String {
        let Self { inside, inside_port, outside, outside_port, protocol, .. } = self;
        format!("[{inside}]:{inside_port} > [{outside}]:{outside_port} {protocol}")
    }
}

/// One kind of time of a flow, nanoseconds; all of them 0 where nothing was measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Times {
    /// How many were measured.
    pub samples: u64,
    /// The last one.
    pub last_ns: u64,
    /// An average in which the last ones count most.
    pub smoothed_ns: u64,
    /// The least one.
    pub least_ns: u64,
    /// The greatest one.
    pub greatest_ns: u64,
}

/// `/v1/reload`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reloaded {
    /// The settings that have changed, as the configuration calls them.
    pub changed: Vec<String>,
    /// What works but is hardly meant.
    pub warnings: Vec<String>,
}

/// What is answered instead, with a status that is no 200.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// What is wrong.
    pub error: String,
    /// What to do about it.
    pub remedy: String,
    /// What there is, where what was asked for is not.
    pub known: Vec<String>,
}
