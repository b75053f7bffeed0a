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
//!
//! Options in clear need numbers too, and no generation. They take the next number of whichever generation the flow is at, or
//! of none ([`SenderState::take_in_clear`]), and never begin one. So a flow that seals, then goes in clear, then seals again
//! goes on behind all that it sealed before.

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
/// In `n`, above every number that can be taken: the flow has no generation yet. What is below it counts options in clear.
const UNSTARTED: u64 = 1 << 47;
/// What is counted, with a generation or without.
const COUNT_MASK: u64 = UNSTARTED - 1;
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
pub struct SenderSnapshot {
    /// The generation's low bits and n, as in the word above, without flags.
    word: u64,
    /// PSNTP of n = 0.
    base: u16,
}

impl SenderSnapshot {
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

    /// The inverse of [`SenderSnapshot::to_words`].
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

/// Whether the next number is one that an option in clear can have, of whichever generation.
#[inline]
const fn gives_in_clear(word: u64) -> bool {
    word & (FROZEN | COUNT_MASK) < MAX_N
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

    /// A flow that starts while there is no generation, or that goes in clear and needs none: its first
    /// [`SenderState::take`] begins one, whichever it is.
    pub fn start_later(&self, psntp: u16) {
        self.base[0].store(u32::from(psntp), Ordering::Relaxed);
        self.word.store(UNSTARTED, Ordering::Release);
    }

    /// A flow that comes back while there is no generation.
    pub fn resume_as_it_was(&self, snapshot: SenderSnapshot) {
        self.base[0].store(tag_of(snapshot.word) << 16 | u32::from(snapshot.base), Ordering::Relaxed);
        self.word.store(snapshot.word, Ordering::Release);
    }

    /// A flow that comes back goes on where it stopped: in the same generation at the same n; in a newer one at n = 0,
    /// the PSNTP one after the last. Brought back by a worker whose generation is older than the snapshot's it stays in its
    /// own: what was used of the older one is forgotten. Only before other threads see it.
    pub fn resume(&self, snapshot: SenderSnapshot, generation: u32) {
        if snapshot.is_of(generation) || is_newer(snapshot.word, generation & GENERATION_MASK) {
            self.resume_as_it_was(snapshot);
        } else {
            self.start(generation, snapshot.base.wrapping_add(snapshot.n() as u16));
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

    /// Takes the next number for an option in clear. It is of the generation that the flow is at, or of none; no generation begins.
    ///
    /// # Errors
    /// [`NoNumber`]: the packet goes without the option.
    #[inline]
    pub fn take_in_clear(&self) -> Result<Number, NoNumber> {
        // Looked at first, so that refused packets do not count on without end.
        let taken = match self.word.load(Ordering::Acquire) {
            seen if gives_in_clear(seen) => self.word.fetch_add(1, Ordering::AcqRel),
            seen => seen,
        };
        let base = self.base[usize::from(taken & SLOT != 0)].load(Ordering::Acquire);
        if gives_in_clear(taken) && base >> 16 == tag_of(taken) {
            return Ok(Number::new(taken & COUNT_MASK, base as u16));
        }
        Err(if taken & FROZEN != 0 {
            NoNumber::Frozen
        } else if gives_in_clear(taken) {
            NoNumber::Contended // generations have changed twice since
        } else {
            NoNumber::Exhausted
        })
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
    pub fn freeze(&self) -> SenderSnapshot {
        let seen = self.word.fetch_or(FROZEN, Ordering::AcqRel);
        let base = self.base[usize::from(seen & SLOT != 0)].load(Ordering::Acquire) as u16;
        SenderSnapshot::from_words(seen, base)
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

    /// The numbers that options in clear may have had: those given out under the present generation, or without one.
    #[must_use]
    pub fn given_in_clear(&self) -> Option<Given> {
        let seen = self.word.load(Ordering::Acquire);
        let base = self.base[usize::from(seen & SLOT != 0)].load(Ordering::Acquire);
        (base >> 16 == tag_of(seen)).then_some(Given { n: (seen & COUNT_MASK).min(MAX_N), base: base as u16 })
    }

    /// Numbers taken so far in the present generation.
    pub fn taken(&self) -> u64 {
        self.word.load(Ordering::Relaxed) & COUNT_MASK
    }
}

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(all(test, loom))]
mod loom_tests;
