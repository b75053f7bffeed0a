//! `/metrics` for Prometheus and `/healthz`, on a thread of its own. Names and meanings: `docs/counters.md`. How connections
//! are bounded: `http.rs`.

use crate::observe::counts::{ByForm, ByReason, Counts, Delay, LINK_STATES, PortCounts};
use anyhow::Context;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use common::metrics::{counter, gauge};
use pipeline::observe::histogram::Histogram;
use prometheus::proto::{Bucket, Histogram as ProtoHistogram, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// Gives the present counts, or what is wrong with the box.
pub type Source = Arc<dyn Fn() -> Counts + Send + Sync>;

/// The server; ends when dropped.
pub struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The address, listened on; nobody is answered yet.
pub struct Listener {
    runtime: tokio::runtime::Runtime,
    listener: tokio::net::TcpListener,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Listener {
    /// Listens.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub fn bind(listen: SocketAddr) -> anyhow::Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start telemetry")?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind(listen)).with_context(|| {
            format!("[telemetry] listen: cannot listen on {listen}; choose a free port, or an address of this machine")
        })?;
        let address = listener.local_addr().context("cannot start telemetry")?;
        Ok(Self { runtime, listener, address })
    }

    /// Answers, on a thread of its own.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn serve(self, source: Source) -> anyhow::Result<Server> {
        let (stop, stopped) = oneshot::channel();
        let app = Router::new()
            .route("/metrics", get(move || async move { metrics(&source()) }))
            .route("/healthz", get(|| async { "ok\n" }));
        let Self { runtime, listener, .. } = self;
        let thread = std::thread::Builder::new().name("telemetry".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    never = registration::serving::http::serve(listener, app) => match never {},
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Server { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(()); // it has ended already
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn metrics(counts: &Counts) -> impl IntoResponse + use<> {
    match text(counts) {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], error.to_string()),
    }
}

/// The counts in Prometheus' text format.
///
/// # Errors
/// The encoder refuses; it has no reason to.
pub fn text(counts: &Counts) -> Result<String, prometheus::Error> {
    let mut text = Vec::new();
    TextEncoder::new().encode(&families(counts), &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// One bucket per two doublings is enough for a graph: 1 us to 17 s.
fn histogram(delay: &Delay) -> Metric {
    const NS: f64 = 1e9;
    let mut buckets = Vec::new();
    for exponent in (10..=34).step_by(2) {
        let bound = 1u64 << exponent;
        let within = delay.buckets.iter().enumerate().take_while(|&(i, _)| Histogram::lower_bound(i + 1) <= bound);
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound as f64 / NS);
        bucket.set_cumulative_count(within.map(|(_, n)| n).sum());
        buckets.push(bucket);
    }
    let (mut metric, mut histogram) = (Metric::from_label(Vec::new()), ProtoHistogram::default());
    histogram.set_sample_count(delay.count);
    histogram.set_sample_sum(delay.sum_ns as f64 / NS);
    histogram.set_bucket(buckets);
    metric.set_histogram(histogram);
    metric
}

struct Families(Vec<MetricFamily>);

impl Families {
    fn add(&mut self, name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) {
        if metrics.is_empty() {
            return; // the encoder refuses a family without metrics
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.0.push(family);
    }

    fn counters(&mut self, name: &str, help: &str, metrics: Vec<Metric>) {
        self.add(name, help, MetricType::COUNTER, metrics);
    }

    fn gauges(&mut self, name: &str, help: &str, metrics: Vec<Metric>) {
        self.add(name, help, MetricType::GAUGE, metrics);
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.add(name, help, MetricType::GAUGE, vec![gauge(&[], value)]);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.counters(name, help, vec![counter(&[], value)]);
    }
}

fn families(c: &Counts) -> Vec<MetricFamily> {
    let mut f = Families(Vec::new());
    let directions = [("outbound", &c.outbound), ("inbound", &c.inbound)];
    f.gauge("pdmv2_up_seconds", "Time since the box started.", c.uptime_seconds);
    f.gauge(
        "pdmv2_sealing",
        "1 when the box has a key to seal with, 0 when packets pass without the option.",
        f64::from(u8::from(c.generation.is_some())),
    );
    f.gauge("pdmv2_generation", "Generation the box seals under, 0 for none.", f64::from(c.generation.unwrap_or(0)));
    if let Some(registration) = &c.registration {
        let registered = f64::from(u8::from(registration.registered));
        f.gauge("pdmv2_registration_state", "1 when a registrar has the box, 0 when none can be reached.", registered);
        f.gauge(
            "pdmv2_registration_out_of_touch",
            "1 when no registrar has had the box for so long that others may use keys that it has not got.",
            f64::from(u8::from(registration.out_of_touch)),
        );
        f.gauge(
            "pdmv2_registration_keys_expire_seconds",
            "Until the box stops sealing, unless it hears from a registrar; 0 when it does not seal.",
            registration.keys_expire_seconds.unwrap_or(0.0),
        );
    }
    f.gauge("pdmv2_workers", "Worker loops.", c.workers as f64);
    let each = |value: fn(&crate::observe::counts::Direction) -> u64| {
        directions.iter().map(|(d, x)| counter(&[("direction", d)], value(x))).collect()
    };
    f.counters("pdmv2_packets_received_total", "Packets received from the ports.", each(|d| d.received));
    f.counters("pdmv2_packets_forwarded_total", "Packets handed to the ports.", each(|d| d.forwarded));
    f.counters("pdmv2_packets_too_big_total", "Packets answered with ICMPv6 Packet Too Big.", each(|d| d.too_big));
    let by_form = |forms: &ByForm| forms.iter().map(|(form, n)| counter(&[("form", form)], n)).collect();
    f.counters("pdmv2_options_added_total", "Options added towards the network.", by_form(&c.outbound.added));
    f.counters("pdmv2_options_removed_total", "Options that verified and were taken out.", by_form(&c.inbound.removed));
    f.counters(
        "pdmv2_options_verified_total",
        "Options that verified and stay in place.",
        by_form(&c.inbound.verified),
    );
    let reasons = |of: fn(&crate::observe::counts::Direction) -> &ByReason| {
        directions
            .iter()
            .flat_map(|(d, x)| of(x).iter().map(|(r, &n)| counter(&[("direction", d), ("reason", r)], n)))
            .collect()
    };
    f.counters("pdmv2_packets_passed_total", "Packets passed as they came, by reason.", reasons(|d| &d.passed));
    f.counters(
        "pdmv2_packets_stripped_total",
        "Packets whose option did not verify and was taken out.",
        reasons(|d| &d.stripped),
    );
    f.counters("pdmv2_packets_dropped_total", "Packets dropped, by reason.", reasons(|d| &d.dropped));
    let policies = |value: fn(&crate::observe::counts::PolicyCounts) -> u64| {
        c.policies.iter().map(|p| counter(&[("policy", &p.name), ("mode", p.mode)], value(p))).collect()
    };
    f.counters("pdmv2_policy_added_total", "Options added, by policy.", policies(|p| p.added));
    f.counters("pdmv2_policy_accepted_total", "Options that verified, by policy.", policies(|p| p.accepted));
    f.counters("pdmv2_policy_failed_total", "Options that did not verify, by policy.", policies(|p| p.failed));
    f.gauge("pdmv2_flows", "Flows in the table.", c.flows.in_table as f64);
    f.gauge("pdmv2_flows_capacity", "Flows the table can hold.", c.flows.capacity as f64);
    f.gauge("pdmv2_flow_tombstones", "Flows remembered after they left.", c.flows.tombstones as f64);
    f.gauge("pdmv2_flow_tombstones_capacity", "Places for them.", c.flows.tombstone_capacity as f64);
    f.gauge("pdmv2_flow_table_bytes", "Memory of the flow table.", c.flows.memory_octets as f64);
    f.counter("pdmv2_flows_inserted_total", "Flows put into the table.", c.flows.inserted);
    f.counter("pdmv2_flows_expired_total", "Flows taken out after their idle time.", c.flows.expired);
    f.counter(
        "pdmv2_unrecorded_packets_total",
        "Genuine packets let through without a record: the table was full.",
        c.flows.unrecorded,
    );
    f.counter(
        "pdmv2_sequence_skipped_total",
        "Sequence numbers skipped when a later one came: lost, or late.",
        c.sequence.skipped,
    );
    f.counter("pdmv2_sequence_reordered_total", "Packets that came behind a later one.", c.sequence.reordered);
    f.counters(
        "pdmv2_key_rotations_total",
        "Kri changes.",
        vec![counter(&[("side", "sealed")], c.rotations.sealed), counter(&[("side", "opened")], c.rotations.opened)],
    );
    f.counter("pdmv2_key_derivations_total", "Session keys derived.", c.keys.derivations);
    f.counter("pdmv2_key_trials_total", "Openings tried beyond a packet's first.", c.keys.trials);
    f.counter("pdmv2_flows_resynced_total", "Flows found again that had gone too far ahead.", c.keys.resynced);
    f.counters(
        "pdmv2_resumptions_total",
        "Resumptions from a snapshot that were noticed, by what gave them away.",
        c.resumptions.iter().map(|(cause, &n)| counter(&[("cause", cause)], n)).collect(),
    );
    f.counter("pdmv2_mss_clamped_total", "TCP SYNs whose MSS was lowered.", c.mss_clamped);
    let findings = c.paths.quotations.iter().map(|(finding, &n)| counter(&[("finding", finding)], n)).collect();
    f.counters("pdmv2_quotations_total", "ICMPv6 errors that quote an option, by what was found.", findings);
    f.counter("pdmv2_path_mtu_learnt_total", "Times that something new was learnt of a path.", c.paths.path_mtu.learnt);
    f.gauge("pdmv2_path_mtu_known", "Destinations of whose path something is known.", c.paths.path_mtu.known as f64);
    f.gauge("pdmv2_path_mtu_capacity", "Places for them.", c.paths.path_mtu.capacity as f64);
    f.counter(
        "pdmv2_copied_packets_total",
        "Packets copied to be changed, since their buffers may not be written to.",
        c.copied,
    );
    let worker = |value: fn(&crate::observe::counts::WorkerCounts) -> u64| {
        c.by_worker.iter().enumerate().map(|(i, w)| counter(&[("worker", &i.to_string())], value(w))).collect()
    };
    f.counters("pdmv2_worker_packets_total", "Packets received, by worker.", worker(|w| w.received));
    f.counters("pdmv2_worker_bursts_total", "Bursts that held packets, by worker.", worker(|w| w.bursts));
    f.counters(
        "pdmv2_worker_empty_polls_total",
        "Polls of both ports that found nothing, by worker.",
        worker(|w| w.empty_polls),
    );
    f.add(
        "pdmv2_round_trip_seconds",
        "Round-trip delay between the boxes, without the far side's delay (RFC 8250 appendix C).",
        MetricType::HISTOGRAM,
        vec![histogram(&c.delays.round_trip)],
    );
    f.add(
        "pdmv2_server_delay_seconds",
        "Delay behind the far box, from its receiving to its sending (RFC 8250 appendix C).",
        MetricType::HISTOGRAM,
        vec![histogram(&c.delays.server_delay)],
    );
    let ports = [("inside", &c.ports.inside), ("outside", &c.ports.outside)];
    let port = |value: fn(&PortCounts) -> u64| ports.iter().map(|(p, x)| counter(&[("port", p)], value(x))).collect();
    f.counters("pdmv2_port_received_packets_total", "Packets received, as the driver counts.", port(|p| p.rx_packets));
    f.counters("pdmv2_port_transmitted_packets_total", "Packets sent, as the driver counts.", port(|p| p.tx_packets));
    f.counters("pdmv2_port_received_bytes_total", "Octets received.", port(|p| p.rx_octets));
    f.counters("pdmv2_port_transmitted_bytes_total", "Octets sent.", port(|p| p.tx_octets));
    f.counters(
        "pdmv2_port_missed_packets_total",
        "Packets the device dropped since its queue was full.",
        port(|p| p.rx_missed),
    );
    f.counters("pdmv2_port_receive_errors_total", "Damaged packets received.", port(|p| p.rx_errors));
    f.counters("pdmv2_port_transmit_errors_total", "Packets that could not be sent.", port(|p| p.tx_errors));
    f.counters(
        "pdmv2_port_no_buffer_total",
        "Times that no buffer was free to receive into.",
        port(|p| p.rx_no_buffer),
    );
    let flag = |value: fn(&PortCounts) -> bool| {
        ports.iter().map(|(p, x)| gauge(&[("port", p)], f64::from(u8::from(value(x))))).collect::<Vec<_>>()
    };
    f.gauges("pdmv2_port_link_up", "Whether the port's link is up.", flag(|p| p.link.link_up));
    f.counters(
        "pdmv2_port_link_changes_total",
        "Times that the port's link went up or down.",
        port(|p| p.link.link_changes),
    );
    f.gauges(
        "pdmv2_port_link_taken_down",
        "Whether the box has taken the port's link down, since the other port has none.",
        flag(|p| p.link.link_taken_down),
    );
    f.gauges(
        "pdmv2_port_device_gone",
        "Whether the port's device is gone, or asked back by the kernel.",
        flag(|p| p.link.device_gone),
    );
    let states = LINK_STATES.map(|s| gauge(&[("state", s)], f64::from(u8::from(s == c.link_follow))));
    f.gauges("pdmv2_link_follow_state", "How the following of links stands: 1 for the present state.", states.into());
    f.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::counts::{PortLink, RegistrationCounts};
    use pipeline::observe::counters::WorkerCounters;

    #[test]
    fn text_has_the_values_and_every_family_its_help() {
        let worker = Arc::new(WorkerCounters::new(0));
        worker.outbound.added[2].add(12);
        worker.round_trip.record(1_500_000);
        let mut counts = Counts::of(&[worker], &pipeline::state::rules::Rules::default());
        assert!(!text(&counts).expect("text").contains("pdmv2_registration"));
        counts.registration =
            Some(RegistrationCounts { registered: true, out_of_touch: false, keys_expire_seconds: Some(60.0) });
        counts.link_follow = "rising";
        counts.ports.outside.link =
            PortLink { link_up: false, link_changes: 3, link_taken_down: true, device_gone: false };
        let text = text(&counts).expect("text");
        assert!(text.contains("pdmv2_registration_state 1\n"), "{text}");
        assert!(text.contains("pdmv2_registration_keys_expire_seconds 60\n"), "{text}");
        assert!(text.contains("pdmv2_options_added_total{form=\"encrypted\"} 12\n"), "{text}");
        assert!(text.contains("pdmv2_sealing 0\n"));
        assert!(text.contains("pdmv2_round_trip_seconds_bucket{le=\"0.001048576\"} 0\n"), "{text}");
        assert!(text.contains("pdmv2_round_trip_seconds_bucket{le=\"0.004194304\"} 1\n"));
        assert!(text.contains("pdmv2_round_trip_seconds_sum 0.0015\n"));
        for line in [
            "pdmv2_link_follow_state{state=\"rising\"} 1\n",
            "pdmv2_link_follow_state{state=\"following\"} 0\n",
            "pdmv2_port_link_changes_total{port=\"outside\"} 3\n",
            "pdmv2_port_link_taken_down{port=\"outside\"} 1\n",
            "pdmv2_port_link_taken_down{port=\"inside\"} 0\n",
            "pdmv2_port_device_gone{port=\"outside\"} 0\n",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        let families = text.lines().filter(|l| l.starts_with("# TYPE")).count();
        assert_eq!(text.lines().filter(|l| l.starts_with("# HELP")).count(), families);
        assert!(families > 20);
    }
}
