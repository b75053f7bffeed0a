//! `bench instructions`: instructions per packet of the hot functions.
//!
//! Counts do not depend on how fast or how busy a machine is, so they show a change of a few per cent, where times do not.
//! Those of the AES-NI path are counted by callgrind, and come out alike on every machine. valgrind knows neither VAES nor
//! AVX-512, so where the CPU has them those paths are counted by single steps. All are kept in `bench/instructions.json`.

pub mod cases;
mod kept;
pub mod steps;

use crate::ports::isa::Isa;
use anyhow::{Context, Result, bail, ensure};
use cases::{CASES, Case, PREPARED};
use clap::Args;
use kept::{Counts, Kept};
use pipeline::ports::BURST;
use rig::Directory;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bursts of the shorter run; the longer one works on all that are made ready.
const FEW: usize = PREPARED / 9;
/// What is counted by steps, where the CPU has it.
const STEPPED_BY: [Isa; 2] = [Isa::Avx512, Isa::Vaes256];
/// Bursts that are stepped through, behind the first [`FEW`]: a quarter of a million instructions take seconds.
const STEPPED: usize = 8;

/// Arguments of `bench instructions`.
#[derive(Args, Clone, Debug)]
pub struct InstructionsArgs {
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Compare with the kept figures: exit 1 when one is more than 3 per cent higher
    #[arg(long, conflicts_with = "write")]
    check: bool,
    /// Make these the kept figures
    #[arg(long)]
    write: bool,
    /// The kept figures
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.json"))]
    file: PathBuf,
    /// Only these
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

/// Arguments of `bench instructions-run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Which case
    name: String,
    /// Bursts of 32 packets
    #[arg(long, default_value_t = PREPARED)]
    bursts: usize,
    /// Instruction set
    #[arg(long, value_enum, default_value_t = Isa::Aesni)]
    isa: Isa,
    /// Stops before and behind these bursts, to be stepped through in between
    #[arg(long)]
    stepped: bool,
}

/// One case, in this process.
///
/// # Errors
/// See [`cases::run`].
pub fn run_one(args: &RunArgs) -> Result<bool> {
    if args.stepped {
        cases::run_stepped(&args.name, args.isa, FEW, args.bursts)?;
    } else {
        cases::run(&args.name, args.isa, args.bursts)?;
    }
    Ok(true)
}

/// Counts, and prints, compares or writes.
///
/// # Errors
/// There is no valgrind, a case fails, or the file cannot be read or written.
pub fn run(args: &InstructionsArgs) -> Result<bool> {
    ensure!(
        !cfg!(target_feature = "aes"),
        "this bench was built with '-C target-cpu': its counts are others; build it without"
    );
    let chosen: Vec<&Case> =
        CASES.iter().filter(|c| args.only.is_empty() || args.only.iter().any(|n| n == c.name)).collect();
    ensure!(!chosen.is_empty(), "--only names no case; there are: {}", names());
    ensure!(!args.write || args.only.is_empty(), "--write writes all figures: leave --only out");
    let isas: Vec<Isa> = STEPPED_BY.into_iter().filter(|&isa| may_step(isa)).collect();
    let (instructions, stepped) = count_all(&chosen, &isas)?;
    let mut now = Kept { compiler: env!("BENCH_COMPILER").to_owned(), instructions, stepped };
    if args.write {
        if let Ok(before) = Kept::read(&args.file) {
            now.keep_others(&before);
        }
        now.write(&args.file)?;
    }
    let before = if args.write || !(args.check || args.file.exists()) { None } else { Some(Kept::read(&args.file)?) };
    if args.json {
        println!("{}", serde_json::to_string(&now.against(before.as_ref()))?);
    } else {
        print!("{}", now.table(before.as_ref()));
    }
    let higher = before.filter(|_| args.check).map(|before| now.higher(&before)).unwrap_or_default();
    for line in &higher {
        eprintln!("bench: {line}");
    }
    Ok(higher.is_empty())
}

fn names() -> String {
    CASES.iter().map(|c| c.name).collect::<Vec<_>>().join(", ")
}

/// Whether this path can be counted here: the CPU has it, and the kernel lets a process step through another.
fn may_step(isa: Isa) -> bool {
    let tried = std::env::current_exe().context("where is this program?").and_then(|program| {
        ensure!(isa.is_available(), "this CPU does not have it");
        steps::count(&mut stepped(&program, isa, CASES[0].name, 0))
    });
    if let Err(error) = &tried {
        eprintln!("bench: {} is not counted: {error:#}", isa.name());
    }
    tried.is_ok()
}

/// Instructions per packet of each, by callgrind and by steps, counted side by side on the cores there are: counts do not
/// mind.
fn count_all(cases: &[&Case], isas: &[Isa]) -> Result<(Counts, BTreeMap<String, Counts>)> {
    let program = std::env::current_exe().context("where is this program?")?;
    let directory = Directory::scratch()?;
    let next = AtomicUsize::new(0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(cases.len());
    let work = || -> Result<Vec<(Isa, &str, f64)>> {
        let mut mine = Vec::new();
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let few = count(&program, case.name, FEW, directory.path())?;
            let many = count(&program, case.name, PREPARED, directory.path())?;
            let packets = ((PREPARED - FEW) * BURST) as f64;
            mine.push((Isa::Aesni, case.name, many.saturating_sub(few) as f64 / packets));
            for &isa in isas {
                mine.push((isa, case.name, step(&program, isa, case.name)?));
            }
        }
        Ok(mine)
    };
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let (mut counted, mut stepped) = (Counts::new(), BTreeMap::<String, Counts>::new());
        for handle in handles {
            let Ok(mine) = handle.join() else { bail!("a thread that counts has panicked") };
            for (isa, name, count) in mine? {
                let of_isa =
                    if isa == Isa::Aesni { &mut counted } else { stepped.entry(isa.name().to_owned()).or_default() };
                of_isa.insert(name.to_owned(), count);
            }
        }
        Ok((counted, stepped))
    })
}

/// Instructions per packet by steps, without those of the marks.
fn step(program: &Path, isa: Isa, name: &str) -> Result<f64> {
    let count =
        |bursts| steps::count(&mut stepped(program, isa, name, bursts)).with_context(|| format!("{name} by steps"));
    let (none, some) = (count(0)?, count(STEPPED)?);
    Ok(some.saturating_sub(none) as f64 / (STEPPED * BURST) as f64)
}

fn stepped(program: &Path, isa: Isa, name: &str, bursts: usize) -> Command {
    let mut command = Command::new(program);
    command.args(["instructions-run", name, "--isa", isa.name(), "--stepped"]);
    command.args(["--bursts", &bursts.to_string()]);
    plain(&mut command);
    command
}

/// What stands in the environment would shift the stack.
fn plain(command: &mut Command) {
    let keep = ["PATH", "LD_LIBRARY_PATH"].map(|name| (name, std::env::var_os(name).unwrap_or_default()));
    command.env_clear().envs(keep);
}

/// All instructions of one run.
fn count(program: &Path, name: &str, bursts: usize, directory: &Path) -> Result<u64> {
    let file = directory.join(format!("{name}-{bursts}"));
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--quiet", "--error-exitcode=99"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(program)
        .args(["instructions-run", name, "--bursts", &bursts.to_string()])
        .stdin(Stdio::null());
    plain(&mut command);
    let output = match command.output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("valgrind is not there, which counts the instructions: apt install valgrind")
        }
        output => output.context("valgrind does not start")?,
    };
    let says = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} under valgrind: {}{}: {}", output.status, hugepages(), says.trim());
    let text =
        std::fs::read_to_string(&file).with_context(|| format!("callgrind has not written {}", file.display()))?;
    total(&text).with_context(|| format!("there is no total in callgrind's figures of {name}"))
}

/// What to do where valgrind may have lost its way: it does not know of hugepages, and the tables take them where there are some.
fn hugepages() -> &'static str {
    let reserved = std::fs::read_to_string("/proc/sys/vm/nr_hugepages").is_ok_and(|n| n.trim() != "0");
    if reserved { " (valgrind does not go together with hugepages: echo 0 > /proc/sys/vm/nr_hugepages)" } else { "" }
}

/// The sum that callgrind has counted: the first number of its line `totals:`, or `summary:`.
fn total(text: &str) -> Option<u64> {
    let line = |name| text.lines().rev().find_map(|l| l.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
    line("totals:").or_else(|| line("summary:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_a_callgrind_file() {
        let file = "# callgrind format\nversion: 1\nevents: Ir\nsummary: 11\n\nfn=(1) main\n16 400\ntotals: 12345\n";
        assert_eq!(total(file), Some(12_345));
        assert_eq!(total("events: Ir Dr\nsummary: 77 5\n"), Some(77));
        assert_eq!(total("events: Ir\nfn=(1) totals\n"), None);
    }
}
