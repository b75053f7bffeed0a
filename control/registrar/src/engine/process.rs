//! Which process of a box this is, and what it may get.
//!
//! A secret is ever sealed under by one process alone. That holds because a process only gets secrets that were negotiated
//! after it registered first (its *bar* is the newest number that was known then), and because who registered is durable
//! before the next generation is: in every state of the store that has a generation, also in one that was set back, the
//! process that may get it is the same.
//!
//! A process is known again by its instance and by a *token*: random octets that it was handed with its keys, durable
//! before they were sent. Whoever shows an older one, or none, is a new process whatever its instance says: this store was
//! set back, and does not know who came since; or that process is a copy, of a virtual machine that was resumed or cloned.

use super::{Engine, persist};
use crate::messages::Registering;
use crate::random::rng;
use negotiation::rand_core::Rng;
use registration::wire::{TOKEN, Token};
use std::time::Instant;
use zeroize::Zeroizing;

/// Octets of a record without tokens.
const FIXED: usize = 16 + 4 + 4 + 1;
/// Those that a version without tokens has written: instance and generation.
pub(super) const WITHOUT_TOKENS: usize = 20;

/// The process of a box that registered last.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) instance: [u8; 16],
    /// It may seal under generations above this one only.
    pub(super) bar: u32,
    /// The newest that it was handed to seal under; 0: none.
    pub(super) sealed: u32,
    /// The last token that it is known to have; `None`: it has got none yet.
    acknowledged: Option<Token>,
    /// One more, on its way to it. Until it says that it has come there is no further one, so it can have no other than
    /// these two.
    handed: Option<Token>,
    /// An acknowledgement that is not in the store yet.
    unkept: bool,
}

/// How a process that registers is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Known {
    /// It has the newest token.
    Newest,
    /// It has the one before, and the newest may have been lost on its way.
    Before,
    /// It is a new one.
    No,
}

impl Process {
    pub(super) fn new(instance: [u8; 16], bar: u32) -> Self {
        Self { instance, bar, sealed: 0, acknowledged: None, handed: None, unkept: false }
    }

    pub(super) fn known(&self, who: &Registering) -> Known {
        if self.instance != who.instance {
            return Known::No;
        }
        match (&self.handed, &who.token) {
            (Some(handed), Some(token)) if handed == token => Known::Newest,
            (None, token) if self.acknowledged == *token => Known::Newest,
            (Some(_), token) if self.acknowledged == *token => Known::Before,
            _ => Known::No,
        }
    }

    /// The token for its next key set, and whether that is one more than it had before.
    pub(super) fn hand_out(&mut self) -> (Token, bool) {
        if let Some(token) = &self.handed {
            return (token.clone(), false);
        }
        let mut octets = [0; TOKEN];
        rng().fill_bytes(&mut octets);
        let token = Token::new(octets);
        self.handed = Some(token.clone());
        (token, true)
    }

    /// The token that was on its way has come.
    pub(super) fn acknowledge(&mut self) {
        if let Some(token) = self.handed.take() {
            self.acknowledged = Some(token);
            self.unkept = true;
        }
    }

    /// For the store: `instance(16) bar(4) sealed(4) which tokens(1) tokens(16 each)`.
    pub(super) fn octets(&self) -> Zeroizing<Vec<u8>> {
        // Room for all of it: a vector that grows leaves copies behind.
        let mut out = Zeroizing::new(Vec::with_capacity(FIXED + 2 * TOKEN));
        out.extend_from_slice(&self.instance);
        out.extend_from_slice(&self.bar.to_be_bytes());
        out.extend_from_slice(&self.sealed.to_be_bytes());
        out.push(u8::from(self.acknowledged.is_some()) | u8::from(self.handed.is_some()) << 1);
        for token in self.acknowledged.iter().chain(&self.handed) {
            out.extend_from_slice(token.octets());
        }
        out
    }

    /// The inverse; `None` when it is not of this form.
    pub(super) fn restore(octets: &[u8]) -> Option<Self> {
        let (instance, rest) = octets.split_first_chunk()?;
        let (bar, rest) = rest.split_first_chunk()?;
        let (sealed, rest) = rest.split_first_chunk()?;
        let (&which, mut rest) = rest.split_first()?;
        let mut token = |bit: u8| {
            if which & bit == 0 {
                return Some(None);
            }
            let (octets, behind) = rest.split_first_chunk()?;
            rest = behind;
            Some(Some(Token::new(*octets)))
        };
        let (acknowledged, handed) = (token(1)?, token(2)?);
        (which < 4 && rest.is_empty()).then(|| Self {
            instance: *instance,
            bar: u32::from_be_bytes(*bar),
            sealed: u32::from_be_bytes(*sealed),
            acknowledged,
            handed,
            unkept: false,
        })
    }
}

impl Engine {
    /// The newest number that is known of any generation between the two primaries. Whatever comes to this side after
    /// this moment has a higher one.
    pub(super) fn newest_known(&self) -> u32 {
        self.newest().max(self.last).max(self.theirs.map_or(0, |t| t.newest))
    }

    /// Keeps which tokens have come, all that have since the last time: whoever shows an older one is a new process then.
    pub(super) fn keep_acknowledgements(&mut self) {
        for (name, node) in &mut self.nodes {
            if let Some(process) = node.process.as_mut().filter(|p| p.unkept) {
                process.unkept = false;
                self.effects.batch.push(persist::process(name, process));
            }
        }
    }

    /// A generation is there, after `before`: boxes whose new processes waited for one have had theirs.
    pub(super) fn served(&mut self, now: Instant, before: u32, number: u32) {
        for node in self.nodes.values_mut() {
            if node.restarted && node.process.as_ref().is_some_and(|p| (before..number).contains(&p.bar)) {
                (node.restarted, node.served, node.streak) = (false, Some(now), node.streak.saturating_add(1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use registration::wire::NodeInfo;

    fn who(instance: u8, token: Option<Token>) -> Registering {
        let node = NodeInfo { name: "box-1".into(), id: [1; 16], prefixes: Vec::new(), clients: Vec::new() };
        Registering { node, instance: [instance; 16], token }
    }

    #[test]
    fn a_process_is_known_by_its_newest_token_and_by_the_one_before_until_that_has_come() {
        let mut process = Process::new([1; 16], 7);
        assert_eq!(process.known(&who(1, None)), Known::Newest, "it has been handed nothing");
        assert_eq!(process.known(&who(2, None)), Known::No);
        let (first, new) = process.hand_out();
        assert!(new);
        assert_eq!(process.known(&who(1, None)), Known::Before);
        assert_eq!(process.known(&who(1, Some(first.clone()))), Known::Newest);
        assert_eq!(process.hand_out(), (first.clone(), false), "as long as it may not have come");
        process.acknowledge();
        assert_eq!(process.known(&who(1, None)), Known::No);
        let (second, _) = process.hand_out();
        assert_ne!(first, second);
        for (token, expected) in [(None, Known::No), (Some(&first), Known::Before), (Some(&second), Known::Newest)] {
            assert_eq!(process.known(&who(1, token.cloned())), expected);
            assert_eq!(process.known(&who(2, token.cloned())), Known::No, "another instance");
        }
        process.acknowledge();
        for (token, expected) in [(None, Known::No), (Some(&first), Known::No), (Some(&second), Known::Newest)] {
            assert_eq!(process.known(&who(1, token.cloned())), expected);
        }
    }

    #[test]
    fn a_record_is_read_back_and_nothing_else_is_one() {
        let mut process = Process::new([1; 16], 7);
        process.sealed = 9;
        for _ in 0..4 {
            let octets = process.octets();
            let back = Process::restore(&octets).expect("a record");
            assert_eq!((back.instance, back.bar, back.sealed, back.unkept), ([1; 16], 7, 9, false));
            assert_eq!((&back.acknowledged, &back.handed), (&process.acknowledged, &process.handed));
            assert!((0..octets.len()).all(|n| Process::restore(&octets[..n]).is_none()));
            assert!(Process::restore(&[&octets[..], &[0]].concat()).is_none());
            // None, one on its way, one that has come, both.
            if process.handed.is_some() {
                process.acknowledge();
            } else {
                process.hand_out();
            }
        }
        let shown = format!("{process:?}");
        assert!(shown.contains("redacted"), "{shown}");
    }
}
