//! What stands in a state file: text with a checksum.

use super::{MAX_LEN, StateError};
use crate::machine::Machine;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The numbers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Record {
    /// Last generation taken; 0: none.
    pub generation: u32,
    /// Last generation opened, per peer's node id.
    pub opened: BTreeMap<[u8; 16], u32>,
    /// Where it was written; nothing is known of it in files of before.
    pub machine: Machine,
}

impl Record {
    /// The later of both, number by number; the machine is this one's.
    pub fn merged(&self, other: &Self) -> Self {
        let mut merged = self.clone();
        merged.generation = merged.generation.max(other.generation);
        for (&peer, &generation) in &other.opened {
            let known = merged.opened.entry(peer).or_default();
            *known = generation.max(*known);
        }
        merged
    }
}

pub(super) fn emit(record: &Record, tag: &str, node: &str) -> String {
    let mut text = format!(
        "# State of node {node} under one key file. Do not edit, delete or copy it back from a backup: a generation\n\
         # that is used twice breaks the encryption.\n\
         version 1\ntag {tag}\nmachine {}\ngeneration {}\n",
        record.machine, record.generation
    );
    for (peer, generation) in &record.opened {
        let _ = writeln!(text, "opened {} {generation}", hex::encode(peer)); // a String takes everything
    }
    let sum = hex::encode(Sha256::digest(text.as_bytes()));
    text + "sha256 " + &sum + "\n"
}

pub(super) fn read(path: &Path, tag: &str) -> Result<Option<Record>, StateError> {
    let mut text = Vec::new();
    match File::open(path).and_then(|file| file.take(MAX_LEN + 1).read_to_end(&mut text)) {
        Ok(_) => parse(&text, tag).map(Some).map_err(|reason| StateError::Damaged { path: path.to_owned(), reason }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StateError::Io { path: path.to_owned(), action: "read", error }),
    }
}

fn parse(text: &[u8], tag: &str) -> Result<Record, &'static str> {
    let text = str::from_utf8(text).map_err(|_| "not the text this program writes")?;
    let (body, sum) = text.rsplit_once("sha256 ").ok_or("cut off: it has no checksum")?;
    if sum.strip_suffix('\n') != Some(hex::encode(Sha256::digest(body.as_bytes())).as_str()) {
        return Err("damaged: its checksum does not fit");
    }
    let mut record = Record::default();
    let (mut version, mut of) = (None, None);
    for line in body.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<_> = line.split(' ').collect();
        match words.as_slice() {
            ["version", v] => version = Some(*v),
            ["tag", t] => of = Some(*t),
            ["machine", system, board] => record.machine = Machine::parse([system, board])?,
            ["generation", g] => record.generation = g.parse().map_err(|_| "its generation is not a number")?,
            ["opened", peer, g] => {
                let mut id = [0; 16];
                hex::decode_to_slice(peer, &mut id).map_err(|_| "a peer's id in it is not 32 hex digits")?;
                record.opened.insert(id, g.parse().map_err(|_| "a peer's generation in it is not a number")?);
            }
            _ => return Err("it has a line this version does not know"),
        }
    }
    match (version, of) {
        (Some("1"), Some(t)) if t == tag => Ok(record),
        (Some("1"), _) => Err("it belongs to another node or key file"),
        _ => Err("it was written by another version of this program"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_there_and_back_and_every_cut_is_seen() {
        let machine = Machine::of([Some("one"), None]);
        let record = Record { generation: 7, opened: [([0xAB; 16], 3), ([1; 16], u32::MAX)].into(), machine };
        let text = emit(&record, "aa", "box-a");
        assert_eq!(parse(text.as_bytes(), "aa"), Ok(record));
        assert_eq!(parse(text.as_bytes(), "bb"), Err("it belongs to another node or key file"));
        for len in 0..text.len() {
            assert!(parse(&text.as_bytes()[..len], "aa").is_err(), "cut to {len}");
        }
        for at in 0..text.len() {
            let mut flipped = text.clone().into_bytes();
            flipped[at] ^= 1;
            assert!(parse(&flipped, "aa").is_err(), "bit flipped in octet {at}");
        }
    }
}
