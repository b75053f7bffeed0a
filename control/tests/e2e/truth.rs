//! What the boxes tell is what is: servers that answer after a known time, a wire of a known delay, losses, copies and swaps made
//! on purpose, against every output there is. Times of the truth are those of captures on both sides of each box.

mod asked;
mod disturbed;
mod examples;
mod seen;
mod slowing;
mod stamped;
mod talk;

use crate::boxes::{self, MIDDLEBOX, ROOMY, SOON, capture_host, turn};
use asked::{Outputs, Told};
use rig::forwarders::{BoxConfig, Keys};
use rig::running::Running;
use rig::slow_wire::SlowWire;
use rig::{Rig, Side};
use seen::{Findings, Truth};
use std::path::{Path, PathBuf};
use std::time::Duration;
use talk::{Case, Talk};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// With a wire of 1 ms each way.
const NEAR: [Case; 8] = [
    Case { name: "udp-1", port: 6001, tcp: false, takes: ms(1), mode: "encrypted" },
    Case { name: "udp-10", port: 6002, tcp: false, takes: ms(10), mode: "encrypted" },
    Case { name: "udp-100", port: 6003, tcp: false, takes: ms(100), mode: "encrypted" },
    Case { name: "tcp-1", port: 6011, tcp: true, takes: ms(1), mode: "encrypted" },
    Case { name: "tcp-10", port: 6012, tcp: true, takes: ms(10), mode: "encrypted" },
    Case { name: "tcp-100", port: 6013, tcp: true, takes: ms(100), mode: "encrypted" },
    Case { name: "clear-10", port: 6021, tcp: false, takes: ms(10), mode: "clear" },
    Case { name: "pdm-10", port: 6022, tcp: false, takes: ms(10), mode: "pdm" },
];
/// With one of 50 ms each way.
const FAR: [Case; 2] = [
    Case { name: "udp-1-far", port: 6031, tcp: false, takes: ms(1), mode: "encrypted" },
    Case { name: "tcp-1-far", port: 6032, tcp: true, takes: ms(1), mode: "encrypted" },
];
const EACH_WAY: [Duration; 2] = [ms(1), ms(50)];
/// How long clients ask.
const ASK: [Duration; 2] = [ms(9_000), ms(6_000)];
const TELEMETRY: u16 = 9469;

/// Two boxes with every output turned on, and a wire between them that obeys.
struct Site {
    boxes: [Running; 2],
    wire: SlowWire,
    keys: PathBuf,
    rig: Rig,
}

impl Site {
    fn new(policies: &str) -> Self {
        Self::on_ports(policies, false)
    }

    /// `stamped`: with outside ports that say when packets came.
    fn on_ports(policies: &str, stamped: bool) -> Self {
        let rig = Rig::new(ROOMY).expect("rig");
        let wire = rig.slow_wire().expect("a wire");
        let keys = rig.keygen(Path::new(boxes::PDMV2)).expect("key file");
        let boxes = Side::BOTH.map(|side| {
            let at = |what: &str| rig.dir().join(format!("{}.{what}", side.node())).display().to_string();
            let more = format!(
                "[admin]\nsocket = \"{}\"\n[export]\nipfix = \"file:{}\"\njson = \"file:{}\"\nenterprise = {}\n",
                at("sock"),
                at("ipfix"),
                at("jsonl"),
                asked::ENTERPRISE
            );
            let config = BoxConfig {
                core: rig::core(side),
                // On cores that others want too, who has slept gets its turn sooner than who has yielded.
                idle: "sleep",
                keys: Keys::File(keys.clone()),
                stamped,
                telemetry: Some(TELEMETRY),
                policies: format!(
                    "{more}[[policy]]\nname = \"ping\"\nprotocol = \"icmpv6\"\nmode = \"off\"\n{policies}"
                ),
                ..BoxConfig::default()
            };
            let file = rig.configure(side, &config).expect("configuration");
            rig.start_box(side, Path::new(MIDDLEBOX), &file).expect("box")
        });
        rig.connect(SOON).expect("hosts that reach each other");
        Self { boxes, wire, keys, rig }
    }

    fn outputs(&self, side: Side) -> Outputs<'_> {
        Outputs { rig: &self.rig, side, port: TELEMETRY }
    }
}

fn policy(name: &str, protocol: &str, port: u16, mode: &str) -> String {
    format!("[[policy]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\nports = [{port}]\nmode = \"{mode}\"\n")
}

#[test]
fn e2e_delays_are_told_as_they_are_by_every_output() {
    let Some(_turn) = turn() else { return };
    let cases = || NEAR.iter().chain(&FAR);
    let policies: String = cases().map(|case| policy(case.name, case.protocol(), case.port, case.mode)).collect();
    let mut site = Site::new(&policies);
    let captures = Side::BOTH.map(|side| site.wire.capture_at(&site.rig, side).expect("capture"));
    let taps = Side::BOTH.map(|side| capture_host(&site.rig, side));
    let mut talks = Vec::new();
    for ((cases, delay), time) in [&NEAR[..], &FAR[..]].into_iter().zip(EACH_WAY).zip(ASK) {
        site.wire.delay(delay).expect("wire");
        let these: Vec<_> = cases.iter().map(|case| Talk::start(&site.rig, case)).collect();
        std::thread::sleep(time);
        talks.extend(these.into_iter().map(Talk::end)); // connections stay
    }
    // What is under way arrives, delayed acknowledgements too.
    std::thread::sleep(ms(700));
    let told = Side::BOTH.map(|side| cases().map(|case| site.outputs(side).of(case.name)).collect::<Vec<_>>());
    drop(talks);
    let captures = captures.map(boxes::stop);
    let taps = taps.map(boxes::stop);
    let decoded = asked::decoded(&captures[Side::B.index()], &site.keys);
    let Site { rig, wire: _wire, boxes, .. } = site;
    let ended = boxes::end_running_quietly(&rig, boxes);

    let passed = [&taps[0], &captures[0], &captures[1], &taps[1]].map(|path| seen::passed(path));
    let mut findings = Findings::default();
    for (i, case) in cases().enumerate() {
        for side in Side::BOTH {
            let truth = Truth::of(side, passed.each_ref().map(|at| &at[&case.port]));
            let told = &told[side.index()][i];
            for of in ["server_delay", "round_trip"] {
                let seen::Range { low, high } = seen::median(truth.series(of));
                let p50 = &told.policy[of]["p50_ns"];
                eprintln!("{:<10} box {side:?} {of:<12} median {low:>9} to {high:>9} ns, told {p50:>9}", case.name);
            }
            assert!(truth.requests() > 30, "{}: {} requests", case.name, truth.requests());
            hold(&mut findings, case, side, &truth, told);
            let outputs = Outputs { rig: &rig, side, port: TELEMETRY };
            at_the_end(&mut findings, case, told, &outputs.at_the_end(case.name, &ended[side.index()]));
            findings.decoded(case.name, side, &truth, &decoded[&case.port]);
        }
        let [network, server] = ["round_trip", "server_delay"].map(|of| told[0][i].policy[of]["p50_ns"].as_u64());
        let is_network = FAR.iter().any(|far| far.port == case.port);
        if is_network || case.takes >= ms(100) {
            let (more, less) = if is_network { (network, server) } else { (server, network) };
            assert!(more > less.map(|ns| 10 * ns), "{}: network {network:?}, server {server:?}", case.name);
            let verdict = decoded[&case.port]["verdict"].as_str();
            assert_eq!(verdict, Some(if is_network { "network" } else { "server" }), "{}", case.name);
        }
    }
    findings.end();
}

/// What a running box tells against the truth.
fn hold(findings: &mut Findings, case: &Case, side: Side, truth: &Truth, told: &Told) {
    for of in ["server_delay", "round_trip", "end_to_end"] {
        let series = truth.series(of);
        let place = |output: &str| format!("{} box {side:?} {of} {output}", case.name);
        let median = seen::median(series);
        findings.hold("policies", &place("p50"), median, told.policy[of]["p50_ns"].as_u64().into());
        findings.hold("histograms", &place("quantiles"), median, told.histograms[of].0.into());
        findings.hold("histograms", &place("bucket of the median"), median, told.histograms[of].1);
        findings.hold("prometheus", &place("bucket of the median"), median, told.prometheus[of]);
        let times = &told.flow[of];
        let samples = times["samples"].as_u64().unwrap_or(0);
        assert!(samples > 20, "{}: {}", place("samples"), told.flow);
        for key in ["server_delay", "round_trip", "end_to_end", "received", "lost", "duplicates", "late"] {
            assert_eq!(told.flow[key], told.commands_flow[key], "{}: pdmv2 flows", case.name);
        }
        // Bursts of several answers tell some of them only, and TCP's own acknowledgements are trips as well.
        if samples == series.len() as u64 && !case.tcp {
            for (key, truth) in [("last_ns", seen::last(series)), ("smoothed_ns", seen::smoothed(series))] {
                findings.hold("flows", &place(key), truth, times[key].as_u64().into());
            }
        }
        // TCP's own trips have not been looked for among the packets, nor the time from the connection to the first request.
        if of == "server_delay" && side == Side::A || !case.tcp {
            for key in ["last_ns", "smoothed_ns", "least_ns", "greatest_ns"] {
                findings.hold(
                    "flows",
                    &place(&format!("{key} between least and most")),
                    seen::all(series),
                    times[key].as_u64().into(),
                );
            }
        }
    }
}

/// What is told when the box has ended is what it told before.
fn at_the_end(findings: &mut Findings, case: &Case, told: &Told, end: &asked::AtTheEnd) {
    for of in ["server_delay", "round_trip", "end_to_end"] {
        // The end of a connection makes some more trips.
        if case.tcp && of != "server_delay" {
            continue;
        }
        findings.same(
            &format!("{} {of} p50 in the counters", case.name),
            &told.policy[of]["p50_ns"],
            &end.policy[of]["p50_ns"],
        );
        findings.same(&format!("{} {of} in JSON lines", case.name), &told.flow[of], &end.line[of]);
        findings.same(&format!("{} {of} in IPFIX", case.name), &told.flow[of], &end.ipfix[of]);
    }
}
