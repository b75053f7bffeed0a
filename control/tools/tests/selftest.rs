//! `pdmv2 selftest` on the project's vectors, and on vectors that are wrong in one place.

use serde_json::{Value, json};
use tools::selftest::{Summary, check};

fn vectors() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../protocol/tests/vectors/pdmv2.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("vectors")).expect("JSON")
}

fn fares(vectors: &Value) -> (Summary, String) {
    let mut out = Vec::new();
    let summary = check(&vectors.to_string(), &mut out).expect("JSON object");
    (summary, String::from_utf8(out).expect("text"))
}

#[test]
fn all_objects_pass() {
    let (summary, out) = fares(&vectors());
    assert_eq!(out, "101 passed, 0 failed\n");
    assert_eq!(summary, Summary { passed: 101, failed: 0 });
}

/// Every place of a JSON value that is neither an object nor an array.
fn leaves(value: &Value, at: &str, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(k, v)| leaves(v, &format!("{at}/{k}"), into)),
        Value::Array(items) => items.iter().enumerate().for_each(|(i, v)| leaves(v, &format!("{at}/{i}"), into)),
        _ => into.push(at.to_owned()),
    }
}

fn alter(leaf: &mut Value, how: usize) {
    match leaf {
        Value::Number(n) => *leaf = json!(n.as_u64().expect("unsigned") ^ 1),
        Value::String(text) if text.is_empty() => *leaf = json!("00"),
        Value::String(text) => {
            // One digit, at three places of the text.
            let at = [0, text.len() / 2, text.len() - 1][how];
            let digit = text.as_bytes()[at];
            let other = if digit == b'1' { "2" } else { "1" };
            text.replace_range(at..=at, other);
        }
        _ => *leaf = json!(1),
    }
}

#[test]
fn every_field_matters() {
    let vectors = vectors();
    let mut places = Vec::new();
    leaves(&vectors, "", &mut places);
    // Two objects of each section are enough; all of their fields.
    places.retain(|p| p.split('/').nth(2).is_some_and(|i| i == "0" || i == "7" || i == "3"));
    assert!(places.len() > 150, "{}", places.len());
    for place in &places {
        for how in 0..3 {
            let mut parts = place.splitn(4, '/').skip(1);
            let (section, index, inner) =
                (parts.next().expect("section"), parts.next().expect("index"), parts.next().expect("field"));
            let object = vectors.pointer(&format!("/{section}/{index}")).expect("object");
            let mut altered = json!({ section: [object] });
            alter(altered.pointer_mut(&format!("/{section}/0/{inner}")).expect("leaf"), how);
            let (summary, out) = fares(&altered);
            assert_eq!(summary, Summary { passed: 0, failed: 1 }, "{place}: {altered}\n{out}");
            assert!(out.starts_with(&format!("FAILED {section}[0]")) && out.ends_with("0 passed, 1 failed\n"), "{out}");
        }
    }
}

#[test]
fn a_packet_with_esp_takes_the_sealed_option_only() {
    let mut object = vectors()["packets"][0].clone();
    // The vector's UDP becomes ESP: the flow has no ports then, and the sealed option other octets.
    let packet = object["packet"].as_str().expect("hex").to_owned();
    let (mut packet, mut tuple) =
        (hex::decode(packet).expect("hex"), hex::decode(object["five_tuple"].as_str().expect("hex")).expect("hex"));
    packet[6] = 50;
    tuple[16..18].fill(0);
    tuple[34..36].fill(0);
    tuple[36] = 50;
    object["packet"] = hex::encode(&packet).into();
    object["five_tuple"] = hex::encode(&tuple).into();
    let sealed = |out: &str| {
        out.lines()
            .skip_while(|l| !l.contains("packet_sealed:"))
            .find_map(|l| l.trim().strip_prefix("actual   ").map(str::to_owned))
    };
    object["packet_clear"] = Value::Null;
    let (_, out) = fares(&json!({ "packets": [object] }));
    object["packet_sealed"] = sealed(&out).expect("what it would be").into();
    for clear in [Value::Null, hex::encode(&packet).into()] {
        object["packet_clear"] = clear;
        let (summary, out) = fares(&json!({ "packets": [object] }));
        assert_eq!(summary, Summary { passed: 1, failed: 0 }, "{out}");
    }
    object["packet_sealed"] = hex::encode(&packet).into();
    assert_eq!(fares(&json!({ "packets": [object] })).0, Summary { passed: 0, failed: 1 });
}

#[test]
fn what_is_not_understood_fails() {
    for (json, failed) in [
        (json!({}), 1),
        (json!({"packets": []}), 1),
        (json!({"packets": {}}), 1),
        (json!({"packets": [1, null, "x", []]}), 4),
        (json!({"packets": [{}], "key_file": [{}], "delta_time": [{}], "key_schedule_and_seal": [{}]}), 4),
        (json!({"something_new": [{"a": 1}, {"b": 2}]}), 2),
        (json!({"delta_time": [{"nanoseconds": -1, "delta": 0, "scale": 0}]}), 1),
        (json!({"delta_time": [{"nanoseconds": 0, "delta": 0, "scale": 0, "more": 0}]}), 1),
        (
            json!({"key_file": [{"kem": 99, "kdf": 1, "aead": 1, "file_secret": "zz", "salt": "", "generation": 1, "shared_secret": ""}]}),
            1,
        ),
    ] {
        let (summary, out) = fares(&json);
        assert_eq!(summary, Summary { passed: 0, failed }, "{json}\n{out}");
        assert!(out.ends_with(&format!("0 passed, {failed} failed\n")));
    }
    assert!(check("hello", &mut Vec::new()).is_err());
    assert!(check("[]", &mut Vec::new()).is_err());
}

#[test]
fn a_section_that_stands_twice_counts_twice() {
    let mut out = Vec::new();
    let text = r#"{"delta_time": [{"nanoseconds": 1, "delta": 0, "scale": 0}],
                   "delta_time": [{"nanoseconds": 0, "delta": 0, "scale": 0}]}"#;
    assert_eq!(check(text, &mut out).expect("JSON object"), Summary { passed: 1, failed: 1 });
}

#[test]
fn every_digit_of_every_hex_string_matters() {
    for (section, objects) in vectors().as_object().expect("sections") {
        let fields = objects[0].as_object().expect("an object");
        for (name, text) in fields.iter().filter_map(|(n, v)| Some((n, v.as_str()?))) {
            for at in 0..text.len() {
                let mut text = text.to_owned();
                let other = if text.as_bytes()[at] == b'7' { "6" } else { "7" };
                text.replace_range(at..=at, other);
                let mut object = objects[0].clone();
                object[name] = text.into();
                let (summary, out) = fares(&json!({ section: [object] }));
                assert_eq!(summary, Summary { passed: 0, failed: 1 }, "{section} {name}, digit {at}: {out}");
            }
        }
    }
}
