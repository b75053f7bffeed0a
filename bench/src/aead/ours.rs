//! Our paths, as a worker calls them: it fills a batch, and meanwhile the lines of the next burst's keys come in.

use super::feed::{BURST, Burst, Candidate, Packet, TEXT, aad, nonce};
use protocol::aead::{Path, Slot, open_by, seal_by};
use protocol::suite::Aead;
use std::hint::black_box;
use std::rc::Rc;

/// One path, for one AEAD.
pub struct Ours {
    path: Path,
    aead: Aead,
    keys: Rc<[[u8; 32]]>,
    slots: Vec<Slot>,
}

/// Makes the keys ready; all paths can share them.
#[must_use]
pub fn keys(_: Aead, keys: &[[u8; 32]]) -> Rc<[[u8; 32]]> {
    keys.into()
}

impl Ours {
    /// One path.
    #[must_use]
    pub fn new(path: Path, aead: Aead, keys: Rc<[[u8; 32]]>) -> Self {
        Self { path, aead, keys, slots: vec![Slot::ZERO; BURST] }
    }

    #[inline]
    fn fill(&mut self, burst: &Burst<'_>) {
        for (i, slot) in self.slots.iter_mut().enumerate() {
            let number = burst.number + i as u64;
            slot.key = self.keys[burst.keys[i] as usize];
            slot.nonce = nonce(number);
            slot.aad = aad(number);
            slot.text.copy_from_slice(&burst.packets[i].text[..TEXT]);
            slot.tag = burst.packets[i].tag;
        }
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
        32.0
    }

    fn seal(&mut self, burst: &Burst<'_>) {
        self.fill(burst);
        seal_by(self.path, self.aead, &mut self.slots);
        black_box(&mut self.slots);
    }

    fn open(&mut self, burst: &Burst<'_>) -> u32 {
        self.fill(burst);
        let verified = open_by(self.path, self.aead, &mut self.slots);
        black_box(&mut self.slots);
        verified
    }

    fn result(&self) -> [Packet; BURST] {
        std::array::from_fn(|i| {
            let mut packet = Packet { text: [0; 16], tag: self.slots[i].tag };
            packet.text[..TEXT].copy_from_slice(&self.slots[i].text);
            packet
        })
    }
}

/// Fills a batch and leaves it at that: what the harness costs.
#[derive(Default)]
pub struct Filling(Vec<Slot>);

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
        self.0.resize(BURST, Slot::ZERO);
        for (i, slot) in self.0.iter_mut().enumerate() {
            let number = burst.number + i as u64;
            slot.nonce = nonce(number);
            slot.aad = aad(number);
            slot.text.copy_from_slice(&burst.packets[i].text[..TEXT]);
        }
        black_box(&mut self.0);
    }

    fn open(&mut self, burst: &Burst<'_>) -> u32 {
        self.seal(burst);
        u32::MAX
    }

    fn result(&self) -> [Packet; BURST] {
        [Packet::ZERO; BURST]
    }
}
