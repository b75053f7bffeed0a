//! What `bench flow` asks of a table, and ours.

use anyhow::{Result, ensure};
use pipeline::flow::hash::{FlowHash, HashKey};
use pipeline::flow::quiescence::Quiescence;
use pipeline::flow::record::FlowBack;
use pipeline::flow::table::{Ager, FlowTable};
use protocol::five_tuple::FiveTuple;
use protocol::sender::{NO_GENERATION, Numbers};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

/// A 5-tuple as the packet path has it: 37 octets in five words.
pub type Key = [u64; 5];

/// Keys looked up at once.
pub const BURST: usize = pipeline::ports::BURST;

/// Hashes for the peers as our table does, under other secrets.
pub(super) static KEYED: LazyLock<HashKey> = LazyLock::new(|| HashKey::new(&[0x9E; 16]));

/// Looks up a burst in our table by the packet path's steps, but each for all keys before the next: a table is asked at once
/// here, as the peers are.
#[inline]
pub fn find_burst<'a>(table: &'a FlowTable, keys: &[Key], found: &mut [Option<&'a FlowBack>; BURST]) {
    let mut hashes = [FlowHash::default(); BURST];
    for (hash, words) in hashes.iter_mut().zip(keys) {
        *hash = table.hash(words);
        table.prefetch(*hash);
    }
    let mut candidates = [None; BURST];
    for (candidate, &hash) in candidates.iter_mut().zip(&hashes[..keys.len().min(BURST)]) {
        *candidate = table.candidate(hash);
        if let Some(flow) = *candidate {
            protocol::prefetch::line(flow.back);
        }
    }
    for (i, words) in keys.iter().enumerate().take(BURST) {
        found[i] = table.confirm(candidates[i], hashes[i], words).map(|flow| flow.back);
    }
}

/// What look-ups found.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Sum {
    /// Keys that were there.
    pub hits: u64,
    /// Of the records' policies, so that the records are read.
    pub policies: u64,
}

impl Sum {
    /// Adds a burst; with `touch` each record's first line is read.
    #[inline]
    pub fn add(&mut self, found: &[Option<&FlowBack>], touch: bool) {
        for flow in found.iter().flatten() {
            self.hits += 1;
            if touch {
                self.policies += u64::from(flow.policy());
            } else {
                std::hint::black_box(std::ptr::from_ref::<FlowBack>(flow));
            }
        }
    }
}

/// A table from 5-tuples to flow records. What removal needs to be safe beside look-ups is part of every look-up.
pub trait Table<'a>: Sync {
    /// Its name in the report.
    fn name(&self) -> &'static str;

    /// Puts flows in: a key and its record. Ours has records of its own and does not look at these.
    ///
    /// # Errors
    /// A flow finds no place.
    fn insert(&self, thread: usize, keys: &[Key], records: &[&'a FlowBack]) -> Result<()>;

    /// Looks bursts up; `thread` is 0 or 1, and no two threads are the same at once.
    ///
    /// # Errors
    /// It cannot be looked up from this thread.
    fn look_up(&self, thread: usize, bursts: &[[Key; BURST]], touch: bool) -> Result<Sum>;

    /// Takes these flows out, until their places can be used again.
    ///
    /// # Errors
    /// One was not there.
    fn remove(&self, keys: &[Key]) -> Result<()>;
}

/// When flows that stay were last seen, and the others, in nanoseconds.
const LATE: u64 = 1 << 40;

/// Steps in which the control thread goes through the table once.
const AGE_STEPS: usize = 100;

/// Our table, as workers and the control thread use it.
pub struct Ours<'a> {
    table: &'a FlowTable,
    quiescence: Quiescence,
    ager: Mutex<Ager>,
}

impl<'a> Ours<'a> {
    /// With places for two workers.
    #[must_use]
    pub fn new(table: &'a FlowTable) -> Self {
        let quiescence = Quiescence::new(2);
        Self { table, ager: Mutex::new(Ager::new(quiescence.clone())), quiescence }
    }

    /// Puts flows in that [`Table::remove`] leaves.
    ///
    /// # Errors
    /// There is no place.
    pub fn insert_to_stay(&self, keys: &[Key]) -> Result<()> {
        self.put(0, keys, LATE)
    }

    fn put(&self, thread: usize, keys: &[Key], now: u64) -> Result<()> {
        let worker = self.quiescence.worker(thread);
        for burst in keys.chunks(BURST) {
            worker.enter();
            for key in burst {
                let done =
                    self.table.insert(&FiveTuple::from_words(*key), self.table.hash(key), 1, now, |flow, _, _| {
                        flow.begin(0, Numbers::start(NO_GENERATION, 0));
                    });
                if let Err(no) = done {
                    worker.leave();
                    anyhow::bail!(
                        "our table did not take a flow: {no:?}; in use are {} of {}",
                        self.table.used(),
                        self.table.capacity()
                    );
                }
            }
            worker.leave();
        }
        Ok(())
    }
}

impl<'a> Table<'a> for Ours<'a> {
    fn name(&self) -> &'static str {
        super::OURS
    }

    fn insert(&self, thread: usize, keys: &[Key], _records: &[&'a FlowBack]) -> Result<()> {
        self.put(thread, keys, 0)
    }

    fn look_up(&self, thread: usize, bursts: &[[Key; BURST]], touch: bool) -> Result<Sum> {
        let worker = self.quiescence.worker(thread);
        let mut sum = Sum::default();
        for burst in bursts {
            worker.enter();
            let mut found = [None; BURST];
            find_burst(self.table, burst, &mut found);
            sum.add(&found, touch);
            worker.leave();
        }
        Ok(sum)
    }

    /// By the Ager, which finds them by their age: it goes through every record, those of other flows too.
    fn remove(&self, keys: &[Key]) -> Result<()> {
        let mut ager = self.ager.lock().unwrap_or_else(PoisonError::into_inner);
        let (step, before, used) = (self.table.capacity().div_ceil(AGE_STEPS), ager.expired, self.table.used());
        for _ in 0..=AGE_STEPS {
            ager.step(self.table, LATE + LATE / 4, LATE / 2, step);
        }
        // The last step's records come back as soon as no look-up can hold them.
        for _ in 0..20_000 {
            if self.table.used() + keys.len() <= used {
                break;
            }
            ager.step(self.table, 0, u64::MAX, 0);
            std::thread::sleep(Duration::from_micros(50)); // yielding, it would take its core from look-ups
        }
        ensure!(
            ager.expired - before == keys.len() as u64 && self.table.used() + keys.len() == used,
            "the Ager took {} flows out of our table, not {}; in use are {} of {used}",
            ager.expired - before,
            keys.len(),
            self.table.used()
        );
        Ok(())
    }
}
