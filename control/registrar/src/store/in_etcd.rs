//! The store in etcd, of the registrar that leads its side. A batch is one record, in pieces; the key `manifest` says which
//! records count, so a batch of any size is there as a whole or not at all. Every request holds only while the leader's
//! key is the one that this term began with, and the manifest is as this term has left it: a deposed leader, or a request
//! that arrives late, changes nothing.
//!
//! * `PREFIX leader`: who leads; gone with its lease.
//! * `PREFIX manifest`: `first(8) last(8)`, the first record being a snapshot; sealed.
//! * `PREFIX records/NUMBER/PIECE`: `pieces(4)`, then sealed octets.

use super::records::{self, Kind, PIECE};
use super::{Batch, Sealer, Store, StoreError};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use zeroize::Zeroizing;

/// A snapshot follows after so many records.
const RECORDS: u64 = 64;
/// Pieces asked for at once: the answer has to stay below 4 MiB.
const PAGE: i64 = 8;
/// The pause between two attempts.
const RETRY: Duration = Duration::from_millis(100);

type Values = BTreeMap<String, Zeroizing<Vec<u8>>>;

/// A request that changes something, wholly or not at all.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Keys and values, below the prefix.
    pub puts: Vec<(String, Vec<u8>)>,
    /// Keys from the first on and below the second go.
    pub delete: Option<(String, String)>,
}

/// What became of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Done, at this revision.
    Done(i64),
    /// Another leads.
    Deposed,
    /// The manifest is another: its revision, and what it is.
    Differs(i64, Vec<u8>),
}

/// Etcd as a leader sees it during its term.
pub trait Place: Send + Sync {
    /// For messages.
    fn name(&self) -> String;

    /// Whether this process leads for certain, at this moment.
    fn holds(&self) -> bool;

    /// Tries once; nothing happens unless this term's leader leads and the manifest is of this revision (0: none).
    ///
    /// # Errors
    /// No answer: it may have been done, or may be yet.
    fn commit(&self, manifest: i64, commit: &Commit) -> Result<Outcome, String>;

    /// At most `limit` keys from the first on and below the second, ascending, with their values and revisions.
    ///
    /// # Errors
    /// No answer.
    fn read(&self, from: &str, below: &str, limit: i64) -> Result<Vec<(String, Vec<u8>, i64)>, String>;
}

#[derive(Default)]
struct Kept {
    values: Values,
    first: u64,
    last: u64,
    /// The manifest's revision.
    revision: i64,
}

/// See the module.
pub struct EtcdStore<P> {
    place: P,
    sealer: Sealer,
    kept: Mutex<Kept>,
    /// Why the last request was not done; `None`: it was.
    trouble: Mutex<Option<String>>,
}

impl<P: Place> std::fmt::Debug for EtcdStore<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EtcdStore({}, redacted)", self.place.name())
    }
}

fn record_key(number: u64, piece: usize) -> String {
    format!("records/{number:016x}/{piece:06x}")
}

fn piece_name(number: u64, piece: usize, pieces: usize) -> String {
    format!("{}/{pieces:06x}", record_key(number, piece))
}

impl<P: Place> EtcdStore<P> {
    /// Reads what earlier leaders have kept.
    ///
    /// # Errors
    /// [`StoreError`]: no answer while this term is certain, another key, records that are missing.
    pub fn open(place: P, key: &[u8; 32]) -> Result<Self, StoreError> {
        let this = Self { place, sealer: Sealer::new(key), kept: Mutex::default(), trouble: Mutex::default() };
        let mut kept = Kept::default();
        let manifest = this.read("manifest", "manifest\0", 1)?;
        if let Some((name, value, revision)) = manifest.first() {
            let octets = this.sealer.open(name, value).ok_or_else(|| this.wrong(name))?;
            let (first, last) = octets.split_first_chunk().ok_or_else(|| this.wrong(name))?;
            let last: &[u8; 8] = last.try_into().map_err(|_| this.wrong(name))?;
            kept = Kept {
                values: Values::new(),
                first: u64::from_be_bytes(*first),
                last: u64::from_be_bytes(*last),
                revision: *revision,
            };
            this.read_records(&mut kept)?;
        }
        *this.kept.lock().unwrap_or_else(PoisonError::into_inner) = kept;
        Ok(this)
    }

    fn unreadable(&self, name: &str, why: &'static str) -> StoreError {
        StoreError::Unreadable { place: self.place.name(), name: name.to_owned(), why }
    }

    fn wrong(&self, name: &str) -> StoreError {
        self.unreadable(name, "does not open under the state key")
    }

    fn error(&self, action: &'static str, error: String) -> StoreError {
        StoreError::Io { path: PathBuf::from(self.place.name()), action, error }
    }

    fn read(&self, from: &str, below: &str, limit: i64) -> Result<Vec<(String, Vec<u8>, i64)>, StoreError> {
        loop {
            match self.place.read(from, below, limit) {
                Ok(found) => return Ok(found),
                Err(error) if self.place.holds() => {
                    tracing::warn!(place = self.place.name(), error, "cannot be read; trying again");
                    std::thread::sleep(RETRY);
                }
                Err(error) => return Err(self.error("read", error)),
            }
        }
    }

    fn read_records(&self, kept: &mut Kept) -> Result<(), StoreError> {
        let (mut from, below) = (record_key(kept.first, 0), record_key(kept.last + 1, 0));
        let (mut number, mut piece) = (kept.first, 0);
        let mut record = Zeroizing::new(Vec::new());
        loop {
            let page = self.read(&from, &below, PAGE)?;
            let Some((last, ..)) = page.last() else { break };
            from = format!("{last}\0");
            for (name, value, _) in &page {
                let (pieces, sealed) = value.split_first_chunk().ok_or_else(|| self.wrong(name))?;
                let pieces = u32::from_be_bytes(*pieces) as usize;
                // A longer record of the same number that never counted may have left pieces behind.
                if *name != record_key(number, piece) {
                    if name.starts_with(&format!("records/{:016x}/", number.wrapping_sub(1))) {
                        continue;
                    }
                    return Err(self.unreadable(&record_key(number, piece), "is missing"));
                }
                let opened = self.sealer.open(&piece_name(number, piece, pieces), sealed);
                let opened = opened.ok_or_else(|| self.wrong(name))?;
                // By itself it would leave copies behind when it grows.
                let mut longer = Zeroizing::new(Vec::with_capacity(record.len() + opened.len()));
                longer.extend_from_slice(&record);
                longer.extend_from_slice(&opened);
                record = longer;
                piece += 1;
                if piece == pieces {
                    records::apply(&record, &mut kept.values).ok_or_else(|| self.wrong(name))?;
                    record = Zeroizing::default();
                    (number, piece) = (number + 1, 0);
                }
            }
        }
        if number != kept.last + 1 {
            return Err(self.unreadable(&record_key(number, piece), "is missing"));
        }
        Ok(())
    }

    /// Tries until it is done or this term is no longer certain.
    fn commit(&self, kept: &Kept, commit: &Commit) -> Result<i64, StoreError> {
        let ours = commit.puts.iter().find(|(name, _)| name == "manifest").map(|(_, value)| value);
        let mut said: Option<String> = None;
        while self.place.holds() {
            let outcome = self.place.commit(kept.revision, commit);
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = outcome.as_ref().err().cloned();
            match outcome {
                Ok(Outcome::Done(revision)) => return Ok(revision),
                // An attempt without an answer was done after all.
                Ok(Outcome::Differs(revision, value)) if Some(&value) == ours => return Ok(revision),
                Ok(Outcome::Differs(..) | Outcome::Deposed) => return Err(StoreError::Deposed),
                Err(error) => {
                    // Once for each reason: it may be so for hours.
                    if said.as_ref() != Some(&error) {
                        tracing::warn!(place = self.place.name(), error, "cannot be written; trying again");
                        said = Some(error);
                    }
                    std::thread::sleep(RETRY);
                }
            }
        }
        Err(StoreError::Deposed)
    }
}

impl<P: Place> Store for EtcdStore<P> {
    fn load(&self) -> Result<Values, StoreError> {
        Ok(self.kept.lock().unwrap_or_else(PoisonError::into_inner).values.clone())
    }

    fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let kept = &mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let change = records::encode(Kind::Change, batch);
        let mut values = kept.values.clone();
        records::apply(&change, &mut values)
            .ok_or_else(|| self.error("encode for", "a value is too long".to_owned()))?;
        let number = kept.last + 1;
        let snapshot = kept.last == 0 || number - kept.first >= RECORDS;
        let record = if snapshot {
            let all = values.iter().map(|(n, v)| (n.clone(), Some(v.clone()))).collect();
            records::encode(Kind::Snapshot, &all)
        } else {
            change
        };
        let first = if snapshot { number } else { kept.first };
        let pieces = record.len().div_ceil(PIECE);
        let seal = |name: &str, value: &[u8]| self.sealer.seal(name, value).map_err(|e| self.error("seal for", e));
        let mut last = Commit::default();
        for (i, piece) in record.chunks(PIECE).enumerate() {
            let mut value = (pieces as u32).to_be_bytes().to_vec();
            value.extend(seal(&piece_name(number, i, pieces), piece)?);
            let put = (record_key(number, i), value);
            if i + 1 == pieces {
                last.puts.push(put);
            } else {
                self.commit(kept, &Commit { puts: vec![put], delete: None })?;
            }
        }
        let manifest = [first.to_be_bytes(), number.to_be_bytes()].concat();
        last.puts.push(("manifest".to_owned(), seal("manifest", &manifest)?));
        // What the snapshot replaces goes with the same request.
        last.delete = snapshot.then(|| (record_key(0, 0), record_key(number, 0)));
        let revision = self.commit(kept, &last)?;
        *kept = Kept { values, first, last: number, revision };
        Ok(())
    }

    fn name(&self) -> String {
        self.place.name()
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn holds(&self) -> bool {
        self.place.holds()
    }
}

#[cfg(test)]
mod tests;
