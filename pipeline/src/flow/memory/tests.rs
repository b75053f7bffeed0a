//! Each kind of page, what is between them, and that all of it goes back.

use super::*;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

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

const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;

#[test]
fn the_best_pages_that_there_are() {
    // Of so many that are free, for a table of so many octets.
    let of = |octets, free: [usize; 2]| {
        plan(octets, |kind, wanted| most(wanted, |n| n <= free[usize::from(kind.octets == KINDS[1].octets)]))
    };
    assert_eq!(of(3 * GIB + 700 * MIB, [9, 9999]), [4, 0], "what is left is worth one");
    assert_eq!(of(3 * GIB + 200 * MIB, [9, 9999]), [3, 100]);
    assert_eq!(of(3 * GIB, [2, 9999]), [2, 512], "the others hold the rest");
    assert_eq!(of(3 * GIB, [0, 9999]), [0, 1536]);
    assert_eq!(of(3 * GIB, [0, 7]), [0, 7], "and ordinary pages what is left then");
    assert_eq!(of(500 * MIB, [9, 9999]), [0, 250], "too small for one of 1 GiB");
    assert_eq!(of(5 * MIB, [9, 9999]), [0, 3]);
    assert_eq!(of(MIB - 1, [9, 9999]), [0, 0], "and for any");
    assert_eq!(of(3 * GIB, [0, 0]), [0, 0]);
}

#[test]
fn the_most_that_there_are_is_found() {
    for there in 0..70 {
        for wanted in 1..70 {
            assert_eq!(most(wanted, |n| n <= there), wanted.min(there), "{wanted} of {there}");
        }
    }
}

/// Writes to all of it, and reads it when all is written.
fn is_all_there(map: Mapping) {
    let len = map.len / size_of::<u64>();
    let words = TableMemory::<AtomicU64>::over(map, len);
    words.iter().zip(1..).for_each(|(word, i)| word.store(i, Ordering::Relaxed));
    assert!(words.iter().zip(1..).all(|(word, i)| word.load(Ordering::Relaxed) == i));
}

#[test]
fn pages_of_several_kinds_are_one_piece() {
    // Ordinary pages in the place of hugepages, since there may be none.
    let kinds = KINDS.map(|kind| Kind { octets: kind.octets >> 8, flags: MapFlags::empty(), ..kind });
    let [large, small] = kinds.map(|kind| kind.octets);
    for (plan, ordinary) in [([1, 3], 5000), ([2, 0], 0), ([0, 2], 1), ([1, 0], 100_000)] {
        let lens = [plan[0] * large, plan[1] * small];
        let octets = lens[0] + lens[1] + ordinary;
        let map = Mapping::of_kinds(octets, &kinds, plan).expect("memory");
        assert_eq!(map.pages, Pages { giant: lens[0], huge: lens[1], ordinary });
        assert!(map.len >= octets && map.len < octets + small);
        assert!(map.first.as_ptr().addr().is_multiple_of(if plan[0] > 0 { large } else { small }));
        map.advise(octets);
        is_all_there(map);
    }
    // More than a table needs, and the last page is whole.
    let map = Mapping::of_kinds(small - 1, &kinds, [0, 1]).expect("memory");
    assert_eq!((map.len, map.pages.ordinary, map.pages.in_huge()), (small, 0, 1));
}

#[test]
fn pages_that_are_gone_again_leave_nothing_behind() {
    // The second kind cannot be had: no machine has so many.
    let kinds = [Kind { octets: 1 << 21, flags: MapFlags::empty(), ..KINDS[0] }, KINDS[1]];
    for _ in 0..100 {
        assert!(Mapping::of_kinds(1 << 44, &kinds, [1, 1 << 22]).is_none());
    }
    assert!(Mapping::of_pages(&KINDS[1], 1 << 22).is_none() && Mapping::of_pages(&KINDS[0], usize::MAX).is_none());
}

/// Puts a number of the kernel's back, whatever becomes of the test.
struct Restored(&'static str, String);

impl Restored {
    /// `None`: it may not be set, or the kernel has not the memory for it.
    fn set(path: &'static str, value: usize) -> Option<Self> {
        let before = std::fs::read_to_string(path).ok()?;
        let this = Self(path, before);
        std::fs::write(path, value.to_string()).ok()?;
        (std::fs::read_to_string(path).ok()?.trim() == value.to_string()).then_some(this)
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        let _ = std::fs::write(self.0, &self.1); // nothing more can be done about it
    }
}

#[test]
#[ignore = "sets the machine's hugepages: cargo test -p pipeline --lib -- --ignored real_hugepages, as root and alone"]
fn real_hugepages() {
    let of = |octets| {
        let map = Mapping::new(octets);
        let pages = map.pages;
        is_all_there(map);
        pages
    };
    let path = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
    if let Some(restored) = Restored::set(path, 24) {
        let spare = KINDS[1].spare * 2 * MIB;
        assert_eq!(of(20 * MIB), Pages { huge: 20 * MIB, ..Pages::default() });
        assert_eq!(of(100 * MIB), Pages { huge: 48 * MIB - spare, ordinary: 52 * MIB + spare, ..Pages::default() });
        // A second table gets what the first has left.
        let first = Mapping::new(30 * MIB);
        assert_eq!((first.pages.huge, of(10 * MIB).huge), (30 * MIB, 2 * MIB));
        drop((first, restored));
    }
    let giant = "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages";
    if let Some(restored) = Restored::set(giant, 1) {
        let _none = Restored::set(path, 0);
        assert_eq!(of(600 * MIB), Pages { giant: GIB, ..Pages::default() });
        assert_eq!(of(GIB + 100 * MIB), Pages { giant: GIB, ordinary: 100 * MIB, huge: 0 });
        assert_eq!(of(500 * MIB), Pages { ordinary: 500 * MIB, ..Pages::default() });
        drop(restored);
    }
}
