//! What is asked for packet by packet, and mostly has the same answer as for the packet before.

use crate::flow::table::FlowTable;
use crate::lanes::inbound::Lanes;
use crate::state::keyring::KeyRing;
use crate::state::rules::Rules;
use core::sync::atomic::Ordering;
use protocol::suite::Aead;
use protocol::wire::option::Form;

/// Peers whose lines stay in the first level of the cache beside all else.
const FEW_PEERS: usize = 32;

/// What the policies mean, the last one asked for kept.
pub(super) struct Ways<'r> {
    pub(super) rules: &'r Rules,
    pub(super) form: Form,
    pub(super) before: Option<(u32, Option<(u32, bool)>)>,
}

impl Ways<'_> {
    /// The policy of a flow's word, if an option of the form is opened under it, and whether that stays.
    #[inline]
    pub(super) fn of(&mut self, word: u32) -> Option<(u32, bool)> {
        if let Some((_, told)) = self.before.filter(|(before, _)| *before == word) {
            return told;
        }
        let opens = self.rules.way(word).filter(|(_, way)| way.opens == Some(self.form));
        let told = opens.map(|(policy, way)| (policy as u32, way.keeps));
        self.before = Some((word, told));
        told
    }
}

/// A box that speaks for all sources of a range: the first one, and how many are behind it.
pub(super) struct Trusted {
    number: u32,
    pub(super) newest: u32,
    pub(super) aead: Aead,
    first: u128,
    behind: u128,
}

/// The boxes, the last one asked for kept.
pub(super) struct Boxes<'r> {
    ring: &'r KeyRing,
    before: Trusted,
}

impl<'r> Boxes<'r> {
    pub(super) fn new(ring: &'r KeyRing) -> Self {
        // No box has this number.
        let before = Trusted { number: u32::MAX, newest: 0, aead: Aead::Aes128Gcm, first: 0, behind: 0 };
        Self { ring, before }
    }

    /// The box of this number, if it speaks for this source.
    #[inline]
    pub(super) fn of(&mut self, number: u16, source: u128) -> Option<&Trusted> {
        let Trusted { number: before, first, behind, .. } = self.before;
        if u32::from(number) != before || source.wrapping_sub(first) > behind {
            self.before = self.look(number, source)?;
        }
        Some(&self.before)
    }

    fn look(&self, number: u16, source: u128) -> Option<Trusted> {
        let brief = self.ring.brief(number)?;
        let (first, last) = match brief.range_of(source) {
            Ok(range) => range?,
            Err(()) => self.ring.peer(number)?.prefixes.range_of(source)?,
        };
        let newest = brief.newest.load(Ordering::Relaxed);
        Some(Trusted { number: number.into(), newest, aead: brief.aead, first, behind: last.wrapping_sub(first) })
    }

    /// Asks for what `of` looks at of these packets, some while before it does; not where all peers' lines are at hand anyway.
    #[inline]
    pub(super) fn ask_for(&self, table: &FlowTable, lanes: &Lanes, mut left: u32) {
        if self.ring.peers.len() <= FEW_PEERS {
            return;
        }
        let mut before = None;
        while left != 0 {
            let p = left.trailing_zeros() as usize;
            left &= left - 1;
            let current = table.record(lanes.record(p)).and_then(|flow| flow.back.receiver.current());
            let Some(number) = current.map(|(id, _)| id.peer()).filter(|&number| before != Some(number)) else {
                continue;
            };
            before = Some(number);
            if let Some(brief) = self.ring.brief(number) {
                protocol::prefetch::line(brief);
            }
        }
    }
}
