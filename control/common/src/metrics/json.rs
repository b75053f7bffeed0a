//! Figures as one JSON object. Each row of the table names its own place.

use super::{Book, Figure, Sample, Value};
use serde_json::{Map, Value as Json, json};

/// A step on the way to a place.
#[derive(Clone, PartialEq, Debug)]
enum Step {
    Field(String),
    Element(usize),
}

/// All figures that have a place in JSON.
#[must_use]
pub fn object<T>(book: &Book<T>, of: &T) -> Json {
    let mut root = Json::Object(Map::new());
    for figure in book.figures.iter().filter(|figure| !figure.json.is_empty()) {
        if let Some(container) = container(figure.json) {
            put(&mut root, &container, None);
        }
        for (i, sample) in figure.samples(of).into_iter().enumerate() {
            let value = (!(figure.sparse && sample.value.is_zero())).then(|| json_of(&sample.value));
            put(&mut root, &place(figure, &sample, i), value);
        }
    }
    root
}

/// The way to a sample, which is number `i` of its figure.
fn place<T>(figure: &Figure<T>, sample: &Sample, i: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    for part in figure.json.split('.') {
        let label = part.strip_prefix('{').and_then(|p| p.strip_suffix('}'));
        let at = label.and_then(|label| figure.labels.iter().position(|name| *name == label));
        if let Some(value) = at.and_then(|at| sample.labels.get(at)) {
            steps.push(Step::Field(value.clone()));
        } else if let Some(array) = part.strip_suffix("[]") {
            steps.extend([Step::Field(array.to_owned()), Step::Element(i)]);
        } else {
            steps.push(Step::Field(part.to_owned()));
        }
    }
    steps
}

/// What is there even without a sample: the object or the array that samples stand in, as far as no label says where it is.
fn container(place: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    for part in place.split('.') {
        if let Some(array) = part.strip_suffix("[]") {
            steps.extend([Step::Field(array.to_owned()), Step::Element(0)]);
            return Some(steps);
        }
        steps.push(Step::Field(part.to_owned()));
        if part.starts_with('{') {
            return Some(steps);
        }
    }
    None
}

/// Puts a value there; `None`: only what it would stand in.
fn put(at: &mut Json, way: &[Step], value: Option<Json>) {
    let Some((step, rest)) = way.split_first() else {
        *at = value.unwrap_or_default();
        return;
    };
    if at.is_null() {
        *at = match step {
            Step::Field(_) => json!({}),
            Step::Element(_) => json!([]),
        };
    }
    if rest.is_empty() && value.is_none() {
        return;
    }
    match (step, at) {
        (Step::Field(name), Json::Object(fields)) => {
            put(fields.entry(name.clone()).or_insert(Json::Null), rest, value);
        }
        (Step::Element(i), Json::Array(elements)) => {
            elements.resize(elements.len().max(i + 1), Json::Null);
            if let Some(element) = elements.get_mut(*i) {
                put(element, rest, value);
            }
        }
        // Two rows of the table contradict each other; the tests of the tables find such.
        _ => {}
    }
}

fn json_of(value: &Value) -> Json {
    match value {
        Value::Count(n) => (*n).into(),
        Value::Amount(amount) => (*amount).into(),
        Value::Flag(is) => (*is).into(),
        Value::Word(word) => word.as_str().into(),
        Value::State(state) => (*state).into(),
        Value::Nothing => Json::Null,
        Value::Times(t) => json!({
            "count": t.count, "mean_ns": t.mean_ns(), "p50_ns": t.p50_ns, "p90_ns": t.p90_ns, "p99_ns": t.p99_ns
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::example::{BOOK, World};
    use super::*;

    #[test]
    fn every_figure_is_at_its_place() {
        let expected = json!({
            "name": "w", "seen": 3, "key": null, "sides": {"left": 3}, "places": [{"seen": 3}, {"seen": 0}],
            "state": "right",
            "waits": {"count": 3, "mean_ns": 1500, "p50_ns": 1000, "p90_ns": 2000, "p99_ns": 3500},
        });
        assert_eq!(object(&BOOK, &World { seen: 3, key: None }), expected);
    }

    #[test]
    fn objects_are_there_when_nothing_has_occurred() {
        let object = object(&BOOK, &World { seen: 0, key: Some(1) });
        assert_eq!((&object["sides"], &object["key"]), (&json!({}), &json!(1)));
        assert_eq!(container("policies[].added").map(|steps| steps.len()), Some(2));
        assert_eq!(container("registration.registered"), None);
    }
}
