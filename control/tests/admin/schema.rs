//! Holds JSON against the schemas of `docs/openapi.json`: that part of JSON Schema which the document uses. What it does not know
//! ends the test, so that nothing is believed to be held that is not.

use serde_json::Value;

/// The document.
pub fn document() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("docs/openapi.json")).expect("JSON")
}

/// The schema of the answer to this path that has this status.
pub fn of_answer<'d>(document: &'d Value, path: &str, status: u16) -> &'d Value {
    let (_, method) = document["paths"][path].as_object().and_then(|path| path.iter().next()).expect("a method");
    let answer = &method["responses"][status.to_string()];
    let schema = &answer["content"]["application/json"]["schema"];
    assert!(schema.is_object(), "{path}: no answer of status {status} is described");
    schema
}

/// What is wrong with a value, each with its place.
pub fn wrong(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    hold(document, schema, value, "", &mut found);
    found
}

fn hold(document: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    for (keyword, rule) in schema.as_object().expect("a schema") {
        match keyword.as_str() {
            "description" | "default" => {}
            "$ref" => {
                let place = rule.as_str().and_then(|r| r.strip_prefix('#')).expect("a place in the document");
                let there = document.pointer(place);
                hold(document, there.unwrap_or_else(|| panic_of(&format!("{place} is nowhere"))), value, at, found);
            }
            "anyOf" => {
                let any = rule.as_array().expect("schemas").iter().any(|one| wrong(document, one, value).is_empty());
                if !any {
                    found.push(format!("{at}: {value} is none of {rule}"));
                }
            }
            "type" => {
                let types: Vec<_> = rule.as_array().map_or_else(|| vec![rule], |types| types.iter().collect());
                if !types.iter().any(|t| is_a(value, t.as_str().expect("a type"))) {
                    found.push(format!("{at}: {value} is no {rule}"));
                }
            }
            "enum" if !rule.as_array().expect("values").contains(value) => {
                found.push(format!("{at}: {value} is not among {rule}"));
            }
            "minimum" | "maximum" => {
                let (Some(number), Some(bound)) = (value.as_f64(), rule.as_f64()) else { continue };
                if (keyword == "minimum" && number < bound) || (keyword == "maximum" && number > bound) {
                    found.push(format!("{at}: {value}, {keyword} {bound}"));
                }
            }
            "items" => {
                for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                    hold(document, rule, item, &format!("{at}[{i}]"), found);
                }
            }
            "required" => {
                let Some(fields) = value.as_object() else { continue };
                let names = rule.as_array().expect("names").iter().filter_map(Value::as_str);
                found.extend(
                    names.filter(|name| !fields.contains_key(*name)).map(|name| format!("{at}.{name} is not there")),
                );
            }
            "properties" => {
                for (name, field) in value.as_object().into_iter().flatten() {
                    match rule.get(name) {
                        Some(rule) => hold(document, rule, field, &format!("{at}.{name}"), found),
                        None if schema["additionalProperties"] == false => {
                            found.push(format!("{at}.{name} is not described"));
                        }
                        None => {}
                    }
                }
            }
            "enum" => {}
            "additionalProperties" if rule == false && schema["properties"].is_object() => {}
            _ => panic_of(&format!("{at}: this test does not know {keyword}: {rule}")),
        }
    }
}

#[expect(clippy::panic, reason = "it is a test's")]
fn panic_of(what: &str) -> ! {
    panic!("{what}")
}

fn is_a(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => panic_of(&format!("there is no type {name}")),
    }
}

#[test]
fn what_is_not_as_described_is_found() {
    let document = document();
    let histograms = of_answer(&document, "/v1/histograms", 200);
    let of = |text: &str| wrong(&document, histograms, &serde_json::from_str(text).expect("JSON"));
    let good = r#"{"histograms": [{"policy": null, "of": "round_trip", "sum_ns": 5, "buckets": [{"from_ns": 1, "below_ns": 2, "count": 3}],
        "quantiles": {"count": 3, "mean_ns": 1, "p50_ns": 1, "p90_ns": 1, "p99_ns": 1, "p999_ns": 1}}]}"#;
    assert_eq!(of(good), Vec::<String>::new());
    for (from, to, place) in [
        ("\"sum_ns\": 5", "\"sum_ns\": -5", ".histograms[0].sum_ns"),
        ("\"sum_ns\": 5", "\"sum_ns\": 0.5", ".histograms[0].sum_ns"),
        ("\"count\": 3}]", "\"cuont\": 3}]", ".histograms[0].buckets[0].cuont"),
        ("\"round_trip\"", "\"round\"", ".histograms[0].of"),
        ("\"p50_ns\": 1, ", "", ".histograms[0].quantiles.p50_ns"),
        ("null", "3", ".histograms[0].policy"),
    ] {
        let found = of(&good.replace(from, to));
        assert!(found.iter().any(|wrong| wrong.starts_with(place)), "{place}: {found:?}");
    }
}
