//! Sender state of one flow direction: the packet number n, and from it Kri, F, the place in the PRSEQ order and PSNTP
//! (profile section 6).
//!
//! [`Numbers`] is a plain value: one worker at a time numbers a flow's packets, and who that is, is settled elsewhere. Of n
//! two parts are kept, Kri and the place in its order, so that nothing is divided for a packet. A number is given once under
//! its generation: they only grow, a generation begins at 0 and only after an older one, and what a flow leaves behind
//! ([`SenderSnapshot`]) says where to go on.
//!
//! Options in clear need numbers too, and no generation. They take the next number of whichever generation the flow is at, or
//! of none ([`Numbers::take_in_clear`]), and never begin one. So a flow that seals, then goes in clear, then seals again
//! goes on behind all that it sealed before.

/// Packets under one Kri: PRSEQ runs through 1..=32767.
pub const PACKETS_PER_KRI: u64 = 32767;

/// The same, as a place in the order: the one behind the last.
const PLACES: u16 = PACKETS_PER_KRI as u16;

/// Numbers from here on would need a Kri of more than 32 bits.
pub const MAX_N: u64 = PACKETS_PER_KRI << 32;

/// In the place of a generation: none yet. (Their numbers begin with 1.)
pub const NO_GENERATION: u32 = 0;

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
    const fn new(n: u64, psntp: u16) -> Self {
        Self { kri: (n / PACKETS_PER_KRI) as u32, index: (n % PACKETS_PER_KRI) as u16, psntp }
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
    /// n has passed 2^32 Kri; only a new generation helps.
    Exhausted,
    /// The flow has already moved to a newer generation than the caller knows.
    NewerGeneration,
}

/// The numbers given out so far under one generation: what a packet of a moment ago can have had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Given {
    /// How many.
    n: u64,
    /// PSNTP of the next one.
    psntp: u16,
}

impl Given {
    /// The latest number with this PSNTP, if it is among the last `back` ones.
    #[must_use]
    pub fn number(self, psntp: u16, back: u64) -> Option<Number> {
        let last = self.n.checked_sub(1)?;
        let behind = u64::from(self.psntp.wrapping_sub(1).wrapping_sub(psntp));
        let n = last.checked_sub(behind).filter(|_| behind < back)?;
        Some(Number::new(n, psntp))
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
pub struct SenderSnapshot(Numbers);

impl SenderSnapshot {
    /// Whether numbers were taken under this generation.
    #[must_use]
    pub const fn is_of(&self, generation: u32) -> bool {
        self.is_started() && self.0.generation == generation
    }

    /// Whether the flow had a generation at all.
    #[must_use]
    pub const fn is_started(&self) -> bool {
        self.0.generation != NO_GENERATION
    }

    /// Numbers taken under a generation.
    #[must_use]
    pub const fn n(&self) -> u64 {
        if self.is_started() { self.0.taken() } else { 0 }
    }

    /// As words, for a table of atomics: the numbers, and the generation.
    #[must_use]
    pub const fn to_words(self) -> (u64, u32) {
        let Numbers { generation, kri, index, psntp } = self.0;
        (Numbers::join(kri, index, psntp), generation)
    }

    /// The inverse of [`SenderSnapshot::to_words`].
    #[must_use]
    pub const fn from_words(word: u64, generation: u32) -> Self {
        Self(Numbers { generation, kri: word as u32, index: (word >> 32) as u16, psntp: (word >> 48) as u16 })
    }
}

/// The numbers of one direction of one flow: that of the next packet, and under which generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Numbers {
    /// The generation, or [`NO_GENERATION`].
    pub generation: u32,
    /// The next packet's Kri, unless `index` says that this one is used up.
    pub kri: u32,
    /// The next packet's place in the order of this Kri; 32767: there is none any more.
    pub index: u16,
    /// The next packet's PSNTP.
    pub psntp: u16,
}

impl Numbers {
    /// A flow's first packet will be n = 0 of `generation`, with this random PSNTP. With [`NO_GENERATION`], while there is
    /// none, or for a flow that goes in clear and needs none: its first [`Numbers::take`] begins one, whichever it is.
    #[must_use]
    pub const fn start(generation: u32, psntp: u16) -> Self {
        Self { generation, kri: 0, index: 0, psntp }
    }

    /// A flow that comes back goes on where it stopped. [`Numbers::take`] will begin a newer generation if there is one, and
    /// will give none under an older one.
    #[must_use]
    pub const fn resume(snapshot: SenderSnapshot) -> Self {
        snapshot.0
    }

    /// What must be kept when the flow leaves the table.
    #[must_use]
    pub const fn snapshot(self) -> SenderSnapshot {
        SenderSnapshot(self)
    }

    /// `psntp (16) | index (16) | kri (32)`.
    const fn join(kri: u32, index: u16, psntp: u16) -> u64 {
        kri as u64 | (index as u64) << 32 | (psntp as u64) << 48
    }

    /// Takes the next number under `generation`, which the caller can seal under.
    ///
    /// # Errors
    /// [`NoNumber`]: the packet goes without the option. Nothing has changed.
    #[inline]
    pub fn take(&mut self, generation: u32) -> Result<Number, NoNumber> {
        if generation != self.generation {
            if generation < self.generation {
                return Err(NoNumber::NewerGeneration);
            }
            *self = Self::start(generation, self.psntp);
        }
        self.take_in_clear()
    }

    /// Takes the next number for an option in clear. It is of the generation that the flow is at, or of none; no generation begins.
    ///
    /// # Errors
    /// [`NoNumber::Exhausted`]: the packet goes without the option. Nothing has changed.
    #[inline]
    pub fn take_in_clear(&mut self) -> Result<Number, NoNumber> {
        if self.index >= PLACES {
            self.kri = self.kri.checked_add(1).ok_or(NoNumber::Exhausted)?;
            self.index = 0;
        }
        let number = Number { kri: self.kri, index: self.index, psntp: self.psntp };
        self.index += 1;
        self.psntp = self.psntp.wrapping_add(1);
        Ok(number)
    }

    /// The numbers given out under `generation`. `None`: the flow's are of another one, or there are none.
    #[must_use]
    pub fn given(&self, generation: u32) -> Option<Given> {
        (self.generation != NO_GENERATION && self.generation == generation).then(|| self.given_in_clear())
    }

    /// The numbers that options in clear may have had: those given out under the present generation, or without one.
    #[must_use]
    pub const fn given_in_clear(&self) -> Given {
        Given { n: self.taken(), psntp: self.psntp }
    }

    /// Numbers taken so far in the present generation.
    #[must_use]
    pub const fn taken(&self) -> u64 {
        self.kri as u64 * PACKETS_PER_KRI + self.index as u64
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
