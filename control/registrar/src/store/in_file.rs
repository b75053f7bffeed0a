//! The store as a file: a database (redb) of which one process at a time has the lock. After an error of the disk the
//! database refuses everything until it is opened anew; so it is, on the same open file, whose lock is never let go.

use super::{Batch, Sealer, Store, StoreError};
use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};
use rustix::fs::{Advice, fadvise};
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use zeroize::Zeroizing;

const VALUES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("values");
/// A value that tells whether the key is the store's.
const CHECK: &str = "check";
const CHECK_VALUE: &[u8] = b"pdmv2 registrar store 1";
/// Octets at the start of a database by which it is known; the last that are written when it is made.
const MAGIC: usize = 9;
/// Octets of the first page, which a database that was not finished may have.
const FIRST_PAGE: u64 = 4096;

/// The open file, as the database uses it.
#[derive(Clone, Debug)]
struct Disk {
    file: Arc<File>,
    #[cfg(test)]
    faults: Arc<tests::Faults>,
}

impl Disk {
    #[cfg(not(test))]
    fn new(file: File) -> Self {
        Self { file: Arc::new(file) }
    }

    #[cfg(not(test))]
    fn step(&self) -> io::Result<()> {
        Ok(())
    }

    /// After an error the kernel may take for written what never got to the disk, and show it. Without its copies it reads
    /// what is there.
    fn forget_copies(&self) {
        let _ = self.file.sync_data(); // what can be written is
        let _ = fadvise(&*self.file, 0, None, Advice::DontNeed); // a hint
    }

    /// Whether this is a database that was never finished, since the disk was full: nothing was kept in it.
    fn is_unfinished(&self) -> io::Result<bool> {
        let len = self.file.metadata()?.len();
        let mut first = [0; MAGIC];
        if len == 0 || self.file.read_at(&mut first, 0)? < MAGIC || first != [0; MAGIC] {
            return Ok(false);
        }
        let (mut at, mut octets) = (FIRST_PAGE, vec![0; 1 << 16]);
        loop {
            match self.file.read_at(&mut octets, at)? {
                0 => return Ok(true),
                n if octets[..n].iter().any(|&octet| octet != 0) => return Ok(false),
                n => at += n as u64,
            }
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.step()?;
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.step()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.step()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.step()?;
        self.file.write_all_at(data, offset)
    }
}

/// One file, opened by one process at a time; every value is sealed (XChaCha20-Poly1305) and bound to its name.
pub struct FileStore {
    path: PathBuf,
    disk: Disk,
    /// `None` after an error, until it is opened again.
    database: Mutex<Option<Database>>,
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
        let io = |error: io::Error| StoreError::Io { path: path.to_owned(), action: "open", error: error.to_string() };
        // Its owner's alone from the first moment.
        let mut options = std::fs::OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::Locked(path.to_owned())),
            // A file system without locks: who starts two on it has to know.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        Self::on(path, Disk::new(file), key)
    }

    fn on(path: &Path, disk: Disk, key: &[u8; 32]) -> Result<Self, StoreError> {
        let this = Self { path: path.to_owned(), disk, database: Mutex::default(), sealer: Sealer::new(key) };
        match this.load()?.get(CHECK) {
            Some(value) if value.as_slice() == CHECK_VALUE => {}
            Some(_) => return Err(this.error("read", &"it was written by another version of this program")),
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

    /// The database after an error, or at the start: what was committed is there, what was not is not.
    fn database(&self) -> Result<Database, StoreError> {
        let unfinished = self.disk.is_unfinished().map_err(|e| self.error("read", &e))?;
        if unfinished {
            self.disk.file.set_len(0).map_err(|e| self.error("open", &e))?;
        }
        redb::Builder::new().create_with_backend(self.disk.clone()).map_err(|e| self.error("open", &e))
    }

    /// Does something with the database; after an error it is opened again before the next.
    fn with<T>(&self, what: impl FnOnce(&Database) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut place = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let database = match place.take() {
            Some(database) => database,
            None => self.database()?,
        };
        let result = what(&database);
        if matches!(result, Err(StoreError::Io { .. })) {
            drop(database);
            self.disk.forget_copies();
        } else {
            *place = Some(database);
        }
        result
    }
}

impl Store for FileStore {
    fn load(&self) -> Result<BTreeMap<String, Zeroizing<Vec<u8>>>, StoreError> {
        self.with(|database| {
            let read = database.begin_read().map_err(|e| self.error("read", &e))?;
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
        })
    }

    fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.with(|database| {
            let write = database.begin_write().map_err(|e| self.error("write", &e))?;
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
        })
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Steps of the disk (reads, writes, lengths, syncs) until it refuses every one.
    #[derive(Debug)]
    pub struct Faults(AtomicU64);

    impl Disk {
        pub fn new(file: File) -> Self {
            Self { file: Arc::new(file), faults: Arc::new(Faults(AtomicU64::new(u64::MAX))) }
        }

        pub fn step(&self) -> io::Result<()> {
            let left = |left: u64| (left < u64::MAX).then(|| left.saturating_sub(1));
            match self.faults.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left) {
                Ok(0) => Err(io::ErrorKind::StorageFull.into()),
                _ => Ok(()),
            }
        }

        fn fail_after(&self, steps: u64) {
            self.faults.0.store(steps, Ordering::Relaxed);
        }
    }

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

    fn shown(store: &FileStore) -> Vec<(String, Vec<u8>)> {
        let values = store.load().expect("read");
        values.iter().filter(|(n, _)| *n != CHECK).map(|(n, v)| (n.clone(), v.to_vec())).collect()
    }

    /// The disk refuses from any step of a write on, and is mended later: the write that failed is there as a whole, or not
    /// at all; the next one is taken; nothing that was kept before is lost. All without the lock being let go.
    #[test]
    fn a_disk_that_refuses_from_any_step_on_and_is_mended() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("store");
        let store = FileStore::open(&path, &[1; 32]).expect("opened");
        store.write(&vec![put("kept", b"before"), put("a", b"0"), put("b", b"0")]).expect("written");
        let (mut failed, mut number) = (0, 0_u32);
        for steps in 0.. {
            let before = shown(&store);
            number += 1;
            let text = number.to_string();
            // It grows, so that the file has to.
            let large = vec![7; 200_000];
            let batch =
                vec![put("a", text.as_bytes()), put(&format!("large/{number}"), &large), put("b", text.as_bytes())];
            store.disk.fail_after(steps);
            let first = store.write(&batch);
            // Refused again, each time with a reason that is the disk's, until it is mended.
            if let Err(error) = &first {
                failed += 1;
                let again = store.write(&batch).expect_err("still refused").to_string();
                for text in [error.to_string(), again] {
                    assert!(!text.contains("Previous"), "{text}");
                }
                assert!(matches!(FileStore::open(&path, &[1; 32]), Err(StoreError::Locked(_))), "the lock is held");
            }
            store.disk.fail_after(u64::MAX);
            if first.is_err() {
                let now = shown(&store);
                let value = |name: &str| now.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
                let all = value("a") == Some(text.clone().into()) && value("b") == value("a");
                assert!(all || now == before, "half of a batch, after step {steps}");
                store.write(&batch).expect("written at last");
            }
            let now = shown(&store);
            let value = |name: &str| now.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
            assert_eq!((value("a"), value("b")), (Some(text.clone().into()), Some(text.into())));
            assert_eq!(value("kept").as_deref(), Some(&b"before"[..]));
            if first.is_ok() {
                break;
            }
        }
        assert!(failed > 5, "{failed} steps");
        let values = shown(&store);
        drop(store);
        assert_eq!(shown(&FileStore::open(&path, &[1; 32]).expect("opened")), values, "the same to the next process");
    }

    /// The disk is full while the file is made: the next start makes it.
    #[test]
    fn a_file_that_could_not_be_made_is_made_the_next_time() {
        let dir = tempfile::tempdir().expect("a directory");
        let open = |path: &Path| File::options().read(true).write(true).create(true).truncate(false).open(path);
        for steps in 0.. {
            let path = dir.path().join(steps.to_string());
            let disk = Disk::new(open(&path).expect("a file"));
            disk.fail_after(steps);
            let made = FileStore::on(&path, disk, &[1; 32]).is_ok();
            let store = FileStore::open(&path, &[1; 32]).unwrap_or_else(|e| panic!("after step {steps}: {e}"));
            store.write(&vec![put("a", b"1")]).expect("written");
            if made {
                assert!(steps > 5, "{steps} steps");
                break;
            }
        }
    }
}
