//! A bounded run of every target by mutation, on stable Rust: what CI runs. A finding is printed with what reproduces it.

use clap::Parser;
use pdmv2_fuzz::{TARGETS, admin, bursts, capture, corpus, key_log, messages, two_boxes};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Fuzz every target for a while
#[derive(Parser)]
struct Arguments {
    /// Seconds in all
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Seed of the mutations; random if not given
    #[arg(long)]
    seed: Option<u64>,
    /// One target only
    #[arg(long)]
    target: Option<String>,
    /// Run this input, in hex, and nothing else
    #[arg(long, requires = "target")]
    input: Option<String>,
}

/// xorshift64*: reproducible from its seed, and fast.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n.max(1)
    }
}

fn mutate(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(input.len());
        match random.below(9) {
            _ if input.is_empty() => input.push(random.next() as u8),
            0 => input[at] ^= 1 << random.below(8),
            1 => input[at] = random.next() as u8,
            2 => input[at] = [0, 1, 2, 4, 15, 34, 60, 127, 128, 254, 255][random.below(11)],
            3 => input[at] = input[at].wrapping_add(1),
            4 => input.truncate(at),
            5 => {
                input.insert(at, random.next() as u8);
            }
            6 => {
                input.remove(at);
            }
            7 => {
                let from = random.below(other.len());
                let len = random.below((other.len() - from).min(48));
                input.splice(at..at, other[from..from + len].iter().copied());
            }
            _ => {
                let len = random.below((input.len() - at).min(16));
                let copy: Vec<_> = input[at..at + len].to_vec();
                let to = random.below(input.len());
                input.splice(to..to, copy);
            }
        }
    }
    input.truncate(4096);
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let random = || {
        let mut octets = [0; 8];
        getrandom::fill(&mut octets).map_or(0x9E37_79B9_7F4A_7C15, |()| u64::from_ne_bytes(octets) >> 11)
    };
    let seed = arguments.seed.unwrap_or_else(random);
    let chosen: Vec<_> = TARGETS.iter().filter(|(n, _)| arguments.target.as_ref().is_none_or(|t| t == n)).collect();
    if chosen.is_empty() {
        eprintln!("no such target; there are: {}", TARGETS.map(|(n, _)| n).join(", "));
        return ExitCode::FAILURE;
    }
    if let Some(input) = arguments.input {
        let Ok(input) = hex::decode(input) else {
            eprintln!("--input: not hex");
            return ExitCode::FAILURE;
        };
        chosen.iter().for_each(|(_, target)| target(&input));
        return ExitCode::SUCCESS;
    }
    let share = Duration::from_secs(arguments.seconds) / chosen.len() as u32;
    for (name, target) in chosen {
        let corpus = match *name {
            "walk" => corpus::packets(),
            "open" => corpus::frames(),
            "boxes" => two_boxes::conversations(),
            "bursts" => bursts::conversations(),
            "vectors" => corpus::vectors(),
            "capture" => capture::captures(),
            "key_log" => key_log::key_logs(),
            "messages" => messages::corpus(),
            "admin" => admin::requests(),
            _ => corpus::texts(),
        };
        let mut random = Random(seed | 1);
        let (start, mut runs) = (Instant::now(), 0u64);
        while start.elapsed() < share {
            for _ in 0..256 {
                let mut input = corpus[random.below(corpus.len())].clone();
                // The first round is the corpus itself.
                if runs >= corpus.len() as u64 {
                    let other = &corpus[random.below(corpus.len())];
                    mutate(&mut input, other, &mut random);
                } else {
                    input.clone_from(&corpus[runs as usize]);
                }
                runs += 1;
                if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
                    println!("FOUND in {name}, seed {seed}, run {runs}; to see it again:");
                    println!("  fuzz-smoke --target {name} --input {}", hex::encode(&input));
                    return ExitCode::FAILURE;
                }
            }
        }
        println!("{name}: {runs} inputs, seed {seed}, nothing found");
    }
    ExitCode::SUCCESS
}
