//! `bench latency`: how much longer a packet takes through the box than through an empty loop in its place, and what a new
//! flow, another Kri and another generation cost the packet that meets them.

use crate::measure::{Figure, cycles};
use crate::plot::Plot;
use crate::ports::child::{self, Task};
use crate::ports::frames::Frame;
use crate::ports::job::OptionForm;
use crate::ports::lab::{self, Device, Kind, Stream, Trial};
use crate::report::Report;
use anyhow::Result;
use clap::Args;
use hdrhistogram::Histogram;
use rig::Directory;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Shares of all packets whose delay is reported.
const QUANTILES: [(&str, f64); 4] = [("50 %", 0.5), ("99 %", 0.99), ("99.9 %", 0.999), ("99.99 %", 0.9999)];
/// Shares of the highest rate.
const LOADS: [f64; 3] = [0.1, 0.5, 0.9];
const FLOWS: u32 = 1000;
/// Every so many packets a new flow, where new flows are measured.
const FRESH_EVERY: u64 = 100;
/// Flows that fit, new ones included.
const ROOM: u32 = 800_000;
/// Between two generations.
const GENERATION: Duration = Duration::from_millis(20);

/// Arguments of `bench latency`.
#[derive(Args, Clone, Debug)]
pub struct LatencyArgs {
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Runs of each device; medians are reported
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds per load and run
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// Frame size: octets without checksum (80 or more), or imix
    #[arg(long, default_value = "80")]
    frame: Frame,
}

/// One run, in a process of its own.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct LatencyJob {
    device: Device,
    frame: Frame,
    seconds: f64,
    /// Packets per second; empty: only the highest rate is measured.
    rates: Vec<f64>,
    /// Packets per second for new flows, rotations and generations; none: they are not measured.
    events: Option<f64>,
}

/// Delays under one load, in nanoseconds.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct Delays {
    /// Whose.
    what: String,
    /// How many packets.
    packets: u64,
    /// In the order of the quantiles reported.
    quantiles: Vec<f64>,
    trial: Trial,
}

/// What a run gave.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct LatencySample {
    highest: f64,
    delays: Vec<Delays>,
}

fn delays(what: &str, histogram: &Histogram<u64>, trial: Trial) -> Delays {
    let ns = 1e9 / dpdk_ffi::tsc_hz() as f64;
    let quantiles = QUANTILES.iter().map(|(_, q)| histogram.value_at_quantile(*q) as f64 * ns).collect();
    Delays { what: what.to_owned(), packets: histogram.len(), quantiles, trial }
}

impl Task for LatencyJob {
    const NAME: &'static str = "latency";
    type Sample = LatencySample;

    fn measure(&self) -> Result<LatencySample> {
        measure(self)
    }
}

/// Measures in this process.
fn measure(job: &LatencyJob) -> Result<LatencySample> {
    let time = Duration::from_secs_f64(job.seconds);
    // A rotation comes every 32,767 packets of a flow: one flow has the most of them.
    let rotation = Stream { frame: job.frame, flows: 1, fresh_every: 0, ends_interrupted: false };
    let plain = Stream { flows: FLOWS, ..rotation };
    let fresh = Stream { fresh_every: FRESH_EVERY, ..plain };
    lab::run(job.device, job.frame, ROOM, |generator| {
        let mut sample = LatencySample { highest: 0.0, delays: Vec::new() };
        generator.trial(&plain, None, Duration::from_millis(100), |_, _| ())?;
        if job.rates.is_empty() {
            sample.highest = generator.trial(&plain, None, time, |_, _| ())?.rate();
        }
        for (rate, load) in job.rates.iter().zip(LOADS) {
            let mut histogram = cycles();
            let trial = generator.trial(&plain, Some(*rate), time, |_, cycles| histogram.saturating_record(cycles))?;
            sample.delays.push(delays(&load_name(load), &histogram, trial));
        }
        let Some(rate) = job.events else { return Ok(sample) };
        for (what, stream, wanted) in [
            ("first of a new flow", &fresh, Kind::NewFlow),
            ("first under a new Kri", &rotation, Kind::Rotation),
            ("first under a new generation", &plain, Kind::Generation),
        ] {
            // They are few: about 30 in a million packets.
            let patience = if wanted == Kind::Rotation { 4 } else { 1 };
            let (mut of_it, mut trial, mut left) = (cycles(), Trial::default(), time * patience);
            let mut took = |kind, cycles| {
                if kind == wanted {
                    of_it.saturating_record(cycles);
                }
            };
            while !left.is_zero() {
                let step = if wanted == Kind::Generation { left.min(GENERATION) } else { left };
                if wanted == Kind::Generation {
                    generator.new_generation(stream)?;
                }
                let part = generator.trial(stream, Some(rate), step, &mut took)?;
                trial = trial.and(&part);
                left -= step;
            }
            sample.delays.push(delays(what, &of_it, trial));
        }
        Ok(sample)
    })
}

fn load_name(load: f64) -> String {
    format!("{:.0} %", load * 100.0)
}

/// What is drawn of it.
#[must_use]
pub fn plot(report: &Report) -> Plot<'static> {
    let title = format!("Delay by load, by share of packets ({})", report.machine.cpu);
    Plot { title, x: "load", lines: &["device"], panels: "quantile", log: true }
}

/// Measures and prints.
///
/// # Errors
/// As [`report`].
pub fn run(args: &LatencyArgs) -> Result<bool> {
    report(args)?.print(args.json)?;
    Ok(true)
}

/// Measures.
///
/// # Errors
/// A run fails.
pub fn report(args: &LatencyArgs) -> Result<Report> {
    let dir = Directory::scratch()?;
    let job = |device, rates, events| LatencyJob { device, frame: args.frame, seconds: args.seconds, rates, events };
    let measure = |job: LatencyJob| -> Result<LatencySample> {
        let limit = Duration::from_secs_f64(60.0 + job.seconds * 20.0);
        child::measure("latency", &job, dir.path(), limit)
    };
    let sealed = Device::Add(OptionForm::Sealed);
    let highest: Vec<_> = (0..args.rounds.clamp(1, 3))
        .map(|_| measure(job(sealed, Vec::new(), None)).map(|s| s.highest))
        .collect::<Result<_>>()?;
    let highest = Figure::of(&highest).median;
    let rates: Vec<_> = LOADS.iter().map(|l| l * highest).collect();

    let devices = [Device::Copy, Device::Pass, sealed];
    let mut rounds: Vec<Vec<LatencySample>> = vec![Vec::new(); devices.len()];
    for round in 0..args.rounds.max(1) {
        for i in 0..devices.len() {
            let at = (i + round) % devices.len();
            let events = (devices[at] == sealed).then_some(rates[1]);
            rounds[at].push(measure(job(devices[at], rates.clone(), events))?);
        }
    }
    let title = format!(
        "Delay of a packet of {} octets from one net_ring to the next, {FLOWS} flows, at shares of the highest rate of ours, \
         add sealed ({:.2} million packets per second)",
        args.frame,
        highest / 1e6
    );
    let mut report = Report::new("latency", title, "ns", "of the empty loop");
    for (load, share) in LOADS.iter().enumerate() {
        for (q, (quantile, _)) in QUANTILES.iter().enumerate() {
            let column =
                |device: usize| -> Vec<f64> { rounds[device].iter().map(|s| s.delays[load].quantiles[q]).collect() };
            let empty = column(0);
            let labels = |device: &str| {
                [("load", load_name(*share)), ("quantile", (*quantile).to_owned()), ("device", device.to_owned())]
            };
            for (i, device) in devices.iter().enumerate() {
                let figure = Figure::of(&column(i));
                let ratio = Some(figure.median / Figure::of(&empty).median).filter(|r| r.is_finite());
                report.push(&labels(device.name()), figure, ratio);
            }
            let added: Vec<_> = column(2).iter().zip(&empty).map(|(ours, empty)| ours - empty).collect();
            report.push(&labels("added by add sealed"), Figure::of(&added), None);
        }
    }
    events(&mut report, &rounds[2]);
    notes(&mut report, &rounds);
    Ok(report)
}

/// What new flows and keys cost, at half of the highest rate.
fn events(report: &mut Report, rounds: &[LatencySample]) {
    let Some(first) = rounds.first() else { return };
    for i in LOADS.len()..first.delays.len() {
        let what = &first.delays[i].what;
        let packets: u64 = rounds.iter().map(|s| s.delays[i].packets).sum();
        if packets == 0 {
            report.notes.push(format!("{what}: none was measured; give it more --seconds or a quieter machine."));
            continue;
        }
        for (q, (quantile, _)) in QUANTILES.iter().enumerate().take(2) {
            let with = rounds.iter().map(|s| &s.delays[i]).filter(|d| d.packets > 0);
            let figure = Figure::of(&with.map(|d| d.quantiles[q]).collect::<Vec<_>>());
            let plain = Figure::of(&rounds.iter().map(|s| s.delays[1].quantiles[q]).collect::<Vec<_>>());
            let device = format!("ours, add sealed: {what}");
            let labels = [("load", load_name(LOADS[1])), ("quantile", (*quantile).to_owned()), ("device", device)];
            report.push(&labels, figure, None);
            if q == 0 {
                let more = figure.median - plain.median;
                report.notes.push(format!(
                    "{what}: {more:+.0} ns against any packet under the same load (medians; {packets} packets)."
                ));
            }
        }
    }
}

fn notes(report: &mut Report, rounds: &[Vec<LatencySample>]) {
    let trials = || rounds.iter().flatten().flat_map(|s| &s.delays).map(|d| d.trial);
    let (lost, offered) = (trials().map(|t| t.lost()).sum::<u64>(), trials().map(|t| t.offered).sum::<u64>());
    report.notes.push(format!(
        "{lost} of {offered} packets were lost. {} times the kernel gave the core of generator or device to another process \
         for 0.3 ms or more; the {} packets that this delayed do not count.",
        trials().map(|t| t.interrupted).sum::<u64>(),
        trials().map(|t| t.left_out).sum::<u64>(),
    ));
    report.notes.push(
        "Times are the time stamp counter's, from handing a packet to the first ring to taking it from the second. Packets \
         come one by one as they are due; a generator that was held up does not make up for it. Each quantile is taken per \
         run; the figure is the median of the runs."
            .to_owned(),
    );
}
