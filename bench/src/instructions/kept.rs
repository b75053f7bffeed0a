//! The figures in the repository, and what is said when new ones differ.

use super::cases::CASES;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// Per cent that a count may grow unnoticed.
const BOUND: f64 = 3.0;

/// Counts of one build.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Kept {
    /// `rustc -V`.
    pub compiler: String,
    /// Instructions per packet, by case.
    pub instructions: BTreeMap<String, f64>,
}

/// One case, compared.
#[derive(Serialize, Debug)]
struct Line<'a> {
    name: &'a str,
    kept: Option<f64>,
    now: f64,
    per_cent: Option<f64>,
}

/// All of them.
#[derive(Serialize, Debug)]
pub struct Comparison<'a> {
    bench: &'static str,
    unit: &'static str,
    compiler: &'a str,
    kept_compiler: Option<&'a str>,
    lines: Vec<Line<'a>>,
}

impl Kept {
    /// Reads them.
    ///
    /// # Errors
    /// The file cannot be read, or is none of these.
    pub fn read(file: &Path) -> Result<Self> {
        let remedy = || format!("{}: cannot be read; 'bench instructions --write' makes it", file.display());
        serde_json::from_str(&std::fs::read_to_string(file).with_context(remedy)?).with_context(remedy)
    }

    /// Writes them, a figure a line.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, file: &Path) -> Result<()> {
        let mut rounded = self.clone();
        rounded.instructions.values_mut().for_each(|v| *v = (*v * 100.0).round() / 100.0);
        let text = serde_json::to_string_pretty(&rounded)? + "\n";
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Beside the kept ones.
    pub fn against<'a>(&'a self, kept: Option<&'a Self>) -> Comparison<'a> {
        let lines = self.instructions.iter().map(|(name, &now)| {
            let kept = kept.and_then(|k| k.instructions.get(name)).copied();
            Line { name, kept, now, per_cent: kept.map(|k| (now / k - 1.0) * 100.0) }
        });
        Comparison {
            bench: "instructions",
            unit: "instructions per packet",
            compiler: &self.compiler,
            kept_compiler: kept.map(|k| k.compiler.as_str()),
            lines: lines.collect(),
        }
    }

    /// As a table.
    pub fn table(&self, kept: Option<&Self>) -> String {
        let mut text =
            String::from("Instructions per packet, AES-NI, bursts of 32, frames of 80 octets, 1,024 flows\n\n");
        let head = ["case", "now", "kept", "per cent", ""];
        let _ =
            writeln!(text, "| {:<16} | {:>8} | {:>8} | {:>8} | {:<50} |", head[0], head[1], head[2], head[3], head[4]);
        text.push_str("|------------------|---------:|---------:|---------:|----------------------------------------------------|\n");
        for line in self.against(kept).lines {
            let what = CASES.iter().find(|c| c.name == line.name).map_or("", |c| c.what);
            let kept = line.kept.map_or_else(|| "-".to_owned(), |k| format!("{k:.1}"));
            let per_cent = line.per_cent.map_or_else(|| "-".to_owned(), |p| format!("{p:+.1}"));
            let _ =
                writeln!(text, "| {:<16} | {:>8.1} | {kept:>8} | {per_cent:>8} | {what:<50} |", line.name, line.now);
        }
        text
    }

    /// A message for each count that is more than [`BOUND`] per cent above the kept one, or has none, and how to go on.
    pub fn higher(&self, kept: &Self) -> Vec<String> {
        let mut messages = Vec::new();
        for line in self.against(Some(kept)).lines {
            match (line.kept, line.per_cent) {
                (Some(before), Some(per_cent)) if per_cent > BOUND => messages.push(format!(
                    "{}: {before:.1} instructions per packet are kept, now it takes {:.1}: {per_cent:.1} per cent more \
                     (allowed are {BOUND})",
                    line.name, line.now
                )),
                (None, _) => messages.push(format!("{}: no count is kept", line.name)),
                _ => {}
            }
        }
        if messages.is_empty() {
            return messages;
        }
        if self.compiler != kept.compiler {
            messages.push(format!("the kept counts are of {}, these of {}", kept.compiler, self.compiler));
        }
        messages.push("if that is intended: bench instructions --write, and commit bench/instructions.json".to_owned());
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(compiler: &str, all: &[(&str, f64)]) -> Kept {
        let instructions = all.iter().map(|&(n, v)| (n.to_owned(), v)).collect();
        Kept { compiler: compiler.to_owned(), instructions }
    }

    #[test]
    fn more_than_three_per_cent_is_told_with_name_counts_and_remedy() {
        let kept = counts("rustc 1", &[("a", 100.0), ("b", 100.0), ("gone", 1.0)]);
        assert!(counts("rustc 1", &[("a", 102.9), ("b", 50.0)]).higher(&kept).is_empty());
        let messages = counts("rustc 1", &[("a", 103.1), ("b", 100.0)]).higher(&kept);
        assert_eq!(messages.len(), 2);
        for part in ["a: 100.0", "103.1", "3.1 per cent"] {
            assert!(messages[0].contains(part), "{part} is not in {messages:?}");
        }
        assert!(messages[1].contains("--write"));
    }

    #[test]
    fn a_new_case_and_another_compiler_are_told() {
        let messages = counts("rustc 2", &[("new", 1.0)]).higher(&counts("rustc 1", &[]));
        assert_eq!(messages.len(), 3);
        assert!(messages[0].starts_with("new: no count is kept"));
        assert!(messages[1].contains("rustc 1") && messages[1].contains("rustc 2"));
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = rig::Directory::scratch().expect("a directory");
        let file = dir.path().join("counts.json");
        assert!(Kept::read(&file).is_err_and(|e| format!("{e:#}").contains("--write")));
        counts("rustc 1", &[("a", 12.344)]).write(&file).expect("written");
        assert_eq!(Kept::read(&file).expect("read"), counts("rustc 1", &[("a", 12.34)]));
        let table = counts("rustc 1", &[("a", 24.68)]).table(Some(&counts("rustc 1", &[("a", 12.34)])));
        assert!(table.contains("+100.0"), "{table}");
    }
}
