//! Notices that this box was resumed from a snapshot of its memory, or is a clone: there may then be another process that
//! seals under the same secret and numbers its packets alike.
//!
//! The kernel says so where the hypervisor has a VM generation id (`reader.rs`). Elsewhere clocks give it away: a machine
//! that was stopped finds that time has passed, on the wall clock as soon as somebody sets it, on the hardware clock at once.
//! [`Watch`] has no I/O; it is fed with readings. A false alarm costs a new generation, so what happens to clocks without
//! any resumption is not taken for one: slews, leap seconds, the jitter of a hardware clock that counts whole seconds, and
//! its being set by this machine.

mod reader;

pub use reader::{Resumptions, Watcher};

/// How it was noticed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// The kernel has a new VM generation id.
    VmGeneration,
    /// The boot-time clock went on while the monotonic one stood still.
    Suspended,
    /// The wall clock has jumped.
    WallClock,
    /// The hardware clock has jumped.
    HardwareClock,
    /// This process stood still.
    Stopped,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::VmGeneration, Self::Suspended, Self::WallClock, Self::HardwareClock, Self::Stopped];

    /// As in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::VmGeneration => "vm_generation",
            Self::Suspended => "suspended",
            Self::WallClock => "wall_clock",
            Self::HardwareClock => "hardware_clock",
            Self::Stopped => "stopped",
        }
    }

    /// Whether there is no doubt: clocks may jump for other reasons.
    #[must_use]
    pub const fn certain(self) -> bool {
        matches!(self, Self::VmGeneration)
    }
}

/// The kernel's clocks at one moment, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Clocks {
    /// `CLOCK_MONOTONIC`.
    pub monotonic: i64,
    /// `CLOCK_BOOTTIME`: it goes on while the machine sleeps.
    pub boottime: i64,
    /// `CLOCK_REALTIME`.
    pub realtime: i64,
}

const SECOND: i64 = 1_000_000_000;
/// The monotonic clock stands still in a machine that sleeps; for so long at least.
const SLEPT: i64 = SECOND / 2;
/// A step of the wall clock; a leap second is one of 1 s.
const STEP: i64 = 2 * SECOND;
/// Besides, the kernel may let it run faster or slower by at most 10 %: an eighth of the time between two readings.
const SLEW: i64 = 8;
/// A jump of the hardware clock, which counts whole seconds.
const JUMP: i64 = 3 * SECOND;
/// Both clocks say the same, as far as the hardware clock can.
const AGREE: i64 = 3 * SECOND / 2;
/// A process that gets no processor for so long was stopped. (Readings are some milliseconds apart; with all cores taken,
/// seconds were seen.)
const STOOD: i64 = 10 * SECOND;
/// A jump of one clock and the step of the other that follows it are one event when they differ by no more.
const ALIKE: i64 = 2 * SECOND;
/// The wall clock is set after the hardware clock has jumped, by a time daemon that looks now and then.
const SET_WITHIN: i64 = 3600 * SECOND;

/// A jump that was reported, on one of the two clocks; the other may still have it before it.
#[derive(Clone, Copy, Debug)]
struct Reported {
    by: i64,
    until: i64,
}

impl Reported {
    /// Whether this jump is the one that was to come; it is then over.
    fn explains(slot: &mut Option<Self>, jump: i64, now: i64) -> bool {
        let alike = slot.is_some_and(|r| now <= r.until && (jump - r.by).abs() <= ALIKE);
        if alike {
            *slot = None;
        }
        alike
    }
}

/// Looks at the clocks.
#[derive(Debug, Default)]
pub struct Watch {
    last: Option<Clocks>,
    /// The last reading of the hardware clock, in nanoseconds, and the others beside it.
    hardware: Option<(i64, Clocks)>,
    /// The wall clock may be set by this, after the hardware clock.
    wall_to_come: Option<Reported>,
    /// The hardware clock will be seen to have jumped by this, after the wall clock.
    hardware_to_come: Option<Reported>,
}

impl Watch {
    /// The kernel's clocks, as often as possible.
    pub fn clocks(&mut self, now: Clocks) -> Option<Cause> {
        let before = self.last.replace(now)?;
        let (monotonic, boottime) = (now.monotonic - before.monotonic, now.boottime - before.boottime);
        if boottime - monotonic >= SLEPT {
            // The wall clock and the hardware clock went on like the boot-time clock; or else they say it, too.
            return Some(Cause::Suspended);
        }
        let step = (now.realtime - before.realtime) - boottime;
        if step.abs() >= STEP + boottime.max(0) / SLEW {
            if Reported::explains(&mut self.wall_to_come, step, now.boottime) {
                return None;
            }
            self.hardware_to_come = Some(Reported { by: step, until: now.boottime + 5 * SECOND });
            return Some(Cause::WallClock);
        }
        (monotonic >= STOOD).then_some(Cause::Stopped)
    }

    /// The hardware clock, in seconds, and the kernel's as they were when it was read; every second or so.
    pub fn hardware_clock(&mut self, now: Clocks, seconds: i64) -> Option<Cause> {
        let hardware = seconds.saturating_mul(SECOND);
        let (before, then) = self.hardware.replace((hardware, now))?;
        let jump = (hardware - before) - (now.boottime - then.boottime);
        if jump.abs() < JUMP {
            return None;
        }
        if Reported::explains(&mut self.hardware_to_come, jump, now.boottime) {
            return None;
        }
        let agree = |hardware: i64, clocks: Clocks| (hardware - clocks.realtime).abs() <= AGREE;
        if !agree(before, then) && agree(hardware, now) {
            // It was set after the wall clock: by this machine.
            return None;
        }
        self.wall_to_come = Some(Reported { by: jump, until: now.boottime + SET_WITHIN });
        Some(Cause::HardwareClock)
    }
}

/// Bounds what alarms cost that may be false: some at once, then one each while.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    left: u32,
    since: std::time::Instant,
}

impl Pace {
    const AT_ONCE: u32 = 4;
    const EVERY: std::time::Duration = std::time::Duration::from_secs(600);

    /// Nothing has happened yet.
    #[must_use]
    pub const fn new(now: std::time::Instant) -> Self {
        Self { left: Self::AT_ONCE, since: now }
    }

    /// Whether one more may be had now.
    pub fn may(&mut self, now: std::time::Instant) -> bool {
        while self.left < Self::AT_ONCE && now.saturating_duration_since(self.since) >= Self::EVERY {
            self.left += 1;
            self.since += Self::EVERY;
        }
        if self.left == Self::AT_ONCE {
            self.since = now;
        }
        let may = self.left > 0;
        self.left -= u32::from(may);
        may
    }
}

#[cfg(test)]
mod tests;
