//! The `[[peer]]` tables.

use super::names::named;
use crate::engine::{PeerConfig, Role};
use common::config::path;
use common::config::reader::{self, Table};
use common::config::report::{At, Report};
use common::key_file::Scope;
use negotiation::{MAX_PSK_ID, Prefer};
use protocol::suite::{Aead, Kdf, Kem, Suite};
use registration::config::host_and_port;
use registration::tls::AuthorityFiles;
use std::path::{Path, PathBuf};

/// A peer, and its authority when it has one of its own.
pub type Peer = (PeerConfig, Option<AuthorityFiles>);

pub fn peers(root: &mut Table<'_>, dir: &Path, report: &mut Report<'_>) -> Vec<At<Peer>> {
    if !root.require("peer", "[[peer]]: the registrar of the other side", report) {
        return Vec::new();
    }
    let mut peers: Vec<At<Peer>> = Vec::new();
    for table in root.tables("peer", report) {
        let Some(peer) = peer(table, dir, report) else { continue };
        if peers.iter().any(|p| p.value.0.name == peer.value.0.name) {
            report.error(peer.at, format!("two peers are named '{}'", peer.value.0.name), "rename or delete one");
        }
        peers.push(peer);
    }
    peers
}

fn peer(mut table: Table<'_>, dir: &Path, report: &mut Report<'_>) -> Option<At<Peer>> {
    const PREFER: [(&str, Prefer); 2] = [("server", Prefer::Server), ("client", Prefer::Client)];
    let at = table.at;
    table.require("name", "name = \"east\": as in its certificate", report);
    let name = table.text("name", report).filter(|name| named(name, report));
    table.require("role", "role = \"client\" or \"server\": which of the two this registrar is", report);
    let role = table.choice("role", &[Role::Client, Role::Server].map(|r| (r.name(), r)), report);
    // One, or a list: of several registrars of the other side one leads.
    let list = table.value("address").map(|v| (v.get_ref().as_array().is_some(), v.span().start));
    let addresses = match list {
        Some((true, _)) => table.texts("address", report).unwrap_or_default(),
        _ => table.text("address", report).into_iter().collect(),
    };
    let addresses: Vec<_> = addresses.iter().filter_map(|text| host_and_port(text, report)).collect();
    match (role.map(|r| r.value), list) {
        (Some(Role::Client), None) => {
            report.error(
                at,
                "a peer without address",
                "add address = \"registrar.example.net:7447\": role client connects",
            );
        }
        (Some(Role::Server), Some((_, at))) => {
            report.error(at, "an address, but role server only listens", "delete it, or set role = \"client\"");
        }
        _ => {}
    }
    table.require("static_keys", "static_keys = \"NAME.static.pub\", from the other side", report);
    let static_keys = path(&mut table, "static_keys", dir, report).map(|p| p.value);
    let ca = path(&mut table, "ca", dir, report).map(|p| p.value);
    let crl = path(&mut table, "crl", dir, report);
    if let (None, Some(crl)) = (&ca, &crl) {
        report.error(crl.at, "crl without ca", "add ca, or delete it: [tls] crl is then taken");
    }
    let authority = ca.map(|ca| AuthorityFiles { ca, crl: crl.map(|c| c.value) });
    let psk = psk(&mut table, dir, report);
    table.require("prefixes", "prefixes: a list of what the other side's boxes may speak for", report);
    let prefixes = reader::prefixes(&mut table, "prefixes", report);
    let suites = suites(&mut table, psk.is_some(), report);
    let prefer = table.choice("prefer", &PREFER, report);
    if let (Some(prefer), Some(Role::Client)) = (&prefer, role.map(|r| r.value)) {
        report.error(
            prefer.at,
            "'prefer' is the server primary's",
            "delete it; the order of 'suites' is what it is told",
        );
    }
    let scope = table.choice("scope", &[Scope::Node, Scope::Client, Scope::Shared].map(|s| (s.name(), s)), report);
    table.finish(report);
    let peer = PeerConfig {
        name: name?.value.to_owned(),
        role: role?.value,
        addresses,
        static_keys: static_keys?,
        psk,
        prefixes: prefixes?,
        suites: suites?,
        prefer: prefer.map_or(Prefer::Server, |p| p.value),
        scope: scope.map_or(Scope::Node, |s| s.value),
    };
    Some(At { value: (peer, authority), at })
}

fn psk(table: &mut Table<'_>, dir: &Path, report: &mut Report<'_>) -> Option<(String, PathBuf)> {
    let id = table.text("psk_id", report);
    let file = path(table, "psk", dir, report);
    match (id, file) {
        (Some(id), Some(file)) => {
            if id.value.is_empty() || id.value.len() > MAX_PSK_ID {
                report.error(id.at, "a psk_id of no or too many octets", format!("use 1 to {MAX_PSK_ID}"));
                return None;
            }
            Some((id.value.to_owned(), file.value))
        }
        (Some(At { at, .. }), None) => {
            report.error(at, "psk_id without psk", "add psk = \"FILE\" ('pdmv2 pki secret' makes one), or delete it");
            None
        }
        (None, Some(At { at, .. })) => {
            report.error(at, "psk without psk_id", "add psk_id = \"…\", the same on both sides, or delete it");
            None
        }
        (None, None) => None,
    }
}

/// `"x25519, hkdf-sha256, aes-128-gcm"`.
fn parse_suite(text: &str) -> Option<Suite> {
    let parts: Vec<_> = text.split(',').map(str::trim).collect();
    let [kem, kdf, aead] = parts.as_slice() else { return None };
    Some(Suite { kem: Kem::from_name(kem)?, kdf: Kdf::from_name(kdf)?, aead: Aead::from_name(aead)? })
}

fn suites(table: &mut Table<'_>, psk: bool, report: &mut Report<'_>) -> Option<Vec<Suite>> {
    if table.value("suites").is_none() {
        return Some(vec![Suite::default()]);
    }
    let mut suites = Vec::new();
    let mut wrong = false;
    for text in table.texts("suites", report)? {
        let problem = match parse_suite(text.value) {
            None => Some("is not a suite"),
            Some(suite) if suites.contains(&suite) => Some("stands there twice"),
            Some(suite) if suite.kem == Kem::XWing && !psk => Some("needs psk and psk_id: x-wing has no Auth mode"),
            Some(suite) => {
                suites.push(suite);
                None
            }
        };
        if let Some(problem) = problem {
            wrong = true;
            let names = "kem x25519, p-256, x-wing; kdf hkdf-sha256, hkdf-sha384, hkdf-sha512; aead aes-128-gcm, \
                         aes-256-gcm, chacha20poly1305";
            let remedy = format!("write it like \"{}\" ({names})", Suite::default());
            report.error(text.at, format!("'{}' {problem}", text.value.escape_debug()), remedy);
        }
    }
    (!wrong).then_some(suites)
}
