//! The registrar's metrics for Prometheus: its table of figures. `docs/metrics.md` is made from it too.

use crate::core::{Core, Published, StoreStatus};
use crate::engine::EngineStatus;
use crate::entrance::Doors;
use crate::leadership::Leadership;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use common::metrics::Read::{Each, One};
use common::metrics::prometheus::{self, TEXT_FORMAT};
use common::metrics::{Book, Figure, Label, Sample, Value};
use registration::serving::places::PlaceCounts;
use std::path::PathBuf;
use std::sync::Arc;

/// `/metrics` and `/healthz`.
pub fn router(core: Arc<Core>, doors: Doors) -> Router {
    let of = Arc::clone(&core);
    Router::new()
        .route("/healthz", get(move || async move { healthz(&of) }))
        .route("/metrics", get(move || async move { answer(&core, &doors) }))
}

/// `ok`, or what is degraded. Both with status 200: what was handed out stays in use and boxes stay connected, which
/// a supervisor that starts the registrar anew for a failed check would end.
fn healthz(core: &Core) -> String {
    match core.status().store.as_ref().and_then(|store| store.error.as_ref()) {
        None => "ok\n".to_owned(),
        Some(error) => format!("degraded: the store cannot be written: {error}\n"),
    }
}

fn answer(core: &Core, doors: &Doors) -> impl IntoResponse + use<> {
    let now = Standing {
        status: core.status(),
        leads: core.leadership() == Leadership::Leads,
        lists: core.tls.lists_expire(),
        connections: doors.counts(),
    };
    match prometheus::text(&BOOK, &now) {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, TEXT_FORMAT)], text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], error.to_string()),
    }
}

/// How the registrar stands at one moment: what its figures are read from.
pub struct Standing {
    /// Towards the other primaries, and with the store; of a follower nothing.
    pub status: Arc<Published>,
    /// Whether it leads its side, or is the only one.
    pub leads: bool,
    /// Revocation lists, and in how many seconds each expires.
    pub lists: Vec<(PathBuf, i64)>,
    /// Those that shake hands, and those that are open.
    pub connections: [PlaceCounts; 2],
}

impl Standing {
    fn by_peer<V: Into<Value>>(&self, value: fn(&EngineStatus) -> V) -> Vec<Sample> {
        self.status.peers.iter().map(|peer| Sample::new([&peer.peer], value(peer))).collect()
    }

    fn of_store<V: Into<Value>>(&self, value: fn(&StoreStatus) -> V) -> Vec<Sample> {
        self.status.store.iter().map(|store| Sample::new([""; 0], value(store))).collect()
    }

    fn by_list(&self) -> Vec<Sample> {
        self.lists.iter().map(|(file, seconds)| Sample::new([file.display()], *seconds as f64)).collect()
    }

    fn by_stage(&self, count: fn(&PlaceCounts) -> u64) -> Vec<Sample> {
        STAGES.iter().zip(&self.connections).map(|((stage, _), counts)| Sample::new([stage], count(counts))).collect()
    }
}

const STAGES: [(&str, &str); 2] = [("handshake", "not yet through TLS"), ("open", "in use")];

type Row = Figure<Standing>;

/// The registrar's table.
pub static BOOK: Book<Standing> = Book { figures: FIGURES, labels: LABELS };

// A table: one row for each figure, in the order in which they are shown.
const FIGURES: &[Row] = &[
    Row::info("pdmv2_build_info", "Version of the program.", Each(build)).by(&["version"]),
    // Towards each other primary.
    Row::gauge(
        "pdmv2_registrar_peer_up",
        "",
        "1 when the other primary is in touch.",
        Each(|r| r.by_peer(|p| p.connected)),
    )
    .by(&["peer"]),
    Row::gauge(
        "pdmv2_registrar_generation",
        "",
        "Generation that boxes seal under, 0 for none.",
        Each(|r| r.by_peer(|p| u64::from(p.active))),
    )
    .by(&["peer"]),
    Row::gauge("pdmv2_registrar_generation_age_seconds", "seconds", "Since it was agreed.", Each(|r| r.by_peer(age)))
        .by(&["peer"]),
    Row::gauge(
        "pdmv2_registrar_generation_due",
        "",
        "1 when a new generation is due.",
        Each(|r| r.by_peer(|p| p.due.is_some())),
    )
    .by(&["peer"]),
    Row::gauge("pdmv2_registrar_nodes", "boxes", "Boxes of this side.", Each(|r| r.by_peer(|p| p.nodes.len() as u64)))
        .by(&["peer"]),
    Row::gauge(
        "pdmv2_registrar_nodes_connected",
        "boxes",
        "Those that are connected.",
        Each(|r| r.by_peer(|p| p.nodes.iter().filter(|n| n.connected).count() as u64)),
    )
    .by(&["peer"]),
    Row::gauge(
        "pdmv2_registrar_nodes_sealing",
        "boxes",
        "Those that were told to seal.",
        Each(|r| r.by_peer(|p| p.nodes.iter().filter(|n| n.seals > 0).count() as u64)),
    )
    .by(&["peer"]),
    Row::gauge(
        "pdmv2_registrar_nodes_revoked",
        "boxes",
        "Those that were revoked.",
        Each(|r| r.by_peer(|p| p.nodes.iter().filter(|n| n.revoked).count() as u64)),
    )
    .by(&["peer"]),
    Row::gauge(
        "pdmv2_registrar_peer_nodes",
        "boxes",
        "Boxes of the other side.",
        Each(|r| r.by_peer(|p| p.peer_nodes as u64)),
    )
    .by(&["peer"]),
    Row::counter(
        "pdmv2_registrar_generations_total",
        "generations",
        "Generations agreed since the start.",
        Each(|r| r.by_peer(|p| p.generations_total)),
    )
    .by(&["peer"]),
    Row::counter(
        "pdmv2_registrar_negotiation_failures_total",
        "",
        "Negotiations that failed.",
        Each(|r| r.by_peer(|p| p.failures_total)),
    )
    .by(&["peer"]),
    Row::counter(
        "pdmv2_registrar_registrations_total",
        "",
        "Registrations of boxes.",
        Each(|r| r.by_peer(|p| p.registrations_total)),
    )
    .by(&["peer"]),
    // The registrar among its fellows, and its store.
    Row::gauge(
        "pdmv2_registrar_leader",
        "",
        "1 when this registrar leads its side, or is the only one.",
        One(|r| r.leads.into()),
    ),
    Row::gauge(
        "pdmv2_registrar_store_up",
        "",
        "1 when all that is to be kept is kept; 0: the store cannot be written, and nothing new is handed out.",
        Each(|r| r.of_store(|s| s.behind_seconds.is_none())),
    ),
    Row::gauge(
        "pdmv2_registrar_store_behind_seconds",
        "seconds",
        "Since when the store cannot be written; 0: it can.",
        Each(|r| r.of_store(|s| s.behind_seconds)),
    ),
    Row::counter(
        "pdmv2_registrar_store_failures_total",
        "",
        "Writes to the store that were refused.",
        Each(|r| r.of_store(|s| s.failures_total)),
    ),
    // Who connects.
    Row::gauge(
        "pdmv2_registrar_crl_expires_seconds",
        "seconds",
        "Until a revocation list has expired; below 0: it has.",
        Each(Standing::by_list),
    )
    .by(&["file"]),
    Row::gauge(
        "pdmv2_registrar_connections",
        "connections",
        "Connections, by stage.",
        Each(|r| r.by_stage(|c| c.taken as u64)),
    )
    .by(&["stage"]),
    Row::counter(
        "pdmv2_registrar_connections_refused_total",
        "connections",
        "Connections for which there was no place.",
        Each(|r| r.by_stage(|c| c.refused)),
    )
    .by(&["stage"]),
    Row::counter(
        "pdmv2_registrar_connections_ended_total",
        "connections",
        "Connections that were too slow, idle, or in the way of others.",
        Each(|r| r.by_stage(|c| c.lost)),
    )
    .by(&["stage"]),
];

const LABELS: &[Label] = &[
    Label { name: "peer", help: "Name of the other primary.", values: Vec::new },
    Label { name: "file", help: "The file of a revocation list.", values: Vec::new },
    Label { name: "stage", help: "How far a connection is: in its TLS handshake, or open.", values: || STAGES.into() },
    Label { name: "version", help: "The program's version.", values: Vec::new },
];

fn age(peer: &EngineStatus) -> u64 {
    peer.generations.iter().find(|g| g.number == peer.active).map_or(0, |g| g.age_seconds)
}

fn build(_: &Standing) -> Vec<Sample> {
    vec![Sample::new([env!("CARGO_PKG_VERSION")], 1u64)]
}
