//! The numbers of one secret: the highest one seen, and the replay window behind it.

use crate::key_line::SecretId;
use crate::replay::{Mark, ReplayWindow, WINDOW};
use crate::sender::PACKETS_PER_KRI;
use crate::sync::{AtomicU64, Ordering};

/// What became of an authenticated packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Accepted.
    Fresh {
        /// Numbers between the highest seen before and this one: lost, or late.
        skipped: u32,
        /// It came behind the highest seen: reordered.
        late: bool,
        /// It was counted as skipped when that one came: one less is lost. (One that is older than the first one seen was not.)
        found: bool,
    },
    /// Accepted before.
    Replayed,
    /// Behind the window, or under a secret that the flow has left.
    TooOld,
}

/// One secret's number space.
///
/// The extended number of a packet is `kri * 32767 + remainder`; the first packet gets remainder 32767, and a packet's
/// remainder stays within ±65534 of that, so the highest number is one word.
#[derive(Debug, Default)]
pub(super) struct SpaceHead {
    pub(super) id: AtomicU64,
    pub(super) high: AtomicU64,
}

/// How many numbers a receiver's spaces have gone through: see [`ReceiverState::numbers`](super::ReceiverState::numbers).
#[derive(Debug, Default)]
pub(super) struct Gone {
    /// The first number of each space.
    pub(super) first: [AtomicU64; 2],
    /// The spaces' first numbers summed up, less the highest ones of those that have left.
    pub(super) base: AtomicU64,
}

/// A number space: its head stands with the heads of other things that every packet needs, the window apart.
#[derive(Clone, Copy)]
pub(super) struct Space<'a> {
    pub(super) id: &'a AtomicU64,
    pub(super) high: &'a AtomicU64,
    pub(super) first: &'a AtomicU64,
    pub(super) window: &'a ReplayWindow,
}

pub(super) const fn number(high: u64) -> u64 {
    let kri = high >> 32;
    (kri * PACKETS_PER_KRI).wrapping_add(high as u32 as i32 as i64 as u64)
}

const fn pack(kri: u32, number: u64) -> u64 {
    let rest = number.wrapping_sub(kri as u64 * PACKETS_PER_KRI) as u32;
    (kri as u64) << 32 | rest as u64
}

/// Offset so that numbers before the first one seen, and of the Kri before it, stay positive.
const FIRST: u64 = 4 * PACKETS_PER_KRI;

/// Places a PSNTP relative to the highest one: the distance that agrees with it modulo 2^16 and with the Kri that
/// opened it. `None`: no honest sender can have made the pair.
#[inline]
pub(super) fn distance(high_kri: u32, high_psn: u16, kri: u32, psntp: u16) -> Option<i64> {
    let per = PACKETS_PER_KRI as i64;
    let rotations = i64::from(kri) - i64::from(high_kri);
    // n of the packet minus n of the highest lies strictly between these two.
    let (low, high) = ((rotations - 1) * per, (rotations + 1) * per);
    let residue = i64::from(psntp.wrapping_sub(high_psn));
    let first = low + 1;
    let d = first + (residue - first).rem_euclid(1 << 16);
    (d < high).then_some(d)
}

/// [`distance`] under the highest Kri itself: the nearer way round.
#[inline]
pub(super) fn distance_within(high_psn: u16, psntp: u16) -> Option<i64> {
    const PER: i64 = PACKETS_PER_KRI as i64;
    let d = i64::from(psntp.wrapping_sub(high_psn) as i16);
    (-PER < d && d < PER).then_some(d)
}

impl Space<'_> {
    #[inline]
    pub(super) fn accept(&self, id: SecretId, kri: u32, psntp: u16) -> Verdict {
        let seen = self.high.load(Ordering::Acquire);
        // `begin` takes the id away before it writes `high`: while the id is ours, so was the number just read.
        if self.id.load(Ordering::Acquire) != id.bits() {
            return Verdict::TooOld;
        }
        self.place(id, kri, seen, distance((seen >> 32) as u32, number(seen) as u16, kri, psntp))
    }

    /// [`Self::accept`] if the highest number is under this secret and Kri.
    #[inline]
    pub(super) fn accept_current(&self, id: SecretId, kri: u32, psntp: u16) -> Option<Verdict> {
        let seen = self.high.load(Ordering::Acquire);
        if self.id.load(Ordering::Acquire) != id.bits() || (seen >> 32) as u32 != kri {
            return None;
        }
        Some(self.place(id, kri, seen, distance_within(number(seen) as u16, psntp)))
    }

    /// Takes a packet into account that is so far from the highest number, which was `seen` while the space was this secret's.
    #[inline]
    fn place(&self, id: SecretId, kri: u32, mut seen: u64, distance: Option<i64>) -> Verdict {
        let taken_over = || self.id.load(Ordering::Acquire) != id.bits();
        let highest = number(seen);
        let Some(d) = distance else { return Verdict::TooOld };
        let Some(number) = highest.checked_add_signed(d) else { return Verdict::TooOld };
        match self.window.mark(number, highest) {
            Mark::Fresh => {}
            Mark::Replayed => return Verdict::Replayed,
            Mark::TooOld => return Verdict::TooOld,
        }
        if d <= 0 {
            // `begin` writes `first` before `high`, which was read already.
            return Verdict::Fresh { skipped: 0, late: true, found: number > self.first.load(Ordering::Relaxed) };
        }
        let mut before = highest;
        loop {
            let next = pack(kri.max((seen >> 32) as u32), number);
            match self.high.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    return Verdict::Fresh {
                        skipped: (number - before - 1).min(u64::from(u32::MAX)) as u32,
                        late: false,
                        found: false,
                    };
                }
                Err(_) if taken_over() => return Verdict::TooOld,
                Err(now) => {
                    seen = now;
                    before = self::number(now);
                    if before >= number {
                        // Whoever went past it has counted it.
                        return Verdict::Fresh { skipped: 0, late: true, found: true };
                    }
                }
            }
        }
    }

    /// Begins a number space with its first packet. Gives its number.
    pub(super) fn begin(&self, id: SecretId, kri: u32, psntp: u16) -> u64 {
        self.id.store(0, Ordering::Release);
        self.window.clear();
        // The low 16 bits of the number are the PSNTP itself, which keeps `distance` free of an offset.
        let at = u64::from(kri) * PACKETS_PER_KRI + FIRST;
        let first = at + u64::from(psntp.wrapping_sub(at as u16));
        self.window.mark(first, first);
        self.first.store(first, Ordering::Relaxed);
        self.high.swap(pack(kri, first), Ordering::AcqRel);
        self.id.store(id.bits(), Ordering::Release);
        first
    }

    /// Goes on behind a highest number: what was seen below it is forgotten, so all of it counts as seen. Gives the number of
    /// the next packet.
    pub(super) fn go_on(&self, id: u64, high: u64) -> u64 {
        self.id.store(0, Ordering::Release);
        self.window.clear();
        let highest = number(high);
        for back in 0..WINDOW.min(highest) {
            self.window.mark(highest - back, highest);
        }
        self.first.store(highest.wrapping_add(1), Ordering::Relaxed);
        self.high.store(high, Ordering::Release);
        self.id.store(id, Ordering::Release);
        highest.wrapping_add(1)
    }
}
