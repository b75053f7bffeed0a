//! Reads TOML tables value by value: each read checks type and range, says where a wrong value stands, and goes on.

use super::report::{At, Report, suggestion};
use protocol::prefix::Prefix;
use std::ops::RangeInclusive;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A table that is being read. [`Table::finish`] finds the keys that nobody asked for.
#[derive(Debug)]
pub struct Table<'t> {
    entries: &'t DeTable<'t>,
    /// Its name in messages, as in `[ports.inside]`; empty for the whole file.
    name: String,
    /// Where it stands.
    pub at: usize,
    known: Vec<&'static str>,
}

/// A value within a table or list.
pub type Value<'t> = &'t Spanned<DeValue<'t>>;

/// Parses the text; syntax errors go to the report, all of them, and then there is no table: what follows from them
/// would only confuse.
pub fn parse<'t>(text: &'t str, report: &mut Report<'t>) -> Option<Spanned<DeTable<'t>>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().map_or(0, |s| s.start);
        report.error(at, format!("not valid TOML: {}", error.message()), "see https://toml.io for the syntax");
    }
    errors.is_empty().then_some(document)
}

impl<'t> Table<'t> {
    /// The whole file.
    #[must_use]
    pub fn root(document: &'t Spanned<DeTable<'t>>) -> Self {
        Self { entries: document.get_ref(), name: String::new(), at: 0, known: Vec::new() }
    }

    fn of(entries: &'t DeTable<'t>, at: usize, name: String) -> Self {
        Self { entries, name, at, known: Vec::new() }
    }

    /// The key as messages name it.
    #[must_use]
    pub fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    /// The value of a key, of whatever type.
    pub fn value(&mut self, key: &'static str) -> Option<Value<'t>> {
        self.known.push(key);
        self.entries.iter().find(|(k, _)| k.get_ref() == key).map(|(_, v)| v)
    }

    /// Whether the key is there; reports an error when it is not.
    pub fn require(&mut self, key: &'static str, example: &str, report: &mut Report<'_>) -> bool {
        let there = self.value(key).is_some();
        if !there {
            report.error(self.at, format!("'{}' is missing", self.path(key)), format!("add {example}"));
        }
        there
    }

    fn wrong_type(&self, key: &str, value: Value<'_>, wanted: &str, report: &mut Report<'_>) {
        wrong_type(&self.path(key), value, wanted, report);
    }

    /// A string.
    pub fn text(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<At<&'t str>> {
        let value = self.value(key)?;
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.wrong_type(key, value, "a string in quotes", report);
        }
        Some(At { value: text?, at: value.span().start })
    }

    /// A whole number within a range.
    pub fn integer(
        &mut self,
        key: &'static str,
        range: RangeInclusive<i64>,
        report: &mut Report<'_>,
    ) -> Option<At<i64>> {
        let value = self.value(key)?;
        let path = self.path(key);
        integer(value, &path, range, report).map(|n| At { value: n, at: value.span().start })
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, key: &'static str, default: bool, report: &mut Report<'_>) -> bool {
        let Some(value) = self.value(key) else { return default };
        value.get_ref().as_bool().unwrap_or_else(|| {
            self.wrong_type(key, value, "true or false", report);
            default
        })
    }

    /// One of some words.
    pub fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&str, T)],
        report: &mut Report<'_>,
    ) -> Option<At<T>> {
        let word = self.text(key, report)?;
        let found = words.iter().find(|(w, _)| *w == word.value);
        if found.is_none() {
            let known: Vec<_> = words.iter().map(|(w, _)| *w).collect();
            let message = format!("'{}' is not a value of '{}'", word.value, self.path(key));
            report.error(word.at, message, suggestion(word.value, &known));
        }
        found.map(|(_, value)| At { value: *value, at: word.at })
    }

    /// A duration such as `"500ms"`, `"60s"`, `"5m"`, `"1h"`, `"7d"`, within a range.
    pub fn duration(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
        report: &mut Report<'_>,
    ) -> Option<At<Duration>> {
        const REMEDY: &str = "write a whole number and a unit: \"500ms\", \"60s\", \"5m\", \"1h\" or \"7d\"";
        let value = self.value(key)?;
        let path = self.path(key);
        let at = value.span().start;
        let Some(text) = value.get_ref().as_str() else {
            report.error(at, format!("'{path}' is not a duration"), REMEDY);
            return None;
        };
        let Some(duration) = parse_duration(text) else {
            report.error(at, format!("'{text}' is not a duration for '{path}'"), REMEDY);
            return None;
        };
        if !range.contains(&duration) {
            let (lowest, highest) = (show_duration(*range.start()), show_duration(*range.end()));
            let remedy = format!("choose from \"{lowest}\" to \"{highest}\"");
            report.error(at, format!("'{path}' cannot be \"{text}\""), remedy);
            return None;
        }
        Some(At { value: duration, at })
    }

    /// A list with something in it.
    pub fn list(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<At<&'t [Spanned<DeValue<'t>>]>> {
        let value = self.value(key)?;
        let at = value.span().start;
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(key, value, "a list in [brackets]", report);
            return None;
        };
        if array.is_empty() {
            let remedy = format!("name at least one, or delete '{}'", self.path(key));
            report.error(at, format!("'{}' is an empty list", self.path(key)), remedy);
            return None;
        }
        Some(At { value: array, at })
    }

    /// A list of strings.
    pub fn texts(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<Vec<At<&'t str>>> {
        let list = self.list(key, report)?;
        let mut texts = Vec::new();
        for value in list.value {
            match value.get_ref().as_str() {
                Some(text) => texts.push(At { value: text, at: value.span().start }),
                None => self.wrong_type(key, value, "a list of strings in quotes", report),
            }
        }
        (texts.len() == list.value.len()).then_some(texts)
    }

    /// A table within this one.
    pub fn table(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<Self> {
        let value = self.value(key)?;
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong_type(key, value, &format!("a table: [{}]", self.path(key)), report);
        }
        Some(Self::of(table?, value.span().start, self.path(key)))
    }

    /// The tables of an array of tables, `[[key]]`; none when the key is absent.
    pub fn tables(&mut self, key: &'static str, report: &mut Report<'_>) -> Vec<Self> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let all = value.get_ref().as_array().and_then(|array| {
            let tables = array.iter().map(|v| Some(Self::of(v.get_ref().as_table()?, v.span().start, key.to_owned())));
            tables.collect::<Option<Vec<_>>>()
        });
        all.unwrap_or_else(|| {
            self.wrong_type(key, value, &format!("an array of tables: [[{key}]]"), report);
            Vec::new()
        })
    }

    /// Reports every key that nobody has asked for.
    pub fn finish(self, report: &mut Report<'_>) {
        for key in self.entries.keys() {
            let name: &str = key.get_ref();
            if !self.known.contains(&name) {
                let message = format!("unknown key '{}'", self.path(name));
                report.error(key.span().start, message, suggestion(name, &self.known));
            }
        }
    }
}

fn wrong_type(path: &str, value: Value<'_>, wanted: &str, report: &mut Report<'_>) {
    // The value itself is not shown: it may be a secret.
    let message = format!("'{path}' has a value of type {}", value.get_ref().type_str());
    report.error(value.span().start, message, format!("write {wanted}"));
}

/// A whole number within a range.
pub fn integer(value: Value<'_>, path: &str, range: RangeInclusive<i64>, report: &mut Report<'_>) -> Option<i64> {
    let Some(integer) = value.get_ref().as_integer() else {
        wrong_type(path, value, "a whole number", report);
        return None;
    };
    let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok().filter(|n| range.contains(n));
    if number.is_none() {
        let message = format!("'{path}' cannot be {}", integer.as_str());
        report.error(value.span().start, message, format!("choose from {} to {}", range.start(), range.end()));
    }
    number
}

/// A list of prefixes and addresses; an address counts as its /128.
pub fn prefixes(table: &mut Table<'_>, key: &'static str, report: &mut Report<'_>) -> Option<Vec<Prefix>> {
    let texts = table.texts(key, report)?;
    let mut prefixes = Vec::new();
    for text in &texts {
        match text.value.parse::<Prefix>() {
            Ok(prefix) => prefixes.push(prefix),
            Err(message) => report.error(text.at, message, "write it like \"2001:db8::/32\" or \"2001:db8::1\""),
        }
    }
    (prefixes.len() == texts.len()).then_some(prefixes)
}

/// `"500ms"`, `"60s"`, `"5m"`, `"1h"`, `"7d"`.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

/// The inverse of [`parse_duration`], in the largest unit that divides.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if ms > 0 && ms.is_multiple_of(size) {
            return format!("{}{unit}", ms / size);
        }
    }
    format!("{ms}ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_there_and_back() {
        for text in ["500ms", "1s", "90s", "5m", "1h", "7d", "0ms"] {
            assert_eq!(show_duration(parse_duration(text).expect(text)), text);
        }
        for text in ["", "5", "s", "-1s", "1.5s", "1 s", "1w", "99999999999999999999d", "18446744073709551615d"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
