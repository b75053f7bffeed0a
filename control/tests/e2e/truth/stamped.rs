//! Ports that say when packets came. `net_pcap` hands packets over in blocks, some milliseconds after they have come, and notes when
//! they did; and a worker that sleeps finds them later still.

use super::seen::{self, Findings, Range, Truth};
use super::{Case, SOON, Site, Talk, ms, policy};
use crate::boxes;
use rig::Side;
use rustix::process::Signal;

const CASES: [Case; 3] = [
    Case { name: "udp-1-stamped", port: 6041, tcp: false, takes: ms(1), mode: "encrypted" },
    Case { name: "udp-10-stamped", port: 6042, tcp: false, takes: ms(10), mode: "encrypted" },
    Case { name: "clear-10-stamped", port: 6043, tcp: false, takes: ms(10), mode: "clear" },
];

/// What packets wait for a box is no longer the network's: its round trip ends when the answer comes, not when it is found; and the
/// other's delay begins when the request comes.
#[test]
fn e2e_a_port_with_time_stamps_tells_when_packets_came() {
    let Some(_turn) = boxes::turn() else { return };
    let policies: String = CASES.iter().map(|case| policy(case.name, case.protocol(), case.port, case.mode)).collect();
    let mut site = Site::on_ports(&policies, true);
    for running in &site.boxes {
        running.line("outside: time stamps of the device, as net_pcap gives them").expect("said at the start");
    }
    site.wire.delay(ms(2)).expect("wire");
    // The more packets come, the more often one has not waited.
    let ping = ["ping", "-6", "-q", "-i", "0.002", Side::B.address()];
    let mut pings = site.rig.host(Side::A).start("pings", &ping, site.rig.dir()).expect("ping");
    std::thread::sleep(ms(3_000));
    let captures = Side::BOTH.map(|side| site.wire.capture_at(&site.rig, side).expect("capture"));
    let taps = Side::BOTH.map(|side| boxes::capture_host(&site.rig, side));
    let talks: Vec<_> = CASES.iter().map(|case| Talk::start(&site.rig, case)).collect();
    std::thread::sleep(ms(9_000));
    talks.into_iter().for_each(|talk| drop(talk.end()));
    std::thread::sleep(ms(200));
    let told = Side::BOTH.map(|side| CASES.map(|case| site.outputs(side).of(case.name)));
    let used = Side::BOTH.map(|side| stamps(&site, side));
    pings.stop(Signal::INT, SOON).expect("ping ends");
    let [captures, taps] = [captures, taps].map(|both| both.map(boxes::stop));
    let Site { rig, wire: _wire, boxes, .. } = site;
    boxes::end_running_quietly(&rig, boxes);

    let passed = [&taps[0], &captures[0], &captures[1], &taps[1]].map(|path| seen::passed(path));
    let mut findings = Findings::default();
    for (i, case) in CASES.iter().enumerate() {
        for side in Side::BOTH {
            let truth = Truth::of(side, passed.each_ref().map(|at| &at[&case.port]));
            assert!(truth.requests() > 30, "{}: {} requests", case.name, truth.requests());
            for of in ["round_trip", "server_delay"] {
                let range = seen::median(truth.series(of));
                let waited = range.high - range.low;
                assert!(waited > 500_000, "packets wait at these ports, or this proves nothing: {range:?}");
                // From one end of the wire to the other and back; all that is behind the far end. And an eighth of what packets waited:
                // how long they wait at the least, and what a busy machine adds between a box and the wire.
                let truth = if of == "round_trip" {
                    Range { high: range.low + waited / 8, ..range }
                } else {
                    Range { low: range.high - waited / 8, ..range }
                };
                let p50 = told[side.index()][i].policy[of]["p50_ns"].as_u64();
                eprintln!("{:<16} box {side:?} {of:<12} {range:?}, told {p50:?}", case.name);
                let what = format!("{} box {side:?} {of}", case.name);
                findings.hold("policies", &what, truth, p50.into());
            }
        }
    }
    for (side, [used, refused]) in Side::BOTH.into_iter().zip(used) {
        eprintln!("box {side:?}: {used} stamps used, {refused} refused");
        assert!(used > 500 && refused * 10 < used, "box {side:?}: {used} stamps used, {refused} refused");
    }
    findings.end();
}

/// Stamps that were used, and refused.
fn stamps(site: &Site, side: Side) -> [u64; 2] {
    let text = site.outputs(side).metrics();
    ["used", "refused"].map(|which| {
        let name = format!("pdmv2_worker_stamps_{which}_total{{worker=\"0\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&name));
        value.and_then(|value| value.parse().ok()).expect("counted")
    })
}
