//! `pdmv2 keygen`: a new key file.

use anyhow::anyhow;
use clap::Args;
use common::identity::parse_id;
use common::key_file::{KeyFile, Node, Scope, Side};
use common::private_file::write_new;
use protocol::suite::{Aead, Kdf, Kem, Suite};
use std::io::Write;
use std::path::PathBuf;

/// Arguments of `pdmv2 keygen`.
#[derive(Args, Debug)]
pub struct KeygenArgs {
    /// The file to write; never overwritten
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// A box, once for each: name=box-a,side=client,prefix=2001:db8:a::/48, with more prefix=… and an id=… if need be
    #[arg(long = "node", value_name = "NODE", required = true, value_parser = parse_node)]
    pub nodes: Vec<Node>,
    /// x25519, p-256 or x-wing
    #[arg(long, default_value = Kem::X25519.name(), value_parser = parse_kem)]
    pub kem: Kem,
    /// hkdf-sha256, hkdf-sha384 or hkdf-sha512
    #[arg(long, default_value = Kdf::Sha256.name(), value_parser = parse_kdf)]
    pub kdf: Kdf,
    /// aes-128-gcm, aes-256-gcm or chacha20poly1305
    #[arg(long, default_value = Aead::Aes128Gcm.name(), value_parser = parse_aead)]
    pub aead: Aead,
    /// Whose secret a box seals under: node, client or shared
    #[arg(long, default_value = Scope::Node.name(), value_parser = parse_scope)]
    pub scope: Scope,
}

fn parse_kem(name: &str) -> Result<Kem, String> {
    Kem::from_name(name).ok_or_else(|| "use x25519, p-256 or x-wing".to_owned())
}

fn parse_kdf(name: &str) -> Result<Kdf, String> {
    Kdf::from_name(name).ok_or_else(|| "use hkdf-sha256, hkdf-sha384 or hkdf-sha512".to_owned())
}

fn parse_aead(name: &str) -> Result<Aead, String> {
    Aead::from_name(name).ok_or_else(|| "use aes-128-gcm, aes-256-gcm or chacha20poly1305".to_owned())
}

fn parse_scope(name: &str) -> Result<Scope, String> {
    Scope::from_name(name).ok_or_else(|| "use node, client or shared".to_owned())
}

/// `name=box-a,side=client,prefix=2001:db8:a::/48`; the id is 16 random octets unless given.
fn parse_node(text: &str) -> Result<Node, String> {
    let (mut name, mut side, mut id, mut prefixes) = (None, None, None, Vec::new());
    for part in text.split(',') {
        let (key, value) = part.split_once('=').ok_or_else(|| format!("'{part}' is not key=value"))?;
        let twice = match key {
            "name" => name.replace(value.to_owned()).is_some(),
            "side" => {
                let parsed =
                    Side::from_name(value).ok_or_else(|| format!("'{value}' is not a side: client or server"))?;
                side.replace(parsed).is_some()
            }
            "id" => {
                let parsed =
                    parse_id(value).ok_or_else(|| format!("'{value}' is no id: an IPv6 address or 32 hex digits"))?;
                id.replace(parsed).is_some()
            }
            "prefix" => {
                prefixes.push(value.parse()?);
                false
            }
            _ => return Err(format!("unknown '{key}': use name, side, prefix, id")),
        };
        if twice {
            return Err(format!("'{key}' twice"));
        }
    }
    let id = match id {
        Some(id) => id,
        None => {
            let mut id = [0; 16];
            getrandom::fill(&mut id).map_err(|e| format!("the system gives no random numbers: {e}"))?;
            id
        }
    };
    let name = name.ok_or("name=… is missing")?;
    let side = side.ok_or("side=client or side=server is missing")?;
    if prefixes.is_empty() {
        return Err("prefix=… is missing: those whose packets the box seals".to_owned());
    }
    Ok(Node { name, id, side, prefixes })
}

/// Writes the key file and says on `out` what comes next.
///
/// # Errors
/// Nodes that do not go together, a file that is already there or cannot be written.
pub fn run(args: &KeygenArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let suite = Suite { kem: args.kem, kdf: args.kdf, aead: args.aead };
    let keys = KeyFile::generate(suite, args.scope, args.nodes.clone()).map_err(|e| anyhow!(e))?;
    write_new(&args.out, keys.to_toml().as_bytes())?;
    let (file, name) = (args.out.display(), args.out.file_name().unwrap_or_default().display());
    writeln!(
        out,
        "Wrote {file} (mode 0600): {} nodes, scope {}, {}/{}/{}.",
        keys.nodes.len(),
        args.scope.name(),
        args.kem,
        args.kdf,
        args.aead
    )?;
    writeln!(out, "Next:")?;
    writeln!(
        out,
        "  1. Copy it to every box it names, over a channel you trust (scp -p keeps the mode), and nowhere else."
    )?;
    writeln!(out, "  2. In each box's configuration: [keys] file = \"{name}\", and [node] name = one of")?;
    for node in &keys.nodes {
        writeln!(out, "       {} (side {}, id {})", node.name, node.side.name(), hex::encode(node.id))?;
    }
    writeln!(out, "  3. pdmv2-middlebox run --config FILE --check")?;
    writeln!(
        out,
        "Keep the .state and .lock files the boxes make beside it; a box that has lost them needs a new key file."
    )?;
    Ok(())
}
