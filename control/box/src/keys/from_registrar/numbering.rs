//! The numbers that peers and their generations have in this process: a secret keeps its number, and a number its secret.

use pipeline::state::newest::Newest;
use pipeline::state::prefixes::Prefixes;
use protocol::generation_keys::GenerationKeys;
use protocol::key_schedule::Secret;
use protocol::suite::Aead;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

fn same(a: &Secret, b: &Secret) -> bool {
    a.suite() == b.suite() && bool::from(a.as_bytes().ct_eq(b.as_bytes()))
}

/// Whether these are of one generation. Of clients' secrets one that is in both tells: clients come and go within a
/// generation.
fn same_generation(a: &GenerationKeys, b: &GenerationKeys) -> bool {
    match (a, b) {
        (GenerationKeys::Clients { secrets: a, .. }, GenerationKeys::Clients { secrets: b, .. }) => {
            a.iter().any(|(client, a)| b.get(client).is_some_and(|b| same(a, b)))
        }
        (GenerationKeys::Ready(a), GenerationKeys::Ready(b)) => same(a, b),
        _ => false,
    }
}

/// A name for a secret that does not reveal it.
pub(super) fn name_of(secret: &Secret) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(b"pdmv2 sealed under");
    hash.update(secret.as_bytes());
    let digest = hash.finalize();
    let mut name = [0; 16];
    name.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    name
}

/// A generation's secret, or secrets, and its number here.
#[derive(Clone)]
pub(super) struct Numbered {
    pub(super) number: u32,
    pub(super) keys: GenerationKeys,
}

/// A box of the other side under one AEAD (a change of suite may change that: it is then another peer to the workers).
pub(super) struct PeerSlot {
    pub(super) id: [u8; 16],
    pub(super) aead: Aead,
    /// Never another peer's in this process.
    pub(super) number: u16,
    pub(super) newest: Newest,
    pub(super) prefixes: Prefixes,
    /// Opened at present, ascending.
    pub(super) generations: Vec<Numbered>,
    last: u32,
}

impl PeerSlot {
    /// A peer that was not there before.
    pub(super) fn new(number: u16, id: [u8; 16], aead: Aead) -> Self {
        let (newest, prefixes) = (Newest::default(), Prefixes::default());
        Self { id, aead, number, newest, prefixes, generations: Vec::new(), last: 0 }
    }

    /// Generations that were there keep their numbers, others get the next.
    pub(super) fn renumber<'k>(&mut self, generations: impl Iterator<Item = &'k GenerationKeys>) {
        let before = std::mem::take(&mut self.generations);
        for keys in generations {
            let number = before.iter().find(|g| same_generation(&g.keys, keys)).map(|g| g.number);
            let number = number.unwrap_or_else(|| {
                self.last += 1;
                self.last
            });
            self.generations.push(Numbered { number, keys: keys.clone() });
        }
        self.generations.sort_by_key(|g| g.number);
    }
}
