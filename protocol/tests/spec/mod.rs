//! The objects of the specification's vectors, and their fields.

use serde_json::Value;

/// All objects of a section.
pub fn objects(section: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("../vectors/pdmv2.json")).expect("JSON");
    let list = all[section].as_array().expect("a list").clone();
    assert!(!list.is_empty());
    list
}

/// A field that is a number.
pub fn number<T: TryFrom<u64>>(object: &Value, name: &str) -> T {
    object[name].as_u64().and_then(|n| T::try_from(n).ok()).expect(name)
}

/// A field that is octets in hex.
pub fn octets(object: &Value, name: &str) -> Vec<u8> {
    hex::decode(object[name].as_str().expect(name)).expect(name)
}
