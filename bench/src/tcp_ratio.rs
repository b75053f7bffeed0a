//! `bench tcp-ratio`: TCP through two of our boxes, against two `dpdk-testpmd` in the same places in the same run.

use anyhow::{Context, Result, bail};
use clap::Args;
use rig::forwarders::{BoxConfig, Keys};
use rig::running::Running;
use rig::traffic::Tcp;
use rig::{Options, Programs, Rig, Side};
use rustix::process::Signal;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What must be reached.
const LEAST: f64 = 0.5;

/// Arguments of `bench tcp-ratio`.
#[derive(Args, Debug)]
pub struct TcpRatioArgs {
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    /// Runs of each kind
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Seconds of each run and direction
    #[arg(long, default_value_t = 4)]
    seconds: u32,
    /// What idle workers of our boxes do: poll, yield or sleep
    #[arg(long, default_value = "poll", value_parser = idle)]
    idle: &'static str,
    /// Where pdmv2-middlebox and pdmv2 are [default: beside this program]
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// Only dpdk-testpmd: to try the rig
    #[arg(long, hide = true)]
    testpmd_only: bool,
}

/// Reads what an idle worker does.
fn idle(text: &str) -> Result<&'static str, String> {
    ["poll", "yield", "sleep"].into_iter().find(|w| *w == text).ok_or_else(|| "use poll, yield or sleep".to_owned())
}

/// Medians of one direction.
#[derive(Serialize, Debug)]
struct Direction {
    ours_mbit_per_second: f64,
    testpmd_mbit_per_second: f64,
    ratio: f64,
    ours_runs: Vec<f64>,
    testpmd_runs: Vec<f64>,
}

#[derive(Serialize, Debug)]
struct Report {
    a_to_b: Direction,
    b_to_a: Direction,
    least_ratio: f64,
    passed: bool,
    /// Why there is nothing to compare with.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_measured: Option<String>,
}

/// Measures and prints; whether both directions reach the ratio.
///
/// # Errors
/// The rig, a box or iperf3 fails.
pub fn run(args: &TcpRatioArgs) -> Result<bool> {
    let programs = if args.testpmd_only { Ok(Programs::default()) } else { Programs::find(args.bin_dir.as_deref()) }?;
    // [ours, testpmd][A to B, B to A]
    let mut rates: [[Vec<f64>; 2]; 2] = Default::default();
    let mut not_measured = None;
    for round in 1..=args.rounds {
        for (kind, name) in ["two boxes", "two dpdk-testpmd"].iter().enumerate() {
            if kind == 0 && args.testpmd_only || kind == 1 && not_measured.is_some() {
                continue;
            }
            let [there, back] = match measure(args, &programs, kind == 0).with_context(|| format!("through {name}")) {
                Ok(rates) => rates,
                // Ours is measured without it, too.
                Err(error) if kind == 1 && !args.testpmd_only => {
                    let note = crate::measure::not_measured("dpdk-testpmd", &error);
                    eprintln!("{note}");
                    not_measured = Some(note);
                    continue;
                }
                Err(error) => return Err(error),
            };
            eprintln!(
                "round {round} of {}: {name}: A to B {:.0} Mbit/s, B to A {:.0} Mbit/s ({} and {} retransmits)",
                args.rounds,
                there.bits_per_second / 1e6,
                back.bits_per_second / 1e6,
                there.retransmits,
                back.retransmits
            );
            rates[kind][0].push(there.bits_per_second / 1e6);
            rates[kind][1].push(back.bits_per_second / 1e6);
        }
    }
    let [[ours_there, ours_back], [pmd_there, pmd_back]] = rates;
    let (a_to_b, b_to_a) = (direction(ours_there, pmd_there), direction(ours_back, pmd_back));
    // What has nothing to be compared with falls short of nothing.
    let passed = not_measured.is_some() || a_to_b.ratio >= LEAST && b_to_a.ratio >= LEAST;
    let report = Report { a_to_b, b_to_a, least_ratio: LEAST, passed, not_measured };
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        for (name, d) in [("A to B", &report.a_to_b), ("B to A", &report.b_to_a)] {
            println!(
                "TCP {name}, medians: two boxes {:.0} Mbit/s, two dpdk-testpmd {:.0} Mbit/s, ratio {:.2}",
                d.ours_mbit_per_second, d.testpmd_mbit_per_second, d.ratio
            );
        }
        println!(
            "{}",
            match &report.not_measured {
                Some(note) => note.as_str(),
                None if passed => "ok: both at least 0.5",
                None => "FAILED: a ratio is below 0.5",
            }
        );
    }
    Ok(passed)
}

/// One run in a fresh rig: TCP there, then back.
fn measure(args: &TcpRatioArgs, programs: &Programs, ours: bool) -> Result<[Tcp; 2]> {
    let rig = Rig::new(Options::default())?;
    let forwarders = if ours {
        let keys = rig.keygen(&programs.pdmv2)?;
        Side::BOTH.map(|side| start_ours(&rig, side, &programs.middlebox, args.idle, &keys))
    } else {
        Side::BOTH.map(|side| rig.start_testpmd(side, rig::core(side)))
    };
    let [a, b] = forwarders;
    let mut forwarders = [a?, b?];
    rig.connect(Duration::from_secs(10))?;
    let rates = [rig.tcp(Side::A, args.seconds)?, rig.tcp(Side::B, args.seconds)?];
    for forwarder in &mut forwarders {
        if let Some(status) = forwarder.poll()? {
            bail!("it ended by itself ({status}):\n{}", forwarder.tail());
        }
        forwarder.signal(Signal::TERM);
    }
    for forwarder in &mut forwarders {
        forwarder.wait(Duration::from_secs(15))?;
    }
    Ok(rates)
}

fn start_ours(rig: &Rig, side: Side, program: &Path, idle: &'static str, keys: &Path) -> Result<Running> {
    let config = BoxConfig { core: rig::core(side), idle, keys: Keys::File(keys.to_owned()), ..BoxConfig::default() };
    rig.start_box(side, program, &rig.configure(side, &config)?)
}

fn direction(ours: Vec<f64>, testpmd: Vec<f64>) -> Direction {
    let (a, b) = (median(&ours), median(&testpmd));
    let ratio = if b > 0.0 { a / b } else { 0.0 };
    Direction { ours_mbit_per_second: a, testpmd_mbit_per_second: b, ratio, ours_runs: ours, testpmd_runs: testpmd }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle), sorted.len() % 2) {
        (Some(&high), 0) => (sorted[middle - 1] + high) / 2.0,
        (Some(&value), _) => value,
        (None, _) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios() {
        assert_eq!([&[][..], &[3.0], &[1.0, 4.0], &[9.0, 1.0, 2.0]].map(median), [0.0, 3.0, 2.5, 2.0]);
        assert_eq!(direction(vec![5.0], vec![10.0]).ratio, 0.5);
        assert_eq!(direction(vec![5.0], vec![]).ratio, 0.0);
    }
}
