//! Threads that begin together, each on a core of its own.

use anyhow::{Context, Result, anyhow, ensure};
use dpdk_ffi::{Eal, ThreadRegistration};
use std::sync::Barrier;
use std::time::Instant;

/// Runs `work` on this many threads at once; nanoseconds from the first one's beginning to the last one's end.
///
/// # Errors
/// Of the first thread that fails.
pub fn together(eal: &Eal, threads: usize, work: impl Fn(usize) -> Result<()> + Sync) -> Result<f64> {
    let barrier = Barrier::new(threads);
    let run = |thread: usize| {
        let ready = pin(thread).and_then(|()| {
            // rte_hash keeps free places by DPDK's number of the thread.
            ThreadRegistration::new(eal).context("a thread for DPDK")
        });
        barrier.wait(); // also by one that cannot go on: the others must not wait for ever
        let registration = ready?;
        let start = Instant::now();
        work(thread)?;
        let end = Instant::now();
        drop(registration);
        Ok((start, end))
    };
    let times: Vec<(Instant, Instant)> = std::thread::scope(|scope| {
        let run = &run;
        let handles: Vec<_> = (0..threads).map(|t| scope.spawn(move || run(t))).collect();
        handles.into_iter().map(|h| h.join().map_err(|_| anyhow!("a thread panicked"))?).collect::<Result<_>>()
    })?;
    let start = times.iter().map(|t| t.0).min();
    let end = times.iter().map(|t| t.1).max();
    let (Some(start), Some(end)) = (start, end) else { return Err(anyhow!("no thread")) };
    Ok((end - start).as_nanos() as f64)
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
