//! `bench all`: runs the benchmarks and writes what they found to a directory: for each one a JSON file and a plot, and for
//! people a `README.md` with everything that is there.

use crate::plot::Plot;
use crate::report::Report;
use crate::{aead, flow, latency, pipeline, rfc2544, scale};
use anyhow::{Context, Result, ensure};
use clap::Args;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Arguments of `bench all`.
#[derive(Args, Debug)]
pub struct AllArgs {
    /// Where to write
    #[arg(long, value_name = "DIR", default_value = "bench/results")]
    out: PathBuf,
    /// Only these benchmarks
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    only: Vec<String>,
}

/// A benchmark of the report.
#[derive(Debug)]
pub struct Benchmark {
    /// Its name on the command line.
    pub name: &'static str,
    /// Measures with the default arguments: see [`defaults`].
    pub run: fn() -> Result<Report>,
    /// What is drawn of it.
    pub plot: fn(&Report) -> Plot<'static>,
}

/// All of them, in the report's order. Together they stay below 16 minutes.
pub const ALL: &[Benchmark] = &[
    Benchmark { name: "aead", run: || aead::measure(&defaults()?), plot: aead::plot },
    Benchmark { name: "flow", run: || flow::measure(&defaults()?), plot: flow::plot },
    Benchmark { name: "pipeline", run: || pipeline::report(&defaults()?), plot: pipeline::plot },
    Benchmark { name: "latency", run: || latency::report(&defaults()?), plot: latency::plot },
    Benchmark { name: "scale", run: || scale::report(&defaults()?), plot: scale::plot },
    Benchmark { name: "rfc2544", run: || rfc2544::report(&defaults()?), plot: rfc2544::plot },
];

/// What a benchmark's arguments are when none is given.
///
/// # Errors
/// An argument has no default.
pub fn defaults<A: Args>() -> Result<A> {
    let matches = A::augment_args(clap::Command::new("bench")).try_get_matches_from(["bench"])?;
    Ok(A::from_arg_matches(&matches)?)
}

/// Runs them; whether all could be measured.
///
/// # Errors
/// There is no such benchmark, or the directory cannot be written.
pub fn run(args: &AllArgs) -> Result<bool> {
    for name in &args.only {
        let names: Vec<&str> = ALL.iter().map(|b| b.name).collect();
        ensure!(names.contains(&name.as_str()), "there is no benchmark '{name}': there are {}", names.join(", "));
    }
    let mut measured = true;
    for benchmark in ALL.iter().filter(|b| args.only.is_empty() || args.only.iter().any(|o| o == b.name)) {
        eprintln!("bench {} ...", benchmark.name);
        let start = Instant::now();
        match (benchmark.run)() {
            Ok(report) => {
                write(&args.out, &report, &(benchmark.plot)(&report))?;
                eprintln!("bench {}: {:.0} s", benchmark.name, start.elapsed().as_secs_f64());
            }
            Err(error) => {
                eprintln!("bench {}: {error:#}", benchmark.name);
                measured = false;
            }
        }
    }
    for file in index(&args.out)? {
        eprintln!("Left out of README.md: {file}: measure it anew, or remove it");
    }
    eprintln!("Written: {}", args.out.join("README.md").display());
    Ok(measured)
}

/// A report's files are named for the benchmark, and for the build when that is not what users get.
fn stem(report: &Report) -> String {
    format!("{}{}", report.bench, if report.machine.native { "-native" } else { "" })
}

/// Writes a report's JSON and plot.
///
/// # Errors
/// They cannot be written.
pub fn write(dir: &Path, report: &Report, plot: &Plot<'_>) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let file = dir.join(stem(report));
    save(&file.with_extension("json"), &(serde_json::to_string_pretty(report)? + "\n"))?;
    save(&file.with_extension("svg"), &plot.svg(report))
}

fn save(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// Writes `README.md` anew from the reports in the directory: what was not measured this time is kept. Gives what had to be
/// left out.
///
/// # Errors
/// The directory cannot be read, or the file cannot be written.
pub fn index(dir: &Path) -> Result<Vec<String>> {
    let (mut reports, mut left_out): (Vec<Report>, Vec<String>) = Default::default();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let file = entry.context("cannot read the results")?.path();
        if file.extension().is_some_and(|e| e == "json") {
            let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            match serde_json::from_str(&text) {
                Ok(report) => reports.push(report),
                // What was measured just now must not be lost for it.
                Err(error) => left_out.push(format!("{} is not a report of this version ({error})", file.display())),
            }
        }
    }
    let place = |r: &Report| ALL.iter().position(|b| b.name == r.bench).unwrap_or(ALL.len());
    reports.sort_by_key(|r| (place(r), r.bench.clone(), r.machine.native));
    save(&dir.join("README.md"), &readme(&reports))?;
    Ok(left_out)
}

fn readme(reports: &[Report]) -> String {
    let mut text = String::from(
        "# Results\n\nWritten by `make bench`. Each figure is the median of repeated runs, in which all that is compared took \
         turns, with its quartiles beside it; each ratio is of one such run. How to read them: \
         [performance.md](../../docs/performance.md).\n\n",
    );
    for report in reports {
        let (stem, machine) = (stem(report), &report.machine);
        let build = if machine.native { "target-cpu=native" } else { "default flags" };
        let (head, rest) = report.markdown().split_once("\n\n").map_or_else(
            || (String::new(), String::new()),
            |(h, r)| (h.replace(report.bench.as_ref(), &stem), r.to_owned()),
        );
        let _ = write!(
            text,
            "{head}\n\n{} · {}, {} cores, AEAD by {} · built with {build}\n\n![{stem}]({stem}.svg)\n\n{rest}\n",
            machine.date, machine.cpu, machine.cores, machine.aead
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Figure;

    fn report(native: bool) -> Report {
        let mut report = Report::new("aead", "What it is.", "ns per packet", "times y");
        report.machine.native = native;
        report.push(&[("keys", "1000".into())], Figure { median: 12.5, q1: 12.0, q3: 13.0 }, Some(3.0));
        report.notes.push("A note.".into());
        report
    }

    #[test]
    fn both_builds_are_written_and_read_again() {
        let dir = std::env::temp_dir().join(format!("bench-results-{}", std::process::id()));
        for native in [false, true] {
            let plot = Plot { title: "T".into(), x: "keys", lines: &[], panels: "operation", log: true };
            write(&dir, &report(native), &plot).expect("written");
        }
        assert_eq!(index(&dir).expect("indexed"), Vec::<String>::new());
        let read = |name: &str| fs::read_to_string(dir.join(name)).expect(name);
        let readme = read("README.md");
        for part in
            ["## aead\n", "## aead-native\n", "default flags", "target-cpu=native", "A note.", "aead-native.svg"]
        {
            assert!(readme.contains(part), "{part} is not in\n{readme}");
        }
        let again: Report = serde_json::from_str(&read("aead.json")).expect("a report");
        assert_eq!(again.find(&[("keys", "1000")]).map(|r| r.figure.median), Some(12.5));
        assert!(read("aead-native.svg").starts_with("<svg"));
        fs::write(dir.join("other.json"), "{}").expect("written");
        let left_out = index(&dir).expect("indexed");
        assert!(left_out.len() == 1 && left_out[0].contains("other.json"), "{left_out:?}");
        assert_eq!(read("README.md"), readme, "what can be read is there all the same");
        fs::remove_dir_all(&dir).expect("removed");
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        let args = AllArgs { out: "nowhere".into(), only: vec!["nothing".into()] };
        assert!(format!("{:#}", run(&args).expect_err("refused")).contains("there are aead"));
    }
}
