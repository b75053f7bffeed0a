//! What a registrar keeps across a restart: small values by name, written in batches that are durable and atomic, and
//! encrypted. Behind a small trait: a file, or etcd.

pub mod etcd;
mod records;
mod sealer;

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use std::collections::BTreeMap;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

pub use sealer::Sealer;

const VALUES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("values");
/// A value that tells whether the key is the store's.
const CHECK: &str = "check";
const CHECK_VALUE: &[u8] = b"pdmv2 registrar store 1";

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

    /// Writes all of them or none; when this returns they are durable.
    ///
    /// # Errors
    /// [`StoreError`]; then none is written, and it may be tried again.
    fn write(&self, batch: &Batch) -> Result<(), StoreError>;

    /// Whether this process is still the one that may act on the values.
    fn holds(&self) -> bool {
        true
    }
}

/// One file, opened by one process at a time; every value is sealed (XChaCha20-Poly1305) and bound to its name.
pub struct FileStore {
    path: PathBuf,
    database: Database,
    sealer: Sealer,
}

impl std::fmt::Debug for FileStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FileStore({}, redacted)", self.path.display())
    }
}

impl FileStore {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// [`StoreError`]: another process has it, another key, the file system.
    pub fn open(path: &Path, key: &[u8; 32]) -> Result<Self, StoreError> {
        let io = |action| move |error: String| StoreError::Io { path: path.to_owned(), action, error };
        // Its owner's alone from the first moment; the database would make it by the umask.
        std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|e| io("open")(e.to_string()))?;
        let database = Database::create(path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::Locked(path.to_owned()),
            error => io("open")(error.to_string()),
        })?;
        let this = Self { path: path.to_owned(), database, sealer: Sealer::new(key) };
        match this.load()?.get(CHECK) {
            Some(value) if value.as_slice() == CHECK_VALUE => {}
            Some(_) => return Err(io("read")("it was written by another version of this program".to_owned())),
            None => this.write(&vec![(CHECK.to_owned(), Some(CHECK_VALUE.to_vec().into()))])?,
        }
        Ok(this)
    }

    fn error(&self, action: &'static str, error: &dyn std::fmt::Display) -> StoreError {
        StoreError::Io { path: self.path.clone(), action, error: error.to_string() }
    }

    fn seal(&self, name: &str, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.sealer.seal(name, value).map_err(|e| self.error("seal a value for", &e))
    }

    fn open_value(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let wrong = || StoreError::Key { path: self.path.clone(), name: name.to_owned() };
        self.sealer.open(name, sealed).ok_or_else(wrong)
    }
}

impl Store for FileStore {
    fn load(&self) -> Result<BTreeMap<String, Zeroizing<Vec<u8>>>, StoreError> {
        let read = self.database.begin_read().map_err(|e| self.error("read", &e))?;
        let table = match read.open_table(VALUES) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(BTreeMap::new()),
            Err(error) => return Err(self.error("read", &error)),
        };
        let mut values = BTreeMap::new();
        for entry in table.iter().map_err(|e| self.error("read", &e))? {
            let (name, value) = entry.map_err(|e| self.error("read", &e))?;
            values.insert(name.value().to_owned(), self.open_value(name.value(), value.value())?);
        }
        Ok(values)
    }

    fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let write = self.database.begin_write().map_err(|e| self.error("write", &e))?;
        {
            let mut table = write.open_table(VALUES).map_err(|e| self.error("write", &e))?;
            for (name, value) in batch {
                match value {
                    Some(value) => {
                        let sealed = self.seal(name, value)?;
                        table.insert(name.as_str(), sealed.as_slice()).map_err(|e| self.error("write", &e))?;
                    }
                    None => {
                        table.remove(name.as_str()).map_err(|e| self.error("write", &e))?;
                    }
                }
            }
        }
        write.commit().map_err(|e| self.error("write", &e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn put(name: &str, value: &[u8]) -> (String, Option<Zeroizing<Vec<u8>>>) {
        (name.to_owned(), Some(value.to_vec().into()))
    }

    #[test]
    fn values_outlive_the_process_and_are_sealed() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("store");
        let secret = b"a secret of the generation".as_slice();
        {
            let store = FileStore::open(&path, &[1; 32]).expect("opened");
            store.write(&vec![put("a", secret), put("b", b"2"), put("c", b"3")]).expect("written");
            store.write(&vec![("b".to_owned(), None), put("c", b"4")]).expect("written");
            assert!(matches!(FileStore::open(&path, &[1; 32]), Err(StoreError::Locked(_))));
        }
        assert_eq!(std::fs::metadata(&path).expect("there").mode() & 0o7777, 0o600);
        let octets = std::fs::read(&path).expect("read");
        assert!(!octets.windows(8).any(|w| secret.windows(8).any(|s| s == w)), "in clear on the disk");
        let values = FileStore::open(&path, &[1; 32]).expect("opened").load().expect("read");
        let shown: Vec<_> =
            values.iter().filter(|(n, _)| *n != CHECK).map(|(n, v)| (n.as_str(), v.as_slice())).collect();
        assert_eq!(shown, [("a", secret), ("c", b"4")]);
        let error = FileStore::open(&path, &[2; 32]).expect_err("another key").to_string();
        assert!(error.contains("state_key"), "{error}");
    }

    #[test]
    fn a_value_is_bound_to_its_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = FileStore::open(&dir.path().join("store"), &[1; 32]).expect("opened");
        let sealed = store.seal("a", b"value").expect("sealed");
        assert_eq!(store.open_value("a", &sealed).expect("opened").as_slice(), b"value");
        assert!(store.open_value("b", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(store.open_value("a", &changed).is_err());
            assert!(store.open_value("a", &sealed[..at]).is_err());
        }
    }

    #[test]
    fn a_file_that_is_no_store_is_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("store");
        std::fs::write(&path, "something else, long enough to be looked at").expect("written");
        let error = FileStore::open(&path, &[1; 32]).expect_err("no store").to_string();
        assert!(error.contains("cannot open"), "{error}");
        assert!(std::fs::read_to_string(&path).expect("there").starts_with("something else"));
    }
}
