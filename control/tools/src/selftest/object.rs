//! One object of a file of vectors: its fields are taken one by one, and those nobody took are reported.

use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Fields that say something to people only.
const FOR_PEOPLE: [&str; 4] = ["name", "comment", "note", "description"];

/// See the module.
pub struct Object<'v> {
    fields: Option<&'v Map<String, Value>>,
    prefix: &'static str,
    used: BTreeSet<&'v str>,
    failures: Vec<String>,
}

impl<'v> Object<'v> {
    /// Of a JSON value, which should be an object.
    pub fn new(value: &'v Value) -> Self {
        let fields = value.as_object();
        let failures = if fields.is_none() { vec!["not an object".to_owned()] } else { Vec::new() };
        Self { fields, prefix: "", used: BTreeSet::new(), failures }
    }

    /// All that is wrong with it.
    pub fn finish(mut self) -> Vec<String> {
        for (name, _) in self.fields.into_iter().flatten() {
            if !self.used.contains(name.as_str()) && !FOR_PEOPLE.contains(&name.as_str()) {
                self.failures.push(format!("{}{name}: a field this program does not know", self.prefix));
            }
        }
        self.failures
    }

    /// Something is wrong.
    pub fn fail(&mut self, name: &str, what: &str) {
        let prefix = self.prefix;
        self.failures.push(format!("{prefix}{name}: {what}"));
    }

    /// Whether the field is there.
    pub fn has(&self, name: &str) -> bool {
        self.fields.is_some_and(|f| f.get(name).is_some_and(|v| !v.is_null()))
    }

    fn take(&mut self, name: &str) -> Option<&'v Value> {
        let (key, value) = self.fields?.get_key_value(name)?;
        self.used.insert(key);
        Some(value)
    }

    /// The field is known, and says nothing here.
    pub fn skip<T>(&mut self, name: &str) -> Option<Option<T>> {
        self.take(name);
        Some(None)
    }

    /// Whether two fields hold the same.
    pub fn same(&self, one: &str, other: &str) -> bool {
        self.fields.is_some_and(|f| f.get(one) == f.get(other))
    }

    fn required(&mut self, name: &str) -> Option<&'v Value> {
        let value = self.take(name);
        if value.is_none() && self.fields.is_some() {
            self.fail(name, "missing");
        }
        value
    }

    /// An integer up to `most`.
    pub fn number(&mut self, name: &str, most: u64) -> Option<u64> {
        let value = self.required(name)?;
        let number = value.as_u64().filter(|n| *n <= most);
        if number.is_none() {
            self.fail(name, &format!("{value} is not an integer from 0 to {most}"));
        }
        number
    }

    /// An integer, or what stands for it when it is absent.
    pub fn number_or(&mut self, name: &str, most: u64, default: u64) -> Option<u64> {
        if self.has(name) {
            return self.number(name, most);
        }
        self.take(name); // a null
        Some(default)
    }

    /// A text.
    pub fn text(&mut self, name: &str) -> Option<&'v str> {
        let value = self.required(name)?;
        if value.as_str().is_none() {
            self.fail(name, &format!("{value} is not a text"));
        }
        value.as_str()
    }

    /// Octets in hex. A null counts as none.
    pub fn hex(&mut self, name: &str) -> Option<Vec<u8>> {
        if !self.has(name) && self.take(name).is_some() {
            return Some(Vec::new());
        }
        let octets = hex::decode(self.text(name)?);
        if let Err(error) = &octets {
            self.fail(name, &format!("not hex: {error}"));
        }
        octets.ok()
    }

    /// So many octets in hex.
    pub fn array<const N: usize>(&mut self, name: &str) -> Option<[u8; N]> {
        let octets = self.hex(name)?;
        let array = octets.as_slice().try_into().ok();
        if array.is_none() {
            self.fail(name, &format!("{} octets instead of {N}", octets.len()));
        }
        array
    }

    /// An object within, checked by `each`; what is wrong with it is wrong with this one.
    pub fn object<T>(&mut self, name: &'static str, each: impl FnOnce(&mut Object<'_>) -> Option<T>) -> Option<T> {
        let mut inner = Object::new(self.required(name)?);
        let got = each(&mut inner);
        self.failures.extend(inner.finish().into_iter().map(|f| format!("{name}.{f}")));
        got
    }

    /// The octets that the vector gives for `name` must be these.
    pub fn expect(&mut self, name: &str, actual: &[u8]) {
        if let Some(expected) = self.hex(name) {
            self.compare(name, &expected, actual);
        }
    }

    /// The number that the vector gives for `name` must be this.
    pub fn expect_number(&mut self, name: &str, actual: u64) {
        if let Some(expected) = self.number(name, u64::MAX)
            && expected != actual
        {
            self.fail(name, &format!("expected {expected}, actual {actual}"));
        }
    }

    /// Two strings of octets must be the same.
    pub fn compare(&mut self, what: &str, expected: &[u8], actual: &[u8]) {
        if expected != actual {
            let (expected, actual) = (hex::encode(expected), hex::encode(actual));
            self.fail(what, &format!("\n    expected {expected}\n    actual   {actual}"));
        }
    }
}
