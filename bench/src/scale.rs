//! `bench scale`: nanoseconds per packet as flows, changes of keys and new flows become more, and what that means for
//! links of 100 and 400 Gbit/s on paper.

use crate::measure::Figure;
use crate::plot::Plot;
use crate::ports::box_state;
use crate::ports::chain::{Chain, ChainSetting, ROUND_PACKETS};
use crate::ports::child::{self, Task};
use crate::ports::environment;
use crate::ports::frames::{FlowOrder, Frame};
use crate::ports::job::OptionForm;
use crate::ports::queues::Order;
use crate::ports::recipe::Recipe;
use crate::report::Report;
use anyhow::{Context, Result, bail};
use clap::Args;
use pipeline::flow::table::TableSize;
use pipeline::observe::counter::Counter;
use pipeline::state::policies::InboundAction;
use rig::Directory;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Numbers of flows, as far as memory goes.
const FLOWS: [u32; 8] = [1000, 16_384, 65_536, 262_144, 1_000_000, 2_000_000, 4_000_000, 8_000_000];
/// One packet of so many is the first of a new flow.
const NEW_FLOW_IN: [u64; 3] = [1000, 100, 10];
/// Flows that are there meanwhile.
const BASE: u32 = 65_536;
/// One packet of so many is the first of its flow under a new key.
const NEW_KEY_IN: [u64; 3] = [100, 30, 10];
/// Flows of those measurements: few, so that every one has its turn often.
const KEYED: u32 = 1000;
/// Frames: Ethernet's check sequence, preamble and gap come on top of what the box sees.
const ON_THE_WIRE: f64 = 24.0;
/// What a sealed option adds.
const ADDED: f64 = 40.0;

/// Arguments of `bench scale`.
#[derive(Args, Clone, Debug)]
pub struct ScaleArgs {
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Runs of each case; the median is reported
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds per run
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// MiB that both flow tables together may take [default: half of what is free]
    #[arg(long)]
    memory: Option<u64>,
    /// Only so many flows, and no changes
    #[arg(long, value_delimiter = ',')]
    flows: Vec<u32>,
}

/// What changes meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "lowercase")]
enum Change {
    Nothing,
    /// One packet of so many begins a flow.
    NewFlows(u64),
    /// One packet of so many needs another key: new generations, as often as that takes.
    Keys(u64),
}

/// One run, in a process of its own.
#[derive(Clone, Copy, Serialize, Deserialize, Debug)]
pub struct ScaleJob {
    flows: u32,
    change: Change,
    seconds: f64,
}

/// What a run gave.
#[derive(Clone, Copy, Serialize, Deserialize, Debug)]
pub struct ScaleSample {
    add: f64,
    remove: f64,
    /// What adding cost in the same process before anything changed.
    plain: f64,
    /// Packets per flow begun, or key derived by box A.
    one_in: f64,
}

/// New flows that fit beside those that are there.
const NEW_FLOWS: u32 = 500_000;

impl Task for ScaleJob {
    const NAME: &'static str = "scale";
    type Sample = ScaleSample;

    fn measure(&self) -> Result<ScaleSample> {
        measure(self)
    }
}

/// Measures in this process.
fn measure(job: &ScaleJob) -> Result<ScaleSample> {
    let setting = ChainSetting {
        recipe: Recipe::plain(Frame::Octets(80)),
        mode: OptionForm::Sealed.mode(),
        inbound: InboundAction::Remove,
        flows: job.flows + if matches!(job.change, Change::NewFlows(_)) { NEW_FLOWS } else { 0 },
    };
    let mixed = FlowOrder::new(job.flows, (0, 1));
    let mut chain = Chain::new(&setting, Order::Mixed(mixed.clone()))?;
    chain.insert_all(job.flows, Order::Mixed(mixed.clone()))?;
    chain.feed.order(Order::Mixed(mixed.clone()));
    chain.rounds_for(Duration::from_millis(150))?;
    chain.rounds_for(Duration::from_secs_f64(if job.change == Change::Nothing { 0.0 } else { job.seconds / 2.0 }))?;
    let plain = chain.cycles_a.nanoseconds();
    if let Change::NewFlows(every) = job.change {
        chain.feed.order(Order::Growing { old: mixed, every, made: 0, next: job.flows });
    }
    let counts = |chain: &Chain| (chain.a.counters.flows_inserted.get(), chain.a.counters.derivations.get());
    let before = counts(&chain);
    chain.begin();
    let (start, time) = (Instant::now(), Duration::from_secs_f64(job.seconds));
    let (mut rounds, mut generation, mut next) = (0u64, 1u32, due(job));
    while start.elapsed() < time {
        match job.change {
            Change::Keys(_) if rounds * ROUND_PACKETS >= next => {
                generation += 1;
                chain.box_a.generation(generation);
                chain.box_b.generation(generation);
                // Every flow then takes one new key.
                next += due(job);
            }
            Change::NewFlows(every) if rounds * ROUND_PACKETS / every >= u64::from(NEW_FLOWS) => break,
            _ => {}
        }
        chain.round()?;
        rounds += 1;
    }
    let after = counts(&chain);
    let removed: u64 = chain.b.counters.inbound.removed.iter().map(Counter::get).sum();
    let received = chain.b.counters.inbound.received.get();
    if received != removed {
        bail!("box B took the option out of {removed} of {received} packets");
    }
    let events = match job.change {
        Change::Nothing => 0,
        Change::NewFlows(_) => after.0 - before.0,
        Change::Keys(_) => after.1 - before.1,
    };
    let one_in = (rounds * ROUND_PACKETS) as f64 / events.max(1) as f64;
    Ok(ScaleSample { add: chain.cycles_a.nanoseconds(), remove: chain.cycles_b.nanoseconds(), plain, one_in })
}

/// Packets between two generations: so that one in so many takes another key.
fn due(job: &ScaleJob) -> u64 {
    if let Change::Keys(every) = job.change { every * u64::from(job.flows) } else { 0 }
}

/// What is drawn of it.
#[must_use]
pub fn plot(report: &Report) -> Plot<'static> {
    let title = format!("Cost of a packet as flows grow ({})", report.machine.cpu);
    Plot { title, x: "flows", lines: &["change"], panels: "action", log: false }
}

/// Measures and prints.
///
/// # Errors
/// As [`report`].
pub fn run(args: &ScaleArgs) -> Result<bool> {
    report(args)?.print(args.json)?;
    Ok(true)
}

/// Octets that both boxes' tables take for so many flows.
fn tables(flows: u32) -> u64 {
    let capacity = box_state::capacity(flows);
    2 * TableSize { capacity, tombstones: box_state::TOMBSTONES }.memory() as u64
}

/// Measures.
///
/// # Errors
/// A run fails.
pub fn report(args: &ScaleArgs) -> Result<Report> {
    let dir = Directory::scratch()?;
    let memory = args.memory.map_or_else(|| environment::free_memory() / 2, |m| m << 20);
    let wanted: Vec<u32> = if args.flows.is_empty() { FLOWS.to_vec() } else { args.flows.clone() };
    let fits: Vec<u32> = wanted.iter().copied().filter(|f| tables(*f) <= memory).collect();
    let job = |flows, change| ScaleJob { flows, change, seconds: args.seconds };
    let mut jobs: Vec<ScaleJob> = fits.iter().map(|f| job(*f, Change::Nothing)).collect();
    if args.flows.is_empty() && tables(BASE + NEW_FLOWS) <= memory {
        jobs.extend(NEW_FLOW_IN.iter().map(|n| job(BASE, Change::NewFlows(*n))));
        jobs.extend(NEW_KEY_IN.iter().map(|n| job(KEYED, Change::Keys(*n))));
    }
    let mut samples: Vec<Vec<ScaleSample>> = vec![Vec::new(); jobs.len()];
    for round in 0..args.rounds.max(1) {
        for i in 0..jobs.len() {
            let at = (i + round) % jobs.len();
            // Building a table of 8,000,000 flows takes longer than measuring it.
            let limit = Duration::from_secs_f64(120.0 + args.seconds * 20.0);
            samples[at].push(child::measure("scale", &jobs[at], dir.path(), limit)?);
        }
    }
    let title =
        "Cost of a packet of 80 octets, sealed: box A adds, box B removes, on one core by turns, between net_rings";
    let mut report = Report::new("scale", title, "ns per packet", "of 1,000 flows");
    let base = |of: fn(&ScaleSample) -> f64| {
        let at = jobs.iter().position(|j| j.change == Change::Nothing && j.flows == FLOWS[0])?;
        Some(Figure::of(&samples[at].iter().map(of).collect::<Vec<_>>()).median)
    };
    for (job, samples) in jobs.iter().zip(&samples) {
        let change = match job.change {
            Change::Nothing => "-".to_owned(),
            Change::NewFlows(n) => format!("a new flow in {n} packets"),
            Change::Keys(n) => format!("a new key in {n} packets"),
        };
        for (action, of) in [("add", (|s| s.add) as fn(&ScaleSample) -> f64), ("remove", |s| s.remove)] {
            let figure = Figure::of(&samples.iter().map(of).collect::<Vec<_>>());
            let labels = [
                ("flows", job.flows.to_string()),
                ("table, MiB", (tables(job.flows) >> 21).to_string()),
                ("change", change.clone()),
                ("action", action.to_owned()),
            ];
            report.push(&labels, figure, base(of).map(|b| figure.median / b));
        }
    }
    notes(&mut report, &wanted, &fits, &jobs, &samples)?;
    Ok(report)
}

fn notes(
    report: &mut Report,
    wanted: &[u32],
    fits: &[u32],
    jobs: &[ScaleJob],
    samples: &[Vec<ScaleSample>],
) -> Result<()> {
    if let Some(flows) = wanted.iter().find(|f| !fits.contains(f)) {
        report.notes.push(format!(
            "{flows} flows and more were left out: the two boxes' tables would take {} MiB of the memory that is free here.",
            tables(*flows) >> 20
        ));
    }
    for (job, samples) in jobs.iter().zip(samples) {
        let (what, n) = match job.change {
            Change::Nothing => continue,
            Change::NewFlows(n) => ("flow", n),
            Change::Keys(n) => ("key", n),
        };
        let median = |of: &dyn Fn(&ScaleSample) -> f64| Figure::of(&samples.iter().map(of).collect::<Vec<_>>()).median;
        let (more, one_in) = (median(&|s| s.add - s.plain), median(&|s| s.one_in));
        report.notes.push(format!(
            "A new {what} in {n} packets (in {one_in:.0} by box A's counters): {more:+.1} ns per packet added, {:+.0} ns per \
             {what}.",
            more * one_in
        ));
    }
    report.notes.push(
        "New keys come from new generations here. In operation a flow takes one every 32,767 packets (Kri), which is the cost \
         of a key divided by that."
            .to_owned(),
    );
    let cost = |flows: &str| {
        let of = |action| Some(report.find(&[("flows", flows), ("change", "-"), ("action", action)])?.figure.median);
        Some((of("add")?, of("remove")?))
    };
    let mut paper = Vec::new();
    for flows in ["65536", "1000000"] {
        let Some((add, remove)) = cost(flows) else { continue };
        for gbits in [100.0, 400.0] {
            for frame in [Frame::Octets(80), Frame::Imix, Frame::Octets(1500)] {
                let rate = packets_per_second(gbits, frame);
                paper.push(format!(
                    "{gbits:.0} Gbit/s outside, frames {frame}, {flows} flows: {:.1} million packets per second each way; on \
                     paper {:.1} cores to add and {:.1} to remove.",
                    rate / 1e6,
                    rate * add * 1e-9,
                    rate * remove * 1e-9
                ));
            }
        }
    }
    report.notes.extend(paper);
    report.notes.push(
        "On paper: packets per second times nanoseconds, with costs that do not depend on the frame's length, as a NIC's driver \
         leaves them, and cores that do not disturb each other."
            .to_owned(),
    );
    report.rows.first().map(|_| ()).context("nothing fits the memory")
}

/// Packets per second that fit a link on the side where they carry sealed options.
fn packets_per_second(gbits: f64, frame: Frame) -> f64 {
    gbits * 1e9 / 8.0 / (frame.mean() + ADDED + ON_THE_WIRE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_full_where_the_options_are() {
        // 80 + 40 + 24 octets are 1,152 bits.
        assert_eq!((packets_per_second(100.0, Frame::Octets(80)) / 1e4).round(), 8681.0);
        assert!(
            packets_per_second(400.0, Frame::Octets(1500)) / 4.0 - packets_per_second(100.0, Frame::Octets(1500)) < 1.0
        );
    }

    #[test]
    fn tables_grow_with_flows() {
        assert!(tables(8_000_000) > 7 * tables(1_000_000) && tables(1_000_000) > tables(1000));
    }
}
