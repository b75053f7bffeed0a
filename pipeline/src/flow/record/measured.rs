//! The times that were measured of a flow: one cache line, which is written only when there is something to tell.
//!
//! Whoever takes a packet into account writes here, without locked instructions. When two workers do that for one flow at the
//! same moment, which ports that spread packets by flow do not make them, one of two samples may be left out; nothing else may
//! go wrong. What is counted exactly (loss, copies, late packets) does not stand here.

use crate::flow::figures::Times;
use crate::observe::histogram::{least_at, place};
use protocol::meter::Sample;
use protocol::sync::{AtomicU32, AtomicU64, Ordering};

/// Steps for each doubling, as a power of two: a time is kept to 0.1 per cent.
const BITS: u32 = 10;

/// One kind of time: `last (16) | smoothed (16) | least (16) | greatest (16)`, each a place on the scale.
#[derive(Debug, Default)]
struct Kind(AtomicU64);

impl Kind {
    #[inline]
    fn add(&self, ns: u64, is_first: bool) {
        let at = place::<BITS>(ns);
        let word = |[last, smoothed, least, greatest]: [u32; 4]| {
            u64::from(last) | u64::from(smoothed) << 16 | u64::from(least) << 32 | u64::from(greatest) << 48
        };
        if is_first {
            return self.0.store(word([at; 4]), Ordering::Relaxed);
        }
        let [_, smoothed, least, greatest] = self.parts();
        let before = least_at::<BITS>(smoothed);
        // An eighth of the way, to the nearest place.
        let next = before - before / 8 + ns / 8;
        let half = (1 << (next | 1 << BITS).ilog2().saturating_sub(BITS)) / 2;
        let smoothed = place::<BITS>(next.saturating_add(half));
        self.0.store(word([at, smoothed, least.min(at), greatest.max(at)]), Ordering::Relaxed);
    }

    #[inline]
    fn parts(&self) -> [u32; 4] {
        let word = self.0.load(Ordering::Relaxed);
        [word as u16, (word >> 16) as u16, (word >> 32) as u16, (word >> 48) as u16].map(u32::from)
    }

    fn times(&self, samples: u64) -> Times {
        let [last_ns, smoothed_ns, least_ns, greatest_ns] = self.parts().map(least_at::<BITS>);
        if samples == 0 {
            return Times::default();
        }
        Times { samples, last_ns, smoothed_ns, least_ns, greatest_ns }
    }
}

/// See the module.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct FlowMeasured {
    server_delay: Kind,
    round_trip: Kind,
    end_to_end: Kind,
    /// The end-to-end time that the other side has measured.
    told: Kind,
    /// Samples of the server delay; of the round trip; of the time end to end; of what was told. The last three stay at the
    /// greatest number that there is.
    answers: AtomicU64,
    trips: AtomicU32,
    ends: AtomicU32,
    tellings: AtomicU32,
    /// Packets a second of the other box.
    rate: AtomicU32,
    /// `time (32) | Global Pointer (32)` from which the rate is counted; the time in units of [`TICK`]. 0: none yet.
    pointer: AtomicU64,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<FlowMeasured>() == 64);

/// A time of a Global Pointer, as a power of two of nanoseconds: about 1 ms.
const TICK: u32 = 20;
/// Ticks, at least, between two Global Pointers of which a rate is made: 0.2 s.
const LEAST_TICKS: u32 = 200;
/// And at most: a minute. In a longer time the pointer may have run around.
const MOST_TICKS: u32 = 60_000;

/// Whether it is the first.
fn add_one(counter: &AtomicU32) -> bool {
    let before = counter.load(Ordering::Relaxed);
    counter.store(before.saturating_add(1), Ordering::Relaxed);
    before == 0
}

impl FlowMeasured {
    /// What a packet has told, as far as it has.
    #[inline]
    pub(crate) fn take(&self, sample: &Sample) {
        if let Some(ns) = sample.server_delay_ns {
            let before = self.answers.load(Ordering::Relaxed);
            self.answers.store(before + 1, Ordering::Relaxed);
            self.server_delay.add(ns, before == 0);
        }
        if let Some(ns) = sample.end_to_end_ns {
            self.end_to_end.add(ns, add_one(&self.ends));
        }
        if let Some(ns) = sample.round_trip_ns {
            self.round_trip.add(ns, add_one(&self.trips));
        }
    }

    /// The other side has told the end-to-end time that it measured.
    #[inline]
    pub(crate) fn tell(&self, end_to_end_ns: u64) {
        self.told.add(end_to_end_ns, add_one(&self.tellings));
    }

    /// A packet with this Global Pointer was received now.
    pub(crate) fn pointer(&self, pointer: u32, now_ns: u64) {
        let (before, now) = (self.pointer.load(Ordering::Relaxed), (now_ns >> TICK) as u32);
        let (packets, ticks) = (pointer.wrapping_sub(before as u32), now.wrapping_sub((before >> 32) as u32));
        let begins = before == 0 || ticks > MOST_TICKS;
        // A pointer behind the one before is a late packet's.
        if !begins && (ticks < LEAST_TICKS || packets as i32 <= 0) {
            return;
        }
        let rate = if begins { 0 } else { u64::from(packets) * 1_000_000_000 / (u64::from(ticks) << TICK) };
        self.rate.store(u32::try_from(rate).unwrap_or(u32::MAX), Ordering::Relaxed);
        self.pointer.store(u64::from(now) << 32 | u64::from(pointer), Ordering::Relaxed);
    }

    /// Packets a second of the other box, unless it was heard of more than a minute ago, or only once.
    pub(crate) fn rate(&self, now_ns: u64) -> Option<u64> {
        let since = ((now_ns >> TICK) as u32).wrapping_sub((self.pointer.load(Ordering::Relaxed) >> 32) as u32);
        let rate = self.rate.load(Ordering::Relaxed);
        (rate > 0 && since <= MOST_TICKS).then_some(u64::from(rate))
    }

    pub(crate) fn server_delay(&self) -> Times {
        self.server_delay.times(self.answers.load(Ordering::Relaxed))
    }

    pub(crate) fn round_trip(&self) -> Times {
        self.round_trip.times(u64::from(self.trips.load(Ordering::Relaxed)))
    }

    pub(crate) fn end_to_end(&self) -> Times {
        self.end_to_end.times(u64::from(self.ends.load(Ordering::Relaxed)))
    }

    pub(crate) fn told(&self) -> Times {
        self.told.times(u64::from(self.tellings.load(Ordering::Relaxed)))
    }

    pub(crate) fn clear(&self) {
        let Self { server_delay, round_trip, end_to_end, told, answers, trips, ends, tellings, rate, pointer } = self;
        for word in [&server_delay.0, &round_trip.0, &end_to_end.0, &told.0, answers, pointer] {
            word.store(0, Ordering::Relaxed);
        }
        for word in [trips, ends, tellings, rate] {
            word.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn times_are_kept_to_a_thousandth(times in prop::collection::vec(0u64..1 << 45, 1..50)) {
            let measured = FlowMeasured::default();
            for &ns in &times {
                measured.take(&Sample { server_delay_ns: Some(ns), ..Sample::default() });
            }
            let kept = measured.server_delay();
            let near = |a: u64, b: u64| a.abs_diff(b) <= b / 1000;
            let (least, greatest) = (*times.iter().min().expect("one"), *times.iter().max().expect("one"));
            prop_assert_eq!(kept.samples, times.len() as u64);
            prop_assert!(near(kept.last_ns, times[times.len() - 1]) && near(kept.least_ns, least));
            prop_assert!(near(kept.greatest_ns, greatest));
            prop_assert!(kept.smoothed_ns <= greatest + greatest / 500 && kept.smoothed_ns + least / 500 >= least);
            prop_assert_eq!(measured.round_trip(), Times::default());
        }
    }

    #[test]
    fn the_average_comes_to_a_new_time_and_stays() {
        let measured = FlowMeasured::default();
        for ns in [1_000_000u64, 100_000_000, 50_000] {
            let sample = Sample {
                server_delay_ns: Some(ns),
                end_to_end_ns: Some(2 * ns),
                round_trip_ns: Some(ns),
                is_told: false,
            };
            (0..100).for_each(|_| measured.take(&sample));
            let kept = measured.round_trip().smoothed_ns;
            assert!(kept.abs_diff(ns) < ns / 100, "{kept} for {ns}");
        }
        measured.clear();
        assert_eq!((measured.end_to_end(), measured.server_delay()), (Times::default(), Times::default()));
    }

    #[test]
    fn a_rate_is_made_of_global_pointers() {
        const SECOND: u64 = 1_000_000_000;
        let measured = FlowMeasured::default();
        let mut pointer = u32::MAX - 1500;
        for i in 0..5u64 {
            measured.pointer(pointer, i * SECOND);
            measured.pointer(pointer.wrapping_sub(9), i * SECOND + SECOND / 2); // a late one
            pointer = pointer.wrapping_add(1000);
        }
        let rate = measured.rate(5 * SECOND).expect("a rate");
        assert!(rate.abs_diff(1000) < 10, "{rate}");
        assert_eq!(measured.rate(100 * SECOND), None, "long ago");
        measured.pointer(3, 200 * SECOND);
        assert_eq!(measured.rate(200 * SECOND), None, "it begins anew");
        measured.pointer(503, 201 * SECOND);
        assert!(measured.rate(201 * SECOND).expect("a rate").abs_diff(500) < 5);
    }
}
