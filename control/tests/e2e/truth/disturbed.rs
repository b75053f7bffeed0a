//! Losses, copies and swaps on the wire are counted exactly, and all outputs agree to the last packet.

use super::asked::{self, Outputs, by_name, metric};
use super::{SOON, Site, TELEMETRY, ms, policy};
use crate::boxes;
use crate::hosts::udp;
use rig::counters::{Counters, contradictions};
use rig::running::Running;
use rig::slow_wire::Disturbed;
use rig::{Rig, Side};
use rustix::process::Signal;
use serde_json::Value;
use std::net::UdpSocket;

const FORMS: [(&str, u16, &str); 3] =
    [("disturbed-encrypted", 6101, "encrypted"), ("disturbed-clear", 6102, "clear"), ("disturbed-pdm", 6103, "pdm")];
/// Exchanged before anything is done to packets.
const CLEAN: u64 = 5;
/// Sent each way then; so many that nothing is done to the last ones, and none waits for another: a gap shows when a later one comes.
const SENT: u64 = 405;
const EVERY: [u32; 3] = [50, 31, 17];

/// What a box tells of a policy and its flow, by what outputs call it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Counted {
    added: u64,
    accepted: u64,
    failed: u64,
    lost: u64,
    duplicates: u64,
    late: u64,
}

/// The same of the flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct OfFlow {
    received: u64,
    failed: u64,
    lost: u64,
    duplicates: u64,
    late: u64,
}

#[test]
fn e2e_losses_copies_and_swaps_are_counted_exactly_by_every_output() {
    let Some(_turn) = boxes::turn() else { return };
    let policies: String = FORMS.iter().map(|(name, port, mode)| policy(name, "udp", *port, mode)).collect();
    let mut site = Site::new(&policies);
    site.wire.delay(ms(1)).expect("wire");
    let captures = Side::BOTH.map(|side| site.wire.capture_at(&site.rig, side).expect("capture"));
    let pairs = FORMS.map(|(_, port, _)| exchange(&site.rig, port));
    for (_, port, _) in FORMS {
        site.wire.disturb(port, EVERY).expect("wire");
    }
    for _ in 0..SENT {
        for [client, server] in &pairs {
            client.send(&[7; 40]).expect("sent");
            server.send(&[8; 40]).expect("sent");
        }
        std::thread::sleep(ms(1));
    }
    site.rig.quiesce().expect("silence");
    let truth = FORMS.map(|(_, port, _)| site.wire.disturbed(port).expect("counts"));
    let captures = captures.map(boxes::stop);
    let decoded = captures.map(|capture| asked::decoded(&capture, &site.keys));

    let running = Side::BOTH.map(|side| AllTold::of(&site.outputs(side)));
    let Site { rig, wire: _wire, boxes, .. } = site;
    let ended = end(boxes);
    for side in Side::BOTH {
        let outputs = Outputs { rig: &rig, side, port: TELEMETRY };
        let (running, ended) = (&running[side.index()], &ended[side.index()]);
        running.agrees_with(ended);
        for (i, (name, port, mode)) in FORMS.into_iter().enumerate() {
            let done = truth[i][side.other().index()];
            assert!(done.lost > 5 && done.twice > 5 && done.swapped > 5, "{done:?}");
            let of_flow = of_policy(name, mode, side, done, running, ended);
            for records in [outputs.lines(), outputs.records()] {
                at_the_end(name, of_flow, &records);
            }
            // The capture behind the wire, towards this box.
            let from = ["from_server", "from_client"][side.index()];
            let flow = &decoded[side.index()][&port][from];
            let [packets, lost, late, copies] =
                ["packets", "lost_before_capture", "late", "copies"].map(|key| flow[key].as_u64().expect("a number"));
            let expected = [CLEAN + SENT - done.lost + done.twice, done.lost, done.swapped, done.twice];
            assert_eq!([packets, lost, late, copies], expected, "{name} to {side:?}: decode: {flow}");
        }
    }
}

/// Holds policy and flow of a running box, and the counters at its end, against what was done to the packets towards it. Gives what
/// goes for the flow.
fn of_policy(name: &str, mode: &str, side: Side, done: Disturbed, running: &AllTold, ended: &Counters) -> OfFlow {
    let sealed = mode == "encrypted";
    let came = CLEAN + SENT - done.lost;
    let expected = Counted {
        added: CLEAN + SENT,
        // Nothing tells a copy in clear from a packet that was meant; one that is sealed is refused.
        accepted: came + if sealed { 0 } else { done.twice },
        failed: if sealed { done.twice } else { 0 },
        lost: done.lost,
        duplicates: done.twice,
        late: done.swapped,
    };
    let counted = |one: &Value| {
        let [added, accepted, failed, lost, duplicates, late] =
            ["added", "accepted", "failed", "lost", "duplicates", "late"]
                .map(|key| one[key].as_u64().expect("a number"));
        Counted { added, accepted, failed, lost, duplicates, late }
    };
    assert_eq!(counted(by_name(&running.policies["policies"], name)), expected, "{name} at {side:?}: policies");
    assert_eq!(counted(by_name(&ended.0["policies"], name)), expected, "{name} at {side:?}: counters at the end");
    let of = |figure: &str| metric(&running.metrics, &format!("pdmv2_policy_{figure}"), name);
    let [added, accepted, failed] = ["added_total", "accepted_total", "failed_total"].map(of);
    let [lost, duplicates, late] = ["lost_packets", "duplicates_total", "late_total"].map(of);
    let told = Counted { added, accepted, failed, lost, duplicates, late };
    assert_eq!(told, expected, "{name} at {side:?}: Prometheus");

    let Counted { failed, lost, duplicates, late, .. } = expected;
    // A flow in clear begins with its first packet towards the network, and host A spoke first.
    let before = u64::from(!sealed && side == Side::B);
    let expected = OfFlow { received: came - before, failed, lost, duplicates, late };
    for flows in [&running.flows, &running.commands_flows] {
        let flows = flows["flows"].as_array().expect("flows").iter().filter(|flow| flow["policy"] == name);
        let flows: Vec<_> = flows.map(of_flow).collect();
        assert_eq!(flows, [expected], "{name} at {side:?}: flows");
    }
    expected
}

fn of_flow(one: &Value) -> OfFlow {
    let [received, failed, lost, duplicates, late] =
        ["received", "failed", "lost", "duplicates", "late"].map(|key| one[key].as_u64().expect("a number"));
    OfFlow { received, failed, lost, duplicates, late }
}

/// Records of a policy's only flow: the last one has all, and their packets add up to it.
fn at_the_end(name: &str, expected: OfFlow, records: &[Value]) {
    let records: Vec<_> = records.iter().filter(|record| record["policy"] == name).collect();
    let last = records.last().expect("a record");
    assert_eq!(of_flow(last), expected, "{name}: {last}");
    let packets: u64 = records.iter().map(|record| record["packets"].as_u64().expect("a number")).sum();
    assert_eq!(packets, expected.received, "{name}: {records:?}");
}

/// Sockets of a client and its server, which have exchanged some packets.
fn exchange(rig: &Rig, port: u16) -> [UdpSocket; 2] {
    let (client, server) = (udp(rig, Side::A, 0), udp(rig, Side::B, port));
    client.connect((Side::B.address(), port)).expect("connected");
    let mut buffer = [0; 64];
    for _ in 0..CLEAN {
        client.send(&[1; 40]).expect("sent");
        let (len, from) = server.recv_from(&mut buffer).expect("it came");
        server.connect(from).expect("connected");
        server.send(&buffer[..len]).expect("sent");
        client.recv(&mut buffer).expect("it came back");
    }
    [client, server]
}

/// As `boxes::end_running`, but that copies of sealed packets are refused.
fn end(running: [Running; 2]) -> [Counters; 2] {
    running.iter().for_each(|running| running.signal(Signal::TERM));
    running.map(|mut running| {
        let status = running.wait(SOON).expect("an end");
        assert!(status.success(), "{status}:\n{}", running.tail());
        let counters = Counters::parse(&running.out()).expect("counters");
        assert_eq!(contradictions("box", &counters), Vec::<String>::new());
        counters
    })
}

/// All that a box tells while it runs.
struct AllTold {
    status: Value,
    commands_status: Value,
    policies: Value,
    flows: Value,
    commands_flows: Value,
    metrics: String,
}

impl AllTold {
    fn of(outputs: &Outputs<'_>) -> Self {
        let printed = |arguments: &[&str]| serde_json::from_str(&outputs.command(arguments)).expect("JSON");
        Self {
            status: outputs.json("/v1/status"),
            commands_status: printed(&["status", "--json"]),
            policies: outputs.json("/v1/policies"),
            flows: outputs.json("/v1/flows"),
            commands_flows: printed(&["flows", "--json"]),
            metrics: outputs.metrics(),
        }
    }

    /// The status, its command, Prometheus and the counters at the end tell the same of packets and reasons; and policies and flows
    /// add up to it.
    fn agrees_with(&self, ended: &Counters) {
        let metric = |name: &str, labels: &str| {
            let line = self.metrics.lines().find_map(|line| line.strip_prefix(&format!("{name}{{{labels}}} ")));
            line.and_then(|number| number.parse::<f64>().ok()).unwrap_or_else(|| panic!("{name} {labels}")) as u64
        };
        for status in [&self.status, &self.commands_status] {
            for direction in status["directions"].as_array().expect("directions") {
                let name = direction["direction"].as_str().expect("a name");
                let of = |key: &str| direction[key].as_u64().expect("a number");
                let labels = format!("direction=\"{name}\"");
                let expected = [of("received"), of("forwarded"), of("dropped")];
                let counters =
                    ["received", "forwarded", "dropped_total"].map(|key| ended.get(&format!("/{name}/{key}")));
                assert_eq!(counters, expected, "{name}");
                let [received, forwarded] =
                    ["received", "forwarded"].map(|what| metric(&format!("pdmv2_packets_{what}_total"), &labels));
                assert_eq!([received, forwarded], expected[..2], "{name}: Prometheus");
            }
            let reasons = status["reasons"].as_array().expect("reasons");
            assert!(reasons.iter().any(|reason| reason["reason"] == "replayed"), "{status}");
            for reason in reasons {
                let [direction, outcome, name] =
                    ["direction", "outcome", "reason"].map(|key| reason[key].as_str().expect("a name"));
                let packets = reason["packets"].as_u64().expect("a number");
                assert_eq!(ended.get(&format!("/{direction}/{outcome}/{name}")), packets, "{reason}");
                let labels = format!("direction=\"{direction}\",reason=\"{name}\"");
                assert_eq!(metric(&format!("pdmv2_packets_{outcome}_total"), &labels), packets, "{reason}");
            }
        }
        let policies = self.policies["policies"].as_array().expect("policies");
        let sum = |key: &str| policies.iter().map(|policy| policy[key].as_u64().expect("a number")).sum::<u64>();
        assert_eq!(sum("added"), ended.sum("/outbound/added"), "{}", self.policies);
        assert_eq!(sum("accepted"), ended.sum("/inbound/removed"), "{}", self.policies);
        let lost = ended.get("/sequence/skipped") - ended.policies("found");
        assert_eq!((sum("lost"), sum("late")), (lost, ended.get("/sequence/reordered")), "{}", self.policies);
        let flows = self.flows["flows"].as_array().expect("flows");
        for key in ["lost", "duplicates", "late", "failed"] {
            let of_flows: u64 = flows.iter().map(|flow| flow[key].as_u64().expect("a number")).sum();
            assert_eq!(of_flows, sum(key), "{key}: {}", self.flows);
        }
    }
}
