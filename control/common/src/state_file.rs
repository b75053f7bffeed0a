//! Which generations were used: what keeps two processes of one node from ever sealing under the same secret (profile
//! sections 6 and 9), also after kill -9, a power cut or a full disk.
//!
//! Two files stand in the state directory for every (key file secret, node id):
//!
//! * `pdmv2-<tag>.lock`: locked (`flock`) while a process runs; never replaced or deleted, so that the lock holds. It
//!   is empty until the first generation has been taken, and says so afterwards: then a missing state file means that
//!   it was lost, and nothing starts again at 1.
//! * `pdmv2-<tag>.state`: the numbers, as text with a checksum; replaced as a whole by rename.
//!
//! `<tag>` comes from the key file's secret and the node's id (its side, where the scope's secret has no id in it), not
//! from file or node names: a renamed key file goes on
//! with its numbers, and a key file that is swapped for another and back finds its own again.
//!
//! The state file names the machine that wrote it: a disk that was copied to another does not go on with its numbers. What
//! is on the disk and what this process knows are put together before each write, so that neither sets the other back.
//!
//! What cannot be noticed: both files deleted, or a key file copied to another machine without them, or a machine whose
//! memory and disk were set back together. Then the remedy is a new key file on all boxes.

mod record;

use crate::key_file::{KeyFile, Node, Scope};
use crate::machine::Machine;
use record::{Record, emit, read};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use thiserror::Error;

/// Octets a state file may have: room for some ten thousand peers.
const MAX_LEN: u64 = 1 << 20;
/// How long a lock of another process is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
const STARTED: &[u8] = b"a generation has been taken; keep this file\n";
const NEW_KEYS: &str = "make a new key file with 'pdmv2 keygen' and give it to all boxes";

/// Why no generation can be had. Nothing may be sealed then.
#[derive(Debug, Error)]
pub enum StateError {
    /// Another process of this node runs.
    #[error("{0}: locked: another process runs as this node; stop it ('fuser {0}' names it)")]
    Locked(PathBuf),
    /// The file system refuses. What becomes of the keys then, the log line around it says: it differs.
    #[error("{path}: cannot {action}: {error}; make room on its file system, or correct the rights of its directory")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the kernel says.
        error: io::Error,
    },
    /// The state file is gone though there was one.
    #[error("{0}: missing, but generations have been used; bring it back, or {NEW_KEYS}")]
    Lost(PathBuf),
    /// The state file is not as it was written.
    #[error("{path}: {reason}; bring back the file as this node last wrote it (not an older copy), or {NEW_KEYS}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// The state file comes from another machine.
    #[error(
        "{path}: written on another machine: {part} is another; if that one never runs as this node again (a new mainboard, a \
         disk that was moved), say so with 'pdmv2 state adopt'; if this is a copy, {NEW_KEYS}"
    )]
    Elsewhere {
        /// Which file.
        path: PathBuf,
        /// What is another there.
        part: &'static str,
    },
    /// All 2^32 - 1 generations are used.
    #[error("{0}: every generation of this key file has been used; {NEW_KEYS}")]
    Exhausted(PathBuf),
}

/// The state of one node, locked for this process while it lives.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    dir: PathBuf,
    tag: String,
    node: String,
    lock: File,
    started: bool,
    record: Record,
    /// Where the file that was found had been written.
    found: Machine,
}

impl StateFile {
    /// Locks and reads the state of `node` under this key file; creates the lock file when there is none.
    ///
    /// # Errors
    /// [`StateError`]: locked by another process, lost, damaged, or the file system refuses.
    pub fn open(dir: &Path, keys: &KeyFile, node: &Node) -> Result<Self, StateError> {
        Self::open_on(&Machine::here(), dir, keys, node)
    }

    /// The same, on that machine.
    ///
    /// # Errors
    /// As [`StateFile::open`]; [`StateError::Elsewhere`].
    pub fn open_on(machine: &Machine, dir: &Path, keys: &KeyFile, node: &Node) -> Result<Self, StateError> {
        let this = Self::open_anywhere(machine, dir, keys, node)?;
        match machine.differs(&this.found) {
            Some(part) => Err(StateError::Elsewhere { path: this.path, part }),
            None => Ok(this),
        }
    }

    /// Makes the state this machine's, wherever it was written: whoever calls this knows that no other machine runs as this
    /// node any more. `Ok(None)`: nothing has been recorded yet.
    ///
    /// # Errors
    /// As [`StateFile::open`].
    pub fn adopt(machine: &Machine, dir: &Path, keys: &KeyFile, node: &Node) -> Result<Option<Self>, StateError> {
        let mut this = Self::open_anywhere(machine, dir, keys, node)?;
        if !this.path.exists() {
            return Ok(None);
        }
        this.record.machine = *machine;
        this.write(&this.record)?;
        this.found = *machine;
        Ok(Some(this))
    }

    fn open_anywhere(machine: &Machine, dir: &Path, keys: &KeyFile, node: &Node) -> Result<Self, StateError> {
        let tag = tag(keys, node);
        let lock_path = dir.join(format!("pdmv2-{tag}.lock"));
        let path = state_path(dir, &tag);
        let io = |action| {
            let path = lock_path.clone();
            move |error| StateError::Io { path, action, error }
        };
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(io("open"))?;
        take_lock(&lock).map_err(|error| match error {
            Errno::WOULDBLOCK => StateError::Locked(lock_path.clone()),
            error => StateError::Io { path: lock_path.clone(), action: "lock", error: error.into() },
        })?;
        let mut mark = Vec::new();
        Read::by_ref(&mut lock).take(MAX_LEN).read_to_end(&mut mark).map_err(io("read"))?;
        let started = !mark.is_empty();
        let mut record = match read(&path, &tag)? {
            Some(record) => record,
            None if started => return Err(StateError::Lost(path)),
            None => Record::default(),
        };
        let found = record.machine;
        record.machine = machine.or(found);
        Ok(Self { path, dir: dir.to_owned(), tag, node: node.name.clone(), lock, started, record, found })
    }

    /// What this process knows, with what is on the disk where that is later: the memory of this machine may have been set
    /// back, or the disk.
    fn present(&self) -> Result<Record, StateError> {
        let known = &self.record;
        let back = |what: &str| {
            let (path, generation) = (self.path.display(), known.generation);
            tracing::error!(%path, generation, "the state file {what}; it is put right; do not touch it, or bring back copies");
        };
        match read(&self.path, &self.tag) {
            Ok(Some(disk)) => {
                if let Some(part) = known.machine.differs(&disk.machine) {
                    return Err(StateError::Elsewhere { path: self.path.clone(), part });
                }
                if disk.generation < known.generation {
                    back("was set back while this process uses it");
                } else if disk.generation > known.generation {
                    tracing::error!(
                        path = %self.path.display(),
                        disk = disk.generation,
                        memory = known.generation,
                        "the state file is ahead of this process, which was set back; it goes on from there"
                    );
                }
                Ok(known.merged(&disk))
            }
            Ok(None) if known.generation > 0 => {
                back("is gone while this process uses it");
                Ok(known.clone())
            }
            Err(StateError::Damaged { reason, .. }) => {
                back(reason);
                Ok(known.clone())
            }
            Ok(None) => Ok(known.clone()),
            Err(error) => Err(error),
        }
    }

    /// The next generation, 1 first. When this returns, the number is on the disk, and no process ever gets it again.
    ///
    /// # Errors
    /// [`StateError::Io`] when it cannot be made durable (a full disk, say), [`StateError::Exhausted`]. The caller does
    /// not seal then; trying again later is harmless and skips no number.
    pub fn take_generation(&mut self) -> Result<u32, StateError> {
        let mut record = self.present()?;
        let generation = record.generation.checked_add(1).ok_or_else(|| StateError::Exhausted(self.path.clone()))?;
        record.generation = generation;
        self.write(&record)?;
        if !self.started {
            // Only now: before the state file stood on the disk this mark would have turned a crash into a loss.
            let marked = (&self.lock).write_all(STARTED).and_then(|()| self.lock.sync_all());
            marked.map_err(|error| self.io("mark the lock beside it", error))?;
            self.started = true;
        }
        self.record = record;
        Ok(generation)
    }

    /// The generation last taken; 0 when none was.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.record.generation
    }

    /// The generation under which a packet of this peer was last opened, as far as recorded.
    #[must_use]
    pub fn opened(&self, peer: &[u8; 16]) -> Option<u32> {
        self.record.opened.get(peer).copied()
    }

    /// Records generations opened, by peer's node id. Numbers only rise; when none does nothing is written. To be
    /// called now and then: what is lost in a crash costs some trial openings, no more.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn record_opened(&mut self, opened: &[([u8; 16], u32)]) -> Result<(), StateError> {
        let mut next = self.record.clone();
        for &(peer, generation) in opened {
            let known = next.opened.entry(peer).or_default();
            *known = generation.max(*known);
        }
        if next != self.record {
            let next = next.merged(&self.present()?);
            self.write(&next)?;
            self.record = next;
        }
        Ok(())
    }

    /// Where the numbers stand.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn io(&self, action: &'static str, error: io::Error) -> StateError {
        StateError::Io { path: self.path.clone(), action, error }
    }

    /// Beside, durable, renamed, durable: at every moment either the old file or the new one is there as a whole.
    fn write(&self, record: &Record) -> Result<(), StateError> {
        let temporary = self.path.with_extension("state.tmp");
        let result = self.write_temporary(&temporary, record);
        if result.is_err() {
            // On a full disk its room may be what the next try needs.
            let _ = std::fs::remove_file(&temporary);
        }
        result?;
        std::fs::rename(&temporary, &self.path).map_err(|e| self.io("replace", e))?;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(|e| self.io("make its directory durable", e))
    }

    fn write_temporary(&self, temporary: &Path, record: &Record) -> Result<(), StateError> {
        match std::fs::remove_file(temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(self.io("remove the .tmp of", error)),
            _ => {}
        }
        // A new file: never written through a link that somebody put there.
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(temporary)
            .map_err(|e| self.io("create the .tmp of", e))?;
        file.write_all(emit(record, &self.tag, &self.node).as_bytes()).map_err(|e| self.io("write", e))?;
        file.sync_all().map_err(|e| self.io("make durable", e))
    }
}

/// Locks, patiently: a process that was killed keeps its lock until the kernel has taken its memory apart.
fn take_lock(lock: &File) -> Result<(), Errno> {
    let start = Instant::now();
    loop {
        match flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) if start.elapsed() < PATIENCE => std::thread::sleep(PATIENCE / 50),
            done => return done,
        }
    }
}

/// The newest generation of each node that the state files in `dir` know of, without locking them: for reading captures
/// on a box. Damaged and missing files count as not there.
#[must_use]
pub fn known_generations(dir: &Path, keys: &KeyFile) -> BTreeMap<[u8; 16], u32> {
    let mut known = BTreeMap::new();
    for node in &keys.nodes {
        let tag = tag(keys, node);
        let Ok(Some(record)) = read(&state_path(dir, &tag), &tag) else { continue };
        for (id, generation) in record.opened.into_iter().chain([(node.id, record.generation)]) {
            let newest: &mut u32 = known.entry(id).or_default();
            *newest = generation.max(*newest);
        }
    }
    known
}

fn tag(keys: &KeyFile, node: &Node) -> String {
    let mut hash = Sha256::new();
    hash.update(b"pdmv2 state of");
    hash.update(keys.fingerprint());
    match keys.scope {
        Scope::Node => hash.update(node.id),
        // The secret is the same whatever the id; what keeps two boxes apart is that there is one on each side.
        Scope::Client | Scope::Shared => hash.update(node.side.name()),
    }
    hex::encode(hash.finalize()).chars().take(32).collect()
}

fn state_path(dir: &Path, tag: &str) -> PathBuf {
    dir.join(format!("pdmv2-{tag}.state"))
}
