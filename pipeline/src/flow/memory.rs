//! The tables' memory, taken once at the start: from hugepages where there are enough of them, else from ordinary pages
//! that the kernel is asked to put together. With ordinary pages of 4 KiB nearly every look-up into a table of a million
//! flows would also miss the TLB.
#![allow(unsafe_code, reason = "a slice over mapped memory")]

use core::ops::Deref;
use core::ptr::NonNull;
use memmap2::{Advice, MmapMut, MmapOptions};

/// Left free for DPDK's own rings and pools.
const RESERVE: usize = 64 << 20;

/// Less than this is not worth a hugepage of 2 MiB.
const WORTH: usize = 1 << 20;

const HUGE: usize = 2 << 20;

/// A slice that stays where it is.
///
/// Invariant: `first` is the first of `len` initialized elements, in `map` (or dangling, when `len` is 0), which nobody
/// else refers to.
#[derive(Debug)]
pub struct TableMemory<T> {
    first: NonNull<T>,
    len: usize,
    /// Unmapped when dropped, behind the elements.
    _map: Option<MmapMut>,
}

// SAFETY: it owns its elements as a `Box<[T]>` does.
unsafe impl<T: Send> Send for TableMemory<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for TableMemory<T> {}

impl<T: Default> TableMemory<T> {
    /// `len` elements, each the default.
    ///
    /// # Panics
    /// There is no memory: a process that is only just starting ends.
    #[must_use]
    pub fn new(len: usize) -> Self {
        let octets = len.checked_mul(size_of::<T>()).filter(|&n| n <= isize::MAX as usize / 2);
        let Some(octets) = octets else { out_of_memory(usize::MAX) };
        if octets == 0 {
            return Self { first: NonNull::dangling(), len: 0, _map: None };
        }
        let mut map = map(octets);
        let base = map.as_mut_ptr().cast::<T>();
        assert!(base.is_aligned() && map.len() >= octets, "a mapping begins on a page");
        for i in 0..len {
            // SAFETY: `map` holds `len` elements' octets from `base` on, which is aligned (checked above), and is ours alone.
            unsafe { base.add(i).write(T::default()) };
        }
        let Some(first) = NonNull::new(base) else { out_of_memory(octets) };
        Self { first, len, _map: Some(map) }
    }
}

impl<T> Deref for TableMemory<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: the type's invariant.
        unsafe { core::slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl<T> Drop for TableMemory<T> {
    fn drop(&mut self) {
        // SAFETY: the elements are initialized and dropped here only; their memory goes behind them.
        unsafe { core::ptr::slice_from_raw_parts_mut(self.first.as_ptr(), self.len).drop_in_place() };
    }
}

fn map(octets: usize) -> MmapMut {
    if octets >= WORTH {
        let huge = |len: usize| MmapOptions::new().len(len.next_multiple_of(HUGE)).huge(Some(21)).map_anon();
        // Taken and given back: whether there are as many, and the reserve besides.
        let enough = huge(octets + RESERVE).is_ok();
        if let (true, Ok(map)) = (enough, huge(octets)) {
            return map;
        }
    }
    let Ok(map) = MmapOptions::new().len(octets).map_anon() else { out_of_memory(octets) };
    let _ = map.advise(Advice::HugePage); // a hint: older kernels, and some containers, have no such pages
    map
}

#[cold]
fn out_of_memory(octets: usize) -> ! {
    let layout = core::alloc::Layout::from_size_align(octets.min(isize::MAX as usize), 1);
    std::alloc::handle_alloc_error(layout.unwrap_or(core::alloc::Layout::new::<u8>()))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Debug)]
    #[repr(align(64))]
    struct Counted(u64);

    static LIVE: AtomicUsize = AtomicUsize::new(0);

    impl Default for Counted {
        fn default() -> Self {
            Self(LIVE.fetch_add(1, Ordering::Relaxed) as u64)
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            LIVE.fetch_sub(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn every_element_is_made_once_and_dropped_once() {
        for len in [0, 1, 1000, 50_000] {
            let table = TableMemory::<Counted>::new(len);
            assert_eq!((table.len(), LIVE.load(Ordering::Relaxed)), (len, len));
            assert!(table.iter().enumerate().all(|(i, c)| c.0 == i as u64));
            assert!(table.as_ptr().is_aligned());
            drop(table);
            assert_eq!(LIVE.load(Ordering::Relaxed), 0);
        }
    }
}
