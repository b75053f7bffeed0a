//! What is answered to those who ask the box: JSON over HTTP, at a socket of this machine and, read-only, at the telemetry address.
//! What the answers look like: [`common::admin`], and `docs/openapi.json`.
//!
//! Nothing of it is done by the control thread or a worker. Who reads slowly or not at all holds up others neither: connections are
//! bounded in number and time (`registration::serving::http`), large answers are made one at a time by a thread beside the
//! workers' cores, and those not read yet take a bounded memory together.

pub mod answering;
pub mod flows;
pub mod history;
pub mod hours;
pub mod page;
pub mod query;
pub mod rates;
pub mod status;
pub mod told;
pub mod watching;

use crate::observe::counts::Counts;
use answering::{Answering, failure, json};
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use common::admin::{Failure, Reloaded, Successor};
use pipeline::observe::counters::WorkerCounters;
use pipeline::state::shared::Shared;
use rates::Rates;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The document that describes all of it.
pub const OPENAPI: &str = include_str!("../../../docs/openapi.json");

/// Every path that is answered. Who adds one routes it in [`router`] or [`alone`], and describes it in the document.
pub const PATHS: [&str; 13] = [
    "/v1/status",
    "/v1/policies",
    "/v1/policies/start",
    "/v1/policies/stop",
    "/v1/pairs",
    "/v1/reload",
    "/v1/take-over",
    "/v1/flows",
    "/v1/histograms",
    "/v1/history",
    "/v1/trace",
    "/v1/capture",
    "/v1/openapi.json",
];

/// What answers are made of.
pub struct World {
    /// The present counts.
    pub counts: Box<dyn Fn() -> Counts + Send + Sync>,
    /// The flow table and the policies.
    pub shared: Arc<Shared>,
    /// What each worker counts.
    pub workers: Vec<Arc<WorkerCounters>>,
    /// The workers' clock, in nanoseconds.
    pub now: Box<dyn Fn() -> u64 + Send + Sync>,
    /// The workers' cores, of which others keep clear.
    pub cores: Vec<usize>,
    /// Has the configuration read again.
    pub reload: Box<dyn Fn() -> Result<Reloaded, Failure> + Send + Sync>,
    /// Has a process started that takes over from this one.
    pub take_over: Box<dyn Fn() -> Result<Successor, Failure> + Send + Sync>,
    /// Whether the box ends: then nothing that takes time is gone on with.
    pub stop: Arc<AtomicBool>,
}

impl World {
    /// What the workers count, without what drivers and the control thread say.
    fn counted(&self) -> Counts {
        Counts::of(&self.workers, &self.shared.snapshots.rules())
    }
}

/// The interface.
#[derive(Clone)]
pub struct Admin {
    world: Arc<World>,
    rates: Arc<Rates>,
    history: Arc<history::Kept>,
    answering: Answering,
}

impl Admin {
    /// Of this box.
    #[must_use]
    pub fn new(world: World) -> Self {
        let (world, answering) = (Arc::new(world), Answering::default());
        Self { world, rates: Arc::default(), history: Arc::default(), answering }
    }

    /// Keeps what rates are made of, as long as it is polled.
    pub async fn keep_rates(self) -> std::convert::Infallible {
        let mut tick = tokio::time::interval(rates::INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.rates.take(&self.world.workers);
        }
    }

    /// Keeps what was measured when, as long as it is polled.
    pub async fn keep_history(self) -> std::convert::Infallible {
        let mut tick = tokio::time::interval(history::INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.history.take(&self.world.counted()).await;
        }
    }
}

/// What may be asked everywhere. All of it only reads.
pub fn router(admin: Admin) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/policies", get(policies))
        .route("/v1/pairs", get(pairs))
        .route("/v1/flows", get(flows))
        .route("/v1/histograms", get(histograms))
        .route("/v1/history", get(history))
        .route("/v1/openapi.json", get(openapi))
        .with_state(admin)
}

/// The same where nothing else is answered: what there is not is told in JSON too. Packets themselves are shown, and orders
/// taken, here alone: to and from those who may use the socket.
pub fn alone(admin: Admin) -> Router {
    let own = Router::new()
        .route("/v1/trace", get(trace))
        .route("/v1/capture", get(capture))
        .route("/v1/policies/start", post(start))
        .route("/v1/policies/stop", post(stop))
        .route("/v1/reload", post(reload))
        .route("/v1/take-over", post(take_over));
    router(admin.clone())
        .merge(own.with_state(admin))
        .fallback(nothing_there)
        .method_not_allowed_fallback(another_method)
}

async fn status(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    match query::nothing(query.as_deref()) {
        Ok(()) => json(&status::status(&(admin.world.counts)(), admin.rates.interval().as_ref())),
        Err(wrong) => failure(StatusCode::BAD_REQUEST, &wrong),
    }
}

async fn policies(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    if let Err(wrong) = query::nothing(query.as_deref()) {
        return failure(StatusCode::BAD_REQUEST, &wrong);
    }
    let world = Arc::clone(&admin.world);
    admin.answering.large(move || Ok(status::policies(&(world.counts)()))).await
}

async fn pairs(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    if let Err(wrong) = query::nothing(query.as_deref()) {
        return failure(StatusCode::BAD_REQUEST, &wrong);
    }
    let world = Arc::clone(&admin.world);
    admin.answering.large(move || Ok(status::pairs(&(world.counts)()))).await
}

async fn start(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    match query::start(query.as_deref()) {
        Ok((policy, seconds)) => {
            let world = Arc::clone(&admin.world);
            admin.answering.large(move || hours::start(&world, &policy, seconds)).await
        }
        Err(wrong) => failure(StatusCode::BAD_REQUEST, &wrong),
    }
}

async fn stop(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    match query::stop(query.as_deref()) {
        Ok(policy) => {
            let world = Arc::clone(&admin.world);
            admin.answering.large(move || hours::stop(&world, &policy)).await
        }
        Err(wrong) => failure(StatusCode::BAD_REQUEST, &wrong),
    }
}

async fn reload(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    if let Err(wrong) = query::nothing(query.as_deref()) {
        return failure(StatusCode::BAD_REQUEST, &wrong);
    }
    let world = Arc::clone(&admin.world);
    admin.answering.large(move || (world.reload)()).await
}

async fn take_over(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    if let Err(wrong) = query::nothing(query.as_deref()) {
        return failure(StatusCode::BAD_REQUEST, &wrong);
    }
    let world = Arc::clone(&admin.world);
    admin.answering.large(move || (world.take_over)()).await
}

async fn histograms(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    let policy = match query::histograms(query.as_deref()) {
        Ok(policy) => policy,
        Err(wrong) => return failure(StatusCode::BAD_REQUEST, &wrong),
    };
    let world = Arc::clone(&admin.world);
    admin.answering.large(move || status::histograms(&(world.counts)(), policy.as_deref())).await
}

async fn history(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    let asked = match query::history(query.as_deref()) {
        Ok(asked) => asked,
        Err(wrong) => return failure(StatusCode::BAD_REQUEST, &wrong),
    };
    let (world, history) = (Arc::clone(&admin.world), Arc::clone(&admin.history));
    admin.answering.large(move || history.answer(&world.counted(), &asked)).await
}

async fn flows(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    let query = match query::flows(query.as_deref()) {
        Ok(query) => query,
        Err(wrong) => return failure(StatusCode::BAD_REQUEST, &wrong),
    };
    let world = Arc::clone(&admin.world);
    let work = move || {
        answering::step_aside(&world.cores);
        flows::best(&world.shared, &query, (world.now)(), &world.stop)
    };
    admin.answering.large(work).await
}

async fn trace(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    watching::answer(&admin.world, watching::trace(&admin.world, query.as_deref()))
}

async fn capture(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    watching::answer(&admin.world, watching::capture(&admin.world, query.as_deref()))
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, answering::JSON)], OPENAPI).into_response()
}

async fn nothing_there(uri: Uri) -> Response {
    let there = Failure {
        error: format!("there is no {}", uri.path()),
        remedy: "ask for one of those that are known; /v1/openapi.json describes them".to_owned(),
        known: PATHS.map(str::to_owned).into(),
    };
    failure(StatusCode::NOT_FOUND, &there)
}

async fn another_method() -> Response {
    let remedy = "use the method that /v1/openapi.json gives for it: POST for what is to be done, else GET".to_owned();
    let wrong = Failure { error: "this is not asked for so".to_owned(), remedy, known: Vec::new() };
    failure(StatusCode::METHOD_NOT_ALLOWED, &wrong)
}

#[cfg(test)]
mod tests;
