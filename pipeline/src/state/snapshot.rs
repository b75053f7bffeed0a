//! What workers read, as one immutable value behind one atomic pointer, looked at once per burst: keys and rules.
//!
//! Who replaces one part of it keeps the other. A replaced snapshot is kept until no worker holds it, so that a worker never
//! frees, and never waits.

use crate::state::keyring::KeyRing;
use crate::state::rules::{PathConfig, Rules};
use arc_swap::ArcSwap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Everything that is not a packet's own, as it is at one time.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Grows with every snapshot.
    pub version: u64,
    /// The version with which the ring came. Workers that have seen this one work with no older ring.
    pub ring_since: u64,
    /// Keys.
    pub ring: Arc<KeyRing>,
    /// Policies, what they mean, and all other settings.
    pub rules: Arc<Rules>,
}

/// The snapshot that workers use, and the older ones that some of them may still hold. A handle: clones are one cell.
#[derive(Clone, Debug)]
pub struct SnapshotCell {
    current: Arc<ArcSwap<Snapshot>>,
    /// Held while a snapshot is made of the one before, so that of two that are made at once neither is lost.
    old: Arc<Mutex<Vec<Arc<Snapshot>>>>,
}

impl Default for SnapshotCell {
    /// No keys, and no rules: packets pass as they are.
    fn default() -> Self {
        let mut ring = KeyRing::default();
        ring.make_ready();
        let none = Snapshot { ring: Arc::new(ring), ..Snapshot::default() };
        Self { current: Arc::new(ArcSwap::from_pointee(none)), old: Arc::default() }
    }
}

impl SnapshotCell {
    /// Makes this the ring, and what workers find peers with.
    pub fn publish(&self, mut ring: KeyRing) {
        ring.make_ready();
        self.publish_again(Arc::new(ring));
    }

    /// Makes a ring that was published before the ring once more.
    pub fn publish_again(&self, ring: Arc<KeyRing>) {
        let next = |now: &Snapshot, version| {
            Some(Snapshot { version, ring_since: version, ring, rules: Arc::clone(&now.rules) })
        };
        self.replace(next);
    }

    /// Puts these settings in force, for this many workers.
    pub(crate) fn publish_rules(&self, config: PathConfig, workers: usize) {
        self.replace_rules(|rules| Some(rules.followed_by(config, workers)));
    }

    /// Puts rules in force that are made of the present ones, if any are. Says whether they were.
    pub(crate) fn replace_rules(&self, next: impl FnOnce(&Rules) -> Option<Rules>) -> bool {
        self.replace(|now, version| {
            let rules = Arc::new(next(&now.rules)?);
            Some(Snapshot { version, ring_since: now.ring_since, ring: Arc::clone(&now.ring), rules })
        })
    }

    fn replace(&self, next: impl FnOnce(&Snapshot, u64) -> Option<Snapshot>) -> bool {
        let mut old = self.old();
        let now = self.current.load_full();
        let next = next(&now, now.version + 1);
        drop(now);
        let replaced = next.is_some();
        old.extend(next.map(|next| self.current.swap(Arc::new(next))));
        sweep(&mut old);
        replaced
    }

    /// The present snapshot, for the control thread and listings.
    #[must_use]
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Its ring.
    #[must_use]
    pub fn ring(&self) -> Arc<KeyRing> {
        Arc::clone(&self.current.load().ring)
    }

    /// Its rules.
    #[must_use]
    pub fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.current.load().rules)
    }

    /// Frees snapshots that no worker holds any more, and with the last of a ring its keys, overwritten; says how many are left.
    pub fn sweep(&self) -> usize {
        sweep(&mut self.old())
    }

    /// What workers hold a cache of.
    pub(crate) fn pointer(&self) -> Arc<ArcSwap<Snapshot>> {
        Arc::clone(&self.current)
    }

    fn old(&self) -> MutexGuard<'_, Vec<Arc<Snapshot>>> {
        self.old.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A snapshot whose version is as it was: what no publisher makes.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn store_unannounced(&self, snapshot: Snapshot) {
        let before = self.current.swap(Arc::new(snapshot));
        self.old().push(before);
    }
}

fn sweep(old: &mut Vec<Arc<Snapshot>>) -> usize {
    old.retain(|snapshot| Arc::strong_count(snapshot) > 1);
    old.len()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::state::policies::{Mode, Policy};

    fn config(name: &str) -> PathConfig {
        let policy = Policy { name: name.into(), ..Policy::everything(Mode::Clear) };
        PathConfig { policies: vec![policy], ..PathConfig::default() }
    }

    #[test]
    fn one_part_is_replaced_and_the_other_stays() {
        let cell = SnapshotCell::default();
        cell.publish_rules(config("a"), 1);
        let first = cell.load();
        assert_eq!((first.version, first.ring_since), (1, 0));
        cell.publish(KeyRing { out_of_touch: true, ..KeyRing::default() });
        let second = cell.load();
        assert_eq!((second.version, second.ring_since, second.ring.out_of_touch), (2, 2, true));
        assert!(Arc::ptr_eq(&first.rules, &second.rules) && !Arc::ptr_eq(&first.ring, &second.ring));
        cell.publish_rules(config("b"), 1);
        let third = cell.load();
        assert_eq!((third.version, third.ring_since), (3, 2), "the ring is as old as it was");
        assert!(Arc::ptr_eq(&second.ring, &third.ring) && !Arc::ptr_eq(&second.rules, &third.rules));
    }

    #[test]
    fn what_somebody_holds_is_kept_until_it_is_let_go() {
        let cell = SnapshotCell::default();
        cell.publish(KeyRing::default());
        let (held, ring) = (cell.load(), Arc::downgrade(&cell.ring()));
        for _ in 0..3 {
            cell.publish(KeyRing::default());
        }
        assert_eq!(cell.sweep(), 1);
        assert!(ring.upgrade().is_some());
        drop(held);
        assert_eq!((cell.sweep(), ring.upgrade().is_none()), (0, true), "its keys are gone with it");
    }

    #[test]
    fn of_two_that_publish_at_once_nothing_is_lost() {
        let cell = SnapshotCell::default();
        std::thread::scope(|s| {
            s.spawn(|| (0..500).for_each(|_| cell.publish(KeyRing { out_of_touch: true, ..KeyRing::default() })));
            s.spawn(|| (0..500).for_each(|i| cell.publish_rules(config(&format!("{i}")), 1)));
        });
        let last = cell.load();
        assert_eq!((last.version, last.ring.out_of_touch), (1000, true));
        assert_eq!(last.rules.config.policies[0].name, "499");
    }
}
