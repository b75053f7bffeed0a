//! `decode --flows --plot DIR`: drawings of the flows of most packets, as SVG: delays over time, and how they are spread.

use super::flows::{Flow, Histogram};
use super::record::show_ns;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

/// Flows that are drawn.
pub(super) const DRAWN: usize = 20;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 40.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 50.0;
const KINDS: [(&str, &str); 2] = [("delay of the server", "s"), ("round trip", "r")];

/// A drawing that grows.
struct Svg(String);

impl Svg {
    fn new(title: &str) -> Self {
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n"
        );
        // Colours that are told apart also by those who see fewer, on light and on dark ground.
        text.push_str(
            "<style>svg{background:#fff}text{fill:#222}.g{stroke:#ddd}.s{stroke:#d55e00;fill:#d55e00}.r{stroke:#0072b2;fill:#0072b2}\
             polyline{fill:none!important;stroke-width:1.5}.m{stroke-width:.7;stroke-dasharray:2 2}rect{fill-opacity:.5}\
             @media(prefers-color-scheme:dark){svg{background:#111}text{fill:#ddd}.g{stroke:#333}}</style>\n",
        );
        let mut svg = Self(text);
        svg.text(LEFT, 18.0, "start", title);
        for (i, (kind, class)) in KINDS.iter().enumerate() {
            let x = LEFT + 160.0 * i as f64;
            let _ = writeln!(svg.0, "<rect class=\"{class}\" x=\"{x}\" y=\"28\" width=\"10\" height=\"10\"/>");
            svg.text(x + 15.0, 37.0, "start", kind);
        }
        svg
    }

    /// What is written here is made of addresses, numbers and words of this program: there is nothing to escape but the sign
    /// between two addresses.
    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let _ = writeln!(self.0, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
    }

    fn line(&mut self, x: [f64; 2], y: [f64; 2]) {
        let [[x1, x2], [y1, y2]] = [x, y];
        let _ = writeln!(self.0, "<line class=\"g\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>");
    }

    fn polyline(&mut self, class: &str, points: impl Iterator<Item = (f64, f64)>) {
        let points: Vec<_> = points.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(self.0, "<polyline class=\"{class}\" points=\"{}\"/>", points.join(" "));
    }

    fn finish(mut self) -> String {
        self.0.push_str("</svg>\n");
        self.0
    }
}

/// From a range to a place in the drawing.
#[derive(Clone, Copy)]
struct Axis {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Axis {
    fn at(self, value: f64) -> f64 {
        let span = (self.to - self.from).max(f64::MIN_POSITIVE);
        self.start + (value - self.from) / span * (self.end - self.start)
    }
}

/// Whole powers of ten around some times in microseconds, as exponents.
fn decades(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let least = values.clone().fold(f64::INFINITY, f64::min).max(0.001);
    let most = values.fold(0.001, f64::max);
    let from = least.log10().floor();
    (from, most.log10().ceil().max(from + 1.0))
}

fn label(exponent: f64) -> String {
    show_ns((10f64.powf(exponent) * 1000.0).round() as u64).replace(".000", " ")
}

/// Delays over time: the mean of each bin, and the most as a dotted line. `None`: there are none.
fn over_time(flow: &Flow) -> Option<String> {
    let series = flow.series.as_ref()?;
    let points = [0, 1].map(|kind| series.points(kind));
    let all = points.iter().flatten();
    let last = all.clone().map(|p| p.0).fold(None, |last: Option<f64>, t| Some(last.map_or(t, |l| l.max(t))))?;
    let (from, to) = decades(all.clone().flat_map(|p| [p.1, p.2]).filter(|us| *us > 0.0));
    let x = Axis { from: 0.0, to: last, start: LEFT, end: WIDTH - RIGHT };
    let y = Axis { from, to, start: HEIGHT - BOTTOM, end: TOP };
    let mut svg = Svg::new(&format!("{}: delays over time", flow.tuple));
    let mut exponent = from;
    while exponent <= to {
        svg.line([LEFT, WIDTH - RIGHT], [y.at(exponent); 2]);
        svg.text(LEFT - 6.0, y.at(exponent) + 4.0, "end", &label(exponent));
        exponent += 1.0;
    }
    for i in 0..=4 {
        let t = last * f64::from(i) / 4.0;
        svg.line([x.at(t); 2], [TOP, HEIGHT - BOTTOM]);
        svg.text(x.at(t), HEIGHT - BOTTOM + 18.0, "middle", &format!("{t:.3} s"));
    }
    svg.text(LEFT, HEIGHT - 10.0, "start", "time since the flow's first packet; mean, and the most as a dotted line");
    for (points, (_, class)) in points.iter().zip(KINDS) {
        let place = |us: f64| y.at(us.max(0.001).log10().max(from));
        svg.polyline(class, points.iter().map(|p| (x.at(p.0), place(p.1))));
        svg.polyline(&format!("{class} m"), points.iter().map(|p| (x.at(p.0), place(p.2))));
    }
    Some(svg.finish())
}

/// How delays are spread: the share of each bucket. `None`: there are none.
fn distribution(flow: &Flow) -> Option<String> {
    let [client, server] = &flow.directions;
    let trip = if client.round_trip.count() > 0 { &client.round_trip } else { &server.round_trip };
    let kinds: [&Histogram; 2] = [&server.delay, trip];
    let us = |ns: u64| (ns as f64 / 1000.0).max(0.001);
    let ranges = kinds.map(|h| h.ranges().collect::<Vec<_>>());
    if ranges.iter().all(Vec::is_empty) {
        return None;
    }
    let (from, to) = decades(ranges.iter().flatten().flat_map(|&(start, end, _)| [us(start.max(1)), us(end)]));
    let share = |n: u32, of: &Histogram| f64::from(n) * 100.0 / (of.count() as f64).max(1.0);
    let shares = ranges.iter().zip(kinds).flat_map(|(r, h)| r.iter().map(move |&(_, _, n)| share(n, h)));
    let highest = shares.fold(1.0, f64::max);
    let x = Axis { from, to, start: LEFT, end: WIDTH - RIGHT };
    let y = Axis { from: 0.0, to: highest, start: HEIGHT - BOTTOM, end: TOP };
    let mut svg = Svg::new(&format!("{}: how delays are spread", flow.tuple));
    for i in 0..=4 {
        let percent = highest * f64::from(i) / 4.0;
        svg.line([LEFT, WIDTH - RIGHT], [y.at(percent); 2]);
        svg.text(LEFT - 6.0, y.at(percent) + 4.0, "end", &format!("{percent:.1} %"));
    }
    let mut exponent = from;
    while exponent <= to {
        svg.line([x.at(exponent); 2], [TOP, HEIGHT - BOTTOM]);
        svg.text(x.at(exponent), HEIGHT - BOTTOM + 18.0, "middle", &label(exponent));
        exponent += 1.0;
    }
    svg.text(LEFT, HEIGHT - 10.0, "start", "delay; height: share of the packets that tell it");
    for ((ranges, (_, class)), of) in ranges.iter().zip(KINDS).zip(kinds) {
        for &(start, end, n) in ranges {
            let (left, right) = (x.at(us(start.max(1)).log10().max(from)), x.at(us(end).log10()));
            let (top, width) = (y.at(share(n, of)), (right - left).max(1.0));
            let height = HEIGHT - BOTTOM - top;
            let _ = writeln!(
                svg.0,
                "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
            );
        }
    }
    Some(svg.finish())
}

/// Draws the first flows into a directory, which is made when it is not there. How many were drawn.
pub(super) fn draw(flows: &[Flow], dir: &Path) -> io::Result<usize> {
    std::fs::create_dir_all(dir)?;
    let mut drawn = 0;
    for (flow, number) in flows.iter().take(DRAWN).zip(1..) {
        let drawings = [("delay", over_time(flow)), ("distribution", distribution(flow))];
        drawn += usize::from(drawings.iter().any(|(_, svg)| svg.is_some()));
        for (name, svg) in drawings {
            if let Some(svg) = svg {
                std::fs::write(dir.join(format!("flow-{number:02}-{name}.svg")), svg)?;
            }
        }
    }
    Ok(drawn)
}
