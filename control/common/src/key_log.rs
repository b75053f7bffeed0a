//! The key log (profile 2, section 9): secrets for those who read captures, one a line. A box writes what it seals and opens
//! with, when it is told to; `pdmv2 decode` and Wireshark read it.
//!
//! Who has a line can open what was sealed under it, and seal: it is as secret as the keys themselves.

mod writing;

pub use writing::Writer;

use protocol::key_schedule::{MAX_NH, ScopeId, Secret};
use protocol::suite::Suite;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

/// What a secret's line begins with. Lines that begin otherwise are for others.
const WORD: &str = "PDMV2";
/// Octets of a line at most; the longest secret's has fewer than 250.
const MAX_LINE: usize = 512;
/// Different secrets that are read from one file. A box of a thousand peers that change every ten minutes writes as many in a
/// week.
const MAX_SECRETS: usize = 1 << 20;
/// Names that a secret may go by.
const MAX_NAMES: usize = 16;

/// Why a key log cannot be used.
#[derive(Debug, Error)]
pub enum KeyLogError {
    /// The file system refuses.
    #[error("{0}: the key log cannot be {1}: {2}; correct its name, or the directory's rights")]
    Io(PathBuf, &'static str, io::Error),
    /// Others may use it.
    #[error("{0}: has mode {1:04o}: others than its owner may use it; chmod 600 {0}")]
    Mode(PathBuf, u32),
    /// Not a file that may hold secrets.
    #[error("{0}: {1}")]
    File(PathBuf, &'static str),
    /// There is nothing to open with in it.
    #[error("{0}: no secret in it; {1}")]
    Empty(PathBuf, String),
}

/// What a secret is called by those who share it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Name {
    /// The generation, as both sides know it.
    pub generation: u32,
    /// For whom it is.
    pub scope: ScopeId,
}

/// A line's text, the line's end included.
fn line(name: Name, secret: &Secret) -> Zeroizing<String> {
    // Room for all of it from the start: a string that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_LINE));
    let [kem, kdf, aead] = secret.suite().ids();
    let digits = Zeroizing::new(hex::encode(secret.as_bytes()));
    let (scope, id) = match name.scope {
        ScopeId::Node(id) => ("node", hex::encode(id)),
        ScopeId::Client(address) => ("client", hex::encode(address)),
        ScopeId::Shared => ("shared", "-".to_owned()),
    };
    // A String takes everything.
    let _ = writeln!(text, "{WORD} {} {scope} {id} {kem:04x}-{kdf:04x}-{aead:04x} {}", name.generation, &*digits);
    text
}

/// Reads a line without its end. `Ok(None)`: it is for somebody else. An error never shows the secret.
fn parse(text: &str) -> Result<Option<(Name, Secret)>, &'static str> {
    let mut fields = text.split(' ');
    if fields.next() != Some(WORD) {
        return Ok(None);
    }
    let mut field =
        || fields.next().filter(|f| !f.is_empty()).ok_or("six fields, separated by one space, were expected");
    let (generation, scope, id, suite, digits) = (field()?, field()?, field()?, field()?, field()?);
    if fields.next().is_some() {
        return Err("more than six fields");
    }
    let generation = Some(generation).filter(|g| g.bytes().all(|o| o.is_ascii_digit()));
    let generation = generation.and_then(|g| g.parse().ok()).ok_or("a generation is a number below 2^32")?;
    let octets = || -> Result<[u8; 16], _> {
        let mut octets = [0; 16];
        hex::decode_to_slice(id, &mut octets).map(|()| octets).map_err(|_| "an id has 32 hex digits")
    };
    let scope = match scope {
        "node" => ScopeId::Node(octets()?),
        "client" => ScopeId::Client(octets()?),
        "shared" if id == "-" => ScopeId::Shared,
        "shared" => return Err("scope shared has '-' for an id"),
        _ => return Err("a scope is node, client or shared"),
    };
    let mut ids = suite.split('-').map(|n| u16::from_str_radix(n, 16).ok().filter(|_| n.len() == 4));
    let mut id = || ids.next().flatten().ok_or("a suite is three numbers of four hex digits");
    let suite = Suite::from_ids([id()?, id()?, id()?]).filter(|_| ids.next().is_none());
    let suite = suite.ok_or("a suite that is not known here")?;
    let mut secret = Zeroizing::new([0; MAX_NH]);
    let wrong = "a secret has as many octets as its KDF's hash";
    let into = secret.get_mut(..suite.kdf.nh()).ok_or(wrong)?;
    hex::decode_to_slice(digits, into).map_err(|_| wrong)?;
    let secret = Secret::from_octets(suite, into).map_err(|_| wrong)?;
    Ok(Some((Name { generation, scope }, secret)))
}

/// Names a secret without revealing it.
fn fingerprint(secret: &Secret) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(b"pdmv2 key log");
    hash.update(secret.suite().id());
    hash.update(secret.as_bytes());
    let digest = hash.finalize();
    let mut name = [0; 16];
    name.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    name
}

/// A secret, and what it is called: equal ones are observations of the same, under whatever names.
#[derive(Clone, Debug)]
pub struct Known {
    /// The secret.
    pub secret: Secret,
    /// Its names, in the order of the file; more than one: which it was cannot be told from a packet.
    pub names: Vec<Name>,
}

/// A key log that was read.
#[derive(Clone, Debug, Default)]
pub struct KeyLog {
    /// The secrets, each once, in the order of the file.
    pub known: Vec<Known>,
    /// Lines that begin as a secret's does and are none.
    pub bad_lines: u64,
    /// The first of them, and what is wrong with it.
    pub first_bad: Option<(u64, &'static str)>,
    by_fingerprint: HashMap<[u8; 16], usize>,
}

impl KeyLog {
    /// Reads a key log that nobody but its owner may use.
    ///
    /// # Errors
    /// [`KeyLogError`].
    pub fn load(path: &Path) -> Result<Self, KeyLogError> {
        let io = |what| move |e| KeyLogError::Io(path.to_owned(), what, e);
        let mut file = OpenOptions::new().read(true).custom_flags(nonblocking()).open(path).map_err(io("opened"))?;
        check(&file, path)?;
        let log = Self::read(&mut file).map_err(io("read"))?;
        if log.known.is_empty() {
            let remedy = match log.first_bad {
                Some((line, why)) => format!("line {line}: {why}"),
                None => "name the file that [keys] log of a box names".to_owned(),
            };
            return Err(KeyLogError::Empty(path.to_owned(), remedy));
        }
        Ok(log)
    }

    /// Reads the lines of a key log. One that is broken is counted, and the others count: a full disk leaves half lines.
    ///
    /// # Errors
    /// The reader's.
    pub fn read(reader: &mut dyn Read) -> io::Result<Self> {
        let mut log = Self::default();
        let mut buffer = Zeroizing::new([0; 4096]);
        let mut line = Line { text: Zeroizing::new(Vec::with_capacity(MAX_LINE)), number: 1, too_long: false };
        loop {
            let read = match reader.read(&mut *buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            for &octet in buffer.get(..read).unwrap_or_default() {
                match octet {
                    b'\n' => log.take(&mut line),
                    _ if line.text.len() < MAX_LINE => line.text.push(octet),
                    _ => line.too_long = true,
                }
            }
        }
        // What has no end may still be being written: half of it is no mistake, all of it is welcome.
        let (bad_lines, first_bad) = (log.bad_lines, log.first_bad);
        log.take(&mut line);
        (log.bad_lines, log.first_bad) = (bad_lines, first_bad);
        Ok(log)
    }

    fn take(&mut self, line: &mut Line) {
        let text = std::str::from_utf8(&line.text).unwrap_or_default();
        let text = text.strip_suffix('\r').unwrap_or(text);
        let parsed = match parse(text) {
            Ok(Some(_)) if line.too_long => Err("a line without end"),
            parsed => parsed,
        };
        match parsed {
            Ok(Some((name, secret))) => self.add(name, secret),
            Ok(None) => {}
            Err(why) => {
                self.bad_lines += 1;
                self.first_bad.get_or_insert((line.number, why));
            }
        }
        line.text.zeroize();
        (line.number, line.too_long) = (line.number + 1, false);
    }

    fn add(&mut self, name: Name, secret: Secret) {
        let next = self.known.len();
        match self.by_fingerprint.entry(fingerprint(&secret)) {
            Entry::Vacant(entry) if next < MAX_SECRETS => {
                entry.insert(next);
                self.known.push(Known { secret, names: vec![name] });
            }
            Entry::Vacant(_) => {
                self.bad_lines += 1;
                self.first_bad.get_or_insert((0, "more secrets than are read from one file; split it"));
            }
            Entry::Occupied(entry) => {
                let names = self.known.get_mut(*entry.get()).map(|k| &mut k.names);
                if let Some(names) = names.filter(|names| names.len() < MAX_NAMES && !names.contains(&name)) {
                    names.push(name);
                }
            }
        }
    }
}

/// A line that is being read.
struct Line {
    text: Zeroizing<Vec<u8>>,
    number: u64,
    too_long: bool,
}

/// A FIFO in the file's place must not hang the program.
fn nonblocking() -> i32 {
    rustix::fs::OFlags::NONBLOCK.bits().cast_signed()
}

/// The open file, not the path: what is checked is what is read, or written.
fn check(file: &File, path: &Path) -> Result<(), KeyLogError> {
    let metadata = file.metadata().map_err(|e| KeyLogError::Io(path.to_owned(), "looked at", e))?;
    if !metadata.is_file() {
        return Err(KeyLogError::File(path.to_owned(), "not a regular file; name one"));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyLogError::Mode(path.to_owned(), mode));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
