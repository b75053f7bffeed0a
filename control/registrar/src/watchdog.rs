//! Looks whether the registrar makes progress, and has systemd told that it does and how it stands ([`common::systemd`]). Its tick takes
//! the lock that all that it decides is under: whoever holds that for good is found. A store that does not answer holds nobody up, and
//! is told of in the line of how it stands.

use crate::core::{Core, Published};
use crate::leadership::Leadership;
use common::systemd::{Telling, Turns, Watchdog, patience, tell};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// Says that the registrar is ready, and looks from now on.
///
/// # Errors
/// The system gives no thread.
pub fn start(core: Arc<Core>) -> std::io::Result<Watchdog> {
    let now = Instant::now();
    let (mut turns, mut telling) = (Turns::from(now), Telling::new(patience(), now));
    Watchdog::start(move |now| {
        turns.look(core.turns.load(Relaxed), now);
        let still = telling.limit.is_some_and(|limit| turns.stand_still(limit, now));
        let stands = || stands(&core.leadership(), &core.published());
        telling.look(now, still.then_some("the registrar"), stands, &tell);
    })
}

/// How it stands, in a line.
fn stands(leadership: &Leadership, published: &Published) -> String {
    match leadership {
        Leadership::Follows(None) => return "follows: nobody is known to lead".to_owned(),
        Leadership::Follows(Some(leader)) => return format!("follows {}", leader.member),
        Leadership::Leads => {}
    }
    let Published { peers, store, .. } = published;
    let kept = match store.as_ref().and_then(|store| Some((&store.place, store.behind_seconds?))) {
        Some((place, _)) => format!("NOT KEPT: {place} cannot be written; "),
        None => String::new(),
    };
    let of = |is: fn(&crate::engine::NodeStatus) -> bool| peers.iter().flat_map(|p| &p.nodes).filter(|n| is(n)).count();
    let (boxes, connected) = (of(|_| true), of(|n| n.connected));
    let with = match peers.as_slice() {
        [peer] if peer.active == 0 => format!("{}: no generation yet", peer.peer),
        [peer] => format!("{}: generation {}", peer.peer, peer.active),
        peers => format!("{} peers, {} with a generation", peers.len(), peers.iter().filter(|p| p.active > 0).count()),
    };
    let touch = match peers.iter().filter(|p| !p.connected).count() {
        0 => "",
        _ if peers.len() == 1 => ", NOT in touch",
        _ => ", some NOT in touch",
    };
    format!("leads; {kept}{with}{touch}; {connected} of {boxes} boxes connected")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::StoreStatus;
    use crate::leadership::Leader;
    use serde_json::json;

    fn published(peers: &serde_json::Value, behind_seconds: Option<u64>) -> Published {
        let store = StoreStatus {
            place: "/s".into(),
            behind_seconds,
            error: None,
            remedy: None,
            waiting: 0,
            failures_total: 0,
        };
        Published::of(serde_json::from_value(peers.clone()).expect("peers"), Some(store))
    }

    fn peer(name: &str, connected: bool, active: u32, boxes: &[bool]) -> serde_json::Value {
        let node = |(i, connected): (usize, &bool)| json!({"name": format!("b{i}"), "peer": name, "connected": connected, "revoked": false, "opens": 0, "seals": 0, "prefixes": [], "address": null, "contested": null});
        let nodes: Vec<_> = boxes.iter().enumerate().map(node).collect();
        json!({"peer": name, "role": "client", "connected": connected, "scope": "node", "active": active, "generations": [], "due": null,
            "last_error": null, "peer_nodes": 0, "nodes": nodes, "generations_total": 0, "failures_total": 0, "registrations_total": 0})
    }

    #[test]
    fn a_line_says_who_leads_and_what_of_it_stands() {
        let one = json!([peer("west", true, 5, &[true, false])]);
        let leads = |peers: &serde_json::Value, behind| stands(&Leadership::Leads, &published(peers, behind));
        assert_eq!(leads(&one, None), "leads; west: generation 5; 1 of 2 boxes connected");
        let behind = "leads; NOT KEPT: /s cannot be written; west: generation 5; 1 of 2 boxes connected";
        assert_eq!(leads(&one, Some(7)), behind);
        let none = json!([peer("west", false, 0, &[])]);
        assert_eq!(leads(&none, None), "leads; west: no generation yet, NOT in touch; 0 of 0 boxes connected");
        let two = json!([peer("west", true, 5, &[true]), peer("north", false, 0, &[])]);
        assert_eq!(leads(&two, None), "leads; 2 peers, 1 with a generation, some NOT in touch; 1 of 1 boxes connected");
        let leader = Leader { member: "r2".into(), host: "h".into(), port: 1 };
        let follows = |leader| stands(&Leadership::Follows(leader), &Published::default());
        assert_eq!(follows(Some(leader)), "follows r2");
        assert_eq!(follows(None), "follows: nobody is known to lead");
    }
}
