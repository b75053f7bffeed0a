//! The options go from the batch's slots into the packets.

use super::chosen::{Chosen, Plans};
use super::filling::Slots;
use crate::observe::counters::Outcome;
use crate::observe::reasons::Reason;
use crate::packet::buffer::PacketBuf;
use crate::packet::rewrite;
use crate::ports::BURST;
use crate::state::rules::{Rules, Runs};
use crate::state::worker::Scratch;
use arrayvec::ArrayVec;
use protocol::wire::dest_opts::{InsertPlan, begin_header};
use protocol::wire::option::{self, Form, Metrics, Prefix6};

/// Puts the options into the packets.
#[inline(never)]
pub(super) fn insert<B: PacketBuf>(
    rules: &Rules,
    worker: usize,
    Scratch { batch, .. }: &Scratch,
    packets: &mut [B],
    outcomes: &mut ArrayVec<Outcome, BURST>,
    chosen: &[Chosen<'_>],
    plans: &Plans,
) {
    let mut slots = Slots::default();
    let mut added = Runs::new(rules, worker, |policy| &policy.added);
    for c in chosen {
        let slot = slots.next(c.form);
        let Some(packet) = packets.get_mut(usize::from(c.packet)) else { continue };
        let plan = c.plan.and_then(|at| plans.get(usize::from(at)));
        let done = match c.form {
            Form::Encrypted => place::<_, { Form::Encrypted.option_len() }, { Form::Encrypted.header_len() }>(
                packet,
                plan,
                c.form,
                |option| batch.emit_sealed(slot, option),
            ),
            Form::Clear => {
                place::<_, { Form::Clear.option_len() }, { Form::Clear.header_len() }>(packet, plan, c.form, |option| {
                    let prefix = Prefix6::parse(batch.aad_of(slot)).unwrap_or_default();
                    *option = option::emit_clear(&prefix, &Metrics::parse(batch.text_of(slot)));
                })
            }
            Form::Pdm => {
                place::<_, { Form::Pdm.option_len() }, { Form::Pdm.header_len() }>(packet, plan, c.form, |option| {
                    *option = option::emit_pdm(&Metrics::parse(batch.text_of(slot)));
                })
            }
        };
        if done {
            added.count(c.policy);
        } else if let Some(outcome) = outcomes.get_mut(usize::from(c.packet)) {
            *outcome = Outcome::Passed(Reason::NoHeadroom);
        }
    }
    added.end();
}

/// Puts one option in; `write` gets its octets to write. `false`: no headroom.
#[inline]
fn place<B: PacketBuf, const O: usize, const H: usize>(
    packet: &mut B,
    plan: Option<&(usize, InsertPlan)>,
    form: Form,
    write: impl FnOnce(&mut [u8; O]),
) -> bool {
    let Some((l3, plan)) = plan else {
        return rewrite::insert_plain::<B, H>(packet, |header| {
            begin_header(header, form);
            if let Some(option) = header.get_mut(form.option_at()..).and_then(<[u8]>::first_chunk_mut) {
                write(option);
            }
        });
    };
    let mut option = [0; O];
    write(&mut option);
    rewrite::insert(packet, *l3, plan, &option)
}
