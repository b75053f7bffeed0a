//! What was measured of one flow, for those who ask.

use crate::flow::record::WholeFlow;
use protocol::five_tuple::FiveTuple;
use protocol::sync::Ordering;

/// One kind of time of a flow, nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
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

/// What was measured of a flow. All of it since the flow came into the table, and as far as the other side's options told it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlowFigures {
    /// From inside to outside.
    pub tuple: FiveTuple,
    /// The word of its policy ([`Rules::id_of`](crate::state::rules::Rules::id_of)).
    pub policy: u32,
    /// The worker that numbers its packets.
    pub owner: u16,
    /// Nanoseconds since it came into the table, exact to some 17 ms.
    pub age_ns: u64,
    /// Nanoseconds since the last packet of either direction.
    pub idle_ns: u64,
    /// Packets that came back with an option that verified, copies not counted.
    pub received: u64,
    /// Numbers of the other side that never came: loss on the way here.
    pub lost: u64,
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
    /// End to end: both together.
    pub end_to_end: Times,
    /// End to end as the other side has measured it, as far as its DeltaTLS tells: from a packet of its to the receipt of this
    /// side's last answer to it.
    pub told_end_to_end: Times,
    /// Packets a second of the other box, all flows together, by its Global Pointer.
    pub peer_packets_per_second: Option<u64>,
}

impl WholeFlow<'_> {
    /// What was measured of the flow; `now` on the workers' clock.
    #[must_use]
    pub fn figures(&self, now: u64) -> FlowFigures {
        FlowFigures {
            tuple: self.back.tuple(),
            policy: self.back.policy(),
            owner: self.front.owner(),
            age_ns: self.age(now),
            idle_ns: self.idle(now),
            received: self.back.received(),
            lost: self.back.lost(),
            duplicates: self.back.duplicates(),
            late: self.back.late.load(Ordering::Relaxed),
            failed: self.back.failed.load(Ordering::Relaxed),
            round_trip: self.back.measured.round_trip(),
            server_delay: self.back.measured.server_delay(),
            end_to_end: self.back.measured.end_to_end(),
            told_end_to_end: self.back.measured.told(),
            peer_packets_per_second: self.back.measured.rate(now),
        }
    }
}
