//! intel-ipsec-mb: its direct call and its burst of jobs, on keys that were expanded once, by a shim in C.
#![allow(unsafe_code, reason = "the peer is a C library")]

use super::feed::{AAD, BURST, Burst, Candidate, Operation, Packet, Places, aad, nonce};
use anyhow::{Result, ensure};
use protocol::suite::Aead;
use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::ptr::{NonNull, null};
use std::rc::Rc;

/// The shim's `struct burst`.
#[repr(C, align(64))]
struct Lanes {
    key: [*const u8; BURST],
    nonce: [[u8; 16]; BURST],
    aad: [[u8; 16]; BURST],
    text: [[u8; 16]; BURST],
    tag: [[u8; 16]; BURST],
    computed: [[u8; 16]; BURST],
}

unsafe extern "C" {
    fn bench_imb_new() -> *mut c_void;
    fn bench_imb_free(manager: *mut c_void);
    fn bench_imb_key_size() -> usize;
    fn bench_imb_lines(manager: *const c_void) -> u32;
    fn bench_imb_table(keys: usize) -> *mut u8;
    fn bench_imb_expand(manager: *mut c_void, table: *mut u8, at: usize, key: *const u8);
    fn bench_imb_direct(manager: *mut c_void, lanes: *mut Lanes, open: c_int) -> u32;
    fn bench_imb_jobs(manager: *mut c_void, lanes: *mut Lanes, open: c_int) -> u32;
    fn free(table: *mut c_void);
}

/// The library's manager and a table of expanded keys.
#[derive(Debug)]
pub struct Keys {
    manager: NonNull<c_void>,
    table: NonNull<u8>,
    count: usize,
    /// Octets from key to key.
    size: usize,
    /// Offsets of the cache lines that a short packet needs.
    lines: Vec<usize>,
}

impl Keys {
    /// Expands all keys.
    ///
    /// # Errors
    /// The library does not start, or there is no memory.
    pub fn new(keys: &[[u8; 32]]) -> Result<Self> {
        // SAFETY: these take plain numbers and give null on failure.
        let (manager, table, size) =
            unsafe { (NonNull::new(bench_imb_new()), NonNull::new(bench_imb_table(keys.len())), bench_imb_key_size()) };
        let (Some(manager), Some(table)) = (manager, table) else {
            if let Some(manager) = manager {
                // SAFETY: made above, and used nowhere else.
                unsafe { bench_imb_free(manager.as_ptr()) };
            }
            if let Some(table) = table {
                // SAFETY: from the C allocator, and used nowhere else.
                unsafe { free(table.as_ptr().cast()) };
            }
            anyhow::bail!("intel-ipsec-mb does not start, or there is no memory for {} of its keys", keys.len());
        };
        // SAFETY: the manager was made above.
        let needed = unsafe { bench_imb_lines(manager.as_ptr()) };
        let lines = (0..size / 64).filter(|line| needed >> line & 1 == 1).map(|line| line * 64).collect();
        let all = Self { manager, table, count: keys.len(), size, lines };
        ensure!(size > 0, "intel-ipsec-mb's keys have no size");
        for (at, key) in keys.iter().enumerate() {
            // SAFETY: `at` is in the table; an AES-128 key has 16 octets, and there are 32.
            unsafe { bench_imb_expand(all.manager.as_ptr(), all.table.as_ptr(), at, key.as_ptr()) };
        }
        Ok(all)
    }

    /// Of a key in the table.
    #[inline]
    fn key(&self, at: u32) -> *const u8 {
        let at = (at as usize).min(self.count - 1);
        // SAFETY: the table has `count` keys of `size` octets, and `at` is below `count`.
        unsafe { self.table.as_ptr().add(at * self.size) }
    }

    #[inline]
    fn prefetch(&self, at: u32) {
        let key = self.key(at);
        for &line in &self.lines {
            // SAFETY: the lines' offsets are below `size`, so this stays in the key's part of the table.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(key.add(line).cast()) };
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // SAFETY: both were made in `new` and are given back only here.
        unsafe {
            bench_imb_free(self.manager.as_ptr());
            free(self.table.as_ptr().cast());
        }
    }
}

/// How the library is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// The direct call, packet by packet.
    Direct,
    /// The same, and the lines of the next burst's keys are asked for while this one is filled, as we do it.
    Prefetched,
    /// A burst of jobs, without checks.
    Jobs,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Direct, Self::Prefetched, Self::Jobs];
}

/// One way to call it.
pub struct IpsecMb {
    keys: Rc<Keys>,
    call: Call,
    lanes: Places<Lanes>,
}

impl IpsecMb {
    /// Several can share the keys.
    #[must_use]
    pub fn new(keys: Rc<Keys>, call: Call) -> Self {
        let zeros = [[0; 16]; BURST];
        let lanes =
            || Lanes { key: [null(); BURST], nonce: zeros, aad: zeros, text: zeros, tag: zeros, computed: zeros };
        Self { keys, call, lanes: Places::new(lanes) }
    }

    #[inline]
    fn work(&mut self, burst: &Burst<'_>, operation: Operation) -> u32 {
        let lanes = self.lanes.here_mut();
        for i in 0..BURST {
            if self.call == Call::Prefetched {
                self.keys.prefetch(burst.next[i]);
            }
            let number = burst.number + i as u64;
            lanes.key[i] = self.keys.key(burst.keys[i]);
            lanes.nonce[i][..12].copy_from_slice(&nonce(number));
            lanes.aad[i][..AAD].copy_from_slice(&aad(number));
            lanes.text[i] = burst.packets[i].text;
            if operation == Operation::Open {
                lanes.tag[i] = burst.packets[i].tag;
            }
        }
        let open = c_int::from(operation == Operation::Open);
        // SAFETY: the manager lives as long as the keys; every lane points to a key of the table, and the lanes are laid out
        // as the shim's structure; both calls are done with them when they return.
        let verified = unsafe {
            match self.call {
                Call::Direct | Call::Prefetched => bench_imb_direct(self.keys.manager.as_ptr(), lanes, open),
                Call::Jobs => bench_imb_jobs(self.keys.manager.as_ptr(), lanes, open),
            }
        };
        black_box(lanes);
        verified
    }
}

impl Candidate for IpsecMb {
    fn name(&self) -> String {
        let call = match self.call {
            Call::Direct => "direct",
            Call::Prefetched => "direct, keys prefetched",
            Call::Jobs => "burst of jobs",
        };
        format!("ipsec-mb, {call}")
    }

    fn aead(&self) -> Aead {
        Aead::Aes128Gcm
    }

    fn octets_per_key(&self) -> f64 {
        self.keys.size as f64
    }

    fn seal(&mut self, burst: &Burst<'_>) {
        self.work(burst, Operation::Seal);
    }

    fn open(&mut self, burst: &Burst<'_>) -> u32 {
        self.work(burst, Operation::Open)
    }

    fn move_on(&mut self) {
        self.lanes.move_on();
    }

    fn result(&self) -> [Packet; BURST] {
        let lanes = self.lanes.here();
        std::array::from_fn(|i| Packet { text: lanes.text[i], tag: lanes.tag[i] })
    }
}
