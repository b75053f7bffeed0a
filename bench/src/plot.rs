//! Line plots of a report's figures, as SVG: panels side by side that share both axes and the legend.

use crate::report::{Report, Row};
use std::fmt::Write;

const COLOURS: [&str; 10] =
    ["#0b62a4", "#c8452f", "#2e8540", "#7d3c98", "#b9770e", "#117a65", "#c2185b", "#5d6d7e", "#6e2c00", "#3949ab"];
const DASHES: [&str; 3] = ["", "7 3", "2 3"];
const PANEL: (f64, f64) = (470.0, 380.0);
/// Room around a panel for its labels: left, top, right, bottom.
const ROOM: (f64, f64, f64, f64) = (66.0, 30.0, 24.0, 52.0);
/// The legend's line height, and the width of a letter at most.
const LEGEND: (f64, f64) = (20.0, 6.8);

/// A point: where, its median and quartiles.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Point {
    x: f64,
    y: f64,
    low: f64,
    high: f64,
}

/// The points of one name.
#[derive(Clone, PartialEq, Debug)]
struct Series {
    name: String,
    points: Vec<Point>,
}

/// What is to be drawn of a report.
#[derive(Clone, Debug)]
pub struct Plot<'a> {
    /// Above everything.
    pub title: String,
    /// The label on the horizontal axis. Where all its values are numbers the axis is logarithmic, else they stand side by
    /// side in the order of the report.
    pub x: &'a str,
    /// The labels that make a line's name.
    pub lines: &'a [&'a str],
    /// The label that there is a panel for each value of.
    pub panels: &'a str,
    /// Whether the vertical axis is logarithmic; else it begins at zero.
    pub log: bool,
}

/// A scale from values to pixels.
struct Scale {
    log: bool,
    from: f64,
    to: f64,
}

impl Scale {
    fn of(values: impl Iterator<Item = f64>, log: bool) -> Self {
        let (low, high) = values
            .filter(|v| !log || *v > 0.0)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        if low > high {
            return Self { log, from: if log { 1.0 } else { 0.0 }, to: 10.0 };
        }
        Self { log, from: low, to: high }
    }

    /// From 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let (from, to, value) = if self.log {
            (self.from.log10(), self.to.log10(), value.max(self.from).log10())
        } else {
            (self.from, self.to, value)
        };
        if to > from { (value - from) / (to - from) } else { 0.5 }
    }

    /// Values to put a line and a label at: 1, 2, 5, 10 ...
    fn ticks(&self) -> Vec<f64> {
        let step = |exponent: i32| [1.0, 2.0, 5.0].map(|m| m * 10f64.powi(exponent));
        if self.log {
            let (from, to) = (self.from * 0.999, self.to * 1.001);
            let all: Vec<f64> = (from.log10().floor() as i32..=to.log10().ceil() as i32).flat_map(step).collect();
            all.into_iter().filter(|t| (from..=to).contains(t)).collect()
        } else {
            let range = (self.to - self.from).max(f64::MIN_POSITIVE);
            let exponent = range.log10().floor() as i32;
            let wide = [exponent - 1, exponent].into_iter().flat_map(step).find(|s| range / s <= 8.0).unwrap_or(range);
            (0..=8).map(|i| self.from + wide * f64::from(i)).filter(|t| *t <= self.to * 1.0001).collect()
        }
    }
}

impl Plot<'_> {
    /// Draws it.
    #[must_use]
    pub fn svg(&self, report: &Report) -> String {
        let values = distinct(report, self.x);
        let numbers: Option<Vec<f64>> = values.iter().map(|v| v.parse().ok().filter(|n| *n > 0.0)).collect();
        let at = |row: &Row| {
            let value = label(row, self.x);
            match &numbers {
                Some(_) => value.parse().unwrap_or(1.0),
                None => values.iter().position(|v| v == value).unwrap_or(0) as f64,
            }
        };
        let panels: Vec<(String, Vec<Series>)> = distinct(report, self.panels)
            .into_iter()
            .map(|panel| {
                let rows: Vec<&Row> = report.rows.iter().filter(|r| label(r, self.panels) == panel).collect();
                (panel, self.series(&rows, at))
            })
            .collect();
        let names = names(&panels);
        let points = || panels.iter().flat_map(|(_, s)| s).flat_map(|s| &s.points);
        let x = Scale::of(points().map(|p| p.x), numbers.is_some());
        let mut y = Scale::of(points().flat_map(|p| [p.y, p.low, p.high]), self.log);
        if !self.log {
            y.from = 0.0;
            y.to *= 1.05;
        } else if let (Some(from), to) = (down(y.from), y.to) {
            (y.from, y.to) = (from, to * 1.1);
        }
        let labels: Vec<(f64, String)> = match &numbers {
            Some(numbers) => numbers.iter().map(|n| (*n, thousands(*n))).collect(),
            None => values.iter().enumerate().map(|(i, v)| (i as f64, v.clone())).collect(),
        };
        let axes = Axes { x, y, labels, x_name: self.x, unit: &report.unit };

        let across = panels.len().max(1) as f64;
        let outer = (ROOM.0 + PANEL.0 + ROOM.2, ROOM.1 + PANEL.1 + ROOM.3);
        let longest = names.iter().map(|n| n.chars().count()).max().unwrap_or(0);
        let entry = 60.0 + LEGEND.1 * longest as f64;
        let columns = ((outer.0 * across / entry) as usize).max(1);
        let width = outer.0 * across;
        let height = 36.0 + outer.1 + 14.0 + LEGEND.0 * names.len().div_ceil(columns) as f64 + 8.0;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
             font-family=\"Helvetica, Arial, 'DejaVu Sans', sans-serif\" font-size=\"12\" fill=\"#222\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
        );
        text(&mut svg, (width / 2.0, 24.0), "middle", "font-size=\"16\" font-weight=\"bold\"", &self.title);
        for (i, (name, series)) in panels.iter().enumerate() {
            let origin = (outer.0 * i as f64 + ROOM.0, 36.0 + ROOM.1);
            axes.draw(&mut svg, origin, name);
            for line in series {
                let style = Style::of(names.iter().position(|n| *n == line.name).unwrap_or(0));
                axes.line(&mut svg, origin, line, style);
            }
        }
        for (i, name) in names.iter().enumerate() {
            let (x, y) = ((i % columns) as f64 * entry + 14.0, 36.0 + outer.1 + 14.0 + (i / columns) as f64 * LEGEND.0);
            let style = Style::of(i);
            let _ = writeln!(
                svg,
                "<line x1=\"{x}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\" {}/>{}",
                x + 32.0,
                style.stroke(),
                style.marker(x + 16.0, y)
            );
            text(&mut svg, (x + 40.0, y + 4.0), "start", "", name);
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn series(&self, rows: &[&Row], at: impl Fn(&Row) -> f64) -> Vec<Series> {
        let mut all: Vec<Series> = Vec::new();
        for row in rows {
            let parts: Vec<&str> = self.lines.iter().map(|l| label(row, l)).filter(|v| !v.is_empty()).collect();
            let name = parts.join(", ");
            let point = Point { x: at(row), y: row.figure.median, low: row.figure.q1, high: row.figure.q3 };
            match all.iter_mut().find(|s| s.name == name) {
                Some(series) => series.points.push(point),
                None => all.push(Series { name, points: vec![point] }),
            }
        }
        all
    }
}

/// The value of a row's label; empty when it has none.
fn label<'a>(row: &'a Row, name: &str) -> &'a str {
    row.labels.iter().find(|(k, _)| k == name).map_or("", |(_, v)| v)
}

/// A label's values, in the order of the report.
fn distinct(report: &Report, name: &str) -> Vec<String> {
    let mut values: Vec<String> = Vec::new();
    for row in &report.rows {
        let value = label(row, name);
        if !values.iter().any(|v| v == value) {
            values.push(value.to_owned());
        }
    }
    values
}

fn names(panels: &[(String, Vec<Series>)]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for series in panels.iter().flat_map(|(_, s)| s) {
        if !names.contains(&series.name) {
            names.push(series.name.clone());
        }
    }
    names
}

/// The next of 1, 2, 5, 10 ... at or below.
fn down(value: f64) -> Option<f64> {
    let exponent = value.log10().floor() as i32;
    [5.0, 2.0, 1.0].into_iter().map(|m| m * 10f64.powi(exponent)).find(|t| *t <= value)
}

fn thousands(value: f64) -> String {
    crate::report::number(value).trim_end_matches(".0").to_owned()
}

/// For the vertical axis, where there is little room.
fn short(value: f64) -> String {
    if value >= 1e6 { format!("{} M", thousands(value / 1e6)) } else { thousands(value) }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, more: &str, what: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {more}>{}</text>", escape(what));
}

/// How a line looks.
#[derive(Clone, Copy)]
struct Style {
    colour: &'static str,
    dash: &'static str,
    shape: usize,
}

impl Style {
    fn of(line: usize) -> Self {
        Self {
            colour: COLOURS[line % COLOURS.len()],
            dash: DASHES[line / COLOURS.len() % DASHES.len()],
            shape: line % 3,
        }
    }

    fn stroke(self) -> String {
        format!("stroke=\"{}\" stroke-width=\"2\" stroke-dasharray=\"{}\" fill=\"none\"", self.colour, self.dash)
    }

    fn marker(self, x: f64, y: f64) -> String {
        let colour = self.colour;
        match self.shape {
            0 => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>"),
            1 => {
                format!("<rect x=\"{:.1}\" y=\"{:.1}\" width=\"7\" height=\"7\" fill=\"{colour}\"/>", x - 3.5, y - 3.5)
            }
            _ => format!(
                "<path d=\"M{x:.1} {:.1} L{:.1} {:.1} L{:.1} {:.1} Z\" fill=\"{colour}\"/>",
                y - 5.0,
                x + 5.0,
                y + 4.0,
                x - 5.0,
                y + 4.0
            ),
        }
    }
}

struct Axes<'a> {
    x: Scale,
    y: Scale,
    labels: Vec<(f64, String)>,
    x_name: &'a str,
    unit: &'a str,
}

impl Axes<'_> {
    fn x(&self, origin: (f64, f64), value: f64) -> f64 {
        origin.0 + PANEL.0 * (0.04 + 0.92 * self.x.place(value))
    }

    fn y(&self, origin: (f64, f64), value: f64) -> f64 {
        origin.1 + PANEL.1 * (1.0 - self.y.place(value))
    }

    fn draw(&self, svg: &mut String, origin: (f64, f64), name: &str) {
        let (left, top) = origin;
        for tick in self.y.ticks() {
            let y = self.y(origin, tick);
            let _ = writeln!(svg, "<path d=\"M{left} {y:.1} h{}\" stroke=\"#ddd\"/>", PANEL.0);
            text(svg, (left - 6.0, y + 4.0), "end", "", &short(tick));
        }
        for (value, name) in &self.labels {
            let x = self.x(origin, *value);
            let _ = writeln!(svg, "<path d=\"M{x:.1} {} v5\" stroke=\"#444\"/>", top + PANEL.1);
            text(svg, (x, top + PANEL.1 + 19.0), "middle", "", name);
        }
        let _ = writeln!(
            svg,
            "<rect x=\"{left}\" y=\"{top}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"#444\"/>",
            PANEL.0, PANEL.1
        );
        let scale = |log| if log { " (logarithmic)" } else { "" };
        let x_name = format!("{}{}", self.x_name, scale(self.x.log));
        text(svg, (left + PANEL.0 / 2.0, top + PANEL.1 + 40.0), "middle", "", &x_name);
        text(svg, (left + PANEL.0 / 2.0, top - 10.0), "middle", "font-size=\"14\"", name);
        let (x, y) = (left - 50.0, top + PANEL.1 / 2.0);
        let turned = format!("transform=\"rotate(-90 {x:.1} {y:.1})\"");
        text(svg, (x, y), "middle", &turned, &format!("{}{}", self.unit, scale(self.y.log)));
    }

    fn line(&self, svg: &mut String, origin: (f64, f64), series: &Series, style: Style) {
        let mut path = String::new();
        let mut marks = String::new();
        for point in &series.points {
            let (x, y) = (self.x(origin, point.x), self.y(origin, point.y));
            let _ = write!(path, "{}{x:.1} {y:.1} ", if path.is_empty() { "M" } else { "L" });
            let (low, high) = (self.y(origin, point.low), self.y(origin, point.high));
            let _ = write!(marks, "<path d=\"M{x:.1} {low:.1} V{high:.1}\" stroke=\"{}\"/>", style.colour);
            marks.push_str(&style.marker(x, y));
        }
        let _ = writeln!(svg, "<path d=\"{}\" {}/>{marks}", path.trim_end(), style.stroke());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Figure;

    fn report(x: [&str; 3]) -> Report {
        let mut report = Report::new("x", "title", "ns per packet", "times");
        for (i, x) in x.into_iter().enumerate() {
            for (panel, by) in [("seal", "a"), ("seal", "b & c"), ("open", "a")] {
                let figure = Figure { median: 10f64.powi(i as i32 + 1), q1: 9.0, q3: 1100.0 };
                let labels = [("keys", x.to_owned()), ("operation", panel.to_owned()), ("by", by.to_owned())];
                report.push(&labels, figure, None);
            }
        }
        report
    }

    fn plot() -> Plot<'static> {
        Plot { title: "Title".into(), x: "keys", lines: &["by"], panels: "operation", log: true }
    }

    #[test]
    fn numbers_stand_on_a_logarithmic_axis() {
        let svg = plot().svg(&report(["1", "1000", "1000000"]));
        for part in ["1,000,000", "keys (logarithmic)", "ns per packet (logarithmic)", "b &amp; c", ">seal<", ">open<"]
        {
            assert!(svg.contains(part), "{part} is not in\n{svg}");
        }
        // The middle one is in the middle: 66 + 470 / 2.
        assert!(svg.contains("M301.0 "), "{svg}");
        assert_eq!(svg.matches("<svg").count(), 1);
        assert!(svg.ends_with("</svg>\n"));
    }

    #[test]
    fn words_stand_side_by_side() {
        let svg = plot().svg(&report(["IMIX", "small", "large"]));
        assert!(svg.contains(">IMIX<") && svg.contains(">keys<"), "{svg}");
    }

    #[test]
    fn an_empty_report_is_drawn_too() {
        let svg = plot().svg(&Report::new("x", "title", "ns", "times"));
        assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN"), "{svg}");
    }

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(Scale { log: true, from: 5.0, to: 120.0 }.ticks(), [5.0, 10.0, 20.0, 50.0, 100.0]);
        assert_eq!([0.0, 2.5, 500.0, 20_000.0, 35e6].map(short), ["0", "2.5", "500", "20,000", "35 M"]);
        assert_eq!(Scale { log: false, from: 0.0, to: 9.0 }.ticks(), [0.0, 2.0, 4.0, 6.0, 8.0]);
    }
}
