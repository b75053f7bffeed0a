//! `fuzz-smoke`: every target for some seconds on stable Rust, with inputs mutated from real packets and files.
//!
//! Half of the time goes to a fixed seed, so that two runs of one commit begin alike, half to one that is drawn and
//! printed. A failure shows the input as hex; `--target NAME --input HEX` runs that input alone.

use fuzz::mutate::{Random, mutate};
use fuzz::{TARGETS, Target};
use std::cell::RefCell;
use std::collections::HashSet;
use std::panic::catch_unwind;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

const USAGE: &str = "usage: fuzz-smoke [--seconds N] [--seed N] [--target NAME [--input HEX]]";

/// An input that takes longer than this hangs.
const MOST: Duration = Duration::from_secs(10);
/// Inputs with something new in them that are kept.
const CORPUS: usize = 4096;

#[derive(Default)]
struct Arguments {
    seconds: Option<u64>,
    seed: Option<u64>,
    target: Option<String>,
    input: Option<Vec<u8>>,
}

fn arguments() -> Option<Arguments> {
    let mut all = Arguments::default();
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        let value = given.next()?;
        match name.as_str() {
            "--seconds" => all.seconds = Some(value.parse().ok()?),
            "--seed" => all.seed = Some(value.parse().ok()?),
            "--target" => all.target = Some(value),
            "--input" => all.input = Some(hex::decode(value).ok()?),
            _ => return None,
        }
    }
    Some(all)
}

thread_local! {
    /// Where and why the last panic of this thread happened.
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let wanted = |target: &&'static Target| arguments.target.as_ref().is_none_or(|name| target.name == name);
    let targets: Vec<_> = TARGETS.iter().filter(wanted).collect();
    if targets.is_empty() {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("no such target; there are {}", names.join(", "));
        return ExitCode::from(2);
    }
    if let Some(input) = &arguments.input {
        for target in targets {
            println!("{}: mark {:#x}", target.name, (target.run)(input));
        }
        fuzz::capture::clean_up();
        return ExitCode::SUCCESS;
    }
    std::panic::set_hook(Box::new(|info| LAST_PANIC.with_borrow_mut(|last| *last = info.to_string())));
    let mut drawn = [0; 8];
    let random = getrandom::fill(&mut drawn).map_or(1, |()| u64::from_ne_bytes(drawn));
    let seeds = arguments.seed.map_or([0, random], |seed| [seed; 2]);
    let time = Duration::from_secs(arguments.seconds.unwrap_or(20));
    println!("{} targets, {} s each, seeds {} and {}", targets.len(), time.as_secs(), seeds[0], seeds[1]);
    let failed = thread::scope(|scope| {
        let runs: Vec<_> = targets.iter().map(|target| scope.spawn(move || fuzz(target, seeds, time))).collect();
        runs.into_iter().filter_map(|run| run.join().ok()).filter(|passed| !passed).count()
    });
    fuzz::capture::clean_up();
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One target; `false` and a report when an input fails.
fn fuzz(target: &'static Target, seeds: [u64; 2], time: Duration) -> bool {
    let watch = Watch::start(target);
    let mut count = 0u64;
    let mut marks = 0;
    for (half, seed) in seeds.into_iter().enumerate() {
        let end = Instant::now() + time / 2;
        let mut random = Random::new(seed);
        let (mut corpus, mut seen) = ((target.seeds)(), HashSet::new());
        let first = corpus.len();
        for i in 0.. {
            if i % 64 == 0 && i >= first && Instant::now() >= end {
                break;
            }
            let input = match corpus.get(i) {
                Some(seed) if i < first => seed.clone(),
                _ => {
                    let parent = &corpus[random.below(corpus.len())];
                    let mut input = mutate(parent, &corpus[random.below(corpus.len())], target.words, &mut random);
                    if random.below(4) != 0 {
                        (target.repair)(&mut input);
                    }
                    input
                }
            };
            watch.now_runs(&input);
            count += 1;
            match catch_unwind(|| (target.run)(&input)) {
                Ok(mark) => {
                    if seen.insert(mark) && corpus.len() < CORPUS {
                        corpus.push(input);
                    }
                }
                Err(_) => {
                    let why = LAST_PANIC.with_borrow(Clone::clone);
                    report(target, seed, &shorten(target, input), &why);
                    return false;
                }
            }
        }
        marks += seen.len() * usize::from(half == 0 || seeds[0] != seeds[1]);
    }
    println!("{}: {count} inputs, {marks} kinds of outcome, no failure", target.name);
    true
}

/// Leaves out what the failure does not need.
fn shorten(target: &Target, mut input: Vec<u8>) -> Vec<u8> {
    let end = Instant::now() + Duration::from_secs(5);
    let mut piece = input.len() / 2;
    while piece > 0 && Instant::now() < end {
        let mut at = 0;
        while at < input.len() && Instant::now() < end {
            let mut less = input.clone();
            less.drain(at..(at + piece).min(input.len()));
            if catch_unwind(|| (target.run)(&less)).is_err() {
                input = less;
            } else {
                at += piece;
            }
        }
        piece /= 2;
    }
    input
}

fn report(target: &Target, seed: u64, input: &[u8], why: &str) {
    println!(
        "{} failed under seed {seed}: {why}\n  fuzz-smoke --target {} --input {}",
        target.name,
        target.name,
        hex::encode(input)
    );
}

/// What runs, and since when.
type Running = (Instant, Vec<u8>);

fn look(target: &Target, (since, input): &Running) {
    if since.elapsed() > MOST {
        report(target, 0, input, "it does not end");
        std::process::exit(1);
    }
}

/// Sees inputs that do not end: a thread cannot be stopped, so the program ends.
struct Watch(Arc<Mutex<Running>>);

impl Watch {
    fn start(target: &'static Target) -> Self {
        let running = Arc::new(Mutex::new((Instant::now(), Vec::new())));
        let watched = Arc::downgrade(&running);
        thread::spawn(move || {
            while let Some(running) = watched.upgrade() {
                look(target, &running.lock().unwrap_or_else(PoisonError::into_inner));
                thread::sleep(Duration::from_millis(500));
            }
        });
        Self(running)
    }

    fn now_runs(&self, input: &[u8]) {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        running.0 = Instant::now();
        running.1.clear();
        running.1.extend_from_slice(input);
    }
}
