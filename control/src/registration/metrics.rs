//! The registrar's metrics for Prometheus. Names and meanings: `docs/registration.md`.

use super::core::Core;
use super::engine::EngineStatus;
use crate::telemetry::{counter, gauge};
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus::proto::{Metric, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};
use std::path::PathBuf;
use std::sync::Arc;

/// `/metrics` and `/healthz`.
pub fn router(core: Arc<Core>) -> Router {
    Router::new()
        .route("/metrics", get(move || async move { answer(&core) }))
        .route("/healthz", get(|| async { "ok\n" }))
}

fn answer(core: &Core) -> impl IntoResponse + use<> {
    match text(&core.status(), core.leads(), &core.tls.lists_expire()) {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], error.to_string()),
    }
}

/// In Prometheus' text format.
///
/// # Errors
/// The encoder refuses; it has no reason to.
pub fn text(status: &[EngineStatus], leads: bool, lists: &[(PathBuf, i64)]) -> Result<String, prometheus::Error> {
    let mut families = Vec::new();
    let mut add = |name: &str, help: &str, kind: MetricType, of: &dyn Fn(&EngineStatus) -> Metric| {
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
    let mut family = MetricFamily::default();
    family.set_name("pdmv2_registrar_leader".to_owned());
    family.set_help("1 when this registrar leads its side, or is the only one.".to_owned());
    family.set_field_type(MetricType::GAUGE);
    family.set_metric(vec![gauge(&[], flag(leads))]);
    families.push(family);
    let mut family = MetricFamily::default();
    family.set_name("pdmv2_registrar_crl_expires_seconds".to_owned());
    family.set_help("Until a revocation list has expired; below 0: it has.".to_owned());
    family.set_field_type(MetricType::GAUGE);
    let lists = lists.iter().map(|(file, seconds)| gauge(&[("file", &file.display().to_string())], *seconds as f64));
    family.set_metric(lists.collect());
    // Without lists there is nothing to say, which the encoder takes for an error.
    families.extend((!family.get_metric().is_empty()).then_some(family));
    let mut text = Vec::new();
    TextEncoder::new().encode(&families, &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
