//! What the boxes of a side open is the same for all of them: it is made once, encoded once, and shared. A box that has a
//! version gets what leads from that to the newest; one that has none, or an old one, gets the whole.

use super::changes::{Changes, Whose};
use bytes::Bytes;
use prost::Message;
use registration::wire::{Added, ClientSecret, ClientSecrets, Opening};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, OnceLock};

/// Steps that are remembered. A box that is further behind gets the whole.
const STEPS: usize = 8;

/// All boxes and clients with their secrets.
pub type Entries = BTreeMap<Whose, Arc<Opening>>;

/// From one version to the next.
struct Step {
    from: u64,
    octets: usize,
    chunks: Vec<Bytes>,
}

/// A version of what boxes open.
pub struct OpeningPart {
    /// Grows from one to the next.
    pub version: u64,
    entries: Entries,
    octets: usize,
    /// The last ones, ascending; the newest leads here.
    steps: VecDeque<Arc<Step>>,
    whole: OnceLock<Vec<Bytes>>,
}

impl Default for OpeningPart {
    fn default() -> Self {
        Self { version: 1, entries: Entries::new(), octets: 0, steps: VecDeque::new(), whole: OnceLock::new() }
    }
}

impl fmt::Debug for OpeningPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpeningPart(version {}, {} entries, redacted)", self.version, self.entries.len())
    }
}

impl OpeningPart {
    /// What there is in this version.
    #[must_use]
    pub fn entry(&self, key: &Whose) -> Option<&Arc<Opening>> {
        self.entries.get(key)
    }

    /// The next version, which has these. `None`: they are the same.
    #[must_use]
    pub fn next(&self, entries: Entries) -> Option<Self> {
        let mut changes = Changes::new(self.version, self.version + 1);
        for key in self.entries.keys().filter(|key| !entries.contains_key(key)) {
            changes.remove(key);
        }
        let mut ended: BTreeMap<u32, BTreeSet<Whose>> = BTreeMap::new();
        let (mut set, mut added) = (Vec::new(), Vec::new());
        for (key, entry) in &entries {
            match self.entries.get(key) {
                Some(before) if Arc::ptr_eq(before, entry) => {}
                Some(before) if before.node == entry.node => {
                    let gone = before.secrets.iter().filter(|s| !has(entry, s.generation));
                    for secret in gone {
                        ended.entry(secret.generation).or_default().insert(*key);
                    }
                    let new: Vec<_> = entry.secrets.iter().filter(|s| !has(before, s.generation)).cloned().collect();
                    if !new.is_empty() {
                        added.push(Added {
                            id: key.octets(),
                            is_client: matches!(key, Whose::Client(_)),
                            secrets: new,
                        });
                    }
                }
                _ => set.push(entry),
            }
        }
        // What ends does so before anything comes: it is not meant for what is new.
        for (generation, gone) in ended {
            let both = entries.iter().filter(|(key, entry)| {
                !gone.contains(key)
                    && has(entry, generation)
                    && self.entries.get(key).is_some_and(|before| before.node == entry.node)
            });
            changes.end(generation, both.map(|(key, _)| key));
        }
        set.into_iter().for_each(|entry| changes.set(entry));
        added.into_iter().for_each(|a| changes.add(a));
        if changes.is_empty() {
            return None;
        }
        let (from, chunks) = (self.version, changes.finish());
        let octets = chunks.iter().map(Bytes::len).sum();
        let mut steps = self.steps.clone();
        steps.push_back(Arc::new(Step { from, octets, chunks }));
        if steps.len() > STEPS {
            steps.pop_front();
        }
        let octets = entries.values().map(|e| e.encoded_len()).sum();
        Some(Self { version: from + 1, entries, octets, steps, whole: OnceLock::new() })
    }

    /// What a box is sent that has this version (0: none).
    #[must_use]
    pub fn since(&self, has: u64) -> VecDeque<Bytes> {
        if has == self.version {
            return VecDeque::new();
        }
        let steps = || self.steps.iter().skip_while(|step| step.from != has);
        let octets: usize = steps().map(|step| step.octets).sum();
        if steps().next().is_some() && octets <= self.octets {
            return steps().flat_map(|step| step.chunks.iter().cloned()).collect();
        }
        let whole = self.whole.get_or_init(|| {
            let mut changes = Changes::new(0, self.version);
            self.entries.values().for_each(|entry| changes.set(entry));
            changes.finish()
        });
        whole.iter().cloned().collect()
    }

    /// For a box that takes no changes.
    pub(super) fn opening(&self) -> Vec<Opening> {
        self.entries.values().filter(|e| e.node.is_some()).map(|e| (**e).clone()).collect()
    }

    pub(super) fn clients(&self) -> Vec<ClientSecrets> {
        let mut by_generation: BTreeMap<u32, ClientSecrets> = BTreeMap::new();
        for entry in self.entries.values().filter(|e| e.node.is_none()) {
            for s in &entry.secrets {
                let new = || ClientSecrets { generation: s.generation, suite: s.suite, secrets: Vec::new() };
                let of = by_generation.entry(s.generation).or_insert_with(new);
                of.secrets.push(ClientSecret { address: entry.client.clone(), secret: s.secret.clone() });
            }
        }
        by_generation.into_values().collect()
    }
}

fn has(entry: &Opening, generation: u32) -> bool {
    entry.secrets.iter().any(|s| s.generation == generation)
}
