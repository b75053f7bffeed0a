//! What stays of flows that left the table: their numbers, so that a flow that comes back goes on where it stopped and
//! no nonce is used twice (profile section 6).
//!
//! One writer (the control thread), any number of readers. A full place means that the flow cannot leave the table; the
//! promise is never traded for room.

use crate::flow::hash::Fingerprint;
use crate::flow::memory::{Pages, TableMemory};
use protocol::receiver::ReceiverSnapshot;
use protocol::sender::SenderSnapshot;
use protocol::sync::{AtomicU64, Ordering, fence};

const WAYS: usize = 8;

#[derive(Debug, Default)]
#[repr(align(64))]
struct Entry {
    /// Fingerprint; 0 and 0: free. A writer sets `lo` to 0 first and last of all to its value.
    lo: AtomicU64,
    hi: AtomicU64,
    sender: AtomicU64,
    /// The sender's generation, in the upper half; a bit that there is a sender's snapshot at all, and one that the receiver's
    /// is crowded.
    rest: AtomicU64,
    receiver_id: [AtomicU64; 2],
    receiver_high: [AtomicU64; 2],
}

const HAS_SENDER: u64 = 1;
const CROWDED: u64 = 2;

impl Entry {
    fn snapshot(&self) -> FlowSnapshot {
        let rest = self.rest.load(Ordering::Relaxed);
        let sender = SenderSnapshot::from_words(self.sender.load(Ordering::Relaxed), (rest >> 32) as u32);
        FlowSnapshot {
            sender: (rest & HAS_SENDER != 0).then_some(sender),
            receiver: ReceiverSnapshot {
                id: self.receiver_id.each_ref().map(|w| w.load(Ordering::Relaxed)),
                high: self.receiver_high.each_ref().map(|w| w.load(Ordering::Relaxed)),
                crowded: rest & CROWDED != 0,
            },
        }
    }
}

/// What a flow left behind when it left the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FlowSnapshot {
    /// Its numbers towards the network; `None`: it never sealed.
    pub sender: Option<SenderSnapshot>,
    /// Its highest packet coming back.
    pub receiver: ReceiverSnapshot,
}

/// The table.
#[derive(Debug)]
pub struct Tombstones {
    entries: TableMemory<Entry>,
    used: AtomicU64,
}

impl Tombstones {
    /// A table of at least this many places.
    #[must_use]
    pub fn new(places: usize) -> Self {
        Self { entries: TableMemory::new(Self::places_for(places)), used: AtomicU64::new(0) }
    }

    fn places_for(places: usize) -> usize {
        places.next_power_of_two().max(2 * WAYS)
    }

    /// Octets that a table of this many places takes.
    #[must_use]
    pub fn memory(places: usize) -> usize {
        Self::places_for(places) * size_of::<Entry>()
    }

    /// What they lie on.
    pub fn pages(&self) -> Pages {
        self.entries.pages()
    }

    /// Places taken.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Places there are.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.entries.len()
    }

    fn ways(&self, fingerprint: Fingerprint) -> impl Iterator<Item = &Entry> {
        let buckets = self.entries.len() / WAYS - 1;
        let first = fingerprint.lo as usize & buckets;
        let second = (fingerprint.lo >> 32) as usize & buckets;
        self.entries[first * WAYS..(first + 1) * WAYS].iter().chain(&self.entries[second * WAYS..(second + 1) * WAYS])
    }

    fn lo(fingerprint: Fingerprint) -> u64 {
        fingerprint.lo | 1 << 63 // never 0; the other 127 bits tell flows apart
    }

    /// What this flow left behind.
    pub fn find(&self, fingerprint: Fingerprint) -> Option<FlowSnapshot> {
        let lo = Self::lo(fingerprint);
        for entry in self.ways(fingerprint) {
            if entry.lo.load(Ordering::Acquire) != lo || entry.hi.load(Ordering::Relaxed) != fingerprint.hi {
                continue;
            }
            let snapshot = entry.snapshot();
            fence(Ordering::Acquire);
            // An entry that is replaced while we read belongs to a flow whose snapshot no longer counts.
            if entry.lo.load(Ordering::Relaxed) == lo && entry.hi.load(Ordering::Relaxed) == fingerprint.hi {
                return Some(snapshot);
            }
        }
        None
    }

    /// Keeps a flow's snapshot. Only from the control thread, before the flow leaves the index. `false`: no room.
    #[must_use]
    pub fn keep(&self, fingerprint: Fingerprint, snapshot: FlowSnapshot) -> bool {
        let lo = Self::lo(fingerprint);
        let same = |e: &&Entry| e.lo.load(Ordering::Relaxed) == lo && e.hi.load(Ordering::Relaxed) == fingerprint.hi;
        let free = |e: &&Entry| e.lo.load(Ordering::Relaxed) == 0;
        let entry = match self.ways(fingerprint).find(same) {
            Some(entry) => entry,
            None => match self.ways(fingerprint).find(free) {
                Some(entry) => {
                    self.used.store(self.used() + 1, Ordering::Relaxed);
                    entry
                }
                None => return false,
            },
        };
        let (word, rest) = snapshot.sender.map_or((0, 0), |s| {
            let (word, generation) = s.to_words();
            (word, u64::from(generation) << 32 | HAS_SENDER)
        });
        entry.lo.store(0, Ordering::Relaxed);
        fence(Ordering::Release);
        entry.hi.store(fingerprint.hi, Ordering::Relaxed);
        entry.sender.store(word, Ordering::Relaxed);
        let crowded = if snapshot.receiver.crowded { CROWDED } else { 0 };
        entry.rest.store(rest | crowded, Ordering::Relaxed);
        for i in 0..2 {
            entry.receiver_id[i].store(snapshot.receiver.id[i], Ordering::Relaxed);
            entry.receiver_high[i].store(snapshot.receiver.high[i], Ordering::Relaxed);
        }
        entry.lo.store(lo, Ordering::Release);
        true
    }

    /// Frees the places whose snapshot `counts` no longer. Only from the control thread, and only when no worker can seal
    /// under the generations that end any more.
    pub fn sweep(&self, counts: impl Fn(&FlowSnapshot) -> bool) {
        let mut used = 0;
        for entry in self.entries.iter() {
            if entry.lo.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let snapshot = entry.snapshot();
            if counts(&snapshot) {
                used += 1;
            } else {
                entry.lo.store(0, Ordering::Release);
            }
        }
        self.used.store(used, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn print(i: u64) -> Fingerprint {
        Fingerprint { lo: i.wrapping_mul(0x9E37_79B9_7F4A_7C15), hi: i }
    }

    fn rest(n: u64) -> FlowSnapshot {
        FlowSnapshot {
            sender: Some(SenderSnapshot::from_words(n, n as u32)),
            receiver: ReceiverSnapshot { id: [n, n + 1], high: [n * 2, n * 3], crowded: n % 2 == 1 },
        }
    }

    #[test]
    fn keeps_replaces_and_frees() {
        let table = Tombstones::new(1024);
        for i in 1..=500 {
            assert!(table.keep(print(i), rest(i)));
        }
        for i in 1..=500 {
            assert_eq!(table.find(print(i)), Some(rest(i)));
        }
        assert!(table.keep(print(7), rest(9000)));
        assert_eq!((table.find(print(7)), table.used()), (Some(rest(9000)), 500));
        table.sweep(|r| r.receiver.id[0] > 400);
        assert_eq!((table.find(print(400)), table.find(print(401)), table.used()), (None, Some(rest(401)), 101));
    }

    #[test]
    fn full_says_so() {
        let table = Tombstones::new(16);
        let kept = (0..64).filter(|&i| table.keep(print(i), rest(i))).count();
        assert!((8..=16).contains(&kept), "{kept}");
        assert_eq!((0..64).filter(|&i| table.find(print(i)).is_some()).count(), kept, "nothing kept was lost");
    }
}
