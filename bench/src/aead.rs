//! `bench aead`: sealing and opening options under many keys, path by path, in one interleaved run.

use anyhow::Result;
use clap::Args;
use protocol::aead::{BATCH, Batch, KeyState, Path, Slot, seal_by};
use protocol::suite::Aead;
use serde::Serialize;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Arguments of `bench aead`.
#[derive(Args, Debug)]
pub struct AeadArgs {
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Measurements of each kind; the median is reported
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Milliseconds per measurement
    #[arg(long, default_value_t = 30)]
    milliseconds: u64,
    /// Numbers of keys
    #[arg(long, value_delimiter = ',', default_values_t = [1, 1000, 65_536, 1_000_000])]
    keys: Vec<usize>,
}

/// One line of the report.
#[derive(Serialize, Debug)]
struct Line {
    aead: &'static str,
    keys: usize,
    operation: &'static str,
    path: &'static str,
    nanoseconds: f64,
    /// From the first to the third quartile.
    spread: f64,
    /// How many times as fast as the `aes-gcm` crate, packet by packet.
    times_portable: f64,
}

/// A key, and a packet sealed under it.
struct Item {
    key: KeyState,
    text: [u8; 14],
    tag: [u8; 16],
}

fn items(count: usize, aead: Aead) -> Vec<Item> {
    let mut x = 0x2545_F491_4F6C_DD1D_u64;
    let mut octet = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 40) as u8
    };
    let mut slots: Vec<Slot> = Vec::with_capacity(BATCH);
    let mut items = Vec::with_capacity(count);
    while items.len() < count {
        slots.clear();
        for _ in 0..BATCH.min(count - items.len()) {
            let mut slot = Slot::ZERO;
            slot.key.iter_mut().for_each(|k| *k = octet());
            slots.push(slot);
        }
        seal_by(Path::best(), aead, &mut slots);
        items.extend(slots.iter().map(|s| Item { key: KeyState::new(aead, &s.key), text: s.text, tag: s.tag }));
    }
    items
}

/// Nanoseconds per packet, filling the slots included: a worker does that too.
fn measure(items: &[Item], aead: Aead, path: Path, open: bool, time: Duration) -> f64 {
    let mut batch = Batch::new();
    let (mut packets, mut x, mut verified) = (0u64, 88_172_645_463_325_252_u64, u32::MAX);
    let start = Instant::now();
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        &items[((u128::from(x) * items.len() as u128) >> 64) as usize]
    };
    while start.elapsed() < time {
        for _ in 0..16 {
            let chosen: [&Item; BATCH] = core::array::from_fn(|_| next());
            for (i, item) in chosen.iter().enumerate() {
                batch.set(i, &[0; 12], &[0; 6], &item.text);
                batch.tag[i] = item.tag;
            }
            let keys: [&KeyState; BATCH] = core::array::from_fn(|i| &chosen[i].key);
            if open {
                verified &= black_box(&mut batch).open_by(path, aead, &keys);
            } else {
                black_box(&mut batch).seal_by(path, aead, &keys);
            }
            packets += BATCH as u64;
        }
    }
    let ns = start.elapsed().as_nanos() as f64 / packets as f64;
    assert_eq!(verified, u32::MAX, "what was sealed must open");
    ns
}

/// Measures and prints.
///
/// # Errors
/// The result cannot be written as JSON.
pub fn run(args: &AeadArgs) -> Result<bool> {
    let paths: Vec<_> = Path::ALL.into_iter().filter(|p| p.is_available()).collect();
    let mut lines = Vec::new();
    for aead in [Aead::Aes128Gcm, Aead::Aes256Gcm] {
        for &keys in &args.keys {
            let items = items(keys.max(1), aead);
            for (operation, open) in [("seal", false), ("open", true)] {
                let mut samples = vec![Vec::new(); paths.len()];
                for _ in 0..args.rounds.max(1) {
                    for (samples, &path) in samples.iter_mut().zip(&paths) {
                        samples.push(measure(&items, aead, path, open, Duration::from_millis(args.milliseconds)));
                    }
                }
                samples.iter_mut().for_each(|s| s.sort_by(f64::total_cmp));
                let at = |s: &[f64], quarter: usize| s[(s.len() - 1) * quarter / 4];
                let portable = at(&samples[0], 2);
                for (samples, path) in samples.iter().zip(&paths) {
                    lines.push(Line {
                        aead: aead.name(),
                        keys,
                        operation,
                        path: path.name(),
                        nanoseconds: at(samples, 2),
                        spread: at(samples, 3) - at(samples, 1),
                        times_portable: portable / at(samples, 2),
                    });
                }
            }
        }
    }
    if args.json {
        println!("{}", serde_json::json!({ "bench": "aead", "batch": BATCH, "lines": lines }));
        return Ok(true);
    }
    println!(
        "ns per packet, batches of {BATCH}, a key at random for each; 'portable' is the aes-gcm crate, packet by packet"
    );
    println!("{:<12} {:>9} {:<5} {:<10} {:>9} {:>8} {:>7}", "aead", "keys", "", "path", "ns", "spread", "times");
    for l in &lines {
        println!(
            "{:<12} {:>9} {:<5} {:<10} {:>9.1} {:>8.1} {:>7.1}",
            l.aead, l.keys, l.operation, l.path, l.nanoseconds, l.spread, l.times_portable
        );
    }
    Ok(true)
}
