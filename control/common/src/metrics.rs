//! Metrics in the shape that Prometheus wants.

use prometheus::proto::{Counter, Gauge, LabelPair, Metric};

fn labels(pairs: &[(&str, &str)]) -> Vec<LabelPair> {
    let pair = |&(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    };
    pairs.iter().map(pair).collect()
}

/// A counter with these labels.
#[must_use]
pub fn counter(pairs: &[(&str, &str)], value: u64) -> Metric {
    let (mut metric, mut counter) = (Metric::from_label(labels(pairs)), Counter::default());
    counter.set_value(value as f64);
    metric.set_counter(counter);
    metric
}

/// A gauge with these labels.
#[must_use]
pub fn gauge(pairs: &[(&str, &str)], value: f64) -> Metric {
    let (mut metric, mut gauge) = (Metric::from_label(labels(pairs)), Gauge::default());
    gauge.set_value(value);
    metric.set_gauge(gauge);
    metric
}
