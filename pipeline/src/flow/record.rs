//! One flow: both directions of one pair of 5-tuples.
//!
//! A flow belongs to one worker, its owner, who alone numbers its packets towards the network, without a lock. What only the
//! owner writes is written by plain stores; what a flow may not do twice is safe because there is never a second owner: the
//! owner gives a flow away by one store with release order, at the end of a burst, and whoever reads it with acquire order
//! finds all numbers that were taken. Packets coming back are taken into account by whichever worker they come to.
//!
//! The record is in two tables. [`Flow`] is what a packet towards the network needs, in three cache lines that stand side by side;
//! [`FlowBack`] is the rest.

mod back;
pub(crate) mod measured;
mod naming;
pub(crate) mod words;

use crate::flow::hash::Fingerprint;
use crate::observe::counters::WorkerCounters;
use measured::FlowMeasured;
pub(crate) use naming::{Name, Naming};
use protocol::aead::KeyState;
use protocol::five_tuple::FiveTuple;
use protocol::key_line::{Found, KeyBody, SecretId};
use protocol::key_schedule::ReadyKey;
use protocol::meter::Meter;
use protocol::nonce::nonce_words;
use protocol::prefetch;
use protocol::receiver::ReceiverState;
use protocol::sender::{Given, NoNumber, Number, Numbers};
use protocol::sync::{AtomicU32, AtomicU64, Ordering, fence};
use protocol::wire::option::Form;
use words::{SEEN_SHIFT, flags, held};

/// The part of a record that packets towards the network need, by cache lines; the second of them is also needed by those
/// coming back. All of it but what is said to be others' is written by the owner only, or while nobody else can reach the
/// record. The lanes read it in registers, at these offsets.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Flow {
    /// Stands for the 5-tuple.
    pub(crate) fingerprint: [AtomicU64; 2],
    /// `policy (16) | limit (16) | name (32)`. The name stands for what the owner has seen of snapshots and paths
    /// ([`Name`]): under it, the flow falls under the policy at this place, and packets up to this length get the option.
    pub(crate) vouched: AtomicU64,
    /// `seen (32) | flags (16) | owner (16)`. Seen is the time of a packet, in units of `SEEN_SHIFT`.
    pub(crate) held: AtomicU64,
    /// The base nonce's first eight octets.
    pub(crate) nonce: AtomicU64,
    /// `Kri of the key (32) | the base nonce's last four octets (32)`.
    pub(crate) nonce_end: AtomicU64,
    /// The PRSEQ order of that Kri.
    pub(crate) order: [AtomicU64; 2],

    /// Times, written by both directions, and the next packet's numbers.
    pub meter: Meter,

    /// The session key to seal with.
    pub(crate) key: KeyBody,
}

/// The rest of a record: what packets coming back need, and what is seldom needed.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct FlowBack {
    /// The 5-tuple of packets from inside to outside.
    tuple: [AtomicU64; 5],
    policy: AtomicU32,
    /// The forms whose options the host on the inside puts into its packets by itself, as bits; and [`SPLIT`].
    noted: AtomicU32,
    /// When a packet came back, or one went the slow way; see [`WholeFlow::idle`].
    last_seen: AtomicU64,
    /// Whether the record stands in the index, for all to find.
    live: AtomicU64,

    /// `Kri (32) | generation (32)` of the next packet's number; its other parts are in the meter. The owner's.
    sender: AtomicU64,
    /// Names the secret of the key to seal with. The owner's.
    key_id: AtomicU64,
    /// Who has handed over the packets that the owner numbered last. The owner's.
    taken_over: AtomicU32,
    /// When it came into the table, in units of `START_SHIFT`. Written then, and never by a packet's way after that.
    started: AtomicU32,
    /// What came in clear: `valid (1) | age (6) | which of the 41 numbers up to the highest came (41) | highest PSNTP (16)`. Age:
    /// how far the first one is behind the highest, 63 at most.
    clear: AtomicU64,
    /// Options that did not verify.
    pub failed: AtomicU64,
    /// Numbers skipped when a later packet came.
    pub skipped: AtomicU64,
    /// Numbers gone through in clear.
    in_clear: AtomicU64,
    /// Packets that came behind a later one.
    pub late: AtomicU64,

    /// Packets coming back.
    pub receiver: ReceiverState,

    /// Times of packets coming back.
    pub(crate) measured: FlowMeasured,
}

/// A whole record.
#[derive(Clone, Copy, Debug)]
pub struct WholeFlow<'a> {
    /// Its first part.
    pub front: &'a Flow,
    /// The rest.
    pub back: &'a FlowBack,
}

impl core::ops::Deref for WholeFlow<'_> {
    type Target = Flow;

    #[inline]
    fn deref(&self) -> &Flow {
        self.front
    }
}

#[cfg(not(loom))]
const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(Flow, meter) == 64 && offset_of!(Flow, key) == 128 && size_of::<Flow>() == 192);
    assert!(offset_of!(FlowBack, sender) == 64 && offset_of!(FlowBack, receiver) == 128);
    assert!(offset_of!(FlowBack, measured).is_multiple_of(64) && size_of::<FlowBack>() == 1024);
};

/// Flags where they stand in `held`.
const F: u64 = held(0, flags::F, 0);
const CLEAR: u64 = held(0, flags::CLEAR, 0);
const PDM: u64 = held(0, flags::PDM, 0);
const UNKEYED: u64 = held(0, flags::UNKEYED, 0);
const NOTED: u64 = held(0, flags::NOTED, 0);
/// In `held`: who owns the flow.
const OWNER: u64 = held(u16::MAX, 0, 0);
/// In `held`: when a packet was seen.
const SEEN: u64 = held(0, 0, u32::MAX);
const SEEN_AT: u32 = SEEN.trailing_zeros();
const SEEN_GRAIN: u64 = 1 << SEEN_SHIFT;
/// In `noted`: its packets came to several workers. The forms have the bits from the lowest on.
const SPLIT: u32 = 1 << 31;
/// A unit of the time at which a flow came, as a power of two of nanoseconds: 17 ms, of which 32 bits hold two years.
const START_SHIFT: u32 = 24;

/// What a flow was told under a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Vouched {
    /// The place of its policy among the rules.
    pub(crate) policy: u16,
    /// How long, in octets from the IPv6 header on, packets may be that get the option without a further question.
    pub(crate) limit: u16,
}

impl WholeFlow<'_> {
    /// Counts the flow, once, if this worker, to which a packet of it has come, is not its owner.
    #[cold]
    pub(crate) fn count_if_split(&self, counters: &WorkerCounters) {
        if usize::from(self.owner()) != counters.worker && self.back.note_split() {
            counters.flows_split.add(1);
        }
    }
}

impl Flow {
    /// Nobody's.
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self {
            fingerprint: [const { AtomicU64::new(0) }; 2],
            vouched: AtomicU64::new(0),
            held: AtomicU64::new(0),
            nonce: AtomicU64::new(0),
            nonce_end: AtomicU64::new(0),
            order: [const { AtomicU64::new(0) }; 2],
            meter: Meter::new(),
            key: KeyBody::new(),
        }
    }

    /// Who owns it. If it is the caller, it finds all numbers that were taken.
    #[inline]
    #[must_use]
    pub fn owner(&self) -> u16 {
        self.held.load(Ordering::Acquire) as u16
    }

    /// What the lanes look at of a flow that may be any worker's: `held`, `vouched`, and the word of the next packet's number. Who
    /// holds it first: is it the caller, the others are what it or the owner before wrote, and nothing from before.
    #[inline(always)]
    pub(crate) fn looked_at(&self) -> [u64; 3] {
        let held = self.held.load(Ordering::Acquire);
        [held, self.vouched.load(Ordering::Relaxed), self.meter.next.load(Ordering::Relaxed)]
    }

    /// Gives the flow to another worker. Only for its owner, who does nothing with it any more.
    pub fn give(&self, to: u16) {
        // The other worker has names of its own.
        self.vouched.store(0, Ordering::Relaxed);
        let held = self.held.load(Ordering::Relaxed);
        self.held.store(held & !OWNER | u64::from(to), Ordering::Release);
    }

    /// What the flow was told under this name. Only for its owner.
    #[inline]
    pub(crate) fn vouched(&self, name: Name) -> Option<Vouched> {
        let word = self.vouched.load(Ordering::Relaxed);
        (word as u32 == name.0).then_some(Vouched { policy: (word >> 48) as u16, limit: (word >> 32) as u16 })
    }

    /// Tells it. Only for its owner.
    #[inline]
    pub(crate) fn vouch(&self, name: Name, told: Vouched) {
        self.vouched.store(words::vouched(name.0, told.limit, told.policy), Ordering::Relaxed);
    }

    /// Notes that a packet came. Only for its owner.
    #[inline]
    pub(crate) fn seen(&self, now: u64) {
        let before = self.held.load(Ordering::Relaxed);
        let after = before & !SEEN | held(0, 0, words::seen(now));
        if before != after {
            self.held.store(after, Ordering::Relaxed);
        }
    }

    /// The key that is there is none of the next number's.
    fn unkey(&self) {
        self.held.store(self.held.load(Ordering::Relaxed) | UNKEYED, Ordering::Relaxed);
    }

    /// Makes it as new, its key overwritten. Only when no worker can reach it.
    fn clear(&self) {
        let words = [&self.vouched, &self.held, &self.nonce, &self.nonce_end];
        for word in words.into_iter().chain(&self.order).chain(&self.fingerprint) {
            word.store(0, Ordering::Relaxed);
        }
        self.meter.clear();
        self.key.store(&KeyState::ZERO);
    }
}

impl WholeFlow<'_> {
    /// Fills a record that nobody else can reach yet.
    pub(crate) fn prepare(&self, tuple: &FiveTuple, fingerprint: Fingerprint, policy: u32, now: u64) {
        for (word, half) in self.front.fingerprint.iter().zip([fingerprint.lo, fingerprint.hi]) {
            word.store(half, Ordering::Relaxed);
        }
        self.back.prepare(tuple, policy, now);
    }

    /// Makes a record ready that nobody else can reach yet: `owner`'s, with these numbers.
    pub fn begin(&self, owner: u16, numbers: Numbers) {
        self.front.held.store(held(owner, flags::UNKEYED, 0), Ordering::Relaxed);
        self.set_numbers(numbers);
    }

    /// The next packet's numbers. For its owner, or when nobody can be numbering its packets.
    pub(crate) fn numbers(&self) -> Numbers {
        let (word, (index, psntp)) = (self.back.sender.load(Ordering::Relaxed), self.meter.next());
        Numbers { generation: word as u32, kri: (word >> 32) as u32, index, psntp }
    }

    fn set_numbers(&self, numbers: Numbers) {
        let Numbers { generation, kri, index, psntp } = numbers;
        self.back.sender.store(u64::from(generation) | u64::from(kri) << 32, Ordering::Relaxed);
        fence(Ordering::Release); // see `given`
        self.meter.set_next(index, psntp);
    }

    /// Takes the next packet's number: under this generation, or, with `None`, for an option in clear. Only for its owner.
    ///
    /// # Errors
    /// [`NoNumber`]: the packet goes without the option.
    #[inline]
    pub(crate) fn take(&self, generation: Option<u32>) -> Result<Number, NoNumber> {
        let before = self.numbers();
        let mut numbers = before;
        let number = match generation {
            Some(generation) => numbers.take(generation),
            None => numbers.take_in_clear(),
        }?;
        if (numbers.generation, numbers.kri) == (before.generation, before.kri) {
            self.meter.set_next(numbers.index, numbers.psntp);
        } else {
            // The key that is there goes with the numbers before.
            self.front.unkey();
            self.set_numbers(numbers);
        }
        Ok(number)
    }

    /// The key of this secret and Kri, with the words of its PRSEQ order, if the flow has it. Only for its owner.
    #[inline]
    pub(crate) fn key(&self, id: SecretId, kri: u32, into: &mut KeyState) -> Option<Found<2>> {
        let end = self.front.nonce_end.load(Ordering::Relaxed);
        if self.back.key_id.load(Ordering::Relaxed) != id.bits() || (end >> 32) as u32 != kri {
            return None;
        }
        self.front.key.load(into);
        let base_nonce = (self.front.nonce.load(Ordering::Relaxed), end as u32);
        Some(Found { base_nonce, extra: self.front.order.each_ref().map(|word| word.load(Ordering::Relaxed)) })
    }

    /// Keeps the key of this secret and Kri, or no more than its order of PRSEQ. `lanes`: the form of options that the lanes put in
    /// with it. Only for its owner.
    pub(crate) fn set_key(&self, id: SecretId, kri: u32, key: &ReadyKey, order: [u64; 2], lanes: Option<Form>) {
        let (nonce, end) = nonce_words(key.base_nonce);
        self.front.nonce.store(nonce, Ordering::Relaxed);
        self.front.nonce_end.store(u64::from(end) | u64::from(kri) << 32, Ordering::Relaxed);
        for (word, value) in self.front.order.iter().zip(order) {
            word.store(value, Ordering::Relaxed);
        }
        self.front.key.store(&key.state);
        self.back.key_id.store(id.bits(), Ordering::Relaxed);
        self.use_in_lanes(lanes.map(|form| (form, id)));
    }

    /// Whether the key that is there is the next number's, and of which form the options are that the lanes put in with it: what
    /// the flow is told of that when all else is. Only for its owner.
    pub(crate) fn use_in_lanes(&self, lanes: Option<(Form, SecretId)>) {
        let (numbers, end) = (self.numbers(), self.front.nonce_end.load(Ordering::Relaxed));
        let (key, kri) = (self.back.key_id.load(Ordering::Relaxed), (end >> 32) as u32);
        let fits = |&(form, id): &(Form, SecretId)| {
            // Options in clear are of whichever generation the flow is at; PDM has no order either.
            let of_it = form != Form::Encrypted || id.generation() == numbers.generation;
            form == Form::Pdm || of_it && (key, kri) == (id.bits(), numbers.kri)
        };
        let flags = match lanes.filter(fits) {
            Some((Form::Encrypted, _)) => 0,
            Some((Form::Clear, _)) => CLEAR,
            Some((Form::Pdm, _)) => PDM,
            None => UNKEYED,
        };
        let held = self.front.held.load(Ordering::Relaxed) & !(UNKEYED | CLEAR | PDM | F);
        self.front.held.store(held | flags | if kri & 1 == 1 { F } else { 0 }, Ordering::Relaxed);
    }

    /// Whether the lanes must leave the flow's packets alone until [`WholeFlow::use_in_lanes`] tells otherwise. Only for its owner.
    #[inline]
    pub(crate) fn is_unkeyed(&self) -> bool {
        self.front.held.load(Ordering::Relaxed) & UNKEYED != 0
    }

    /// The numbers given out under this generation, or, with `None`, to options in clear. `None`: the flow's are of another
    /// one, or they have just changed. For any worker.
    pub(crate) fn given(&self, generation: Option<u32>) -> Option<Given> {
        let before = self.back.sender.load(Ordering::Acquire);
        let numbers = self.numbers();
        fence(Ordering::Acquire);
        if self.back.sender.load(Ordering::Relaxed) != before {
            return None;
        }
        match generation {
            Some(generation) => numbers.given(generation),
            None => Some(numbers.given_in_clear()),
        }
    }

    /// The owner's note of packets that it took over; 0: the last ones came to itself.
    #[inline]
    pub(crate) fn taken_over(&self) -> u32 {
        self.back.taken_over.load(Ordering::Relaxed)
    }

    /// Writes that note. Only for its owner.
    pub(crate) fn set_taken_over(&self, note: u32) {
        self.back.taken_over.store(note, Ordering::Relaxed);
        let held = self.front.held.load(Ordering::Relaxed) & !NOTED;
        self.front.held.store(held | if note == 0 { 0 } else { NOTED }, Ordering::Relaxed);
    }

    /// Nanoseconds since the last packet of either direction, exact to some 0.3 s.
    #[must_use]
    pub fn idle(&self, now: u64) -> u64 {
        let sent = (self.front.held.load(Ordering::Relaxed) >> SEEN_AT) << SEEN_SHIFT;
        now.saturating_sub(sent.max(self.back.last_seen.load(Ordering::Relaxed)))
    }

    /// Nanoseconds since the flow came into the table, exact to some 17 ms; for up to two years.
    #[must_use]
    pub fn age(&self, now: u64) -> u64 {
        let since = ((now >> START_SHIFT) as u32).wrapping_sub(self.back.started.load(Ordering::Relaxed));
        u64::from(since) << START_SHIFT
    }

    /// Asks for the lines that are needed first for a packet towards the network. (All at once would be more than the CPU can
    /// wait for: the rest is asked for one packet at a time, between other work.)
    #[inline]
    pub(crate) fn prefetch_outbound_first(&self) {
        prefetch::line(self.front);
        prefetch::line(self.back);
    }

    /// Asks for those that are needed then.
    #[inline]
    pub(crate) fn prefetch_outbound_rest(&self) {
        prefetch::line(&self.front.meter);
        prefetch::line(&self.front.key);
        prefetch::line(&self.back.sender);
    }

    /// Asks for the lines that are needed first for a packet coming back.
    #[inline]
    pub(crate) fn prefetch_inbound(&self) {
        prefetch::line(self.back);
        prefetch::line(&self.back.receiver);
    }

    /// Asks for those that are needed then.
    #[inline]
    pub(crate) fn prefetch_inbound_rest(&self) {
        prefetch::line(self.back.receiver.key_line());
        prefetch::line(self.back.receiver.window_line());
        prefetch::line(&self.meter);
    }

    /// Asks for the line of the replay window that a packet coming back needs.
    #[inline]
    pub(crate) fn prefetch_window(&self) {
        prefetch::line(self.back.receiver.window_line());
    }

    /// Makes the record as new, its keys overwritten. Only when no worker can reach it.
    pub(crate) fn clear(&self) {
        self.front.clear();
        self.back.clear();
    }
}

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(all(test, loom))]
mod loom_tests;
