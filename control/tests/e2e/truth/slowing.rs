//! A server that becomes slow in the middle of a flow: who looks at the box sees it while it is so, and a capture tells when it was.
//! (The page for browsers, once it shows flows, belongs beside `top` here: what it shows of this flow, and since when.)

#[path = "../../programs/at_terminal.rs"]
#[allow(dead_code, reason = "each test takes what it needs")]
mod at_terminal;

use super::{Case, Site, Talk, examples, ms, policy, seen};
use crate::boxes::{self, PDMV2, SOON, wait_for};
use at_terminal::AtTerminal;
use rig::{Side, command};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

const CASE: Case = Case { name: "web", port: 443, tcp: false, takes: ms(2), mode: "encrypted" };
const SLOW: Duration = ms(60);
/// An answer in good times is faster than this, and one in bad times slower: nanoseconds.
const BETWEEN: u64 = 30_000_000;

#[test]
fn e2e_a_server_that_slows_down_is_seen_while_it_does() {
    let Some(_turn) = boxes::turn() else { return };
    let mut site = Site::new(&policy(CASE.name, CASE.protocol(), CASE.port, CASE.mode));
    site.wire.delay(ms(1)).expect("wire");
    let capture = site.wire.capture_at(&site.rig, Side::B).expect("capture");
    let talk = Talk::start(&site.rig, &CASE);
    let socket = site.rig.dir().join("box-a.sock").display().to_string();
    let top = AtTerminal::start(PDMV2, site.rig.dir(), &["top", "--socket", &socket]);
    let delays = || {
        let printed = site.outputs(Side::A).command(&["flows", "--json", "--port", "443"]);
        let flow = serde_json::from_str::<Value>(&printed).expect("JSON")["flows"][0].take();
        ["round_trip", "server_delay"].map(|of| flow[of]["smoothed_ns"].as_u64().unwrap_or(0))
    };
    let on_screen = || Some([shown(&top, "network ")?, shown(&top, "server ")?]);
    std::thread::sleep(ms(2500));
    let [network, server] = delays();
    assert!(network < BETWEEN && (1_000_000..BETWEEN).contains(&server), "before: {network} {server}");
    wait_for("top's page", || on_screen().is_some_and(|[network, server]| network.max(server) < BETWEEN as f64));

    examples::hold(&site.outputs(Side::A));
    talk.takes(SLOW);
    wait_for("flows to show it", || delays()[1] > BETWEEN);
    wait_for("top to show it", || on_screen().is_some_and(|[_, server]| server > BETWEEN as f64));
    let ([network, _], screen) = (delays(), on_screen());
    assert!(network < BETWEEN, "the network is as before: {network}");
    assert!(screen.is_some_and(|[network, _]| network < BETWEEN as f64), "{}", top.screen().join("\n"));
    std::thread::sleep(ms(2000));
    drop(talk.end());
    drop(top);
    let capture = boxes::stop(capture);
    let Site { rig, wire: _wire, keys, boxes } = site;
    boxes::end_running_quietly(&rig, boxes);

    // The truth: when the first slow answer was asked for, and how long all lasted, since the first packet.
    let passed = seen::passed(&capture);
    let [requests, answers] = &passed[&CASE.port].0;
    let took = |number: &u64| answers.get(number).zip(requests.get(number)).map(|(answer, request)| answer - request);
    let first = *requests.values().next().expect("a request");
    let slow = requests.iter().find(|(number, _)| took(number) > Some(BETWEEN)).expect("a slow one");
    let since_first = |ns: u64| (ns - first) as f64 / 1e9;
    let (changed, ended) = (since_first(*slow.1), since_first(*answers.values().last().expect("an answer")));
    told_by_decode(&capture, &keys, changed, ended);
}

/// What is shown of the chosen flow behind a word: nanoseconds.
fn shown(top: &AtTerminal, what: &str) -> Option<f64> {
    let screen = top.screen();
    let rest = screen.iter().find_map(|line| line.strip_prefix('│')?.strip_prefix(what))?;
    let (number, unit) = rest.split(',').next()?.split_once(' ')?;
    let ns = match unit {
        "ns" => 1.0,
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * ns)
}

/// `changed` and `ended` are in seconds since the first packet.
fn told_by_decode(capture: &Path, keys: &Path, changed: f64, ended: f64) {
    let (capture, keys) = (capture.display().to_string(), keys.display().to_string());
    let drawings = Path::new(&capture).with_extension("drawings").display().to_string();
    let decode = |more: &[&str]| {
        let line = [&[PDMV2, "decode", "--keys", &keys][..], more, &[&capture]].concat();
        command::check(&line, SOON).expect("decode")
    };
    // It goes by the least of eight answers, of which the first slow one may be the last: those before it took half a second at most.
    let text = decode(&["--flows", "--plot", &drawings]);
    let said = text.lines().find_map(|line| line.trim().strip_prefix("The server became slower "));
    let at = said.and_then(|said| said.split(' ').next()?.parse::<f64>().ok());
    assert!(at.is_some_and(|at| (at - changed).abs() < 0.7), "{changed}: {text}");

    // Each answer on its own line, with the server's delay.
    let table = decode(&["--csv"]);
    let mut lines = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let head = lines.next().expect("a head");
    let column = |name: &str| head.iter().position(|&column| column == name).expect(name);
    let (from, delay) = (column("sport"), column("delta_tlr_ns"));
    let answers = lines.filter(|line| line[from] == "443").map(|line| line[delay].parse::<u64>().expect("a delay"));
    let slow: Vec<_> = answers.map(|ns| ns > BETWEEN).collect();
    let fast = slow.iter().take_while(|slow| !**slow).count();
    assert!(fast > 20 && slow.len() - fast > 20 && slow[fast..].iter().all(|slow| *slow), "{slow:?}");

    // In the drawing the server's line goes up at that time: y counts from above.
    let drawing = std::fs::read_to_string(Path::new(&drawings).join("flow-01-delay.svg")).expect("a drawing");
    let (_, points) = drawing.split_once("<polyline class=\"s\" points=\"").expect("a line");
    let points = points.split('"').next().expect("points").split(' ').map(|point| {
        let (x, y) = point.split_once(',').expect("a point");
        (x.parse::<f64>().expect("x"), y.parse::<f64>().expect("y"))
    });
    let points: Vec<_> = points.collect();
    let (start, end) = (points[0], points[points.len() - 1]);
    let rises = points.iter().find(|point| point.1 < f64::midpoint(start.1, end.1)).expect("a rise");
    let share = (rises.0 - start.0) / (end.0 - start.0);
    assert!((share - changed / ended).abs() < 0.1, "{share} of {changed} / {ended}");
    let before = points.iter().take_while(|point| point.0 < rises.0).map(|point| point.1).fold(f64::MAX, f64::min);
    assert!(before > rises.1, "it is below before: {points:?}");
}
