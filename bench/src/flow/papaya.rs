//! `papaya`: a lock-free map from the Rust ecosystem, with the keyed hash of our table.

use super::table::{BURST, KEYED, Key, Sum, Table};
use anyhow::{Result, ensure};
use pipeline::flow::record::FlowBack;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// A key whose hash is ready.
#[derive(PartialEq, Eq)]
struct Words(Key);

impl Hash for Words {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(KEYED.fingerprint(&self.0).lo);
    }
}

/// Gives the hash on as it is.
#[derive(Default)]
struct Ready(u64);

impl Hasher for Ready {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, octets: &[u8]) {
        octets.iter().for_each(|&o| self.0 = self.0.rotate_left(8) ^ u64::from(o));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// The map.
pub struct Papaya<'a>(papaya::HashMap<Words, &'a FlowBack, BuildHasherDefault<Ready>>);

impl Papaya<'_> {
    /// With room for this many flows without growing.
    #[must_use]
    pub fn new(flows: usize) -> Self {
        Self(papaya::HashMap::with_capacity_and_hasher(flows, BuildHasherDefault::default()))
    }

    /// Octets that it takes, roughly: an allocation per flow, and a pointer and an octet per place.
    #[must_use]
    pub const fn memory(flows: usize) -> usize {
        flows * (80 + 4 * 9)
    }
}

impl<'a> Table<'a> for Papaya<'a> {
    fn name(&self) -> &'static str {
        "papaya"
    }

    fn insert(&self, _thread: usize, keys: &[Key], records: &[&'a FlowBack]) -> Result<()> {
        for (keys, records) in keys.chunks(BURST).zip(records.chunks(BURST)) {
            let map = self.0.pin();
            for (key, &record) in keys.iter().zip(records) {
                map.insert(Words(*key), record);
            }
        }
        Ok(())
    }

    fn look_up(&self, _thread: usize, bursts: &[[Key; BURST]], touch: bool) -> Result<Sum> {
        let mut sum = Sum::default();
        for burst in bursts {
            let map = self.0.pin();
            let found: [Option<&FlowBack>; BURST] = std::array::from_fn(|i| map.get(&Words(burst[i])).copied());
            sum.add(&found, touch);
        }
        Ok(sum)
    }

    fn remove(&self, keys: &[Key]) -> Result<()> {
        for keys in keys.chunks(BURST) {
            let map = self.0.pin();
            for key in keys {
                ensure!(map.remove(&Words(*key)).is_some(), "papaya did not have a flow");
            }
        }
        Ok(())
    }
}
