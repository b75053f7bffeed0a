//! `papaya`: a lock-free map from the Rust ecosystem, keyed as ours with SipHash-1-3.

use super::table::{BURST, Key, Sum, Table};
use anyhow::{Result, ensure};
use pipeline::flow::Flow;
use siphasher::sip::SipHasher13;
use std::hash::{BuildHasher, Hash, Hasher};

/// A key whose five words are hashed as our table does.
#[derive(PartialEq, Eq)]
struct Words(Key);

impl Hash for Words {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.iter().for_each(|w| state.write_u64(*w));
    }
}

/// SipHash-1-3 under a secret.
struct Secret(u64, u64);

impl BuildHasher for Secret {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, self.1)
    }
}

/// The map.
pub struct Papaya<'a>(papaya::HashMap<Words, &'a Flow, Secret>);

impl Papaya<'_> {
    /// With room for this many flows without growing.
    #[must_use]
    pub fn new(flows: usize) -> Self {
        Self(papaya::HashMap::with_capacity_and_hasher(flows, Secret(7, 7)))
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

    fn insert(&self, _thread: usize, keys: &[Key], records: &[&'a Flow]) -> Result<()> {
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
            let found: [Option<&Flow>; BURST] = std::array::from_fn(|i| map.get(&Words(burst[i])).copied());
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
