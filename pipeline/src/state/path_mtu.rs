//! What is known of the paths to destinations (RFC 8201): the MTU that routers on the way have reported, or that a node
//! there refuses the option. Believed for ten minutes, then forgotten, so that a larger MTU is found again.
//!
//! A table of fixed size without locks, shared by all workers; each destination is one word in a set of eight. Which set,
//! and what stands for the address, comes from a hash under a secret of this process: nobody outside can choose whom a
//! destination drives out.
//!
//! ```text
//!  63      32 31    16 15     0
//! +----------+--------+--------+
//! |   tag    |  MTU   |  time  |   time: in steps of 4.3 s, modulo 78 hours
//! +----------+--------+--------+
//! ```
//!
//! Workers do not look here for every packet. A flow keeps how long its packets may be ([`Flow::room`]) together with the
//! table's epoch, which moves when something becomes stricter or is forgotten; then every flow asks once.
//!
//! [`Flow::room`]: crate::flow::record::Flow

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// The least MTU of an IPv6 link (RFC 8200 section 5): no host is told less, and no report of less is believed.
pub const MIN_MTU: usize = 1280;

/// Destinations of one set: a cache line.
const WAYS: usize = 8;
const SETS: usize = 512;
/// Attempts to change a word that other workers keep changing.
const ATTEMPTS: usize = 4;

/// Steps of the time in a word: 2^32 ns.
const STEP_SHIFT: u32 = 32;
/// How long a report is believed: ten minutes (RFC 8201 section 4 asks for at least five).
const LIFETIME_NS: u64 = 600_000_000_000;
const LIFETIME: u16 = (LIFETIME_NS >> STEP_SHIFT) as u16 + 1;

/// In the place of an MTU, below all that are believed: packets with the option do not arrive.
const REFUSED: u16 = 1;

/// What is known of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Known {
    /// Packets may be so long, octets from the IPv6 header on.
    Mtu(usize),
    /// A node on the way refuses the option.
    Refused,
}

impl Known {
    /// How long a packet may be that gets `len` octets more; 0: none gets them. A packet of [`MIN_MTU`] must always get
    /// through: where there is no room for it with the option, no packet has one, as hosts are told no less.
    #[must_use]
    pub const fn room(self, len: usize) -> usize {
        match self {
            Self::Mtu(mtu) if mtu >= MIN_MTU + len => mtu - len,
            Self::Mtu(_) | Self::Refused => 0,
        }
    }

    /// The MTU as hosts should know it, whose packets get `len` octets more.
    #[must_use]
    pub const fn for_hosts(self, len: usize) -> usize {
        match self {
            Self::Mtu(mtu) if mtu >= MIN_MTU + len => mtu - len,
            Self::Mtu(_) => MIN_MTU,
            Self::Refused => usize::MAX,
        }
    }
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Set([AtomicU64; WAYS]);

/// The table.
#[derive(Debug)]
pub struct PathMtus {
    sets: Box<[Set]>,
    key: [u8; 16],
    epoch: AtomicU32,
    used: AtomicU32,
}

/// A word, taken apart.
#[derive(Clone, Copy)]
struct Entry {
    tag: u32,
    mtu: u16,
    time: u16,
}

impl Entry {
    const fn of(word: u64) -> Self {
        Self { tag: (word >> 32) as u32, mtu: (word >> 16) as u16, time: word as u16 }
    }

    const fn word(self) -> u64 {
        (self.tag as u64) << 32 | (self.mtu as u64) << 16 | self.time as u64
    }

    const fn age(self, time: u16) -> u16 {
        let age = time.wrapping_sub(self.time);
        // Two workers' clocks may be read in another order than they write.
        if age > u16::MAX - 2 { 0 } else { age }
    }

    const fn is_live(self, time: u16) -> bool {
        self.mtu != 0 && self.age(time) <= LIFETIME
    }
}

const fn time_of(now: u64) -> u16 {
    (now >> STEP_SHIFT) as u16
}

impl PathMtus {
    /// A table that knows of nothing. `key` is a secret of this process.
    #[must_use]
    pub fn new(key: [u8; 16]) -> Self {
        let sets = (0..SETS).map(|_| Set::default()).collect();
        Self { sets, key, epoch: AtomicU32::new(0), used: AtomicU32::new(0) }
    }

    /// Moves whenever what was known before may be too much now.
    #[inline]
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Destinations of which something is known, those included that are about to be forgotten.
    #[must_use]
    pub fn used(&self) -> u32 {
        self.used.load(Ordering::Relaxed)
    }

    /// Destinations there are places for.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        SETS * WAYS
    }

    fn place(&self, destination: &[u8; 16]) -> (&[AtomicU64], u32) {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write(destination);
        let hash = hasher.finish();
        (self.sets.get(hash as usize % SETS).map_or(&[], |set| &set.0), (hash >> 32) as u32)
    }

    /// What is known of the path to a destination.
    #[inline]
    #[must_use]
    pub fn known(&self, destination: &[u8; 16], now: u64) -> Option<Known> {
        if self.used() == 0 { None } else { self.look_up(destination, time_of(now)) }
    }

    fn look_up(&self, destination: &[u8; 16], time: u16) -> Option<Known> {
        let (set, tag) = self.place(destination);
        let entries = set.iter().map(|word| Entry::of(word.load(Ordering::Relaxed)));
        // Two workers may have put one destination into two places.
        let mtu = entries.filter(|e| e.tag == tag && e.is_live(time)).map(|e| e.mtu).min()?;
        Some(if mtu == REFUSED { Known::Refused } else { Known::Mtu(usize::from(mtu)) })
    }

    /// A router has reported this MTU. Says whether it is news. A larger one than is known is none: a path's MTU is not
    /// raised by a report (RFC 8201 section 4), but forgotten in time.
    pub fn learn(&self, destination: &[u8; 16], mtu: usize, now: u64) -> bool {
        let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
        usize::from(mtu) >= MIN_MTU && self.put(destination, mtu, now)
    }

    /// A node on the path refuses the option. Says whether it is news.
    pub fn refuse(&self, destination: &[u8; 16], now: u64) -> bool {
        self.put(destination, REFUSED, now)
    }

    fn put(&self, destination: &[u8; 16], mtu: u16, now: u64) -> bool {
        let time = time_of(now);
        let (set, tag) = self.place(destination);
        let new = Entry { tag, mtu, time };
        for _ in 0..ATTEMPTS {
            // The destination's own place, else an empty one, else the oldest.
            let fitness = |&(_, seen): &(&AtomicU64, u64)| match Entry::of(seen) {
                e if e.tag == tag && e.is_live(time) => 3 << 16,
                e if e.tag == tag && seen != 0 => 2 << 16,
                _ if seen == 0 => 1 << 16,
                e => u32::from(e.age(time)),
            };
            let words = set.iter().map(|word| (word, word.load(Ordering::Relaxed)));
            let Some((word, seen)) = words.max_by_key(fitness) else { return false };
            let before = Entry::of(seen);
            let known = (before.tag == tag && before.is_live(time)).then_some(before.mtu);
            if known.is_some_and(|known| known < mtu) || seen == new.word() {
                return false;
            }
            if word.compare_exchange(seen, new.word(), Ordering::Release, Ordering::Relaxed).is_err() {
                continue;
            }
            if seen == 0 {
                self.used.fetch_add(1, Ordering::Release);
            }
            let news = known != Some(mtu);
            if news {
                self.epoch.fetch_add(1, Ordering::Release);
            }
            return news;
        }
        false
    }

    /// Forgets what is too old. The control thread's, now and then.
    pub fn expire(&self, now: u64) {
        if self.used() == 0 {
            return;
        }
        let (time, mut forgotten) = (time_of(now), 0);
        for word in self.sets.iter().flat_map(|set| &set.0) {
            let seen = word.load(Ordering::Relaxed);
            if seen != 0
                && !Entry::of(seen).is_live(time)
                && word.compare_exchange(seen, 0, Ordering::Release, Ordering::Relaxed).is_ok()
            {
                forgotten += 1;
            }
        }
        if forgotten > 0 {
            self.used.fetch_sub(forgotten, Ordering::Release);
            self.epoch.fetch_add(1, Ordering::Release);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::collections::HashMap;

    const S: u64 = 1_000_000_000;

    fn address(n: u32) -> [u8; 16] {
        let mut a = [0x20; 16];
        a[12..].copy_from_slice(&n.to_be_bytes());
        a
    }

    #[test]
    fn a_lower_mtu_is_news_and_a_higher_one_is_not_believed() {
        let table = PathMtus::new([1; 16]);
        let a = address(1);
        assert_eq!(table.known(&a, 0), None);
        assert!(table.learn(&a, 1400, 0));
        assert_eq!((table.known(&a, 1), table.epoch(), table.used()), (Some(Known::Mtu(1400)), 1, 1));
        assert!(!table.learn(&a, 1450, 1) && !table.learn(&a, 1400, 20 * S), "nothing new");
        assert_eq!(table.epoch(), 1, "flows have nothing to ask for");
        assert!(table.learn(&a, 1320, 21 * S));
        assert_eq!((table.known(&a, 21 * S), table.epoch(), table.used()), (Some(Known::Mtu(1320)), 2, 1));
        assert!(!table.learn(&a, 1279, 22 * S), "less than any link has");
        assert_eq!(table.known(&address(2), 22 * S), None);
    }

    #[test]
    fn a_report_is_believed_for_ten_minutes_and_each_one_begins_them_anew() {
        let table = PathMtus::new([1; 16]);
        let a = address(1);
        for start in [0, 5 * 24 * 3600 * S] {
            table.learn(&a, 1400, start);
            assert_eq!(table.known(&a, start + 599 * S), Some(Known::Mtu(1400)));
            assert!(!table.learn(&a, 1400, start + 500 * S));
            assert_eq!(table.known(&a, start + 1099 * S), Some(Known::Mtu(1400)));
            assert_eq!(table.known(&a, start + 1115 * S), None);
            let epoch = table.epoch();
            table.expire(start + 1000 * S);
            assert_eq!((table.used(), table.epoch()), (1, epoch), "it is not time yet");
            table.expire(start + 1115 * S);
            assert_eq!((table.used(), table.epoch()), (0, epoch + 1), "and every flow asks again");
            assert!(table.learn(&a, 1400, start + 1116 * S), "news again");
            table.expire(start + 3000 * S);
        }
    }

    #[test]
    fn a_larger_mtu_is_believed_once_the_smaller_one_is_forgotten() {
        let table = PathMtus::new([1; 16]);
        let a = address(1);
        table.learn(&a, 1300, 0);
        assert!(table.learn(&a, 1400, 700 * S), "whether or not it was swept");
        assert_eq!((table.known(&a, 700 * S), table.used()), (Some(Known::Mtu(1400)), 1));
    }

    #[test]
    fn a_refusal_goes_before_any_mtu() {
        let table = PathMtus::new([1; 16]);
        let a = address(1);
        table.learn(&a, 1400, 0);
        assert!(table.refuse(&a, 1) && !table.refuse(&a, 2));
        assert!(!table.learn(&a, 1300, 3));
        assert_eq!(table.known(&a, 3), Some(Known::Refused));
    }

    #[test]
    fn room_and_what_hosts_are_told() {
        for (known, len, room, hosts) in [
            (Known::Mtu(1400), 40, 1360, 1360),
            (Known::Mtu(1320), 40, 1280, 1280),
            (Known::Mtu(1319), 40, 0, 1280),
            (Known::Mtu(1280), 16, 0, 1280),
            (Known::Mtu(1296), 16, 1280, 1280),
            (Known::Refused, 40, 0, usize::MAX),
        ] {
            assert_eq!((known.room(len), known.for_hosts(len)), (room, hosts), "{known:?} {len}");
        }
    }

    /// Memory is fixed, and what drives out what is by age alone.
    #[test]
    fn a_full_set_forgets_its_oldest() {
        let table = PathMtus::new([1; 16]);
        let mut by_set: HashMap<usize, Vec<[u8; 16]>> = HashMap::new();
        for n in 0..4 * table.capacity() as u32 {
            let a = address(n);
            by_set.entry(table.place(&a).0.as_ptr().addr()).or_default().push(a);
        }
        let all = by_set.values().find(|v| v.len() > WAYS).expect("a set that is asked for often");
        for (i, a) in all.iter().take(WAYS + 1).enumerate() {
            table.learn(a, 1400, i as u64 * 10 * S);
        }
        let now = WAYS as u64 * 10 * S;
        assert_eq!(table.known(&all[0], now), None, "the oldest");
        assert!(all[1..=WAYS].iter().all(|a| table.known(a, now) == Some(Known::Mtu(1400))));
        assert_eq!(table.used() as usize, WAYS);
        for n in 0..4 * table.capacity() as u32 {
            table.learn(&address(n), 1400, now);
        }
        assert!(table.used() as usize <= table.capacity());
        table.expire(now + 700 * S);
        assert_eq!(table.used(), 0);
    }

    #[test]
    fn workers_may_learn_and_forget_at_the_same_time() {
        let table = PathMtus::new([1; 16]);
        std::thread::scope(|scope| {
            for t in 0..3u64 {
                let table = &table;
                scope.spawn(move || {
                    for i in 0..20_000u64 {
                        table.learn(&address((i % 64) as u32), 1280 + ((i + t) % 200) as usize, i / 100 * S);
                        let known = table.known(&address((i % 64) as u32), i / 100 * S);
                        assert!(matches!(known, None | Some(Known::Mtu(1280..1480))), "{known:?}");
                        if t == 0 && i % 1000 == 0 {
                            table.expire(i / 100 * S + 595 * S);
                        }
                    }
                });
            }
        });
        table.expire(4000 * S);
        let left = table.sets.iter().flat_map(|s| &s.0).filter(|w| w.load(Ordering::Relaxed) != 0).count();
        assert_eq!((table.used() as usize, left), (0, 0), "the count is right whatever the order");
    }
}
