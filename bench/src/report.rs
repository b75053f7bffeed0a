//! What a benchmark found: rows of figures, for people (a table), machines (`--json`, one line) and the report in
//! `bench/results` (Markdown).

use crate::measure::Figure;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// One measured line.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct Row {
    /// What was measured, by column; every row of a report has the same columns.
    pub labels: Vec<(Cow<'static, str>, String)>,
    /// The figure, in the report's unit.
    #[serde(flatten)]
    pub figure: Figure,
    /// Another row's median over this one's, or the other way round: how many times as good as [`Report::against`].
    pub ratio: Option<f64>,
}

impl Row {
    /// Whether it has all of these labels.
    #[must_use]
    pub fn has(&self, labels: &[(&str, &str)]) -> bool {
        labels.iter().all(|(k, v)| self.labels.iter().any(|(name, l)| name == k && l == v))
    }
}

/// A line that could not be measured.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct Absent {
    /// What was to be measured, by column, as in [`Row::labels`].
    pub labels: Vec<(Cow<'static, str>, String)>,
    /// Why there is no figure.
    pub reason: String,
}

/// What one benchmark found.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct Report {
    /// Its name on the command line.
    pub bench: Cow<'static, str>,
    /// One line that says what the figures are.
    pub title: String,
    /// Unit of all figures: "ns per packet", "packets per second".
    pub unit: Cow<'static, str>,
    /// What stands in the places of a figure's quartiles: "quartiles", if nothing else is said.
    pub spread: Cow<'static, str>,
    /// What [`Row::ratio`] compares with.
    pub against: String,
    /// The CPU and what it was built with.
    pub machine: Machine,
    /// The figures.
    pub rows: Vec<Row>,
    /// What there is no figure of; the reasons are among the notes too.
    #[serde(default)]
    pub not_measured: Vec<Absent>,
    /// What a reader must know: peers that were not there, the cost of the rig itself.
    pub notes: Vec<String>,
}

/// Where figures come from.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct Machine {
    /// As `/proc/cpuinfo` names it.
    pub cpu: String,
    /// Cores that may be used.
    pub cores: usize,
    /// The AEAD path that was chosen.
    pub aead: Cow<'static, str>,
    /// Whether the compiler was allowed this CPU's own instructions everywhere (`-C target-cpu=native`).
    pub native: bool,
    /// When, in UTC.
    pub date: String,
}

impl Machine {
    /// This one.
    #[must_use]
    pub fn here() -> Self {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = info.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": ").map(|(_, n)| n.to_owned()));
        Self {
            cpu: name.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            aead: protocol::aead::Path::best().name().into(),
            native: cfg!(target_feature = "aes"),
            date: date(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())),
        }
    }
}

impl Report {
    /// An empty one, of this machine.
    #[must_use]
    pub fn new(bench: &'static str, title: impl Into<String>, unit: &'static str, against: impl Into<String>) -> Self {
        Self {
            bench: bench.into(),
            title: title.into(),
            unit: unit.into(),
            spread: "quartiles".into(),
            against: against.into(),
            machine: Machine::here(),
            rows: Vec::new(),
            not_measured: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds what could not be measured, and a note that says why, once.
    pub fn push_absent(&mut self, labels: &[(&'static str, String)], reason: String) {
        if !self.notes.contains(&reason) {
            self.notes.push(reason.clone());
        }
        self.not_measured.push(Absent { labels: owned(labels), reason });
    }

    /// Adds a row.
    pub fn push(&mut self, labels: &[(&'static str, String)], figure: Figure, ratio: Option<f64>) {
        self.rows.push(Row { labels: owned(labels), figure, ratio });
    }

    /// The row with all of these labels.
    #[must_use]
    pub fn find(&self, labels: &[(&str, &str)]) -> Option<&Row> {
        self.rows.iter().find(|r| r.has(labels))
    }

    /// The labels of every line.
    fn labels(&self) -> impl Iterator<Item = &Vec<(Cow<'static, str>, String)>> {
        self.rows.iter().map(|r| &r.labels).chain(self.not_measured.iter().map(|a| &a.labels))
    }

    /// Its table, aligned, in Markdown: readable on a terminal too.
    #[must_use]
    pub fn table(&self) -> String {
        let mut cells: Vec<Vec<String>> = Vec::new();
        let mut head: Vec<String> =
            self.labels().next().map(|l| l.iter().map(|(k, _)| k.to_string()).collect()).unwrap_or_default();
        head.extend([self.unit.to_string(), self.spread.to_string(), self.against.clone()]);
        cells.push(head);
        for row in &self.rows {
            let mut line: Vec<String> = row.labels.iter().map(|(_, v)| v.clone()).collect();
            line.push(number(row.figure.median));
            line.push(format!("{} to {}", number(row.figure.q1), number(row.figure.q3)));
            line.push(row.ratio.map_or_else(|| "-".to_owned(), |r| format!("{r:.2}")));
            cells.push(line);
        }
        for absent in &self.not_measured {
            let values = absent.labels.iter().map(|(_, v)| v.clone());
            cells.push(values.chain(["not measured", "-", "-"].map(str::to_owned)).collect());
        }
        let columns = cells[0].len();
        let widths: Vec<usize> = (0..columns)
            .map(|c| cells.iter().filter_map(|l| l.get(c)).map(|t| t.chars().count()).max().unwrap_or(0))
            .collect();
        let mut text = String::new();
        for (i, line) in cells.iter().enumerate() {
            for (cell, width) in line.iter().zip(&widths) {
                let _ = write!(text, "| {cell:<width$} ");
            }
            text.push_str("|\n");
            if i == 0 {
                widths.iter().for_each(|w| text.push_str(&format!("|{}", "-".repeat(w + 2))));
                text.push_str("|\n");
            }
        }
        text
    }

    /// Title, table and notes.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = format!("## {}\n\n{}\n\n{}", self.bench, self.title, self.table());
        for note in &self.notes {
            let _ = write!(text, "\n* {note}");
        }
        text.push('\n');
        text
    }

    /// Prints it: one line of JSON, or the Markdown.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string(self)?);
        } else {
            println!("{}", self.markdown());
        }
        Ok(())
    }
}

fn owned(labels: &[(&'static str, String)]) -> Vec<(Cow<'static, str>, String)> {
    labels.iter().map(|(k, v)| ((*k).into(), v.clone())).collect()
}

/// Three digits that count, and thousands set apart.
pub(crate) fn number(value: f64) -> String {
    if value.abs() < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > usize::from(value < 0.0) && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Year, month and day of seconds since 1970.
fn date(seconds: u64) -> String {
    let (mut year, mut day) = (1970, seconds / 86_400);
    let leap = |y: u64| y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400));
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for days in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if day < days {
            break;
        }
        day -= days;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart_also_below_zero() {
        let texts = [-588_656.0, -1234.0, -100.4, 1_000_000.0, 999.0, 2.345].map(number);
        assert_eq!(texts, ["-588,656", "-1,234", "-100", "1,000,000", "999", "2.3"]);
    }

    #[test]
    fn dates() {
        let days = [0, 59, 11_016, 11_017, 19_782, 20_453];
        let dates = ["1970-01-01", "1970-03-01", "2000-02-29", "2000-03-01", "2024-02-29", "2025-12-31"];
        assert_eq!(days.map(|d| date(d * 86_400 + 86_399)), dates);
    }

    #[test]
    fn a_table_has_every_label_and_figure() {
        let mut report = Report::new("x", "title", "ns", "times y");
        report.push(&[("keys", "1".into())], Figure { median: 12_345.6, q1: 1.0, q3: 99.94 }, Some(2.0));
        let text = report.markdown();
        for part in ["| keys |", "12,346", "1.0 to 99.9", "2.00"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(report.find(&[("keys", "1")]).is_some() && report.find(&[("keys", "2")]).is_none());
    }

    #[test]
    fn what_was_not_measured_is_in_the_table_in_the_notes_and_in_json() {
        let mut report = Report::new("x", "title", "ns", "times y");
        for keys in ["1", "2"] {
            report.push_absent(&[("keys", keys.into())], "y: not measured: it is not there".into());
        }
        assert_eq!(report.notes.len(), 1, "one reason, one note");
        let text = report.markdown();
        assert!(text.contains("| keys |") && text.contains("| 2    | not measured | -"), "{text}");
        let json = serde_json::to_string(&report).expect("JSON");
        let again: Report = serde_json::from_str(&json).expect("a report");
        assert_eq!(again.not_measured[1].labels, [("keys".into(), "2".to_owned())]);
        assert!(again.not_measured[0].reason.contains("not there"), "{json}");
        let old = json.replace("\"not_measured\":[", "\"other\":[");
        let old: Report = serde_json::from_str(&old).expect("reports from before there was the field are read");
        assert!(old.not_measured.is_empty());
    }
}
