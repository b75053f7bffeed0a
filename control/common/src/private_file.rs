//! Files that only their owner may read: made so from their first moment, durable, and refused when others may read
//! them.

use anyhow::{Context, anyhow, bail};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Octets that a private file may have.
const MAX_LEN: u64 = 1 << 16;
/// Octets of a secret made here.
pub const SECRET: usize = 32;

fn directory(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a file that was not there, readable by its owner alone from its first moment, and durable.
///
/// # Errors
/// It is there already, or cannot be written.
pub fn write_new(path: &Path, octets: &[u8]) -> anyhow::Result<()> {
    create(path, octets, 0o600, "choose another --out, or move it away first")
}

/// The same, readable by all.
///
/// # Errors
/// It is there already, or cannot be written.
pub fn write_new_public(path: &Path, octets: &[u8]) -> anyhow::Result<()> {
    create(path, octets, 0o644, "choose another --out, or move it away first")
}

fn create(path: &Path, octets: &[u8], mode: u32, remedy: &str) -> anyhow::Result<()> {
    let place = path.display();
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(mode).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{place} is already there and stays as it is; {remedy}")
        }
        Err(error) => return Err(error).with_context(|| format!("cannot create {place}")),
    };
    let written =
        file.write_all(octets).and_then(|()| file.sync_all()).and_then(|()| File::open(directory(path))?.sync_all());
    written.map_err(|error| {
        // Half a file is of no use, and the next try would find it in its way.
        let _ = std::fs::remove_file(path);
        anyhow!(error).context(format!("cannot write {place}"))
    })
}

/// Replaces a file as a whole: at every moment either the old one or the new one is there.
///
/// # Errors
/// The file system refuses.
pub fn replace(path: &Path, octets: &[u8], mode: u32) -> anyhow::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", temporary.display()));
        }
        _ => {}
    }
    create(&temporary, octets, mode, "remove it")?;
    std::fs::rename(&temporary, path)
        .and_then(|()| File::open(directory(path))?.sync_all())
        .with_context(|| format!("cannot replace {}", path.display()))
}

/// Reads a file that nobody but its owner may use.
///
/// # Errors
/// It is not there, no regular file, too large, not text, or others may use it; never shows what is in it.
pub fn read(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let place = path.display();
    // Not blocking: a FIFO in its place must not hang the program.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = file.with_context(|| format!("{place}: cannot be opened; make it, or correct its name"))?;
    // The open file, not the path: what is checked is what is read.
    let metadata = file.metadata().with_context(|| format!("{place}: cannot be looked at"))?;
    if !metadata.is_file() {
        bail!("{place}: not a regular file; name one");
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        bail!("{place}: has mode {mode:04o}: others than its owner may use it; chmod 600 {place}");
    }
    let mut text = Zeroizing::new(String::with_capacity(MAX_LEN as usize + 1));
    file.take(MAX_LEN + 1).read_to_string(&mut text).with_context(|| format!("{place}: cannot be read"))?;
    if text.len() as u64 > MAX_LEN {
        bail!("{place}: more than {MAX_LEN} octets; name the right file");
    }
    Ok(text)
}

/// Fresh random octets.
///
/// # Errors
/// The system gives none.
pub fn random() -> anyhow::Result<Zeroizing<[u8; SECRET]>> {
    let mut secret = Zeroizing::new([0; SECRET]);
    getrandom::fill(&mut *secret).map_err(|e| anyhow!("the system gives no random numbers: {e}"))?;
    Ok(secret)
}

/// Makes a file with a fresh secret: one line of hex digits.
///
/// # Errors
/// As [`write_new`], and [`random`].
pub fn write_new_secret(path: &Path) -> anyhow::Result<Zeroizing<[u8; SECRET]>> {
    let secret = random()?;
    let mut text = Zeroizing::new([b'\n'; 2 * SECRET + 1]);
    hex::encode_to_slice(*secret, &mut text[..2 * SECRET]).context("hex digits")?;
    write_new(path, &*text)?;
    Ok(secret)
}

/// Reads such a file; of exactly 32 octets.
///
/// # Errors
/// As [`read`], and what is not 64 hex digits.
pub fn read_secret(path: &Path) -> anyhow::Result<Zeroizing<[u8; SECRET]>> {
    let text = read(path)?;
    let mut secret = Zeroizing::new([0; SECRET]);
    hex::decode_to_slice(text.trim(), &mut *secret).map_err(|_| {
        anyhow!("{}: not {} hex digits; 'pdmv2 pki secret --out FILE' makes such a file", path.display(), 2 * SECRET)
    })?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn secrets_there_and_back_for_the_owner_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("secret");
        let made = write_new_secret(&path).expect("written");
        assert_eq!(std::fs::metadata(&path).expect("there").mode() & 0o7777, 0o600);
        assert_eq!(*read_secret(&path).expect("read"), *made);
        let error = write_new_secret(&path).expect_err("already there").to_string();
        assert!(error.contains("already there"), "{error}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("chmod");
        let error = read_secret(&path).expect_err("others may read it").to_string();
        assert!(error.contains("0640") && error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("secret");
        write_new(&path, b"deadbeefcafe").expect("written");
        let error = format!("{:#}", read_secret(&path).expect_err("too short"));
        assert!(error.contains("64 hex digits") && !error.contains("cafe"), "{error}");
        assert!(read_secret(dir.path()).is_err(), "a directory");
        assert!(read_secret(&dir.path().join("none")).is_err());
        replace(&path, &vec![b'0'; MAX_LEN as usize + 1], 0o600).expect("replaced");
        assert!(read(&path).is_err(), "too large");
        replace(&path, &[0xFF; 64], 0o600).expect("replaced");
        assert!(read(&path).is_err(), "not text");
    }
}
