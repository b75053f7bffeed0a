//! Receiver state of one flow direction: which Kri to try, the extended PSNTP, replays, gaps (profile section 6).
//!
//! A flow remembers the two secrets its packets last came under: two generations of one box around a roll-over, or two
//! boxes of a pair around a fail-over. Each has a number space and a replay window of its own, so that packets in flight
//! around the change are neither lost nor let in twice. Of the secrets before those the highest number is kept, so that
//! they can come back without letting anything in twice; when there are more than that, further boxes are refused.

mod candidates;
mod space;

use crate::aead::KeyState;
use crate::key_line::{Found, KeyBody, KeyHead, KeyLine, SecretId};
use crate::key_schedule::ReadyKey;
use crate::replay::ReplayWindow;
use crate::sync::{AtomicU64, Ordering};
pub use candidates::{GENERATIONS_AHEAD, KRIS_SEARCHED, KRIS_SEARCHED_IN_A_CROWD, KriCandidates, MAX_AHEAD, first_kri};
pub use space::Verdict;
use space::{Gone, Space, SpaceHead, number};

/// What must outlive a flow that leaves the table: its two secrets and the highest packet under each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReceiverSnapshot {
    /// The secrets, the one last opened with first; 0 if none.
    pub id: [u64; 2],
    /// Highest packet of each: Kri << 32 | remainder.
    pub high: [u64; 2],
    /// There were more secrets than these.
    pub crowded: bool,
}

impl ReceiverSnapshot {
    /// Whether nothing was received.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.id[0] == 0
    }

    /// The secrets.
    pub fn secrets(&self) -> impl Iterator<Item = SecretId> {
        self.id.into_iter().map(SecretId::from_bits).filter(|&id| is_secret(id))
    }
}

/// A secret that another one has pushed out of its space.
#[derive(Debug, Default)]
struct PushedOut {
    id: AtomicU64,
    high: AtomicU64,
}

/// Stands in the place of a secret that is not known any more: a flow that came back lets in nothing older than its snapshot.
const CLOSED: SecretId = SecretId::from_bits(1);

fn is_secret(id: SecretId) -> bool {
    id != SecretId::NONE && id != CLOSED
}

/// A flow's receiver half. Its first two cache lines and one of a window are all that most packets need.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct ReceiverState {
    /// The space last opened with, and a bit (2) that a change of spaces is under way.
    current: AtomicU64,
    heads: [SpaceHead; 2],
    /// The session key in use.
    front_head: KeyHead<0>,
    front_body: KeyBody,
    /// The session key of late packets.
    back_body: KeyBody,
    back_head: KeyHead<0>,
    pushed_out: [PushedOut; 2],
    windows: [ReplayWindow; 2],
    /// Written when a space begins or ends only.
    gone: Gone,
    /// Packets that came again; for the caller to count, as is the next one: here is room for them.
    pub duplicates: AtomicU64,
    /// Of the numbers skipped, those that came after all.
    pub found: AtomicU64,
}

#[cfg(not(loom))]
const _: () = assert!(core::mem::offset_of!(ReceiverState, front_body) == 64);

const CHANGING: u64 = 2;

impl ReceiverState {
    /// The secret last opened with and the highest Kri under it.
    #[inline]
    pub fn current(&self) -> Option<(SecretId, u32)> {
        self.space((self.current.load(Ordering::Acquire) & 1) as usize)
    }

    /// The other secret that packets may still come under.
    #[inline]
    pub fn previous(&self) -> Option<(SecretId, u32)> {
        self.space(1 - (self.current.load(Ordering::Acquire) & 1) as usize)
    }

    fn space(&self, i: usize) -> Option<(SecretId, u32)> {
        let id = SecretId::from_bits(self.heads[i].id.load(Ordering::Acquire));
        is_secret(id).then(|| (id, (self.heads[i].high.load(Ordering::Acquire) >> 32) as u32))
    }

    fn spaces(&self) -> [Space<'_>; 2] {
        [0, 1].map(|i| self.space_of(i))
    }

    #[inline]
    fn space_of(&self, i: usize) -> Space<'_> {
        Space { id: &self.heads[i].id, high: &self.heads[i].high, first: &self.gone.first[i], window: &self.windows[i] }
    }

    fn front(&self) -> KeyLine<'_, 0> {
        KeyLine { head: &self.front_head, body: &self.front_body }
    }

    fn back(&self) -> KeyLine<'_, 0> {
        KeyLine { head: &self.back_head, body: &self.back_body }
    }

    /// The session key of this secret and Kri, if the flow has it at hand; its state is copied to `into`.
    #[inline]
    pub fn key(&self, id: SecretId, kri: u32, into: &mut KeyState) -> Option<Found<0>> {
        self.front().get(id, kri, into).or_else(|| self.back().get(id, kri, into))
    }

    /// Keeps a session key that has opened a packet: that of the secret and Kri last opened with in front, of others that
    /// the flow knows behind it.
    pub fn keep_key(&self, id: SecretId, kri: u32, key: &ReadyKey) {
        if self.current() == Some((id, kri)) {
            self.front().put(id, kri, key, []);
        } else if self.heads.iter().any(|s| s.id.load(Ordering::Acquire) == id.bits()) {
            self.back().put(id, kri, key, []);
        }
    }

    /// The cache line of the session key in use, to be asked for before it is needed.
    #[inline]
    #[must_use]
    pub const fn key_line(&self) -> &KeyBody {
        &self.front_body
    }

    /// The window of the space last opened with, at the word that the packet behind the highest one goes to, to be asked for
    /// before it is needed.
    #[inline]
    #[must_use]
    pub fn window_line(&self) -> &AtomicU64 {
        let i = (self.current.load(Ordering::Relaxed) & 1) as usize;
        self.windows[i].word_of(number(self.heads[i].high.load(Ordering::Relaxed)).wrapping_add(1))
    }

    /// Takes an authenticated packet into account. Nothing before this call has changed any state.
    #[inline]
    pub fn accept(&self, id: SecretId, kri: u32, psntp: u16) -> Verdict {
        let space = self.space_of((self.current.load(Ordering::Acquire) & 1) as usize);
        if space.id.load(Ordering::Acquire) == id.bits() {
            return space.accept(id, kri, psntp);
        }
        self.accept_otherwise(id, kri, psntp)
    }

    /// [`Self::accept`] of a packet under the secret last opened with, and its highest Kri: nearly every one. `None`: it is
    /// under another one, and nothing has changed.
    #[inline]
    pub fn accept_current(&self, id: SecretId, kri: u32, psntp: u16) -> Option<Verdict> {
        self.space_of((self.current.load(Ordering::Acquire) & 1) as usize).accept_current(id, kri, psntp)
    }

    /// [`Self::accept`] under another secret than the one last opened with.
    #[cold]
    fn accept_otherwise(&self, id: SecretId, kri: u32, psntp: u16) -> Verdict {
        for _ in 0..256 {
            for (i, space) in self.spaces().into_iter().enumerate() {
                if space.id.load(Ordering::Acquire) == id.bits() {
                    let verdict = space.accept(id, kri, psntp);
                    if matches!(verdict, Verdict::Fresh { late: false, .. }) {
                        self.follow(i, id);
                    }
                    return verdict;
                }
            }
            if self.left_behind(id) {
                return Verdict::TooOld;
            }
            if let Some(verdict) = self.admit(id, kri, psntp) {
                return verdict;
            }
            crate::sync::spin();
        }
        Verdict::TooOld
    }

    /// Makes space `i` the current one, unless its secret is an older generation of the current one's.
    #[inline]
    fn follow(&self, i: usize, id: SecretId) {
        let seen = self.current.load(Ordering::Acquire);
        if seen & 1 == i as u64 || seen & CHANGING != 0 {
            return;
        }
        let now = SecretId::from_bits(self.heads[1 - i].id.load(Ordering::Acquire));
        if now.peer() != id.peer() {
            // A lost race leaves the hint as it was; it only orders the trials.
            let _ = self.current.compare_exchange(seen, i as u64, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Whether the flow has gone past this secret: a newer generation of the same box is known, and this one is not; or
    /// there have been more boxes than are kept, and this may be one of them.
    fn left_behind(&self, id: SecretId) -> bool {
        let spaces = self.heads.each_ref().map(|s| SecretId::from_bits(s.id.load(Ordering::Acquire)));
        let pushed = self.pushed_out.each_ref().map(|p| SecretId::from_bits(p.id.load(Ordering::Acquire)));
        let mut of_this_box =
            spaces.into_iter().chain(pushed).filter(|&k| is_secret(k) && k.peer() == id.peer()).peekable();
        if of_this_box.peek().is_none() {
            return pushed.contains(&CLOSED);
        }
        !spaces.contains(&SecretId::NONE) && of_this_box.any(|k| k.generation() > id.generation())
    }

    /// Gives a secret a space: a free one, or that of the secret not opened with last.
    #[cold]
    fn admit(&self, id: SecretId, kri: u32, psntp: u16) -> Option<Verdict> {
        let seen = self.current.load(Ordering::Acquire);
        if seen & CHANGING != 0
            || self.current.compare_exchange(seen, seen | CHANGING, Ordering::AcqRel, Ordering::Relaxed).is_err()
        {
            return None;
        }
        let now = (seen & 1) as usize;
        let (verdict, current) = self.admit_alone(now, id, kri, psntp);
        self.current.store(current as u64, Ordering::Release);
        verdict
    }

    /// See [`Self::admit`]; nobody else is at it. Gives the space that is the current one then.
    fn admit_alone(&self, now: usize, id: SecretId, kri: u32, psntp: u16) -> (Option<Verdict>, usize) {
        // Somebody may have admitted it between our look and our claim.
        if self.heads.iter().any(|s| s.id.load(Ordering::Acquire) == id.bits()) {
            return (None, now);
        }
        let present = SecretId::from_bits(self.heads[now].id.load(Ordering::Acquire));
        let (space, becomes_current) = if present == SecretId::NONE {
            (now, true)
        } else {
            // A late packet of an older generation takes the free place, but does not become the one to try first.
            (1 - now, present.peer() != id.peer() || id.generation() > present.generation())
        };
        let current = if becomes_current { space } else { now };
        let leaving = SecretId::from_bits(self.heads[space].id.load(Ordering::Acquire));
        let ended = is_secret(leaving).then(|| number(self.heads[space].high.load(Ordering::Acquire)));
        let place_of = |bits| self.pushed_out.iter().find(|p| p.id.load(Ordering::Relaxed) == bits);
        let back = place_of(id.bits()).map(|p| p.high.load(Ordering::Relaxed));
        if is_secret(leaving) && !self.remember(leaving, self.heads[space].high.load(Ordering::Acquire), id) {
            return (Some(Verdict::TooOld), now);
        }
        for line in [self.front(), self.back()].iter().filter(|l| leaving != SecretId::NONE && l.is_of(leaving)) {
            line.clear();
        }
        if let Some(high) = back {
            if let Some(place) = place_of(id.bits()) {
                place.id.store(0, Ordering::Release); // not taken by the one that leaves
            }
            let next = self.spaces()[space].go_on(id.bits(), high);
            self.has_begun(next, ended);
            return (None, current); // to be accepted like any other
        }
        let first = self.spaces()[space].begin(id, kri, psntp);
        self.has_begun(first, ended);
        (Some(Verdict::Fresh { skipped: 0, late: false, found: false }), current)
    }

    /// A space has begun with this number, and the one before in its place, if there was one, has ended with that.
    fn has_begun(&self, first: u64, ended: Option<u64>) {
        let more = first.wrapping_sub(1).wrapping_sub(ended.unwrap_or(0));
        self.gone.base.fetch_add(more, Ordering::Relaxed);
    }

    /// How many numbers there are from the first one seen to the highest one, of all secrets together, those included that
    /// were skipped. While packets are taken into account it may be off by those.
    #[must_use]
    pub fn numbers(&self) -> u64 {
        let highest = |head: &SpaceHead| {
            let id = SecretId::from_bits(head.id.load(Ordering::Acquire));
            if is_secret(id) { number(head.high.load(Ordering::Acquire)) } else { 0 }
        };
        let sum = self.heads.iter().map(highest).fold(0, u64::wrapping_add);
        let numbers = sum.wrapping_sub(self.gone.base.load(Ordering::Relaxed));
        if numbers > u64::MAX / 2 { 0 } else { numbers }
    }

    /// Keeps the highest number of a secret that leaves for `coming`. `false`: there is no place.
    fn remember(&self, leaving: SecretId, high: u64, coming: SecretId) -> bool {
        // A newer generation of the same box ends the older one: nothing of it is let in any more.
        if leaving.peer() == coming.peer() && leaving.generation() < coming.generation() {
            return true;
        }
        let fits = |place: &&PushedOut| {
            let there = SecretId::from_bits(place.id.load(Ordering::Relaxed));
            let outlived = there.peer() == leaving.peer() && there.generation() < leaving.generation();
            there == SecretId::NONE || there == coming || is_secret(there) && outlived
        };
        let Some(place) = self.pushed_out.iter().find(fits) else { return false };
        place.high.store(high, Ordering::Relaxed);
        place.id.store(leaving.bits(), Ordering::Release);
        true
    }

    /// What must be kept when the flow leaves the table.
    pub fn snapshot(&self) -> ReceiverSnapshot {
        let first = (self.current.load(Ordering::Acquire) & 1) as usize;
        let order = [first, 1 - first];
        ReceiverSnapshot {
            id: order.map(|i| self.heads[i].id.load(Ordering::Acquire)),
            high: order.map(|i| self.heads[i].high.load(Ordering::Acquire)),
            crowded: self.pushed_out.iter().any(|p| p.id.load(Ordering::Acquire) != 0),
        }
    }

    /// A flow that comes back: everything up to the highest numbers seen is refused, the numbers go on behind them.
    /// Only before other threads see it.
    pub fn resume(&self, snapshot: ReceiverSnapshot) {
        if snapshot.is_empty() {
            return;
        }
        for (space, (id, high)) in self.spaces().into_iter().zip(snapshot.id.into_iter().zip(snapshot.high)) {
            if is_secret(SecretId::from_bits(id)) {
                let next = space.go_on(id, high);
                self.has_begun(next, None);
            } else {
                space.id.store(CLOSED.bits(), Ordering::Release);
            }
        }
        if snapshot.crowded {
            self.pushed_out[0].id.store(CLOSED.bits(), Ordering::Release);
        }
    }

    /// Forgets everything, keys overwritten. Only for a flow that nobody uses any more.
    pub fn clear(&self) {
        for space in self.spaces() {
            space.id.store(0, Ordering::Relaxed);
            space.high.store(0, Ordering::Relaxed);
            space.first.store(0, Ordering::Relaxed);
            space.window.clear();
        }
        self.front().clear();
        self.back().clear();
        for place in &self.pushed_out {
            place.id.store(0, Ordering::Relaxed);
            place.high.store(0, Ordering::Relaxed);
        }
        for word in [&self.gone.base, &self.duplicates, &self.found] {
            word.store(0, Ordering::Relaxed);
        }
        self.current.store(0, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(all(test, loom))]
mod loom_tests;
