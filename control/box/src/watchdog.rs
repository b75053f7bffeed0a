//! Looks whether the box makes progress, and tells systemd that it does (`sd_notify`, where there is a socket for it): ready, how it
//! stands, alive, stopping. A worker or the control thread that stands still is told of no more, so that systemd starts the box
//! again (`WatchdogSec=` of the unit).
//!
//! A thread of its own: neither what waits for systemd nor what stands still is to hold up the other.

use crate::status::Status;
use pipeline::observe::counters::WorkerCounters;
use pipeline::state::shared::Shared;
use sd_notify::NotifyState;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// It looks so often.
const STEP: Duration = Duration::from_millis(200);
/// What the box says of itself is said anew after this, if it has changed.
const SAY: Duration = Duration::from_secs(5);

/// What is looked at.
pub struct Watched {
    /// What each worker counts: polls among it.
    pub workers: Vec<Arc<WorkerCounters>>,
    /// What the control thread knows, and its turns.
    pub status: Arc<Status>,
    /// The flow table.
    pub shared: Arc<Shared>,
}

/// Looks until it is dropped.
pub struct Watchdog {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Says that the box is ready, and looks from now on.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(watched: Watched) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new().name("watchdog".into()).spawn(move || {
            let mut watching = Watching::new(watched, sd_notify::watchdog_enabled(), Instant::now());
            tell(&[NotifyState::Ready]);
            let ended = loop {
                match stopped.recv_timeout(STEP) {
                    Err(RecvTimeoutError::Timeout) => watching.look(Instant::now(), &tell),
                    ended => break ended,
                }
            };
            if ended.is_err() {
                tell(&[NotifyState::Stopping]);
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Watchdog {
    /// Ends without a word: the box goes on in another process, and is not stopping.
    pub fn end_quietly(self) {
        if let Some(stop) = &self.stop {
            let _ = stop.send(()); // it has ended
        }
    }
}

/// From now on systemd hears that process of the box, and no longer this one.
pub fn main_process_is(process: u32) {
    tell(&[NotifyState::MainPid(process)]);
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Nobody listens, or not at the moment: the box forwards all the same.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd cannot be told");
    }
}

/// Something that makes turns, and when it was last seen to.
#[derive(Clone, Copy)]
struct Turns {
    count: u64,
    since: Instant,
}

impl Turns {
    fn look(&mut self, count: u64, now: Instant) {
        if count != self.count {
            *self = Self { count, since: now };
        }
    }
}

struct Watching {
    watched: Watched,
    workers: Vec<Turns>,
    control: Turns,
    /// Who stands still for so long is not told of. Half of systemd's time: the other half is for the telling.
    limit: Option<Duration>,
    alive: Option<Instant>,
    still: bool,
    said: (Instant, String),
}

impl Watching {
    fn new(watched: Watched, watchdog: Option<Duration>, now: Instant) -> Self {
        let turns = Turns { count: 0, since: now };
        let workers = vec![turns; watched.workers.len()];
        watched.status.set_turns(vec![now; workers.len()]);
        let limit = watchdog.map(|time| time / 2);
        Self { watched, workers, control: turns, limit, alive: None, still: false, said: (now, String::new()) }
    }

    fn look(&mut self, now: Instant, tell: &dyn Fn(&[NotifyState<'_>])) {
        for (turns, worker) in self.workers.iter_mut().zip(&self.watched.workers) {
            let counts = [&worker.bursts, &worker.empty_polls, &worker.taken_over];
            turns.look(counts.iter().fold(0, |sum, count| sum.wrapping_add(count.get())), now);
        }
        self.control.look(self.watched.status.control_turns.load(Relaxed), now);
        self.watched.status.set_turns(self.workers.iter().map(|turns| turns.since).collect());
        let Some(limit) = self.limit else { return self.say(now, tell) };
        let still = self.standing_still(now, limit);
        match still {
            None => {
                self.still = false;
                if self.alive.is_none_or(|last| now.saturating_duration_since(last) >= limit / 2) {
                    self.alive = Some(now);
                    tell(&[NotifyState::Watchdog]);
                }
                self.say(now, tell);
            }
            Some(who) if !self.still => {
                self.still = true;
                let seconds = limit.as_secs_f64();
                tracing::error!(
                    "{who} has stood still for {seconds} s; systemd is no longer told that the box is alive"
                );
                tell(&[NotifyState::Status(&format!("{who} stands still"))]);
            }
            Some(_) => {}
        }
    }

    /// The first that has made no turn for so long.
    fn standing_still(&self, now: Instant, limit: Duration) -> Option<String> {
        let still = |turns: &Turns| now.saturating_duration_since(turns.since) >= limit;
        match self.workers.iter().position(still) {
            Some(worker) => Some(format!("worker {worker}")),
            None => still(&self.control).then(|| "the control thread".to_owned()),
        }
    }

    /// How the box stands, when that has changed.
    fn say(&mut self, now: Instant, tell: &dyn Fn(&[NotifyState<'_>])) {
        let (last, before) = &mut self.said;
        if !before.is_empty() && now.saturating_duration_since(*last) < SAY {
            return;
        }
        *last = now;
        let Watched { status, shared, .. } = &self.watched;
        let seals = match status.generation() {
            Some(generation) => format!("seals under generation {generation}"),
            None => "passes packets without the option: no key to seal with".to_owned(),
        };
        let says = format!("{seals}; {} flows of {}", shared.table.used(), shared.table.capacity());
        if says != *before {
            tell(&[NotifyState::Status(&says)]);
            *before = says;
        }
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
