//! `bench rfc2544`: the highest rate without loss by binary search (RFC 2544 section 26.1), then latency, its variation
//! and the loss above that rate, as RFC 8219 asks for them; between ports of this process, with a generator on a core of
//! its own.

use crate::measure::{Figure, cycles};
use crate::plot::Plot;
use crate::ports::child::{self, Task};
use crate::ports::frames::Frame;
use crate::ports::job::OptionForm;
use crate::ports::lab::{self, Device, Generator, Stream, Trial};
use crate::report::Report;
use anyhow::Result;
use clap::Args;
use hdrhistogram::Histogram;
use rig::Directory;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// RFC 2544's sizes without the check sequence; the least is what holds IPv6, UDP and a number.
const SIZES: [Frame; 8] = [
    Frame::Octets(80),
    Frame::Octets(124),
    Frame::Octets(252),
    Frame::Octets(508),
    Frame::Octets(1020),
    Frame::Octets(1276),
    Frame::Octets(1514),
    Frame::Imix,
];
/// Repetitions of the latency test that RFC 8219 wants.
const REPETITIONS: usize = 20;
/// Shares of the throughput at which the loss is reported.
const OVERLOAD: [f64; 3] = [1.0, 1.1, 1.5];
/// An uninterrupted part of a trial, when trials are short: seconds at least.
const SLICE: f64 = 0.025;
/// A slice in which the kernel took a core away is repeated: so many times as many slices are tried at most.
const ATTEMPTS: usize = 4;

/// Arguments of `bench rfc2544`.
#[derive(Args, Clone, Debug)]
pub struct Rfc2544Args {
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Every size, 20 searches, trials of 60 seconds in one piece: hours
    #[arg(long)]
    full: bool,
    /// Frame sizes in octets without checksum, or imix [default: 80,1514]
    #[arg(long, value_delimiter = ',')]
    frames: Vec<Frame>,
    /// Searches per size and device
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds per trial
    #[arg(long)]
    trial: Option<f64>,
    /// Where the search ends, per cent of the highest rate
    #[arg(long, default_value_t = 1.0)]
    resolution: f64,
    /// Flows
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    flows: u32,
}

/// One search, in a process of its own.
#[derive(Clone, Copy, Serialize, Deserialize, Debug)]
pub struct SearchJob {
    device: Device,
    frame: Frame,
    flows: u32,
    trial: f64,
    /// In one piece, instead of in slices.
    whole: bool,
    resolution: f64,
    repetitions: usize,
}

/// What a search and the tests at the rate it found gave.
#[derive(Clone, Default, Serialize, Deserialize, Debug)]
pub struct SearchSample {
    /// Packets per second without loss.
    throughput: f64,
    /// Median delay in each repetition, nanoseconds.
    typical: Vec<f64>,
    /// 99.9th percentile of the delay in each.
    worst: Vec<f64>,
    /// That less the least delay in each.
    variation: Vec<f64>,
    /// Per cent lost at the shares of the throughput.
    loss: Vec<f64>,
    /// Slices that were interrupted, and whether a trial had none that was not.
    interrupted: u64,
    spoilt: bool,
}

/// The highest rate up to `most` that passes, to `resolution` (a share of `most`); `None`: none does.
///
/// # Errors
/// Of a trial.
pub fn search(most: f64, resolution: f64, mut passes: impl FnMut(f64) -> Result<bool>) -> Result<Option<f64>> {
    if passes(most)? {
        return Ok(Some(most));
    }
    let (mut passed, mut failed) = (0.0, most);
    while failed - passed > most * resolution {
        let rate = (passed + failed) / 2.0;
        if passes(rate)? {
            passed = rate;
        } else {
            failed = rate;
        }
    }
    Ok((passed > 0.0).then_some(passed))
}

/// A trial out of slices in which no core was taken away.
fn trial(
    generator: &mut Generator,
    job: &SearchJob,
    rate: f64,
    sample: &mut SearchSample,
    delays: &mut Histogram<u64>,
) -> Result<Trial> {
    let stream = Stream { frame: job.frame, flows: job.flows, fresh_every: 0, ends_interrupted: true };
    // A rate that is too high by no more than the resolution has to fill the ring within a slice.
    let least = (lab::RING / (job.resolution / 100.0 * rate)).max(SLICE);
    let slice = if job.whole { job.trial } else { least.min(job.trial) };
    let slices = (job.trial / slice).ceil().max(1.0) as usize;
    let slice = Duration::from_secs_f64(slice);
    let (mut good, mut bad, mut done) = (Trial::default(), Trial::default(), 0);
    for _ in 0..slices * ATTEMPTS {
        let slice = generator.trial(&stream, Some(rate), slice, |_, t| delays.saturating_record(t))?;
        if slice.interrupted > 0 {
            sample.interrupted += 1;
            bad = bad.and(&slice);
            continue;
        }
        good = good.and(&slice);
        done += 1;
        if done == slices {
            break;
        }
    }
    sample.spoilt |= done == 0;
    Ok(if done == 0 { bad } else { good })
}

impl Task for SearchJob {
    const NAME: &'static str = "rfc2544";
    type Sample = SearchSample;

    fn measure(&self) -> Result<SearchSample> {
        search_all(self)
    }
}

/// Searches in this process.
fn search_all(job: &SearchJob) -> Result<SearchSample> {
    lab::run(job.device, job.frame, job.flows, |generator| {
        let mut sample = SearchSample::default();
        let stream = Stream { frame: job.frame, flows: job.flows, fresh_every: 0, ends_interrupted: false };
        // Every flow is known before anything counts.
        let seconds = Duration::from_secs_f64(0.2 + f64::from(job.flows) * 4e-6);
        generator.trial(&stream, None, seconds, |_, _| ())?;
        let most = generator.trial(&stream, None, Duration::from_millis(200), |_, _| ())?;
        let most = most.rate();
        let mut unused = cycles();
        let mut rates = Vec::new();
        let found = search(most * 1.05, job.resolution / 100.0, |rate| {
            let trial = trial(generator, job, rate, &mut sample, &mut unused)?;
            rates.push((rate, trial.rate()));
            Ok(trial.lost() == 0)
        })?;
        let Some(rate) = found else { return Ok(sample) };
        // What was really offered: the generator leaves out what it is late with.
        sample.throughput = rates.iter().rev().find(|(r, _)| *r == rate).map_or(rate, |(_, real)| *real);
        let ns = 1e9 / dpdk_ffi::tsc_hz() as f64;
        for _ in 0..job.repetitions {
            let mut delays = cycles();
            trial(generator, job, rate, &mut sample, &mut delays)?;
            if delays.is_empty() {
                continue; // it was interrupted all the time, which the notes say
            }
            let worst = delays.value_at_quantile(0.999) as f64 * ns;
            sample.typical.push(delays.value_at_quantile(0.5) as f64 * ns);
            sample.worst.push(worst);
            sample.variation.push(worst - delays.min() as f64 * ns);
        }
        for share in OVERLOAD {
            let trial = trial(generator, job, rate * share, &mut sample, &mut unused)?;
            sample.loss.push(trial.lost() as f64 / trial.offered.max(1) as f64 * 100.0);
        }
        Ok(sample)
    })
}

/// What is drawn of it.
#[must_use]
pub fn plot(report: &Report) -> Plot<'static> {
    let title = format!("RFC 2544 and RFC 8219, by metric ({})", report.machine.cpu);
    Plot { title, x: "frame", lines: &["device"], panels: "metric", log: true }
}

/// Measures and prints.
///
/// # Errors
/// As [`report`].
pub fn run(args: &Rfc2544Args) -> Result<bool> {
    report(args)?.print(args.json)?;
    Ok(true)
}

/// Median, and 1st and 99th percentile in the places of the quartiles.
fn percentiles(samples: &[f64]) -> Figure {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |q: f64| sorted.get(((sorted.len() as f64 * q).ceil() as usize).max(1) - 1).copied().unwrap_or(0.0);
    Figure { median: Figure::of(samples).median, q1: at(0.01), q3: at(0.99) }
}

/// Measures.
///
/// # Errors
/// A search fails.
pub fn report(args: &Rfc2544Args) -> Result<Report> {
    let dir = Directory::scratch()?;
    let frames: &[Frame] = match &args.frames[..] {
        [] if args.full => &SIZES,
        [] => &[Frame::Octets(80), Frame::Octets(1514)],
        chosen => chosen,
    };
    let rounds = args.rounds.unwrap_or(if args.full { REPETITIONS } else { 5 }).max(1);
    let trial = args.trial.unwrap_or(if args.full { 60.0 } else { 0.2 });
    let devices = [Device::Copy, Device::Add(OptionForm::Sealed)];
    let title = format!(
        "RFC 2544 and RFC 8219 between net_rings of one process: {} flows, trials of {trial} s, rates to {} per cent; frames in \
         octets without checksum",
        args.flows, args.resolution
    );
    let mut report = Report::new("rfc2544", title, "value", "of the empty loop");
    report.spread = "1st to 99th percentile".into();
    let (mut interrupted, mut spoilt) = (0, false);
    for &frame in frames {
        let mut samples: [Vec<SearchSample>; 2] = Default::default();
        for round in 0..rounds {
            for i in 0..devices.len() {
                let at = (i + round) % devices.len();
                let job = SearchJob {
                    device: devices[at],
                    frame,
                    flows: args.flows,
                    trial,
                    whole: args.full,
                    resolution: args.resolution,
                    repetitions: REPETITIONS.div_ceil(rounds),
                };
                let trials = (1.0 / (job.resolution / 100.0)).log2() + 6.0 + job.repetitions as f64;
                let limit = Duration::from_secs_f64(60.0 + trials * job.trial * 2.0 * ATTEMPTS as f64);
                let sample = child::measure("rfc2544", &job, dir.path(), limit)?;
                interrupted += sample.interrupted;
                spoilt |= sample.spoilt;
                samples[at].push(sample);
            }
        }
        rows(&mut report, frame, &devices, &samples);
    }
    report.notes.push(format!(
        "Latency is RFC 1242's for store and forward, from the generator's handing a packet to the first ring to its taking it \
         from the second, of every packet, at the throughput; RFC 8219's typical latency is the median of a repetition, its \
         worst case the 99.9th percentile, PDV that less the least. At least {REPETITIONS} repetitions; their median, and 1st \
         and 99th percentile."
    ));
    report.notes.push(format!(
        "Trials are shorter than the RFCs' 60 and 120 seconds{}. {interrupted} slices were repeated since the kernel gave a core \
         to another process meanwhile.{}",
        if args.full { "" } else { ", and are made of slices of at least 25 ms in which a rate too high by the resolution would fill the ring; the rings are empty before each (--full: in one piece)" },
        if spoilt { " SPOILT: some trials had no slice without that, and count with it. Use a quieter machine." } else { "" }
    ));
    Ok(report)
}

fn rows(report: &mut Report, frame: Frame, devices: &[Device; 2], samples: &[Vec<SearchSample>; 2]) {
    let all = |of: &dyn Fn(&SearchSample) -> Vec<f64>| {
        [&samples[0], &samples[1]].map(|s| percentiles(&s.iter().flat_map(of).collect::<Vec<_>>()))
    };
    let mut push = |metric: String, figures: [Figure; 2]| {
        for (device, figure) in devices.iter().zip(figures) {
            let labels =
                [("frame", frame.to_string()), ("metric", metric.clone()), ("device", device.name().to_owned())];
            let ratio = (figures[0].median > 0.0).then(|| figure.median / figures[0].median);
            report.push(&labels, figure, ratio);
        }
    };
    push("throughput, packets per second".to_owned(), all(&|s| vec![s.throughput]));
    push("typical latency, ns".to_owned(), all(&|s| s.typical.clone()));
    push("worst case latency, ns".to_owned(), all(&|s| s.worst.clone()));
    push("PDV, ns".to_owned(), all(&|s| s.variation.clone()));
    for (i, share) in OVERLOAD.iter().enumerate() {
        let metric = format!("frame loss at {:.0} % of throughput, per cent", share * 100.0);
        push(metric, all(&|s| s.loss.get(i).copied().into_iter().collect()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_finds_the_limit_of_a_device() {
        for limit in [0.4, 3.3, 77.7, 99.9] {
            let mut trials = 0;
            let found = search(100.0, 0.001, |rate| {
                trials += 1;
                Ok(rate <= limit)
            });
            let found = found.expect("no trial fails").expect("some rate passes");
            assert!(found <= limit && limit - found <= 0.1, "{found}, and the limit is {limit}");
            assert!(trials <= 12, "{trials} trials for a limit of {limit}");
        }
    }

    #[test]
    fn a_device_without_limit_passes_everything_and_a_dead_one_nothing() {
        assert_eq!(search(100.0, 0.01, |_| Ok(true)).expect("no error"), Some(100.0));
        assert_eq!(search(100.0, 0.01, |_| Ok(false)).expect("no error"), None);
        assert!(search(100.0, 0.01, |_| anyhow::bail!("broken")).is_err());
    }

    #[test]
    fn a_hundred_repetitions_have_their_percentiles() {
        let samples: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let figure = percentiles(&samples);
        assert_eq!((figure.q1, figure.q3), (1.0, 99.0));
        assert!((figure.median - 50.0).abs() <= 1.0);
        assert_eq!(percentiles(&[]).median, 0.0);
    }
}
