//! DPDK's `rte_hash` in lock-free mode, through the C of `rte_hash.c`. The only `unsafe` of this crate.

use super::table::{BURST, KEYED, Key, Sum, Table};
use anyhow::{Result, bail, ensure};
use dpdk_ffi::Eal;
use pipeline::flow::record::FlowBack;
use std::ffi::{CString, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::ptr::NonNull;

#[repr(C)]
struct Hash {
    _opaque: [u8; 0],
}

type HashFunction = extern "C" fn(*const c_void, u32, u32) -> u32;

unsafe extern "C" {
    fn bench_hash_new(
        name: *const c_char,
        entries: u32,
        function: Option<HashFunction>,
        error: *mut c_int,
    ) -> *mut Hash;
    fn bench_hash_free(hash: *mut Hash);
    fn bench_hash_add(hash: *mut Hash, key: *const u64, data: *const c_void) -> c_int;
    fn bench_hash_del(hash: *mut Hash, key: *const u64) -> c_int;
    fn bench_hash_find(hash: *mut Hash, keys: *const u64, count: u32, found: *mut *const c_void) -> u64;
    fn bench_hash_enter(hash: *mut Hash, thread: u32) -> c_int;
    fn bench_hash_quiescent(hash: *mut Hash, thread: u32);
    fn bench_hash_leave(hash: *mut Hash, thread: u32);
}

/// ENOSPC.
const NO_SPACE: c_int = 28;

/// How often an insertion into a full table is tried.
const PATIENCE: usize = 100_000;

/// How a table places its keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HashedBy {
    /// `rte_hash`'s own choice: CRC32 by the CPU's instruction. Not keyed: who knows it chooses buckets.
    Crc,
    /// As our table does, under a secret.
    Keyed,
}

/// Our table's hash of a key, of which `rte_hash` takes 32 bits.
extern "C" fn keyed(key: *const c_void, octets: u32, _initial: u32) -> u32 {
    debug_assert_eq!(octets as usize, size_of::<Key>());
    // SAFETY: rte_hash calls this with the key it was given (here always a `Key`), or with its own copy of one, which
    // stands at a multiple of 8.
    let key = unsafe { &*key.cast::<Key>() };
    KEYED.fingerprint(key).lo as u32
}

/// A table from keys to flow records that live at least as long.
pub struct RteHash<'a> {
    hash: NonNull<Hash>,
    name: &'static str,
    _eal: Eal,
    _records: PhantomData<&'a FlowBack>,
}

// SAFETY: adding, removing and finding are safe from several threads at once with the flags that rte_hash.c sets
// (lock-free readers, writers behind its lock); the records are `Sync`.
unsafe impl Send for RteHash<'_> {}
// SAFETY: as above.
unsafe impl Sync for RteHash<'_> {}

impl<'a> RteHash<'a> {
    /// Octets of DPDK's memory that a table with twice as many places as flows takes, roughly.
    #[must_use]
    pub const fn memory(flows: usize) -> usize {
        // Per place: 48 octets of key and data, 8 of a bucket, 4 of the ring of free places, 32 of the queue of places
        // that wait for readers; the last two and the buckets are rounded up to a power of two.
        2 * flows * 136 + (8 << 20)
    }

    /// A table with as many places as ours has for this many flows: two for each.
    ///
    /// # Errors
    /// DPDK has not the memory.
    pub fn new(eal: &Eal, name: &'static str, flows: usize, by: HashedBy) -> Result<Self> {
        let function: Option<HashFunction> = match by {
            HashedBy::Crc => None,
            HashedBy::Keyed => Some(keyed),
        };
        // DPDK keeps tables by name, in a list of the process.
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let unique = CString::new(format!("bench{}", NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)))?;
        let (entries, mut error) = (u32::try_from(flows * 2)?.max(8), 0);
        // SAFETY: a terminated string, which DPDK copies, and a place for the error. The EAL runs: `eal` says so.
        let hash = unsafe { bench_hash_new(unique.as_ptr(), entries, function, &raw mut error) };
        let Some(hash) = NonNull::new(hash) else {
            bail!(
                "rte_hash for {flows} flows could not be made: {}; give DPDK more memory (hugepages, or fewer --flows)",
                std::io::Error::from_raw_os_error(error)
            );
        };
        Ok(Self { hash, name, _eal: eal.clone(), _records: PhantomData })
    }

    /// Puts one flow in.
    fn put(&self, key: &Key, record: &'a FlowBack) -> Result<()> {
        let mut done = 0;
        for _ in 0..PATIENCE {
            // SAFETY: a whole key, which DPDK copies; the record outlives the table.
            done = unsafe { bench_hash_add(self.hash.as_ptr(), key.as_ptr(), (&raw const *record).cast()) };
            if done != -NO_SPACE {
                break;
            }
            std::thread::yield_now(); // all free places wait for a look-up that began before they were freed
        }
        ensure!(done == 0, "rte_hash did not take a flow: {}", std::io::Error::from_raw_os_error(-done));
        Ok(())
    }

    /// The records of the keys that are there.
    #[inline]
    #[must_use]
    pub fn find(&self, keys: &[Key; BURST]) -> [Option<&'a FlowBack>; BURST] {
        let mut found = [std::ptr::null::<c_void>(); BURST];
        // SAFETY: BURST whole keys one behind the other, and room for as many answers.
        let hits =
            unsafe { bench_hash_find(self.hash.as_ptr(), keys.as_ptr().cast(), BURST as u32, found.as_mut_ptr()) };
        std::array::from_fn(|i| {
            let hit = hits & 1 << i != 0;
            // SAFETY: a hit's data is what `put` was given: a record that outlives the table.
            if hit { unsafe { found[i].cast::<FlowBack>().as_ref() } } else { None }
        })
    }

    /// This thread is about to look up: what it finds is not used for another key before it says so.
    ///
    /// # Errors
    /// `thread` is not below 4.
    pub fn enter(&self, thread: usize) -> Result<Reader<'_, 'a>> {
        // SAFETY: the table is there; a thread number that is too large is refused.
        ensure!(unsafe { bench_hash_enter(self.hash.as_ptr(), thread as u32) } == 0, "too many threads: {thread}");
        Ok(Reader { table: self, thread: thread as u32 })
    }
}

impl Drop for RteHash<'_> {
    fn drop(&mut self) {
        // SAFETY: made by bench_hash_new, freed once; no reader is left, each borrows the table.
        unsafe { bench_hash_free(self.hash.as_ptr()) };
    }
}

/// A thread that looks up.
pub struct Reader<'t, 'a> {
    table: &'t RteHash<'a>,
    thread: u32,
}

impl Reader<'_, '_> {
    /// Between two bursts.
    #[inline]
    pub fn quiescent(&self) {
        // SAFETY: this thread number is registered for as long as the reader lives.
        unsafe { bench_hash_quiescent(self.table.hash.as_ptr(), self.thread) };
    }
}

impl Drop for Reader<'_, '_> {
    fn drop(&mut self) {
        // SAFETY: as above; it ends here.
        unsafe { bench_hash_leave(self.table.hash.as_ptr(), self.thread) };
    }
}

impl<'a> Table<'a> for RteHash<'a> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn insert(&self, _thread: usize, keys: &[Key], records: &[&'a FlowBack]) -> Result<()> {
        keys.iter().zip(records).try_for_each(|(key, record)| self.put(key, record))
    }

    fn look_up(&self, thread: usize, bursts: &[[Key; BURST]], touch: bool) -> Result<Sum> {
        let reader = self.enter(thread)?;
        let mut sum = Sum::default();
        for burst in bursts {
            sum.add(&self.find(burst), touch);
            reader.quiescent();
        }
        Ok(sum)
    }

    fn remove(&self, keys: &[Key]) -> Result<()> {
        for key in keys {
            // SAFETY: a whole key.
            let place = unsafe { bench_hash_del(self.hash.as_ptr(), key.as_ptr()) };
            ensure!(place >= 0, "rte_hash did not have a flow: {}", std::io::Error::from_raw_os_error(-place));
        }
        Ok(())
    }
}
