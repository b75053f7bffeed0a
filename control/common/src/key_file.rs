//! The key file of profile section 9: what two sides share that run without a registrar.

mod reading;

use crate::config::reader::{self, Table};
use crate::config::report::{Errors, Report};
use protocol::generation_keys::GenerationKeys;
use protocol::key_schedule::{Prk, ScopeId, SharedSecret, WrongLength, file_generation_secret};
use protocol::prefix::Prefix;
use protocol::suite::Suite;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::path::Path;
use zeroize::Zeroizing;

pub use protocol::suite::Scope;

/// Which primary's side a node is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The client primary's.
    Client,
    /// The server primary's.
    Server,
}

impl Side {
    const NAMES: [(&str, Self); 2] = [("client", Self::Client), ("server", Self::Server)];

    /// Its name in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }

    /// The inverse of [`Side::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(n, _)| *n == name).map(|(_, side)| *side)
    }
}

/// A box.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Its name in configurations and messages.
    pub name: String,
    /// What its secret is bound to in scope "node": an IPv6 address or 16 random octets.
    pub id: [u8; 16],
    /// Its side.
    pub side: Side,
    /// Sources it speaks for.
    pub prefixes: Vec<Prefix>,
}

/// A key file, checked.
pub struct KeyFile {
    /// KEM (of no use without a registrar, but part of the suite's identity), KDF and AEAD.
    pub suite: Suite,
    /// Whose secret a box seals under.
    pub scope: Scope,
    /// All boxes of both sides.
    pub nodes: Vec<Node>,
    salt: [u8; 32],
    secret: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyFile")
            .field("suite", &self.suite)
            .field("scope", &self.scope)
            .field("nodes", &self.nodes)
            .field("secret", &"redacted")
            .finish_non_exhaustive()
    }
}

impl KeyFile {
    /// A new key file with fresh random salt and secret.
    ///
    /// # Errors
    /// What is wrong with the nodes, or a system without random numbers.
    pub fn generate(suite: Suite, scope: Scope, nodes: Vec<Node>) -> Result<Self, String> {
        let mut salt = [0; 32];
        let mut secret = Zeroizing::new(vec![0; suite.kdf.nh()]);
        for octets in [&mut salt[..], &mut secret[..]] {
            getrandom::fill(octets).map_err(|e| format!("the system gives no random numbers: {e}"))?;
        }
        let keys = Self { suite, scope, nodes, salt, secret };
        // The reader's rules are the rules: what it would refuse is not written.
        Self::parse(&keys.to_toml(), "").map_err(|errors| {
            let problems: Vec<_> = errors.0.iter().map(|p| format!("{}; {}", p.message, p.remedy)).collect();
            problems.join("\n")
        })
    }

    /// Reads and checks a key file.
    ///
    /// # Errors
    /// Every problem found, each with its place and remedy; none of them shows the secret.
    pub fn load(path: &Path) -> Result<Self, Errors> {
        let place = path.display().to_string();
        let text = reading::read_private(path).map_err(|(message, remedy)| Errors::of_file(&place, message, remedy))?;
        Self::parse(&text, &place)
    }

    /// Checks the text of a key file; `place` names it in errors.
    ///
    /// # Errors
    /// As [`KeyFile::load`].
    pub fn parse(text: &str, place: &str) -> Result<Self, Errors> {
        let mut report = Report::new(place, text);
        let document = reader::parse(text, &mut report);
        let keys = document.as_ref().and_then(|document| reading::read(Table::root(document), &mut report));
        report.finish(keys).map(|(keys, _)| keys)
    }

    /// The file's text, with the secret in it.
    #[must_use]
    pub fn to_toml(&self) -> Zeroizing<String> {
        // Room for all of it from the start: a string that grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(2048 + self.nodes.len() * 512 + self.prefix_count() * 64));
        let secret = Zeroizing::new(hex::encode(&*self.secret));
        let Suite { kem, kdf, aead } = self.suite;
        let mut head = || {
            writeln!(
                text,
                "# PDMv2 key file (profile section 9). SECRET: keep it on the boxes it names, mode 0600.\n"
            )?;
            writeln!(text, "version = 1\nkem = \"{kem}\"\nkdf = \"{kdf}\"\naead = \"{aead}\"")?;
            writeln!(text, "scope = \"{}\"", self.scope.name())?;
            writeln!(text, "salt = \"{}\"\nsecret = \"{}\"", hex::encode(self.salt), &*secret)?;
            for node in &self.nodes {
                let prefixes: Vec<_> = node.prefixes.iter().map(|p| format!("\"{p}\"")).collect();
                writeln!(text, "\n[[node]]\nname = \"{}\"\nid = \"{}\"", node.name, hex::encode(node.id))?;
                writeln!(text, "side = \"{}\"\nprefixes = [{}]", node.side.name(), prefixes.join(", "))?;
            }
            Ok::<_, std::fmt::Error>(())
        };
        let _ = head(); // a String takes everything
        text
    }

    fn prefix_count(&self) -> usize {
        self.nodes.iter().map(|n| n.prefixes.len()).sum()
    }

    /// The node of this name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|n| n.name == name)
    }

    /// The boxes whose packets `node` opens: those of the other side.
    pub fn peers<'k>(&'k self, node: &Node) -> impl Iterator<Item = &'k Node> + use<'k> {
        let side = node.side;
        self.nodes.iter().filter(move |n| n.side != side)
    }

    /// What packets that `sealer` seals under generation `g` (from 1) are sealed with.
    ///
    /// # Errors
    /// Lengths that do not fit the suite; not for a key file that was read.
    pub fn generation_keys(&self, sealer: &Node, g: u32) -> Result<GenerationKeys, WrongLength> {
        let shared = file_generation_secret(self.suite, &self.salt, &SharedSecret::new(&self.secret), g)?;
        let prk = Prk::new(self.suite, &self.salt, &shared)?;
        Ok(match self.scope {
            Scope::Node => GenerationKeys::Ready(prk.secret(&ScopeId::Node(sealer.id))),
            Scope::Shared => GenerationKeys::Ready(prk.secret(&ScopeId::Shared)),
            Scope::Client => GenerationKeys::PerClient { prk, sealer_is_client: sealer.side == Side::Client },
        })
    }

    /// Names the secret without revealing it: equal for files that would give the same generation secrets.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut inner = Sha256::new();
        inner.update(b"pdmv2 key file secret");
        inner.update(self.salt);
        inner.update(&*self.secret);
        let mut outer = Sha256::new();
        outer.update(b"pdmv2 key file");
        outer.update(self.suite.id());
        outer.update(self.salt);
        outer.update(inner.finalize());
        outer.finalize().into()
    }
}
