//! What is told of single packets.

use serde::{Deserialize, Serialize};

/// A line of `/v1/trace`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// A packet.
    Packet(Box<Traced>),
    /// The last line: what there was in all.
    End(Watched),
}

/// What a watch has seen in all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Watched {
    /// Packets that are told of.
    pub noted: u64,
    /// Packets that matched, or may have, and are not: too many came at once.
    pub missed: u64,
}

/// What has become of one packet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Traced {
    /// When it came: nanoseconds since 1970.
    pub time_ns: u64,
    /// `outbound` (inside to outside) or `inbound`.
    pub direction: String,
    /// The worker.
    pub worker: u16,
    /// Octets that it had when it came.
    pub length: u64,
    /// From inside to outside. `null`: it has no 5-tuple.
    pub flow: Option<String>,
    /// The policy of its flow. `null`: it has no flow.
    pub policy: Option<String>,
    /// `added`, `removed`, `verified`, `passed`, `stripped`, `dropped`, `too_big`, `handed_over`.
    pub outcome: String,
    /// Why it was not measured, or did not verify.
    pub reason: Option<String>,
    /// Every step, in order.
    pub steps: Vec<Step>,
}

/// One step of a packet's way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Step {
    /// Its name.
    pub step: String,
    /// What was found or done.
    pub says: String,
}
