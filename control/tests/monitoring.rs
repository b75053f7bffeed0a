//! What is given to Prometheus and Grafana, without a box: Prometheus' own tool finds nothing, each alert fires and does not
//! fire in its tests, all metrics and labels that are named are there, and the documentation has a place for each alert.
//! `e2e/monitoring.rs` shows that a real Prometheus has data for all of it.

#[path = "programs/dashboard.rs"]
mod dashboard;
mod programs;

use common::metrics::{Book, Label};
use dashboard::{config, panels, selectors};
use middlebox::observe::figures;
use programs::prometheus_tool;
use registrar::metrics as registrar_figures;
use std::collections::{BTreeMap, BTreeSet};

const RULES: [&str; 2] = ["pdmv2.rules", "pdmv2-registrars.rules"];
/// Panels that may be empty: each one more is one that nobody sees working.
const MAY_BE_EMPTY: [&str; 4] = [
    "Alerts that fire",
    "Dropped, by reason",
    "ICMPv6 errors about packets with an option",
    "Option taken out unverified, by reason",
];

fn read(name: &str) -> String {
    std::fs::read_to_string(config(name)).expect(name)
}

/// What stands behind `key` in the lines that begin with it.
fn each<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| line.trim_start().trim_start_matches("- ").strip_prefix(key)).map(str::trim)
}

fn alerts() -> Vec<String> {
    let texts = RULES.map(|name| read(&format!("prometheus/{name}.yml")));
    texts.iter().flat_map(|text| each(text, "alert:").map(str::to_owned)).collect()
}

#[test]
fn promtool_takes_configuration_and_rules() {
    let dir = config("prometheus");
    prometheus_tool("promtool", &dir, &["check", "config", "prometheus.yml"]);
    for name in RULES {
        let file = format!("{name}.yml");
        prometheus_tool("promtool", &dir, &["check", "rules", "--lint=all", "--lint-fatal", &file]);
    }
}

#[test]
fn alerts_fire_and_do_not_fire_as_their_tests_say() {
    for name in RULES {
        prometheus_tool("promtool", &config("prometheus"), &["test", "rules", &format!("{name}.test.yml")]);
    }
}

/// For each alert there is a time at which it fires, and one at which it does not.
#[test]
fn each_alert_has_its_test() {
    let mut tested: BTreeMap<String, [bool; 2]> = BTreeMap::new();
    for name in RULES {
        let text = read(&format!("prometheus/{name}.test.yml"));
        let mut alert = String::new();
        for line in text.lines().map(|line| line.trim_start().trim_start_matches("- ")) {
            if let Some(name) = line.strip_prefix("alertname:") {
                name.trim().clone_into(&mut alert);
            } else if let Some(expected) = line.strip_prefix("exp_alerts:") {
                tested.entry(alert.clone()).or_default()[usize::from(expected.trim().is_empty())] = true;
            }
        }
    }
    let alerts = alerts();
    assert!(alerts.len() > 30, "{alerts:?}");
    assert_eq!(alerts.iter().collect::<BTreeSet<_>>().len(), alerts.len(), "two of one name: {alerts:?}");
    for alert in &alerts {
        assert_eq!(tested.get(alert), Some(&[true; 2]), "{alert}: [does not fire, fires] in its tests");
    }
    assert_eq!(tested.len(), alerts.len(), "tests of alerts that there are not: {tested:?}");
}

#[test]
fn each_alert_is_in_the_documentation() {
    let text = read("../docs/monitoring.md");
    let named: BTreeSet<_> =
        text.lines().filter_map(|line| line.strip_prefix("| `Pdmv2")?.split_once('`')).map(|(name, _)| name).collect();
    let alerts = alerts();
    let there: BTreeSet<_> = alerts.iter().filter_map(|alert| alert.strip_prefix("Pdmv2")).collect();
    assert_eq!(named, there, "docs/monitoring.md has another list of alerts than configs/prometheus");
}

/// Metrics with their labels; values where they are a closed list.
struct Known(BTreeMap<String, BTreeMap<&'static str, Vec<&'static str>>>);

impl Known {
    fn new() -> Self {
        let mut this = Self(BTreeMap::new());
        this.add(&figures::BOOK);
        this.add(&registrar_figures::BOOK);
        this
    }

    fn add<T>(&mut self, book: &Book<T>) {
        let values = |name: &str| {
            let label: Option<&Label> = book.labels.iter().find(|label| label.name == name);
            label.map(|label| (label.values)().into_iter().map(|(value, _)| value).collect()).unwrap_or_default()
        };
        for figure in book.figures.iter().filter(|figure| !figure.name.is_empty()) {
            let labels = figure.labels.iter().map(|&label| (label, values(label)));
            let names = match figure.kind {
                common::metrics::Kind::Histogram => vec!["_bucket", "_sum", "_count"],
                _ => vec![""],
            };
            for end in names {
                self.0.entry(format!("{}{end}", figure.name)).or_default().extend(labels.clone());
            }
        }
    }

    /// What is wrong with an expression.
    fn wrong_with(&self, promql: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        for selector in selectors(promql) {
            let Some(labels) = self.0.get(selector.metric) else {
                wrong.push(format!("there is no metric {}", selector.metric));
                continue;
            };
            for (label, operator, value) in selector.matchers {
                if ["job", "instance", "node", "side"].contains(&label) && !labels.contains_key(label) {
                    continue;
                }
                let Some(values) = labels.get(label) else {
                    wrong.push(format!("{} has no label {label}", selector.metric));
                    continue;
                };
                let asked = if operator.contains('~') { value.split('|').collect() } else { vec![value] };
                let strange = asked.iter().find(|value| !values.is_empty() && !values.contains(value));
                wrong.extend(strange.map(|value| format!("{} has no {label}=\"{value}\"", selector.metric)));
            }
        }
        wrong
    }
}

#[test]
fn metrics_and_labels_that_are_named_are_there() {
    let known = Known::new();
    let mut seen = 0;
    for name in RULES {
        for file in [format!("prometheus/{name}.yml"), format!("prometheus/{name}.test.yml")] {
            let text = read(&file);
            // An alert's words may end in a metric's name and a full stop.
            for line in text.lines().filter(|line| !line.contains("rules")) {
                assert_eq!(known.wrong_with(line), Vec::<String>::new(), "{file}: {line}");
                seen += selectors(line).len();
            }
        }
    }
    assert!(seen > 150, "{seen}: are they still found?");
    let json = dashboard::json();
    for panel in panels(&json) {
        for query in &panel.queries {
            assert_eq!(known.wrong_with(query), Vec::<String>::new(), "{}: {query}", panel.title);
            seen += selectors(query).len();
        }
    }
    assert!(seen > 250, "{seen}: are they still found?");
    assert_eq!(known.wrong_with("rate(pdmv2_flow[5m])"), ["there is no metric pdmv2_flow"]);
    assert_eq!(known.wrong_with("pdmv2_flows{port=\"inside\"}"), ["pdmv2_flows has no label port"]);
    let wrong = known.wrong_with("pdmv2_packets_dropped_total{reason=~\"tx_full|ful\"}");
    assert_eq!(wrong, ["pdmv2_packets_dropped_total has no reason=\"ful\""]);
}

/// Every figure of a box and of a registrar is on the dashboard.
#[test]
fn the_dashboard_shows_every_metric() {
    let json = dashboard::json();
    let panels = panels(&json);
    let shown: BTreeSet<_> = panels
        .iter()
        .flat_map(|panel| &panel.queries)
        .flat_map(|q| selectors(q))
        .map(|s| s.metric.to_owned())
        .collect();
    // Those beside what is shown in their place.
    // And what whoever has a box upgraded is told then.
    let of_upgrades = ["pdmv2_take_over_gap_seconds", "pdmv2_take_overs_failed_total"];
    let left_out = [&["pdmv2_workers", "pdmv2_flow_table_bytes"][..], &of_upgrades].concat();
    let known = Known::new();
    let of_a_histogram = |name: &str| ["_bucket", "_sum", "_count"].iter().any(|end| name.ends_with(end));
    let missing: Vec<_> = known
        .0
        .keys()
        .filter(|name| !shown.contains(*name) && !left_out.contains(&name.as_str()))
        .filter(|name| !of_a_histogram(name) || name.ends_with("_bucket"))
        .collect();
    assert!(missing.is_empty(), "configs/grafana/pdmv2.json does not show {missing:?}");
}

#[test]
fn the_dashboard_is_sound() {
    let json = dashboard::json();
    let all = json["panels"].as_array().expect("panels");
    let ids: BTreeSet<_> = all.iter().map(|panel| panel["id"].as_u64().expect("a number")).collect();
    assert_eq!(ids.len(), all.len(), "two panels of one number");
    let mut taken = BTreeSet::new();
    for panel in all {
        let at = |key: &str| panel["gridPos"][key].as_u64().expect("a place");
        assert!(at("x") + at("w") <= 24, "{} is too far right", panel["title"]);
        for cell in (at("y")..at("y") + at("h")).flat_map(|y| (at("x")..at("x") + at("w")).map(move |x| (x, y))) {
            assert!(taken.insert(cell), "{} lies on another panel", panel["title"]);
        }
    }
    let variables: Vec<_> = json["templating"]["list"].as_array().expect("variables").iter().collect();
    let names: Vec<_> = variables.iter().filter_map(|variable| variable["name"].as_str()).collect();
    assert_eq!(names[..2], ["datasource", "node"]);
    let mut empty = Vec::new();
    for panel in panels(&json) {
        let title = &panel.title;
        assert!(panel.description.len() > 30 && panel.description.ends_with('.'), "{title} is not described");
        assert_eq!(panel.json["datasource"]["uid"], "${datasource}", "{title}");
        assert!(!panel.queries.is_empty(), "{title} asks nothing");
        assert!(panel.json["fieldConfig"]["defaults"]["unit"].is_string(), "{title} has no unit");
        for query in &panel.queries {
            let asked: BTreeSet<_> = query.split('$').skip(1).map(name_of_variable).collect();
            let there = |name: &&str| names.contains(name) || *name == "__rate_interval";
            assert!(asked.iter().all(there), "{title}: {query}");
        }
        if panel.may_be_empty() {
            empty.push(title.clone());
        }
    }
    empty.sort();
    assert_eq!(empty, MAY_BE_EMPTY, "panels that may be empty");
}

fn name_of_variable(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// What may be empty asks only for what is left out while it is 0.
#[test]
fn only_what_is_left_out_while_it_is_0_may_be_empty() {
    let sparse: Vec<_> =
        figures::BOOK.figures.iter().filter(|figure| figure.sparse).map(|figure| figure.name).collect();
    let json = dashboard::json();
    for panel in panels(&json).into_iter().filter(dashboard::Panel::may_be_empty) {
        for query in &panel.queries {
            let asked = selectors(query);
            let alone = query.starts_with("ALERTS{") || asked.iter().all(|s| sparse.contains(&s.metric));
            assert!(alone, "{}: {query} has data when all is well, too", panel.title);
        }
    }
}
