//! The flows of `bench flow`, and the order in which they are looked up. All of it is made before anything is timed.

use super::table::{BURST, Key};
use crate::measure::Random;

/// Looked up in a row before the sequence begins again, at most: more than caches hold, and not gigabytes.
const SEQUENCE: usize = 1 << 22;

/// Keys of one size.
#[derive(Debug)]
pub struct Keys {
    /// Of the flows in the table.
    pub known: Vec<Key>,
    /// Of flows that are not.
    pub unknown: Vec<Key>,
    /// The known ones in a random order, in whole bursts; of very many a random part.
    pub hits: Vec<[Key; BURST]>,
    /// The unknown ones likewise.
    pub misses: Vec<[Key; BURST]>,
}

impl Keys {
    /// Of `flows` flows, and `others` that are not in the table.
    #[must_use]
    pub fn new(flows: usize, others: usize) -> Self {
        let mut random = Random::new(0x5EED_F10E);
        let mut tuple = || {
            let [a, b, c, d, ports] = std::array::from_fn(|_| random.next());
            // As `FiveTuple::words` has them: the ports, and TCP or UDP.
            [a, b, c, d, (ports & 0xFFFF_FFFF) | if ports >> 63 == 0 { 6 } else { 17 } << 32]
        };
        let known: Vec<Key> = (0..flows).map(|_| tuple()).collect();
        let unknown: Vec<Key> = (0..others).map(|_| tuple()).collect();
        let (hits, misses) = (bursts(&known, &mut random), bursts(&unknown, &mut random));
        Self { known, unknown, hits, misses }
    }

    /// Octets that keys of this many flows take.
    #[must_use]
    pub fn memory(flows: usize, others: usize) -> usize {
        size_of::<Key>() * (flows + others + flows.min(SEQUENCE) + others.min(SEQUENCE)) + 8 * flows
    }
}

/// The keys in a random order, each once; the last few, which fill no burst, are left out.
fn bursts(keys: &[Key], random: &mut Random) -> Vec<[Key; BURST]> {
    let mut order: Vec<u32> = (0..keys.len() as u32).collect();
    let len = order.len();
    let wanted = len.min(SEQUENCE);
    for i in 0..wanted {
        order.swap(i, i + random.below(len - i));
    }
    order[..wanted].chunks_exact(BURST).map(|b| std::array::from_fn(|i| keys[b[i] as usize])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_key_is_looked_up_once_and_none_is_both() {
        let keys = Keys::new(320, 64);
        let set = |keys: &[Key]| keys.iter().copied().collect::<HashSet<_>>();
        let (known, unknown) = (set(&keys.known), set(&keys.unknown));
        assert_eq!((known.len(), unknown.len()), (320, 64));
        assert!(known.is_disjoint(&unknown));
        assert_eq!(set(&keys.hits.concat()), known);
        assert_eq!(set(&keys.misses.concat()), unknown);
        assert_ne!(keys.hits.concat(), keys.known, "in another order");
    }
}
