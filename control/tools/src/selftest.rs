//! `pdmv2 selftest`: the implementation against a file of test vectors, every object and every field of it.
//!
//! Sections: `key_file`, `key_schedule_and_seal`, `delta_time`, `packets`, each an array of objects. What is not
//! understood counts as failed: a vector that is skipped proves nothing.

mod object;
mod sections;

use anyhow::Context;
use object::Object;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;

/// Octets a file of vectors may have.
const MAX_LEN: u64 = 1 << 28;

/// Which vectors.
#[derive(clap::Args, Debug)]
pub struct SelftestArgs {
    /// The vectors, a JSON file
    #[arg(long, value_name = "FILE")]
    pub vectors: PathBuf,
}

/// How a file of vectors fared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Objects all of whose fields agree.
    pub passed: usize,
    /// The others.
    pub failed: usize,
}

/// In the file's order. A section that stands there twice counts twice, where a JSON map would keep the last.
struct Sections(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Sections {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Sections;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object with an array per section")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Sections, A::Error> {
                let mut all = Vec::new();
                while let Some(section) = map.next_entry()? {
                    all.push(section);
                }
                Ok(Sections(all))
            }
        }
        json.deserialize_map(Each)
    }
}

/// Checks a file; prints each failure, and at the end `N passed, M failed`. `true`: all passed.
///
/// # Errors
/// The file cannot be read or is not JSON.
pub fn run(args: &SelftestArgs, out: &mut dyn Write) -> anyhow::Result<bool> {
    let place = args.vectors.display();
    let file = std::fs::File::open(&args.vectors).with_context(|| format!("{place}: cannot open the vectors"))?;
    let text = std::io::read_to_string(std::io::Read::take(file, MAX_LEN))
        .with_context(|| format!("{place}: cannot read the vectors"))?;
    let summary = check(&text, out).with_context(|| format!("{place}: name a file in the format of pdmv2.json"))?;
    Ok(summary.failed == 0)
}

/// Checks vectors given as text; see [`run`].
///
/// # Errors
/// Not a JSON object, or `out` cannot be written.
pub fn check(json: &str, out: &mut dyn Write) -> anyhow::Result<Summary> {
    let Sections(sections) = serde_json::from_str(json).context("not a JSON object of sections")?;
    let mut summary = Summary::default();
    for (name, section) in &sections {
        let check: fn(&mut Object<'_>) = match name.as_str() {
            "key_file" => sections::key_file,
            "key_schedule_and_seal" => sections::key_schedule_and_seal,
            "delta_time" => sections::delta_time,
            "packets" => sections::packets,
            _ => sections::unknown,
        };
        let Some(objects) = section.as_array() else {
            writeln!(out, "FAILED {name}: not an array of objects")?;
            summary.failed += 1;
            continue;
        };
        for (i, value) in objects.iter().enumerate() {
            let mut object = Object::new(value);
            check(&mut object);
            let failures = object.finish();
            if failures.is_empty() {
                summary.passed += 1;
                continue;
            }
            summary.failed += 1;
            let title = value.get("name").and_then(Value::as_str).map_or_else(String::new, |n| format!(" ({n})"));
            writeln!(out, "FAILED {name}[{i}]{title}")?;
            for failure in failures {
                writeln!(out, "  {failure}")?;
            }
        }
    }
    if summary == Summary::default() {
        writeln!(out, "FAILED: the file holds no vectors")?;
        summary.failed = 1;
    }
    writeln!(out, "{} passed, {} failed", summary.passed, summary.failed)?;
    Ok(summary)
}
