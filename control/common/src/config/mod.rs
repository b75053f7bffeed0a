//! Configurations: TOML files that are read as a whole before anything starts. Every error is found in one run, with its place
//! and a remedy.

pub mod reader;
pub mod report;

use reader::Table;
use report::{At, Errors, Problem, Report};
use std::path::{Path, PathBuf};

/// Octets a configuration may have.
const MAX_LEN: u64 = 1 << 20;

/// How far a configuration is checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checks {
    /// The text, the key file, and what this machine has: what a box needs that is to start.
    Everything,
    /// The text alone: for a configuration of another machine.
    TextOnly,
}

/// What `read` makes of a configuration's text, and warnings. `path` names it in errors; `read` is given its directory.
pub fn parsed<T>(
    text: &str,
    path: &Path,
    read: impl FnOnce(Table<'_>, &Path, &mut Report<'_>) -> Option<T>,
) -> Result<(T, Vec<Problem>), Errors> {
    let place = path.display().to_string();
    let mut report = Report::new(&place, text);
    let document = reader::parse(text, &mut report);
    let dir = path.parent().unwrap_or(Path::new(""));
    let config = document.as_ref().and_then(|document| read(Table::root(document), dir, &mut report));
    report.finish(config)
}

/// The text of a configuration file.
pub fn text_of(path: &Path) -> Result<String, Errors> {
    let place = path.display().to_string();
    let text = std::fs::File::open(path)
        .and_then(|file| std::io::read_to_string(std::io::Read::take(file, MAX_LEN + 1)))
        .map_err(|e| {
            Errors::of_file(&place, format!("cannot read the configuration: {e}"), "correct --config or the file")
        })?;
    if text.len() as u64 > MAX_LEN {
        return Err(Errors::of_file(&place, format!("more than {MAX_LEN} octets"), "name a configuration"));
    }
    Ok(text)
}

/// A path that is not empty, from the configuration's directory on.
pub fn path(table: &mut Table<'_>, key: &'static str, dir: &Path, report: &mut Report<'_>) -> Option<At<PathBuf>> {
    let text = table.text(key, report)?;
    if text.value.is_empty() {
        report.error(text.at, format!("'{}' is empty", table.path(key)), "name a file, or delete the line");
        return None;
    }
    let value = dir.join(text.value);
    report.names(&value, text.at);
    Some(At { value, at: text.at })
}

/// An optional section: `None` when it is of the wrong type, `Some(None)` when it is not there.
pub fn section<'t>(root: &mut Table<'t>, key: &'static str, report: &mut Report<'_>) -> Option<Option<Table<'t>>> {
    if root.value(key).is_none() { Some(None) } else { root.table(key, report).map(Some) }
}
