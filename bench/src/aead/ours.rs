//! Our paths: a batch is filled, and while it is sealed or opened the lines of the next burst's keys come in.

use super::feed::{BURST, Burst, Candidate, Operation, Packet, Places, TEXT, aad, nonce};
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

/// What a worker takes from its packets into the batch.
#[inline]
fn fill(batch: &mut Batch, burst: &Burst<'_>, operation: Operation) {
    for (i, packet) in burst.packets.iter().enumerate() {
        let number = burst.number + i as u64;
        let [text @ .., _, _] = &packet.text;
        batch.set(i, &nonce(number), &aad(number), text);
        if operation == Operation::Open {
            batch.tag[i] = packet.tag;
        }
    }
}

/// One path, for one AEAD.
pub struct Ours {
    path: Path,
    aead: Aead,
    keys: Rc<[KeyState]>,
    batch: Places<Batch>,
}

impl Ours {
    /// One path.
    #[must_use]
    pub fn new(path: Path, aead: Aead, keys: Rc<[KeyState]>) -> Self {
        Self { path, aead, keys, batch: Places::new(Batch::new) }
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
        let batch = self.batch.here_mut();
        fill(batch, burst, Operation::Seal);
        let keys = burst.keys.map(|at| &self.keys[at as usize]);
        let next = burst.next.map(|at| &self.keys[at as usize]);
        batch.seal_ahead_by(self.path, self.aead, &keys, &next);
        black_box(batch);
    }

    fn open(&mut self, burst: &Burst<'_>) -> u32 {
        let batch = self.batch.here_mut();
        fill(batch, burst, Operation::Open);
        let keys = burst.keys.map(|at| &self.keys[at as usize]);
        let next = burst.next.map(|at| &self.keys[at as usize]);
        let verified = batch.open_ahead_by(self.path, self.aead, &keys, &next);
        black_box(batch);
        verified
    }

    fn move_on(&mut self) {
        self.batch.move_on();
    }

    fn result(&self) -> [Packet; BURST] {
        from_fn(|i| {
            let batch = self.batch.here();
            let mut packet = Packet { text: [0; 16], tag: batch.tag[i] };
            packet.text[..TEXT].copy_from_slice(batch.text_of(i));
            packet
        })
    }
}

/// Fills a batch and leaves it at that: what the harness costs.
pub struct Filling(Places<Batch>);

impl Default for Filling {
    fn default() -> Self {
        Self(Places::new(Batch::new))
    }
}

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
        fill(self.0.here_mut(), burst, Operation::Seal);
        black_box(self.0.here_mut());
    }

    fn open(&mut self, burst: &Burst<'_>) -> u32 {
        fill(self.0.here_mut(), burst, Operation::Open);
        black_box(self.0.here_mut());
        u32::MAX
    }

    fn move_on(&mut self) {
        self.0.move_on();
    }

    fn result(&self) -> [Packet; BURST] {
        [Packet::ZERO; BURST]
    }
}
