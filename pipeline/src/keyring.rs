//! The keys as the workers see them: an immutable ring behind one atomic pointer, read once per burst.
//!
//! The control thread builds a new ring for every change and keeps the old one until no worker holds it, so that a
//! worker never frees (and never waits).

use crate::policy::Prefix;
use arc_swap::ArcSwap;
use protocol::five_tuple::FiveTuple;
use protocol::key_line::SecretId;
use protocol::key_schedule::{Prk, ScopeId, Secret, SessionKey};
use protocol::suite::Aead;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// What session keys of one generation of one sealing box are derived from.
pub enum GenerationKeys {
    /// Scopes "node" and "shared": one secret for every flow.
    Ready(Secret),
    /// Scope "client": one secret per client address.
    PerClient {
        /// What the clients' secrets come from.
        prk: Prk,
        /// Whether the box that seals is on the client primary's side: then the source is the client.
        sealer_is_client: bool,
    },
}

impl core::fmt::Debug for GenerationKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("GenerationKeys(redacted)")
    }
}

impl GenerationKeys {
    /// The session key of a packet with this 5-tuple under this Kri.
    #[must_use]
    pub fn session(&self, tuple: &FiveTuple, kri: u32) -> SessionKey {
        match self {
            Self::Ready(secret) => secret.session(tuple, kri),
            Self::PerClient { prk, sealer_is_client } => {
                let client = if *sealer_is_client { tuple.src } else { tuple.dst };
                prk.secret(&ScopeId::Client(client)).session(tuple, kri)
            }
        }
    }
}

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
    pub prefixes: Vec<Prefix>,
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
        self.prefixes.iter().any(|p| p.contains_bits(source))
    }
}

/// A box whose packets this one opens.
#[derive(Debug)]
pub struct Peer {
    /// A number that no other peer of this process ever gets; from 1.
    pub number: u16,
    /// AEAD of the suite.
    pub aead: Aead,
    /// Sources it speaks for.
    pub prefixes: Vec<Prefix>,
    /// Generations to open with, ascending.
    pub generations: Vec<(u32, GenerationKeys)>,
    /// The newest generation a packet has authenticated under. Survives the ring: workers raise it, the control thread
    /// reads it and moves the generations along.
    pub newest: Arc<AtomicU32>,
}

impl Peer {
    /// Whether it speaks for this source.
    #[inline]
    #[must_use]
    pub fn speaks_for(&self, source: u128) -> bool {
        self.prefixes.iter().any(|p| p.contains_bits(source))
    }

    /// The keys of a generation.
    #[inline]
    #[must_use]
    pub fn generation(&self, generation: u32) -> Option<&GenerationKeys> {
        self.generations.iter().find(|(g, _)| *g == generation).map(|(_, k)| k)
    }

    /// The generation its packets most likely come under.
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
}

/// All keys of one moment.
#[derive(Debug, Default)]
pub struct KeyRing {
    /// Grows with every ring.
    pub version: u64,
    /// What to seal with; `None`: packets pass without the option.
    pub sealer: Option<Sealer>,
    /// Whom to open.
    pub peers: Vec<Peer>,
}

impl KeyRing {
    /// A peer by its number.
    #[inline]
    #[must_use]
    pub fn peer(&self, number: u16) -> Option<&Peer> {
        self.peers.iter().find(|p| p.number == number)
    }

    /// Whether there is nothing to seal or open with.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sealer.is_none() && self.peers.is_empty()
    }
}

/// The ring that workers use, and the older ones that some of them may still hold.
#[derive(Debug)]
pub struct KeyRingCell {
    /// Workers hold an `arc_swap::Cache` of this.
    pub current: Arc<ArcSwap<KeyRing>>,
    old: Vec<Arc<KeyRing>>,
}

impl Default for KeyRingCell {
    fn default() -> Self {
        Self { current: Arc::new(ArcSwap::from_pointee(KeyRing::default())), old: Vec::new() }
    }
}

impl KeyRingCell {
    /// Makes this the ring. Its version is set here.
    pub fn publish(&mut self, mut ring: KeyRing) {
        ring.version = self.current.load().version + 1;
        self.old.push(self.current.swap(Arc::new(ring)));
        self.sweep();
    }

    /// Frees (and so zeroizes) rings that no worker holds any more; says how many are left.
    pub fn sweep(&mut self) -> usize {
        self.old.retain(|ring| Arc::strong_count(ring) > 1);
        self.old.len()
    }
}
