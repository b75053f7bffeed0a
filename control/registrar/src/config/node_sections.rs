//! The `[[node]]` tables.

use super::names::named;
use super::peer_sections::Peer;
use crate::engine::{Disjoint, NodeConfig, PeerConfig, Role};
use common::config::reader::{self, Table};
use common::config::report::{self, At, Report};
use common::identity;
use common::key_file::Scope;
use registration::wire::{MAX_CLIENTS, MAX_NODES, MAX_PREFIXES};
use std::collections::HashSet;
use std::net::Ipv6Addr;

pub fn nodes(root: &mut Table<'_>, peers: &[At<Peer>], report: &mut Report<'_>) -> Vec<NodeConfig> {
    let tables = root.tables("node", report);
    if let Some(table) = tables.get(MAX_NODES) {
        report.error(table.at, format!("more than {MAX_NODES} nodes"), "split them over several registrars");
    }
    let mut nodes: Vec<At<NodeConfig>> = Vec::new();
    // By name and by id, so that thousands do not take long.
    let (mut names, mut ids) = (HashSet::new(), HashSet::new());
    for table in tables {
        let Some(node) = node(table, peers, report) else { continue };
        if !names.insert(node.value.name.clone()) {
            report.error(node.at, format!("two nodes are named '{}'", node.value.name), "rename one");
        }
        if !ids.insert(node.value.id) {
            let message = format!("node '{}' has another's id", node.value.name);
            report.error(node.at, message, "give each box its own: two that share one would share nonces");
        }
        nodes.push(node);
    }
    for At { value: (peer, _), .. } in peers {
        let of: Vec<_> = nodes.iter().filter(|n| n.value.peer == peer.name).collect();
        check_scope(peer, &of, report);
    }
    nodes.into_iter().map(|n| n.value).collect()
}

/// Boxes that seal under one secret must not meet in a nonce: what tells their packets apart is the source.
fn check_scope(peer: &PeerConfig, nodes: &[&At<NodeConfig>], report: &mut Report<'_>) {
    let scope = peer.scope.name();
    if peer.scope == Scope::Shared
        && let Some(second) = nodes.get(1)
    {
        let message = format!("scope '{scope}' towards '{}' with several nodes: they could meet in a nonce", peer.name);
        report.error(second.at, message, "use scope = \"node\", or leave one node on each side");
    }
    if peer.scope != Scope::Node {
        for node in nodes {
            let overlap = node.value.prefixes.iter().find(|p| peer.prefixes.iter().any(|o| o.overlaps(p)));
            if let Some(prefix) = overlap {
                let message = format!("scope '{scope}', but {prefix} overlaps the prefixes of '{}'", peer.name);
                report.error(node.at, message, "use scope = \"node\", or make the prefixes disjoint");
            }
        }
    }
    if peer.scope == Scope::Client {
        let mut others = Disjoint::default();
        for node in nodes {
            let overlap = node.value.prefixes.iter().find_map(|p| Some((p, others.overlapping(p)?)));
            if let Some((prefix, other)) = overlap {
                let message = format!(
                    "scope '{scope}', but {prefix} of '{}' overlaps {other} of another node: they could meet in a nonce",
                    node.value.name
                );
                report.error(node.at, message, "make the prefixes disjoint, or use scope = \"node\"");
            } else {
                others.insert_all(&node.value.prefixes);
            }
        }
    }
    check_clients(peer, nodes, report);
}

/// Clients are named where they are: on the client primary's side, in scope client.
fn check_clients(peer: &PeerConfig, nodes: &[&At<NodeConfig>], report: &mut Report<'_>) {
    let has_clients = peer.scope == Scope::Client && peer.role == Role::Client;
    for At { value: node, at } in nodes {
        match node.clients.is_empty() {
            true if has_clients => {
                let message =
                    format!("node '{}' has no clients, but scope 'client' seals for named ones only", node.name);
                report.error(*at, message, "add clients = [\"2001:db8:a::10\", …]: addresses within its prefixes");
            }
            false if !has_clients => {
                let message =
                    format!("node '{}' has clients, which scope 'client' and role 'client' have alone", node.name);
                report.error(*at, message, "delete them: the client primary's registrar names its own");
            }
            _ => {}
        }
        let mut seen = HashSet::new();
        for client in &node.clients {
            let address = Ipv6Addr::from(*client);
            if !seen.insert(client) {
                report.error(*at, format!("client {address} of '{}' stands there twice", node.name), "delete one");
            }
            if !node.prefixes.iter().any(|p| p.contains(client)) {
                let message = format!("client {address} is not within the prefixes of '{}'", node.name);
                report.error(*at, message, "grant its prefix, or move it to the node that has it");
            }
        }
    }
    let count: usize = nodes.iter().map(|n| n.value.clients.len()).sum();
    if count > MAX_CLIENTS {
        let at = nodes.first().map_or(0, |n| n.at);
        let message = format!("{count} clients towards '{}', of which there may be {MAX_CLIENTS}", peer.name);
        report.error(at, message, "use scope = \"node\", or several registrars");
    }
}

/// `clients`: addresses.
fn clients(table: &mut Table<'_>, report: &mut Report<'_>) -> Option<Vec<[u8; 16]>> {
    if table.value("clients").is_none() {
        return Some(Vec::new());
    }
    let texts = table.texts("clients", report)?;
    let mut clients = Vec::new();
    for text in &texts {
        match text.value.parse::<Ipv6Addr>() {
            Ok(address) => clients.push(address.octets()),
            Err(_) => {
                let message = format!("'{}' is not an IPv6 address", text.value.escape_debug());
                report.error(text.at, message, "write each client like \"2001:db8:a::10\"");
            }
        }
    }
    (clients.len() == texts.len()).then_some(clients)
}

fn node(mut table: Table<'_>, peers: &[At<Peer>], report: &mut Report<'_>) -> Option<At<NodeConfig>> {
    let at = table.at;
    table.require("name", "name = \"box-a\": as in its certificate", report);
    let name = table.text("name", report).filter(|name| named(name, report));
    table.require("id", "id: an IPv6 address of the box, or 32 random hex digits", report);
    let id = table.text("id", report).and_then(|text| {
        let id = identity::parse_id(text.value);
        if id.is_none() {
            let message = format!("'{}' is not a node id", text.value);
            report.error(text.at, message, "write an IPv6 address of the box, or 32 random hex digits");
        }
        id
    });
    table.require("prefixes", "prefixes: a list of those whose packets the box may seal", report);
    let prefixes = reader::prefixes(&mut table, "prefixes", report);
    if prefixes.as_ref().is_some_and(|p| p.len() > MAX_PREFIXES) {
        report.error(at, format!("more than {MAX_PREFIXES} prefixes"), "join some");
    }
    let clients = clients(&mut table, report);
    let peer = table.text("peer", report);
    table.finish(report);
    let known: Vec<_> = peers.iter().map(|p| p.value.0.name.as_str()).collect();
    let peer = match (peer, known.as_slice()) {
        (Some(peer), _) if known.contains(&peer.value) => peer.value.to_owned(),
        (Some(peer), _) => {
            let remedy = report::suggestion(peer.value, &known);
            report.error(peer.at, format!("'{}' is not a peer", peer.value), remedy);
            return None;
        }
        (None, [only]) => (*only).to_owned(),
        // What is wrong with the peers has been said.
        (None, []) => return None,
        (None, _) => {
            let remedy = format!("add peer = one of: {}", known.join(", "));
            report.error(at, "a node without peer, and there are several", remedy);
            return None;
        }
    };
    let node = NodeConfig { name: name?.value.to_owned(), id: id?, prefixes: prefixes?, clients: clients?, peer };
    Some(At { value: node, at })
}
