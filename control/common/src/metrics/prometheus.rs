//! Figures in Prometheus' text format.

use super::{Book, Figure, Kind, Sample, Times, Value};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

/// What the text calls itself.
pub use prometheus::TEXT_FORMAT;

/// All figures that Prometheus has a place for. Rows of one name that follow each other are one family, with the help of the
/// first.
///
/// # Errors
/// The encoder refuses; it has no reason to.
pub fn text<T>(book: &Book<T>, of: &T) -> Result<String, prometheus::Error> {
    let mut families: Vec<MetricFamily> = Vec::new();
    for figure in book.figures.iter().filter(|figure| !figure.name.is_empty()) {
        let metrics = metrics(book, figure, of);
        match families.last_mut() {
            Some(last) if last.name() == figure.name => last.mut_metric().extend(metrics),
            // The encoder refuses a family without metrics.
            _ if metrics.is_empty() => {}
            _ => families.push(family(figure, metrics)),
        }
    }
    let mut text = Vec::new();
    TextEncoder::new().encode(&families, &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn family<T>(figure: &Figure<T>, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(figure.name.to_owned());
    family.set_help(figure.help.to_owned());
    family.set_field_type(match figure.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Histogram => MetricType::HISTOGRAM,
        Kind::Gauge | Kind::Info | Kind::Word => MetricType::GAUGE,
    });
    family.set_metric(metrics);
    family
}

fn metrics<T>(book: &Book<T>, figure: &Figure<T>, of: &T) -> Vec<Metric> {
    let samples = figure.shown(of).flat_map(|sample| each_state(book, figure, sample));
    samples.map(|sample| metric(figure, &sample)).collect()
}

/// A state is a sample for each that there is: 1 for the present one.
fn each_state<T>(book: &Book<T>, figure: &Figure<T>, sample: Sample) -> Vec<Sample> {
    let Value::State(present) = sample.value else { return vec![sample] };
    let states = figure.labels.first().and_then(|label| book.label(label)).map(|label| (label.values)());
    states.into_iter().flatten().map(|(state, _)| Sample::new([state], state == present)).collect()
}

fn metric<T>(figure: &Figure<T>, sample: &Sample) -> Metric {
    let pairs = figure.labels.iter().zip(&sample.labels).map(|(&name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.clone());
        pair
    });
    let mut metric = Metric::from_label(pairs.collect());
    match &sample.value {
        Value::Times(times) => metric.set_histogram(histogram(times)),
        value if figure.kind == Kind::Counter => {
            let mut counter = Counter::default();
            counter.set_value(number(value));
            metric.set_counter(counter);
        }
        value => {
            let mut gauge = Gauge::default();
            gauge.set_value(number(value));
            metric.set_gauge(gauge);
        }
    }
    metric
}

fn number(value: &Value) -> f64 {
    match value {
        Value::Count(n) => *n as f64,
        Value::Amount(amount) => *amount,
        Value::Flag(is) => f64::from(u8::from(*is)),
        Value::Word(_) | Value::State(_) | Value::Times(_) | Value::Nothing => 0.0,
    }
}

fn histogram(times: &Times) -> Histogram {
    const NS: f64 = 1e9;
    let buckets = times.within.iter().map(|&(bound, count)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound as f64 / NS);
        bucket.set_cumulative_count(count);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(times.count);
    histogram.set_sample_sum(times.sum_ns as f64 / NS);
    histogram
}

#[cfg(test)]
mod tests {
    use super::super::example::{BOOK, World};
    use super::*;

    #[test]
    fn every_kind_has_its_form() {
        let expected = "\
# HELP a_seen_total Seen.
# TYPE a_seen_total counter
a_seen_total 3
# HELP a_key Key.
# TYPE a_key gauge
a_key 0
# HELP a_side_total Seen, by side | of all.
# TYPE a_side_total counter
a_side_total{side=\"left\"} 3
# HELP a_place_total Seen, by place.
# TYPE a_place_total counter
a_place_total{side=\"left\"} 3
a_place_total{side=\"right\"} 0
# HELP a_state State.
# TYPE a_state gauge
a_state{side=\"left\"} 0
a_state{side=\"right\"} 1
# HELP a_wait_seconds Waits.
# TYPE a_wait_seconds histogram
a_wait_seconds_bucket{le=\"0.000001\"} 0
a_wait_seconds_bucket{le=\"0.000002\"} 3
a_wait_seconds_bucket{le=\"+Inf\"} 3
a_wait_seconds_sum 0.0000045
a_wait_seconds_count 3
# HELP a_turn_total Turns.
# TYPE a_turn_total counter
a_turn_total{side=\"left\"} 3
a_turn_total{side=\"right\"} 1
# HELP a_build_info Build.
# TYPE a_build_info gauge
a_build_info{version=\"1.2\"} 1
";
        assert_eq!(text(&BOOK, &World { seen: 3, key: None }).expect("text"), expected);
    }

    #[test]
    fn what_has_not_occurred_has_no_family() {
        let text = text(&BOOK, &World { seen: 0, key: Some(7) }).expect("text");
        assert!(!text.contains("a_side_total") && text.contains("a_key 7\n"), "{text}");
    }
}
