//! One object of a file of vectors: its fields as they are read and compared, and what is wrong with them.

use protocol::suite::{Aead, Kdf, Kem, Suite};
use protocol::wire::option::Metrics;
use serde_json::{Map, Value};
use std::fmt;

/// Checks an object. `None`: it could not be checked to its end, and a failure says why.
pub type Check = fn(&mut Object<'_>) -> Option<()>;

/// Fields for people, not checked.
const REMARKS: [&str; 4] = ["comment", "description", "name", "note"];

/// What is wrong with an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The field; empty: the object.
    field: String,
    what: What,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum What {
    /// It cannot be checked.
    Unusable(String),
    /// What the file says, what the implementation makes.
    Differs { expected: String, actual: String },
}

impl Failure {
    /// A field (empty: the object) that cannot be checked.
    pub fn new(field: &str, message: impl Into<String>) -> Self {
        Self { field: field.to_owned(), what: What::Unusable(message.into()) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(f, ".{}", self.field)?;
        }
        match &self.what {
            What::Unusable(message) => write!(f, ": {message}"),
            What::Differs { expected, actual } => write!(f, "\n  expected {expected}\n  actual   {actual}"),
        }
    }
}

/// An object under check.
pub struct Object<'a> {
    map: &'a Map<String, Value>,
    /// Fields that were asked for.
    known: Vec<&'static str>,
    failures: Vec<Failure>,
    compared: bool,
}

impl<'a> Object<'a> {
    /// What is wrong with this object.
    pub fn check(map: &'a Map<String, Value>, check: Option<Check>) -> Vec<Failure> {
        let mut object = Self { map, known: Vec::new(), failures: Vec::new(), compared: false };
        let done = check.and_then(|check| check(&mut object));
        if done.is_some() {
            object.finish("");
        }
        if object.failures.is_empty() && (done.is_none() || !object.compared) {
            object.failures.push(Failure::new("", "was not checked"));
        }
        object.failures
    }

    /// Nothing in it may go unchecked.
    fn finish(&mut self, within: &str) {
        for name in self.map.keys() {
            let remark = name.starts_with('_') || REMARKS.contains(&name.as_str());
            if !remark && !self.known.contains(&name.as_str()) {
                self.fail(&format!("{within}{name}"), "a field that this program does not know");
            }
        }
    }

    /// Notes a failure.
    pub fn fail(&mut self, field: &str, message: impl Into<String>) {
        self.failures.push(Failure::new(field, message));
    }

    /// Takes what was computed; an error is a failure of this field.
    pub fn good<T, E: fmt::Display>(&mut self, field: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.fail(field, error.to_string())).ok()
    }

    /// Whether the field is there and not null.
    pub fn has(&mut self, field: &'static str) -> bool {
        self.known.push(field);
        self.map.get(field).is_some_and(|value| !value.is_null())
    }

    fn value(&mut self, field: &'static str) -> Option<&'a Value> {
        self.known.push(field);
        let value = self.map.get(field);
        if value.is_none() {
            self.fail(field, "is missing");
        }
        value
    }

    /// A whole number that fits.
    pub fn number<T: TryFrom<u64>>(&mut self, field: &'static str) -> Option<T> {
        let value = self.value(field)?;
        let number = value.as_u64().and_then(|n| T::try_from(n).ok());
        if number.is_none() {
            self.fail(field, format!("{value} is not a whole number of {} bits", 8 * size_of::<T>()));
        }
        number
    }

    /// A text.
    pub fn text(&mut self, field: &'static str) -> Option<&'a str> {
        let value = self.value(field)?;
        let text = value.as_str();
        if text.is_none() {
            self.fail(field, format!("{value} is not a text"));
        }
        text
    }

    /// Octets, written in hex.
    pub fn octets(&mut self, field: &'static str) -> Option<Vec<u8>> {
        let text = self.text(field)?;
        self.good(field, hex::decode(text).map_err(|error| format!("'{text}' is not hex: {error}")))
    }

    /// Octets of this number.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Option<[u8; N]> {
        let octets = self.octets(field)?;
        let wrong = |octets: Vec<u8>| format!("{} octets, where {N} are needed", octets.len());
        self.good(field, octets.try_into().map_err(wrong))
    }

    /// The object in a field, read by `read`. What fails in it goes by the names of both.
    pub fn inner<T>(&mut self, field: &'static str, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let value = self.value(field)?;
        let Value::Object(map) = value else {
            self.fail(field, "not an object");
            return None;
        };
        let mut object = Self { map, known: Vec::new(), failures: Vec::new(), compared: false };
        let read = read(&mut object);
        object.finish("");
        self.compared |= object.compared;
        let within = |f: Failure| Failure { field: format!("{field}.{}", f.field), ..f };
        self.failures.extend(object.failures.into_iter().map(within));
        read
    }

    /// The fields `kem`, `kdf` and `aead`.
    pub fn suite(&mut self) -> Option<Suite> {
        let kem = self.identifier("kem", Kem::from_id);
        let kdf = self.identifier("kdf", Kdf::from_id);
        let aead = self.identifier("aead", Aead::from_id);
        Some(Suite { kem: kem?, kdf: kdf?, aead: aead? })
    }

    fn identifier<T>(&mut self, field: &'static str, from_id: fn(u16) -> Option<T>) -> Option<T> {
        let id = self.number(field)?;
        self.good(field, from_id(id).ok_or_else(|| format!("{id:#06x} is none of the profile's")))
    }

    /// The field `metrics`.
    pub fn metrics(&mut self) -> Option<Metrics> {
        self.inner("metrics", |m| {
            Some(Metrics {
                scale_dtlr: m.number("scale_dtlr")?,
                scale_dtls: m.number("scale_dtls")?,
                global_pointer: m.number("global_pointer")?,
                psntp: m.number("psntp")?,
                psnlr: m.number("psnlr")?,
                delta_tlr: m.number("delta_tlr")?,
                delta_tls: m.number("delta_tls")?,
            })
        })
    }

    /// Compares octets.
    pub fn same(&mut self, field: &str, expected: &[u8], actual: &[u8]) {
        self.compared = true;
        if expected != actual {
            self.differs(field, hex::encode(expected), hex::encode(actual));
        }
    }

    /// The field holds these octets.
    pub fn holds(&mut self, field: &'static str, actual: &[u8]) -> Option<()> {
        let expected = self.octets(field)?;
        self.same(field, &expected, actual);
        Some(())
    }

    /// The field holds this number.
    pub fn counts<T: TryFrom<u64> + PartialEq + Into<u64> + Copy>(
        &mut self,
        field: &'static str,
        actual: T,
    ) -> Option<()> {
        let expected: T = self.number(field)?;
        self.compared = true;
        if expected != actual {
            let show = |n: T| format!("{0} ({0:#x})", n.into());
            self.differs(field, show(expected), show(actual));
        }
        Some(())
    }

    /// Notes that the file says one thing and the implementation makes another.
    pub fn differs(&mut self, field: &str, expected: String, actual: String) {
        self.compared = true;
        self.failures.push(Failure { field: field.to_owned(), what: What::Differs { expected, actual } });
    }
}
