//! The packets of a burst that get an option.

use crate::flow::record::WholeFlow;
use crate::observe::counters::WorkerCounters;
use crate::observe::reasons::Reason;
use crate::ports::BURST;
use arrayvec::ArrayVec;
use protocol::sender::Number;
use protocol::wire::dest_opts::InsertPlan;
use protocol::wire::option::Form;

/// A packet that is to get an option. Small, since there are many of them: what only few need is in [`Plans`].
pub(super) struct Chosen<'a> {
    pub(super) flow: WholeFlow<'a>,
    /// Set when all of the burst are chosen.
    pub(super) number: Number,
    /// The place of its policy among the rules.
    pub(super) policy: u32,
    pub(super) packet: u8,
    /// Which of the plans is its own; `None`: it is of the plain shape.
    pub(super) plan: Option<u8>,
    pub(super) form: Form,
    pub(super) link_local: bool,
    /// Its Global Pointer, if its form has one. Set with the number.
    pub(super) pointer: u32,
}

/// Why a packet is not chosen.
pub(super) enum Not {
    /// It passes as it came, or is answered.
    For(Reason),
    /// Its flow is this other worker's.
    Of(u16),
}

impl<E: Into<Reason>> From<E> for Not {
    fn from(reason: E) -> Self {
        Self::For(reason.into())
    }
}

impl Not {
    /// Goes on when the flow is this worker's.
    pub(super) fn unless_owned(flow: WholeFlow<'_>, worker: u16, counters: &WorkerCounters) -> Result<(), Self> {
        match flow.owner() {
            owner if owner == worker => Ok(()),
            owner => {
                flow.count_if_split(counters);
                Err(Self::Of(owner))
            }
        }
    }
}

/// Where the IPv6 header is and where the option goes, of packets that are not of the plain shape.
pub(super) type Plans = ArrayVec<(usize, InsertPlan), BURST>;
