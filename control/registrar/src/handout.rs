//! What the boxes of a side open is the same for all of them: it is made once, encoded once, and shared. A box that has a
//! version gets what leads from that to the newest; one that has none, or an old one, gets the whole.

use bytes::Bytes;
use prost::Message;
use protocol::prefix::Prefix;
use protocol::suite::{Scope, Suite};
use registration::wire::{
    Added, ClientSecret, ClientSecrets, Ended, KeySet, Opening, OpeningChanges, Sealing, Token, prefixes_to_wire,
    scope_to_wire,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use zeroize::Zeroizing;

/// Octets of a message with changes, about. A box that reads slowly has one or two of them waiting for it.
const CHUNK: usize = 8 << 10;
/// Steps that are remembered. A box that is further behind gets the whole.
const STEPS: usize = 8;

/// A box of the other side by its id, or a client by its address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Key {
    /// Its id.
    Node([u8; 16]),
    /// Its address.
    Client([u8; 16]),
}

impl Key {
    fn octets(&self) -> Vec<u8> {
        match self {
            Self::Node(id) | Self::Client(id) => id.to_vec(),
        }
    }
}

/// All boxes and clients with their secrets.
pub type Entries = BTreeMap<Key, Arc<Opening>>;

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
    pub fn entry(&self, key: &Key) -> Option<&Arc<Opening>> {
        self.entries.get(key)
    }

    /// The next version, which has these. `None`: they are the same.
    #[must_use]
    pub fn next(&self, entries: Entries) -> Option<Self> {
        let mut changes = Changes::new(self.version, self.version + 1);
        for key in self.entries.keys().filter(|key| !entries.contains_key(key)) {
            changes.remove(key);
        }
        let mut ended: BTreeMap<u32, BTreeSet<Key>> = BTreeMap::new();
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
                        added.push(Added { id: key.octets(), is_client: matches!(key, Key::Client(_)), secrets: new });
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
    fn opening(&self) -> Vec<Opening> {
        self.entries.values().filter(|e| e.node.is_some()).map(|e| (**e).clone()).collect()
    }

    fn clients(&self) -> Vec<ClientSecrets> {
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

/// Changes as they are put into messages.
struct Changes {
    base: u64,
    version: u64,
    full: Vec<OpeningChanges>,
    now: OpeningChanges,
    octets: usize,
}

impl Changes {
    fn new(base: u64, version: u64) -> Self {
        Self { base, version, full: Vec::new(), now: OpeningChanges::default(), octets: 0 }
    }

    fn is_empty(&self) -> bool {
        self.full.is_empty() && self.octets == 0
    }

    /// Room for so much more.
    fn room(&mut self, octets: usize) -> &mut OpeningChanges {
        if self.octets > 0 && self.octets + octets > CHUNK {
            self.full.push(std::mem::take(&mut self.now));
            self.octets = 0;
        }
        self.octets += octets + 4;
        &mut self.now
    }

    fn remove(&mut self, key: &Key) {
        let to = self.room(18);
        match key {
            Key::Node(id) => to.removed_nodes.push(id.to_vec()),
            Key::Client(address) => to.removed_clients.push(address.to_vec()),
        }
    }

    fn end<'k>(&mut self, generation: u32, except: impl Iterator<Item = &'k Key>) {
        let mut ended = Ended { generation, ..Ended::default() };
        for key in except {
            match key {
                Key::Node(id) => ended.except_nodes.push(id.to_vec()),
                Key::Client(address) => ended.except_clients.push(address.to_vec()),
            }
        }
        let octets = ended.encoded_len();
        self.room(octets).ended.push(ended);
    }

    fn set(&mut self, entry: &Opening) {
        self.room(entry.encoded_len()).set.push(entry.clone());
    }

    fn add(&mut self, added: Added) {
        self.room(added.encoded_len()).added.push(added);
    }

    /// In the order in which they are to be sent. The octets are overwritten when the last box has them.
    fn finish(mut self) -> Vec<Bytes> {
        self.full.push(self.now);
        let last = self.full.len() - 1;
        let (base, version) = (self.base, self.version);
        let chunks = self.full.into_iter().enumerate().map(|(i, changes)| {
            let part = u32::try_from(i).unwrap_or(u32::MAX);
            let changes = OpeningChanges { base, version, part, last: i == last, ..changes };
            Bytes::from_owner(Zeroizing::new(changes.encode_to_vec()))
        });
        chunks.collect()
    }
}

/// What a box is to seal with.
pub struct SealingOut {
    /// Its generation.
    pub generation: u32,
    /// That one's suite.
    pub suite: Suite,
    /// Empty in scope client.
    pub secret: Zeroizing<Vec<u8>>,
    /// Sources that the box speaks for.
    pub prefixes: Vec<Prefix>,
    /// When it must no longer be used.
    pub expires: Instant,
    /// Until then the other side's boxes open it though the box is out of touch; `None`: not known.
    pub opened_until: Option<Instant>,
}

/// What one box is handed: its own, and what it shares with the others of its side.
pub struct Handout {
    /// Grows from one to the next within a connection.
    pub revision: u64,
    /// Whose secrets these are.
    pub scope: Scope,
    /// What to seal with.
    pub sealing: Option<SealingOut>,
    /// Scope client, on the client primary's side: those of its clients.
    pub clients: Vec<ClientSecrets>,
    /// Scope client: which side that is.
    pub client_side: bool,
    /// To be shown when the box registers again.
    pub token: Option<Token>,
    /// Whom to open.
    pub opening: Arc<OpeningPart>,
}

impl fmt::Debug for Handout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handout(revision {}, {:?}, redacted)", self.revision, self.opening)
    }
}

fn ms(from: Instant, to: Instant) -> u64 {
    to.saturating_duration_since(from).as_millis().try_into().unwrap_or(u64::MAX)
}

impl Handout {
    /// For a box that has the opening part of this version.
    #[must_use]
    pub fn by_version(&self, now: Instant) -> KeySet {
        let sealing = self.sealing.as_ref().map(|s| Sealing {
            generation: s.generation,
            suite: Some(s.suite.ids().into()),
            secret: s.secret.to_vec(),
            prefixes: prefixes_to_wire(&s.prefixes),
            expires_in_ms: ms(now, s.expires),
            opened_for_ms: s.opened_until.map(|at| ms(now, at)),
        });
        KeySet {
            revision: self.revision,
            scope: scope_to_wire(self.scope).into(),
            sealing,
            opening: Vec::new(),
            clients: self.clients.clone(),
            client_side: self.client_side,
            token: self.token.as_ref().map(Into::into),
            opening_version: self.opening.version,
        }
    }

    /// All in one message.
    #[must_use]
    pub fn whole(&self, now: Instant) -> KeySet {
        let mut set = self.by_version(now);
        set.opening_version = 0;
        set.opening = self.opening.opening();
        set.clients.extend(self.opening.clients());
        // A generation to seal under has its place there, though there may be no clients yet.
        if let Some(s) = self.sealing.as_ref().filter(|_| self.scope == Scope::Client)
            && set.clients.iter().all(|c| c.generation != s.generation)
        {
            let (generation, suite) = (s.generation, Some(s.suite.ids().into()));
            set.clients.push(ClientSecrets { generation, suite, secrets: Vec::new() });
            set.clients.sort_by_key(|c| c.generation);
        }
        set
    }

    /// The same for a box of an earlier version, which takes no more than three generations.
    #[must_use]
    pub fn for_an_earlier_version(&self, now: Instant) -> KeySet {
        let mut set = self.whole(now);
        for opening in &mut set.opening {
            opening.secrets.drain(..opening.secrets.len().saturating_sub(3));
        }
        set.clients.drain(..set.clients.len().saturating_sub(3));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use registration::wire::{Keys, Node, OpeningSecret, OpeningTable};

    fn suite() -> Option<registration::wire::proto::Suite> {
        Some(Suite::default().ids().into())
    }

    fn entry(key: Key, generations: &BTreeSet<u32>, moved: bool) -> Arc<Opening> {
        let octet = key.octets()[0];
        let secrets = generations
            .iter()
            .map(|&generation| OpeningSecret { generation, suite: suite(), secret: vec![octet ^ generation as u8; 32] })
            .collect();
        Arc::new(match key {
            Key::Node(id) => {
                let prefix = format!("2001:db8:{octet:x}:{}::/64", u8::from(moved));
                let prefixes = prefixes_to_wire(&[prefix.parse().expect("a prefix")]);
                let node = Node { name: format!("box-{octet}"), id: id.to_vec(), prefixes, clients: Vec::new() };
                Opening { node: Some(node), secrets, client: Vec::new() }
            }
            Key::Client(address) => Opening { node: None, secrets, client: address.to_vec() },
        })
    }

    fn handout(opening: &Arc<OpeningPart>, scope: Scope) -> Handout {
        let opening = Arc::clone(opening);
        Handout { revision: 1, scope, sealing: None, clients: Vec::new(), client_side: false, token: None, opening }
    }

    fn shown(keys: &Keys) -> Vec<String> {
        use super::super::engine::shown;
        shown(keys).lines().map(str::to_owned).collect()
    }

    /// Boxes that read now and then, each from where it is: all come to the same as one that gets the whole.
    #[test]
    fn whoever_reads_when_comes_to_the_same() {
        for scope in [Scope::Node, Scope::Client] {
            let mut state = 7u64;
            let mut next = |below: u64| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 33) % below
            };
            let mut there: BTreeMap<Key, (BTreeSet<u32>, bool)> = BTreeMap::new();
            let mut part = Arc::new(OpeningPart::default());
            let mut readers: Vec<(u64, OpeningTable)> = (0..5).map(|_| (0, OpeningTable::default())).collect();
            let mut generation = 0;
            for round in 0..300 {
                for _ in 0..next(4) {
                    let id = [next(40) as u8; 16];
                    let key = if scope == Scope::Client && next(2) == 0 { Key::Client(id) } else { Key::Node(id) };
                    let secrets = !matches!((scope, key), (Scope::Client, Key::Node(_)));
                    match next(5) {
                        0 => drop(there.remove(&key)),
                        1 if there.contains_key(&key) => there.entry(key).or_default().1 ^= true,
                        2 if secrets => {
                            there.entry(key).or_default().0.pop_first();
                        }
                        _ => drop(there.entry(key).or_default()),
                    }
                }
                if next(3) == 0 {
                    generation += 1;
                    for (key, (of, _)) in &mut there {
                        if !matches!((scope, key), (Scope::Client, Key::Node(_))) {
                            of.insert(generation);
                            of.retain(|&g| g + 3 > generation || g % 7 == u32::from(key.octets()[0] % 7));
                            while of.len() > 8 {
                                of.pop_first();
                            }
                        }
                    }
                    // No more generations than a key set takes.
                    let all: BTreeSet<u32> = there.values().flat_map(|(of, _)| of.iter().copied()).collect();
                    let least = all.iter().rev().nth(7).copied().unwrap_or(0);
                    there.values_mut().for_each(|(of, _)| of.retain(|&g| g >= least));
                }
                let entries = there.iter().map(|(key, (of, moved))| {
                    let new = entry(*key, of, *moved);
                    (*key, part.entry(key).filter(|b| ***b == *new).cloned().unwrap_or(new))
                });
                if let Some(next) = part.next(entries.collect()) {
                    part = Arc::new(next);
                }
                let handout = handout(&part, scope);
                let whole = Keys::try_from(&handout.whole(Instant::now())).expect("in bounds");
                for (i, (has, table)) in readers.iter_mut().enumerate() {
                    if next(1 + i as u64 * 6) == 0 {
                        for changes in part.since(*has) {
                            table.take(&changes).unwrap_or_else(|e| panic!("round {round}, reader {i}: {e}"));
                        }
                        *has = part.version;
                        let keys = table.keys(&handout.by_version(Instant::now())).expect("a set of this version");
                        assert_eq!(shown(&keys), shown(&whole), "round {round}, reader {i}");
                    }
                }
            }
            assert!(part.version > 100 && readers.iter().all(|(has, _)| *has > 10));
        }
    }

    /// A new generation of 2,000 boxes costs what is new in it, in messages that are small; and is there once.
    #[test]
    fn a_difference_is_small_and_shared() {
        let keys: Vec<Key> =
            (0..2000u16).map(|i| Key::Node([i.to_be_bytes(); 8].concat().try_into().expect("16"))).collect();
        let of = |generations: &[u32]| -> Entries {
            keys.iter().map(|&key| (key, entry(key, &generations.iter().copied().collect(), false))).collect()
        };
        let first = OpeningPart::default().next(of(&[1, 2])).expect("a change");
        let second = first.next(of(&[2, 3])).expect("a change");
        assert!(second.next(of(&[2, 3])).is_none(), "nothing has changed");
        let octets = |chunks: &VecDeque<Bytes>| chunks.iter().map(Bytes::len).sum::<usize>();
        let (step, whole) = (second.since(first.version), second.since(0));
        assert!(octets(&step) < 2000 * 90 && octets(&step) < octets(&whole), "{} {}", octets(&step), octets(&whole));
        assert!(step.iter().chain(&whole).all(|chunk| chunk.len() < 2 * CHUNK));
        assert_eq!(second.since(0)[1].as_ptr(), whole[1].as_ptr(), "encoded once");
        assert!(second.since(second.version).is_empty());
    }
}
