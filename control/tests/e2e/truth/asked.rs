//! Every output of a box, as far as it tells of a policy and its flow.

#[path = "../../../box/src/export/tests/parser.rs"]
#[allow(dead_code, reason = "not all of a message is looked at here")]
mod parser;

use super::seen::Range;
use crate::boxes::{PDMV2, SOON};
use crate::hosts;
use parser::{Collector, Fields};
use rig::counters::Counters;
use rig::{Rig, Side, command};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

pub const ENTERPRISE: u32 = 32473;

/// A box's.
pub struct Outputs<'a> {
    pub rig: &'a Rig,
    pub side: Side,
    /// Of its metrics.
    pub port: u16,
}

/// What a running box tells of a policy that has one flow.
pub struct Told {
    /// `/v1/policies`.
    pub policy: Value,
    /// `/v1/histograms`: by figure, the median, and the bucket that it is in.
    pub histograms: HashMap<String, (Option<u64>, Range)>,
    /// `/v1/flows`.
    pub flow: Value,
    /// `pdmv2 flows --json`.
    pub commands_flow: Value,
    /// `/metrics`: by figure, the bucket that the median is in.
    pub prometheus: HashMap<&'static str, Range>,
}

/// What it tells when it ends.
pub struct AtTheEnd {
    /// Its counters.
    pub policy: Value,
    /// JSON lines: the flow's last one.
    pub line: Value,
    /// IPFIX: the flow's last record, in the words of JSON lines.
    pub ipfix: Value,
}

impl Outputs<'_> {
    fn file(&self, what: &str) -> PathBuf {
        self.rig.dir().join(format!("{}.{what}", self.side.node()))
    }

    /// The answer of the admin socket.
    pub fn json(&self, path: &str) -> Value {
        let mut stream = UnixStream::connect(self.file("sock")).expect("the box listens");
        stream.set_read_timeout(Some(SOON)).expect("a time-out");
        write!(stream, "GET {path} HTTP/1.0\r\nHost: box\r\n\r\n").expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(" 200 "), "{path}: {answer}");
        serde_json::from_str(body).expect("JSON")
    }

    /// What `pdmv2` prints, which asks this box.
    pub fn command(&self, arguments: &[&str]) -> String {
        let socket = self.file("sock").display().to_string();
        command::check(&[&[PDMV2], arguments, &["--socket", &socket]].concat(), SOON).expect("pdmv2")
    }

    /// All metrics.
    pub fn metrics(&self) -> String {
        hosts::metrics(self.rig, self.side, self.port)
    }

    /// All of a policy with one flow.
    pub fn of(&self, policy: &str) -> Told {
        let policies = self.json("/v1/policies");
        let of_policy = by_name(&policies["policies"], policy).clone();
        let histograms = self.json(&format!("/v1/histograms?policy={policy}"));
        let histograms = histograms["histograms"].as_array().expect("histograms").iter().map(|histogram| {
            let of = histogram["of"].as_str().expect("a name").to_owned();
            (of, (histogram["quantiles"]["p50_ns"].as_u64(), bucket_of_median(histogram)))
        });
        let one = |flows: Value| {
            assert_eq!(flows["flows"].as_array().map(Vec::len), Some(1), "{policy}: {flows}");
            flows["flows"][0].clone()
        };
        let metrics = self.metrics();
        let series = ["round_trip", "server_delay", "end_to_end"];
        let prometheus = series.map(|of| (of, bucket(&metrics, &format!("pdmv2_policy_{of}_seconds"), policy)));
        let printed = self.command(&["flows", "--json", "--policy", policy]);
        Told {
            policy: of_policy,
            histograms: histograms.collect(),
            flow: one(self.json(&format!("/v1/flows?policy={policy}"))),
            commands_flow: one(serde_json::from_str(&printed).expect("JSON")),
            prometheus: prometheus.into(),
        }
    }

    /// All of it when the box has ended with these counters.
    pub fn at_the_end(&self, policy: &str, counters: &Counters) -> AtTheEnd {
        let last = |records: Vec<Value>| records.into_iter().rfind(|record| record["policy"] == policy);
        AtTheEnd {
            policy: by_name(&counters.0["policies"], policy).clone(),
            line: last(self.lines()).expect("a line"),
            ipfix: last(self.records()).expect("a record"),
        }
    }

    /// All JSON lines.
    pub fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.file("jsonl")).expect("JSON lines");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// All IPFIX records, in the words of JSON lines.
    pub fn records(&self) -> Vec<Value> {
        let octets = std::fs::read(self.file("ipfix")).expect("IPFIX");
        Collector::default().all(&octets).iter().flat_map(|message| message.records.iter().map(in_words)).collect()
    }
}

fn in_words(fields: &Fields) -> Value {
    let octets = |enterprise: u32, id: u16| fields.get(&(enterprise, id)).expect("an element").as_slice();
    let number = |octets: &[u8]| octets.iter().fold(0u64, |n, &octet| n << 8 | u64::from(octet));
    let ours = |id: u16| number(octets(ENTERPRISE, id));
    let times = |id: u16| {
        let [samples, last, smoothed, least, greatest] = std::array::from_fn(|i| ours(id + i as u16));
        json!({"samples": samples, "last_ns": last, "smoothed_ns": smoothed, "least_ns": least, "greatest_ns": greatest})
    };
    json!({
        "policy": String::from_utf8_lossy(octets(ENTERPRISE, 1)),
        "packets": number(octets(0, 2)),
        "received": ours(2), "lost": ours(3), "duplicates": ours(4), "late": ours(5), "failed": ours(6),
        "round_trip": times(16), "server_delay": times(24), "end_to_end": times(32),
    })
}

/// The one of this name.
pub fn by_name<'v>(all: &'v Value, name: &str) -> &'v Value {
    all.as_array().expect("a list").iter().find(|one| one["name"] == name).expect(name)
}

fn bucket_of_median(histogram: &Value) -> Range {
    let buckets = histogram["buckets"].as_array().expect("buckets");
    let number = |bucket: &Value, key: &str| bucket[key].as_u64().expect("a number");
    let count: u64 = buckets.iter().map(|bucket| number(bucket, "count")).sum();
    let mut before = 0;
    let bucket = buckets.iter().find(|bucket| {
        before += number(bucket, "count");
        2 * before >= count
    });
    let bucket = bucket.expect("samples");
    Range { low: number(bucket, "from_ns"), high: number(bucket, "below_ns") }
}

/// Of a histogram in Prometheus' text the bucket in which a policy's median is.
fn bucket(metrics: &str, name: &str, policy: &str) -> Range {
    let of_policy = format!("policy=\"{policy}\"");
    let lines = || metrics.lines().filter(|line| line.contains(&of_policy));
    let value = |line: &str| line.rsplit(' ').next().and_then(|n| n.parse::<f64>().ok()).expect("a number");
    let count = lines().find(|line| line.starts_with(&format!("{name}_count"))).map(value).expect("a count");
    let mut low = 0;
    for line in lines().filter(|line| line.starts_with(&format!("{name}_bucket"))) {
        let (_, bound) = line.split_once("le=\"").expect("a bound");
        let bound: f64 = bound.split('"').next().and_then(|n| n.parse().ok()).expect("a bound");
        let high = (bound * 1e9) as u64;
        if 2.0 * value(line) >= count {
            return Range { low, high };
        }
        low = high;
    }
    panic!("{name} of {policy} has no bucket for half of {count}");
}

/// One number of a policy's in Prometheus' text.
pub fn metric(metrics: &str, name: &str, policy: &str) -> u64 {
    let of_policy = format!("policy=\"{policy}\"");
    let mut lines = metrics.lines().filter(|line| line.starts_with(&format!("{name}{{")) && line.contains(&of_policy));
    let number = lines.next().and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    number.unwrap_or_else(|| panic!("{name} of {policy} is not there")) as u64
}

/// What `decode --flows --json` tells of a capture, by the port at the end of B.
pub fn decoded(capture: &Path, keys: &Path) -> HashMap<u16, Value> {
    let (capture, keys) = (capture.display().to_string(), keys.display().to_string());
    let text =
        command::check(&[PDMV2, "decode", "--flows", "--json", "--keys", &keys, &capture], SOON).expect("decode");
    let flows = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    flows.map(|flow| (flow["server"]["port"].as_u64().expect("a port") as u16, flow)).collect()
}
