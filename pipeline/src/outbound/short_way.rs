//! The short way of a burst, through the [lanes](crate::lanes), and how the slow way goes beside it.

use super::Burst;
use super::numbering::Pointers;
use crate::lanes;
use crate::observe::audit::AuditSink;
use crate::observe::counters::Outcome;
use crate::observe::reasons::Reason;
use crate::packet::buffer::PacketBuf;
use crate::ports::BURST;
use crate::state::rules::Runs;
use arrayvec::ArrayVec;
use protocol::wire::option::Form;

/// Puts the options into the packets that are in the lanes. Gives those that have one, as bits.
#[inline]
pub(super) fn finish<B: PacketBuf>(
    Burst { snapshot, counters, .. }: Burst<'_>,
    mut fast: lanes::Burst<'_>,
    audit: &mut Option<AuditSink>,
    packets: &mut [B],
    outcomes: &mut ArrayVec<Outcome, BURST>,
    pointers: Pointers,
    sent: u64,
) -> u32 {
    let all = fast.fast();
    if let (Some(audit), Form::Encrypted) = (audit, fast.form()) {
        fast.pairs(|key, nonce| audit.note(key, nonce));
        if !audit.write() {
            // A pair that is not on record must not be used.
            not_done(all, outcomes, Reason::NoKey);
            return 0;
        }
    }
    let mut added = Runs::new(&snapshot.rules, counters.worker, |policy| &policy.added);
    if let Some(policy) = fast.only_policy() {
        added.count_many(policy.into(), all.count_ones().into());
    } else {
        let mut left = all;
        while left != 0 {
            added.count(fast.policy(left.trailing_zeros() as usize).into());
            left &= left - 1;
        }
    }
    added.end();
    let done = fast.back(packets, pointers.first, pointers.slow, sent);
    if done != all {
        not_done(all & !done, outcomes, Reason::NoHeadroom);
    }
    done
}

/// These packets pass as they came.
#[cold]
fn not_done(mut which: u32, outcomes: &mut ArrayVec<Outcome, BURST>, reason: Reason) {
    while which != 0 {
        if let Some(outcome) = outcomes.get_mut(which.trailing_zeros() as usize) {
            *outcome = Outcome::Passed(reason);
        }
        which &= which - 1;
    }
}
