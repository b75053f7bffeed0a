//! The `[[node]]` tables.

use super::super::reader::{self, Table};
use super::super::report::{self, At, Report};
use super::peers::Peer;
use super::{NodeConfig, named};
use crate::key_file::{self, Scope};
use crate::registration::wire::{MAX_NODES, MAX_PREFIXES};

pub fn nodes(root: &mut Table<'_>, peers: &[At<Peer>], report: &mut Report<'_>) -> Vec<NodeConfig> {
    let tables = root.tables("node", report);
    if let Some(table) = tables.get(MAX_NODES) {
        report.error(table.at, format!("more than {MAX_NODES} nodes"), "split them over several registrars");
    }
    let mut nodes: Vec<At<NodeConfig>> = Vec::new();
    // By name and by id, so that thousands do not take long.
    let (mut names, mut ids) = (std::collections::HashSet::new(), std::collections::HashSet::new());
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
    for At { value: (peer, _), .. } in peers.iter().filter(|p| p.value.0.scope == Scope::Shared) {
        let mut of = nodes.iter().filter(|n| n.value.peer == peer.name);
        if let (Some(_), Some(second)) = (of.next(), of.next()) {
            let message =
                format!("scope 'shared' towards '{}' with several nodes: they could meet in a nonce", peer.name);
            report.error(second.at, message, "use scope = \"node\", or leave one node on each side");
        }
        for node in nodes.iter().filter(|n| n.value.peer == peer.name) {
            let overlap = node.value.prefixes.iter().find(|p| peer.prefixes.iter().any(|o| o.overlaps(p)));
            if let Some(prefix) = overlap {
                let message = format!("scope 'shared', but {prefix} overlaps the prefixes of '{}'", peer.name);
                report.error(node.at, message, "use scope = \"node\", or make the prefixes disjoint");
            }
        }
    }
    nodes.into_iter().map(|n| n.value).collect()
}

fn node(mut table: Table<'_>, peers: &[At<Peer>], report: &mut Report<'_>) -> Option<At<NodeConfig>> {
    let at = table.at;
    table.require("name", "name = \"box-a\": as in its certificate", report);
    let name = table.text("name", report).filter(|name| named(name, report));
    table.require("id", "id: an IPv6 address of the box, or 32 random hex digits", report);
    let id = table.text("id", report).and_then(|text| {
        let id = key_file::parse_id(text.value);
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
    Some(At { value: NodeConfig { name: name?.value.to_owned(), id: id?, prefixes: prefixes?, peer }, at })
}
