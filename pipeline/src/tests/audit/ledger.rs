//! Which (key, nonce) pairs were used, in 4 KiB for a key however many there are of it: a bit for each PRSEQ.

use crate::observe::audit::RECORD;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

/// Nonces under one key. They are one base nonce XORed with 15 bits of PRSEQ, so that they differ nowhere else.
struct Used {
    /// What they have in common: the octets before, and the bit above PRSEQ.
    common: [u8; 11],
    places: Box<[u64; 512]>,
}

/// The pairs of any number of packets.
#[derive(Default)]
pub struct Ledger {
    /// By the key's fingerprint.
    keys: HashMap<[u8; 16], Used>,
    pub pairs: u64,
}

impl Ledger {
    /// Writes a pair down.
    ///
    /// # Panics
    /// When it is there already.
    pub fn enter(&mut self, record: &[u8; RECORD]) {
        let [key @ .., _, _, _, _, _, _, _, _, _, _, _, _] = *record;
        let [.., high, low] = *record;
        let mut common: [u8; 11] = *record[16..].first_chunk().expect("a nonce");
        common[10] &= 0x80;
        let used = self.keys.entry(key).or_insert_with(|| Used { common, places: Box::new([0; 512]) });
        assert_eq!(used.common, common, "nonces under one key differ in more than PRSEQ");
        let place = usize::from(high & 0x7F) << 8 | usize::from(low);
        let bit = 1 << (place % 64);
        assert_eq!(used.places[place / 64] & bit, 0, "a (key, nonce) pair was used twice: {record:02x?}");
        used.places[place / 64] |= bit;
        self.pairs += 1;
    }

    /// Puts another worker's, or another process's, beside these.
    ///
    /// # Panics
    /// When a pair is in both.
    pub fn merge(&mut self, other: Self) {
        self.pairs += other.pairs;
        for (key, theirs) in other.keys {
            match self.keys.entry(key) {
                Entry::Vacant(place) => drop(place.insert(theirs)),
                Entry::Occupied(mut ours) => {
                    let ours = ours.get_mut();
                    assert_eq!(ours.common, theirs.common, "nonces under one key differ in more than PRSEQ");
                    for (ours, theirs) in ours.places.iter_mut().zip(&*theirs.places) {
                        assert_eq!(*ours & theirs, 0, "a (key, nonce) pair was used twice, by two: {key:02x?}");
                        *ours |= theirs;
                    }
                }
            }
        }
    }

    /// Keys that were used.
    pub fn keys(&self) -> usize {
        self.keys.len()
    }
}

/// Where one worker's audit goes.
#[derive(Clone, Default)]
pub struct Sink(Arc<Mutex<Ledger>>);

impl Sink {
    /// What has been written.
    pub fn take(&self) -> Ledger {
        core::mem::take(&mut self.0.lock().expect("no panic"))
    }
}

impl Write for Sink {
    fn write(&mut self, records: &[u8]) -> io::Result<usize> {
        let mut ledger = self.0.lock().expect("no panic");
        let (whole, rest) = records.as_chunks::<RECORD>();
        assert!(rest.is_empty());
        whole.iter().for_each(|record| ledger.enter(record));
        Ok(records.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A record of this key, under its base nonce, with this PRSEQ.
#[cfg(test)]
fn record(key: u8, prseq: u16) -> [u8; RECORD] {
    let mut record = [key; RECORD];
    record[26] ^= (prseq >> 8) as u8;
    record[27] ^= prseq as u8;
    record
}

#[test]
fn every_pair_fits_once() {
    let mut all = Ledger::default();
    for key in 0..3 {
        let mut ledger = Ledger::default();
        (1..=32767).for_each(|prseq| ledger.enter(&record(key, prseq)));
        all.merge(ledger);
    }
    assert_eq!((all.pairs, all.keys()), (3 * 32767, 3));
}

#[test]
#[should_panic(expected = "used twice")]
fn a_pair_that_comes_twice_is_seen() {
    let mut ledger = Ledger::default();
    [5, 6, 5].into_iter().for_each(|prseq| ledger.enter(&record(9, prseq)));
}

#[test]
#[should_panic(expected = "used twice, by two")]
fn a_pair_that_two_have_is_seen() {
    let [mut a, mut b] = [Ledger::default(), Ledger::default()];
    (1..9).for_each(|prseq| a.enter(&record(1, prseq)));
    (8..12).for_each(|prseq| b.enter(&record(1, prseq)));
    a.merge(b);
}
