//! The key file as it is read: the file itself, then what stands in it.

use super::{KeyFile, Node, Side};
use crate::config::reader::{self, Table};
use crate::config::report::{At, Report};
use crate::identity::{NAME_REMEDY, check_name, parse_id};
use protocol::suite::{Aead, Kdf, Kem, Scope, Suite};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use zeroize::Zeroizing;

/// Octets a key file may have.
const MAX_LEN: u64 = 1 << 20;
/// Nodes it may name; the workers number them with 16 bits and look through them one by one.
const MAX_NODES: usize = 1024;

pub(super) fn read_private(path: &Path) -> Result<Zeroizing<String>, (String, String)> {
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

pub(super) fn read(mut root: Table<'_>, report: &mut Report<'_>) -> Option<KeyFile> {
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
