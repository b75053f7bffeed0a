//! The project's programs, and which core each gets.

use crate::side::Side;
use anyhow::{Context, Result, bail};
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
