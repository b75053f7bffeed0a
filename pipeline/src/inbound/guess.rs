//! Which key a sealed packet may have been sealed with: the likeliest first, then the others, never without end.

use crate::flow::record::WholeFlow;
use crate::state::keyring::{KeyRing, Peer};
use arrayvec::ArrayVec;
use protocol::aead::KeyState;
use protocol::five_tuple::FiveTuple;
use protocol::generation_keys::GenerationKeys;
use protocol::key_line::SecretId;
use protocol::key_schedule::ReadyKey;
use protocol::receiver::{GENERATIONS_AHEAD, KriCandidates, MAX_AHEAD, first_kri};
use protocol::suite::Aead;

/// Openings tried for one packet, at most, the first one included.
pub const MOST_TRIALS: usize = 32;

/// One key to try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Guess {
    /// The secret.
    pub id: SecretId,
    /// Key rotation index.
    pub kri: u32,
    /// AEAD of the peer's suite.
    pub aead: Aead,
}

/// The secret of a guess, if the ring (still) has it.
#[inline]
pub fn keys_of(ring: &KeyRing, id: SecretId) -> Option<&GenerationKeys> {
    ring.peer(id.peer())?.generation(id.generation())
}

/// The session key of a guess: from the flow, or derived. Says whether it was derived.
#[inline]
pub fn session(
    ring: &KeyRing,
    flow: Option<WholeFlow<'_>>,
    tuple: &FiveTuple,
    guess: Guess,
) -> Option<(ReadyKey, bool)> {
    let keys = keys_of(ring, guess.id)?;
    let mut state = KeyState::ZERO;
    if let Some(found) = flow.and_then(|f| f.back.receiver.key(guess.id, guess.kri, &mut state)) {
        return Some((ReadyKey { state, base_nonce: found.base_nonce() }, false));
    }
    Some((keys.session(tuple, guess.kri)?.ready(guess.aead), true))
}

/// What nearly every packet of a known flow came under: the flow's secret and Kri as they were. `None`: something has
/// changed, see [`first_guess`].
#[inline]
pub fn same_as_before(ring: &KeyRing, flow: WholeFlow<'_>, source: u128, f: bool) -> Option<Guess> {
    let (id, kri) = flow.back.receiver.current()?;
    let peer = ring.peer_for(id.peer(), source)?;
    let same = (kri & 1 == 1) == f && peer.newest() <= id.generation();
    same.then_some(Guess { id, kri, aead: peer.aead })
}

/// What to try first, which is right for all but the packets around a change of key. `None`: no peer fits.
#[inline]
pub fn first_guess(ring: &KeyRing, flow: Option<WholeFlow<'_>>, tuple: &FiveTuple, f: bool) -> Option<Guess> {
    if let Some((id, kri)) = flow.and_then(|f| f.back.receiver.current())
        && let Some(peer) = ring.peer_for(id.peer(), tuple.source())
    {
        let newest = peer.newest();
        let (id, current) =
            if newest > id.generation() { (SecretId::new(peer.number, newest), None) } else { (id, Some(kri)) };
        if peer.generation(id.generation()).is_some() {
            let kri = *KriCandidates::new(current, f).as_slice().first()?;
            return Some(Guess { id, kri, aead: peer.aead });
        }
    }
    let (peer, generation) = ring.speakers(tuple.source()).find_map(|p| Some((p, p.present()?)))?;
    let kri = *KriCandidates::new(None, f).as_slice().first()?;
    Some(Guess { id: SecretId::new(peer.number, generation), kri, aead: peer.aead })
}

/// Everything worth trying, in order. The first of [`first_guess`] is among them; the caller leaves it out.
pub fn guesses(
    ring: &KeyRing,
    flow: Option<WholeFlow<'_>>,
    tuple: &FiveTuple,
    f: bool,
) -> ArrayVec<Guess, MOST_TRIALS> {
    let mut list = Guesses(ArrayVec::new());
    let spaces = flow.map_or([None, None], |f| [f.back.receiver.current(), f.back.receiver.previous()]);
    // 1. The secrets that the flow's packets came under: around its Kri first.
    for (id, kri) in spaces.into_iter().flatten() {
        if let Some(peer) = ring.peer(id.peer()) {
            list.add(peer, id.generation(), KriCandidates::new(Some(kri), f).as_slice().iter().take(2).copied());
        }
    }
    // 2. Further ahead: whole rotations were lost.
    for (id, kri) in spaces.into_iter().flatten().take(1) {
        if let Some(peer) = ring.peer(id.peer()) {
            list.add(peer, id.generation(), KriCandidates::new(Some(kri), f).as_slice().iter().copied());
        }
    }
    // 3. The beginning of every generation that fits, the nearest of all boxes first. A flow's first packets may be lost,
    // so F picks among the first Kris.
    for places in [0, 1, -1].into_iter().chain(2..=GENERATIONS_AHEAD) {
        for peer in ring.speakers(tuple.source()) {
            if let Some(generation) = peer.beside(places) {
                list.add(peer, generation, [first_kri(f)].into_iter());
            }
        }
    }
    for peer in ring.speakers(tuple.source()) {
        if let Some(present) = peer.present() {
            list.add(peer, present, (first_kri(f)..=MAX_AHEAD).step_by(2));
        }
    }
    list.0
}

struct Guesses(ArrayVec<Guess, MOST_TRIALS>);

impl Guesses {
    fn add(&mut self, peer: &Peer, generation: u32, kris: impl Iterator<Item = u32>) {
        if !peer.takes(generation) {
            return;
        }
        for kri in kris {
            let guess = Guess { id: SecretId::new(peer.number, generation), kri, aead: peer.aead };
            if !self.0.is_full() && !self.0.contains(&guess) {
                self.0.push(guess);
            }
        }
    }
}
