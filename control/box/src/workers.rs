//! The workers' threads, and what becomes of a box when one of them ends: a message that says which, where and why, the
//! others at work until all are stopped together, and an exit that a supervisor takes for a failure.

use anyhow::{Context, anyhow};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

thread_local! {
    /// Where this thread has panicked.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From here on a panic of any thread is a line in the log, with its place, and no longer lines of another form on standard
/// error.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        note_place(info);
        let thread = std::thread::current();
        let backtrace = std::backtrace::Backtrace::capture();
        let backtrace =
            (backtrace.status() == std::backtrace::BacktraceStatus::Captured).then(|| backtrace.to_string());
        tracing::error!(
            thread = thread.name().unwrap_or("unnamed"),
            place = info.location().map(ToString::to_string),
            what = what(info.payload()),
            backtrace,
            "a thread has panicked: this is a defect; please report it"
        );
    }));
}

fn note_place(info: &PanicHookInfo<'_>) {
    // A thread at its very end has no such place any more.
    let _ = PLACE.try_with(|place| place.replace(info.location().map(ToString::to_string)));
}

/// What a panic says.
fn what(payload: &(dyn std::any::Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("it does not say why")
}

/// The threads. They are told to stop, and waited for, also when this is dropped: whatever they work on outlives them when
/// it is declared behind this.
pub struct Workers {
    threads: Vec<(String, JoinHandle<anyhow::Result<()>>)>,
    stop: Arc<AtomicBool>,
}

impl Workers {
    /// None yet. They will end when `stop` is set.
    #[must_use]
    pub fn new(stop: Arc<AtomicBool>) -> Self {
        Self { threads: Vec::new(), stop }
    }

    /// Starts one. `work` goes on until the stop.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub fn start(
        &mut self,
        name: &str,
        work: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
    ) -> anyhow::Result<()> {
        // Whatever `work` has is gone when a panic has been caught: nothing half done is looked at again.
        let work = || match catch_unwind(AssertUnwindSafe(work)) {
            Ok(result) => result,
            Err(payload) => {
                let place = PLACE.take().unwrap_or_else(|| "a place unknown".into());
                Err(anyhow!("panicked at {place}: {}; this is a defect, please report it", what(&*payload)))
            }
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
        self.threads.push((name.to_owned(), thread.with_context(|| format!("{name} cannot start"))?));
        Ok(())
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.threads.len()
    }

    /// Whether all of them are still at it.
    #[must_use]
    pub fn all_at_work(&self) -> bool {
        !self.threads.iter().any(|(_, thread)| thread.is_finished())
    }

    /// Stops all of them, and waits for each, whatever became of the others.
    ///
    /// # Errors
    /// Every one that has failed, with its name and why.
    pub fn end(&mut self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::SeqCst);
        let mut failed = Vec::new();
        for (name, thread) in self.threads.drain(..) {
            let result = thread.join().unwrap_or_else(|payload| Err(anyhow!("panicked: {}", what(&*payload))));
            if let Err(error) = result {
                failed.push(format!("{name} {error:#}"));
            }
        }
        if failed.is_empty() { Ok(()) } else { Err(anyhow!(failed.join("; "))) }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::error!("{error:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// A worker that says how often it was stopped in an orderly way, and how often it has turned.
    fn orderly(stop: Arc<AtomicBool>, ended: Sender<u64>) -> impl FnOnce() -> anyhow::Result<()> + Send + 'static {
        move || {
            let mut turns = 0u64;
            while !stop.load(Ordering::Relaxed) {
                turns += 1;
                std::thread::yield_now();
            }
            let _ = ended.send(turns);
            Ok(())
        }
    }

    fn three(middle: impl FnOnce() -> anyhow::Result<()> + Send + 'static) -> (Workers, Receiver<u64>) {
        let stop = Arc::new(AtomicBool::new(false));
        let (ended, seen) = channel();
        let mut workers = Workers::new(Arc::clone(&stop));
        workers.start("worker-0", orderly(Arc::clone(&stop), ended.clone())).expect("a thread");
        workers.start("worker-1", middle).expect("a thread");
        workers.start("worker-2", orderly(stop, ended)).expect("a thread");
        (workers, seen)
    }

    fn until_one_has_ended(workers: &Workers) {
        while workers.all_at_work() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_worker_that_panics_is_named_and_the_others_end_in_order() {
        let nothing: [u32; 0] = [];
        let (mut workers, seen) = three(move || {
            let at = std::hint::black_box(3);
            assert!(nothing.get(at).is_some(), "no packet {at}");
            Ok(())
        });
        until_one_has_ended(&workers);
        assert!(seen.try_recv().is_err(), "the others are at work until they are told to stop");
        let error = workers.end().expect_err("one has failed").to_string();
        assert!(error.starts_with("worker-1 panicked at ") && error.contains("no packet 3"), "{error}");
        assert_eq!(seen.iter().count(), 2, "both others have ended as they should");
        assert_eq!(workers.count(), 0);
    }

    #[test]
    fn errors_of_several_are_all_told() {
        let (mut workers, _seen) = three(|| Err(anyhow!("no lcore")));
        workers.start("worker-3", || Err(anyhow!("no memory"))).expect("a thread");
        until_one_has_ended(&workers);
        let error = workers.end().expect_err("two have failed").to_string();
        assert_eq!(error, "worker-1 no lcore; worker-3 no memory");
    }

    #[test]
    fn without_a_fault_there_is_no_error_and_what_is_dropped_has_ended() {
        let (mut workers, seen) = three(|| Ok(()));
        workers.end().expect("all well");
        assert_eq!(seen.iter().count(), 2);
        let (workers, seen) = three(|| Ok(()));
        drop(workers);
        assert_eq!(seen.iter().count(), 2, "they do not outlive what they work on");
    }
}
