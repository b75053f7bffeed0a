//! The registrar's metrics for Prometheus. Names and meanings: `docs/registration.md`.

use super::core::{Core, Published};
use super::engine::EngineStatus;
use super::entrance::Doors;
use crate::election::Seat;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use common::metrics::{counter, gauge};
use prometheus::proto::{Metric, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};
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
    let leads = core.seat() == Seat::Leads;
    match text(&core.status(), leads, &core.tls.lists_expire(), doors.counts()) {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], error.to_string()),
    }
}

/// In Prometheus' text format.
///
/// # Errors
/// The encoder refuses; it has no reason to.
pub fn text(
    status: &Published,
    leads: bool,
    lists: &[(PathBuf, i64)],
    [handshakes, connections]: [PlaceCounts; 2],
) -> Result<String, prometheus::Error> {
    let (mut families, store) = (Vec::new(), status.store.as_ref());
    let status = &status.peers;
    let mut add = |name: &str, help: &str, kind: MetricType, of: &dyn Fn(&EngineStatus) -> Metric| {
        // Of a follower there is nothing to say, and a family without metrics is an error to the encoder.
        if status.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(status.iter().map(of).collect());
        families.push(family);
    };
    let flag = |is| f64::from(u8::from(is));
    let amount = |n: usize| n as f64;
    add("pdmv2_registrar_peer_up", "1 when the other primary is in touch.", MetricType::GAUGE, &|s| {
        gauge(&[("peer", &s.peer)], flag(s.connected))
    });
    add("pdmv2_registrar_generation", "Generation that boxes seal under, 0 for none.", MetricType::GAUGE, &|s| {
        gauge(&[("peer", &s.peer)], f64::from(s.active))
    });
    add("pdmv2_registrar_generation_age_seconds", "Since it was agreed.", MetricType::GAUGE, &|s| {
        let age = s.generations.iter().find(|g| g.number == s.active).map_or(0, |g| g.age_seconds);
        gauge(&[("peer", &s.peer)], age as f64)
    });
    add("pdmv2_registrar_generation_due", "1 when a new generation is due.", MetricType::GAUGE, &|s| {
        gauge(&[("peer", &s.peer)], flag(s.due.is_some()))
    });
    add("pdmv2_registrar_nodes", "Boxes of this side.", MetricType::GAUGE, &|s| {
        gauge(&[("peer", &s.peer)], amount(s.nodes.len()))
    });
    add("pdmv2_registrar_nodes_connected", "Those that are connected.", MetricType::GAUGE, &|s| {
        gauge(&[("peer", &s.peer)], amount(s.nodes.iter().filter(|n| n.connected).count()))
    });
    add("pdmv2_registrar_nodes_sealing", "Those that were told to seal.", MetricType::GAUGE, &|s| {
        gauge(&[("peer", &s.peer)], amount(s.nodes.iter().filter(|n| n.seals > 0).count()))
    });
    add("pdmv2_registrar_nodes_revoked", "Those that were revoked.", MetricType::GAUGE, &|s| {
        gauge(&[("peer", &s.peer)], amount(s.nodes.iter().filter(|n| n.revoked).count()))
    });
    add("pdmv2_registrar_peer_nodes", "Boxes of the other side.", MetricType::GAUGE, &|s| {
        gauge(&[("peer", &s.peer)], amount(s.peer_nodes))
    });
    add("pdmv2_registrar_generations_total", "Generations agreed since the start.", MetricType::COUNTER, &|s| {
        counter(&[("peer", &s.peer)], s.generations_total)
    });
    add("pdmv2_registrar_negotiation_failures_total", "Negotiations that failed.", MetricType::COUNTER, &|s| {
        counter(&[("peer", &s.peer)], s.failures_total)
    });
    add("pdmv2_registrar_registrations_total", "Registrations of boxes.", MetricType::COUNTER, &|s| {
        counter(&[("peer", &s.peer)], s.registrations_total)
    });
    let mut add = |name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>| {
        if metrics.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        families.push(family);
    };
    let help = "1 when this registrar leads its side, or is the only one.";
    add("pdmv2_registrar_leader", help, MetricType::GAUGE, vec![gauge(&[], flag(leads))]);
    if let Some(store) = store {
        let behind = store.behind_seconds;
        let help =
            "1 when all that is to be kept is kept; 0: the store cannot be written, and nothing new is handed out.";
        add("pdmv2_registrar_store_up", help, MetricType::GAUGE, vec![gauge(&[], flag(behind.is_none()))]);
        let help = "Since when the store cannot be written; 0: it can.";
        let seconds = gauge(&[], behind.unwrap_or(0) as f64);
        add("pdmv2_registrar_store_behind_seconds", help, MetricType::GAUGE, vec![seconds]);
        let failures = counter(&[], store.failures_total);
        let help = "Writes to the store that were refused.";
        add("pdmv2_registrar_store_failures_total", help, MetricType::COUNTER, vec![failures]);
    }
    let lists = lists.iter().map(|(file, seconds)| gauge(&[("file", &file.display().to_string())], *seconds as f64));
    let help = "Until a revocation list has expired; below 0: it has.";
    add("pdmv2_registrar_crl_expires_seconds", help, MetricType::GAUGE, lists.collect());
    let stages = [("handshake", handshakes), ("open", connections)];
    let taken = stages.map(|(stage, counts)| gauge(&[("stage", stage)], amount(counts.taken)));
    add("pdmv2_registrar_connections", "Connections, by stage.", MetricType::GAUGE, taken.into());
    let refused = stages.map(|(stage, counts)| counter(&[("stage", stage)], counts.refused));
    let help = "Connections for which there was no place.";
    add("pdmv2_registrar_connections_refused_total", help, MetricType::COUNTER, refused.into());
    let ended = stages.map(|(stage, counts)| counter(&[("stage", stage)], counts.lost));
    let help = "Connections that were too slow, idle, or in the way of others.";
    add("pdmv2_registrar_connections_ended_total", help, MetricType::COUNTER, ended.into());
    let mut text = Vec::new();
    TextEncoder::new().encode(&families, &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
