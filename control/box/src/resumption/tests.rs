use super::*;
use std::time::{Duration, Instant};

const MS: i64 = SECOND / 1000;

/// A machine's clocks, and the time outside it.
struct Machine {
    watch: Watch,
    clocks: Clocks,
    /// Ahead of the wall clock's true time; the hardware clock shows that, cut to seconds.
    hardware: i64,
    since_hardware: i64,
    noticed: Vec<Cause>,
}

impl Machine {
    fn new() -> Self {
        let clocks =
            Clocks { monotonic: 5 * SECOND, boottime: 7 * SECOND, realtime: 1_800_000_000 * SECOND + 400 * MS };
        let mut this =
            Self { watch: Watch::default(), clocks, hardware: clocks.realtime, since_hardware: 0, noticed: Vec::new() };
        this.run(3 * SECOND);
        assert!(this.noticed.is_empty());
        this
    }

    /// One step of 10 ms, in which the wall clock (and the boot-time clock) may run a little faster or slower.
    fn step(&mut self, slew: i64) {
        self.clocks.monotonic += 10 * MS;
        self.clocks.boottime += 10 * MS;
        self.clocks.realtime += 10 * MS + slew;
        self.hardware += 10 * MS;
        self.look();
    }

    fn look(&mut self) {
        self.noticed.extend(self.watch.clocks(self.clocks));
        self.since_hardware += 10 * MS;
        if self.since_hardware >= SECOND {
            self.since_hardware = 0;
            self.noticed.extend(self.watch.hardware_clock(self.clocks, self.hardware.div_euclid(SECOND)));
        }
    }

    fn run(&mut self, time: i64) {
        (0..time / (10 * MS)).for_each(|_| self.step(0));
    }

    /// All that was noticed in the next while.
    fn then(&mut self, time: i64) -> Vec<Cause> {
        self.run(time);
        std::mem::take(&mut self.noticed)
    }

    /// The memory is as it was; outside, time has passed.
    fn resumed_after(&mut self, age: i64) {
        self.hardware += age;
    }
}

#[test]
fn a_snapshot_is_noticed_by_the_hardware_clock_and_once() {
    for age in [4, 30, 3600, 86_400 * 30] {
        let mut m = Machine::new();
        m.resumed_after(age * SECOND);
        assert_eq!(m.then(3 * SECOND), [Cause::HardwareClock], "{age} s");
        // A time daemon sets the wall clock some minutes later: the same event.
        m.run(200 * SECOND);
        m.clocks.realtime += age * SECOND;
        assert_eq!(m.then(10 * SECOND), [], "{age} s");
        // The next one is noticed again.
        m.resumed_after(age * SECOND);
        assert_eq!(m.then(3 * SECOND), [Cause::HardwareClock]);
    }
}

#[test]
fn a_snapshot_whose_wall_clock_is_set_at_once_is_noticed_once() {
    for age in [4, 30, 86_400] {
        let mut m = Machine::new();
        m.resumed_after(age * SECOND);
        m.clocks.realtime += age * SECOND;
        assert_eq!(m.then(5 * SECOND), [Cause::WallClock], "{age} s");
        // Back to an older one: the wall clock goes on where it was then.
        m.resumed_after(-age * SECOND);
        m.clocks.realtime -= age * SECOND;
        assert_eq!(m.then(5 * SECOND), [Cause::WallClock]);
    }
}

#[test]
fn a_machine_without_a_hardware_clock_goes_by_the_wall_clock() {
    let (mut watch, mut clocks) = (Watch::default(), Machine::new().clocks);
    assert_eq!(watch.clocks(clocks), None);
    clocks.realtime += 60 * SECOND;
    clocks.monotonic += 10 * MS;
    clocks.boottime += 10 * MS;
    assert_eq!(watch.clocks(clocks), Some(Cause::WallClock));
    assert_eq!(watch.clocks(clocks), None);
}

#[test]
fn suspend_and_resume() {
    let mut m = Machine::new();
    let slept = 700 * SECOND;
    m.clocks.boottime += slept;
    m.clocks.realtime += slept;
    m.hardware += slept;
    assert_eq!(m.then(5 * SECOND), [Cause::Suspended]);
    // The machine slept, and the image was written back much later: its clocks know of it.
    m.clocks.boottime += SECOND;
    m.clocks.realtime += SECOND;
    m.hardware += SECOND;
    assert_eq!(m.then(5 * SECOND), [Cause::Suspended]);
}

#[test]
fn a_process_that_was_stopped() {
    let mut m = Machine::new();
    let stood = 11 * SECOND;
    m.clocks.monotonic += stood;
    m.clocks.boottime += stood;
    m.clocks.realtime += stood;
    m.hardware += stood;
    assert_eq!(m.then(5 * SECOND), [Cause::Stopped]);
    // One that only waited for a processor.
    let waited = 4 * SECOND;
    m.clocks.monotonic += waited;
    m.clocks.boottime += waited;
    m.clocks.realtime += waited;
    m.hardware += waited;
    assert_eq!(m.then(5 * SECOND), []);
}

#[test]
fn slews_leap_seconds_and_small_steps_are_nothing() {
    let mut m = Machine::new();
    // As fast as the kernel can, and back.
    for slew in [MS, -MS] {
        (0..30_000).for_each(|_| m.step(slew));
    }
    assert_eq!(m.then(SECOND), []);
    // The same, while this process had no processor.
    m.clocks.monotonic += 8 * SECOND;
    m.clocks.boottime += 8 * SECOND;
    m.clocks.realtime += 8 * SECOND + 900 * MS;
    m.hardware += 8 * SECOND;
    assert_eq!(m.then(SECOND), []);
    for step in [-SECOND, SECOND, 1900 * MS, -1900 * MS] {
        m.clocks.realtime += step;
        assert_eq!(m.then(5 * SECOND), [], "{step}");
    }
}

/// A machine that boots with a wrong hardware clock: the time daemon sets the wall clock, the kernel the hardware clock some
/// minutes later.
#[test]
fn a_time_daemon_at_the_start_costs_one_alarm() {
    for wrong in [-7200, 5, 40, 86_400] {
        let mut m = Machine::new();
        m.clocks.realtime += wrong * SECOND;
        assert_eq!(m.then(660 * SECOND), [Cause::WallClock], "{wrong} s");
        m.hardware += wrong * SECOND;
        assert_eq!(m.then(60 * SECOND), [], "the hardware clock follows");
    }
    // A hardware clock in local time, which never agrees, is as good as any.
    let mut m = Machine::new();
    m.hardware += 7200 * SECOND;
    m.then(3 * SECOND);
    m.run(60 * SECOND);
    m.resumed_after(10 * SECOND);
    assert_eq!(m.then(3 * SECOND), [Cause::HardwareClock]);
}

#[test]
fn a_clock_that_goes_to_and_fro_has_its_alarms_bounded() {
    let start = Instant::now();
    let mut pace = Pace::new(start);
    let at = |s: u64| start + Duration::from_secs(s);
    let had = (0..3600 * 24).filter(|&s| pace.may(at(s))).count();
    assert_eq!(had, 4 + 24 * 6 - 1);
    assert!((0..4).all(|_| pace.may(at(3600 * 48))) && !pace.may(at(3600 * 48)));
}
