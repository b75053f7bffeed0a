//! What the engine is told by the configuration: the other primary, this side's boxes, the times of a generation's life.

use common::key_file::Scope;
use negotiation::Prefer;
use protocol::prefix::Prefix;
use protocol::suite::Suite;
use std::path::PathBuf;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

/// Which primary this registrar is towards a peer (draft section 3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The client primary: it connects, and starts negotiations.
    Client,
    /// The server primary: it listens, and chooses the suite.
    Server,
}

impl Role {
    /// Its name in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// The primary of another side.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerConfig {
    /// Its name.
    pub name: String,
    /// This registrar's role towards it.
    pub role: Role,
    /// Hosts and ports to connect to in role client, tried in turn.
    pub addresses: Vec<(String, u16)>,
    /// File with its static public keys.
    pub static_keys: PathBuf,
    /// Name and file of the pre-shared key.
    pub psk: Option<(String, PathBuf)>,
    /// What its boxes may speak for.
    pub prefixes: Vec<Prefix>,
    /// Suites offered (client) or allowed (server), the most preferred first.
    pub suites: Vec<Suite>,
    /// Whose order of suites decides, in role server.
    pub prefer: Prefer,
    /// Whose secret a box seals under.
    pub scope: Scope,
}

/// A box of this side.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeConfig {
    /// Its name; its certificate says the same.
    pub name: String,
    /// Its id (profile section 5).
    pub id: [u8; 16],
    /// Prefixes granted to it.
    pub prefixes: Vec<Prefix>,
    /// The clients it speaks for: in scope client and role client, at least one.
    pub clients: Vec<[u8; 16]>,
    /// The other side whose boxes it talks to.
    pub peer: String,
}

/// Times of a generation's life (profile section 7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Generations {
    /// A new one is made after this.
    pub max_age: Duration,
    /// A box stops sealing under it after this.
    pub lifetime: Duration,
    /// The grace period: how long the one before is still opened.
    pub grace: Duration,
    /// How long boxes' acknowledgements are waited for.
    pub ack_timeout: Duration,
    /// How long a rotation request waits for others.
    pub coalesce: Duration,
}

impl Default for Generations {
    fn default() -> Self {
        Self {
            max_age: DAY,
            lifetime: DAY * 7,
            grace: SECOND * 30,
            ack_timeout: SECOND * 10,
            coalesce: Duration::from_millis(500),
        }
    }
}
