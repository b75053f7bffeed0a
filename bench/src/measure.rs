//! How every figure is taken: the candidates of one comparison run in turns, round by round, so that whatever the machine
//! does meanwhile hits all of them; the median of the rounds counts, with its quartiles beside it.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One figure: the median of its rounds, and the quartiles around it.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize, Debug)]
pub struct Figure {
    /// Half of the rounds were below.
    pub median: f64,
    /// A quarter of the rounds were below.
    pub q1: f64,
    /// A quarter of the rounds were above.
    pub q3: f64,
}

impl Figure {
    /// Of these measurements; all zero when there are none.
    #[must_use]
    pub fn of(samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |quarter: usize| sorted.get((sorted.len().max(1) - 1) * quarter / 4).copied().unwrap_or(0.0);
        Self { median: at(2), q1: at(1), q3: at(3) }
    }

    /// From the first to the third quartile.
    #[must_use]
    pub fn spread(&self) -> f64 {
        self.q3 - self.q1
    }
}

/// Runs every candidate once per round, in turns; a figure for each, in their order.
///
/// # Errors
/// Of the first candidate that fails.
pub fn interleave<C>(
    rounds: usize,
    candidates: &mut [C],
    measure: impl FnMut(&mut C) -> anyhow::Result<f64>,
) -> anyhow::Result<Vec<Figure>> {
    interleave_with_peers(rounds, candidates, |_| false, measure)?.into_iter().collect()
}

/// The same beside peers, which are only there to compare with: one that fails is left out from then on, and has its error
/// in the place of a figure.
///
/// # Errors
/// Of the first candidate that fails and is no peer.
pub fn interleave_with_peers<C>(
    rounds: usize,
    candidates: &mut [C],
    is_peer: impl Fn(&C) -> bool,
    mut measure: impl FnMut(&mut C) -> anyhow::Result<f64>,
) -> anyhow::Result<Vec<anyhow::Result<Figure>>> {
    let mut samples: Vec<anyhow::Result<Vec<f64>>> = candidates.iter().map(|_| Ok(Vec::new())).collect();
    for round in 0..rounds.max(1) {
        for i in 0..candidates.len() {
            // Each round begins with another one: none always runs behind the same neighbour.
            let at = (i + round) % candidates.len();
            let Ok(taken) = &mut samples[at] else { continue };
            match measure(&mut candidates[at]) {
                Ok(figure) => taken.push(figure),
                Err(error) if is_peer(&candidates[at]) => samples[at] = Err(error),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(samples.into_iter().map(|s| s.map(|s| Figure::of(&s))).collect())
}

/// What a report says of a peer that is not there: on one line, and of what the peer itself has said the end.
#[must_use]
pub fn not_measured(peer: &str, error: &anyhow::Error) -> String {
    /// Octets of it that are of use.
    const END: usize = 300;
    let text = format!("{error:#}");
    let lines: Vec<_> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let (first, rest) = lines.split_first().map_or(("", &[][..]), |(first, rest)| (*first, rest));
    let rest = rest.join(" | ");
    let from = (rest.len().saturating_sub(END)..=rest.len()).find(|&at| rest.is_char_boundary(at)).unwrap_or(0);
    let end = if from > 0 {
        format!(" ...{}", &rest[from..])
    } else if rest.is_empty() {
        rest
    } else {
        format!(" {rest}")
    };
    format!("{peer}: not measured: {first}{end}")
}

/// Time that this thread has had a core: what else runs on the machine takes turns with it, but is not counted.
#[must_use]
pub fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// A histogram of times in cycles, to a thousandth of each, up to six minutes at 3 GHz. All its memory is there from the
/// start: none is taken while something is measured.
#[must_use]
pub fn cycles() -> Histogram<u64> {
    Histogram::new_with_max(1 << 40, 3).expect("bounds that a histogram can have")
}

/// Numbers at random, the same in every run (xorshift64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// The next number.
    #[inline]
    pub const fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// One below `bound`.
    #[inline]
    pub const fn below(&mut self, bound: usize) -> usize {
        ((self.next() as u128 * bound as u128) >> 64) as usize
    }

    /// Fills octets.
    pub fn fill(&mut self, octets: &mut [u8]) {
        octets.iter_mut().for_each(|o| *o = (self.next() >> 40) as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_of_odd_even_and_no_samples() {
        assert_eq!(Figure::of(&[5.0, 1.0, 3.0, 2.0, 4.0]), Figure { median: 3.0, q1: 2.0, q3: 4.0 });
        assert_eq!(Figure::of(&[7.0]), Figure { median: 7.0, q1: 7.0, q3: 7.0 });
        assert_eq!(Figure::of(&[]).spread(), 0.0);
    }

    /// What reports take from it, which the crate's documentation leaves open: rounding, and no times at all.
    #[test]
    fn quantiles_are_those_of_the_sorted_times() {
        let mut random = Random::new(1);
        for shift in [25, 30, 40, 60] {
            let mut times: Vec<u64> = (0..10_000).map(|_| random.next() >> (shift + random.below(4))).collect();
            let mut histogram = cycles();
            times.iter().for_each(|&t| histogram.saturating_record(t));
            times.sort_unstable();
            for q in [0.0, 0.01, 0.5, 0.99, 0.999, 0.9999, 1.0] {
                let at = ((times.len() as f64 * q).ceil() as usize).clamp(1, times.len()) - 1;
                let (found, real) = (histogram.value_at_quantile(q), times[at]);
                assert!(found.abs_diff(real) <= real / 1000, "{q} of times >> {shift}: {found}, and it is {real}");
            }
            assert_eq!(histogram.len(), 10_000);
            assert!(times[0] - histogram.min() <= times[0] / 1000);
        }
        assert_eq!((cycles().value_at_quantile(0.5), cycles().min()), (0, 0));
    }

    #[test]
    fn work_takes_cpu_time() {
        let before = cpu_time();
        let mut random = Random::new(1);
        while cpu_time() == before {
            std::hint::black_box(random.next());
        }
        assert!(cpu_time() > before);
    }

    #[test]
    fn a_peer_that_fails_is_left_out_and_ours_that_fails_ends_it() {
        let mut asked = Vec::new();
        let mut candidates = [("ours", 1.0), ("peer", 2.0), ("broken", 3.0)];
        let figures = interleave_with_peers(
            3,
            &mut candidates,
            |c| c.0 != "ours",
            |c| {
                asked.push(c.0);
                anyhow::ensure!(c.0 != "broken", "it ended:\nEAL: no memory\n\n  so it is\n");
                Ok(c.1)
            },
        )
        .expect("ours is measured");
        let medians: Vec<_> = figures.iter().map(|f| f.as_ref().map(|f| f.median).ok()).collect();
        assert_eq!(medians, [Some(1.0), Some(2.0), None]);
        assert_eq!(asked.iter().filter(|a| **a == "broken").count(), 1, "it is not asked again");
        let error = figures.into_iter().find_map(Result::err).expect("an error");
        assert_eq!(not_measured("broken", &error), "broken: not measured: it ended: EAL: no memory | so it is");
        let long = anyhow::anyhow!("it ended:\n{}\u{e4}end", "\u{e4}".repeat(1000));
        let note = not_measured("x", &long);
        assert!(
            note.starts_with("x: not measured: it ended: ...") && note.ends_with("end") && note.len() < 400,
            "{note}"
        );
        let failed = interleave_with_peers(1, &mut candidates, |c| c.0 == "ours", |_| anyhow::bail!("no"));
        assert!(failed.is_err());
    }

    #[test]
    fn candidates_take_turns() {
        let mut order = Vec::new();
        let figures = interleave(2, &mut [1.0, 2.0], |c| {
            order.push(*c);
            Ok(*c)
        })
        .expect("measured");
        assert_eq!(order, [1.0, 2.0, 2.0, 1.0]);
        assert_eq!(figures.iter().map(|f| f.median).collect::<Vec<_>>(), [1.0, 2.0]);
    }
}
