//! The rig: two boxes between two hosts on one machine, for the demo, comparisons, and the end-to-end tests.
#![deny(unsafe_code)]

pub mod aead;
#[cfg(feature = "dpdk")]
pub mod claims;
pub mod demo;
#[cfg(feature = "dpdk")]
pub mod flow;
#[cfg(feature = "dpdk")]
pub mod histogram;
#[cfg(feature = "dpdk")]
pub mod instructions;
#[cfg(feature = "dpdk")]
pub mod latency;
pub mod measure;
#[cfg(feature = "dpdk")]
pub mod pipeline;
pub mod plot;
#[cfg(feature = "dpdk")]
pub mod ports;
pub mod report;
#[cfg(feature = "dpdk")]
pub mod results;
#[cfg(feature = "dpdk")]
pub mod rfc2544;
pub mod rig;
#[cfg(feature = "dpdk")]
pub mod scale;
pub mod tcp_ratio;

use anyhow::{Context, Result, bail};
use rig::Side;
use std::path::{Path, PathBuf};

/// The project's programs that the rig runs.
#[derive(Clone, Debug, Default)]
pub struct Programs {
    /// The box.
    pub middlebox: PathBuf,
    /// The tools.
    pub pdmv2: PathBuf,
}

impl Programs {
    /// Looks in `dir`, or beside the program that runs.
    ///
    /// # Errors
    /// They are not there.
    pub fn find(dir: Option<&Path>) -> Result<Self> {
        let beside = std::env::current_exe().context("where is this program?")?;
        let dir = dir.or(beside.parent()).unwrap_or(Path::new("."));
        let find = |name: &str| {
            let path = dir.join(name);
            if !path.is_file() {
                bail!(
                    "{} is not there: build it with 'cargo build --release', or say where with --bin-dir",
                    path.display()
                );
            }
            path.canonicalize().with_context(|| format!("cannot use {}", path.display()))
        };
        Ok(Self { middlebox: find("pdmv2-middlebox")?, pdmv2: find("pdmv2")? })
    }
}

/// The core of a side's box: each its own, where there are two.
#[must_use]
pub fn core(side: Side) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    side as usize % cores
}

/// Reads what an idle worker does.
fn idle(text: &str) -> Result<&'static str, String> {
    ["poll", "yield", "sleep"].into_iter().find(|w| *w == text).ok_or_else(|| "use poll, yield or sleep".to_owned())
}
