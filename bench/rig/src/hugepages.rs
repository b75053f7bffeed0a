//! Hugepages for the time of a run: taken from the kernel when it begins, and given back when it ends, however it ends.

use crate::cleanup::{self, Item};
use crate::command::until;
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The kernel's pool of pages of 2 MiB.
const POOL: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";

/// How long those that are in use may take to come back.
const PATIENCE: Duration = Duration::from_secs(1);

/// Hugepages that were taken. Dropped: given back.
#[derive(Debug)]
pub struct Hugepages {
    taken: Option<Taken>,
    note: Option<String>,
}

/// What there was, and what was made of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Taken {
    pool: PathBuf,
    before: u64,
    used_before: u64,
    set: u64,
}

impl Hugepages {
    /// Takes as many that so many pages are free, and never leaves fewer than there are. Needs root; what could not be had
    /// is in the note.
    #[must_use]
    pub fn take(pages: u64) -> Self {
        Self::take_of(Path::new(POOL), pages)
    }

    fn take_of(pool: &Path, pages: u64) -> Self {
        let mut this = Self { taken: None, note: None };
        if let Err(error) = this.grow(pool, pages) {
            this.note = Some(format!("no hugepages could be taken: {error:#}"));
        }
        this
    }

    /// What a reader must know: that there are fewer than wanted, and why.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    fn grow(&mut self, pool: &Path, pages: u64) -> Result<()> {
        let (before, free) = (number(pool, "nr_hugepages")?, available(pool)?);
        let missing = pages.saturating_sub(free);
        if missing == 0 {
            return Ok(());
        }
        // Remembered first: a signal may come at any moment. The kernel may then give fewer than asked for.
        let asked = Taken { pool: pool.to_owned(), before, used_before: before - free, set: before + missing };
        cleanup::remember(Item::Hugepages(asked.clone()));
        let written = write(pool, asked.set);
        let taken = Taken { set: number(pool, "nr_hugepages").unwrap_or(asked.set), ..asked.clone() };
        if taken != asked {
            cleanup::remember(Item::Hugepages(taken.clone()));
            cleanup::forget(&Item::Hugepages(asked));
        }
        if written.is_err() {
            cleanup::forget(&Item::Hugepages(taken));
            return written;
        }
        let got = available(pool)?;
        if got < pages {
            self.note =
                Some(format!("{got} hugepages of {pages} could be had: the kernel finds no more memory in one piece"));
        }
        self.taken = Some(taken);
        Ok(())
    }
}

impl Drop for Hugepages {
    fn drop(&mut self) {
        if let Some(taken) = self.taken.take() {
            let item = Item::Hugepages(taken);
            cleanup::take_down(&item);
            cleanup::forget(&item);
        }
    }
}

impl Taken {
    /// Sets back what there was, unless others have come to rely on what there is: they changed it, or use more of it than
    /// they did before.
    pub(crate) fn give_back(&self) {
        if let Err(error) = self.shrink() {
            eprintln!("hugepages stay as they are: {error:#}");
        }
    }

    fn shrink(&self) -> Result<()> {
        let now = number(&self.pool, "nr_hugepages")?;
        ensure!(now == self.set, "there are {now}, and {} were set: another one changed it", self.set);
        let used = || -> Result<u64> { Ok(now.saturating_sub(available(&self.pool)?)) };
        // A process that was killed just now gives its own back in a moment.
        if until(PATIENCE, || Ok((used()? <= self.used_before).then_some(())))?.is_none() {
            bail!("{} are in use, and {} were before", used()?, self.used_before);
        }
        write(&self.pool, self.before)
    }
}

/// Those that nobody has, or has been promised.
fn available(pool: &Path) -> Result<u64> {
    Ok(number(pool, "free_hugepages")?.saturating_sub(number(pool, "resv_hugepages")?))
}

fn number(pool: &Path, name: &str) -> Result<u64> {
    let file = pool.join(name);
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    text.trim().parse().with_context(|| format!("{} holds no number", file.display()))
}

fn write(pool: &Path, pages: u64) -> Result<()> {
    let file = pool.join("nr_hugepages");
    std::fs::write(&file, pages.to_string()).with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Directory;

    /// A pool that only holds numbers: free ones do not follow the sum, as if the kernel had found none.
    fn pool(all: u64, free: u64, promised: u64) -> Directory {
        let dir = Directory::scratch().expect("a directory");
        set(&dir, [("nr_hugepages", all), ("free_hugepages", free), ("resv_hugepages", promised)]);
        dir
    }

    fn set<const N: usize>(dir: &Directory, values: [(&str, u64); N]) {
        for (name, value) in values {
            std::fs::write(dir.path().join(name), format!("{value}\n")).expect("written");
        }
    }

    fn all(dir: &Directory) -> u64 {
        number(dir.path(), "nr_hugepages").expect("a number")
    }

    #[test]
    fn what_is_missing_is_taken_and_given_back() {
        let dir = pool(100, 40, 10);
        let taken = Hugepages::take_of(dir.path(), 200);
        assert_eq!(all(&dir), 100 + 170);
        assert_eq!(taken.note().map(|n| n.contains("30 hugepages of 200")), Some(true), "the kernel found none");
        set(&dir, [("free_hugepages", 210)]);
        drop(taken);
        assert_eq!(all(&dir), 100);
    }

    #[test]
    fn enough_is_left_alone_and_so_is_what_others_use_or_have_changed() {
        let dir = pool(100, 40, 0);
        drop(Hugepages::take_of(dir.path(), 40));
        assert_eq!(all(&dir), 100);
        // Others use 70 now instead of 60.
        let taken = Hugepages::take_of(dir.path(), 80);
        set(&dir, [("free_hugepages", 70)]);
        drop(taken);
        assert_eq!(all(&dir), 140);
        let dir = pool(100, 40, 0);
        let taken = Hugepages::take_of(dir.path(), 80);
        set(&dir, [("nr_hugepages", 500), ("free_hugepages", 440)]);
        drop(taken);
        assert_eq!(all(&dir), 500);
    }

    #[test]
    fn without_a_pool_there_is_a_note() {
        let dir = Directory::scratch().expect("a directory");
        let taken = Hugepages::take_of(&dir.path().join("nothing"), 1);
        assert!(taken.note().is_some_and(|note| note.contains("cannot read")), "{taken:?}");
    }
}
