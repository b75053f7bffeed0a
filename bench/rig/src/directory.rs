//! Directories that go with a run.

use crate::cleanup::{self, Item};
use anyhow::{Context, Result};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory for this run, for root's eyes only: a key file lies in it.
#[derive(Debug)]
pub struct Directory(PathBuf);

/// A name that no other run has, nor another part of this one.
pub(crate) fn new_tag() -> String {
    static RUN: AtomicU32 = AtomicU32::new(0);
    format!("{}{}-{}", cleanup::PREFIX, std::process::id(), RUN.fetch_add(1, Ordering::Relaxed))
}

impl Directory {
    /// One for a run without namespaces.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn scratch() -> Result<Self> {
        cleanup::stale();
        Self::new(&new_tag())
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// One of this name.
    pub(crate) fn new(tag: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(tag);
        cleanup::remember(Item::Directory(path.clone()));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let item = Item::Directory(self.0.clone());
        cleanup::take_down(&item);
        cleanup::forget(&item);
    }
}
