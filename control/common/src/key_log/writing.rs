//! A key log that a box writes, on its control thread.

use super::{KeyLogError, MAX_LINE, Name, check, fingerprint, line, nonblocking};
use protocol::generation_keys::GenerationKeys;
use protocol::key_schedule::{ScopeId, Secret};
use protocol::suite::Scope;
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use zeroize::{Zeroize, Zeroizing};

/// Octets that are written at once: a box of a thousand peers gets their secrets all together.
const BATCH: usize = 1 << 14;

/// Names of written lines that are kept. Beyond that some are written again, which does no harm.
const MAX_WRITTEN: usize = 1 << 16;

/// A key log that grows.
pub struct Writer {
    path: PathBuf,
    file: File,
    /// What this process has written, without the secrets.
    written: HashSet<[u8; 16]>,
    /// Lines to be written; it never grows beyond what it was made with, which would leave copies behind.
    pending: Zeroizing<String>,
    /// The last line may be a half one: the disk was full.
    broken: bool,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Writer({}, redacted)", self.path.display())
    }
}

impl Writer {
    /// Makes the file, readable by its owner alone from its first moment; or goes on with one that is.
    ///
    /// # Errors
    /// [`KeyLogError`]: it cannot be written, others may use it, or it is no regular file.
    pub fn open(path: &Path) -> Result<Self, KeyLogError> {
        let mut options = OpenOptions::new();
        options.append(true).mode(0o600);
        let file = match options.clone().create_new(true).open(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                // Not through a link: it might lead to where others put it.
                let flags = nonblocking() | rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
                options.custom_flags(flags).open(path)
            }
            opened => opened,
        };
        let file = file.map_err(|e| KeyLogError::Io(path.to_owned(), "written", e))?;
        check(&file, path)?;
        let pending = Zeroizing::new(String::with_capacity(BATCH));
        Ok(Self { path: path.to_owned(), file, written: HashSet::new(), pending, broken: false })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes a generation's secrets, as far as they were not taken before. `id` is that of the box that seals. Secrets that
    /// are not at hand but derived for each client are not taken.
    ///
    /// # Errors
    /// The file cannot be written. All may be tried again.
    pub fn take(&mut self, generation: u32, scope: Scope, id: [u8; 16], keys: &GenerationKeys) -> io::Result<()> {
        let name = |scope| Name { generation, scope };
        match (keys, scope) {
            (GenerationKeys::Ready(secret), Scope::Shared) => self.one(name(ScopeId::Shared), secret),
            (GenerationKeys::Ready(secret), _) => self.one(name(ScopeId::Node(id)), secret),
            (GenerationKeys::Clients { secrets, .. }, _) => {
                secrets.iter().try_for_each(|(&client, secret)| self.one(name(ScopeId::Client(client)), secret))
            }
            (GenerationKeys::PerClient { .. }, _) => Ok(()),
        }
    }

    /// Writes what was taken.
    ///
    /// # Errors
    /// The file cannot be written. What was taken has to be taken again.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        // A half line that a full disk has left ends here.
        let newline: &[u8] = if self.broken { b"\n" } else { b"" };
        let written = self.file.write_all(newline).and_then(|()| self.file.write_all(self.pending.as_bytes()));
        self.pending.zeroize();
        self.broken = written.is_err();
        if self.broken {
            // Equal lines do no harm, missing ones do.
            self.written.clear();
        }
        written
    }

    #[cfg(test)]
    pub(super) fn file_for_tests(&mut self, file: File) {
        self.file = file;
    }

    fn one(&mut self, name: Name, secret: &Secret) -> io::Result<()> {
        let mark = mark(name, secret);
        if self.written.contains(&mark) {
            return Ok(());
        }
        if self.pending.len() + MAX_LINE > BATCH {
            self.flush()?;
        }
        self.pending.push_str(&line(name, secret));
        if self.written.len() >= MAX_WRITTEN {
            self.written.clear();
        }
        self.written.insert(mark);
        Ok(())
    }
}

/// A line's name, which does not reveal the secret.
fn mark(name: Name, secret: &Secret) -> [u8; 16] {
    let (kind, id) = match name.scope {
        ScopeId::Shared => (0, [0; 16]),
        ScopeId::Client(id) => (1, id),
        ScopeId::Node(id) => (2, id),
    };
    let mut hash = Sha256::new();
    hash.update(name.generation.to_be_bytes());
    hash.update([kind]);
    hash.update(id);
    hash.update(fingerprint(secret));
    let digest = hash.finalize();
    let mut mark = [0; 16];
    mark.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    mark
}
