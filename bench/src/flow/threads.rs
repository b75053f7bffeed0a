//! Threads that begin together, each on a core of its own.

use crate::measure::cpu_time;
use anyhow::{Context, Result, anyhow, ensure};
use dpdk_ffi::{Eal, ThreadRegistration};
use std::sync::Barrier;
use std::time::Duration;

/// Runs `work` on this many threads at once; nanoseconds of the core's time of the one that took longest. What other programs
/// take of a core meanwhile does not count.
///
/// # Errors
/// Of the first thread that fails.
pub fn together(eal: Option<&Eal>, threads: usize, work: impl Fn(usize) -> Result<()> + Sync) -> Result<f64> {
    let barrier = Barrier::new(threads);
    let run = |thread: usize| {
        let ready = pin(thread).and_then(|()| {
            // rte_hash keeps free places by DPDK's number of the thread.
            eal.map(ThreadRegistration::new).transpose().context("a thread for DPDK")
        });
        barrier.wait(); // also by one that cannot go on: the others must not wait for ever
        let registration = ready?;
        let start = cpu_time();
        work(thread)?;
        let taken = cpu_time() - start;
        drop(registration);
        Ok(taken)
    };
    let times: Vec<Duration> = std::thread::scope(|scope| {
        let run = &run;
        let handles: Vec<_> = (0..threads).map(|t| scope.spawn(move || run(t))).collect();
        handles.into_iter().map(|h| h.join().map_err(|_| anyhow!("a thread panicked"))?).collect::<Result<_>>()
    })?;
    Ok(times.into_iter().max().unwrap_or_default().as_nanos() as f64)
}

/// The `nth` core that this process may use.
fn pin(nth: usize) -> Result<()> {
    use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};
    // Of the whole process, whose main thread is never pinned here.
    let all = sched_getaffinity(Pid::from_raw(std::process::id().cast_signed())).context("which cores are there?")?;
    let core = (0..CpuSet::MAX_CPU).filter(|&c| all.is_set(c)).nth(nth);
    ensure!(core.is_some(), "{} threads need as many cores", nth + 1);
    let mut one = CpuSet::new();
    one.set(core.unwrap_or(0));
    sched_setaffinity(None, &one).context("cannot stay on one core")
}
