//! A real Prometheus scrapes two boxes and their registrars under traffic, with the configuration and the rules in
//! `configs/prometheus`: every query of the dashboard has data, every rule is evaluated, and no alert fires until a box dies.

#[path = "../programs/dashboard.rs"]
mod dashboard;

use crate::boxes::{PDMV2, ROOMY, SOON, end_running_quietly, start, turn, wait_for};
use crate::hosts;
use crate::stream::Stream;
use dashboard::{config, panels, selectors};
use rig::forwarders::{BoxConfig, Keys};
use rig::running::Running;
use rig::{Rig, Side};
use rustix::process::Signal;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;

/// Of the boxes' metrics.
const PORT: u16 = 9469;
/// Prometheus' own, on the loopback of box A's place.
const PROMETHEUS: u16 = 9090;
/// What stands in the shipped configuration, and where it is here.
const TARGETS: [(&str, &str); 4] = [
    ("box-a.mgmt.example.net:9469", "198.51.100.1:9469"),
    ("box-b.mgmt.example.net:9469", "198.51.100.2:9469"),
    ("registrar.west.example.net:9470", "198.51.100.1:9470"),
    ("registrar.east.example.net:9470", "198.51.100.2:9470"),
];
/// Grafana's variables, and what it would put there.
const VARIABLES: [(&str, &str); 4] =
    [("$__rate_interval", "10s"), ("$node", ".*"), ("$registrar", ".*"), ("$ago", "5s")];
/// Scrapes, a second apart, before anything is asked: the longest that a query of the dashboard looks back.
const SCRAPES: u32 = 17;
const POLICIES: &str = "[export]\njson = \"file:flows.json\"\n[[policy]]\nname = \"web\"\nprotocol = \"tcp\"\nports = [5001]\nmode = \"encrypted\"\nlifetime = \"1d\"\n\
                        [[policy]]\nname = \"all-else\"\nmode = \"encrypted\"\n\
                        [[pair]]\nname = \"hosts\"\ninside = [\"2001:db8::/32\"]\noutside = [\"2001:db8::/32\"]\n";

/// A Prometheus in the place of box A, which reaches the others over the registrars' link.
struct Prometheus<'a> {
    rig: &'a Rig,
    running: Running,
}

impl<'a> Prometheus<'a> {
    fn start(rig: &'a Rig) -> Self {
        let dir = rig.dir().join("prometheus");
        std::fs::create_dir(&dir).expect("a directory");
        let mut text = std::fs::read_to_string(config("prometheus/prometheus.yml")).expect("configuration");
        for (shipped, here) in TARGETS.into_iter().chain([("_interval: 15s", "_interval: 1s")]) {
            assert!(text.contains(shipped), "{shipped} is no longer in the configuration");
            text = text.replace(shipped, here);
        }
        std::fs::write(dir.join("prometheus.yml"), text).expect("configuration");
        for rules in ["pdmv2.rules.yml", "pdmv2-registrars.rules.yml"] {
            std::fs::copy(config("prometheus").join(rules), dir.join(rules)).expect("rules");
        }
        let file = format!("--config.file={}/prometheus.yml", dir.display());
        let data = format!("--storage.tsdb.path={}/data", dir.display());
        let listen = format!("--web.listen-address=127.0.0.1:{PROMETHEUS}");
        let args = ["prometheus", &file, &data, &listen, "--log.level=warn"];
        let running = rig.place(Side::A).start("prometheus", &args, &dir).expect("prometheus");
        let mut this = Self { rig, running };
        wait_for("Prometheus", || {
            let ended = this.running.poll().expect("a child");
            assert!(ended.is_none(), "Prometheus ended (package prometheus?): {}", this.running.tail());
            this.get("/-/ready").is_some_and(|(status, _)| status == 200)
        });
        this
    }

    /// Status and body of an answer; `None`: nobody answers.
    fn get(&self, path: &str) -> Option<(u16, String)> {
        hosts::http(self.rig, Side::A, PROMETHEUS, path)
    }

    fn json(&self, path: &str) -> Result<Value, String> {
        let (status, body) = self.get(path).ok_or("Prometheus does not answer")?;
        let mut answer: Value = serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))?;
        if status == 200 { Ok(answer["data"].take()) } else { Err(body) }
    }

    /// What PromQL gives at this moment: numbers, without those that are none.
    fn query(&self, promql: &str) -> Result<Vec<f64>, String> {
        let mut escaped = String::new();
        for octet in promql.bytes() {
            let _ = write!(escaped, "%{octet:02x}");
        }
        let data = self.json(&format!("/api/v1/query?query={escaped}"))?;
        let samples = data["result"].as_array().ok_or_else(|| format!("{promql}: no vector: {data}"))?;
        let numbers = samples.iter().filter_map(|sample| sample["value"][1].as_str()?.parse::<f64>().ok());
        Ok(numbers.filter(|number| number.is_finite()).collect())
    }

    /// All rules with what became of them, in the order of the files.
    fn rules(&self) -> Vec<Value> {
        let data = self.json("/api/v1/rules").expect("rules");
        let groups = data["groups"].as_array().expect("groups");
        groups.iter().flat_map(|group| group["rules"].as_array().expect("rules")).cloned().collect()
    }

    /// How an alert stands.
    fn state(&self, alert: &str) -> String {
        let rules = self.rules();
        let rule = rules.iter().find(|rule| rule["name"] == alert).expect(alert);
        rule["state"].as_str().expect("a state").to_owned()
    }
}

/// What has no data, of all these queries, each with what it is from.
fn without_data(prometheus: &Prometheus<'_>, queries: &[(String, String)]) -> Vec<String> {
    let mut empty = Vec::new();
    for (from, promql) in queries {
        match prometheus.query(promql) {
            Ok(numbers) if numbers.is_empty() => empty.push(format!("{from}: {promql}")),
            Ok(_) => {}
            Err(error) => panic!("{from}: {promql}: {error}"),
        }
    }
    empty
}

/// What the dashboard asks: what has to have data, and what only has to be understood.
fn asked_by_the_dashboard() -> [Vec<(String, String)>; 2] {
    let json = dashboard::json();
    let mut asked = [Vec::new(), Vec::new()];
    for panel in panels(&json) {
        let which = usize::from(panel.may_be_empty());
        for query in &panel.queries {
            let promql = VARIABLES.iter().fold(query.clone(), |query, (name, value)| query.replace(name, value));
            asked[which].push((panel.title.clone(), promql));
        }
    }
    for (metric, label) in dashboard::variables(&json) {
        asked[0].push(("variable".into(), format!("count by ({label}) ({metric}{{{label}=~\".+\"}})")));
    }
    asked
}

/// Metrics that are left out while they are 0.
fn is_sparse(metric: &str) -> bool {
    let figures = middlebox::observe::figures::BOOK.figures;
    figures.iter().any(|figure| figure.name == metric && figure.sparse)
}

/// What rules are made of: recorded series, and every metric that they name.
fn asked_by_the_rules(rules: &[Value]) -> Vec<(String, String)> {
    let mut asked = Vec::new();
    for rule in rules {
        let (name, promql) = (rule["name"].as_str().expect("a name"), rule["query"].as_str().expect("a query"));
        if rule["type"] == "recording" {
            asked.push((name.to_owned(), name.to_owned()));
        }
        let named = selectors(promql).into_iter().filter(|selector| !is_sparse(selector.metric));
        asked.extend(named.map(|selector| (name.to_owned(), selector.text.to_owned())));
    }
    asked
}

/// Whether an alert has nothing to say of this rig, but for two. The driver of a tap says that the link is down, once the tap
/// is in another namespace than the box. How busy a worker is depends on what else this machine does.
fn is_quiet(rule: &Value) -> bool {
    let of_the_rig = |alert: &Value| match rule["name"].as_str() {
        Some("Pdmv2LinkDown") => alert["labels"]["port"] == "inside",
        name => name == Some("Pdmv2WorkerFullLoad"),
    };
    rule["alerts"].as_array().expect("alerts").iter().all(of_the_rig)
}

#[test]
fn e2e_prometheus_has_data_for_dashboard_and_alerts() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new(ROOMY).expect("rig");
    let mut registrars = rig.registrars(Path::new(PDMV2)).expect("registrars");
    registrars.start_both().expect("registrars");
    let policies = POLICIES.to_owned();
    let config = BoxConfig { keys: Keys::Registrar, telemetry: Some(PORT), policies, ..BoxConfig::default() };
    let boxes = Side::BOTH.map(|side| start(&rig, side, &config));
    registrars.settle(&boxes.each_ref(), 0, SOON).expect("keys");
    rig.connect(SOON).expect("hosts that reach each other");
    let mut prometheus = Prometheus::start(&rig);

    let stream = Stream::start(&rig, 5001);
    let scraped = format!("sum(min_over_time(up[{SCRAPES}s])) == 4 and min(count_over_time(up[1m])) >= {SCRAPES}");
    wait_for("some seconds of scrapes", || {
        hosts::exchange_udp(&rig, 5002, (0..20).map(|i| i * 50));
        !prometheus.query(&scraped).expect("an answer").is_empty()
    });
    stream.goes_on("while Prometheus scrapes");

    let [full, may_be_empty] = asked_by_the_dashboard();
    assert!(full.len() > 90 && may_be_empty.len() < 6, "{} and {}", full.len(), may_be_empty.len());
    assert_eq!(without_data(&prometheus, &full), Vec::<String>::new(), "the dashboard's");
    without_data(&prometheus, &may_be_empty);

    let rules = prometheus.rules();
    assert!(rules.len() > 40, "{}", rules.len());
    for rule in &rules {
        assert_eq!((&rule["health"], rule["lastError"].as_str().unwrap_or_default()), (&"ok".into(), ""), "{rule}");
        assert!(rule["type"] == "recording" || is_quiet(rule), "all is well, but: {rule}");
    }
    assert_eq!(without_data(&prometheus, &asked_by_the_rules(&rules)), Vec::<String>::new(), "the rules'");
    assert!(stream.end() > 0);

    // No box has minded; and when they are gone it is noticed.
    end_running_quietly(&rig, boxes);
    wait_for("an alert", || prometheus.state("Pdmv2BoxDown") != "inactive");
    drop(registrars);
    wait_for("another one", || prometheus.state("Pdmv2RegistrarDown") != "inactive");
    let status = prometheus.running.stop(Signal::TERM, SOON).expect("an end");
    assert!(status.success(), "{}", prometheus.running.tail());
}
