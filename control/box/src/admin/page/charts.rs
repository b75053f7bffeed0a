//! The page's drawings. Each is an SVG as wide as its place: lines are in a part of it that is drawn out to that width, and what is
//! written is not, so that it can be read on a telephone too.

use super::axes::{TimeAxis, ValueAxis, WIDTH, is_decade, short, steps};
use super::figures::Figures;
use super::words::clock;
use common::admin::{Histogram, Moment};
use common::units::{per_cent, time, whole};
use maud::{Markup, html};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Below the lines: the times.
const FOOT: f64 = 20.0;
/// Between two lines of text.
const LINE: f64 = 15.0;

/// What stands in the place of a drawing.
fn nothing(why: &str) -> Markup {
    html! { p.nothing { (why) } }
}

/// Around the lines, which are `height` high. `said` is for who cannot see them.
fn frame(
    height: f64,
    said: &str,
    x: Option<&TimeAxis>,
    marks: &[(f64, String)],
    lines: &Markup,
    labels: &Markup,
) -> Markup {
    let times: Vec<_> = x.iter().flat_map(|x| x.ticks().map(move |ms| (x.x(ms), clock(ms)))).collect();
    let (from, to) = (x.map(|x| x.from_ms), x.map(|x| x.to_ms));
    html! {
        svg.chart role="img" aria-label=(said) width="100%" height=(height + FOOT) data-height=(height) data-from=[from] data-to=[to] {
            svg width="100%" height=(height) viewBox=(format!("0 0 {WIDTH} {height}")) preserveAspectRatio="none" {
                @for (y, _) in marks { path.grid d=(format!("M0,{y:.1}H{WIDTH}")) {} }
                @for (x, _) in &times { path.grid d=(format!("M{x:.1},0V{height}")) {} }
                (lines)
            }
            @for (y, label) in marks { text.mark x="0" y=(format!("{:.1}", (y - 3.0).max(10.0))) { (label) } }
            @for (x, label) in &times {
                text.mark x=(format!("{:.2}%", x / WIDTH * 100.0)) y=(height + LINE) text-anchor="middle" { (label) }
            }
            (labels)
        }
    }
}

/// A line through what is known; where nothing is, or intervals are missing, it is interrupted.
fn line(moments: &[Moment], x: &TimeAxis, y: &ValueAxis, of: fn(&Moment) -> Option<u64>) -> String {
    /// From one moment to the next, at most.
    const NEXT_MS: u64 = 7_000;
    let (mut path, mut before) = (String::new(), None);
    for moment in moments {
        let Some(value) = of(moment) else {
            before = None;
            continue;
        };
        let goes_on = before.is_some_and(|before| moment.time_ms.saturating_sub(before) <= NEXT_MS);
        let _ = write!(path, "{}{:.1},{:.1}", if goes_on { 'L' } else { 'M' }, x.x(moment.time_ms), y.y(value as f64));
        if !goes_on {
            path.push_str("h.1"); // one that stands alone is seen too
        }
        before = Some(moment.time_ms);
    }
    path
}

/// A line of the first drawing: its class, and its value.
type Line = (&'static str, fn(&Moment) -> Option<u64>);
const LINES: [Line; 4] = [
    ("net most", |m| Some(m.round_trip.p99_ns).filter(|_| m.round_trip.count > 0)),
    ("srv most", |m| Some(m.server_delay.p99_ns).filter(|_| m.server_delay.count > 0)),
    ("net", |m| Some(m.round_trip.p50_ns).filter(|_| m.round_trip.count > 0)),
    ("srv", |m| Some(m.server_delay.p50_ns).filter(|_| m.server_delay.count > 0)),
];

/// Network against servers.
pub fn over_time(figures: &Figures) -> Markup {
    const HEIGHT: f64 = 220.0;
    let moments = &figures.history.moments;
    let all = LINES.iter().flat_map(|(_, of)| moments.iter().filter_map(of));
    let (Some(x), true) = (TimeAxis::of(&figures.history), all.clone().next().is_some()) else {
        return nothing("No delay has been measured in this time.");
    };
    let y = ValueAxis::of_delays(all, HEIGHT);
    let marks: Vec<_> = y.ticks().map(|ns| (y.y(ns), short(ns))).collect();
    let lines = html! {
        @for (class, of) in LINES { path class=(class) d=(line(moments, &x, &y, of)) {} }
    };
    let named = [("net", "network", LINES[2].1), ("srv", "servers", LINES[3].1)];
    let ends = named.map(|(class, name, of)| moments.iter().rev().find_map(of).map(|ns| (class, name, ns)));
    let mut ends: Vec<_> = ends.into_iter().flatten().map(|end| (y.y(end.2 as f64), end)).collect();
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    // The upper one stands above its line, and the lower one below if they are near each other.
    let near = matches!(ends[..], [(upper, _), (lower, _)] if lower - upper < 3.0 * LINE);
    let place = |i: usize, y: f64| if near && i == 1 { y + LINE + 3.0 } else { y - 7.0 };
    let labels = html! {
        @for (i, (y, (class, name, ns))) in ends.iter().enumerate() {
            text.end.(class) x="100%" dx="-4" text-anchor="end" y=(format!("{:.1}", place(i, *y).clamp(12.0, HEIGHT - 4.0))) {
                (name) " " (time(*ns))
            }
        }
        @if y.log { text.mark x="100%" dx="-4" text-anchor="end" y=(HEIGHT - 5.0) { "logarithmic" } }
    };
    let said = ends.iter().map(|(_, (_, name, ns))| format!("{name} {}", time(*ns))).collect::<Vec<_>>().join(", ");
    frame(HEIGHT, &format!("Delays over time, at the end: {said}"), Some(&x), &marks, &lines, &labels)
}

/// A round share as short as it can be.
fn percent(part: f64) -> String {
    format!("{}%", (part * 1e5).round() / 1e3)
}

/// What part of the other side's packets never came.
pub fn loss(figures: &Figures) -> Markup {
    const HEIGHT: f64 = 130.0;
    let moments = &figures.history.moments;
    let Some(x) = TimeAxis::of(&figures.history) else { return nothing("Nothing is known yet.") };
    let most = moments.iter().map(Moment::loss).fold(0.0, f64::max);
    let y = ValueAxis::evenly(most.max(0.001), HEIGHT);
    let marks: Vec<_> = y.ticks().map(|part| (y.y(part), percent(part))).collect();
    let mut bars = String::new();
    for moment in moments.iter().filter(|moment| moment.lost > 0) {
        let _ = write!(bars, "M{:.1},{HEIGHT}V{:.1}", x.x(moment.time_ms), y.y(moment.loss()));
    }
    let [lost, late] = [|m: &Moment| m.lost, |m: &Moment| m.late].map(|of| moments.iter().map(of).sum::<u64>());
    let said = format!("{} lost, {} came late", whole(lost), whole(late));
    let labels = html! { text.end.lost x="100%" dx="-4" y="12" text-anchor="end" { (said) } };
    let said = format!("Loss over time: {said}; at most {} in an interval", per_cent(most));
    frame(HEIGHT, &said, Some(&x), &marks, &html! { path.lost d=(bars) {} }, &labels)
}

/// Columns for each doubling.
const COLUMNS: f64 = 4.0;

fn column(ns: u64) -> i32 {
    ((ns.max(1) as f64).log2() * COLUMNS).floor() as i32
}

/// The share of the samples by column.
fn columns(of: &Histogram) -> BTreeMap<i32, f64> {
    let mut columns = BTreeMap::new();
    for bucket in &of.buckets {
        let share = bucket.count as f64 / of.quantiles.count.max(1) as f64;
        *columns.entry(column(bucket.from_ns)).or_default() += share;
    }
    columns
}

/// Round trip above, server delay below, over one axis of delays.
pub fn spread(figures: &Figures) -> Markup {
    const ROW: f64 = 65.0;
    const HEIGHT: f64 = 2.0 * ROW;
    let all = figures.spread.each_ref().map(columns);
    let keys = all.iter().flat_map(BTreeMap::keys);
    let (Some(least), Some(most)) = (keys.clone().min(), keys.max()) else {
        return nothing("No delay has been measured since the start.");
    };
    let (from, to) = (f64::from(*least) - 1.0, f64::from(*most) + 2.0);
    let x = |column: f64| (column - from) / (to - from) * WIDTH;
    let at = |ns: f64| x(ns.max(1.0).log2() * COLUMNS);
    let [low, high] = [from, to].map(|column| (column / COLUMNS).exp2());
    let mut marks: Vec<_> = steps(low, high).collect();
    if marks.len() > 5 {
        marks.retain(|mark| is_decade(*mark));
    }
    marks.retain(|mark| (60.0..940.0).contains(&at(*mark)));
    let rows = [("net", "network"), ("srv", "servers")].into_iter().zip(&all).zip(&figures.spread).enumerate();
    let rows: Vec<_> =
        rows.map(|(i, (((class, name), columns), of))| (ROW * (i as f64 + 1.0), class, name, columns, of)).collect();
    let lines = html! {
        @for (ground, class, _, columns, of) in &rows {
            @let highest = columns.values().copied().fold(0.01, f64::max);
            @for (column, share) in *columns {
                @let height = share / highest * (ROW - 22.0);
                rect.column.(class) x=(format!("{:.1}", x(f64::from(*column)))) y=(format!("{:.1}", ground - height))
                    width=(format!("{:.1}", (WIDTH / (to - from) - 1.0).max(0.5))) height=(format!("{height:.1}")) {}
            }
            path.ground d=(format!("M0,{ground}H{WIDTH}")) {}
            @if of.quantiles.count > 0 {
                path.median d=(format!("M{:.1},{ground}V{:.1}", at(of.quantiles.p50_ns as f64), ground - ROW + 18.0)) {}
            }
        }
    };
    let labels = html! {
        @for (ground, class, name, _, of) in &rows {
            text.end.(class) x="0" y=(format!("{:.1}", ground - ROW + 13.0)) {
                (name) ": median " (time(of.quantiles.p50_ns)) ", 99% " (time(of.quantiles.p99_ns))
            }
        }
        @for mark in &marks {
            text.mark x=(format!("{:.2}%", at(*mark) / WIDTH * 100.0)) y=(HEIGHT + LINE) text-anchor="middle" { (short(*mark)) }
        }
    };
    let said = rows.iter().map(|(_, _, name, _, of)| {
        format!("{name}: median {}, 99% below {}", time(of.quantiles.p50_ns), time(of.quantiles.p99_ns))
    });
    let said = format!("How delays are spread. {}", said.collect::<Vec<_>>().join(". "));
    frame(HEIGHT, &said, None, &[], &lines, &labels)
}
