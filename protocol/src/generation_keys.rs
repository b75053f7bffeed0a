//! The secrets of one generation of one sealing box, as they were handed over, and the session keys that come from them.

use crate::five_tuple::FiveTuple;
use crate::key_schedule::{Prk, ScopeId, Secret, SessionKey};
use crate::suite::Suite;
use std::collections::HashMap;
use std::sync::Arc;

/// Secrets of client addresses in one generation (profile section 5, scope "client"): those that a box was handed, and no
/// others.
#[derive(Clone)]
pub struct ClientSecrets {
    suite: Suite,
    by_address: HashMap<[u8; 16], Secret>,
}

impl core::fmt::Debug for ClientSecrets {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "ClientSecrets({} clients, redacted)", self.by_address.len())
    }
}

impl ClientSecrets {
    /// Of these clients, all under this suite; of one that stands there twice, the last.
    #[must_use]
    pub fn new(suite: Suite, secrets: impl IntoIterator<Item = ([u8; 16], Secret)>) -> Self {
        Self { suite, by_address: secrets.into_iter().collect() }
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8; 16], &Secret)> {
        self.by_address.iter()
    }

    /// The secret of a client.
    #[must_use]
    pub fn get(&self, client: &[u8; 16]) -> Option<&Secret> {
        self.by_address.get(client)
    }
}

/// What session keys of one generation of one sealing box are derived from.
#[derive(Clone)]
pub enum GenerationKeys {
    /// Scopes "node" and "shared": one secret for every flow.
    Ready(Secret),
    /// Scope "client" from a registrar: the secrets of some client addresses.
    Clients {
        /// By client.
        secrets: Arc<ClientSecrets>,
        /// Whether the box that seals is on the client primary's side: then the source is the client.
        sealer_is_client: bool,
    },
    /// Scope "client" from a key file: one secret per client address, whichever it is.
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
    /// The session key of a packet with this 5-tuple under this Kri. `None`: its client's secret was not handed to this
    /// box.
    #[must_use]
    pub fn session(&self, tuple: &FiveTuple, kri: u32) -> Option<SessionKey> {
        Some(match self {
            Self::Ready(secret) => secret.session(tuple, kri),
            Self::Clients { secrets, sealer_is_client } => {
                secrets.get(&client_of(tuple, *sealer_is_client))?.session(tuple, kri)
            }
            Self::PerClient { prk, sealer_is_client } => {
                prk.secret(&ScopeId::Client(client_of(tuple, *sealer_is_client))).session(tuple, kri)
            }
        })
    }

    /// Whether there is a session key for packets with this 5-tuple.
    #[inline]
    #[must_use]
    pub fn has(&self, tuple: &FiveTuple) -> bool {
        match self {
            Self::Ready(_) | Self::PerClient { .. } => true,
            Self::Clients { secrets, sealer_is_client } => secrets.get(&client_of(tuple, *sealer_is_client)).is_some(),
        }
    }

    /// Their suite; that of a key file's scope "client" is the file's.
    #[must_use]
    pub fn suite(&self) -> Suite {
        match self {
            Self::Ready(secret) => secret.suite(),
            Self::Clients { secrets, .. } => secrets.suite,
            Self::PerClient { prk, .. } => prk.suite(),
        }
    }

    /// The secrets that were handed over, in no order; none for those that are derived when they are needed.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let (one, many) = match self {
            Self::Ready(secret) => (Some(secret), None),
            Self::Clients { secrets, .. } => (None, Some(secrets.by_address.values())),
            Self::PerClient { .. } => (None, None),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

/// The address of the client primary's side (profile section 5: in both directions).
const fn client_of(tuple: &FiveTuple, sealer_is_client: bool) -> [u8; 16] {
    if sealer_is_client { tuple.src } else { tuple.dst }
}
