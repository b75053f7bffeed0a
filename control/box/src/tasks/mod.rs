//! What the control thread does beside the workers: a list of named tasks, each with its period, each in its file.
//!
//! A task is given the time and never waits: what it waited for would hold up all others.

pub mod ageing;
pub mod exporting;
pub mod handing_over;
pub mod keys;
pub mod links;
pub mod paths;
pub mod resumption;
pub mod resync;

use std::time::{Duration, Instant};

/// The control loop's step: tasks of the packet path's own housekeeping have this period.
pub const STEP: Duration = Duration::from_millis(10);
/// The period of what nobody waits for.
pub const SLOW: Duration = Duration::from_millis(200);

/// A moment, on the clocks that tasks go by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// Since the box started.
    pub since_start: Duration,
    /// The system's clock.
    pub at: Instant,
    /// The workers' clock, nanoseconds.
    pub ns: u64,
}

/// Something that is done now and then.
pub trait Task {
    /// What it is called in the log.
    fn name(&self) -> &'static str;
    /// Time from one run to the next, at least; zero: at every turn of the loop.
    fn period(&self) -> Duration;
    /// Does it once.
    fn run(&mut self, now: Now);
}

/// The tasks in the order in which they are done when several are due.
pub struct Schedule(Vec<Entry>);

struct Entry {
    task: Box<dyn Task>,
    /// When it is due, since the box started.
    due: Duration,
}

impl Schedule {
    /// All of them are due at once.
    #[must_use]
    pub fn new(tasks: Vec<Box<dyn Task>>) -> Self {
        Self(tasks.into_iter().map(|task| Entry { task, due: Duration::ZERO }).collect())
    }

    /// Does what is due. What is late is done once, not as often as it was missed.
    pub fn turn(&mut self, now: Now) {
        for Entry { task, due } in &mut self.0 {
            if now.since_start >= *due {
                *due = now.since_start + task.period();
                task.run(now);
            }
        }
    }

    /// Names and periods, for the log.
    #[must_use]
    pub fn describe(&self) -> String {
        let each = self.0.iter().map(|Entry { task, .. }| match task.period() {
            Duration::ZERO => format!("{} at every turn", task.name()),
            period => format!("{} every {} ms", task.name(), period.as_millis()),
        });
        each.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    /// So many milliseconds after the start.
    pub fn at(ms: u64) -> Now {
        Now { since_start: Duration::from_millis(ms), at: Instant::now(), ns: 1 + ms * 1_000_000 }
    }

    struct Noted(&'static str, u64, Rc<RefCell<Vec<(&'static str, u128)>>>);

    impl Task for Noted {
        fn name(&self) -> &'static str {
            self.0
        }

        fn period(&self) -> Duration {
            Duration::from_millis(self.1)
        }

        fn run(&mut self, now: Now) {
            self.2.borrow_mut().push((self.0, now.since_start.as_millis()));
        }
    }

    #[test]
    fn tasks_run_in_their_order_each_in_its_period_and_the_late_once() {
        let noted = Rc::<RefCell<Vec<_>>>::default();
        let task = |name, period| Box::new(Noted(name, period, Rc::clone(&noted))) as Box<dyn Task>;
        let mut schedule = Schedule::new(vec![task("always", 0), task("step", 10), task("slow", 200)]);
        assert_eq!(schedule.describe(), "always at every turn, step every 10 ms, slow every 200 ms");
        for ms in [0, 3, 10, 12, 700, 705, 710] {
            schedule.turn(at(ms));
        }
        let of = |name| noted.borrow().iter().filter(|(n, _)| *n == name).map(|(_, ms)| *ms).collect::<Vec<_>>();
        assert_eq!(of("always"), [0, 3, 10, 12, 700, 705, 710]);
        assert_eq!(of("step"), [0, 10, 700, 710]);
        assert_eq!(of("slow"), [0, 700]);
        let first: Vec<_> = noted.borrow().iter().take(3).map(|(name, _)| *name).collect();
        assert_eq!(first, ["always", "step", "slow"]);
    }
}
