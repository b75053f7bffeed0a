//! `pdmv2 selftest`: checks the implementation against a file of test vectors.
//!
//! Every object of the file counts as one that passed or failed. What cannot be read, is not known, or is not checked
//! counts as failed: a vector is never skipped.

mod object;
mod sections;

use anyhow::Context;
use clap::Args;
use object::Object;
use serde::Deserializer;
use serde::de::{MapAccess, Visitor};
use serde_json::Value;
use std::fmt;
use std::io::Write;
use std::path::PathBuf;

/// Arguments of `pdmv2 selftest`.
#[derive(Args, Debug)]
pub struct SelftestArgs {
    /// JSON file of test vectors
    #[arg(long, value_name = "FILE")]
    pub vectors: PathBuf,
}

/// Objects of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Those that agree with the implementation in everything.
    pub passed: u64,
    /// All others.
    pub failed: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// Checks the file and writes each failure, then the summary, to `out`; says whether all passed.
///
/// # Errors
/// A file that cannot be read or is not JSON; `out` that cannot be written.
pub fn run(args: &SelftestArgs, out: &mut dyn Write) -> anyhow::Result<bool> {
    let place = args.vectors.display();
    let text = std::fs::read(&args.vectors).with_context(|| format!("cannot read the vectors '{place}'"))?;
    let summary = check(&text, out).with_context(|| format!("'{place}' holds no test vectors"))?;
    Ok(summary.failed == 0)
}

/// Checks the text of a file of vectors; the rest as [`run`].
///
/// # Errors
/// As [`run`].
pub fn check(text: &[u8], out: &mut dyn Write) -> anyhow::Result<Summary> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let root = json.deserialize_any(Root).and_then(|root| json.end().map(|()| root))?;
    let mut summary = Summary::default();
    for (name, section) in &root {
        let before = summary;
        let Value::Array(objects) = section else {
            summary.failed += 1;
            writeln!(out, "{name}: not a list of objects")?;
            continue;
        };
        let check = sections::of(name);
        for (index, object) in objects.iter().enumerate() {
            let failures = match (check, object) {
                (None, _) => vec![object::Failure::new("", "a section that this program does not know")],
                (_, Value::Object(map)) => Object::check(map, check),
                _ => vec![object::Failure::new("", "not an object")],
            };
            for failure in &failures {
                writeln!(out, "{name}[{index}]{failure}")?;
            }
            *(if failures.is_empty() { &mut summary.passed } else { &mut summary.failed }) += 1;
        }
        writeln!(out, "{name}: {} of {} passed", summary.passed - before.passed, objects.len())?;
    }
    if summary == Summary::default() {
        summary.failed = 1;
        writeln!(out, "no objects at all: nothing was checked")?;
    }
    writeln!(out, "{summary}")?;
    Ok(summary)
}

/// The sections in the file's order. A section that stands there twice counts twice, where a JSON map would keep one.
struct Root;

impl<'de> Visitor<'de> for Root {
    type Value = Vec<(String, Value)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a list per section")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut sections = Vec::new();
        while let Some(section) = map.next_entry()? {
            sections.push(section);
        }
        Ok(sections)
    }
}
