//! What passes in a second: two samples of the counters are kept, taken by the clock and not when somebody asks, so that nobody's
//! asking changes what others see.

use crate::observe::counts::Counts;
use pipeline::observe::counter::Counter;
use pipeline::observe::counters::{DirectionCounters, WorkerCounters};
use pipeline::observe::reasons::REASONS;
use pipeline::state::rules::Rules;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// From one sample to the next.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// One outcome's counters.
pub type Outcome = fn(&DirectionCounters) -> &[Counter; REASONS];
/// The outcomes that have reasons.
pub const OUTCOMES: [(&str, Outcome); 3] =
    [("passed", |d| &d.passed), ("stripped", |d| &d.stripped), ("dropped", |d| &d.dropped)];

/// The counters at one moment.
#[derive(Clone, Debug)]
pub struct Sample {
    at: Instant,
    /// By direction: received, forwarded, dropped.
    pub directions: [[u64; 3]; 2],
    /// By direction, outcome and reason.
    pub reasons: [[[u64; REASONS]; 3]; 2],
    /// By worker: packets, bursts, empty polls.
    pub workers: Vec<[u64; 3]>,
}

impl Sample {
    fn of(at: Instant, workers: &[Arc<WorkerCounters>]) -> Self {
        let counts = Counts::of(workers, &Rules::default());
        let directions = counts.directions().map(|(_, d)| [d.received(), d.forwarded(), d.dropped()]);
        let reasons = counts.directions().map(|(_, d)| OUTCOMES.map(|(_, outcome)| d.sums(outcome)));
        let worker = |w: &Arc<WorkerCounters>| {
            [w.outbound.received.get() + w.inbound.received.get(), w.bursts.get(), w.empty_polls.get()]
        };
        Self { at, directions, reasons, workers: workers.iter().map(worker).collect() }
    }
}

/// The last two samples.
#[derive(Debug, Default)]
pub struct Rates(Mutex<[Option<Arc<Sample>>; 2]>);

impl Rates {
    /// Takes the next one.
    pub fn take(&self, workers: &[Arc<WorkerCounters>]) {
        self.take_at(Instant::now(), workers);
    }

    fn take_at(&self, at: Instant, workers: &[Arc<WorkerCounters>]) {
        let sample = Arc::new(Sample::of(at, workers));
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        samples.swap(0, 1);
        samples[1] = Some(sample);
    }

    /// What lies between them. `None`: there are no two yet.
    #[must_use]
    pub fn interval(&self) -> Option<Interval> {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [Some(before), Some(after)] = &*samples else { return None };
        let seconds = after.at.saturating_duration_since(before.at).as_secs_f64();
        (seconds > 0.0).then(|| Interval { seconds, before: Arc::clone(before), after: Arc::clone(after) })
    }
}

/// What lies between two samples.
#[derive(Clone, Debug)]
pub struct Interval {
    /// How long it was.
    pub seconds: f64,
    before: Arc<Sample>,
    after: Arc<Sample>,
}

impl Interval {
    /// By how much a counter has grown.
    pub fn grown(&self, of: impl Fn(&Sample) -> Option<u64>) -> u64 {
        of(&self.after).unwrap_or(0).saturating_sub(of(&self.before).unwrap_or(0))
    }

    /// The same in a second.
    pub fn per_second(&self, of: impl Fn(&Sample) -> Option<u64>) -> f64 {
        self.grown(of) as f64 / self.seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_the_last_interval() {
        let (worker, rates, start) = (Arc::new(WorkerCounters::default()), Rates::default(), Instant::now());
        let received = |interval: &Interval| interval.per_second(|s| Some(s.directions[0][0]));
        rates.take_at(start, &[Arc::clone(&worker)]);
        assert!(rates.interval().is_none());
        for (ms, packets, expected) in [(1000, 500, 500.0), (3000, 500, 250.0), (3500, 0, 0.0)] {
            worker.outbound.received.add(packets);
            rates.take_at(start + Duration::from_millis(ms), &[Arc::clone(&worker)]);
            assert_eq!(rates.interval().as_ref().map(received), Some(expected));
        }
        let interval = rates.interval().expect("one");
        assert_eq!(interval.grown(|s| s.workers.get(7).map(|w| w[0])), 0, "there is no such worker");
    }
}
