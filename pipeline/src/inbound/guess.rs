//! Which key a sealed packet may have been sealed with: the likeliest first, then the others, never without end.

use crate::flow::record::WholeFlow;
use crate::state::keyring::{GenerationKeys, KeyRing, Peer};
use arrayvec::ArrayVec;
use protocol::aead::{Batch, KeyState};
use protocol::five_tuple::FiveTuple;
use protocol::key_line::SecretId;
use protocol::key_schedule::ReadyKey;
use protocol::nonce::{nonce_words, xor_prseq};
use protocol::receiver::{KriCandidates, MAX_AHEAD};
use protocol::suite::Aead;
use protocol::wire::option::{Form, Metrics, Prefix6};

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

/// A sealed option as it came.
#[derive(Clone, Copy)]
pub struct SealedOption {
    /// From the Option Type on.
    octets: [u8; Form::Encrypted.option_len()],
    /// The first six octets' fields.
    pub head: Prefix6,
}

impl SealedOption {
    /// Reads 36 octets from the Option Type on.
    #[inline]
    #[must_use]
    pub fn parse(octets: &[u8]) -> Option<Self> {
        let octets = *octets.first_chunk()?;
        Some(Self { octets, head: Prefix6::parse(octets.first_chunk()?)? })
    }

    /// Opens it by itself.
    #[must_use]
    pub fn open(&self, aead: Aead, key: &ReadyKey) -> Option<Metrics> {
        let mut batch = Batch::new();
        load(&mut batch, 0, nonce_words(key.base_nonce), &self.octets)?;
        (batch.open(aead, &[&key.state]) == 1).then(|| Metrics::parse(batch.text_of(0)))
    }
}

/// Makes a slot ready to open an option, of which these are the octets from the Option Type on, under the key with this
/// base nonce. `None`: too short for one.
#[inline]
pub fn load(batch: &mut Batch, slot: usize, (nonce, nonce_end): (u64, u32), octets: &[u8]) -> Option<()> {
    let option: &[u8; Form::Encrypted.option_len()] = octets.first_chunk()?;
    let &[_, _, _, _, high, low, ..] = option;
    let prseq = u16::from_be_bytes([high, low]) >> 1;
    batch.set_sealed(slot, (nonce, xor_prseq(nonce_end, prseq)), option);
    Some(())
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
    // so F picks Kri 0 or 1.
    for places in [0, 1, -1].into_iter().chain(2..=16) {
        for peer in ring.speakers(tuple.source()) {
            if let Some(generation) = peer.beside(places) {
                list.add(peer, generation, [u32::from(f)].into_iter());
            }
        }
    }
    for peer in ring.speakers(tuple.source()) {
        if let Some(present) = peer.present() {
            list.add(peer, present, (u32::from(f)..=MAX_AHEAD).step_by(2));
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::flow::record::{Flow, FlowBack};
    use crate::testing::{self, A, B};
    use protocol::receiver::ReceiverState;

    /// Box B's ring with this many boxes that speak for A's prefix.
    fn ring(boxes: u16) -> KeyRing {
        let mut ring = testing::ring(false, 1, 1);
        for number in 2..=boxes {
            let mut more = testing::ring(false, 1, 1).peers.remove(0);
            more.number = number;
            ring.peers.push(more);
        }
        ring
    }

    const TUPLE: FiveTuple = FiveTuple { src: A, sport: 1, dst: B, dport: 2, protocol: 17 };

    #[test]
    fn every_box_that_fits_has_its_present_and_next_generation_tried() {
        for boxes in 1..=4 {
            let list = guesses(&ring(boxes), None, &TUPLE, false);
            for number in 1..=boxes {
                for generation in 1..=2 {
                    let id = SecretId::new(number, generation);
                    assert!(list.iter().any(|g| g.id == id), "{boxes} boxes: {id:?} is never tried");
                }
            }
        }
    }

    /// A box's ring, its peer's generations having these numbers, and this one the newest opened with.
    fn numbered(generations: &[u32], newest: u32) -> KeyRing {
        let mut ring = testing::ring(false, 1, 1);
        let peer = &mut ring.peers[0];
        let keys = peer.generations.remove(0).1;
        peer.generations = generations.iter().map(|&g| (g, keys.clone())).collect();
        peer.newest.store(newest, core::sync::atomic::Ordering::Relaxed);
        ring
    }

    #[test]
    fn generations_are_tried_by_their_places_whatever_their_numbers() {
        for (newest, expected) in [
            // None opened yet: from the oldest on.
            (0, &[5, 40, 900, 901][..]),
            (5, &[5, 40, 900, 901]),
            (40, &[40, 900, 5, 901]),
            // The one in use before is 40, which is 860 numbers back; 5 is never gone back to.
            (900, &[900, 901, 40]),
            (901, &[901, 900]),
            // Gone from the ring: the next one is the present one now.
            (39, &[40, 900, 5, 901]),
            (902, &[901]),
        ] {
            let ring = numbered(&[5, 40, 900, 901], newest);
            let list = guesses(&ring, None, &TUPLE, false);
            let mut tried: Vec<_> = list.iter().map(|g| g.id.generation()).collect();
            let mut seen = std::collections::HashSet::new();
            tried.retain(|&g| seen.insert(g));
            assert_eq!(tried, expected, "{newest} is the newest opened with");
            let first = first_guess(&ring, None, &TUPLE, false).expect("a peer");
            assert_eq!(first.id.generation(), expected[0]);
        }
    }

    #[test]
    fn lost_rotations_are_looked_for_whatever_the_number_of_boxes() {
        for boxes in 1..=4 {
            let (front, back) = (Flow::default(), FlowBack::default());
            let flow = WholeFlow { front: &front, back: &back };
            let receiver: &ReceiverState = &flow.back.receiver;
            receiver.accept(SecretId::new(1, 1), 0, 5);
            let list = guesses(&ring(boxes), Some(flow), &TUPLE, false);
            assert!(
                list.iter().any(|g| g.id == SecretId::new(1, 1) && g.kri == 4),
                "{boxes} boxes: Kri 4 is never tried"
            );
        }
    }
}
