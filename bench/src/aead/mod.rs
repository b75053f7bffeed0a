//! `bench aead`: sealing and opening options under many keys, our paths against what else there is, in one interleaved run.

mod crates;
mod feed;
mod heap;
#[cfg(have_ipsec_mb)]
mod ipsec_mb;
mod limit;
#[cfg(have_openssl)]
mod openssl;
mod ours;
#[cfg(test)]
mod tests;

use crate::measure::{Figure, cpu_time, interleave_with_peers, not_measured};
use crate::plot::Plot;
use crate::report::Report;
use anyhow::{Result, ensure};
use clap::Args;
use feed::{BURST, Candidate, Feed, Operation};
use protocol::aead::Path;
use protocol::suite::Aead;
use std::time::{Duration, Instant};

/// The name of the crate that ratios are against.
pub const PORTABLE: &str = "aes-gcm";

/// Arguments of `bench aead`.
#[derive(Args, Debug)]
pub struct AeadArgs {
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Measurements of each kind; the median is reported
    #[arg(long, default_value_t = 11)]
    rounds: usize,
    /// Milliseconds per measurement
    #[arg(long, default_value_t = 20)]
    milliseconds: u64,
    /// Numbers of keys
    #[arg(long, value_delimiter = ',', default_values_t = [1, 1000, 65_536, 1_000_000])]
    keys: Vec<usize>,
}

/// Measures and prints.
///
/// # Errors
/// A library refuses a key, or a packet does not open.
pub fn run(args: &AeadArgs) -> Result<bool> {
    measure(args)?.print(args.json)?;
    Ok(true)
}

/// What `bench all` draws.
#[must_use]
pub fn plot(report: &Report) -> Plot<'static> {
    let title = format!("One option sealed or opened, a key at random for each ({})", report.machine.cpu);
    Plot { title, x: "keys", lines: &["by", "aead"], panels: "operation", log: true }
}

/// Measures.
///
/// # Errors
/// A library refuses a key, or a packet does not open.
pub fn measure(args: &AeadArgs) -> Result<Report> {
    let title = format!(
        "Nanoseconds per packet of {} octets of text and {} of additional data, in bursts of {BURST}, a key at random for \
         each packet. The `aes-gcm` crate is called packet by packet with its keys ready in a table.",
        feed::TEXT,
        feed::AAD
    );
    let mut report = Report::new("aead", title, "ns per packet", "times as fast as aes-gcm");
    let mut filling = Vec::new();
    for &keys in &args.keys {
        let mut feed = Feed::new(keys);
        let mut candidates = candidates(&feed, &mut report.notes)?;
        for aead in [Aead::Aes128Gcm, Aead::Aes256Gcm] {
            if let Some(first) = candidates.iter_mut().find(|c| c.candidate.aead() == aead) {
                feed.prepare(&mut *first.candidate);
            }
        }
        candidates.push(Turn::new(ours::Filling::default()));
        for operation in Operation::BOTH {
            let time = Duration::from_millis(args.milliseconds.max(1));
            let measure = |turn: &mut Turn| turn.measure(&feed, operation, time);
            let found = interleave_with_peers(args.rounds, &mut candidates, |turn| turn.is_peer, measure)?;
            let mut figures: Vec<_> = candidates.iter().zip(found).collect();
            let Some((_, fill)) = figures.pop() else { continue };
            filling.push(fill?.median);
            push(&mut report, &feed, operation, figures);
        }
    }
    notes(&mut report, &args.keys, &Figure::of(&filling));
    Ok(report)
}

fn push(report: &mut Report, feed: &Feed, operation: Operation, found: Vec<(&Turn, Result<Figure>)>) {
    let mut all = Vec::new();
    for (turn, figure) in found {
        match figure {
            Ok(figure) => all.push((turn, figure)),
            Err(error) => report.notes.push(not_measured(&turn.candidate.name(), &error)),
        }
    }
    for (turn, figure) in &all {
        let this = &turn.candidate;
        let is_portable = |t: &Turn| t.candidate.aead() == this.aead() && t.candidate.name() == PORTABLE;
        let portable = all.iter().find(|(turn, _)| is_portable(turn)).map(|(_, figure)| figure);
        let labels = [
            ("aead", this.aead().name().to_owned()),
            ("keys", feed.keys().len().to_string()),
            ("operation", operation.name().to_owned()),
            ("by", this.name()),
            ("octets per key", format!("{:.0}", this.octets_per_key())),
        ];
        report.push(&labels, *figure, portable.map(|p| p.median / figure.median));
    }
}

/// Everyone, with their keys made ready. A peer that cannot do that is left out, and noted.
fn candidates(feed: &Feed, notes: &mut Vec<String>) -> Result<Vec<Turn>> {
    let keys = feed.keys();
    let mut all = Vec::new();
    #[cfg_attr(
        not(any(feature = "peers", have_openssl, have_ipsec_mb)),
        allow(unused_variables, unused_mut, reason = "nobody to leave out was built in")
    )]
    let mut left_out = |peer: &str, error: &anyhow::Error| notes.push(not_measured(peer, error));
    for aead in [Aead::Aes128Gcm, Aead::Aes256Gcm] {
        let ready = ours::keys(aead, keys);
        for path in Path::ALL.into_iter().rev().filter(|p| p.is_available()) {
            all.push(Turn::new(ours::Ours::new(path, aead, ready.clone())));
        }
    }
    all.push(Turn::new(crates::Table::<aes_gcm::Aes128Gcm>::new(keys, ())?));
    all.push(Turn::new(crates::Table::<aes_gcm::Aes256Gcm>::new(keys, ())?));
    #[cfg(feature = "peers")]
    {
        match crates::Table::<ring::aead::LessSafeKey>::new(keys, ()) {
            Ok(table) => all.push(Turn::of_peer(table)),
            Err(error) => left_out("ring", &error),
        }
        match crates::Table::<aws_lc_rs::aead::LessSafeKey>::new(keys, ()) {
            Ok(table) => all.push(Turn::of_peer(table)),
            Err(error) => left_out("aws-lc-rs", &error),
        }
    }
    #[cfg(have_openssl)]
    {
        if let Some(shared) = openssl::Shared::new() {
            match crates::Table::<openssl::Rekeyed>::new(keys, shared) {
                Ok(table) => all.push(Turn::of_peer(table)),
                Err(error) => left_out("OpenSSL", &error),
            }
        } else {
            left_out("OpenSSL", &anyhow::anyhow!("it makes no context"));
        }
        if keys.len() <= openssl::MOST_CONTEXTS {
            match crates::Table::<openssl::PerKey>::new(keys, ()) {
                Ok(table) => all.push(Turn::of_peer(table)),
                Err(error) => left_out("OpenSSL", &error),
            }
        }
    }
    #[cfg(have_ipsec_mb)]
    {
        match ipsec_mb::Keys::new(keys).map(std::rc::Rc::new) {
            Ok(expanded) => all.extend(
                ipsec_mb::Call::ALL
                    .into_iter()
                    .map(|call| Turn::of_peer(ipsec_mb::IpsecMb::new(expanded.clone(), call))),
            ),
            Err(error) => left_out("intel-ipsec-mb", &error),
        }
    }
    Ok(all)
}

/// What is not there to compare with, and how to get it.
fn missing() -> Vec<String> {
    let mut missing = Vec::new();
    if cfg!(not(feature = "peers")) {
        missing.push(
            "Not compared with ring and aws-lc-rs, which take a minute to compile: cargo run --release -p bench --features \
             peers -- aead, or make bench."
                .to_owned(),
        );
    }
    let mut package = |have: bool, library: &str, package: &str| {
        if !have {
            missing.push(format!(
                "Not compared with {library}: apt install {package}, then build again; or make bench, which does both."
            ));
        }
    };
    package(cfg!(have_openssl), "OpenSSL (3.0 or later)", "libssl-dev");
    package(cfg!(have_ipsec_mb), "intel-ipsec-mb (x86-64 only; 1.3 or later)", "libipsec-mb-dev");
    missing
}

/// A candidate, and how far it has come in the feed.
struct Turn {
    candidate: Box<dyn Candidate>,
    /// Whether it is only there to compare with, and may be left out.
    is_peer: bool,
    at: usize,
    number: u64,
}

impl Turn {
    fn new(candidate: impl Candidate + 'static) -> Self {
        Self { candidate: Box::new(candidate), is_peer: false, at: 0, number: 0 }
    }

    #[cfg(any(feature = "peers", have_openssl, have_ipsec_mb))]
    fn of_peer(candidate: impl Candidate + 'static) -> Self {
        Self { is_peer: true, ..Self::new(candidate) }
    }

    /// Nanoseconds of this thread's own time per packet, filling the burst included: a worker does that too.
    fn measure(&mut self, feed: &Feed, operation: Operation, time: Duration) -> Result<f64> {
        self.candidate.move_on();
        match operation {
            Operation::Seal => self.measure_by(feed, time, |candidate, at, number| {
                candidate.seal(&feed.to_seal(at, number));
                u32::MAX
            }),
            Operation::Open => {
                let bursts = feed.to_open(self.candidate.aead())?;
                self.measure_by(feed, time, |candidate, at, _| candidate.open(&bursts(at)))
            }
        }
    }

    fn measure_by(
        &mut self,
        feed: &Feed,
        time: Duration,
        mut work: impl FnMut(&mut dyn Candidate, usize, u64) -> u32,
    ) -> Result<f64> {
        let mut verified = u32::MAX;
        let mut run = |bursts: usize| {
            for _ in 0..bursts {
                verified &= work(&mut *self.candidate, self.at, self.number);
                self.number += BURST as u64;
                self.at = if self.at + 1 == feed.bursts() { 0 } else { self.at + 1 };
            }
        };
        // The candidate before has filled the caches with its own keys.
        let warm = (feed.keys().len().min(65_536) * 3 / 2 / BURST).max(64);
        let (start, mut done) = (Instant::now(), 0);
        while done < warm && start.elapsed() < time.max(Duration::from_millis(50)) {
            run(16);
            done += 16;
        }
        let (start, before, mut done) = (Instant::now(), cpu_time(), 0);
        while done == 0 || start.elapsed() < time {
            run(16);
            done += 16;
        }
        let taken = cpu_time() - before;
        ensure!(verified == u32::MAX, "{}: what was sealed does not open", self.candidate.name());
        Ok(taken.as_nanos() as f64 / f64::from(done * BURST as u32))
    }
}

fn is_ours(name: &str) -> bool {
    Path::ALL.iter().any(|p| p.name() == name)
}

/// How many times as fast our best path is as the best other library at AES-128-GCM, and that library's name.
#[must_use]
pub fn against_best_other(report: &Report, keys: usize, operation: &str) -> Option<(f64, String)> {
    let keys = keys.to_string();
    let here = [("aead", Aead::Aes128Gcm.name()), ("keys", &keys), ("operation", operation)];
    let by = |row: &crate::report::Row| row.labels.iter().find(|(k, _)| k == "by").map(|(_, v)| v.clone());
    let (mut ours, mut other): (f64, Option<(f64, String)>) = (f64::INFINITY, None);
    for row in report.rows.iter().filter(|r| r.has(&here)) {
        let name = by(row)?;
        if is_ours(&name) {
            ours = ours.min(row.figure.median);
        } else if name != PORTABLE && other.as_ref().is_none_or(|(best, _)| row.figure.median < *best) {
            other = Some((row.figure.median, name));
        }
    }
    other.filter(|_| ours.is_finite()).map(|(best, name)| (best / ours, name))
}

fn notes(report: &mut Report, keys: &[usize], filling: &Figure) {
    let mut lines = Vec::new();
    for operation in Operation::BOTH {
        let all: Vec<String> = keys
            .iter()
            .filter_map(|&keys| {
                let (ratio, name) = against_best_other(report, keys, operation.name())?;
                Some(format!("{ratio:.1} at {keys} ({name})"))
            })
            .collect();
        if !all.is_empty() {
            lines.push(format!(
                "Our best path against the best other library, {}, times as fast by number of keys: {}.",
                operation.name(),
                all.join(", ")
            ));
        }
    }
    for operation in Operation::BOTH {
        let all: Vec<String> = keys
            .iter()
            .filter_map(|&keys| {
                let count = keys.to_string();
                let of = |aead: Aead| {
                    let labels = [
                        ("aead", aead.name()),
                        ("keys", &count),
                        ("operation", operation.name()),
                        ("by", Path::best().name()),
                    ];
                    report.find(&labels).map(|r| r.figure.median)
                };
                Some(format!("{:.2} at {keys}", of(Aead::Aes256Gcm)? / of(Aead::Aes128Gcm)?))
            })
            .collect();
        lines.push(format!(
            "AES-256-GCM costs, in AES-128-GCM's by our best path, {}: {}.",
            operation.name(),
            all.join(", ")
        ));
    }
    lines.push(format!(
        "Filling the burst (nonce, additional data, text) is in every figure: {:.1} ns of ours. Keys are made ready before; \
         {}.",
        filling.median,
        match std::env::var("GLIBC_TUNABLES") {
            Ok(tunables) => format!("memory is as with GLIBC_TUNABLES={tunables}"),
            Err(_) => "memory is as the allocator gives it, for all of them".to_owned(),
        }
    ));
    lines.extend(limit::notes());
    lines.extend(missing());
    report.notes.extend(lines);
}
