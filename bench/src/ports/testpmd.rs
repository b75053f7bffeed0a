//! `dpdk-testpmd` on the same ports: what the drivers and a forwarder that does next to nothing can do.

use super::environment;
use super::job::{Job, Sample};
use anyhow::{Context, Result};
use rig::command::until;
use rig::running::Running;
use rustix::process::Signal;
use std::path::Path;
use std::time::{Duration, Instant};

/// What testpmd does with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forwarding {
    /// Nothing.
    Io,
    /// Writes both MAC addresses.
    Mac,
}

impl Forwarding {
    /// Its name, here and on testpmd's command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Io => "io",
            Self::Mac => "mac",
        }
    }
}

const START: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_secs(5);

/// Whether it is there.
#[must_use]
pub fn is_there() -> bool {
    rig::command::run(&["which", "dpdk-testpmd"], ANSWER).is_ok_and(|f| f.status.success())
}

/// Forwards from port 0 to port 1 for the job's time.
///
/// # Errors
/// It does not start, or says nothing that is understood.
pub fn measure(job: &Job, forwarding: Forwarding, dir: &Path) -> Result<Sample> {
    let (buffers, room) = (job.buffers(), job.frame.room());
    let mut args = environment::first();
    args.extend(["stdbuf", "-oL", "dpdk-testpmd"].map(str::to_owned));
    args.extend(environment::memory(environment::pool_megabytes(buffers, room)));
    // Its own lcore 0 only waits for commands; the others forward, on the cores that our workers have.
    let cores: String =
        environment::cores(job.workers).iter().enumerate().map(|(i, c)| format!(",{}@{c}", i + 1)).collect();
    args.push(format!("--lcores=0@0{cores}"));
    args.extend(job.devices());
    let n = job.workers;
    let descriptors = environment::DESCRIPTORS;
    args.extend(["--", "-i", "--burst=32", "--mbcache=256", "--no-mlockall"].map(str::to_owned));
    args.extend([
        format!("--forward-mode={}", forwarding.name()),
        format!("--total-num-mbufs={buffers}"),
        format!("--mbuf-size={room}"),
        format!("--rxq={n}"),
        format!("--txq={n}"),
        format!("--nb-cores={n}"),
        format!("--rxd={descriptors}"),
        format!("--txd={descriptors}"),
    ]);
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let mut running = Running::start("testpmd", &args, dir)?;
    running.wait_for("testpmd>", START).context("dpdk-testpmd is in the package dpdk-dev")?;
    running.say("start")?;
    std::thread::sleep(Duration::from_millis(250));
    let threads = forwarding_threads(running.pid());
    let mut moments = Vec::new();
    for asked in 1..=2 {
        running.say("show port stats 0")?;
        let at = Instant::now();
        let on_core: Option<f64> = (!threads.is_empty())
            .then(|| threads.iter().map(|&t| environment::on_core(running.pid(), t)).sum())
            .flatten();
        let answer = until(ANSWER, || Ok(received(&running.out()).get(asked - 1).copied()))?;
        let packets = answer.with_context(|| format!("dpdk-testpmd does not answer:\n{}", running.tail()))?;
        moments.push((at, packets, on_core));
        if asked == 1 {
            std::thread::sleep(Duration::from_secs_f64(job.seconds));
        }
    }
    running.say("quit")?;
    if running.wait(ANSWER).is_err() {
        running.stop(Signal::KILL, ANSWER)?;
    }
    let [before, after] = [moments[0], moments[1]];
    let seconds = (after.0 - before.0).as_secs_f64();
    let on_core = after.2.zip(before.2).map_or(seconds, |(a, b)| (a - b) / n as f64);
    Ok(Sample { packets: after.1 - before.1, seconds, on_core: on_core.min(seconds) })
}

/// The counts of received packets in all answers to `show port stats` so far.
fn received(out: &str) -> Vec<u64> {
    let number = |line: &str| line.trim_start().strip_prefix("RX-packets:")?.split_whitespace().next()?.parse().ok();
    // The last line of an answer says that it is whole.
    let whole = out.rfind("####").map_or("", |end| &out[..end]);
    whole.lines().filter_map(number).collect()
}

/// The threads that forward: DPDK names them.
fn forwarding_threads(pid: u32) -> Vec<u32> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let ids = entries.filter_map(|e| e.file_name().to_string_lossy().parse::<u32>().ok());
    ids.filter(|id| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/task/{id}/comm")).unwrap_or_default();
        name.starts_with("lcore-worker") || name.starts_with("dpdk-worker")
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_what_testpmd_says() {
        let out = "testpmd> show port stats 0\n\n  ######################## NIC statistics for port 0  ########################\n  \
                   RX-packets: 36871136   RX-missed: 0          RX-bytes:  2949690880\n  RX-errors: 0\n  RX-nombuf:  0         \n  \
                   TX-packets: 0          TX-errors: 0          TX-bytes:  0\n\n  Throughput (since last show)\n  Rx-pps:            0\n  \
                   ############################################################################\n\
                   testpmd> ";
        assert_eq!(received(out), [36_871_136]);
        assert_eq!(received(&[out, out].concat()), [36_871_136; 2]);
        assert_eq!(received(""), [0u64; 0]);
    }
}
