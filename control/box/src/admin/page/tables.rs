//! The page's tables. Who adds a column adds one line here: its head, its kind, and what stands in it.

use super::figures::Figures;
use super::words::clock;
use common::admin::{Direction, Flow, Measured, Moment, Pair, Policy, Port, Quantiles, Unmeasured, Worker};
use common::units::{many, per_cent, time, whole};
use maud::{Markup, Render as _, html};

/// What stands in a column: text to the left, numbers to the right; the first says what the row is of.
enum Kind {
    Text,
    Number,
}
use Kind::{Number, Text};

type Column<T> = (&'static str, Kind, fn(&T) -> Markup);

/// Intervals that are shown as a table.
const INTERVALS: usize = 20;

/// A box of its own in which something wide is scrolled, also by keys.
pub fn scroll(name: &str, within: &Markup) -> Markup {
    html! { div.scroll role="region" aria-label=(name) tabindex="0" { (within) } }
}

fn table<'a, T: 'a>(caption: &Markup, columns: &[Column<T>], rows: impl IntoIterator<Item = &'a T>) -> Markup {
    html! {
        table {
            caption { (caption) }
            thead {
                tr {
                    @for (head, kind, _) in columns {
                        th scope="col" class=[matches!(kind, Number).then_some("n")] { (head) }
                    }
                }
            }
            tbody {
                @for row in rows {
                    tr {
                        @for (i, (_, kind, cell)) in columns.iter().enumerate() {
                            @if i == 0 {
                                th scope="row" { (cell(row)) }
                            } @else {
                                td class=[matches!(kind, Number).then_some("n")] { (cell(row)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn text(text: &str) -> Markup {
    text.render()
}

/// Text in which what stands between backquotes is to be typed.
fn coded(text: &str) -> Markup {
    html! {
        @for (i, part) in text.split('`').enumerate() {
            @if i % 2 == 0 { (part) } @else { code { (part) } }
        }
    }
}

fn number(number: u64) -> Markup {
    whole(number).render()
}

/// A rate. Nothing: the box has just started.
fn rate(per_second: Option<f64>) -> Markup {
    per_second.map_or("-".to_owned(), many).render()
}

fn part(part: f64) -> Markup {
    per_cent(part).render()
}

fn ns(ns: u64) -> Markup {
    time(ns).render()
}

/// Which part of both the network has, as a bar.
fn share(network: u64, server: u64) -> Markup {
    const WIDTH: f64 = 72.0;
    let both = network.saturating_add(server);
    if both == 0 {
        return text("-");
    }
    let of = network as f64 / both as f64;
    let (net, srv) = (of * WIDTH, (1.0 - of) * WIDTH);
    let words = format!("network {:.0}%, server {:.0}%", of * 100.0, (1.0 - of) * 100.0);
    html! {
        svg.share role="img" aria-label=(words) width=(WIDTH) height="10" {
            title { (words) }
            rect.net x="0" y="0" width=(format!("{net:.1}")) height="10" {}
            rect.srv x=(format!("{net:.1}")) y="0" width=(format!("{srv:.1}")) height="10" {}
        }
    }
}

/// Delays of the last minute.
pub fn delays(figures: &Figures) -> Markup {
    let recent = &figures.history.recent;
    let rows =
        [("Network (round trip)", "net", &recent.round_trip), ("Servers (server delay)", "srv", &recent.server_delay)];
    let columns: [Column<(&str, &str, &Quantiles)>; 7] = [
        ("", Text, |(name, class, _)| html! { span.key.(class) {} (name) }),
        ("half below", Number, |(_, _, q)| ns(q.p50_ns)),
        ("90% below", Number, |(_, _, q)| ns(q.p90_ns)),
        ("99% below", Number, |(_, _, q)| ns(q.p99_ns)),
        ("99.9% below", Number, |(_, _, q)| ns(q.p999_ns)),
        ("mean", Number, |(_, _, q)| ns(q.mean_ns)),
        ("samples", Number, |(_, _, q)| number(q.count)),
    ];
    let counts = [recent.accepted, recent.lost, recent.late, recent.duplicates].map(whole);
    let [accepted, lost, late, duplicates] = counts;
    html! {
        (table(&html! { "Last " (common::units::span(recent.seconds)) }, &columns, &rows))
        p.dim { (accepted) " packets came back, " (lost) " were lost, " (late) " came late, " (duplicates) " came again." }
    }
}

/// The last intervals, for who cannot see the drawing.
pub fn moments(figures: &Figures) -> Markup {
    const COLUMNS: [Column<Moment>; 8] = [
        ("until (UTC)", Text, |m| clock(m.time_ms).render()),
        ("round trip", Number, |m| ns(m.round_trip.p50_ns)),
        ("99% below", Number, |m| ns(m.round_trip.p99_ns)),
        ("server delay", Number, |m| ns(m.server_delay.p50_ns)),
        ("99% below", Number, |m| ns(m.server_delay.p99_ns)),
        ("came back", Number, |m| number(m.accepted)),
        ("lost", Number, |m| number(m.lost)),
        ("late", Number, |m| number(m.late)),
    ];
    let newest = figures.history.moments.iter().rev().take(INTERVALS);
    table(&html! { "The newest first; medians, and what 99% stay below" }, &COLUMNS, newest)
}

/// The first flows.
pub fn flows(figures: &Figures) -> Markup {
    const COLUMNS: [Column<Flow>; 11] = [
        (
            "flow",
            Text,
            |f| html! { span.flow { "[" (f.inside) "]:" (f.inside_port) wbr; " > [" (f.outside) "]:" (f.outside_port) } },
        ),
        ("", Text, |f| text(&f.protocol)),
        ("policy", Text, |f| text(f.policy.as_deref().unwrap_or("-"))),
        ("round trip", Number, |f| ns(f.round_trip.smoothed_ns)),
        ("server delay", Number, |f| ns(f.server_delay.smoothed_ns)),
        ("network : server", Text, |f| share(f.round_trip.smoothed_ns, f.server_delay.smoothed_ns)),
        ("loss", Number, |f| part(f.loss)),
        ("late", Number, |f| number(f.late)),
        ("failed", Number, |f| number(f.failed)),
        ("came back", Number, |f| number(f.received)),
        ("idle", Number, |f| ns(f.idle_ns)),
    ];
    let flows = &figures.flows;
    let caption = html! {
        (whole(flows.flows.len() as u64)) " of " (whole(flows.matching)) " flows, by " (super::words::sort(figures.sort)) "; "
        (whole(flows.in_table)) " in the table. Times are averages in which the last samples count most."
    };
    if flows.flows.is_empty() {
        return html! { p.dim { "There are no flows" @if figures.policy.is_some() { " under this policy" } "." } };
    }
    table(&caption, &COLUMNS, &flows.flows)
}

/// What was measured of many flows.
fn measured<T: AsRef<Measured>>() -> [Column<T>; 12] {
    fn loss(m: &Measured) -> f64 {
        if m.lost == 0 { 0.0 } else { m.lost as f64 / m.lost.saturating_add(m.accepted) as f64 }
    }
    [
        ("put in", Number, |of| number(of.as_ref().added)),
        ("came back", Number, |of| number(of.as_ref().accepted)),
        ("failed", Number, |of| number(of.as_ref().failed)),
        ("lost", Number, |of| number(of.as_ref().lost)),
        ("loss", Number, |of| part(loss(of.as_ref()))),
        ("late", Number, |of| number(of.as_ref().late)),
        ("again", Number, |of| number(of.as_ref().duplicates)),
        ("round trip", Number, |of| ns(of.as_ref().round_trip.p50_ns)),
        ("99% below", Number, |of| ns(of.as_ref().round_trip.p99_ns)),
        ("server delay", Number, |of| ns(of.as_ref().server_delay.p50_ns)),
        ("99% below", Number, |of| ns(of.as_ref().server_delay.p99_ns)),
        ("network : server", Text, |of| share(of.as_ref().round_trip.p50_ns, of.as_ref().server_delay.p50_ns)),
    ]
}

/// What was counted and measured under each policy.
pub fn policies(figures: &Figures) -> Markup {
    let ends: fn(&Policy) -> Markup = |p| match p.ends_in_seconds {
        None => text("-"),
        Some(0.0) => html! { strong { "ended" } },
        Some(seconds) => common::units::span(seconds.ceil()).render(),
    };
    let names: [Column<Policy>; 3] =
        [("policy", Text, |p| text(&p.name)), ("mode", Text, |p| text(&p.mode)), ("ends in", Number, ends)];
    let columns: Vec<_> = names.into_iter().chain(measured()).collect();
    let all = &figures.policies.policies;
    html! {
        section aria-labelledby="policies-h" {
            h2 #policies-h { "Policies" }
            @if figures.more_policies > 0 {
                p.dim { "The first " (all.len()) " are shown; " (figures.more_policies) " more are in " a href="/v1/policies" { "/v1/policies" } "." }
            }
            (scroll("Policies", &html! {
                div #policies data-live {
                    @if all.is_empty() {
                        p.dim { "There are none: everything passes unchanged." }
                    } @else {
                        (table(&html! { "Since the start. Times are medians, and what 99% stay below." }, &columns, all))
                    }
                }
            }))
        }
    }
}

/// The same of pairs of prefixes, if there are any.
pub fn pairs(figures: &Figures) -> Markup {
    let name: Column<Pair> = ("pair", Text, |p| text(&p.name));
    let columns: Vec<_> = std::iter::once(name).chain(measured()).collect();
    html! {
        @if !figures.pairs.pairs.is_empty() {
            section aria-labelledby="pairs-h" {
                h2 #pairs-h { "Pairs of prefixes" }
                (scroll("Pairs of prefixes", &html! {
                    div #pairs data-live {
                        (table(&html! { "Since the start, whatever their policies." }, &columns, &figures.pairs.pairs))
                    }
                }))
            }
        }
    }
}

/// Why packets were not measured, or dropped.
pub fn reasons(figures: &Figures) -> Markup {
    const COLUMNS: [Column<Unmeasured>; 6] = [
        ("reason", Text, |u| text(&u.reason)),
        ("outcome", Text, |u| html! { span class=[(u.outcome == "dropped").then_some("bad")] { (u.outcome) } }),
        ("direction", Text, |u| text(&u.direction)),
        ("packets", Number, |u| number(u.packets)),
        ("a second", Number, |u| rate(u.per_second)),
        (
            "what it means, and what to do",
            Text,
            |u| html! { div.why { (coded(&u.meaning)) " " span.dim { (coded(&u.remedy)) } } },
        ),
    ];
    let all = &figures.status.reasons;
    html! {
        section aria-labelledby="reasons-h" {
            h2 #reasons-h { "Not measured, or dropped" }
            (scroll("Reasons", &html! {
                div #reasons data-live {
                    @if all.is_empty() {
                        p.dim { "No packet: each got its option, or lost it again when it had verified." }
                    } @else {
                        (table(&html! { "Since the start, the most frequent first" }, &COLUMNS, all))
                    }
                }
            }))
        }
    }
}

/// Packets by direction.
pub fn directions(figures: &Figures) -> Markup {
    const COLUMNS: [Column<Direction>; 7] = [
        ("direction", Text, |d| text(&d.direction)),
        ("received", Number, |d| number(d.received)),
        ("forwarded", Number, |d| number(d.forwarded)),
        ("dropped", Number, |d| number(d.dropped)),
        ("received/s", Number, |d| rate(d.per_second.map(|r| r.received))),
        ("forwarded/s", Number, |d| rate(d.per_second.map(|r| r.forwarded))),
        ("dropped/s", Number, |d| rate(d.per_second.map(|r| r.dropped))),
    ];
    table(&html! { "Packets by direction" }, &COLUMNS, &figures.status.directions)
}

/// How busy each worker is.
pub fn workers(figures: &Figures) -> Markup {
    const COLUMNS: [Column<Worker>; 6] = [
        ("worker", Text, |w| number(w.worker)),
        ("load", Number, |w| w.load.map_or("-".to_owned(), per_cent).render()),
        ("packets", Number, |w| number(w.received)),
        ("packets/s", Number, |w| rate(w.per_second)),
        ("bursts", Number, |w| number(w.bursts)),
        ("empty polls", Number, |w| number(w.empty_polls)),
    ];
    table(&html! { "Workers; load is the part of polls that found packets" }, &COLUMNS, &figures.status.workers)
}

/// What drivers count.
pub fn ports(figures: &Figures) -> Markup {
    fn link(port: &Port) -> &'static str {
        match port {
            Port { device_gone: true, .. } => "device gone",
            Port { link_taken_down: true, .. } => "kept down",
            Port { link_up: true, .. } => "up",
            Port { .. } => "down",
        }
    }
    const COLUMNS: [Column<Port>; 12] = [
        ("port", Text, |p| text(&p.port)),
        ("driver", Text, |p| text(&p.driver)),
        ("link", Text, |p| html! { span class=[(link(p) != "up").then_some("bad")] { (link(p)) } }),
        ("changes", Number, |p| number(p.link_changes)),
        ("rx packets", Number, |p| number(p.rx_packets)),
        ("tx packets", Number, |p| number(p.tx_packets)),
        ("rx octets", Number, |p| number(p.rx_octets)),
        ("tx octets", Number, |p| number(p.tx_octets)),
        ("missed", Number, |p| number(p.rx_missed)),
        ("rx errors", Number, |p| number(p.rx_errors)),
        ("tx errors", Number, |p| number(p.tx_errors)),
        ("no buffer", Number, |p| number(p.rx_no_buffer)),
    ];
    table(&html! { "Ports, as their drivers count" }, &COLUMNS, &figures.status.ports)
}
