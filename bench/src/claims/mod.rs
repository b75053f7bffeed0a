//! `bench claims`: what is said of this box's speed, measured anew, a line each.
//!
//! A claim is about the figures of one benchmark's report. Each benchmark runs in a process of its own: DPDK starts once per
//! process, and one that fails leaves the others' claims to be measured.

mod aead;
mod diagnostics;
mod flow;
mod path;

use crate::report::Report;
use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Arguments of `bench claims`.
#[derive(Args, Clone, Debug)]
pub struct ClaimsArgs {
    /// One JSON object instead of a line each
    #[arg(long)]
    json: bool,
    /// Only claims about these benchmarks: aead, diagnostics, flow, pipeline
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Look into the reports (NAME.json) in this directory instead of measuring
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
}

/// What a figure must reach.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Bound {
    /// No less than this.
    AtLeast(f64),
    /// No more than this.
    AtMost(f64),
}

impl Bound {
    fn holds(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(least) => figure >= least,
            Self::AtMost(most) => figure <= most,
        }
    }

    const fn parts(self) -> (&'static str, f64) {
        match self {
            Self::AtLeast(v) => ("at least", v),
            Self::AtMost(v) => ("at most", v),
        }
    }
}

/// A claim's figure, or why there is none on this machine.
pub type Found = Result<f64, String>;

/// One claim.
pub struct Claim {
    name: String,
    bound: Bound,
    figure: Box<dyn Fn(&Report) -> Found>,
}

impl Claim {
    /// A claim about a report.
    pub fn new(name: impl Into<String>, bound: Bound, figure: impl Fn(&Report) -> Found + 'static) -> Self {
        Self { name: name.into(), bound, figure: Box::new(figure) }
    }

    /// Looks into the report, if there is one.
    fn judge(&self, report: &Result<Report>) -> Judged {
        let found = match report {
            Ok(report) => (self.figure)(report),
            Err(error) => Err(format!("{error:#}")),
        };
        let (kind, bound) = self.bound.parts();
        let (figure, verdict, reason) = match found {
            // A ratio with nothing under it is no figure.
            Ok(figure) if !figure.is_finite() => (None, Verdict::NotMeasured, Some("a rate of zero".to_owned())),
            Ok(figure) if self.bound.holds(figure) => (Some(figure), Verdict::Holds, None),
            Ok(figure) => (Some(figure), Verdict::FallsShort, None),
            Err(reason) => (None, Verdict::NotMeasured, Some(reason)),
        };
        Judged { name: self.name.clone(), figure, kind, bound, verdict, reason }
    }
}

/// What became of a claim.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug)]
pub enum Verdict {
    /// It holds.
    #[serde(rename = "holds")]
    Holds,
    /// It does not.
    #[serde(rename = "falls short")]
    FallsShort,
    /// Something that it is about is not on this machine.
    #[serde(rename = "not measured")]
    NotMeasured,
}

impl Verdict {
    const fn name(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::FallsShort => "falls short",
            Self::NotMeasured => "not measured",
        }
    }
}

/// A claim's line.
#[derive(Clone, PartialEq, Serialize, Debug)]
struct Judged {
    name: String,
    figure: Option<f64>,
    kind: &'static str,
    bound: f64,
    verdict: Verdict,
    reason: Option<String>,
}

impl Judged {
    fn line(&self, width: usize) -> String {
        let figure = self.figure.map_or_else(|| "-".to_owned(), |f| format!("{f:.2}"));
        let reason = self.reason.as_ref().map_or_else(String::new, |r| format!(" ({r})"));
        let (name, verdict) = (&self.name, self.verdict.name());
        format!("{name:<width$}  {figure:>6}  {:<8} {:>5.2}  {verdict}{reason}", self.kind, self.bound)
    }
}

/// A benchmark, with what is claimed of its report.
struct Source {
    name: &'static str,
    /// Arguments that leave out what no claim needs.
    args: &'static [&'static str],
    claims: fn() -> Vec<Claim>,
}

const SOURCES: &[Source] = &[
    Source { name: "aead", args: &["--keys", "1,65536,1000000"], claims: aead::claims },
    Source { name: "diagnostics", args: &[], claims: diagnostics::claims },
    Source { name: "flow", args: &["--flows", "1000000"], claims: flow::claims },
    Source { name: "pipeline", args: &[], claims: path::claims },
];

/// Measures and prints; whether no claim falls short.
///
/// # Errors
/// `--only` names no benchmark.
pub fn run(args: &ClaimsArgs) -> Result<bool> {
    for name in &args.only {
        if !SOURCES.iter().any(|s| s.name == name) {
            let names: Vec<_> = SOURCES.iter().map(|s| s.name).collect();
            bail!("--only: there is no claim about '{name}'; there are about {}", names.join(", "));
        }
    }
    let mut all = Vec::new();
    for source in SOURCES.iter().filter(|s| args.only.is_empty() || args.only.iter().any(|n| n == s.name)) {
        let report = match &args.from {
            Some(dir) => read(dir, source.name),
            None => {
                eprintln!("bench {} ...", source.name);
                measure(source)
            }
        };
        all.extend((source.claims)().iter().map(|claim| claim.judge(&report)));
    }
    let count = |verdict| all.iter().filter(|j| j.verdict == verdict).count();
    let (hold, short, unknown) = (count(Verdict::Holds), count(Verdict::FallsShort), count(Verdict::NotMeasured));
    if args.json {
        let summary = serde_json::json!({
            "bench": "claims", "claims": all, "hold": hold, "fall_short": short, "not_measured": unknown
        });
        println!("{summary}");
    } else {
        let width = all.iter().map(|j| j.name.chars().count()).max().unwrap_or(0);
        all.iter().for_each(|judged| println!("{}", judged.line(width)));
        println!("{hold} hold, {short} fall short, {unknown} were not measured.");
    }
    Ok(short == 0)
}

fn read(dir: &Path, name: &str) -> Result<Report> {
    let file = dir.join(name).with_extension("json");
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not a report of this version", file.display()))
}

/// Runs a benchmark by this same program.
fn measure(source: &Source) -> Result<Report> {
    let program = std::env::current_exe().context("where is this program?")?;
    let mut command = Command::new(program);
    command.arg(source.name).arg("--json").args(source.args).stdin(Stdio::null());
    let output = command.output().with_context(|| format!("bench {} does not start", source.name))?;
    if !output.status.success() {
        let says = String::from_utf8_lossy(&output.stderr);
        let last = says.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("it said nothing");
        bail!("bench {} failed: {last}", source.name);
    }
    // DPDK may have said something on standard output before.
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().rev().find(|l| l.starts_with('{')).unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("bench {} did not give a report", source.name))
}

/// The median of the row with these labels.
fn median(report: &Report, labels: &[(&str, &str)]) -> Found {
    report.find(labels).map(|r| r.figure.median).ok_or_else(|| {
        let values: Vec<_> = labels.iter().map(|(k, v)| format!("{k} {v}")).collect();
        format!("there is no figure for {}", values.join(", "))
    })
}

#[cfg(test)]
mod tests;
