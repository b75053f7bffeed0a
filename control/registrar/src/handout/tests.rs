use super::changes::CHUNK;
use super::*;
use bytes::Bytes;
use middlebox::keys::key_set::Keys;
use middlebox::keys::opening_table::OpeningTable;
use protocol::generation_keys::GenerationKeys;
use registration::wire::{Node, Opening, OpeningSecret};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

fn suite() -> Option<registration::wire::proto::Suite> {
    Some(Suite::default().ids().into())
}

fn entry(key: Whose, generations: &BTreeSet<u32>, moved: bool) -> Arc<Opening> {
    let octet = key.octets()[0];
    let secrets = generations
        .iter()
        .map(|&generation| OpeningSecret { generation, suite: suite(), secret: vec![octet ^ generation as u8; 32] })
        .collect();
    Arc::new(match key {
        Whose::Node(id) => {
            let prefix = format!("2001:db8:{octet:x}:{}::/64", u8::from(moved));
            let prefixes = prefixes_to_wire(&[prefix.parse().expect("a prefix")]);
            let node = Node { name: format!("box-{octet}"), id: id.to_vec(), prefixes, clients: Vec::new() };
            Opening { node: Some(node), secrets, client: Vec::new() }
        }
        Whose::Client(address) => Opening { node: None, secrets, client: address.to_vec() },
    })
}

fn handout(opening: &Arc<OpeningPart>, scope: Scope) -> Handout {
    let opening = Arc::clone(opening);
    Handout { revision: 1, scope, sealing: None, clients: Vec::new(), client_side: false, token: None, opening }
}

/// All that a box has, to compare.
pub(crate) fn shown(keys: &Keys) -> Vec<String> {
    let secrets = |keys: &GenerationKeys| {
        let mut all: Vec<_> = keys.secrets().map(|s| hex::encode(s.as_bytes())).collect();
        all.sort();
        all.join(" ")
    };
    let mut all = vec![format!("{:?}", keys.sealing.as_ref().map(|s| (s.generation, secrets(&s.keys))))];
    for opening in &keys.opening {
        let of: Vec<_> = opening.secrets.iter().map(|(g, keys)| (g, secrets(keys))).collect();
        all.push(format!("{:?} {of:?}", opening.node));
    }
    all
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
        let mut there: BTreeMap<Whose, (BTreeSet<u32>, bool)> = BTreeMap::new();
        let mut part = Arc::new(OpeningPart::default());
        let mut readers: Vec<(u64, OpeningTable)> = (0..5).map(|_| (0, OpeningTable::default())).collect();
        let mut generation = 0;
        for round in 0..300 {
            for _ in 0..next(4) {
                let id = [next(40) as u8; 16];
                let key = if scope == Scope::Client && next(2) == 0 { Whose::Client(id) } else { Whose::Node(id) };
                let secrets = !matches!((scope, key), (Scope::Client, Whose::Node(_)));
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
                    if !matches!((scope, key), (Scope::Client, Whose::Node(_))) {
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
    let keys: Vec<Whose> =
        (0..2000u16).map(|i| Whose::Node([i.to_be_bytes(); 8].concat().try_into().expect("16"))).collect();
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
