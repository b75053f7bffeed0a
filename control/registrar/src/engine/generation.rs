//! One generation, with the secrets that come from it.

use super::persist;
use common::key_file::Scope;
use negotiation::Agreed;
use protocol::key_schedule::{Prk, ScopeId, SharedSecret};
use protocol::suite::Suite;
use registration::wire::{ClientSecret, ClientSecrets, FINGERPRINT, OpeningSecret};
use sha2::{Digest, Sha256};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// A generation that both primaries have.
pub struct Generation {
    pub(super) number: u32,
    pub(super) agreed: Agreed,
    pub(super) prk: Prk,
    pub(super) agreed_at: Instant,
    /// Boxes can have acknowledged since then: since it was agreed, or this process began.
    pub(super) pushed_since: Instant,
    /// The same in milliseconds since 1970, for after a restart.
    pub(super) wall_ms: u64,
    pub(super) active: bool,
    /// In this process.
    pub(super) active_at: Option<Instant>,
    pub(super) ready_here: bool,
    /// Both primaries have had it as their newest, as far as this process knows.
    pub(super) common: bool,
    /// Tells it from another of the same number.
    pub(super) fingerprint: [u8; FINGERPRINT],
    /// A later one has become active then.
    pub(super) superseded: Option<Instant>,
    /// Opened for boxes that may still seal under it, and for no others.
    pub(super) over: bool,
}

impl std::fmt::Debug for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Generation({}, redacted)", self.number)
    }
}

/// As the `.proto` has it. The shared secret has as many random octets as a key: nothing can be learnt of it by this.
fn fingerprint(agreed: &Agreed) -> [u8; FINGERPRINT] {
    let mut hash = Sha256::new();
    hash.update(b"pdmv2 generation fingerprint");
    hash.update(agreed.generation.to_be_bytes());
    hash.update(agreed.salt);
    hash.update(agreed.shared.as_bytes());
    let digest = hash.finalize();
    let mut fingerprint = [0; FINGERPRINT];
    fingerprint.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    fingerprint
}

impl Generation {
    /// `None` for a secret that does not fit its suite, which a negotiation does not make.
    pub(super) fn new(agreed: &Agreed, now: Instant, wall_ms: u64) -> Option<Self> {
        Some(Self {
            number: agreed.generation,
            prk: agreed.prk().ok()?,
            agreed: agreed.clone(),
            agreed_at: now,
            pushed_since: now,
            wall_ms,
            active: false,
            active_at: None,
            ready_here: false,
            common: false,
            fingerprint: fingerprint(agreed),
            superseded: None,
            over: false,
        })
    }

    pub(super) fn suite(&self) -> Suite {
        self.agreed.suite
    }

    fn secret(&self, scope: &ScopeId) -> Vec<u8> {
        self.prk.secret(scope).as_bytes().to_vec()
    }

    /// Whose secret the box of this id seals under; `None` in scope client, where [`Generation::clients`] are.
    fn scope_id(&self, id: &[u8; 16]) -> Option<ScopeId> {
        match self.agreed.scope {
            Scope::Shared => Some(ScopeId::Shared),
            Scope::Node => Some(ScopeId::Node(*id)),
            Scope::Client => None,
        }
    }

    /// What the box of this id seals with; empty in scope client.
    pub(super) fn sealing(&self, id: &[u8; 16]) -> Vec<u8> {
        self.scope_id(id).map(|scope| self.secret(&scope)).unwrap_or_default()
    }

    /// What packets of the box of this id are opened with; `None` in scope client.
    pub(super) fn opening(&self, id: &[u8; 16]) -> Option<OpeningSecret> {
        let secret = self.secret(&self.scope_id(id)?);
        Some(OpeningSecret { generation: self.number, suite: Some(self.suite().ids().into()), secret })
    }

    /// The secret of a client.
    pub(super) fn client(&self, client: &[u8; 16]) -> OpeningSecret {
        let secret = self.secret(&ScopeId::Client(*client));
        OpeningSecret { generation: self.number, suite: Some(self.suite().ids().into()), secret }
    }

    /// The secrets of these clients.
    pub(super) fn clients<'c>(&self, clients: impl IntoIterator<Item = &'c [u8; 16]>) -> ClientSecrets {
        let secrets = clients
            .into_iter()
            .map(|client| ClientSecret { address: client.to_vec(), secret: self.secret(&ScopeId::Client(*client)) });
        ClientSecrets { generation: self.number, suite: Some(self.suite().ids().into()), secrets: secrets.collect() }
    }

    /// When boxes must no longer seal under it.
    pub(super) fn expires(&self, lifetime: Duration) -> Instant {
        // No configuration has a lifetime that the clock has no room for; without room it is over.
        self.agreed_at.checked_add(lifetime).unwrap_or(self.agreed_at)
    }

    pub(super) fn expires_in(&self, lifetime: Duration, now: Instant) -> Duration {
        lifetime.saturating_sub(now.saturating_duration_since(self.agreed_at))
    }

    /// For the store.
    pub(super) fn persist(&self, peer: &str) -> (String, Option<Zeroizing<Vec<u8>>>) {
        (persist::generation_key(peer, self.number), Some(self.octets()))
    }

    /// `number(4) suite(6) scope(2) wall_ms(8) active(1) salt(32) shared(Nh)`.
    fn octets(&self) -> Zeroizing<Vec<u8>> {
        let Agreed { suite, scope, salt, shared, .. } = &self.agreed;
        // Room for all of it: a vector that grows leaves copies behind.
        let mut out = Zeroizing::new(Vec::with_capacity(53 + shared.as_bytes().len()));
        out.extend_from_slice(&self.number.to_be_bytes());
        suite.ids().iter().for_each(|id| out.extend_from_slice(&id.to_be_bytes()));
        out.extend_from_slice(&scope.id().to_be_bytes());
        out.extend_from_slice(&self.wall_ms.to_be_bytes());
        out.push(self.active.into());
        out.extend_from_slice(salt);
        out.extend_from_slice(shared.as_bytes());
        out
    }

    /// The inverse; `None` when it is not of this form.
    pub(super) fn restore(octets: &[u8], now: Instant, now_wall_ms: u64) -> Option<Self> {
        let (number, rest) = octets.split_first_chunk()?;
        let (kem, rest) = rest.split_first_chunk()?;
        let (kdf, rest) = rest.split_first_chunk()?;
        let (aead, rest) = rest.split_first_chunk()?;
        let (scope, rest) = rest.split_first_chunk()?;
        let (wall_ms, rest) = rest.split_first_chunk()?;
        let (&active, rest) = rest.split_first()?;
        let (salt, shared) = rest.split_first_chunk()?;
        let agreed = Agreed {
            suite: Suite::from_ids([kem, kdf, aead].map(|id| u16::from_be_bytes(*id)))?,
            scope: Scope::from_id(u16::from_be_bytes(*scope))?,
            generation: u32::from_be_bytes(*number),
            salt: *salt,
            shared: SharedSecret::new(shared),
        };
        let wall_ms = u64::from_be_bytes(*wall_ms);
        let age = Duration::from_millis(now_wall_ms.saturating_sub(wall_ms));
        let generation = Self::new(&agreed, now.checked_sub(age).unwrap_or(now), wall_ms)?;
        // Active says that the other side was ready. Whether the boxes of this one are is asked anew, and whether it is
        // still the newest of both: this store may have been set back.
        Some(Self { pushed_since: now, active: active == 1, ready_here: false, ..generation })
    }
}
