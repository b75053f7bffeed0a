//! Looks whether the box makes progress, and has systemd told that it does ([`common::systemd`]): a worker or the control thread that
//! stands still is told of no more.

use crate::status::Status;
use common::systemd::{Telling, Turns, Watchdog, patience, tell};
use pipeline::observe::counters::WorkerCounters;
use pipeline::state::shared::Shared;
use sd_notify::NotifyState;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// What is looked at.
pub struct Watched {
    /// What each worker counts: polls among it.
    pub workers: Vec<Arc<WorkerCounters>>,
    /// What the control thread knows, and its turns.
    pub status: Arc<Status>,
    /// The flow table.
    pub shared: Arc<Shared>,
}

/// Says that the box is ready, and looks from now on.
///
/// # Errors
/// The system gives no thread.
pub fn start(watched: Watched) -> std::io::Result<Watchdog> {
    let mut watching = Watching::new(watched, patience(), Instant::now());
    Watchdog::start(move |now| watching.look(now, &tell))
}

struct Watching {
    watched: Watched,
    workers: Vec<Turns>,
    control: Turns,
    telling: Telling,
}

impl Watching {
    fn new(watched: Watched, patience: Option<Duration>, now: Instant) -> Self {
        let turns = Turns::from(now);
        let workers = vec![turns; watched.workers.len()];
        watched.status.set_turns(vec![now; workers.len()]);
        Self { watched, workers, control: turns, telling: Telling::new(patience, now) }
    }

    fn look(&mut self, now: Instant, tell: &dyn Fn(&[NotifyState<'_>])) {
        for (turns, worker) in self.workers.iter_mut().zip(&self.watched.workers) {
            let counts = [&worker.bursts, &worker.empty_polls, &worker.taken_over];
            turns.look(counts.iter().fold(0, |sum, count| sum.wrapping_add(count.get())), now);
        }
        self.control.look(self.watched.status.control_turns.load(Relaxed), now);
        self.watched.status.set_turns(self.workers.iter().map(|turns| turns.since).collect());
        let still = self.telling.limit.and_then(|limit| self.standing_still(now, limit));
        self.telling.look(now, still.as_deref(), || self.watched.stands(), tell);
    }

    /// The first that has made no turn for so long.
    fn standing_still(&self, now: Instant, limit: Duration) -> Option<String> {
        match self.workers.iter().position(|turns| turns.stand_still(limit, now)) {
            Some(worker) => Some(format!("worker {worker}")),
            None => self.control.stand_still(limit, now).then(|| "the control thread".to_owned()),
        }
    }
}

impl Watched {
    /// How the box stands, in a line.
    fn stands(&self) -> String {
        let seals = match self.status.generation() {
            Some(generation) => format!("seals under generation {generation}"),
            None => "passes packets without the option: no key to seal with".to_owned(),
        };
        format!("{seals}; {} flows of {}", self.shared.table.used(), self.shared.table.capacity())
    }
}

impl Status {
    /// When each worker was last seen to make a turn.
    fn set_turns(&self, turns: Vec<Instant>) {
        *self.turns.lock().unwrap_or_else(PoisonError::into_inner) = turns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::flow::table::{FlowTable, TableSize};
    use pipeline::state::rules::PathConfig;
    use pipeline::state::snapshot::SnapshotCell;
    use protocol::prseq::MasterKey;
    use std::cell::RefCell;

    struct Lab {
        watching: Watching,
        start: Instant,
        told: RefCell<Vec<String>>,
    }

    impl Lab {
        fn new(watchdog: Option<Duration>) -> Self {
            let table = FlowTable::new(TableSize { capacity: 64, tombstones: 64 }, [1; 16]);
            let shared = Shared::new(PathConfig::default(), table, SnapshotCell::default(), MasterKey::new([2; 32]), 2);
            let workers = (0..2).map(|i| Arc::new(WorkerCounters::new(i))).collect();
            let (start, status) = (Instant::now(), Arc::default());
            let watched = Watched { workers, status, shared: Arc::new(shared) };
            Self { watching: Watching::new(watched, watchdog, start), start, told: RefCell::default() }
        }

        /// What is told at this time, when these have made a turn: both workers, and the control thread.
        fn at(&mut self, ms: u64, turns: [bool; 3]) -> Vec<String> {
            let Watched { workers, status, .. } = &self.watching.watched;
            workers[0].empty_polls.add(u64::from(turns[0]));
            workers[1].bursts.add(u64::from(turns[1]));
            status.control_turns.fetch_add(u64::from(turns[2]), Relaxed);
            let tell =
                |states: &[NotifyState<'_>]| self.told.borrow_mut().extend(states.iter().map(ToString::to_string));
            self.watching.look(self.start + Duration::from_millis(ms), &tell);
            self.told.take()
        }
    }

    const ALIVE: &str = "WATCHDOG=1";

    #[test]
    fn it_is_alive_as_long_as_all_make_turns() {
        for who in 0..3 {
            let mut lab = Lab::new(Some(Duration::from_secs(4)));
            let mut alive = 0;
            for ms in (200..=20_000).step_by(200) {
                alive += lab.at(ms, [true; 3]).iter().filter(|told| *told == ALIVE).count();
            }
            assert_eq!(alive, 20, "once a second");
            let mut turns = [true; 3];
            turns[who] = false;
            let told: Vec<_> = (20_200..=40_000).step_by(200).map(|ms| (ms, lab.at(ms, turns))).collect();
            let last = told.iter().filter(|(_, told)| told.iter().any(|t| t == ALIVE)).map(|(ms, _)| *ms).next_back();
            assert!(last.is_some_and(|ms| ms < 22_000), "{last:?}");
            let said = ["worker 0", "worker 1", "the control thread"][who];
            let of_it = told.iter().flat_map(|(_, told)| told).filter(|told| told.contains(said)).count();
            assert_eq!(of_it, 1, "{told:?}");
            assert!(lab.at(40_200, [true; 3]).contains(&ALIVE.to_owned()), "it goes on");
        }
    }

    #[test]
    fn how_it_stands_is_said_when_it_changes() {
        let mut lab = Lab::new(None);
        let none = "STATUS=passes packets without the option: no key to seal with; 0 flows of 64";
        assert_eq!(lab.at(200, [true; 3]), [none]);
        assert_eq!(lab.at(400, [false; 3]), [""; 0], "nobody asks for signs of life");
        lab.watching.watched.status.set_keys(Some(7), None);
        assert_eq!(lab.at(600, [false; 3]), [""; 0], "not that often");
        assert_eq!(lab.at(5400, [false; 3]), ["STATUS=seals under generation 7; 0 flows of 64"]);
        assert_eq!(lab.at(20_000, [false; 3]), [""; 0]);
    }
}
