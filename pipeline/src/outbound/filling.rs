//! What is sealed: each packet's metrics, PRSEQ, nonce and key, in the batch's slots.

use super::chosen::Chosen;
use crate::observe::counters::WorkerCounters;
use crate::ports::BURST;
use crate::state::keyring::{IN_CLEAR, KeyRing, NO_SECRET, Sealer};
use crate::state::shared::Shared;
use crate::state::worker::Scratch;
use protocol::aead::KeyState;
use protocol::delta_time;
use protocol::key_line::{Found, SecretId};
use protocol::key_schedule::ReadyKey;
use protocol::nonce::{nonce_words, xor_prseq};
use protocol::wire::option::{Form, Metrics, Prefix6};

/// Makes each packet's metrics, PRSEQ and nonce, in the batch's slots. Sealed options stand in front, in order; their
/// number is given. Those in clear are filled in from behind: the two never meet, as there are as many slots as packets.
/// `None`: there is no key for a packet that is to be sealed, and nothing is of use that was filled in.
pub(super) fn fill(
    shared: &Shared,
    ring: &KeyRing,
    counters: &WorkerCounters,
    scratch: &mut Scratch,
    chosen: &[Chosen<'_>],
    sent: u64,
) -> Option<usize> {
    if chosen.iter().all(|c| c.form == Form::Encrypted) {
        return fill_forms(shared, ring, counters, scratch, chosen, sent, |_| Form::Encrypted);
    }
    fill_forms(shared, ring, counters, scratch, chosen, sent, |c| c.form)
}

/// [`fill`], made for each way to know a packet's form.
#[inline(never)]
fn fill_forms(
    shared: &Shared,
    ring: &KeyRing,
    counters: &WorkerCounters,
    Scratch { batch, keys, key_at, lanes, nonces }: &mut Scratch,
    chosen: &[Chosen<'_>],
    sent: u64,
    form_of: impl Fn(&Chosen<'_>) -> Form,
) -> Option<usize> {
    let mut slots = Slots::default();
    let in_clear = SecretId::new(NO_SECRET, IN_CLEAR);
    let sealed = ring.sealer.as_ref().map_or(in_clear, Sealer::id);
    // The flow, form and Kri before, what was found for them, and where its key is.
    let mut before: Option<(&Chosen<'_>, Found<2>, u8)> = None;
    for (i, c) in chosen.iter().enumerate().take(BURST) {
        let (form, number) = (form_of(c), c.number);
        let slot = slots.next(form) % BURST;
        if form == Form::Pdm {
            // It has neither key nor order: there is nothing to wait for.
            if c.flow.is_unkeyed() {
                c.flow.use_in_lanes(ring.lanes_of(form, c.link_local));
            }
            continue;
        }
        let shared_with = |b: &Chosen<'_>| {
            core::ptr::eq(b.flow.front, c.flow.front) && b.number.kri == number.kri && form_of(b) == form
        };
        let (found, at) = match before {
            Some((b, found, at)) if shared_with(b) => (found, at),
            _ => {
                let id = if form == Form::Encrypted { sealed } else { in_clear };
                let found = match c.flow.key(id, number.kri, &mut keys[slot]) {
                    Some(found) => found,
                    None => new_key(shared, ring, counters, c, id, &mut keys[slot])?,
                };
                (found, slot as u8)
            }
        };
        before = Some((c, found, at));
        key_at[slot] = at;
        nonces[i] = found.base_nonce;
        lanes.set(i, found.extra, number.index);
    }
    let prseqs = lanes.prseqs();
    let sealed = slots.sealed;
    slots = Slots::default();
    for ((c, &prseq), &(nonce, nonce_end)) in chosen.iter().zip(&prseqs).zip(&*nonces) {
        let (form, number) = (form_of(c), c.number);
        let times = c.flow.meter.on_send(number.psntp, sent);
        let (tlr, tls) = (delta_time::from_nanos(times.delta_tlr_ns), delta_time::from_nanos(times.delta_tls_ns));
        let metrics = Metrics {
            scale_dtlr: tlr.scale,
            scale_dtls: tls.scale,
            global_pointer: c.pointer,
            psntp: number.psntp,
            psnlr: times.psnlr,
            delta_tlr: tlr.value,
            delta_tls: tls.value,
        };
        let head = Prefix6 { reserved: 0, prseq, f: u8::from(number.f()) };
        let nonce = (nonce, xor_prseq(nonce_end, prseq));
        batch.set_words(slots.next(form) % BURST, nonce, head.to_word(form), metrics.to_words());
    }
    Some(sealed)
}

/// Which slot of the batch is whose; see [`fill`].
#[derive(Default)]
pub(super) struct Slots {
    sealed: usize,
    clear: usize,
}

impl Slots {
    #[inline]
    pub(super) fn next(&mut self, form: Form) -> usize {
        let count = if form == Form::Encrypted { &mut self.sealed } else { &mut self.clear };
        *count += 1;
        if form == Form::Encrypted { *count - 1 } else { BURST - *count }
    }
}

/// The flow's key and PRSEQ order under this number's Kri, made anew. `None`: the sealer has no key for the flow. Who
/// chose the packet has asked for that before; if it was wrong, the packet goes without an option, not under another key.
#[cold]
fn new_key(
    shared: &Shared,
    ring: &KeyRing,
    counters: &WorkerCounters,
    c: &Chosen<'_>,
    id: SecretId,
    into: &mut KeyState,
) -> Option<Found<2>> {
    let kri = c.number.kri;
    let seals = c.form == Form::Encrypted;
    let ready = match ring.sealer.as_ref().filter(|_| seals) {
        Some(sealer) => {
            counters.derivations.add(1);
            sealer.keys.session(&c.flow.back.tuple(), kri)?.ready(sealer.aead)
        }
        None => ReadyKey { state: KeyState::ZERO, base_nonce: [0; 12] },
    };
    let extra = shared.prseq_order(c.flow, id.generation(), kri).to_words();
    let lanes = ring.lanes_of(c.form, c.link_local).map(|(form, _)| form);
    c.flow.set_key(id, kri, &ready, extra, lanes);
    into.clone_from(&ready.state);
    Some(Found { base_nonce: nonce_words(ready.base_nonce), extra })
}
