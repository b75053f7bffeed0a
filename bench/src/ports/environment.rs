//! DPDK's environment and software ports for one measurement in a process of its own.

use anyhow::{Context, Result};
use dpdk_ffi::{Eal, Mempool, Port, PortConfig, Started};
use std::path::Path;
use std::sync::Arc;

/// Descriptors of each queue, here and in `dpdk-testpmd`.
pub const DESCRIPTORS: u16 = 1024;

/// What stands before the command line of whatever is measured, peers included: as far as that is allowed, other
/// processes wait meanwhile. A session of its own, since where the kernel groups processes by session the group's nice
/// value counts, and not the process'.
#[must_use]
pub fn first() -> Vec<String> {
    let script = "(echo -20 >/proc/self/autogroup) 2>/dev/null; renice -n -20 -p $$ >/dev/null 2>&1; exec \"$@\"";
    ["setsid", "sh", "-c", script, "sh"].map(str::to_owned).into()
}

/// EAL's arguments but for cores and devices: memory from hugepages where there are enough.
///
/// `megabytes`: what pools and rings take.
#[must_use]
pub fn memory(megabytes: usize) -> Vec<String> {
    let mut args: Vec<String> = ["--no-pci", "--no-telemetry", "--log-level=error"].map(str::to_owned).into();
    if free_hugepages() >= megabytes as u64 {
        args.push("--in-memory".to_owned());
    } else {
        args.extend(["--no-huge", "--no-shconf", "--iova-mode=va", "-m"].map(str::to_owned));
        args.push((megabytes + 128).to_string());
    }
    args
}

/// MiB of free hugepages of 2 MiB.
#[must_use]
pub fn free_hugepages() -> u64 {
    let path = Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
    std::fs::read_to_string(path).ok().and_then(|t| t.trim().parse::<u64>().ok()).unwrap_or(0) * 2
}

/// Octets of memory that are free, or could be.
#[must_use]
pub fn free_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"));
    line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// MiB that a pool takes: buffers, each with its headers, and what its ring needs.
#[must_use]
pub const fn pool_megabytes(buffers: u32, room: u16) -> usize {
    (buffers as usize * (room as usize + 256)).div_ceil(1 << 20) + 64
}

/// Takes a port and starts it with this many queues.
///
/// # Errors
/// DPDK refuses.
pub fn start(eal: &Eal, name: &str, queues: u16, pool: &Arc<Mempool>) -> Result<Port<Started>> {
    let config =
        PortConfig { queues, rx_descriptors: DESCRIPTORS, tx_descriptors: DESCRIPTORS, mtu: None, promiscuous: false };
    let mut port = eal.port(name)?;
    port.configure(&config, pool)?;
    Ok(port.start()?)
}

/// The cores for `count` workers: the last one first, since the kernel and the measuring program use the first most.
#[must_use]
pub fn cores(count: usize) -> Vec<usize> {
    let there = std::thread::available_parallelism().map_or(1, usize::from);
    (0..count).map(|i| (there - 1).saturating_sub(i)).collect()
}

/// Binds the calling thread to a core.
///
/// # Errors
/// The core is not there.
pub fn pin(core: usize) -> Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    rustix::thread::sched_setaffinity(None, &set).with_context(|| format!("there is no core {core}"))
}

/// Seconds that a thread has been on a core, as far as the kernel says so (to 4 ms).
#[must_use]
pub fn on_core(pid: u32, tid: u32) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/sched")).ok()?;
    on_core_of(&text)
}

fn on_core_of(text: &str) -> Option<f64> {
    let line = text.lines().find(|l| l.starts_with("se.sum_exec_runtime"))?;
    line.rsplit(':').next()?.trim().parse::<f64>().ok().map(|ms| ms / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_on_a_core_is_read_in_seconds() {
        let text = "cat (1, #threads: 1)\n---\nse.exec_start       :   1.5\nse.sum_exec_runtime  :     1234.500000\n";
        assert_eq!(on_core_of(text), Some(1.2345));
        assert_eq!(on_core_of("cat"), None);
    }

    #[test]
    fn workers_get_a_core_each_while_there_are_some() {
        let two = cores(2);
        assert!(two[0] >= two[1] && two.len() == 2);
        assert_eq!(cores(100).last(), Some(&0));
    }
}
