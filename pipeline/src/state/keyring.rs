//! The keys as the workers see them: an immutable ring, part of the [snapshot](crate::state::snapshot) that they read.

use crate::state::newest::Newest;
use crate::state::prefixes::Prefixes;
use crate::state::ring_index::{Brief, RingIndex};
use protocol::five_tuple::FiveTuple;
use protocol::generation_keys::GenerationKeys;
use protocol::key_line::SecretId;
use protocol::suite::Aead;
use protocol::wire::option::Form;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

/// In the place of a generation, where the order of PRSEQ in options in clear is derived: no key goes with it. (The numbers of
/// those that seal begin with 1.)
pub(crate) const IN_CLEAR: u32 = 0;

/// In the place of a peer's number in the name of what goes with options in clear: there is no key, but an order of PRSEQ.
pub(crate) const NO_SECRET: u16 = u16::MAX;

/// What this box seals with.
#[derive(Debug)]
pub struct Sealer {
    /// The generation it was told to activate.
    pub generation: u32,
    /// AEAD of the suite.
    pub aead: Aead,
    /// Its keys.
    pub keys: GenerationKeys,
    /// Sources this node speaks for. Sealing others would only make packets that nobody opens, and under scope "shared"
    /// could meet the other side's nonces.
    pub prefixes: Prefixes,
}

impl Sealer {
    /// The name of its secret in key lines.
    #[must_use]
    pub fn id(&self) -> SecretId {
        SecretId::new(0, self.generation)
    }

    /// Whether this node seals packets of this source.
    #[inline]
    #[must_use]
    pub fn speaks_for(&self, source: u128) -> bool {
        self.prefixes.contains(source)
    }

    /// Whether this node seals packets with this 5-tuple: it speaks for their source, and has a key for them.
    #[inline]
    #[must_use]
    pub fn seals(&self, tuple: &FiveTuple) -> bool {
        self.speaks_for(tuple.source()) && self.keys.has(tuple)
    }
}

/// A box whose packets this one opens.
#[derive(Debug)]
pub struct Peer {
    /// A number that no other peer of this process ever gets; from 1. It may be far above the number of peers.
    pub number: u16,
    /// AEAD of the suite.
    pub aead: Aead,
    /// Sources it speaks for.
    pub prefixes: Prefixes,
    /// Generations to open with, ascending.
    pub generations: Vec<(u32, GenerationKeys)>,
    /// The newest generation a packet has authenticated under. Survives the ring: workers raise it, the control thread
    /// reads it and moves the generations along.
    pub newest: Newest,
}

impl Peer {
    /// The keys of a generation.
    #[inline]
    #[must_use]
    pub fn generation(&self, generation: u32) -> Option<&GenerationKeys> {
        let place = self.place_of(generation);
        self.generations.get(place).filter(|(g, _)| *g == generation).map(|(_, keys)| keys)
    }

    /// The newest generation a packet has authenticated under, 0 before the first.
    #[inline]
    #[must_use]
    pub fn newest(&self) -> u32 {
        self.newest.load(Ordering::Relaxed)
    }

    /// A packet has authenticated under this generation.
    #[inline]
    pub fn opened_with(&self, generation: u32) {
        if self.newest() < generation {
            self.newest.fetch_max(generation, Ordering::Relaxed);
        }
    }

    /// The place of a generation among those to open with; of one that is not there, that of the next.
    #[inline]
    fn place_of(&self, generation: u32) -> usize {
        self.generations.partition_point(|(g, _)| *g < generation)
    }

    /// The generation that its packets most likely come under: the newest opened with, or the next one when that is gone.
    #[must_use]
    pub fn present(&self) -> Option<u32> {
        self.beside(0)
    }

    /// The generation so many places from the present one. Places count, not numbers: between two generations that were in
    /// use one after the other there may be numbers that never came here.
    #[must_use]
    pub fn beside(&self, places: isize) -> Option<u32> {
        let present = self.place_of(self.newest()).min(self.generations.len().checked_sub(1)?);
        self.generations.get(present.checked_add_signed(places)?).map(|(g, _)| *g)
    }

    /// Whether packets are still taken under this generation: never back by more than one (profile section 9), which is the
    /// one in use before.
    #[must_use]
    pub fn takes(&self, generation: u32) -> bool {
        let place = self.place_of(generation);
        place + 1 >= self.place_of(self.newest()) && self.generations.get(place).is_some_and(|(g, _)| *g == generation)
    }
}

/// All keys of one moment.
#[derive(Debug, Default)]
pub struct KeyRing {
    /// What to seal with; `None`: packets pass without the option.
    pub sealer: Option<Sealer>,
    /// Whom to open.
    pub peers: Vec<Peer>,
    /// Whether this box cannot hear of new keys at the moment. Packets that it then fails to open may be sealed under a key
    /// that it lacks: they pass without their option, whatever a policy says about failures.
    pub out_of_touch: bool,
    /// How workers find peers. Made when the ring is published; before that, when it is first needed.
    pub index: OnceLock<RingIndex>,
}

impl KeyRing {
    /// With which key the lanes put options of this form into packets of a source of this kind, if they know how to: those of
    /// link-local sources count by a Global Pointer of their own.
    pub(crate) fn lanes_of(&self, form: Form, link_local: bool) -> Option<(Form, SecretId)> {
        let id = match form {
            Form::Encrypted => self.sealer.as_ref().filter(|sealer| sealer.aead == Aead::Aes128Gcm)?.id(),
            Form::Clear | Form::Pdm => SecretId::new(NO_SECRET, IN_CLEAR),
        };
        // PDM does not count by a Global Pointer.
        (!link_local || form == Form::Pdm).then_some((form, id))
    }
    /// A peer by its number.
    #[inline]
    #[must_use]
    pub fn peer(&self, number: u16) -> Option<&Peer> {
        self.peers.get(self.index().place(number)?)
    }

    /// What nearly every packet asks of a peer, by its number.
    #[inline]
    pub(crate) fn brief(&self, number: u16) -> Option<&Brief> {
        self.index().brief(number)
    }

    /// A peer by its number, if it speaks for this source.
    #[inline]
    #[must_use]
    pub fn peer_for(&self, number: u16, source: u128) -> Option<&Peer> {
        self.peer(number).filter(|peer| peer.prefixes.contains(source))
    }

    /// The peers that speak for this source, at most four: those of the longest prefix first, of one prefix in their order
    /// here.
    #[inline]
    pub fn speakers(&self, source: u128) -> impl Iterator<Item = &Peer> {
        self.index().speakers(source).iter().filter_map(|&place| self.peers.get(usize::from(place)))
    }

    #[inline]
    fn index(&self) -> &RingIndex {
        self.index.get_or_init(|| self.made_index())
    }

    fn made_index(&self) -> RingIndex {
        RingIndex::new(self.peers.iter().map(|peer| (peer.number, &peer.prefixes))).with_briefs(&self.peers)
    }

    /// Makes it ready for workers: generations in order, and what peers are found with.
    pub(crate) fn make_ready(&mut self) {
        for peer in &mut self.peers {
            peer.generations.sort_by_key(|(generation, _)| *generation);
        }
        self.index = OnceLock::from(self.made_index());
    }

    /// The generation to seal under; 0: there is none.
    #[inline]
    pub(crate) fn sealing_generation(&self) -> u32 {
        self.sealer.as_ref().map_or(0, |s| s.generation)
    }

    /// Whether there is nothing to seal or open with.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sealer.is_none() && self.peers.is_empty()
    }
}
