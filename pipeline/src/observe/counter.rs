//! One number that a worker counts up.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A counter with one writer, which therefore needs no atomic addition, and any number of readers.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds. Only from the worker that owns it.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The present value.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
