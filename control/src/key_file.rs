//! The key file of profile section 9: what two sides share that run without a registrar.

use crate::config::reader::{self, Table};
use crate::config::report::{At, Errors, Report};
use pipeline::keyring::GenerationKeys;
use pipeline::policy::Prefix;
use protocol::key_schedule::{Prk, ScopeId, SharedSecret, WrongLength, file_generation_secret};
use protocol::suite::{Aead, Kdf, Kem, Suite};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::net::Ipv6Addr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use zeroize::Zeroizing;

pub use protocol::suite::Scope;

/// Octets a key file may have.
const MAX_LEN: u64 = 1 << 20;
/// Nodes it may name; the workers number them with 16 bits and look through them one by one.
const MAX_NODES: usize = 1024;
/// Characters of a name.
const MAX_NAME: usize = 63;

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
        let text = read_private(path).map_err(|(message, remedy)| Errors::of_file(&place, message, remedy))?;
        Self::parse(&text, &place)
    }

    /// Checks the text of a key file; `place` names it in errors.
    ///
    /// # Errors
    /// As [`KeyFile::load`].
    pub fn parse(text: &str, place: &str) -> Result<Self, Errors> {
        let mut report = Report::new(place, text);
        let document = reader::parse(text, &mut report);
        let keys = document.as_ref().and_then(|document| read(Table::root(document), &mut report));
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

/// Names go into metrics, JSON, file names and log lines: one plain word.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("an empty name".to_owned());
    }
    if name.len() > MAX_NAME {
        return Err(format!("a name of more than {MAX_NAME} characters"));
    }
    match name.chars().find(|c| !c.is_ascii_alphanumeric() && !"-_.".contains(*c)) {
        Some(c) => Err(format!("the name '{}' has a {c:?}", name.escape_debug())),
        None => Ok(()),
    }
}

/// What [`check_name`] wants.
pub const NAME_REMEDY: &str = "use 1 to 63 letters, digits, '-', '_' and '.'";

/// A node id: an IPv6 address, or 32 hex digits.
#[must_use]
pub fn parse_id(text: &str) -> Option<[u8; 16]> {
    let mut id = [0; 16];
    if hex::decode_to_slice(text, &mut id).is_ok() {
        return Some(id);
    }
    text.parse::<Ipv6Addr>().ok().map(|a| a.octets())
}

fn read_private(path: &Path) -> Result<Zeroizing<String>, (String, String)> {
    let place = path.display();
    // Not blocking: a FIFO in its place must not hang the box.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|e| {
        let remedy = match e.kind() {
            io::ErrorKind::NotFound => "make one with 'pdmv2 keygen', or correct its name".to_owned(),
            _ => format!("let the user of this program read it ('ls -l {place}')"),
        };
        (format!("cannot open the key file: {e}"), remedy)
    })?;
    check_file(&file).map_err(|message| {
        let remedy = if message.contains("mode") { format!("chmod 600 {place}") } else { "name a key file".to_owned() };
        (message, remedy)
    })?;
    let mut text = Zeroizing::new(String::with_capacity(MAX_LEN as usize + 1));
    file.take(MAX_LEN + 1).read_to_string(&mut text).map_err(|e| {
        (format!("cannot read the key file: {e}"), "bring it back from one of the other boxes".to_owned())
    })?;
    if text.len() as u64 > MAX_LEN {
        return Err((format!("a key file has at most {MAX_LEN} octets"), "name a key file".to_owned()));
    }
    Ok(text)
}

/// Looks at the open file, not at the path: what is checked is what is read.
fn check_file(file: &File) -> Result<(), String> {
    let metadata = file.metadata().map_err(|e| format!("cannot look at the key file: {e}"))?;
    if !metadata.is_file() {
        return Err("not a regular file".to_owned());
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(format!("the key file has mode {mode:04o}: others than its owner may use it"));
    }
    Ok(())
}

fn read(mut root: Table<'_>, report: &mut Report<'_>) -> Option<KeyFile> {
    root.require("version", "version = 1", report);
    root.integer("version", 1..=1, report);
    let kem = algorithm(&mut root, "kem", &[Kem::X25519, Kem::P256, Kem::XWing].map(|k| (k.name(), k)), report);
    let kdf = algorithm(&mut root, "kdf", &[Kdf::Sha256, Kdf::Sha384, Kdf::Sha512].map(|k| (k.name(), k)), report);
    let aeads = [Aead::Aes128Gcm, Aead::Aes256Gcm, Aead::ChaCha20Poly1305].map(|a| (a.name(), a));
    let aead = algorithm(&mut root, "aead", &aeads, report);
    root.require("scope", "scope = \"node\"", report);
    let scope = root.choice("scope", &[Scope::Node, Scope::Client, Scope::Shared].map(|s| (s.name(), s)), report);
    let salt = octets(&mut root, "salt", Some(32), report);
    let secret = octets(&mut root, "secret", kdf.map(Kdf::nh), report);
    let mut nodes = Vec::new();
    for table in root.tables("node", report) {
        nodes.extend(node(table, report));
    }
    root.finish(report);
    check_nodes(&nodes, scope.map(|s| s.value), report);
    let salt: [u8; 32] = salt?.as_slice().try_into().ok()?;
    let nodes = nodes.into_iter().map(|n| n.value).collect();
    Some(KeyFile {
        suite: Suite { kem: kem?, kdf: kdf?, aead: aead? },
        scope: scope?.value,
        nodes,
        salt,
        secret: secret?,
    })
}

fn algorithm<T: Copy>(
    table: &mut Table<'_>,
    key: &'static str,
    names: &[(&str, T)],
    report: &mut Report<'_>,
) -> Option<T> {
    let default = names.first().map_or("", |(name, _)| *name);
    table.require(key, &format!("{key} = \"{default}\""), report);
    table.choice(key, names, report).map(|a| a.value)
}

/// Hex of a fixed length. Never shown, whatever is wrong with it.
fn octets(
    table: &mut Table<'_>,
    key: &'static str,
    len: Option<usize>,
    report: &mut Report<'_>,
) -> Option<Zeroizing<Vec<u8>>> {
    const REMEDY: &str = "copy the line whole from another box's key file, or make a new one with 'pdmv2 keygen'";
    if !table.require(key, "the line from another box's key file", report) {
        return None;
    }
    let text = table.text(key, report)?;
    let octets = hex::decode(text.value).ok().map(Zeroizing::new);
    if octets.is_none() {
        report.error(text.at, format!("'{key}' is not a string of hex digits, two per octet"), REMEDY);
    }
    let octets = octets?;
    if len.is_some_and(|len| len != octets.len()) {
        let message = format!("'{key}' has {} octets, but needs {}", octets.len(), len.unwrap_or_default());
        report.error(text.at, message, REMEDY);
        return None;
    }
    Some(octets)
}

fn node(mut table: Table<'_>, report: &mut Report<'_>) -> Option<At<Node>> {
    let at = table.at;
    table.require("name", "name = \"box-a\"", report);
    let name = table.text("name", report);
    if let Some(name) = name
        && let Err(message) = check_name(name.value)
    {
        report.error(name.at, message, NAME_REMEDY);
    }
    table.require("id", "id: an IPv6 address of the box, or 32 random hex digits", report);
    let id = table.text("id", report).and_then(|text| {
        let id = parse_id(text.value);
        if id.is_none() {
            let message = format!("'{}' is not a node id", text.value);
            report.error(text.at, message, "write an IPv6 address of the box, or 32 random hex digits");
        }
        id
    });
    table.require("side", "side = \"client\" or \"server\"", report);
    let side = table.choice("side", &Side::NAMES, report);
    table.require("prefixes", "prefixes: a list of those whose packets the box seals", report);
    let prefixes = reader::prefixes(&mut table, "prefixes", report);
    table.finish(report);
    let node = Node { name: name?.value.to_owned(), id: id?, side: side?.value, prefixes: prefixes? };
    Some(At { value: node, at })
}

fn check_nodes(nodes: &[At<Node>], scope: Option<Scope>, report: &mut Report<'_>) {
    if nodes.len() > MAX_NODES {
        report.error(0, format!("more than {MAX_NODES} nodes"), "split the boxes over several key files");
        return;
    }
    for (i, node) in nodes.iter().enumerate() {
        for other in nodes.iter().take(i) {
            if node.value.name == other.value.name {
                report.error(node.at, format!("two nodes are named '{}'", node.value.name), "rename one");
            }
            if node.value.id == other.value.id {
                let message = format!("nodes '{}' and '{}' have one id", other.value.name, node.value.name);
                report.error(node.at, message, "give each box its own: two that share one would share nonces");
            }
        }
    }
    let on = |side| nodes.iter().filter(move |n| n.value.side == side);
    for side in [Side::Client, Side::Server] {
        let count = on(side).count();
        let name = side.name();
        if count == 0 {
            report.error(0, format!("no node is on side '{name}'"), format!("add a [[node]] with side = \"{name}\""));
        }
        if let Some(second) = on(side).nth(1)
            && let Some(scope @ (Scope::Client | Scope::Shared)) = scope
        {
            let message =
                format!("scope '{}' with {count} nodes on side '{name}': they could meet in a nonce", scope.name());
            report.error(second.at, message, "use scope = \"node\", or leave one node on each side");
        }
    }
    if let Some(scope @ (Scope::Client | Scope::Shared)) = scope {
        for server in on(Side::Server) {
            for client in on(Side::Client) {
                let pairs =
                    client.value.prefixes.iter().flat_map(|c| server.value.prefixes.iter().map(move |s| (c, s)));
                for (c, s) in pairs.filter(|(c, s)| c.overlaps(s)) {
                    let message = format!("scope '{}', but {s} overlaps {c} of the other side", scope.name());
                    report.error(server.at, message, "use scope = \"node\", or make the prefixes disjoint");
                }
            }
        }
    }
}
