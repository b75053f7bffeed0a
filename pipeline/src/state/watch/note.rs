//! What was seen of one packet.

use crate::flow::figures::FlowFigures;
use crate::observe::counters::Outcome;
use crate::observe::reasons::Reason;
use crate::state::rules::PolicyId;
use protocol::five_tuple::FiveTuple;
use protocol::wire::option::{Form, Metrics, Prefix6};

/// Which way a packet goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Direction {
    /// Towards the network.
    #[default]
    Outbound,
    /// Coming back.
    Inbound,
}

/// Where packets are looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Point {
    /// Every packet, wherever it gets to.
    #[default]
    Any,
    /// At the inside port: as hosts send and receive them.
    Inside,
    /// At the outside port: as they are on the network.
    Outside,
    /// As they came, those that were dropped.
    Dropped,
}

/// The front of a frame.
#[derive(Debug)]
pub struct Octets {
    room: Box<[u8]>,
    copied: usize,
    frame: usize,
}

impl Octets {
    fn new(room: usize) -> Self {
        Self { room: vec![0; room].into(), copied: 0, frame: 0 }
    }

    /// As much of it as was copied.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.room.get(..self.copied).unwrap_or_default()
    }

    /// Octets of the whole frame.
    #[must_use]
    pub const fn frame_len(&self) -> usize {
        self.frame
    }

    pub(crate) fn copy(&mut self, data: &[u8], frame: usize) {
        let copied = data.len().min(self.room.len());
        if let (Some(into), Some(from)) = (self.room.get_mut(..copied), data.get(..copied)) {
            into.copy_from_slice(from);
        }
        (self.copied, self.frame) = (copied, frame);
    }
}

/// The option that is on the network's side of the box.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OptionSeen {
    /// Its form.
    pub form: Form,
    /// Its fields in clear; PDM has none.
    pub head: Option<Prefix6>,
    /// What it measures, as far as it could be read: in clear, or opened with the key that the flow has at hand.
    pub metrics: Option<Metrics>,
    /// Generation and Kri of the key that opens it.
    pub key: Option<(u32, u32)>,
}

/// What was seen of one packet. What its flow says is of the end of its burst: packets of the same flow in it count too.
#[derive(Debug)]
pub struct Note {
    /// When its burst was begun, on the workers' clock.
    pub at_ns: u64,
    /// The worker.
    pub worker: u16,
    /// Which way it goes.
    pub direction: Direction,
    /// The worker that has handed it over.
    pub from: Option<u16>,
    /// As it came.
    pub before: Octets,
    /// As it left; empty of a packet that did not.
    pub after: Octets,
    /// The 5-tuple of its flow, from inside to outside; or why it has none.
    pub tuple: Result<FiveTuple, Reason>,
    /// The option it came with.
    pub came_with: Option<Form>,
    /// Its option on the network's side.
    pub option: Option<OptionSeen>,
    /// The policy of its flow.
    pub policy: Option<PolicyId>,
    /// Its flow before; `None`: it was not in the table.
    pub flow_before: Option<FlowFigures>,
    /// The same behind its burst.
    pub flow: Option<FlowFigures>,
    /// What became of it.
    pub outcome: Outcome,
}

impl Note {
    pub(super) fn new(snaplen: usize) -> Self {
        Self {
            at_ns: 0,
            worker: 0,
            direction: Direction::default(),
            from: None,
            before: Octets::new(snaplen),
            after: Octets::new(snaplen),
            tuple: Err(Reason::NotIpv6),
            came_with: None,
            option: None,
            policy: None,
            flow_before: None,
            flow: None,
            outcome: Outcome::Passed(Reason::Off),
        }
    }

    /// Whether it left at the other port.
    #[must_use]
    pub const fn is_forwarded(&self) -> bool {
        !matches!(self.outcome, Outcome::Dropped(_) | Outcome::TooBig | Outcome::HandedOver(_))
    }

    /// Its octets at this point, if it came there.
    #[must_use]
    pub fn at(&self, point: Point) -> Option<&Octets> {
        // A packet that was handed over is noted again by whoever took it.
        let (came, left) = (self.from.is_none().then_some(&self.before), self.is_forwarded().then_some(&self.after));
        match (point, self.direction) {
            (Point::Any, _) => Some(&self.before),
            (Point::Dropped, _) => matches!(self.outcome, Outcome::Dropped(_)).then_some(&self.before),
            (Point::Inside, Direction::Outbound) | (Point::Outside, Direction::Inbound) => came,
            (Point::Inside, Direction::Inbound) | (Point::Outside, Direction::Outbound) => left,
        }
    }
}
