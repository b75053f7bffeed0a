//! A flow moves to the worker that its packets come to: when the last [`STREAK`] packets that its owner numbered were all
//! handed over by one and the same worker, the owner gives it to that one.
//!
//! The order of steps is all there is to it. The owner writes numbers, key and times with plain stores, then its burst is sent,
//! then it stores the other's number with release, and never writes again. The other loads that with acquire before it
//! writes. Only the owner gives, so no two workers ever both find themselves to be the owner.

use super::chosen::Chosen;
use crate::ports::BURST;
use crate::state::worker::Worker;
use arrayvec::ArrayVec;

/// So many packets in a row: fewer than a short flow has, more than RSS strays by.
pub(crate) const STREAK: u32 = 16;

/// Where a note names the worker; below stands how many packets in a row it has handed over.
const FROM: u32 = 16;

/// The note of a flow whose next packet was handed over by this worker.
const fn after(note: u32, from: u16) -> u32 {
    let of = (from as u32) << FROM;
    let before = if note >> FROM == from as u32 { note - of } else { 0 };
    of | if before < STREAK { before + 1 } else { STREAK }
}

/// Whether the flow is to be given to this worker.
const fn is_due(note: u32, to: u16) -> bool {
    note == (to as u32) << FROM | STREAK
}

/// Notes whose packets a burst's were, all of flows that this worker owns; and which flows are to be given away.
pub(super) fn note(chosen: &[Chosen<'_>], taken_from: Option<u16>, to_give: &mut ArrayVec<[u64; 5], BURST>) {
    let Some(from) = taken_from else {
        for c in chosen.iter().filter(|c| c.flow.taken_over() != 0) {
            c.flow.set_taken_over(0);
        }
        return;
    };
    for c in chosen {
        let note = after(c.flow.taken_over(), from);
        c.flow.set_taken_over(note);
        if is_due(note, from) {
            let _ = to_give.try_push(c.flow.back.words()); // one for each packet at most; given once
        }
    }
}

impl Worker {
    /// Gives the flows away that have come to be the other worker's, to which the burst that was sent last belonged. After the
    /// sending, so that their packets leave in the order of their numbers.
    #[inline]
    pub fn give_away(&mut self, to: u16) {
        if !self.to_give.is_empty() {
            self.give_these(to);
        }
    }

    #[cold]
    fn give_these(&mut self, to: u16) {
        self.epoch.enter();
        for words in self.to_give.drain(..) {
            let table = &self.shared.table;
            // It may have left the table meanwhile, and may have come back as another's.
            let Some(flow) = table.find(table.hash(&words), &words) else { continue };
            if usize::from(flow.owner()) == self.index && is_due(flow.taken_over(), to) {
                flow.set_taken_over(0);
                flow.give(to);
                self.counters.flows_given.add(1);
            }
        }
        self.epoch.leave();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_streak_is_of_one_worker_and_has_no_gap() {
        for from in [0, 1, 7, u16::MAX] {
            let other = from ^ 1;
            let mut note = 0;
            for count in 1..STREAK {
                note = after(note, from);
                assert!(!is_due(note, from) && !is_due(note, other), "{count} of {from}");
            }
            assert!(is_due(after(note, from), from));
            assert!(!is_due(after(note, from), other));
            assert!(is_due(after(after(note, from), from), from), "and stays so");
            let mut mixed = after(note, other);
            for count in 1..STREAK {
                mixed = after(mixed, from);
                assert!(!is_due(mixed, from), "{count} of {from}, behind one of another");
            }
            assert!(is_due(after(mixed, from), from));
        }
    }
}
