//! Our paths, as a worker calls them: it fills a batch, and meanwhile the lines of the next burst's keys come in.
#![allow(unsafe_code)]

use super::feed::{BURST, Burst, Candidate, Packet, TEXT, aad, nonce};
use protocol::aead::{Batch, KeyState, Path};
use protocol::suite::Aead;
use std::array::from_fn;
use std::hint::black_box;
use std::rc::Rc;

/// Makes the keys ready; all paths can share them.
#[must_use]
pub fn keys(aead: Aead, keys: &[[u8; 32]]) -> Rc<[KeyState]> {
    keys.iter().map(|key| KeyState::new(aead, key)).collect()
}

/// Asks for a key's line.
#[inline]
fn prefetch(key: &KeyState) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint that reads nothing, at the address of a reference.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(std::ptr::from_ref(key).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = key;
}

/// What a worker takes from its packets into the batch.
#[inline]
fn fill(batch: &mut Batch, burst: &Burst<'_>, i: usize) {
    let number = burst.number + i as u64;
    batch.nonce[i][..12].copy_from_slice(&nonce(number));
    batch.aad[i][..6].copy_from_slice(&aad(number));
    batch.text[i] = burst.packets[i].text;
}

/// One path, for one AEAD.
pub struct Ours {
    path: Path,
    aead: Aead,
    keys: Rc<[KeyState]>,
    batch: Box<Batch>,
}

impl Ours {
    /// One path.
    #[must_use]
    pub fn new(path: Path, aead: Aead, keys: Rc<[KeyState]>) -> Self {
        Self { path, aead, keys, batch: Box::default() }
    }
}

impl Candidate for Ours {
    fn name(&self) -> String {
        self.path.name().to_owned()
    }

    fn aead(&self) -> Aead {
        self.aead
    }

    fn octets_per_key(&self) -> f64 {
        size_of::<KeyState>() as f64
    }

    fn seal(&mut self, burst: &Burst<'_>) {
        for i in 0..BURST {
            // Spread out: a CPU can wait for a dozen lines or so at a time.
            prefetch(&self.keys[burst.next[i] as usize]);
            fill(&mut self.batch, burst, i);
        }
        let keys: [&KeyState; BURST] = burst.keys.map(|at| &self.keys[at as usize]);
        self.batch.seal_by(self.path, self.aead, &keys);
        black_box(&mut self.batch);
    }

    fn open(&mut self, burst: &Burst<'_>) -> u32 {
        for i in 0..BURST {
            prefetch(&self.keys[burst.next[i] as usize]);
            fill(&mut self.batch, burst, i);
            self.batch.tag[i] = burst.packets[i].tag;
        }
        let keys: [&KeyState; BURST] = burst.keys.map(|at| &self.keys[at as usize]);
        let verified = self.batch.open_by(self.path, self.aead, &keys);
        black_box(&mut self.batch);
        verified
    }

    fn result(&self) -> [Packet; BURST] {
        from_fn(|i| {
            let mut packet = Packet { text: [0; 16], tag: self.batch.tag[i] };
            packet.text[..TEXT].copy_from_slice(self.batch.text_of(i));
            packet
        })
    }
}

/// Fills a batch and leaves it at that: what the harness costs.
#[derive(Default)]
pub struct Filling(Box<Batch>);

impl Candidate for Filling {
    fn name(&self) -> String {
        "filling".to_owned()
    }

    fn aead(&self) -> Aead {
        Aead::Aes128Gcm
    }

    fn octets_per_key(&self) -> f64 {
        0.0
    }

    fn seal(&mut self, burst: &Burst<'_>) {
        for i in 0..BURST {
            fill(&mut self.0, burst, i);
        }
        black_box(&mut self.0);
    }

    fn open(&mut self, burst: &Burst<'_>) -> u32 {
        for i in 0..BURST {
            fill(&mut self.0, burst, i);
            self.0.tag[i] = burst.packets[i].tag;
        }
        black_box(&mut self.0);
        u32::MAX
    }

    fn result(&self) -> [Packet; BURST] {
        [Packet::ZERO; BURST]
    }
}
