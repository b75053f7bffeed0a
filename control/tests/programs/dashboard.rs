//! The dashboard in `configs/grafana`, as far as tests look at it: its panels and what they ask Prometheus.
#![allow(dead_code, reason = "each test takes what it needs")]

use serde_json::Value;
use std::path::{Path, PathBuf};

/// What a panel's description ends with when its queries give data only in trouble: their metrics are left out while
/// they are 0.
pub const EMPTY: &str = "Empty when all is well.";

/// A panel that asks something.
pub struct Panel {
    pub title: String,
    pub description: String,
    /// PromQL, with Grafana's variables.
    pub queries: Vec<String>,
    /// All of it.
    pub json: Value,
}

impl Panel {
    /// Whether it may be empty.
    pub fn may_be_empty(&self) -> bool {
        self.description.ends_with(EMPTY)
    }
}

/// A file of the folder `configs`.
pub fn config(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs").join(name)
}

pub fn json() -> Value {
    let text = std::fs::read_to_string(config("grafana/pdmv2.json")).expect("the dashboard");
    serde_json::from_str(&text).expect("JSON")
}

/// All panels but the headings.
pub fn panels(dashboard: &Value) -> Vec<Panel> {
    let panels = dashboard["panels"].as_array().expect("panels");
    let words = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let queries = |panel: &Value| {
        panel["targets"].as_array().into_iter().flatten().map(|target| words(&target["expr"])).collect()
    };
    let asks = panels.iter().filter(|panel| panel["type"] != "row");
    asks.map(|panel| Panel {
        title: words(&panel["title"]),
        description: words(&panel["description"]),
        queries: queries(panel),
        json: panel.clone(),
    })
    .collect()
}

/// The variables' queries, `label_values(METRIC, LABEL)`, as (metric, label).
pub fn variables(dashboard: &Value) -> Vec<(String, String)> {
    let list = dashboard["templating"]["list"].as_array().expect("variables");
    let asked = list.iter().filter_map(|variable| variable["definition"].as_str());
    asked
        .map(|query| {
            let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
            let (metric, label) = inner.and_then(|inner| inner.split_once(", ")).expect(query);
            (metric.to_owned(), label.to_owned())
        })
        .collect()
}

/// A metric that PromQL names, with what is asked of its labels: (label, operator, value).
pub struct Selector<'a> {
    pub metric: &'a str,
    pub matchers: Vec<(&'a str, &'a str, &'a str)>,
    /// As it stands there.
    pub text: &'a str,
}

/// Every metric whose name begins with `pdmv2_`. No value of a label may hold a comma or a brace.
pub fn selectors(promql: &str) -> Vec<Selector<'_>> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = promql[at..].find("pdmv2_").map(|n| at + n) {
        let end = promql[start..].find(|c| !is_name(c)).map_or(promql.len(), |n| start + n);
        at = end;
        // Within a longer name, of a recorded series for one.
        if promql[..start].ends_with(is_name) {
            continue;
        }
        let mut matchers = Vec::new();
        if let Some(inner) = promql[end..].strip_prefix('{').and_then(|rest| rest.split_once('}')).map(|(i, _)| i) {
            at = end + inner.len() + 2;
            matchers = inner.split(',').filter(|m| !m.is_empty()).map(matcher).collect();
        }
        found.push(Selector { metric: &promql[start..end], matchers, text: &promql[start..at] });
    }
    found
}

fn matcher(text: &str) -> (&str, &str, &str) {
    let operators = ["=~", "!~", "!=", "="];
    let at =
        operators.into_iter().filter_map(|o| text.find(o).map(|at| (at, o))).min_by_key(|&(at, o)| (at, o.len() == 1));
    let (at, operator) = at.expect(text);
    (text[..at].trim(), operator, text[at + operator.len()..].trim().trim_matches('"'))
}
