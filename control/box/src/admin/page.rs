//! The page at the telemetry address: how the box stands and what it measures, made here as plain HTML with every figure and every
//! drawing in it. Nothing comes from elsewhere, and without JavaScript nothing is missing but the change of it.
//!
//! With it, `page.js` asks for the page again and again and puts the parts marked `data-live` in the place of the old ones. So each
//! sentence, number and drawing is made in one place: `words.rs`, `tables.rs`, `charts.rs`. All text goes through maud, which
//! escapes it.

mod axes;
mod charts;
mod figures;
mod tables;
#[cfg(test)]
mod tests;
mod words;

use super::answering::{Made, step_aside};
use super::{Admin, query};
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::admin::{Failure, Sort};
use figures::Figures;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};
use std::sync::LazyLock;

const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");
const HTML: &str = "text/html; charset=utf-8";
/// Without JavaScript the page is loaded anew so often, in seconds.
const AGAIN: u32 = 10;

/// Nothing is let in but what stands in the page itself, and questions to this box. Style and script are known by their hashes.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    let text = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    );
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// The page, for those who may read who talks to whom.
pub fn router(admin: Admin) -> Router {
    Router::new().route("/", get(page)).with_state(admin)
}

/// What stands there instead when the configuration says nothing of `admin`.
pub fn closed() -> Router {
    Router::new().route("/", get(|| async { guarded(shown(StatusCode::OK, not_here())) }))
}

async fn page(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    let asked = match query::page(query.as_deref()) {
        Ok(asked) => asked,
        Err(wrong) => return guarded(shown(StatusCode::BAD_REQUEST, refused(&wrong))),
    };
    let of = admin.clone();
    let made = admin.answering.make(move || {
        step_aside(&of.world.cores);
        let (status, page) = match Figures::of(&of, &asked) {
            Ok(figures) => (StatusCode::OK, whole(&figures, asked.live)),
            Err(wrong) => (StatusCode::BAD_REQUEST, refused(&wrong)),
        };
        Some(Made { status, kind: HTML, octets: page.into_string().into_bytes() })
    });
    guarded(made.await)
}

fn shown(status: StatusCode, page: Markup) -> Response {
    (status, [(CONTENT_TYPE, HTML)], page.into_string()).into_response()
}

fn guarded(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY.clone());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    answer
}

/// Around all pages. `again`: whether it is loaded anew where no script does it.
fn framed(title: &str, again: bool, with_style: bool, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                // Browsers ask for one, and there is none.
                link rel="icon" href="data:,";
                @if again {
                    noscript { meta http-equiv="refresh" content=(AGAIN); }
                }
                @if with_style {
                    style { (PreEscaped(STYLE)) }
                }
            }
            body { (body) }
        }
    }
}

fn not_here() -> Markup {
    let body = html! {
        main.note {
            h1 { "PDMv2 middlebox" }
            p { "The page of this box is not shown here: it says who talks to whom, and its configuration does not allow that." }
            p { "To see it, set in the box's configuration, and start the box again:" }
            pre { "[telemetry]\nadmin = true" }
            p { "Then everybody who reaches this address may read it." }
            p {
                "What is here: " a href="/metrics" { "/metrics" } " for Prometheus, and "
                a href="/healthz" { "/healthz" } "."
            }
        }
    };
    framed("PDMv2 middlebox", false, true, &body)
}

fn refused(wrong: &Failure) -> Markup {
    let body = html! {
        main.note {
            h1 { "That cannot be shown" }
            p { (wrong.error) "." }
            p { (wrong.remedy) "." }
            @if !wrong.known.is_empty() {
                p { "Known: " (wrong.known.join(", ")) "." }
            }
            p { a href="/" { "The whole box" } }
        }
    };
    framed("PDMv2 middlebox", false, true, &body)
}

/// The page. `live`: for one that is shown already, which has style and script.
fn whole(figures: &Figures, live: bool) -> Markup {
    let body = html! {
        (heading(figures))
        main {
            (answer(figures))
            (drawings(figures))
            (talks(figures))
            (tables::policies(figures))
            (tables::pairs(figures))
            (tables::reasons(figures))
            (machine(figures))
        }
        (footing())
        @if !live {
            script { (PreEscaped(SCRIPT)) }
        }
    };
    framed(&format!("{}: PDMv2 middlebox", figures.status.node), true, !live, &body)
}

fn heading(figures: &Figures) -> Markup {
    let of = figures.policy.as_deref();
    html! {
        header {
            div.name {
                h1 { (figures.status.node) }
                p #asof data-live { (words::standing(figures)) }
                // The script says here whether what is shown is new.
                p #live hidden {}
                p #said .unseen role="status" {}
            }
            form #choice method="get" action="/" autocomplete="off" {
                label {
                    "Show "
                    select name="policy" {
                        option value="" selected[of.is_none()] { "the whole box" }
                        @for name in figures.names() {
                            option value=(name) selected[of == Some(name)] { "policy " (name) }
                        }
                    }
                }
                label {
                    "Flows by "
                    select name="sort" {
                        @for (name, sort) in Sort::ALL {
                            option value=(name) selected[sort == figures.sort] { (words::sort(sort)) }
                        }
                    }
                }
                button { "Show" }
            }
            noscript { p.dim { "Without JavaScript this page is loaded anew every " (AGAIN) " seconds." } }
        }
    }
}

/// Network or servers: in words, and in the figures that say so.
fn answer(figures: &Figures) -> Markup {
    html! {
        section aria-label="Network or servers" {
            div #answer data-live {
                (words::answer(figures))
                (words::attention(figures))
            }
            (tables::scroll("Delays of the last minute", &html! { div #delays data-live { (tables::delays(figures)) } }))
        }
    }
}

/// A drawing with its heading. What changes of it is within; the line at the pointer, which a script draws, is not lost with it.
fn drawing(id: &str, title: &str, note: &str, drawn: &Markup) -> Markup {
    html! {
        figure.panel {
            figcaption { h2 { (title) } p.dim { (note) } }
            div.drawn #(id) data-live { (drawn) }
        }
    }
}

fn drawings(figures: &Figures) -> Markup {
    html! {
        section aria-label="Charts" {
            figure.panel.pointed {
                figcaption {
                    h2 { "Network and servers over time" }
                    p.dim {
                        span.key.net {} "round trip between the boxes, " span.key.srv {} "server delay: medians of two seconds each, "
                        "dotted the time that 99% stay below. Times are UTC."
                    }
                }
                div.drawn #over-time data-live { (charts::over_time(figures)) }
                p #pointed .dim aria-live="polite" hidden {}
                details {
                    summary { "The last intervals as a table" }
                    (tables::scroll("The last intervals", &html! { div #moments data-live { (tables::moments(figures)) } }))
                }
            }
            div.two {
                (drawing("loss", "Loss over time", "Packets of the other side that never came, of those that should have.",
                    &charts::loss(figures)))
                (drawing("spread", "How delays are spread", "Since the start: share of the samples by how long they are.",
                    &charts::spread(figures)))
            }
        }
    }
}

fn talks(figures: &Figures) -> Markup {
    html! {
        section aria-labelledby="flows-h" {
            h2 #flows-h { "Flows" }
            (tables::scroll("Flows", &html! { div #flows data-live { (tables::flows(figures)) } }))
        }
    }
}

fn machine(figures: &Figures) -> Markup {
    html! {
        section aria-labelledby="box-h" {
            h2 #box-h { "The box" }
            div #keys data-live { (words::keys(figures)) }
            div.two {
                (tables::scroll("Directions", &html! { div #directions data-live { (tables::directions(figures)) } }))
                (tables::scroll("Workers", &html! { div #workers data-live { (tables::workers(figures)) } }))
            }
            (tables::scroll("Ports", &html! { div #ports data-live { (tables::ports(figures)) } }))
        }
    }
}

fn footing() -> Markup {
    html! {
        footer.dim {
            p {
                "Round trip: the network between the two boxes, there and back. Server delay: what passes behind the other box, from a "
                "packet's arrival there to the next one back; seen from the servers' box these are the clients."
            }
            p {
                "For programs: " a href="/v1/openapi.json" { "/v1/openapi.json" } " describes the JSON of all of this, "
                a href="/metrics" { "/metrics" } " is for Prometheus."
            }
        }
    }
}
