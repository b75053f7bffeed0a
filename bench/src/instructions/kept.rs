//! The figures in the repository, and what is said when new ones differ.

use super::cases::CASES;
use crate::ports::isa::Isa;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// Per cent that a count may grow unnoticed.
const BOUND: f64 = 3.0;

/// Instructions per packet, by case.
pub type Counts = BTreeMap<String, f64>;

/// Counts of one build.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Kept {
    /// `rustc -V`.
    pub compiler: String,
    /// Of the AES-NI path, by callgrind.
    pub instructions: Counts,
    /// Of the wider paths that the CPU has, by name, counted by single steps.
    #[serde(default)]
    pub stepped: BTreeMap<String, Counts>,
}

/// One case, compared.
#[derive(Serialize, Debug)]
struct Line<'a> {
    name: &'a str,
    isa: &'a str,
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

/// The lines of one path.
fn beside<'a>(isa: &'a str, now: &'a Counts, kept: Option<&Counts>) -> Vec<Line<'a>> {
    let line = |(name, &now): (&'a String, &f64)| {
        let kept = kept.and_then(|k| k.get(name)).copied();
        Line { name, isa, kept, now, per_cent: kept.map(|k| (now / k - 1.0) * 100.0) }
    };
    now.iter().map(line).collect()
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
        let stepped = rounded.stepped.values_mut().flat_map(BTreeMap::values_mut);
        rounded.instructions.values_mut().chain(stepped).for_each(|v| *v = (*v * 100.0).round() / 100.0);
        let text = serde_json::to_string_pretty(&rounded)? + "\n";
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Those of paths that this machine could not count stay as they are kept.
    pub fn keep_others(&mut self, kept: &Self) {
        for (isa, counts) in &kept.stepped {
            self.stepped.entry(isa.clone()).or_insert_with(|| counts.clone());
        }
    }

    /// Beside the kept ones.
    pub fn against<'a>(&'a self, kept: Option<&'a Self>) -> Comparison<'a> {
        let mut lines = beside(Isa::Aesni.name(), &self.instructions, kept.map(|k| &k.instructions));
        for (isa, now) in &self.stepped {
            lines.extend(beside(isa, now, kept.and_then(|k| k.stepped.get(isa))));
        }
        Comparison {
            bench: "instructions",
            unit: "instructions per packet",
            compiler: &self.compiler,
            kept_compiler: kept.map(|k| k.compiler.as_str()),
            lines,
        }
    }

    /// Whether there are counts of a path.
    fn has(&self, isa: &str) -> bool {
        isa == Isa::Aesni.name() || self.stepped.contains_key(isa)
    }

    /// As a table.
    pub fn table(&self, kept: Option<&Self>) -> String {
        let mut text = String::from("Instructions per packet, bursts of 32, frames of 80 octets, 1,024 flows\n\n");
        let _ = writeln!(
            text,
            "| {:<16} | {:<8} | {:>8} | {:>8} | {:>8} | {:<50} |",
            "case", "isa", "now", "kept", "per cent", ""
        );
        let _ = writeln!(text, "|{:-<18}|----------|---------:|---------:|---------:|{:-<52}|", "", "");
        for line in self.against(kept).lines {
            let what = CASES.iter().find(|c| c.name == line.name).map_or("", |c| c.what);
            let kept = line.kept.map_or_else(|| "-".to_owned(), |k| format!("{k:.1}"));
            let per_cent = line.per_cent.map_or_else(|| "-".to_owned(), |p| format!("{p:+.1}"));
            let (name, isa, now) = (line.name, line.isa, line.now);
            let _ = writeln!(text, "| {name:<16} | {isa:<8} | {now:>8.1} | {kept:>8} | {per_cent:>8} | {what:<50} |");
        }
        text
    }

    /// A message for each count that is more than [`BOUND`] per cent above the kept one, or has none, and how to go on. A
    /// path of which nothing is kept at all is left out: it was written on a machine that does not have it.
    pub fn higher(&self, kept: &Self) -> Vec<String> {
        let mut messages = Vec::new();
        for line in self.against(Some(kept)).lines {
            match (line.kept, line.per_cent) {
                (Some(before), Some(per_cent)) if per_cent > BOUND => messages.push(format!(
                    "{}, {}: {before:.1} instructions per packet are kept, now it takes {:.1}: {per_cent:.1} per cent more \
                     (allowed are {BOUND})",
                    line.name, line.isa, line.now
                )),
                (None, _) if kept.has(line.isa) => messages.push(format!("{}, {}: no count is kept", line.name, line.isa)),
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
        Kept { compiler: compiler.to_owned(), instructions, stepped: BTreeMap::new() }
    }

    #[test]
    fn more_than_three_per_cent_is_told_with_name_counts_and_remedy() {
        let kept = counts("rustc 1", &[("a", 100.0), ("b", 100.0), ("gone", 1.0)]);
        assert!(counts("rustc 1", &[("a", 102.9), ("b", 50.0)]).higher(&kept).is_empty());
        let messages = counts("rustc 1", &[("a", 103.1), ("b", 100.0)]).higher(&kept);
        assert_eq!(messages.len(), 2);
        for part in ["a, aesni: 100.0", "103.1", "3.1 per cent"] {
            assert!(messages[0].contains(part), "{part} is not in {messages:?}");
        }
        assert!(messages[1].contains("--write"));
    }

    #[test]
    fn a_new_case_and_another_compiler_are_told() {
        let messages = counts("rustc 2", &[("new", 1.0)]).higher(&counts("rustc 1", &[]));
        assert_eq!(messages.len(), 3);
        assert!(messages[0].starts_with("new, aesni: no count is kept"));
        assert!(messages[1].contains("rustc 1") && messages[1].contains("rustc 2"));
    }

    #[test]
    fn both_paths_are_held_to_their_own_counts() {
        let with = |aesni, avx512| Kept {
            stepped: BTreeMap::from([("avx512".to_owned(), Counts::from([("a".to_owned(), avx512)]))]),
            ..counts("rustc 1", &[("a", aesni)])
        };
        assert!(with(100.0, 40.0).higher(&with(100.0, 40.0)).is_empty());
        let messages = with(100.0, 50.0).higher(&with(100.0, 40.0));
        assert!(messages.len() == 2 && messages[0].starts_with("a, avx512: 40.0"), "{messages:?}");
        // A machine without AVX-512 has no counts of it: none is missing, and those that are kept stay.
        let mut without = counts("rustc 1", &[("a", 100.0)]);
        assert!(without.higher(&with(100.0, 40.0)).is_empty());
        assert!(with(100.0, 40.0).higher(&without).is_empty());
        without.keep_others(&with(1.0, 40.0));
        assert_eq!(without, with(100.0, 40.0));
        let mut newer = with(100.0, 30.0);
        newer.keep_others(&with(1.0, 40.0));
        assert_eq!(newer, with(100.0, 30.0));
        let table = with(100.0, 50.0).table(Some(&with(100.0, 40.0)));
        assert!(table.contains("| avx512   |     50.0 |     40.0 |    +25.0 |"), "{table}");
        let old = r#"{"compiler": "c", "instructions": {"a": 1.5}}"#;
        assert!(serde_json::from_str::<Kept>(old).expect("files of before are read").stepped.is_empty());
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
