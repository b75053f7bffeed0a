//! The newest generation that packets of each peer have authenticated under. Nearly every packet that comes back asks for it;
//! where thousands of peers are on the other side, each for another one's. So they stand side by side, sixteen to a cache line,
//! instead of each where an allocator has a place for it.

use core::ops::Deref;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError};

/// Numbers that stand together.
const TOGETHER: usize = 1024;

type Together = [AtomicU32; TOGETHER];

/// One peer's number, 0 before the first packet. A clone is the same number: it outlives key rings.
#[derive(Clone)]
pub struct Newest {
    together: Arc<Together>,
    at: usize,
}

impl Default for Newest {
    /// A number of its own. Only for the control thread: takes a lock for a moment.
    fn default() -> Self {
        /// Where the next one stands, if there is room.
        static NEXT: Mutex<Option<Newest>> = Mutex::new(None);
        let mut next = NEXT.lock().unwrap_or_else(PoisonError::into_inner);
        let this =
            next.take().unwrap_or_else(|| Self { together: Arc::new([const { AtomicU32::new(0) }; TOGETHER]), at: 0 });
        *next = (this.at + 1 < TOGETHER).then(|| Self { together: Arc::clone(&this.together), at: this.at + 1 });
        this
    }
}

impl From<u32> for Newest {
    fn from(generation: u32) -> Self {
        let this = Self::default();
        this.store(generation, std::sync::atomic::Ordering::Relaxed);
        this
    }
}

impl Deref for Newest {
    type Target = AtomicU32;

    #[inline]
    fn deref(&self) -> &AtomicU32 {
        &self.together[self.at % TOGETHER]
    }
}

impl core::fmt::Debug for Newest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn each_has_its_own_and_clones_share_it() {
        let all: Vec<Newest> = (0..3 * TOGETHER as u32).map(Newest::from).collect();
        let clones = all.clone();
        for (number, newest) in (0..).zip(&all) {
            assert_eq!(newest.load(Ordering::Relaxed), number);
            newest.fetch_max(number + 5000, Ordering::Relaxed);
        }
        assert!((0..).zip(&clones).all(|(number, clone)| clone.load(Ordering::Relaxed) == number + 5000));
        let far =
            |pair: &[Newest]| core::ptr::from_ref(&*pair[1]) as usize != core::ptr::from_ref(&*pair[0]) as usize + 4;
        assert!(all.windows(2).filter(|pair| far(pair)).count() <= 8, "they stand side by side");
    }
}
