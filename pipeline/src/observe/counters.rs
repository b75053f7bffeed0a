//! What happened to every packet: its outcome, and the counters that each worker keeps for itself.

use crate::observe::counter::Counter;
use crate::observe::histogram::Histogram;
use crate::observe::reasons::{FINDINGS, REASONS, Reason};
use protocol::wire::option::Form;

/// One direction's counters.
#[derive(Debug)]
pub struct DirectionCounters {
    /// Packets received from the port.
    pub received: Counter,
    /// Options added (outbound) by form.
    pub added: [Counter; 3],
    /// Options taken out (inbound) by form.
    pub removed: [Counter; 3],
    /// Options checked and left in place (inbound) by form.
    pub verified: [Counter; 3],
    /// Packets passed as they came, by reason.
    pub passed: [Counter; REASONS],
    /// Packets whose option did not verify and was taken out, by reason.
    pub stripped: [Counter; REASONS],
    /// Packets dropped, by reason.
    pub dropped: [Counter; REASONS],
    /// Packets answered with ICMPv6 Packet Too Big.
    pub too_big: Counter,
}

impl Default for DirectionCounters {
    fn default() -> Self {
        let reasons = || core::array::from_fn(|_| Counter::default());
        Self {
            received: Counter::default(),
            added: Default::default(),
            removed: Default::default(),
            verified: Default::default(),
            passed: reasons(),
            stripped: reasons(),
            dropped: reasons(),
            too_big: Counter::default(),
        }
    }
}

/// What became of one packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It got an option.
    Added(Form),
    /// Its option verified and was taken out.
    Removed(Form),
    /// Its option verified and stays.
    Verified(Form),
    /// It goes on as it came.
    Passed(Reason),
    /// Its option did not verify and was taken out.
    Stripped(Reason),
    /// It is dropped.
    Dropped(Reason),
    /// It was turned into an ICMPv6 Packet Too Big and goes back.
    TooBig,
    /// It is as it came, and this worker's, which owns its flow: what becomes of it is counted there.
    HandedOver(u16),
}

impl DirectionCounters {
    /// Counts packets of one outcome.
    #[inline]
    pub fn count(&self, outcome: Outcome, packets: u64) {
        let counter = match outcome {
            Outcome::Added(form) => &self.added[form as usize],
            Outcome::Removed(form) => &self.removed[form as usize],
            Outcome::Verified(form) => &self.verified[form as usize],
            Outcome::Passed(reason) => &self.passed[reason as usize],
            Outcome::Stripped(reason) => &self.stripped[reason as usize],
            Outcome::Dropped(reason) => &self.dropped[reason as usize],
            Outcome::TooBig => &self.too_big,
            Outcome::HandedOver(_) => return,
        };
        counter.add(packets);
    }
}

/// What one worker counts of one policy.
#[derive(Debug, Default)]
pub struct PolicyCounters {
    /// Options added.
    pub added: Counter,
    /// Options that verified.
    pub accepted: Counter,
    /// Options that did not.
    pub failed: Counter,
    /// Numbers of the other side that were skipped when a later one came.
    pub skipped: Counter,
    /// Of them those that came after all.
    pub found: Counter,
    /// Those that never came. It goes down when one is found; of all workers together it is [`PolicyCounters::lost_of`].
    pub lost: Counter,
    /// Packets that came again.
    pub duplicates: Counter,
    /// Packets that came behind a later one.
    pub late: Counter,
    /// Round-trip times between the boxes.
    pub round_trip: Histogram,
    /// Delays at the other side.
    pub server_delay: Histogram,
    /// Both together.
    pub end_to_end: Histogram,
}

impl PolicyCounters {
    /// Counts numbers that were skipped.
    pub fn skip(&self, skipped: u32) {
        self.skipped.add(u64::from(skipped));
        self.count_lost();
    }

    /// Counts a number that was skipped before, by this worker or by another one, and has come.
    pub fn find(&self) {
        self.found.add(1);
        self.count_lost();
    }

    fn count_lost(&self) {
        let lost = self.skipped.get().saturating_sub(self.found.get());
        self.lost.add(lost.wrapping_sub(self.lost.get()));
    }

    /// Numbers that never came, of all workers: one may have found what another had skipped.
    pub fn lost_of<'a>(workers: impl IntoIterator<Item = &'a Self>) -> u64 {
        let sum = |(skipped, found): (u64, u64), worker: &Self| {
            (skipped.wrapping_add(worker.skipped.get()), found.wrapping_add(worker.found.get()))
        };
        let (skipped, found) = workers.into_iter().fold((0, 0), sum);
        skipped.saturating_sub(found)
    }
}

/// Everything one worker counts.
#[derive(Debug, Default)]
pub struct WorkerCounters {
    /// Which worker it is: what it counts by policy stands at this place ([`Standing`](crate::state::standing::Standing)).
    pub worker: usize,
    /// From inside to outside.
    pub outbound: DirectionCounters,
    /// From outside to inside.
    pub inbound: DirectionCounters,
    /// Bursts that held packets.
    pub bursts: Counter,
    /// Polls that found none.
    pub empty_polls: Counter,
    /// Packets handed over to the workers that own their flows.
    pub handed_over: Counter,
    /// Packets taken over from other workers. (Those that came back from a worker that had ended are among them.)
    pub taken_over: Counter,
    /// Packets that could not be handed over.
    pub refused: Counter,
    /// Flows given to the workers that their packets come to.
    pub flows_given: Counter,
    /// Flows of other workers, of which the first packet came to this one: mostly such whose directions do not meet.
    pub flows_split: Counter,
    /// Packets from outside that were taken to have come when the port says.
    pub stamps_used: Counter,
    /// Packets from outside of which the port says what cannot be.
    pub stamps_refused: Counter,
    /// Packet sequence numbers that were skipped when a later one came: lost, or reordered.
    pub skipped: Counter,
    /// Packets that came behind a later one.
    pub reordered: Counter,
    /// Kri changes seen in packets opened.
    pub rotations: Counter,
    /// Kri changes made in packets sealed.
    pub rotations_sealed: Counter,
    /// Session keys derived.
    pub derivations: Counter,
    /// Openings tried beyond a packet's first.
    pub trials: Counter,
    /// Flows put into the table.
    pub flows_inserted: Counter,
    /// Genuine packets let through without a record, since the flow table was full.
    pub unrecorded: Counter,
    /// TCP SYNs whose MSS was lowered.
    pub mss_clamped: Counter,
    /// ICMPv6 errors that quote an option, by [`Finding`](crate::observe::reasons::Finding).
    pub quotations: [Counter; FINDINGS],
    /// Changes of what is known of paths.
    pub path_mtus_learnt: Counter,
    /// Packets that were copied to be changed, since their buffer may not be written to.
    pub copied: Counter,
    /// Round-trip times between the boxes.
    pub round_trip: Histogram,
    /// Delays at the other side.
    pub server_delay: Histogram,
}

impl WorkerCounters {
    /// The counters of this worker.
    #[must_use]
    pub fn new(worker: usize) -> Self {
        Self { worker, ..Self::default() }
    }
}
