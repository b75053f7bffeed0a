//! Which files there are, and whether one of them has changed.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// An authority whose certificates are taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthorityFiles {
    /// Its certificate, or several.
    pub ca: PathBuf,
    /// Its revocation list.
    pub crl: Option<PathBuf>,
}

/// What a revocation list that is past its nextUpdate means for new connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CrlExpired {
    /// It goes on to say who was revoked, and that it is late is said.
    #[default]
    Warn,
    /// Nobody whom its authority names is taken until there is a newer one.
    Refuse,
}

impl CrlExpired {
    /// Its name in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Refuse => "refuse",
        }
    }
}

/// The files of one program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// This program's certificate, and those between it and the authority.
    pub certificate: PathBuf,
    /// Its private key, mode 0600.
    pub key: PathBuf,
    /// The authority of its own side: of the boxes and of their registrars.
    pub own: AuthorityFiles,
    /// Those of the other primaries, by the primaries' names.
    pub peers: Vec<(String, AuthorityFiles)>,
    /// What a list that is late means.
    pub crl_expired: CrlExpired,
}

/// What tells whether a file has changed: its inode, its length, and when its content and its mode were last changed
/// (seconds and nanoseconds each). `chmod` changes the last alone.
pub(super) type Stamp = (u64, u64, (i64, i64), (i64, i64));

impl TlsFiles {
    fn all(&self) -> impl Iterator<Item = &Path> {
        let authorities = std::iter::once(&self.own).chain(self.peers.iter().map(|(_, a)| a));
        let theirs = authorities.flat_map(|a| std::iter::once(a.ca.as_path()).chain(a.crl.as_deref()));
        [self.certificate.as_path(), self.key.as_path()].into_iter().chain(theirs)
    }

    /// One for each file; of one that is not there, or cannot be looked at, nothing but zeros.
    pub(super) fn stamps(&self) -> Vec<Stamp> {
        let stamp = |path: &Path| {
            let m = std::fs::metadata(path).ok();
            m.map_or(Stamp::default(), |m| (m.ino(), m.len(), (m.mtime(), m.mtime_nsec()), (m.ctime(), m.ctime_nsec())))
        };
        self.all().map(stamp).collect()
    }
}
