//! What a box is handed: its own secrets to seal with (the sealing part, and in scope client those of its clients), and the
//! opening part, which it shares with all other boxes of its side.

mod changes;
mod opening_part;

#[cfg(test)]
pub(crate) mod tests;

pub use changes::Whose;
pub use opening_part::{Entries, OpeningPart};

use protocol::prefix::Prefix;
use protocol::suite::{Scope, Suite};
use registration::wire::{ClientSecrets, KeySet, Sealing, Token, prefixes_to_wire, scope_to_wire};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;
use zeroize::Zeroizing;

/// What a box is to seal with.
pub struct SealingPart {
    /// Its generation.
    pub generation: u32,
    /// That one's suite.
    pub suite: Suite,
    /// Empty in scope client.
    pub secret: Zeroizing<Vec<u8>>,
    /// Sources that the box speaks for.
    pub prefixes: Vec<Prefix>,
    /// When it must no longer be used.
    pub expires: Instant,
    /// Until then the other side's boxes open it though the box is out of touch; `None`: not known.
    pub opened_until: Option<Instant>,
}

/// What one box is handed: its own, and what it shares with the others of its side.
pub struct Handout {
    /// Grows from one to the next within a connection.
    pub revision: u64,
    /// Whose secrets these are.
    pub scope: Scope,
    /// What to seal with.
    pub sealing: Option<SealingPart>,
    /// Scope client, on the client primary's side: those of its clients.
    pub clients: Vec<ClientSecrets>,
    /// Scope client: which side that is.
    pub client_side: bool,
    /// To be shown when the box registers again.
    pub token: Option<Token>,
    /// Whom to open.
    pub opening: Arc<OpeningPart>,
}

impl fmt::Debug for Handout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handout(revision {}, {:?}, redacted)", self.revision, self.opening)
    }
}

fn ms(from: Instant, to: Instant) -> u64 {
    to.saturating_duration_since(from).as_millis().try_into().unwrap_or(u64::MAX)
}

impl Handout {
    /// For a box that has the opening part of this version.
    #[must_use]
    pub fn by_version(&self, now: Instant) -> KeySet {
        let sealing = self.sealing.as_ref().map(|s| Sealing {
            generation: s.generation,
            suite: Some(s.suite.ids().into()),
            secret: s.secret.to_vec(),
            prefixes: prefixes_to_wire(&s.prefixes),
            expires_in_ms: ms(now, s.expires),
            opened_for_ms: s.opened_until.map(|at| ms(now, at)),
        });
        KeySet {
            revision: self.revision,
            scope: scope_to_wire(self.scope).into(),
            sealing,
            opening: Vec::new(),
            clients: self.clients.clone(),
            client_side: self.client_side,
            token: self.token.as_ref().map(Into::into),
            opening_version: self.opening.version,
        }
    }

    /// All in one message.
    #[must_use]
    pub fn whole(&self, now: Instant) -> KeySet {
        let mut set = self.by_version(now);
        set.opening_version = 0;
        set.opening = self.opening.opening();
        set.clients.extend(self.opening.clients());
        // A generation to seal under has its place there, though there may be no clients yet.
        if let Some(s) = self.sealing.as_ref().filter(|_| self.scope == Scope::Client)
            && set.clients.iter().all(|c| c.generation != s.generation)
        {
            let (generation, suite) = (s.generation, Some(s.suite.ids().into()));
            set.clients.push(ClientSecrets { generation, suite, secrets: Vec::new() });
            set.clients.sort_by_key(|c| c.generation);
        }
        set
    }

    /// The same for a box of an earlier version, which takes no more than three generations.
    #[must_use]
    pub fn for_an_earlier_version(&self, now: Instant) -> KeySet {
        let mut set = self.whole(now);
        for opening in &mut set.opening {
            opening.secrets.drain(..opening.secrets.len().saturating_sub(3));
        }
        set.clients.drain(..set.clients.len().saturating_sub(3));
        set
    }
}
