//! The packets' numbers.

use super::Burst;
use super::chosen::Chosen;
use crate::lanes;
use crate::observe::counters::Outcome;
use crate::observe::reasons::Reason;
use crate::ports::BURST;
use arrayvec::ArrayVec;
use protocol::wire::option::Form;

/// Global Pointers of a burst.
#[derive(Clone, Copy, Default)]
pub(super) struct Pointers {
    /// The first one of global sources; the burst's packets that take one have consecutive ones, in order.
    pub(super) first: u32,
    /// Those of the slow way that take one of these, as bits by their places.
    pub(super) slow: u32,
}

/// Gives each packet its number, in order, those to be sealed under the present generation; those that get none pass. Then takes
/// the Global Pointers of the whole burst at once, and as late as may be: no value is skipped.
#[inline(never)]
pub(super) fn number(
    Burst { shared, snapshot, counters, .. }: Burst<'_>,
    in_lanes: &mut Option<lanes::Burst<'_>>,
    chosen: &mut ArrayVec<Chosen<'_>, BURST>,
    outcomes: &mut ArrayVec<Outcome, BURST>,
) -> Pointers {
    let generation = snapshot.ring.sealing_generation();
    let (mut without, mut rotations, mut slow, mut locals) = (0u32, 0, 0u32, 0);
    for (i, c) in chosen.iter_mut().enumerate() {
        if let Some(lanes) = in_lanes {
            lanes.number_until(usize::from(c.packet));
        }
        match c.flow.take((c.form == Form::Encrypted).then_some(generation)) {
            Ok(number) => {
                rotations += u64::from(number.index == 0 && number.kri > 0);
                c.number = number;
                if c.form != Form::Pdm {
                    slow |= u32::from(!c.link_local) << c.packet;
                    locals += u32::from(c.link_local);
                }
            }
            Err(no) => {
                without |= 1 << i;
                if let Some(outcome) = outcomes.get_mut(usize::from(c.packet)) {
                    *outcome = Outcome::Passed(no.into());
                }
            }
        }
    }
    if rotations > 0 {
        counters.rotations_sealed.add(rotations);
    }
    if without != 0 {
        let mut at = 0;
        chosen.retain(|_| {
            at += 1;
            without & 1 << (at - 1) == 0
        });
    }
    let counts = |lanes: &&lanes::Burst<'_>| lanes.form() != Form::Pdm;
    let all = slow | in_lanes.as_ref().filter(counts).map_or(0, lanes::Burst::fast);
    let first = shared.take_global_pointer(false, all.count_ones());
    let mut local = shared.take_global_pointer(true, locals);
    for c in chosen.iter_mut().filter(|c| c.form != Form::Pdm) {
        if c.link_local {
            c.pointer = local;
            local = local.wrapping_add(1);
        } else {
            let before = all & ((1u32 << c.packet) - 1);
            c.pointer = first.wrapping_add(before.count_ones());
        }
    }
    Pointers { first, slow }
}

/// Those of a burst that are to be sealed pass as they came: the audit could not be written, and a pair that is not on
/// record must not be used; or a key is missing.
#[cold]
pub(super) fn refuse_sealed(chosen: &mut ArrayVec<Chosen<'_>, BURST>, outcomes: &mut ArrayVec<Outcome, BURST>) {
    chosen.retain(|c| {
        let keep = c.form != Form::Encrypted;
        if let (false, Some(outcome)) = (keep, outcomes.get_mut(usize::from(c.packet))) {
            *outcome = Outcome::Passed(Reason::NoKey);
        }
        keep
    });
}
