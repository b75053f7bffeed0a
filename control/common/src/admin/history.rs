//! What was measured when: the answer to `/v1/history`.

use super::Quantiles;
use serde::{Deserialize, Serialize};

/// `/v1/history`: of the whole box, or of one policy.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct History {
    /// The policy. `null`: the whole box.
    pub policy: Option<String>,
    /// From one moment to the next, in seconds.
    pub interval_seconds: f64,
    /// How far back moments are kept, in seconds.
    pub kept_seconds: f64,
    /// The last half to whole minute together.
    pub recent: Recent,
    /// The oldest first.
    pub moments: Vec<Moment>,
}

/// What was measured in one interval.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Moment {
    /// When it ended, in milliseconds since 1970.
    pub time_ms: u64,
    /// How long it was.
    pub seconds: f64,
    /// The network between the boxes, there and back.
    pub round_trip: Spread,
    /// The other side's delay.
    pub server_delay: Spread,
    /// Packets that came back with an option that verified.
    pub accepted: u64,
    /// By how much the numbers that never came have grown; 0 when more were found than skipped.
    pub lost: u64,
    /// Packets that came behind a later one.
    pub late: u64,
    /// Packets that came again.
    pub duplicates: u64,
}

/// How times were spread in one interval.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Spread {
    /// Samples.
    pub count: u64,
    /// Half of them are shorter, in nanoseconds; 0 of none.
    pub p50_ns: u64,
    /// 99 per cent are.
    pub p99_ns: u64,
}

/// The last intervals together.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Recent {
    /// How long they were. 0: there are none yet.
    pub seconds: f64,
    /// The network between the boxes, there and back.
    pub round_trip: Quantiles,
    /// The other side's delay.
    pub server_delay: Quantiles,
    /// Packets that came back with an option that verified.
    pub accepted: u64,
    /// Numbers that never came.
    pub lost: u64,
    /// Packets that came behind a later one.
    pub late: u64,
    /// Packets that came again.
    pub duplicates: u64,
}

impl Recent {
    /// The part of the other side's packets that never came, from 0 to 1.
    #[must_use]
    pub fn loss(&self) -> f64 {
        loss(self.lost, self.accepted)
    }
}

impl Moment {
    /// The part of the other side's packets that never came, from 0 to 1.
    #[must_use]
    pub fn loss(&self) -> f64 {
        loss(self.lost, self.accepted)
    }
}

fn loss(lost: u64, accepted: u64) -> f64 {
    if lost == 0 { 0.0 } else { lost as f64 / lost.saturating_add(accepted) as f64 }
}
