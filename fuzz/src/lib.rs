//! Fuzz targets: plain functions over octets that panic when something is wrong. `cargo fuzz` runs them under libFuzzer
//! where there is a nightly compiler; `fuzz-smoke` runs them for a bounded time on any.

pub mod capture;
pub mod config;
pub mod mutate;
pub mod open;
pub mod packets;
pub mod vectors;
pub mod walk;

/// A target.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Runs one input. Gives a mark of what happened: inputs with a new mark are worth mutating further.
    pub run: fn(&[u8]) -> u64,
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Makes a mutated input fit its format again in what would stop it at once (lengths).
    pub repair: fn(&mut Vec<u8>),
    /// Pieces to insert.
    pub words: &'static [&'static str],
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "walk", run: walk::run, seeds: walk::seeds, repair: walk::repair, words: &[] },
    Target { name: "open", run: open::run, seeds: open::seeds, repair: open::repair, words: &[] },
    Target { name: "config", run: config::run, seeds: config::seeds, repair: |_| (), words: config::WORDS },
    Target { name: "vectors", run: vectors::run, seeds: vectors::seeds, repair: |_| (), words: vectors::WORDS },
    Target { name: "capture", run: capture::run, seeds: capture::seeds, repair: |_| (), words: &[] },
];

/// A mark of something that has a text.
pub(crate) fn mark(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, o| (hash ^ u64::from(o)).wrapping_mul(0x0100_0000_01B3))
}
