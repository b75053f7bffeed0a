//! The short way of packets that come back: those whose flow the [lanes](crate::lanes::inbound) have found, under the key of the
//! flow's packet before, or in clear, which needs none. Each stage is a loop over the burst's packets.
//!
//! What does not go as it nearly always does is left to the slow way, with what is known of the packet by then: no key at hand,
//! an option that the key does not open, a replay, a flow that an earlier packet of the burst has moved on.

mod asked;

use super::choosing::plan_of;
use super::chosen::{Chosen, Plan, Plans};
use super::guess::Guess;
use super::measuring::{MOST_KEPT, Measuring, sample};
use super::receipt::Receipt;
use crate::flow::record::{Flow, WholeFlow};
use crate::flow::table::FlowTable;
use crate::lanes::inbound::{Lanes, View};
use crate::observe::counters::{Outcome, WorkerCounters};
use crate::observe::reasons::Reason;
use crate::packet::buffer::{PacketBuf, make_ready};
use crate::packet::parse::{ETHERNET, PLAIN_UPPER, is_bare_behind};
use crate::packet::rewrite;
use crate::ports::BURST;
use crate::state::keyring::KeyRing;
use crate::state::rules::Rules;
use arrayvec::ArrayVec;
use asked::{Boxes, Trusted, Ways};
use core::ptr;
use protocol::aead::KeyState;
use protocol::key_line::SecretId;
use protocol::meter::Sample;
use protocol::nonce::xor_prseq;
use protocol::receiver::Verdict;
use protocol::suite::Aead;
use protocol::wire::ethernet::TAG_LEN as TAG;
use protocol::wire::option::{Form, Metrics};
use protocol::wire::profile;

/// A packet of the short way.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    flow: WholeFlow<'a>,
    /// Of an option in clear [`NO_GUESS`].
    pub(super) guess: Guess,
    /// The place of its policy among the rules.
    pub(super) policy: u32,
    pub(super) packet: u8,
    /// Whether its option is left in place.
    keeps: bool,
}

const NO_GUESS: Guess = Guess { id: SecretId::NONE, kri: 0, aead: Aead::Aes128Gcm };

/// What a packet met that does not count as nearly all do.
pub(super) enum Met {
    /// It does not count.
    Refused(Reason),
    /// Nothing yet: its flow has been moved on to another key.
    Moved,
}

/// The packets of a burst that go the short way, in order.
pub(super) struct ShortWay<'a, 'l> {
    lanes: &'l mut Lanes,
    /// The form of their options: encrypted, or in clear.
    form: Form,
    known: &'l mut ArrayVec<Known<'a>, BURST>,
    /// They, and those of them whose options stay, as bits by their places.
    taken: u32,
    keeps: u32,
    /// What all of them are sealed with.
    aead: Option<Aead>,
}

impl<'a, 'l> ShortWay<'a, 'l> {
    /// Finds them, and gets their options ready to be opened; `known` is the place for what is noted of them. `None`: there are
    /// none.
    #[inline]
    pub(super) fn front<B: PacketBuf>(
        lanes: &'l mut Lanes,
        known: &'l mut ArrayVec<Known<'a>, BURST>,
        table: &'a FlowTable,
        ring: &KeyRing,
        rules: &Rules,
        packets: &[B],
    ) -> Option<Self> {
        let form = rules.lanes_open()?;
        if form == Form::Encrypted && ring.peers.is_empty() || !lanes.are_asked() {
            return None;
        }
        let (key, index, records) = table.view();
        let found = lanes.front(&View { key, index, records, backs: table.backs(), form }, packets);
        let mut this = Self { lanes, form, known, taken: 0, keeps: 0, aead: None };
        match form {
            _ if found == 0 => {}
            Form::Encrypted => {
                this.choose(table, ring, rules, found);
                this.take_keys();
            }
            Form::Clear | Form::Pdm => this.choose_clear(table, rules, found),
        }
        this.lanes.note(this.taken);
        (this.taken != 0).then_some(this)
    }

    /// Policy and guess of each, as the slow way has them. Packets that follow one another mostly have them in common.
    #[inline]
    fn choose(&mut self, table: &'a FlowTable, ring: &KeyRing, rules: &Rules, mut left: u32) {
        let (mut ways, mut boxes) = (Ways { rules, form: self.form, before: None }, Boxes::new(ring));
        let f = self.lanes.f();
        boxes.ask_for(table, self.lanes, left);
        while left != 0 {
            let p = left.trailing_zeros();
            left &= left - 1;
            let Some(flow) = table.record(self.lanes.record(p as usize)) else { continue };
            let Some((policy, keeps)) = ways.of(flow.back.policy()) else { continue };
            let Some((id, kri)) = flow.back.receiver.current() else { continue };
            let Some(&Trusted { newest, aead, .. }) = boxes.of(id.peer(), flow.back.destination()) else { continue };
            let same = (kri & 1 == f >> p & 1) & (newest <= id.generation()) & !flow.back.host_measures(self.form);
            if !same || *self.aead.get_or_insert(aead) != aead || self.known.is_full() {
                continue;
            }
            flow.prefetch_window();
            self.known.push(Known { flow, guess: Guess { id, kri, aead }, policy, packet: p as u8, keeps });
            self.taken |= 1 << p;
            self.keeps |= u32::from(keeps) << p;
        }
    }

    /// Policy of each whose option is in clear, as the slow way has it.
    #[inline]
    fn choose_clear(&mut self, table: &'a FlowTable, rules: &Rules, mut left: u32) {
        let mut ways = Ways { rules, form: self.form, before: None };
        while left != 0 {
            let p = left.trailing_zeros();
            left &= left - 1;
            let Some(flow) = table.record(self.lanes.record(p as usize)) else { continue };
            let Some((policy, keeps)) = ways.of(flow.back.policy()) else { continue };
            let known = Known { flow, guess: NO_GUESS, policy, packet: p as u8, keeps };
            if flow.back.host_measures(self.form) || self.known.try_push(known).is_err() {
                continue;
            }
            self.taken |= 1 << p;
            self.keeps |= u32::from(keeps) << p;
        }
    }

    /// Keys and nonces. Who has no key at hand goes the slow way.
    #[inline]
    fn take_keys(&mut self) {
        let Lanes { batch, keys, key_at, .. } = &mut *self.lanes;
        let before_keys = self.taken;
        let mut before: Option<(&Flow, Guess, (u64, u32), u8)> = None;
        for known in self.known.iter() {
            let (p, Guess { id, kri, .. }) = (usize::from(known.packet) % BURST, known.guess);
            let same = before.filter(|(flow, guess, ..)| ptr::eq(*flow, known.flow.front) && *guess == known.guess);
            let found = match same {
                Some((_, _, base_nonce, at)) => Some((base_nonce, at)),
                None => known.flow.back.receiver.key(id, kri, &mut keys[p]).map(|found| (found.base_nonce, p as u8)),
            };
            let (Some((base_nonce, at)), Some((prseq, _))) = (found, profile::order_of(batch.aad_of(p))) else {
                self.taken &= !(1 << p);
                continue;
            };
            key_at[p] = at;
            batch.set_nonce(p, (base_nonce.0, xor_prseq(base_nonce.1, prseq)));
            before = Some((known.flow.front, known.guess, base_nonce, at));
        }
        if self.taken != before_keys {
            self.known.retain(|known| self.taken >> known.packet & 1 != 0);
        }
    }

    /// What becomes of a packet if it is one of these and nothing comes between.
    #[inline]
    pub(super) fn outcome(&self, packet: usize) -> Option<Outcome> {
        let keeps = self.keeps >> packet & 1 != 0;
        let done = if keeps { Outcome::Verified(self.form) } else { Outcome::Removed(self.form) };
        (self.taken >> packet & 1 != 0).then_some(done)
    }

    /// What becomes of all packets of a burst of so many, if all are these, alike, and nothing comes between.
    #[inline]
    pub(super) fn outcome_of_all(&self, packets: usize) -> Option<Outcome> {
        let alike = self.keeps == 0 || self.keeps == self.taken;
        if alike && self.known.len() == packets { self.outcome(0) } else { None }
    }

    /// Opens their options. Those that do not open go the slow way from here.
    #[inline]
    pub(super) fn open<B: PacketBuf>(
        &mut self,
        packets: &[B],
        outcomes: &mut ArrayVec<Outcome, BURST>,
        chosen: &mut ArrayVec<Chosen<'a>, BURST>,
        plans: &mut Plans,
    ) {
        if self.form != Form::Encrypted {
            return;
        }
        let opened = self.open_batch();
        if self.taken & !opened != 0 {
            self.leave(opened, packets, outcomes, chosen, plans);
        }
    }

    /// Opens the batch. Bit i: the packet at place i has opened.
    #[inline]
    fn open_batch(&mut self) -> u32 {
        let Some(aead) = self.aead else { return 0 };
        let Lanes { batch, keys, key_at, .. } = &mut *self.lanes;
        let slots = (u32::BITS - self.taken.leading_zeros()) as usize;
        let keys = key_at.iter().take(slots).map(|&at| &keys[usize::from(at) % BURST]);
        let opened = batch.open(aead, &keys.collect::<ArrayVec<&KeyState, BURST>>());
        #[cfg(all(test, target_arch = "x86_64"))]
        let opened = crate::lanes::tests::constant_time::told(opened, batch);
        opened
    }

    /// Hands those over to the slow way that have not opened.
    #[cold]
    fn leave<B: PacketBuf>(
        &mut self,
        opened: u32,
        packets: &[B],
        outcomes: &mut ArrayVec<Outcome, BURST>,
        chosen: &mut ArrayVec<Chosen<'a>, BURST>,
        plans: &mut Plans,
    ) {
        for known in self.known.iter().filter(|known| opened >> known.packet & 1 == 0) {
            if let Some(c) = self.chosen(known, packets, outcomes, plans) {
                // A packet is of either way, so there is room.
                let _ = chosen.try_push(c);
            }
        }
        chosen.sort_unstable_by_key(|c| c.packet);
        self.known.retain(|known| opened >> known.packet & 1 != 0);
    }

    /// The packets that go the short way to its end.
    #[inline]
    pub(super) fn known(&self) -> &[Known<'a>] {
        self.known
    }

    /// A packet as the slow way has it, its first key tried. `None`: it has changed its shape meanwhile, which it cannot have.
    #[cold]
    pub(super) fn chosen<B: PacketBuf>(
        &self,
        known: &Known<'a>,
        packets: &[B],
        outcomes: &mut ArrayVec<Outcome, BURST>,
        plans: &mut Plans,
    ) -> Option<Chosen<'a>> {
        let p = usize::from(known.packet);
        let (mut plan, mut option_at) = (None, PLAIN_UPPER + self.form.option_at());
        if self.is_tagged(known) {
            let Some((l3, remove)) = packets.get(p).and_then(plan_of) else {
                *outcomes.get_mut(p)? = Outcome::Passed(Reason::MalformedOption);
                return None;
            };
            plans.try_push(Plan { l3, remove, words: known.flow.back.words(), hash: self.lanes.hash(p) }).ok()?;
            (plan, option_at) = (Some(plans.len() as u8 - 1), option_at + TAG);
        }
        Some(Chosen {
            flow: Some(known.flow),
            guess: Some(known.guess),
            policy: known.policy,
            option_at: option_at as u32,
            packet: known.packet,
            plan,
            form: self.form,
            slot: None,
            derived: false,
            refused: false,
            keeps: known.keeps,
        })
    }

    #[inline]
    fn is_tagged(&self, known: &Known<'a>) -> bool {
        self.lanes.tagged() >> known.packet & 1 != 0
    }

    /// The metrics of a packet that has opened.
    #[inline]
    pub(super) fn metrics(&self, known: &Known<'a>) -> Metrics {
        Metrics::from_words(self.lanes.batch.text_words(usize::from(known.packet) % BURST))
    }

    /// Takes packets into account that have opened and follow one another, up to the first that does not count like the others.
    /// Gives how many did, and what the next one has met. `alone`: no other worker takes packets into account.
    #[inline]
    pub(super) fn account<B: PacketBuf>(
        &self,
        run: &[Known<'a>],
        packets: &[B],
        measuring: &mut Measuring<'_>,
        alone: bool,
        receipt: impl Receipt,
    ) -> (usize, Option<Met>) {
        if self.form != Form::Encrypted {
            self.account_clear(run, packets, measuring, alone, receipt);
            return (run.len(), None);
        }
        let (mut fine, mut met, mut late) = (0, None, 0u32);
        // By themselves: each of them has locked instructions, for which a CPU waits until all stores before are done.
        for known in run {
            let psntp = self.metrics(known).psntp;
            match known.flow.back.receiver.accept_current(known.guess.id, known.guess.kri, psntp) {
                Some(fresh @ Verdict::Fresh { .. }) => {
                    late |= u32::from(measuring.gaps(known.flow, known.policy, fresh)) << (known.packet & 31);
                }
                Some(Verdict::Replayed) => met = Some(Met::Refused(Reason::Replayed)),
                Some(Verdict::TooOld) => met = Some(Met::Refused(Reason::TooOld)),
                None => met = Some(Met::Moved),
            }
            if met.is_some() {
                break;
            }
            fine += 1;
        }
        // What is written of a sample is asked for while the other packets are looked at.
        let mut samples = ArrayVec::<(&Known<'a>, Sample), MOST_KEPT>::new();
        for known in run.iter().take(fine) {
            let metrics = self.metrics(known);
            measuring.seen(known.flow, &metrics);
            let (is_late, came) = (late >> (known.packet & 31) & 1 != 0, receipt.of(known.packet));
            let sample = sample(known.flow, &metrics, is_late, came, || self.is_bare(known, packets));
            if measuring.count(&sample) && !samples.is_full() {
                protocol::prefetch::line(&known.flow.back.measured);
                samples.push((known, sample));
            }
        }
        for (known, sample) in &samples {
            measuring.keep(known.flow, known.policy, &self.metrics(known), sample);
        }
        (fine, met)
    }

    /// The same of packets whose option is in clear: nothing can be wrong with them.
    #[inline(never)]
    fn account_clear<B: PacketBuf>(
        &self,
        run: &[Known<'a>],
        packets: &[B],
        measuring: &mut Measuring<'_>,
        alone: bool,
        receipt: impl Receipt,
    ) {
        for known in run {
            let (metrics, came) = (self.metrics(known), receipt.of(known.packet));
            measuring.take_clear(known.flow, known.policy, &metrics, alone, came, || self.is_bare(known, packets));
        }
    }

    /// Whether a packet is a TCP segment without data.
    #[inline]
    fn is_bare<B: PacketBuf>(&self, known: &Known<'a>, packets: &[B]) -> bool {
        let l3 = ETHERNET + usize::from(self.is_tagged(known)) * TAG;
        packets.get(usize::from(known.packet)).is_some_and(|p| is_bare_behind(p.data(), l3, self.form))
    }

    /// Takes the option out of a packet that was accepted, unless it stays. Whether it could.
    #[inline]
    pub(super) fn strip<B: PacketBuf>(
        &self,
        known: &Known<'a>,
        packets: &mut [B],
        outcomes: &mut ArrayVec<Outcome, BURST>,
        counters: &WorkerCounters,
    ) -> bool {
        let Some(packet) = packets.get_mut(usize::from(known.packet)).filter(|_| !known.keeps) else { return true };
        let is_ready = make_ready(packet, || counters.copied.add(1));
        const SEALED: usize = Form::Encrypted.header_len();
        const CLEAR: usize = Form::Clear.header_len();
        let done = is_ready
            && match (self.form, self.is_tagged(known)) {
                (Form::Encrypted, false) => rewrite::strip_behind::<B, SEALED, PLAIN_UPPER>(packet),
                (Form::Encrypted, true) => rewrite::strip_behind::<B, SEALED, { PLAIN_UPPER + TAG }>(packet),
                (_, false) => rewrite::strip_behind::<B, CLEAR, PLAIN_UPPER>(packet),
                (_, true) => rewrite::strip_behind::<B, CLEAR, { PLAIN_UPPER + TAG }>(packet),
            };
        if let (false, Some(outcome)) = (done, outcomes.get_mut(usize::from(known.packet))) {
            *outcome = Outcome::Passed(Reason::ReadOnly);
        }
        done
    }
}
