//! What is measured of packets that were accepted: by flow, by policy, and of all flows together.

use crate::flow::record::WholeFlow;
use crate::observe::counters::{PolicyCounters, WorkerCounters};
use crate::ports::BURST;
use crate::state::rules::{Diagnostics, Rules};
use protocol::delta_time::{self, Scaled};
use protocol::meter::Sample;
use protocol::receiver::Verdict;
use protocol::wire::option::Metrics;

/// So many packets of a burst that tell times have them kept by flow and policy, and one more.
const KEPT: usize = 1;
/// All of a burst that have.
pub(super) const MOST_KEPT: usize = KEPT + 1;

/// A burst's.
pub(super) struct Measuring<'a> {
    pub(super) counters: &'a WorkerCounters,
    rules: &'a Rules,
    /// When the burst is worked on.
    pub(super) now: u64,
    /// Whether times are kept by flow and policy.
    by_flow: bool,
    /// The policy asked for last: packets that follow one another mostly have it in common.
    policy: Option<(u32, &'a PolicyCounters)>,
    /// Packets that told times so far, and the place of one among them that is kept though there were others before.
    answers: usize,
    turn: usize,
    /// Whether a flow has noted how far the other box is.
    pointed: bool,
    /// Times that were counted, to be added up once.
    round_trip_ns: u64,
    server_delay_ns: u64,
}

impl<'a> Measuring<'a> {
    #[inline]
    pub(super) fn new(rules: &'a Rules, counters: &'a WorkerCounters, now: u64) -> Self {
        let by_flow = rules.config.diagnostics == Diagnostics::Flows;
        let turn = KEPT + counters.bursts.get() as usize % (BURST - KEPT);
        Self {
            counters,
            rules,
            now,
            by_flow,
            policy: None,
            answers: 0,
            turn,
            pointed: false,
            round_trip_ns: 0,
            server_delay_ns: 0,
        }
    }

    /// Ends the burst.
    #[inline]
    pub(super) fn end(self) {
        self.counters.round_trip.add_up(self.round_trip_ns);
        self.counters.server_delay.add_up(self.server_delay_ns);
    }

    #[inline]
    fn of(&mut self, policy: u32) -> Option<&'a PolicyCounters> {
        if let Some((_, counters)) = self.policy.filter(|(before, _)| *before == policy) {
            return Some(counters);
        }
        let counters = self.rules.counters(policy, self.counters.worker)?;
        self.policy = Some((policy, counters));
        Some(counters)
    }

    /// All of a packet that was accepted, and when it came.
    pub(super) fn take(
        &mut self,
        flow: WholeFlow<'_>,
        policy: u32,
        verdict: Verdict,
        metrics: &Metrics,
        came: u64,
        is_bare: impl FnOnce() -> bool,
    ) {
        let late = self.gaps(flow, policy, verdict);
        self.seen(flow, metrics);
        let sample = sample(flow, metrics, late, came, is_bare);
        if self.count(&sample) {
            self.keep(flow, policy, metrics, &sample);
        }
    }

    /// A packet that came in clear. Copies are accepted too.
    pub(super) fn take_clear(
        &mut self,
        flow: WholeFlow<'_>,
        policy: u32,
        metrics: &Metrics,
        alone: bool,
        came: u64,
        is_bare: impl FnOnce() -> bool,
    ) {
        let verdict = flow.back.follow_clear(metrics.psntp);
        match verdict {
            Verdict::Fresh { skipped, late: false, .. } => {
                if flow.back.count_in_clear(u64::from(skipped) + 1, alone) {
                    flow.count_if_split(self.counters);
                }
            }
            Verdict::Fresh { .. } => {}
            Verdict::Replayed | Verdict::TooOld => self.duplicate(flow, policy),
        }
        self.take(flow, policy, verdict, metrics, came, is_bare);
    }

    /// What a packet's number says of those before it. Gives whether it measures nothing, since a later one came before.
    #[inline]
    pub(super) fn gaps(&mut self, flow: WholeFlow<'_>, policy: u32, verdict: Verdict) -> bool {
        let Verdict::Fresh { skipped, late, found } = verdict else { return true };
        if skipped > 0 || late {
            self.count_gaps(flow, policy, skipped, late, found);
        }
        late
    }

    fn count_gaps(&mut self, flow: WholeFlow<'_>, policy: u32, skipped: u32, late: bool, found: bool) {
        self.counters.skipped.add(u64::from(skipped));
        self.counters.reordered.add(u64::from(late));
        flow.back.count_gaps(skipped, late, found);
        let Some(policy) = self.of(policy) else { return };
        policy.late.add(u64::from(late));
        if skipped > 0 {
            policy.skip(skipped);
        }
        if found {
            policy.find();
        }
    }

    /// A packet came again.
    #[cold]
    pub(super) fn duplicate(&mut self, flow: WholeFlow<'_>, policy: u32) {
        flow.back.count_duplicate();
        if let Some(policy) = self.of(policy) {
            policy.duplicates.add(1);
        }
    }

    /// Notes that a flow is there still, and now and then how far the other box is: of one flow in a burst at the most, since it
    /// is a line that nobody has asked for.
    #[inline]
    pub(super) fn seen(&mut self, flow: WholeFlow<'_>, metrics: &Metrics) {
        let now = self.now;
        // An option without a Global Pointer has 0.
        if flow.back.seen(now) && self.by_flow && !self.pointed && metrics.global_pointer != 0 {
            self.pointed = true;
            flow.back.measured.pointer(metrics.global_pointer, now);
        }
    }

    /// Counts the times that a packet told for all flows together. Gives whether they are to be kept by flow and policy, too:
    /// those of the first of a burst, and of one more whose place goes round. Under load that is one in sixteen, and costs no more
    /// however many answer; where bursts are short it is all of them.
    #[inline]
    pub(super) fn count(&mut self, sample: &Sample) -> bool {
        if sample.server_delay_ns.or(sample.round_trip_ns).is_none() {
            return false;
        }
        if let Some(server_delay_ns) = sample.server_delay_ns {
            self.counters.server_delay.count(server_delay_ns);
            self.server_delay_ns = self.server_delay_ns.wrapping_add(server_delay_ns);
        }
        if let Some(round_trip_ns) = sample.round_trip_ns {
            self.counters.round_trip.count(round_trip_ns);
            self.round_trip_ns = self.round_trip_ns.wrapping_add(round_trip_ns);
        }
        let place = self.answers;
        self.answers += 1;
        self.by_flow && (place < KEPT || place == self.turn)
    }

    /// Keeps the times that a packet told by flow and policy.
    pub(super) fn keep(&mut self, flow: WholeFlow<'_>, policy: u32, metrics: &Metrics, sample: &Sample) {
        flow.back.measured.take(sample);
        if sample.is_told {
            flow.back.measured.tell(nanos(metrics.delta_tls, metrics.scale_dtls));
        }
        let Some(policy) = self.of(policy) else { return };
        let kinds = [
            (&policy.server_delay, sample.server_delay_ns),
            (&policy.end_to_end, sample.end_to_end_ns),
            (&policy.round_trip, sample.round_trip_ns),
        ];
        for (histogram, ns) in kinds {
            if let Some(ns) = ns {
                histogram.record(ns);
            }
        }
    }
}

/// What a packet's metrics, which came at this time, say of the path; the flow's next packet will answer them. Whether it is a TCP segment
/// without data is only asked if that matters.
#[inline]
pub(super) fn sample(
    flow: WholeFlow<'_>,
    metrics: &Metrics,
    late: bool,
    came: u64,
    is_bare: impl FnOnce() -> bool,
) -> Sample {
    if late {
        flow.meter.on_late(metrics.psntp, came);
        return Sample::default();
    }
    let delay = || nanos(metrics.delta_tlr, metrics.scale_dtlr);
    flow.meter.on_receive_of(metrics.psntp, metrics.psnlr, metrics.delta_tlr == 0, came, delay, is_bare)
}

#[inline]
fn nanos(value: u16, scale: u8) -> u64 {
    delta_time::to_nanos(Scaled { value, scale })
}
