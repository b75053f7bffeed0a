//! The sliding replay window over extended packet sequence numbers (profile section 6), lock-free.
//!
//! Each of 32 words holds 36 consecutive numbers as bits and, above them, the number of its block, so one
//! compare-and-swap both tells whose bits they are and marks one. A word whose block has left the window is taken over
//! by the first packet of its next block. There is no separate 'clear' step that a second writer could fall into.

use crate::sync::{AtomicU64, Ordering};

const WORDS: usize = 32;
const BITS: u64 = 36;
const TAG_BITS: u32 = 64 - BITS as u32;
const TAG_MASK: u64 = (1 << TAG_BITS) - 1;
const BITMAP_MASK: u64 = (1 << BITS) - 1;

/// A number this far or further behind the highest one accepted is too old. At least the 1,024 that the profile asks for.
pub const WINDOW: u64 = (WORDS as u64 - 1) * BITS;

/// What the window says of one number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mark {
    /// Not seen before; it is marked now.
    Fresh,
    /// Seen before.
    Replayed,
    /// Behind the window: nobody knows.
    TooOld,
}

/// Which of the last [`WINDOW`] numbers have been accepted.
#[derive(Debug)]
pub struct ReplayWindow {
    words: [AtomicU64; WORDS],
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self { words: core::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl ReplayWindow {
    /// Forgets everything. Only for a window that no other thread marks at the moment.
    pub fn clear(&self) {
        for word in &self.words {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// The word that `number` is kept in.
    #[inline]
    #[must_use]
    pub const fn word_of(&self, number: u64) -> &AtomicU64 {
        &self.words[((number / BITS + 1) % WORDS as u64) as usize]
    }

    /// Marks `number`, which the caller has found to be less than [`WINDOW`] behind `highest` (or ahead of it).
    ///
    /// Correct with several writers: of two that mark one number, exactly one is told [`Mark::Fresh`].
    #[inline]
    pub fn mark(&self, number: u64, highest: u64) -> Mark {
        if highest >= number && highest - number >= WINDOW {
            return Mark::TooOld;
        }
        // Block 0 is never used, so that an untouched word belongs to nobody.
        let block = number / BITS + 1;
        let tag = block & TAG_MASK;
        let bit = 1u64 << (number % BITS);
        let word = self.word_of(number);
        let mut seen = word.load(Ordering::Relaxed);
        // Each failed exchange means that another writer got further; more than a few in a row cannot be honest traffic.
        for _ in 0..64 {
            let there = seen >> BITS;
            let bitmap = if there == tag {
                if seen & bit != 0 {
                    return Mark::Replayed;
                }
                seen & BITMAP_MASK
            } else if seen != 0 && tag.wrapping_sub(there) & TAG_MASK > TAG_MASK / 2 {
                return Mark::TooOld; // a later block has taken the word
            } else {
                0
            };
            match word.compare_exchange_weak(seen, (tag << BITS) | bitmap | bit, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Mark::Fresh,
                Err(now) => seen = now,
            }
        }
        Mark::TooOld
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn window_is_what_the_profile_asks_for() {
        const { assert!(WINDOW >= 1024) };
    }

    proptest! {
        // The model: a set of everything accepted, and the highest of it.
        #[test]
        fn agrees_with_a_set(start in 0u64..1 << 47, steps in prop::collection::vec((-1500i64..1500, 1usize..4), 1..600)) {
            let window = ReplayWindow::default();
            let mut seen = BTreeSet::new();
            let mut highest = start + 2000;
            let mut at = highest;
            prop_assert_eq!(window.mark(highest, highest), Mark::Fresh);
            seen.insert(highest);
            for (step, times) in steps {
                at = at.saturating_add_signed(step).max(start);
                for _ in 0..times {
                    let expected = if highest >= at && highest - at >= WINDOW { Mark::TooOld }
                        else if seen.contains(&at) { Mark::Replayed } else { Mark::Fresh };
                    prop_assert_eq!(window.mark(at, highest), expected, "number {} highest {}", at, highest);
                    if expected == Mark::Fresh {
                        seen.insert(at);
                        highest = highest.max(at);
                    }
                }
            }
        }
    }

    #[test]
    fn a_number_is_fresh_for_one_of_many_threads() {
        let window = ReplayWindow::default();
        let fresh = std::sync::atomic::AtomicU64::new(0);
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    for n in 1_000_000..1_020_000u64 {
                        if window.mark(n, n) == Mark::Fresh {
                            fresh.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        // A slow thread may find some too old; nobody may find one fresh that another had.
        let fresh = fresh.into_inner();
        assert!((1..=20_000).contains(&fresh), "{fresh}");
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;

    #[test]
    fn loom_two_writers_one_fresh() {
        loom::model(|| {
            let window = Arc::new(ReplayWindow::default());
            let other = Arc::clone(&window);
            let thread = loom::thread::spawn(move || other.mark(100, 100));
            let mine = window.mark(100, 100);
            let theirs = thread.join().expect("no panic");
            assert_eq!(usize::from(mine == Mark::Fresh) + usize::from(theirs == Mark::Fresh), 1);
        });
    }

    #[test]
    fn loom_neighbours_do_not_lose_each_other() {
        loom::model(|| {
            let window = Arc::new(ReplayWindow::default());
            let other = Arc::clone(&window);
            let thread = loom::thread::spawn(move || other.mark(100, 101));
            assert_eq!(window.mark(101, 101), Mark::Fresh);
            assert_eq!(thread.join().expect("no panic"), Mark::Fresh);
            assert_eq!(window.mark(100, 101), Mark::Replayed);
            assert_eq!(window.mark(101, 101), Mark::Replayed);
        });
    }
}
