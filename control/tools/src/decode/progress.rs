//! How far a capture has been read, for who waits at a terminal; nobody else sees anything of it.

use common::capture::{Capture, CaptureError};
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Nothing is shown of what is done sooner.
const PATIENCE: Duration = Duration::from_millis(500);
const BETWEEN: Duration = Duration::from_millis(200);
/// Frames between two looks at the clock.
const FRAMES: u64 = 1 << 12;
const BAR: usize = 30;

/// A file whose octets are counted as they are read: of a compressed one those that there are, not what they unpack to.
struct Counted(File, Arc<AtomicU64>);

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(into)?;
        self.1.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// A bar on standard error.
pub(super) struct Progress {
    read: Arc<AtomicU64>,
    /// `None`: nobody looks, or it is not known how much there is.
    size: Option<u64>,
    began: Instant,
    shown: Option<Instant>,
}

impl Progress {
    /// Opens a capture, and shows how far it has been read if somebody sees it.
    pub fn open(path: &Path) -> Result<(Capture, Self), CaptureError> {
        let mut this = Self { read: Arc::default(), size: None, began: Instant::now(), shown: None };
        // `-` is not a file: nobody knows how much is to come.
        if path == Path::new("-") || !io::stderr().is_terminal() {
            return Ok((Capture::open(path)?, this));
        }
        let file = File::open(path).map_err(|e| CaptureError::Io(path.to_owned(), e))?;
        let metadata = file.metadata().map_err(|e| CaptureError::Io(path.to_owned(), e))?;
        this.size = Some(metadata.len()).filter(|len| metadata.is_file() && *len > 0);
        let capture = Capture::read(path, Box::new(Counted(file, Arc::clone(&this.read))))?;
        Ok((capture, this))
    }

    /// Another frame.
    pub fn frame(&mut self, number: u64) {
        let Some(size) = self.size.filter(|_| number.is_multiple_of(FRAMES)) else { return };
        let now = Instant::now();
        if now - self.began < PATIENCE || self.shown.is_some_and(|shown| now - shown < BETWEEN) {
            return;
        }
        self.shown = Some(now);
        let line = bar(self.read.load(Ordering::Relaxed), size, number);
        let mut err = io::stderr().lock();
        let _ = write!(err, "\r{line}\x1b[K").and_then(|()| err.flush());
    }
}

impl Drop for Progress {
    /// What comes now begins at the line's beginning.
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn bar(read: u64, size: u64, frames: u64) -> String {
    let share = (read.min(size) * 100).checked_div(size).unwrap_or(100);
    let filled = share as usize * BAR / 100;
    format!("[{}{}] {share:>3} %  {frames} frames", "#".repeat(filled), ".".repeat(BAR - filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_at_any_time() {
        assert_eq!(bar(0, 10, 0), format!("[{}]   0 %  0 frames", ".".repeat(BAR)));
        assert_eq!(bar(5, 10, 7), format!("[{}{}]  50 %  7 frames", "#".repeat(15), ".".repeat(15)));
        assert_eq!(bar(20, 10, 9), format!("[{}] 100 %  9 frames", "#".repeat(BAR)));
    }

    #[test]
    fn nobody_sees_a_bar_who_is_no_terminal() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("c");
        std::fs::write(&path, [0xD4, 0xC3, 0xB2, 0xA1, 2, 0, 4, 0]).expect("written");
        assert!(Progress::open(&path).is_err(), "cut off");
        assert!(Progress::open(&dir.path().join("none")).is_err());
    }
}
