use super::*;
use proptest::prelude::*;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;

/// A device whose clock has so many ticks in a second of the workers', and how it begins.
#[derive(Clone, Copy, Debug)]
struct Device {
    ticks_a_second: f64,
    start: u64,
}

impl Device {
    fn stamp(self, at: u64) -> u64 {
        self.start.wrapping_add((at as f64 / 1e9 * self.ticks_a_second) as u64)
    }
}

/// When the packets of a burst were taken to have come; how long each had waited.
fn burst(clock: &mut DeviceClock, device: Device, polled: u64, waited: &[u64]) -> ([u64; BURST], Told) {
    let mut came = [0; BURST];
    let told = clock.burst(polled, waited.iter().map(|waited| Some(device.stamp(polled - waited))), &mut came);
    (came, told)
}

/// Bursts from here on, `gap` apart, that have waited `waits` by turns; gives when the last one was taken, and how far off a wait
/// was at the most that was believed.
fn run(clock: &mut DeviceClock, device: Device, from: u64, n: u64, gap: u64, waits: &[u64]) -> (u64, u64) {
    let (mut polled, mut worst) = (from, 0);
    for i in 0..n {
        polled += gap;
        let waited = waits[i as usize % waits.len()];
        let (came, told) = burst(clock, device, polled, &[waited]);
        if told.used > 0 {
            worst = worst.max(came[0].abs_diff(polled - waited));
        }
    }
    (polled, worst)
}

const NIC: Device = Device { ticks_a_second: 1e9 * (1.0 + 30e-6), start: 1_700_000_000 * S };

#[test]
fn waits_are_known_when_some_bursts_have_been_seen() {
    let mut clock = DeviceClock::default();
    let (now, _) = run(&mut clock, NIC, S, 5000, MS, &[40 * US, 0, 7 * US]);
    let (now, worst) = run(&mut clock, NIC, now, 5000, MS, &[40 * US, 0, 7 * US]);
    assert!(worst < 100, "{worst} ns off");
    // A queue that has filled: the first has waited longest, and one came without a stamp.
    let polled = now + 3 * MS;
    let stamps = [2 * MS, MS, 0, 0].map(|waited| Some(NIC.stamp(polled - waited)));
    let mut came = [0; BURST];
    let told = clock.burst(polled, stamps.into_iter().take(3).chain([None]), &mut came);
    assert_eq!(told, Told { used: 3, refused: 0 });
    let waits = came.map(|came| polled - came);
    assert!(waits[0].abs_diff(2 * MS) < 100 && waits[1].abs_diff(MS) < 100 && waits[2] < 100, "{waits:?}");
    assert_eq!(waits[3..], [0; BURST - 3]);
}

#[test]
fn nothing_is_believed_before_and_all_is_as_it_was_without_stamps() {
    let mut clock = DeviceClock::default();
    for i in 1..=3 {
        let (came, told) = burst(&mut clock, NIC, i * 40 * MS, &[30 * MS; 32]);
        assert_eq!((came, told), ([i * 40 * MS; BURST], Told::default()));
    }
    let mut came = [0; BURST];
    assert_eq!(clock.burst(S, [None; BURST].into_iter(), &mut came), Told::default());
    assert_eq!(came, [S; BURST]);
}

#[test]
fn one_packet_a_second_is_enough_if_it_takes_longer() {
    let mut clock = DeviceClock::default();
    let waits: Vec<u64> = (0..17).map(|i| i * 7 % 17 * 6 * US).collect();
    let (now, _) = run(&mut clock, NIC, S, 60, S, &waits);
    let (_, worst) = run(&mut clock, NIC, now, 60, S, &waits);
    assert!(clock.is_believed() && worst < 30 * US, "{worst} ns off");
}

#[test]
fn a_clock_that_is_set_is_followed_within_seconds() {
    let by = [S as i64, -(S as i64), 50 * MS as i64, -50 * (MS as i64), 3600 * S as i64, -1_000_000_000_000_000_000];
    for by in by {
        let mut clock = DeviceClock::default();
        let (now, _) = run(&mut clock, NIC, S, 4000, MS, &[0, 90 * US]);
        let set = Device { start: NIC.start.wrapping_add_signed(by), ..NIC };
        let (now, _) = run(&mut clock, set, now, 6000, MS, &[0, 90 * US]);
        let (_, worst) = run(&mut clock, set, now, 2000, MS, &[0, 90 * US]);
        assert!(clock.is_believed() && worst < US, "{by}: {worst} ns off");
    }
}

#[test]
fn stamps_among_others_that_cannot_be_are_refused_and_change_nothing() {
    let mut clock = DeviceClock::default();
    let (mut now, _) = run(&mut clock, NIC, S, 4000, MS, &[0, 90 * US]);
    for wild in [0, 1, u64::MAX, NIC.stamp(now) + 10 * S, NIC.stamp(now) - 10 * S, u64::MAX / 2].repeat(50) {
        now += MS;
        let mut came = [0; BURST];
        let stamps = [Some(wild), Some(NIC.stamp(now - 20 * US))];
        assert_eq!(clock.burst(now, stamps.into_iter(), &mut came), Told { used: 1, refused: 1 });
        assert_eq!(came[0], now);
        assert!(came[1].abs_diff(now - 20 * US) < US, "{}", now - came[1]);
    }
}

#[test]
fn a_worker_that_was_kept_from_its_core_does_not_forget_the_clock() {
    let mut clock = DeviceClock::default();
    let (now, _) = run(&mut clock, NIC, S, 4000, MS, &[0, 90 * US]);
    // A second's silence, then a queue of 1,024 packets that came at its beginning.
    let back = now + S;
    for i in 0..32 {
        let (came, told) = burst(&mut clock, NIC, back + i * US, &[S - MS; 32]);
        assert_eq!((came, told), ([back + i * US; BURST], Told { used: 0, refused: 32 }));
    }
    let (came, told) = burst(&mut clock, NIC, back + MS, &[5 * US]);
    assert!(told.used == 1 && came[0].abs_diff(back + MS - 5 * US) < US);
}

#[test]
fn a_line_that_was_learnt_while_all_waited_is_learnt_anew() {
    let mut clock = DeviceClock::default();
    let (now, _) = run(&mut clock, NIC, S, 2000, MS, &[5 * MS, 6 * MS]);
    assert!(clock.is_believed());
    let (now, _) = run(&mut clock, NIC, now, 9000, MS, &[0, 5 * MS, 6 * MS]);
    let (_, worst) = run(&mut clock, NIC, now, 2000, MS, &[0, 5 * MS, 6 * MS]);
    assert!(clock.is_believed() && worst < US, "{worst} ns off");
}

#[test]
fn after_a_long_silence_all_begins_anew() {
    let mut clock = DeviceClock::default();
    let (now, _) = run(&mut clock, NIC, S, 4000, MS, &[0, 90 * US]);
    let (came, told) = burst(&mut clock, NIC, now + 21 * S, &[5 * US]);
    assert_eq!((came[0], told), (now + 21 * S, Told::default()));
}

/// What a clock may be: ticks of a second, off by up to 200 millionths; of a NIC, in nanoseconds, or in microseconds.
fn devices() -> impl Strategy<Value = Device> {
    let ticks = prop_oneof![Just(156.25e6), Just(1e9), Just(312.5e6), 3e8..5e9];
    (ticks, -200e-6..200e-6, any::<u64>())
        .prop_map(|(ticks, off, start)| Device { ticks_a_second: ticks * (1.0 + off), start })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes: no packet came later than its burst was taken, or too long before.
    #[test]
    fn any_stamps_give_waits_within_bounds(
        steps in prop::collection::vec((0..2 * S, prop::collection::vec(prop::option::of(any::<u64>()), 0..=BURST)), 1..80),
        device in devices(),
        lie in any::<bool>(),
    ) {
        let (mut clock, mut polled) = (DeviceClock::default(), 1);
        for (gap, stamps) in steps {
            polled += gap;
            // True ones, off by up to half a second, or anything at all.
            let wild = |stamp: u64| device.stamp(polled).wrapping_add(stamp % S).wrapping_sub(S / 2);
            let stamps: Vec<_> = stamps.into_iter().map(|s| s.map(|s| if lie { s } else { wild(s) })).collect();
            let mut came = [0; BURST];
            let there = stamps.iter().flatten().count() as u64;
            let told = clock.burst(polled, stamps.into_iter(), &mut came);
            prop_assert!(told.used + told.refused <= there);
            for came in came {
                prop_assert!(came <= polled && polled - came <= LONGEST);
            }
        }
    }

    /// A clock that goes evenly, and a worker that is there at once now and then.
    #[test]
    fn waits_are_known_within_a_microsecond(
        device in devices(),
        gaps in prop::collection::vec(10 * US..20 * MS, 16),
        waits in prop::collection::vec(0..300 * US, 1..24),
        seed in any::<u64>(),
    ) {
        let (mut clock, mut polled, mut random) = (DeviceClock::default(), S, seed | 1);
        while polled < 25 * S {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let pick = (random >> 33) as usize;
            polled += gaps[pick % gaps.len()];
            // One burst in four was not kept waiting.
            let waited = if random >> 60 < 4 { 0 } else { waits[pick % waits.len()] };
            let (came, told) = burst(&mut clock, device, polled, &[waited + US, waited]);
            prop_assert_eq!(told.refused, 0);
            if polled > 15 * S {
                prop_assert_eq!(told.used, 2);
                for (came, waited) in came.iter().zip([waited + US, waited]) {
                    prop_assert!(came.abs_diff(polled - waited) <= US, "{} and {waited}", polled - came);
                }
            }
        }
    }
}
