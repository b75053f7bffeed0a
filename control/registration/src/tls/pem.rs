//! Certificates in files.

use anyhow::{Context, ensure};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::Path;

/// Octets that a file of certificates or revocations may have.
const MAX_FILE: u64 = 16 << 20;

pub(super) fn small(path: &Path) -> anyhow::Result<()> {
    let len = std::fs::metadata(path).with_context(|| format!("{}: cannot be read", path.display()))?.len();
    ensure!(len <= MAX_FILE, "{}: more than {MAX_FILE} octets; name the right file", path.display());
    Ok(())
}

pub(super) fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    small(path)?;
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let list = read.with_context(|| format!("{}: not PEM", path.display()))?;
    ensure!(!list.is_empty(), "{}: no certificate in it", path.display());
    Ok(list)
}
