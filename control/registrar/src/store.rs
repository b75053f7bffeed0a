//! What a registrar keeps across a restart: small values by name, written in batches that are durable and atomic, and
//! encrypted. Behind a small trait: a file, or etcd.

pub mod in_etcd;
mod in_file;
mod records;
mod sealer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use zeroize::Zeroizing;

pub use in_file::FileStore;
pub use sealer::Sealer;

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it.
    #[error("{0}: another registrar runs on this store; stop it, or give this one its own [registrar] state")]
    Locked(PathBuf),
    /// The file or its file system.
    #[error("{path}: cannot {action}: {error}; nothing is handed out until this is mended")]
    Io {
        /// The store.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the database or the kernel says.
        error: String,
    },
    /// The key is another, or a value was changed.
    #[error(
        "{path}: '{name}' does not open under the state key: bring back the [registrar] state_key that it was \
        written with, or move the store away: boxes then get a new generation"
    )]
    Key {
        /// The store.
        path: PathBuf,
        /// Which value.
        name: String,
    },
    /// What is in etcd is not what a leader of this side has written.
    #[error(
        "{place}: '{name}' {why}: give all registrars of this side the [registrar] state_key that it was written with, \
        or let the store begin anew: 'etcdctl del --prefix' with that prefix; boxes then get a new generation"
    )]
    Unreadable {
        /// The store.
        place: String,
        /// Which key, below the prefix.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Another registrar of this side leads now, or may.
    #[error("this registrar no longer leads its side")]
    Deposed,
}

/// Values by name; `None` removes.
pub type Batch = Vec<(String, Option<Zeroizing<Vec<u8>>>)>;

/// A place that keeps values.
pub trait Store: Send + Sync {
    /// All values.
    ///
    /// # Errors
    /// [`StoreError`].
    fn load(&self) -> Result<BTreeMap<String, Zeroizing<Vec<u8>>>, StoreError>;

    /// Writes all of them or none; when this returns they are durable. It may take as long as a disk or etcd takes: nobody
    /// calls it with a lock in his hand.
    ///
    /// # Errors
    /// [`StoreError`]; then none is written, or all and nobody knows: it is to be tried again with these and maybe more.
    fn write(&self, batch: &Batch) -> Result<(), StoreError>;

    /// Where it is, for messages.
    fn name(&self) -> String;

    /// What keeps a write that is under way from being done, when the store tries again by itself.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// Whether this process is still the one that may act on the values.
    fn holds(&self) -> bool {
        true
    }
}
