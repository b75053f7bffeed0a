//! Reads the clocks, and listens for the kernel's word of a new VM generation, on a thread of its own: a hardware clock may
//! take its time.

use super::{Cause, Clocks, Watch};
use anyhow::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recvfrom, socket_with};
use rustix::time::{ClockId, clock_gettime};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two readings of the kernel's clocks.
const STEP: Duration = Duration::from_millis(10);
/// Readings of the hardware clock: every so many.
const HARDWARE: u64 = 100;
/// A reading that took longer says little.
const AT_ONCE: i64 = 500_000_000;
/// The hardware clock in seconds, as the kernel shows it.
const HARDWARE_CLOCK: &str = "/sys/class/rtc/rtc0/since_epoch";
/// Octets of an event, at most.
const EVENT: usize = 8192;
/// The group of netlink in which the kernel itself speaks.
const KERNEL: u32 = 1;

#[derive(Debug, Default)]
struct Noticed {
    /// One bit for each cause that nobody has taken yet.
    pending: AtomicU32,
    counts: [AtomicU64; Cause::ALL.len()],
    stop: AtomicBool,
}

impl Noticed {
    fn note(&self, cause: Cause) {
        self.counts[cause as usize].fetch_add(1, Ordering::Relaxed);
        self.pending.fetch_or(1 << cause as u32, Ordering::Release);
    }
}

/// How often a resumption was noticed, by cause.
#[derive(Clone, Debug)]
pub struct Resumptions(Arc<Noticed>);

impl Resumptions {
    /// Since the start.
    pub fn counts(&self) -> impl Iterator<Item = (Cause, u64)> + '_ {
        Cause::ALL.into_iter().map(|cause| (cause, self.0.counts[cause as usize].load(Ordering::Relaxed)))
    }
}

/// Watches; ends when dropped.
#[derive(Debug)]
pub struct Watcher {
    noticed: Arc<Noticed>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Begins to watch.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start() -> anyhow::Result<Self> {
        let noticed = Arc::<Noticed>::default();
        let events = match events() {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!(%error, "no kernel events: a new VM generation id goes unnoticed; clocks are watched");
                None
            }
        };
        let shared = Arc::clone(&noticed);
        let run = move || watch(&shared, events.as_ref());
        let thread = std::thread::Builder::new().name("resumption".into()).spawn(run).context("cannot watch clocks")?;
        Ok(Self { noticed, thread: Some(thread) })
    }

    /// What was noticed since the last call.
    pub fn take(&self) -> impl Iterator<Item = Cause> + use<> {
        let pending = self.noticed.pending.swap(0, Ordering::Acquire);
        Cause::ALL.into_iter().filter(move |&cause| pending & (1 << cause as u32) != 0)
    }

    /// For metrics.
    #[must_use]
    pub fn resumptions(&self) -> Resumptions {
        Resumptions(Arc::clone(&self.noticed))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.noticed.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it has said why, if it panicked
        }
    }
}

fn events() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(KOBJECT_UEVENT))?;
    bind(&socket, &SocketAddrNetlink::new(0, KERNEL))?;
    Ok(socket)
}

fn nanoseconds(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

fn clocks() -> Clocks {
    let boottime = nanoseconds(ClockId::Boottime);
    let (monotonic, realtime) = (nanoseconds(ClockId::Monotonic), nanoseconds(ClockId::Realtime));
    Clocks { monotonic, boottime, realtime }
}

/// The hardware clock, if it was read without a delay.
fn hardware_clock() -> Option<(Clocks, i64)> {
    let before = clocks();
    let seconds = std::fs::read_to_string(HARDWARE_CLOCK).ok()?.trim().parse().ok()?;
    let now = clocks();
    (now.boottime - before.boottime <= AT_ONCE).then_some((now, seconds))
}

fn watch(noticed: &Noticed, events: Option<&OwnedFd>) {
    let (mut watch, mut rounds) = (Watch::default(), 0u64);
    while !noticed.stop.load(Ordering::Relaxed) {
        if wait(events) {
            noticed.note(Cause::VmGeneration);
        }
        if let Some(cause) = watch.clocks(clocks()) {
            noticed.note(cause);
        }
        if rounds.is_multiple_of(HARDWARE)
            && let Some((now, seconds)) = hardware_clock()
            && let Some(cause) = watch.hardware_clock(now, seconds)
        {
            noticed.note(cause);
        }
        if let Some(cause) = asked_for() {
            noticed.note(cause);
        }
        rounds += 1;
    }
}

/// Waits for the time between two readings, or less; whether the kernel has told of a new VM generation.
fn wait(events: Option<&OwnedFd>) -> bool {
    let Some(socket) = events else {
        std::thread::sleep(STEP);
        return false;
    };
    let step = Timespec { tv_sec: 0, tv_nsec: i64::from(STEP.subsec_nanos()) };
    let mut polled = [PollFd::new(socket, PollFlags::IN)];
    if !matches!(poll(&mut polled, Some(&step)), Ok(1..)) {
        return false;
    }
    let (mut event, mut told) = ([0; EVENT], false);
    // What others send is not the kernel's; all that waits is read, so that there is room.
    while let Ok((len, _, from)) = recvfrom(socket, &mut event, RecvFlags::DONTWAIT) {
        let kernel = from.and_then(|from| SocketAddrNetlink::try_from(from).ok()).is_some_and(|from| from.pid() == 0);
        told |= kernel && event.get(..len).is_some_and(new_vm_generation);
    }
    told
}

/// Whether this event of the kernel's says that there is a new VM generation.
fn new_vm_generation(event: &[u8]) -> bool {
    event.split(|&octet| octet == 0).any(|line| line == b"NEW_VMGENID=1")
}

/// A resumption that a test asks for, when the environment variable `PDMV2_RESUMED` names a file and that has the name of its cause. The file is
/// then gone: it is noticed once. Not in release builds.
fn asked_for() -> Option<Cause> {
    if !cfg!(debug_assertions) {
        return None;
    }
    let path = std::env::var_os("PDMV2_RESUMED")?;
    let name = std::fs::read_to_string(&path).ok()?;
    let cause = Cause::ALL.into_iter().find(|cause| cause.name() == name.trim())?;
    std::fs::remove_file(&path).ok()?;
    Some(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_word_is_found() {
        let event =
            b"change@/devices/LNXSYSTM:00/QEMUVGID:00\0ACTION=change\0SUBSYSTEM=acpi\0NEW_VMGENID=1\0SEQNUM=9\0";
        assert!(new_vm_generation(event));
        assert!(!new_vm_generation(b"change@/devices/x\0ACTION=change\0NOT_NEW_VMGENID=1\0NEW_VMGENID=10\0"));
        assert!(!new_vm_generation(b""));
    }

    #[test]
    fn this_machines_clocks_go_on_and_nothing_is_noticed() {
        let (first, mut watch) = (clocks(), Watch::default());
        assert_eq!(watch.clocks(first), None);
        let now = clocks();
        assert!(now.monotonic >= first.monotonic && now.boottime >= first.boottime && now.realtime > 0);
        let watcher = Watcher::start().expect("a thread");
        watcher.noticed.note(Cause::VmGeneration);
        watcher.noticed.note(Cause::Stopped);
        assert_eq!(watcher.take().collect::<Vec<_>>(), [Cause::VmGeneration, Cause::Stopped]);
        assert_eq!(watcher.take().count(), 0, "once");
        let counts: Vec<_> = watcher.resumptions().counts().filter(|(_, n)| *n > 0).collect();
        assert_eq!(counts, [(Cause::VmGeneration, 1), (Cause::Stopped, 1)]);
    }
}
