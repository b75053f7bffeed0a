//! `pdmv2 selftest`: the vectors pass, whatever is changed in them fails, and nothing in a file goes unnoticed.

use control::selftest::{Summary, check};
use serde_json::{Value, json};
use std::process::{Command, Output};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../protocol/tests/vectors/pdmv2.json");

fn vectors() -> Value {
    serde_json::from_slice(&std::fs::read(VECTORS).expect("the vectors")).expect("JSON")
}

fn checked(text: &[u8]) -> (Summary, String) {
    let mut out = Vec::new();
    let summary = check(text, &mut out).expect("JSON");
    let out = String::from_utf8(out).expect("UTF-8");
    assert_eq!(out.lines().last(), Some(summary.to_string().as_str()), "the last line is the summary");
    (summary, out)
}

/// What is said of one object in a section of its own.
fn of(section: &str, object: &Value) -> (Summary, String) {
    checked(json!({ section: [object] }).to_string().as_bytes())
}

fn pdmv2(file: &std::path::Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pdmv2")).arg("selftest").arg("--vectors").arg(file).output().expect("pdmv2 runs")
}

#[test]
fn the_specifications_vectors_pass() {
    let count: usize =
        vectors().as_object().expect("sections").values().map(|s| s.as_array().map_or(0, Vec::len)).sum();
    let output = pdmv2(VECTORS.as_ref());
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(text.lines().last(), Some(format!("{count} passed, 0 failed").as_str()), "{text}");
    assert_eq!(output.status.code(), Some(0));
}

/// Every value that differs from this one in one digit: all of a hex string's places, a number's lowest and highest.
fn altered(value: &Value) -> Vec<Value> {
    match value {
        Value::String(text) => (0..text.len())
            .filter(|&at| text.as_bytes()[at] != b':')
            .map(|at| {
                let mut text = text.clone().into_bytes();
                text[at] = if text[at] == b'7' { b'6' } else { b'7' };
                Value::String(String::from_utf8(text).expect("ASCII"))
            })
            .collect(),
        Value::Number(number) => {
            let number = number.as_u64().expect("a whole number");
            let top = number.checked_ilog2().unwrap_or_default() / 4 * 4;
            vec![json!(number ^ 1), json!(number ^ 1 << top)]
        }
        _ => panic!("{value}"),
    }
}

/// Paths to the fields of an object, those of inner objects included.
fn fields(object: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    for (name, value) in object.as_object().expect("an object") {
        match value {
            Value::Object(_) => paths.extend(fields(value).into_iter().map(|path| format!("/{name}{path}"))),
            _ => paths.push(format!("/{name}")),
        }
    }
    paths
}

#[test]
fn every_digit_of_every_field_counts() {
    let vectors = vectors();
    for (section, objects) in vectors.as_object().expect("sections") {
        // The first of each kind, whole packets of each shape and all scopes among them.
        for object in objects.as_array().expect("a list").iter().take(3) {
            assert_eq!(of(section, object).0, Summary { passed: 1, failed: 0 });
            for path in fields(object) {
                let value = object.pointer(&path).expect("a field");
                if value == "" {
                    continue;
                }
                for other in altered(value) {
                    let mut object = object.clone();
                    *object.pointer_mut(&path).expect("a field") = other.clone();
                    let (summary, out) = of(section, &object);
                    assert_eq!(summary, Summary { passed: 0, failed: 1 }, "{section}{path} {value} -> {other}");
                    assert!(out.starts_with(&format!("{section}[0]")), "{out}");
                }
            }
        }
    }
}

#[test]
fn a_field_that_is_missing_or_of_another_type_is_a_failure() {
    let optional = ["flow", "five_tuple", "f", "reserved", "scope_id"];
    let vectors = vectors();
    for (section, objects) in vectors.as_object().expect("sections") {
        let object = &objects[0];
        for name in object.as_object().expect("an object").keys() {
            let mut without = object.clone();
            without.as_object_mut().expect("an object").remove(name);
            let (summary, out) = of(section, &without);
            let restated = section == "key_schedule_and_seal" && optional[..2].contains(&name.as_str());
            if !restated && !["f", "reserved"].contains(&name.as_str()) {
                assert_eq!(summary, Summary { passed: 0, failed: 1 }, "{section} without {name}: {out}");
            }
            for other in
                [json!(null), json!(-1), json!(1.5), json!(1e30), json!("zz"), json!("abc"), json!([]), json!({})]
            {
                let mut object = object.clone();
                object[name] = other.clone();
                let (summary, out) = of(section, &object);
                let absent = other.is_null() && optional.contains(&name.as_str());
                if !absent {
                    assert_eq!(summary, Summary { passed: 0, failed: 1 }, "{section} {name} {other}: {out}");
                }
            }
        }
    }
}

#[test]
fn what_restates_another_field_may_be_left_out() {
    let vectors = vectors();
    for names in [&["flow"][..], &["five_tuple"], &["f", "reserved"]] {
        let mut object = vectors["key_schedule_and_seal"]
            .as_array()
            .and_then(|all| all.iter().find(|o| o["reserved"] == 0))
            .cloned()
            .unwrap_or_else(|| panic!("one with reserved bits of 0"));
        for name in names {
            object.as_object_mut().expect("an object").remove(*name);
        }
        assert_eq!(of("key_schedule_and_seal", &object).0, Summary { passed: 1, failed: 0 }, "without {names:?}");
    }
}

#[test]
fn lengths_of_secrets_keys_and_packets_are_checked() {
    let vectors = vectors();
    for (section, objects) in vectors.as_object().expect("sections") {
        for (name, value) in objects[0].as_object().expect("an object") {
            let Some(text) = value.as_str().filter(|text| text.len() > 8) else { continue };
            for other in [format!("{text}00"), text[2..].to_owned(), text[..text.len() - 2].to_owned(), String::new()] {
                let mut object = objects[0].clone();
                object[name] = json!(other);
                let (summary, out) = of(section, &object);
                assert_eq!(summary, Summary { passed: 0, failed: 1 }, "{section} {name} {other}: {out}");
            }
        }
    }
}

#[test]
fn a_packet_before_esp_has_no_option_in_clear() {
    let mut object = vectors()["packets"][0].clone();
    let mut packet = hex::decode(object["packet"].as_str().expect("text")).expect("hex");
    let next = packet[6];
    assert_eq!(next, 17, "a packet without extension headers");
    packet[6] = 50;
    object["packet"] = json!(hex::encode(&packet));
    object["packet_clear"] = Value::Null;
    let (_, out) = of("packets", &object);
    assert!(!out.contains("packet_clear"), "{out}");
    // The implementation's own answers, taken over, make it a good vector.
    for field in ["five_tuple", "packet_sealed"] {
        let (_, out) = of("packets", &object);
        let start = out.find(&format!("packets[0].{field}\n")).expect("a failure of this field");
        let actual = out[start..].lines().nth(2).expect("three lines").trim().trim_start_matches("actual").trim();
        object[field] = json!(actual);
    }
    assert_eq!(of("packets", &object).0, Summary { passed: 1, failed: 0 });
    object["packet_clear"] = object["packet_sealed"].clone();
    assert_eq!(of("packets", &object).0, Summary { passed: 0, failed: 1 });
}

#[test]
fn nothing_is_skipped() {
    for (text, failed) in [
        ("{}", 1),
        (r#"{"packets": []}"#, 1),
        (r#"{"packets": {}}"#, 1),
        (r#"{"packets": 7}"#, 1),
        (r#"{"packets": [1, null, "x", {}, []]}"#, 5),
        (r#"{"delta_times": [{}, {}]}"#, 2),
        (r#"{"delta_time": [{"nanoseconds": 0, "delta": 0, "scale": 0, "more": 1}]}"#, 1),
        (r#"{"delta_time": [{"delta": 0}], "delta_time": [{"scale": 0}]}"#, 2),
    ] {
        let (summary, out) = checked(text.as_bytes());
        assert_eq!(summary, Summary { passed: 0, failed }, "{text}: {out}");
        assert!(out.lines().count() > 1, "{text}: no message");
    }
    let remarks = r#"{"delta_time": [{"nanoseconds": 0, "delta": 0, "scale": 0, "comment": "nothing"}]}"#;
    assert_eq!(checked(remarks.as_bytes()).0, Summary { passed: 1, failed: 0 });
}

#[test]
fn failures_show_both_values_and_the_exit_code() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("vectors.json");
    let mut vectors = vectors();
    vectors["key_file"][2]["shared_secret"] = json!("00");
    std::fs::write(&file, vectors.to_string()).expect("written");
    let output = pdmv2(&file);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.contains("key_file[2].shared_secret\n  expected 00\n  actual   "), "{text}");
    assert!(text.ends_with("100 passed, 1 failed\n"), "{text}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_file_without_vectors_is_an_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("vectors.json");
    let nested = [b'['; 100_000];
    for octets in
        [&b""[..], b"hello", b"[]", b"7", b"null", b"\"x\"", b"{\"packets\": [", b"{} {}", b"\xFF\xFE", &nested]
    {
        std::fs::write(&file, octets).expect("written");
        let output = pdmv2(&file);
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(text.contains("vectors.json") && !text.contains("panicked"), "{text}");
    }
    let output = pdmv2(&dir.path().join("none.json"));
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("none.json"));
}
