//! Sender state of one flow direction: the packet number n, and from it Kri, F, the place in the PRSEQ order and PSNTP
//! (profile section 6).
//!
//! All of it is one 64-bit word, so that taking a number is one atomic addition: however many workers seal packets of
//! the flow, and whatever the control thread does to it meanwhile, no two packets ever get the same number under the
//! same generation. That is the nonce promise, and everything else in this file serves it.
//!
//! ```text
//!  63      62        61     60        48 47                                0
//! +-------+---------+------+------------+----------------------------------+
//! |frozen |changing | slot | generation |                n                 |
//! +-------+---------+------+------------+----------------------------------+
//! ```
//! `generation` is the generation's low 13 bits. `slot` says which of two words holds the PSNTP that belongs to n = 0
//! of this generation; a change of generation writes the other one first.

use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Packets under one Kri: PRSEQ runs through 1..=32767.
pub const PACKETS_PER_KRI: u64 = 32767;

/// Numbers from here on would need a Kri of more than 32 bits.
pub const MAX_N: u64 = PACKETS_PER_KRI << 32;

const FROZEN: u64 = 1 << 63;
const CHANGING: u64 = 1 << 62;
const SLOT: u64 = 1 << 61;
const GENERATION_SHIFT: u32 = 48;
const GENERATION_BITS: u32 = 13;
const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;
const N_MASK: u64 = (1 << GENERATION_SHIFT) - 1;
/// In `n`, above every number that can be taken: the flow has no generation yet.
const UNSTARTED: u64 = 1 << 47;
const _: () = assert!(MAX_N + (1 << 31) < UNSTARTED);

/// A packet's number n, as what follows from it: Kri and the place in its order are its quotient and remainder.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Number {
    /// Key rotation index: n / 32767. `n` is below [`MAX_N`], so it fits.
    pub kri: u32,
    /// Place in the PRSEQ order of this Kri, 0..32767.
    pub index: u16,
    /// Packet sequence number this packet.
    pub psntp: u16,
}

impl Number {
    #[inline]
    const fn new(n: u64, base: u16) -> Self {
        let kri = n / PACKETS_PER_KRI;
        let index = n - kri * PACKETS_PER_KRI;
        Self { kri: kri as u32, index: index as u16, psntp: base.wrapping_add(n as u16) }
    }

    /// Packets of this direction sealed under this generation before it.
    #[must_use]
    pub const fn n(self) -> u64 {
        self.kri as u64 * PACKETS_PER_KRI + self.index as u64
    }

    /// The F bit: Kri mod 2.
    #[inline]
    #[must_use]
    pub const fn f(self) -> bool {
        self.kri & 1 == 1
    }
}

/// Why a packet gets no number, and so no option.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoNumber {
    /// The flow is being taken out of the table at this moment.
    Frozen,
    /// n has passed 2^32 Kri; only a new generation helps.
    Exhausted,
    /// The flow has already moved to a newer generation than the caller knows.
    NewerGeneration,
    /// Other workers kept changing the state.
    Contended,
}

/// The numbers given out so far under one generation: what a packet of a moment ago can have had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Given {
    /// How many.
    n: u64,
    /// PSNTP of n = 0.
    base: u16,
}

impl Given {
    /// The latest number with this PSNTP, if it is among the last `back` ones.
    #[must_use]
    pub fn number(self, psntp: u16, back: u64) -> Option<Number> {
        let last = self.n.checked_sub(1)?;
        let behind = u64::from(self.base.wrapping_add(last as u16).wrapping_sub(psntp));
        let n = last.checked_sub(behind).filter(|_| behind < back)?;
        Some(Number::new(n, self.base))
    }

    /// The last Kri, or the one before it: the one with this F.
    #[must_use]
    pub fn kri(self, f: bool) -> Option<u32> {
        let last = (self.n.checked_sub(1)? / PACKETS_PER_KRI) as u32;
        if (last & 1 == 1) == f { Some(last) } else { last.checked_sub(1) }
    }
}

/// What must outlive a flow that leaves the table so that its numbers go on where they stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SenderRest {
    /// The generation's low bits and n, as in the word above, without flags.
    word: u64,
    /// PSNTP of n = 0.
    base: u16,
}

impl SenderRest {
    /// Whether numbers were taken under this generation.
    #[must_use]
    pub const fn is_of(&self, generation: u32) -> bool {
        self.word & UNSTARTED == 0 && tag_of(self.word) == generation & GENERATION_MASK
    }

    /// Whether the flow had a generation at all.
    #[must_use]
    pub const fn is_started(&self) -> bool {
        self.word & UNSTARTED == 0
    }

    /// Numbers taken.
    #[must_use]
    pub const fn n(&self) -> u64 {
        if self.word & UNSTARTED != 0 { 0 } else { self.word & N_MASK }
    }

    /// As two words, for a table of atomics.
    #[must_use]
    pub const fn to_words(self) -> (u64, u16) {
        (self.word, self.base)
    }

    /// The inverse of [`SenderRest::to_words`].
    #[must_use]
    pub const fn from_words(word: u64, base: u16) -> Self {
        Self { word: word & !(FROZEN | CHANGING | SLOT), base }
    }
}

const fn tag_of(word: u64) -> u32 {
    (word >> GENERATION_SHIFT) as u32 & GENERATION_MASK
}

/// Whether a word belongs to a newer generation than `tag`. More than half the tag space away counts as old.
const fn is_newer(word: u64, tag: u32) -> bool {
    word & UNSTARTED == 0 && tag.wrapping_sub(tag_of(word)) & GENERATION_MASK > GENERATION_MASK / 2
}

/// Whether the next number is one of this generation that can be taken.
#[inline]
const fn gives(word: u64, tag: u32) -> bool {
    // Other bits than n's would make it larger: frozen, not started, another generation.
    word & !(SLOT | CHANGING) ^ (tag as u64) << GENERATION_SHIFT < MAX_N
}

/// Why there never will be a number of this generation; `None`: there is one, or it has to be begun.
const fn refusal(word: u64, tag: u32) -> Option<NoNumber> {
    if word & FROZEN != 0 {
        Some(NoNumber::Frozen)
    } else if is_newer(word, tag) {
        Some(NoNumber::NewerGeneration)
    } else if tag_of(word) == tag && word & UNSTARTED == 0 && word & N_MASK >= MAX_N {
        Some(NoNumber::Exhausted)
    } else {
        None
    }
}

const fn pack(generation: u32, n: u64) -> u64 {
    ((generation & GENERATION_MASK) as u64) << GENERATION_SHIFT | n
}

/// The numbers of one direction of one flow.
#[derive(Debug, Default)]
#[repr(C)]
pub struct SenderState {
    word: AtomicU64,
    /// generation tag << 16 | PSNTP of n = 0, by slot.
    base: [AtomicU32; 2],
}

impl SenderState {
    /// A flow's first packet will be n = 0 of `generation`, with this random PSNTP. Only before other threads see it.
    pub fn start(&self, generation: u32, psntp: u16) {
        self.base[0].store((generation & GENERATION_MASK) << 16 | u32::from(psntp), Ordering::Relaxed);
        self.word.store(pack(generation, 0), Ordering::Release);
    }

    /// A flow that starts while there is no generation: its first [`SenderState::take`] begins one, whichever it is.
    pub fn start_later(&self, psntp: u16) {
        self.base[0].store(u32::from(psntp), Ordering::Relaxed);
        self.word.store(UNSTARTED, Ordering::Release);
    }

    /// A flow that comes back while there is no generation.
    pub fn resume_as_it_was(&self, rest: SenderRest) {
        self.base[0].store(tag_of(rest.word) << 16 | u32::from(rest.base), Ordering::Relaxed);
        self.word.store(rest.word, Ordering::Release);
    }

    /// A flow that comes back goes on where it stopped: in the same generation at the same n; in a newer one at n = 0,
    /// the PSNTP one after the last. Brought back by a worker whose generation is older than the rest's it stays in its
    /// own: what was used of the older one is forgotten. Only before other threads see it.
    pub fn resume(&self, rest: SenderRest, generation: u32) {
        if rest.is_of(generation) || is_newer(rest.word, generation & GENERATION_MASK) {
            self.resume_as_it_was(rest);
        } else {
            self.start(generation, rest.base.wrapping_add(rest.n() as u16));
        }
    }

    /// Takes the next number under `generation`, which the caller can seal under.
    ///
    /// # Errors
    /// [`NoNumber`]: the packet goes without the option.
    #[inline]
    pub fn take(&self, generation: u32) -> Result<Number, NoNumber> {
        let tag = generation & GENERATION_MASK;
        if gives(self.word.load(Ordering::Acquire), tag) { self.take_one(tag) } else { self.take_otherwise(tag) }
    }

    /// Takes the next number, which was of this generation a moment ago.
    #[inline]
    fn take_one(&self, tag: u32) -> Result<Number, NoNumber> {
        let taken = self.word.fetch_add(1, Ordering::AcqRel);
        let base = self.base[usize::from(taken & SLOT != 0)].load(Ordering::Acquire);
        if gives(taken, tag) && base >> 16 == tag {
            return Ok(Number::new(taken & N_MASK, base as u16));
        }
        // What a freezer has read is not changed by our addition; a number of a newer generation is lost, which harms nobody.
        Err(refusal(taken, tag).unwrap_or(NoNumber::NewerGeneration))
    }

    #[cold]
    fn take_otherwise(&self, tag: u32) -> Result<Number, NoNumber> {
        for _ in 0..256 {
            let seen = self.word.load(Ordering::Acquire);
            if let Some(no) = refusal(seen, tag) {
                return Err(no);
            }
            if gives(seen, tag) {
                return self.take_one(tag);
            }
            if let Some(done) = self.change_generation(tag) {
                return done;
            }
            crate::sync::spin();
        }
        Err(NoNumber::Contended)
    }

    /// Moves to a newer generation and takes its n = 0. `None`: another worker is doing it, look again.
    #[cold]
    fn change_generation(&self, tag: u32) -> Option<Result<Number, NoNumber>> {
        let mut seen = self.word.load(Ordering::Acquire);
        // Since our caller looked, others may have gone past `tag`: its numbers may all have been given out by now.
        if seen & (CHANGING | FROZEN) != 0 || is_newer(seen, tag) || (tag_of(seen) == tag && seen & UNSTARTED == 0) {
            return None;
        }
        if self.word.compare_exchange(seen, seen | CHANGING, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return None;
        }
        seen |= CHANGING;
        // From here on nobody else changes the generation or writes the base words; others may still take numbers.
        let result = loop {
            let old = self.base[usize::from(seen & SLOT != 0)].load(Ordering::Relaxed) as u16;
            let psntp = old.wrapping_add((seen & N_MASK) as u16);
            let slot = !seen & SLOT;
            self.base[usize::from(slot != 0)].store(tag << 16 | u32::from(psntp), Ordering::Release);
            match self.word.compare_exchange(seen, slot | pack(tag, 1), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break Ok(Number::new(0, psntp)),
                Err(now) if now & FROZEN != 0 => {
                    self.word.fetch_and(!CHANGING, Ordering::AcqRel); // ours; a thawed flow has to change after all
                    break Err(NoNumber::Frozen);
                }
                Err(now) => seen = now,
            }
        };
        Some(result)
    }

    /// Stops the numbers for good and says what must be kept. Numbers taken before are all below the `n` it gives;
    /// after it nobody gets one, until [`SenderState::thaw`].
    pub fn freeze(&self) -> SenderRest {
        let seen = self.word.fetch_or(FROZEN, Ordering::AcqRel);
        let base = self.base[usize::from(seen & SLOT != 0)].load(Ordering::Acquire) as u16;
        SenderRest::from_words(seen, base)
    }

    /// Takes a freeze back: the flow stays after all. Additions made by refused packets meanwhile only skip numbers.
    pub fn thaw(&self) {
        self.word.fetch_and(!FROZEN, Ordering::AcqRel);
    }

    /// The numbers given out under `generation`. `None`: the flow's are of another one, or there are none.
    #[must_use]
    pub fn given(&self, generation: u32) -> Option<Given> {
        let tag = generation & GENERATION_MASK;
        let seen = self.word.load(Ordering::Acquire);
        let base = self.base[usize::from(seen & SLOT != 0)].load(Ordering::Acquire);
        let of_it = seen & UNSTARTED == 0 && tag_of(seen) == tag && base >> 16 == tag;
        of_it.then_some(Given { n: (seen & N_MASK).min(MAX_N), base: base as u16 })
    }

    /// Numbers taken so far in the present generation.
    pub fn taken(&self) -> u64 {
        self.word.load(Ordering::Relaxed) & N_MASK
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::sync::Mutex;

    fn at(state: &SenderState, generation: u32, n: u64) {
        state.resume(SenderRest::from_words(pack(generation, n), 0), generation);
    }

    #[test]
    fn numbers_run_and_rotate() {
        let state = SenderState::default();
        state.start(1, 0xFFFF);
        let first = state.take(1).expect("number");
        assert_eq!((first.n(), first.psntp, first.kri, first.index, first.f()), (0, 0xFFFF, 0, 0, false));
        for n in 1..PACKETS_PER_KRI {
            assert_eq!(state.take(1).expect("number").n(), n);
        }
        let second = state.take(1).expect("number");
        assert_eq!((second.kri, second.index, second.f(), second.psntp), (1, 0, true, 0x7FFE));
    }

    #[test]
    fn ends_with_the_last_kri() {
        let state = SenderState::default();
        at(&state, 1, MAX_N - 1);
        let last = state.take(1).expect("number");
        assert_eq!((last.kri, last.index), (u32::MAX, 32766));
        assert_eq!(state.take(1), Err(NoNumber::Exhausted));
        assert_eq!(state.take(2).expect("a new generation helps").n(), 0);
    }

    #[test]
    fn a_new_generation_starts_at_zero_and_psntp_goes_on() {
        let state = SenderState::default();
        state.start(7, 100);
        state.take(7).expect("number");
        state.take(7).expect("number");
        assert_eq!(state.take(8), Ok(Number::new(0, 102)));
        assert_eq!(state.take(8), Ok(Number::new(1, 102)));
        assert_eq!(state.take(7), Err(NoNumber::NewerGeneration));
        assert_eq!(
            state.take(8 + 5000),
            Err(NoNumber::NewerGeneration),
            "more than half the tag space away counts as old"
        );
    }

    #[test]
    fn rest_goes_on_where_it_stopped() {
        let state = SenderState::default();
        state.start(3, 10);
        for _ in 0..5 {
            state.take(3).expect("number");
        }
        let rest = state.freeze();
        assert_eq!(state.take(3), Err(NoNumber::Frozen));
        assert_eq!(rest.n(), 5);
        let back = SenderState::default();
        back.resume(rest, 3);
        assert_eq!(back.take(3), Ok(Number::new(5, 10)));
        back.resume(rest, 4);
        assert_eq!(back.take(4), Ok(Number::new(0, 15)));
        state.thaw();
        assert!(state.take(3).expect("thawed").n() >= 5);
    }

    #[test]
    fn numbers_that_were_given_are_known_again_and_no_others() {
        let state = SenderState::default();
        assert!(state.given(0).is_some_and(|g| g.number(0, 1 << 16).is_none()), "none yet");
        state.start_later(9);
        assert_eq!(state.given(7), None);
        state.start(7, 0xFFF0);
        for _ in 0..40 {
            state.take(7).expect("number");
        }
        assert_eq!(state.given(8), None, "another generation");
        let given = state.given(7).expect("this one");
        for n in 0..40u64 {
            assert_eq!(given.number(0xFFF0u16.wrapping_add(n as u16), 1 << 16).map(Number::n), Some(n));
        }
        for psntp in (0..=u16::MAX).filter(|p| p.wrapping_sub(0xFFF0) >= 40) {
            assert_eq!(given.number(psntp, 1 << 16), None, "{psntp} was never given");
        }
        assert_eq!(given.number(0xFFF0u16.wrapping_add(29), 10), None, "too far back");
        assert_eq!(given.number(0xFFF0u16.wrapping_add(30), 10).map(Number::n), Some(30));
        assert_eq!((given.kri(false), given.kri(true)), (Some(0), None));
    }

    #[test]
    fn kri_and_psntp_of_long_flows() {
        let state = SenderState::default();
        let n = 5 * PACKETS_PER_KRI + 3;
        at(&state, 1, n);
        let given = state.given(1).expect("started");
        assert_eq!((given.kri(true), given.kri(false)), (Some(5), Some(4)));
        assert_eq!(given.number((n - 1) as u16, 1).map(|n| (n.kri, n.index)), Some((5, 2)));
        assert_eq!(given.number(n as u16, 1 << 16).map(Number::n), Some(n - (1 << 16)), "65,536 before");
    }

    #[test]
    fn a_worker_that_slept_does_not_take_the_flow_back_a_generation() {
        let state = SenderState::default();
        state.start(1, 0);
        // A worker under generation 2 has seen generation 1 in the word and is about to change it. It sleeps; then:
        assert_eq!(state.take(2).map(Number::n), Ok(0));
        assert_eq!(state.take(3).map(Number::n), Ok(0));
        // It wakes up. n = 0 of generation 2 was given out above.
        assert_eq!(state.change_generation(2), None);
        assert_eq!(state.take(2), Err(NoNumber::NewerGeneration));
        assert_eq!(state.take(3).map(Number::n), Ok(1));
    }

    #[test]
    fn a_flow_does_not_come_back_under_an_older_generation() {
        let state = SenderState::default();
        state.start(1, 0);
        assert_eq!(state.take(1).map(Number::n), Ok(0));
        assert_eq!(state.take(2).map(Number::n), Ok(0));
        let rest = state.freeze();
        // A worker whose ring is older than the rest brings it back: n = 0 of generation 1 was given out above.
        let back = SenderState::default();
        back.resume(rest, 1);
        assert_eq!(back.take(1), Err(NoNumber::NewerGeneration));
        assert_eq!(back.take(2).map(Number::n), Ok(1));
    }

    #[test]
    fn many_threads_generations_and_freezes_never_give_a_number_twice() {
        let all = Mutex::new(HashSet::new());
        let state = SenderState::default();
        state.start(1, 0);
        let generation = std::sync::atomic::AtomicU32::new(1);
        std::thread::scope(|s| {
            for _ in 0..3 {
                s.spawn(|| {
                    let mut mine = Vec::new();
                    for _ in 0..100_000 {
                        let g = generation.load(std::sync::atomic::Ordering::Relaxed);
                        if let Ok(number) = state.take(g) {
                            mine.push((g, number.n(), number.psntp));
                        }
                    }
                    let mut all = all.lock().expect("lock");
                    for (g, n, psntp) in mine {
                        assert!(all.insert((g, n)), "{n} of generation {g} twice, psntp {psntp}");
                    }
                });
            }
            s.spawn(|| {
                for i in 0..2000u32 {
                    generation.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if i % 7 == 0 {
                        state.freeze();
                        state.thaw();
                    }
                    std::thread::yield_now();
                }
            });
        });
        assert!(all.into_inner().expect("lock").len() > 1000);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    #[test]
    fn loom_two_workers_change_generation() {
        loom::model(|| {
            let state = Arc::new(SenderState::default());
            state.start(1, 50);
            let other = Arc::clone(&state);
            let thread = thread::spawn(move || (other.take(1).map(|n| (1, n)), other.take(2).map(|n| (2, n))));
            let mine = [state.take(2).map(|n| (2, n))];
            let theirs = thread.join().expect("no panic");
            let mut got: Vec<_> = mine.into_iter().chain([theirs.0, theirs.1]).flatten().collect();
            let count = got.len();
            got.sort_by_key(|&(g, n)| (g, n.n()));
            got.dedup_by_key(|&mut (g, n)| (g, n.n()));
            assert_eq!(got.len(), count, "a number was given twice: {got:?}");
            for pair in got.windows(2) {
                assert_ne!(pair[0].1.psntp, pair[1].1.psntp, "one PSNTP for two packets: {got:?}");
            }
        });
    }

    #[test]
    fn loom_a_thawed_flow_still_changes_generation() {
        loom::model(|| {
            let state = Arc::new(SenderState::default());
            state.start(1, 0);
            let other = Arc::clone(&state);
            let thread = thread::spawn(move || other.take(2).map(Number::n));
            state.freeze();
            state.thaw();
            let theirs = thread.join().expect("no panic");
            assert_eq!(state.take(2).map(Number::n), Ok(u64::from(theirs.is_ok())), "after {theirs:?}");
        });
    }

    #[test]
    fn loom_freeze_is_final() {
        loom::model(|| {
            let state = Arc::new(SenderState::default());
            state.start(1, 0);
            let other = Arc::clone(&state);
            let thread = thread::spawn(move || [other.take(1), other.take(2)]);
            let rest = state.freeze();
            for number in thread.join().expect("no panic").into_iter().flatten().enumerate() {
                let (_, number) = number;
                // Either it belongs to an older generation than the rest, or it lies below the rest's n.
                assert!(number.n() < rest.n() || rest.is_of(2), "{number:?} {rest:?}");
            }
            let back = SenderState::default();
            back.resume(rest, 2);
            let next = back.take(2).expect("number");
            assert!(!rest.is_of(2) || next.n() >= rest.n());
        });
    }
}
