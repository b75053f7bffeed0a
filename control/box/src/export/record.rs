//! What is told of a flow.

use pipeline::flow::figures::FlowFigures;
use protocol::five_tuple::FiveTuple;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Why there is a record: the values of flowEndReason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndReason {
    /// No packet came for long.
    Idle = 1,
    /// The flow goes on.
    Active = 2,
    /// The box stops.
    Forced = 4,
}

impl EndReason {
    /// As JSON has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Active => "active",
            Self::Forced => "stop",
        }
    }
}

/// What is told of a flow at one moment. It is told of the packets that come from the network, since those have the other
/// side's numbers: the source is the far end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlowRecord {
    /// Of packets from outside to inside.
    pub tuple: FiveTuple,
    /// When the flow came into the table, milliseconds since 1970.
    pub start_ms: u64,
    /// Its last packet.
    pub end_ms: u64,
    /// Why there is this record.
    pub reason: EndReason,
    /// Its policy's name; empty: that is no more.
    pub policy: Arc<str>,
    /// Packets that came since the flow's last record.
    pub packets: u64,
    /// All since the start.
    pub figures: FlowFigures,
}

impl FlowRecord {
    /// A flow's, of whose packets `told` were in its earlier records.
    #[must_use]
    pub fn new(figures: FlowFigures, told: u64, policy: &str, reason: EndReason, now: SystemTime) -> Self {
        let before = |ns: u64| {
            let then = now.checked_sub(Duration::from_nanos(ns)).unwrap_or(UNIX_EPOCH);
            then.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis().min(u128::from(u64::MAX)) as u64)
        };
        let (start_ms, end_ms) = (before(figures.age_ns), before(figures.idle_ns));
        Self {
            tuple: figures.tuple.reversed(),
            start_ms,
            // Both are rounded.
            end_ms: end_ms.max(start_ms),
            reason,
            policy: policy.into(),
            packets: figures.received.saturating_sub(told),
            figures,
        }
    }
}
