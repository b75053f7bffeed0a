//! Opening: the likeliest key of every packet in one call, then further keys for the few that did not open.

use super::chosen::{Chosen, Plans, octets_of};
use crate::flow::record::Flow;
use crate::inbound::guess::{Guess, guesses, session};
use crate::observe::counters::WorkerCounters;
use crate::observe::reasons::Reason;
use crate::packet::buffer::PacketBuf;
use crate::packet::encrypted::{EncryptedOption, load};
use crate::ports::BURST;
use crate::state::budgets::{Purse, TrialBudget};
use crate::state::keyring::KeyRing;
use crate::state::resync_queue::Sample;
use crate::state::shared::Shared;
use crate::state::worker::Scratch;
use arrayvec::ArrayVec;
use protocol::key_schedule::ReadyKey;
use protocol::nonce::nonce_words;
use protocol::suite::Aead;
use protocol::wire::option::Metrics;
use protocol::wire::profile;

/// What a trial beyond the first opened.
pub(super) struct Opened {
    pub(super) guess: Guess,
    pub(super) metrics: Metrics,
    /// The key, unless the flow has it.
    pub(super) derived: Option<ReadyKey>,
    /// What was taken from the budget.
    pub(super) spent: u64,
}

/// Where a packet's key is: packets of its flow that follow it at once use the same.
#[derive(Clone, Copy)]
struct Before<'a> {
    flow: &'a Flow,
    guess: Guess,
    base_nonce: (u64, u32),
    at: u8,
}

/// Opens every sealed packet's first guess, in one call per AEAD. Bit i: the packet in slot i has opened.
#[inline]
#[expect(clippy::too_many_arguments, reason = "one caller; a struct for it would only rename them")]
pub(super) fn open_first<B: PacketBuf>(
    ring: &KeyRing,
    counters: &WorkerCounters,
    packets: &[B],
    chosen: &mut ArrayVec<Chosen<'_>, BURST>,
    plans: &Plans,
    scratch: &mut Scratch,
    budget: &mut TrialBudget,
    now: u64,
) -> u32 {
    let (mut count, mut common): (usize, Option<Aead>) = (0, None);
    let mut others: ArrayVec<(usize, Aead), BURST> = ArrayVec::new();
    let mut before: Option<Before<'_>> = None;
    for c in chosen.iter_mut() {
        let Some(guess) = c.guess else { continue };
        let Some(octets) = octets_of(packets, c) else { continue };
        let slot = count % BURST;
        let same = |b: &Before<'_>| b.guess == guess && c.flow.is_some_and(|flow| core::ptr::eq(flow.front, b.flow));
        let found = before.filter(same).map(|b| (b.base_nonce, b.at)).or_else(|| {
            let state = &mut scratch.keys[slot];
            let found = c.flow?.back.receiver.key(guess.id, guess.kri, state)?;
            Some((found.base_nonce, slot as u8))
        });
        let (base_nonce, at) = match found {
            Some(found) => found,
            None => {
                if !budget.admit(c.purse(), now) {
                    c.refused = true;
                    continue;
                }
                budget.spend(c.purse(), now);
                let Some((key, derived)) = session(ring, c.flow, &c.tuple(plans), guess) else { continue };
                counters.derivations.add(u64::from(derived));
                c.derived = derived;
                scratch.keys[slot].clone_from(&key.state);
                (nonce_words(key.base_nonce), slot as u8)
            }
        };
        scratch.key_at[slot] = at;
        if load(&mut scratch.batch, slot, base_nonce, octets).is_none() {
            continue;
        }
        before = c.flow.filter(|_| found.is_some()).map(|flow| Before { flow: flow.front, guess, base_nonce, at });
        if *common.get_or_insert(guess.aead) != guess.aead {
            others.push((count, guess.aead));
        }
        c.slot = Some(count as u8);
        count += 1;
    }
    let Some(common) = common else { return 0 };
    if others.is_empty() {
        let (batch, keys) = scratch.split(count);
        return batch.open(common, &keys);
    }
    open_mixed(scratch, count, common, &others)
}

/// Peers with different suites in one burst: rare, and each packet for itself.
#[cold]
fn open_mixed(scratch: &mut Scratch, count: usize, common: Aead, others: &[(usize, Aead)]) -> u32 {
    let mut opened = 0;
    for slot in 0..count {
        let aead = others.iter().find(|(s, _)| *s == slot).map_or(common, |(_, aead)| *aead);
        let Scratch { batch, keys, key_at, .. } = scratch;
        let key = &keys[usize::from(key_at[slot]) % BURST];
        let mut alone = protocol::aead::Batch::new();
        (alone.nonce[0], alone.aad[0]) = (batch.nonce[slot], batch.aad[slot]);
        (alone.text[0], alone.tag[0]) = (batch.text[slot], batch.tag[slot]);
        opened |= alone.open(aead, &[key]) << slot;
        batch.text[slot] = alone.text[0];
    }
    opened
}

/// Tries the other keys, as long as the worker's budget lasts.
#[cold]
#[expect(clippy::too_many_arguments, reason = "one caller; a struct for it would only rename them")]
pub(super) fn open_further<B: PacketBuf>(
    shared: &Shared,
    ring: &KeyRing,
    counters: &WorkerCounters,
    budget: &mut TrialBudget,
    packets: &[B],
    c: &Chosen<'_>,
    plans: &Plans,
    first: Guess,
    now: u64,
) -> Result<Opened, Reason> {
    // An earlier packet of this burst may have brought the flow into the table.
    let flow = c.flow.or_else(|| c.plan(plans).and_then(|p| shared.table.find(p.hash, &p.words)));
    if !budget.admit(Purse::Further, now) {
        return Err(Reason::NoTrialsLeft);
    }
    // To list the keys costs something too.
    budget.spend(Purse::Further, now);
    let mut spent = 1;
    let option = octets_of(packets, c).and_then(EncryptedOption::parse);
    let option = option.ok_or(Reason::MalformedOption)?;
    let tuple = c.tuple(plans);
    for guess in guesses(ring, flow, &tuple, option.head.f != 0) {
        if guess == first {
            continue;
        }
        budget.spend(Purse::Further, now);
        spent += 1;
        let Some((key, derived)) = session(ring, flow, &tuple, guess) else { continue };
        counters.derivations.add(u64::from(derived));
        counters.trials.add(1);
        if let Some(metrics) = option.open(guess.aead, &key) {
            return Ok(Opened { guess, metrics, derived: derived.then_some(key), spent });
        }
    }
    shared.resync.offer(|| Sample { worker: counters.worker, tuple, option });
    Err(Reason::BadTag)
}

/// The key that was derived for a slot.
#[cold]
pub(super) fn key_of(scratch: &Scratch, slot: usize) -> ReadyKey {
    // The slot's nonce is `base_nonce` XOR PRSEQ.
    let [nonce @ .., _, _, _, _] = scratch.batch.nonce[slot];
    let (prseq, _) = profile::order_of(scratch.batch.aad_of(slot)).unwrap_or_default();
    let base_nonce = protocol::nonce::nonce(nonce, prseq);
    ReadyKey { state: scratch.keys[slot].clone(), base_nonce }
}
