//! The tables' memory, taken once at the start: from hugepages, as far as there are any, the rest from ordinary pages that the
//! kernel is asked to put together. With ordinary pages of 4 KiB nearly every look-up into a table of a million flows would also
//! miss the TLB.
#![allow(unsafe_code, reason = "a slice over mapped memory")]

use core::ops::Deref;
use core::ptr::{NonNull, null_mut};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// A size of hugepages.
#[derive(Clone, Copy, Debug)]
struct Kind {
    octets: usize,
    flags: MapFlags,
    /// What is left of a table is worth a page of its own from so many octets on.
    worth: usize,
    /// Pages that are left free. DPDK has taken what packets need when tables are made; drivers take a little more when ports
    /// are started.
    spare: usize,
}

/// The largest first.
const KINDS: [Kind; 2] = [
    Kind { octets: 1 << 30, flags: MapFlags::HUGETLB.union(MapFlags::HUGE_1GB), worth: 1 << 29, spare: 0 },
    Kind { octets: 2 << 20, flags: MapFlags::HUGETLB.union(MapFlags::HUGE_2MB), worth: 1 << 20, spare: 8 },
];

/// Pages of each kind.
type Plan = [usize; KINDS.len()];

/// What a table lies on: octets by size of page.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pages {
    /// Hugepages of 1 GiB.
    pub giant: usize,
    /// Hugepages of 2 MiB.
    pub huge: usize,
    /// Ordinary ones. The kernel may have put some of them together.
    pub ordinary: usize,
}

impl Pages {
    /// By the names that the sizes have in messages and metrics.
    #[must_use]
    pub const fn by_size(&self) -> [(&'static str, usize); 3] {
        [("1G", self.giant), ("2M", self.huge), ("ordinary", self.ordinary)]
    }

    /// Hugepages of 2 MiB that would hold all of it.
    #[must_use]
    pub const fn in_huge(&self) -> usize {
        (self.giant + self.huge + self.ordinary).div_ceil(KINDS[1].octets)
    }
}

/// A slice that stays where it is.
///
/// Invariant: `first` is the first of `len` initialized elements, in `map` (or dangling, when `len` is 0), which nobody
/// else refers to.
#[derive(Debug)]
pub struct TableMemory<T> {
    first: NonNull<T>,
    len: usize,
    /// Unmapped when dropped, behind the elements.
    map: Option<Mapping>,
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
            return Self { first: NonNull::dangling(), len: 0, map: None };
        }
        Self::over(Mapping::new(octets), len)
    }

    /// The same in this memory.
    fn over(map: Mapping, len: usize) -> Self {
        let first = map.first.cast::<T>();
        let fits = len.checked_mul(size_of::<T>()).is_some_and(|octets| octets <= map.len);
        assert!(first.is_aligned() && fits, "a mapping begins on a page, and is as long as its table");
        for i in 0..len {
            // SAFETY: `map` holds `len` elements' octets from `first` on, which is aligned (checked above), and is ours alone.
            unsafe { first.add(i).write(T::default()) };
        }
        Self { first, len, map: Some(map) }
    }
}

impl<T> TableMemory<T> {
    /// What it lies on.
    pub fn pages(&self) -> Pages {
        self.map.as_ref().map_or_else(Pages::default, |map| map.pages)
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

/// Memory of this process, all zeros at first.
///
/// Invariant: `len` octets from `first` on, which begin on a page, are mapped to be read and written, and are nobody else's.
#[derive(Debug)]
struct Mapping {
    first: NonNull<u8>,
    len: usize,
    pages: Pages,
}

impl Mapping {
    /// At least so many octets, from the best pages there are.
    fn new(octets: usize) -> Self {
        let free = |kind: &Kind, wanted| most(wanted, |n| Self::of_pages(kind, n + kind.spare).is_some());
        let plan = plan(octets, free);
        let map = if plan == [0; 2] { None } else { Self::of_kinds(octets, &KINDS, plan) };
        let Some(map) = map.or_else(|| Self::anywhere(octets, MapFlags::empty())) else { out_of_memory(octets) };
        map.advise(octets);
        map
    }

    /// Pages of one kind, where the kernel likes: they are put aside with this, and it fails when there are fewer.
    fn of_pages(kind: &Kind, count: usize) -> Option<Self> {
        Self::anywhere(count.checked_mul(kind.octets)?, kind.flags)
    }

    fn anywhere(len: usize, flags: MapFlags) -> Option<Self> {
        // SAFETY: no address is asked for, so nothing that is there is touched.
        let at = unsafe {
            mmap_anonymous(null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | flags).ok()?
        };
        Some(Self { first: NonNull::new(at.cast())?, len, pages: Pages { ordinary: len, ..Pages::default() } })
    }

    /// Pages of each kind as planned, one behind the other, ordinary ones behind them. `None`: somebody else has taken pages
    /// since it was planned.
    fn of_kinds(octets: usize, kinds: &[Kind; 2], plan: Plan) -> Option<Self> {
        let lens = [plan[0].checked_mul(kinds[0].octets)?, plan[1].checked_mul(kinds[1].octets)?];
        let len = octets.max(lens[0].checked_add(lens[1])?).next_multiple_of(kinds[1].octets);
        let align = if plan[0] > 0 { kinds[0].octets } else { kinds[1].octets };
        let mut whole = Self::anywhere(len.checked_add(align)?, MapFlags::NORESERVE)?;
        let at = whole.first.as_ptr().addr();
        drop(whole.split_front(at.next_multiple_of(align) - at));
        let mut ready = whole.split_front(len);
        drop(whole);
        let mut done = 0;
        for (kind, len) in kinds.iter().zip(lens).filter(|&(_, len)| len > 0) {
            // SAFETY: within `ready`, which is ours and which nothing refers to yet; it begins and ends on a page of this kind,
            // since larger pages come first.
            let put = unsafe {
                let at = ready.first.as_ptr().add(done).cast();
                let flags = MapFlags::PRIVATE | MapFlags::FIXED | kind.flags;
                mmap_anonymous(at, len, ProtFlags::READ | ProtFlags::WRITE, flags)
            };
            if put.is_err() {
                // The kernel does not say what is there now: what was, or nothing. These addresses stay unused.
                drop(ready.split_front(done));
                core::mem::forget(ready.split_front(len));
                return None;
            }
            done += len;
        }
        ready.pages = Pages { giant: lens[0], huge: lens[1], ordinary: octets.saturating_sub(done) };
        Some(ready)
    }

    /// Takes the first octets, whole pages of them, off what is there.
    fn split_front(&mut self, len: usize) -> Self {
        assert!(len <= self.len, "no more than there is");
        let front = Self { first: self.first, len, pages: Pages::default() };
        // SAFETY: within the mapping, or at its end.
        self.first = unsafe { self.first.add(len) };
        self.len -= len;
        front
    }

    /// Asks for ordinary pages to be put together.
    fn advise(&self, octets: usize) {
        let hugepages = self.pages.giant + self.pages.huge;
        if hugepages < octets.min(self.len) {
            // SAFETY: within the mapping, and changes nothing of what is in it. A hint: older kernels, and some containers,
            // have no such pages.
            let _ = unsafe {
                madvise(self.first.as_ptr().add(hugepages).cast(), self.len - hugepages, Advice::LinuxHugepage)
            };
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: ours, and nothing refers to it any more. That it fails is impossible for whole pages of ours, but for a
            // kernel without memory to note it: then it stays.
            let _ = unsafe { munmap(self.first.as_ptr().cast(), self.len) };
        }
    }
}

/// How many pages of each kind a table of so many octets is given, `free` being how many there are of those wanted.
fn plan(octets: usize, free: impl Fn(&Kind, usize) -> usize) -> Plan {
    let mut rest = octets;
    KINDS.map(|kind| {
        let wanted = rest / kind.octets + usize::from(rest % kind.octets >= kind.worth);
        let pages = if wanted == 0 { 0 } else { free(&kind, wanted) };
        rest = rest.saturating_sub(pages * kind.octets);
        pages
    })
}

/// The largest number up to this one of which `can` is true; whatever it is true of, it is true of what is less.
fn most(wanted: usize, can: impl Fn(usize) -> bool) -> usize {
    if can(wanted) {
        return wanted;
    }
    let (mut yes, mut no) = (0, wanted);
    while no > yes + 1 {
        let middle = yes.midpoint(no);
        *(if can(middle) { &mut yes } else { &mut no }) = middle;
    }
    yes
}

#[cold]
fn out_of_memory(octets: usize) -> ! {
    let layout = core::alloc::Layout::from_size_align(octets.min(isize::MAX as usize), 1);
    std::alloc::handle_alloc_error(layout.unwrap_or(core::alloc::Layout::new::<u8>()))
}

#[cfg(all(test, not(loom)))]
mod tests;
