//! Which machine this is, as far as it can be told: so that state which was copied with a disk is not taken for this
//! machine's own. Hashes only; what they are made of is not written down.

use sha2::{Digest, Sha256};
use std::fmt;
use std::path::Path;

/// What the system was given when it was installed, or first started.
const SYSTEM: &str = "/etc/machine-id";
/// What the mainboard, or the hypervisor, calls this machine. Only root may read it.
const BOARD: &str = "/sys/class/dmi/id/product_uuid";
/// Names of parts, for messages.
pub const PARTS: [&str; 2] = ["the machine id (/etc/machine-id)", "the product UUID of the mainboard or hypervisor"];

/// A machine, by its parts; those that cannot be read are not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Machine([Option<[u8; 16]>; 2]);

impl Machine {
    /// This one.
    #[must_use]
    pub fn here() -> Self {
        #[cfg(debug_assertions)]
        if let Some(name) = std::env::var_os("PDMV2_MACHINE") {
            // A test plays another machine.
            return Self::of([Some(&name.to_string_lossy()), None]);
        }
        let read = |path| std::fs::read_to_string(Path::new(path)).ok();
        let [system, board] = [SYSTEM, BOARD].map(read);
        Self::of([system.as_deref(), board.as_deref()])
    }

    /// The machine with these names.
    #[must_use]
    pub fn of(names: [Option<&str>; 2]) -> Self {
        let part = |(part, name): (&str, Option<&str>)| {
            let name = name.map(str::trim).filter(|name| !name.is_empty() && *name != "uninitialized")?;
            let digest = Sha256::digest(format!("pdmv2 machine\0{part}\0{}", name.to_ascii_lowercase()));
            let mut hash = [0; 16];
            hash.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
            Some(hash)
        };
        let [system, board] = names;
        Self([part(("system", system)), part(("board", board))])
    }

    /// The first part in which this machine differs from that one, by its name; of those that are known of both.
    #[must_use]
    pub fn differs(&self, from: &Self) -> Option<&'static str> {
        let parts = self.0.iter().zip(from.0).zip(PARTS);
        parts
            .filter_map(|((a, b), name)| Some((a.as_ref()?, b?, name)))
            .find(|(a, b, _)| **a != *b)
            .map(|(.., name)| name)
    }

    /// Its parts, and of those that are not known the other's.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let [system, board] = self.0;
        Self([system.or(other.0[0]), board.or(other.0[1])])
    }

    /// As it stands in a state file.
    ///
    /// # Errors
    /// It does not.
    pub fn parse(words: [&str; 2]) -> Result<Self, &'static str> {
        let mut parts = [None; 2];
        for (part, word) in parts.iter_mut().zip(words) {
            if word != "-" {
                let mut hash = [0; 16];
                hex::decode_to_slice(word, &mut hash).map_err(|_| "its machine is not two times 32 hex digits")?;
                *part = Some(hash);
            }
        }
        Ok(Self(parts))
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [system, board] = self.0.map(|part| part.map_or_else(|| "-".to_owned(), hex::encode));
        write!(f, "{system} {board}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_are_known_of_both_are_compared() {
        let a = Machine::of([Some("0123abcd\n"), Some("4C4C4544-0000\n")]);
        assert_eq!(a, Machine::of([Some("0123abcd"), Some("4c4c4544-0000")]), "however it is written");
        assert_eq!(a.differs(&a), None);
        let board = Machine::of([Some("0123abcd"), Some("other")]);
        assert_eq!((a.differs(&board), board.differs(&a)), (Some(PARTS[1]), Some(PARTS[1])));
        assert_eq!(a.differs(&Machine::of([Some("cloned"), None])), Some(PARTS[0]));
        for unknown in [Machine::default(), Machine::of([Some("0123abcd"), None]), Machine::of([Some(" "), None])] {
            assert_eq!(a.differs(&unknown), None);
            assert_eq!(unknown.or(a), a);
        }
        assert_eq!(Machine::of([Some("uninitialized"), None]), Machine::default());
        assert_ne!(Machine::of([Some("x"), None]).0[0], Machine::of([None, Some("x")]).0[1]);
    }

    #[test]
    fn text_there_and_back() {
        for machine in [Machine::of([Some("a"), Some("b")]), Machine::of([None, Some("b")]), Machine::default()] {
            let text = machine.to_string();
            assert!(!text.contains('\n'));
            let words: Vec<_> = text.split(' ').collect();
            assert_eq!(Machine::parse([words[0], words[1]]), Ok(machine));
        }
        assert!(Machine::parse(["xyz", "-"]).is_err());
        assert_eq!(Machine::here(), Machine::here());
    }
}
