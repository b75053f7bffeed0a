//! What the candidates are fed with: bursts of packets, each under a key at random, the same for all of them.

use crate::measure::Random;
use anyhow::{Context, Result};
use protocol::suite::Aead;
use std::array::from_fn;

/// Packets per burst, as the worker takes them.
pub const BURST: usize = 32;
/// Octets of text: the option's metrics.
pub const TEXT: usize = 14;
/// Octets of additional data: the option's head.
pub const AAD: usize = 6;

/// What is done with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// The sender's.
    Seal,
    /// The receiver's.
    Open,
}

impl Operation {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Seal, Self::Open];

    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Seal => "seal",
            Self::Open => "open",
        }
    }
}

/// What a packet carries: half a cache line, so that many of them in a row cost little beside the keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(32))]
pub struct Packet {
    /// [`TEXT`] octets, then zeros.
    pub text: [u8; 16],
    /// Looked at when opening.
    pub tag: [u8; 16],
}

impl Packet {
    /// All zeros.
    pub const ZERO: Self = Self { text: [0; 16], tag: [0; 16] };
}

/// One burst.
#[derive(Clone, Copy, Debug)]
pub struct Burst<'a> {
    /// Each packet's key.
    pub keys: &'a [u32; BURST],
    /// The keys of the burst that comes next: a worker knows them when it has looked up the flows.
    pub next: &'a [u32; BURST],
    /// What they carry.
    pub packets: &'a [Packet; BURST],
    /// Of the first packet; nonce and additional data follow from it.
    pub number: u64,
}

/// A packet's nonce. Made of one number, as a worker's is: what is put together in memory is slow to load again.
#[inline]
#[must_use]
pub fn nonce(number: u64) -> [u8; 12] {
    let [nonce @ .., _, _, _, _] = (0x324D_4450_u128 << 64 | u128::from(number)).to_le_bytes();
    nonce
}

/// A packet's additional data: an option's type and length, and what it has in clear.
#[inline]
#[must_use]
pub fn aad(number: u64) -> [u8; AAD] {
    let [aad @ .., _, _] = (0x200F | number << 16).to_le_bytes();
    aad
}

/// A candidate's buffer, in several places, one for each measurement in turn. A CPU tells a load from an earlier store by
/// the lowest 12 bits of their addresses at first: where the buffer happens to lie a multiple of 4 KiB from what the code has
/// on the stack, it is slower by half. That must not decide about a whole run.
pub struct Places<T> {
    all: Vec<Place<T>>,
    at: usize,
}

/// Apart by no divisor of 4 KiB.
#[repr(C)]
struct Place<T> {
    value: T,
    apart: [u8; 576],
}

impl<T> Places<T> {
    /// As many as a few rounds need.
    #[must_use]
    pub fn new(make: impl Fn() -> T) -> Self {
        Self { all: (0..9).map(|_| Place { value: make(), apart: [0; 576] }).collect(), at: 0 }
    }

    /// The place in use.
    #[inline]
    #[must_use]
    pub fn here(&self) -> &T {
        &self.all[self.at].value
    }

    /// The place in use.
    #[inline]
    pub fn here_mut(&mut self) -> &mut T {
        &mut self.all[self.at].value
    }

    /// On to the next place.
    pub fn move_on(&mut self) {
        self.at = (self.at + 1) % self.all.len();
    }
}

/// Someone who seals and opens: one of our paths, or a library.
pub trait Candidate {
    /// Its name in reports.
    fn name(&self) -> String;
    /// What it computes.
    fn aead(&self) -> Aead;
    /// Memory that one key takes; its allocation's share included.
    fn octets_per_key(&self) -> f64;
    /// Seals a burst.
    fn seal(&mut self, burst: &Burst<'_>);
    /// Opens a burst: bit i is set when packet i verified.
    fn open(&mut self, burst: &Burst<'_>) -> u32;
    /// Before a measurement: on to the next of the buffer's [`Places`].
    fn move_on(&mut self);
    /// What has become of the last burst's packets, in candidates that keep it in their own form.
    fn result(&self) -> [Packet; BURST];
}

/// The keys, and packets under them.
pub struct Feed {
    keys: Vec<[u8; 32]>,
    order: Vec<[u32; BURST]>,
    sealed: Vec<(Aead, Vec<[Packet; BURST]>)>,
    plain: [Packet; BURST],
}

impl Feed {
    /// For this number of keys. There are twice as many packets as keys, so that going through them again and again is as
    /// good as going on at random, without what a generator of random numbers costs.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        let mut random = Random::new(0x2545_F491_4F6C_DD1D);
        let keys: Vec<[u8; 32]> = (0..keys.max(1))
            .map(|_| {
                let mut key = [0; 32];
                random.fill(&mut key);
                key
            })
            .collect();
        let bursts = (keys.len() * 2).max(4096).div_ceil(BURST);
        let order = (0..bursts).map(|_| from_fn(|_| random.below(keys.len()) as u32)).collect();
        let mut plain = [Packet::ZERO; BURST];
        plain.iter_mut().for_each(|p| random.fill(&mut p.text[..TEXT]));
        Self { keys, order, sealed: Vec::new(), plain }
    }

    /// The keys; of AES-128 the first half counts.
    #[must_use]
    pub fn keys(&self) -> &[[u8; 32]] {
        &self.keys
    }

    /// Bursts, until they come again.
    #[must_use]
    pub fn bursts(&self) -> usize {
        self.order.len()
    }

    /// Lets a candidate make the packets that all of its AEAD will open.
    pub fn prepare(&mut self, by: &mut dyn Candidate) {
        let mut sealed = Vec::with_capacity(self.bursts());
        for at in 0..self.bursts() {
            by.seal(&self.to_seal(at, (at * BURST) as u64));
            sealed.push(by.result());
        }
        self.sealed.push((by.aead(), sealed));
    }

    fn burst<'a>(&'a self, at: usize, packets: &'a [Packet; BURST], number: u64) -> Burst<'a> {
        let next = if at + 1 == self.order.len() { 0 } else { at + 1 };
        Burst { keys: &self.order[at], next: &self.order[next], packets, number }
    }

    /// The burst at this place, to be sealed as packets of these numbers.
    #[inline]
    #[must_use]
    pub fn to_seal(&self, at: usize, number: u64) -> Burst<'_> {
        self.burst(at, &self.plain, number)
    }

    /// All bursts of an AEAD, to be opened.
    ///
    /// # Errors
    /// They have not been prepared.
    pub fn to_open<'a>(&'a self, aead: Aead) -> Result<impl Fn(usize) -> Burst<'a>> {
        let (_, sealed) = self.sealed.iter().find(|(a, _)| *a == aead).context("no packets were sealed for it")?;
        Ok(move |at: usize| self.burst(at, &sealed[at], (at * BURST) as u64))
    }
}
