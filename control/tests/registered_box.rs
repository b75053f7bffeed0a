//! The box itself, registered: it seals when its registrar says so, goes on without registrars until its keys expire, then
//! passes packets without the option, and seals again when they are back.

#[path = "registration/lab.rs"]
#[allow(dead_code, reason = "each test takes what it needs")]
mod lab;
mod programs;
#[path = "registered_box/secrets.rs"]
mod secrets;

use lab::{Lab, SimBox, free_port};
use middlebox::keys::connection::RegistrationSettings;
use programs::{ENCRYPTED, Running, TOOL, frames, wait_for};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use testkit::captures::write_ethernet;
use testkit::frames::{A, B, udp};

fn metrics(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: x\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn metric(port: u16, name: &str) -> Option<f64> {
    metrics(port)?.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// A box's configuration, `NAME.toml`.
fn config(lab: &Lab, name: &str, side: usize, node: &RegistrationSettings, [inside, outside]: [&str; 2], port: u16) {
    let sections = lab.box_sections(side, &node.name, &hex::encode(node.id));
    let text = format!(
        "[node]\nname = \"{}\"\n[eal]\nargs = [\"--no-huge\", \"-m\", \"256\", \"--no-shconf\", \"--no-telemetry\", \
         \"--no-pci\", \"--iova-mode=va\", \"-l\", \"0\"]\n[ports.inside]\ndevice = \"{inside}\"\n[ports.outside]\n\
         device = \"{outside}\"\n[workers]\ncores = [0]\nidle = \"sleep\"\n{sections}[telemetry]\nlog_level = \
         \"debug\"\nlisten = \"127.0.0.1:{port}\"\n{ENCRYPTED}",
        node.name
    );
    std::fs::write(lab.path(&format!("{name}.toml")), text).expect("configuration");
}

/// What one box seals the other opens, though the two share nothing but their registrars' word.
#[test]
fn two_boxes_understand_each_other() {
    understand("");
}

/// The same under secrets of clients.
#[test]
fn two_boxes_understand_each_other_in_scope_client() {
    understand("scope = \"client\"");
}

fn understand(peer_lines: &str) {
    let mut lab = Lab::new();
    lab.peer_lines = [peer_lines.to_owned(), peer_lines.to_owned()];
    let (a, b) = (lab.node(0, 0), lab.node(1, 0xB));
    lab.start_both();
    let at = lab.dir.path().display().to_string();
    write_ethernet(&lab.path("one.pcap"), &(0..8u16).map(|i| udp(A, B, 1000 + i, 443, 10)).collect::<Vec<_>>());
    let (port_a, port_b) = (free_port(), free_port());
    let inside = format!("net_pcap0,rx_pcap={at}/one.pcap,infinite_rx=1");
    config(&lab, "a", 0, &a, [&inside, &format!("net_pcap1,tx_pcap={at}/wire.pcap")], port_a);
    logs_its_keys(&lab, "a");
    let running = Running::start(lab.dir.path(), "a.toml", "a.log");
    let sealed = "pdmv2_options_added_total{form=\"encrypted\"}";
    wait_for("sealed packets", || metric(port_a, sealed).is_some_and(|n| n > 2000.0));
    let telemetry = [0, 1].map(|side| lab.place(side).telemetry.expect("a port"));
    for port in [port_a, telemetry[0], telemetry[1]] {
        let answer = metrics(port).expect("metrics");
        let (_, text) = answer.split_once("\r\n\r\n").expect("headers");
        assert!(text.contains("pdmv2_build_info{version="), "{text}");
        programs::promtool(text);
    }
    let counts = running.stop();
    let sealed = counts["outbound"]["added"]["encrypted"].as_u64().expect("a number");

    // The last of them: a thousand that the box can hold, over and over, so that some come after its keys.
    let wire = frames(&lab.path("wire.pcap"));
    let options: Vec<_> = wire.into_iter().filter(|f| f[20] == 60).collect();
    let last = &options[options.len() - 1000..];
    assert!(sealed >= 2000);
    write_ethernet(&lab.path("last.pcap"), last);
    let outside = format!("net_pcap1,rx_pcap={at}/last.pcap,infinite_rx=1");
    config(&lab, "b", 1, &b, ["net_null0,no-rx=1", &outside], port_b);
    logs_its_keys(&lab, "b");
    let running = Running::start(lab.dir.path(), "b.toml", "b.log");
    wait_for("each is opened once", || {
        metric(port_b, "pdmv2_options_removed_total{form=\"encrypted\"}").is_some_and(|n| n >= 1000.0)
    });
    let counts = running.stop();
    assert_eq!(counts["inbound"]["removed"]["encrypted"], 1000);
    assert!(counts["inbound"]["stripped"]["replayed"].as_u64() > Some(0), "the second time round: {counts}");
    assert_eq!(counts["inbound"]["stripped"]["bad_tag"].as_u64().unwrap_or_default(), 0);
    // Whose log it is does not matter: the one sealed under what the other opens.
    for name in ["a", "b"] {
        let mut decode = Command::new(TOOL);
        decode.arg("decode").arg("--key-log").arg(lab.path(&format!("{name}.keylog"))).arg(lab.path("last.pcap"));
        let output = decode.output().expect("decode");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("1000 encrypted (1000 opened, 0 not)"), "{said}");
        let log = std::fs::read_to_string(lab.path(&format!("{name}.log"))).expect("log");
        assert!(log.contains("the key log") && log.contains("who reads it opens, and forges"), "{log}");
    }
}

/// Adds `[keys] log` to a configuration.
fn logs_its_keys(lab: &Lab, name: &str) {
    let path = lab.path(&format!("{name}.toml"));
    let text = std::fs::read_to_string(&path).expect("configuration");
    std::fs::write(path, format!("{text}[keys]\nlog = \"{name}.keylog\"\n")).expect("configuration");
}

#[test]
fn it_outlives_its_registrars() {
    let mut lab = Lab::new();
    lab.times = "coalesce = \"100ms\"\nack_timeout = \"2s\"\nmax_age = \"2s\"\nlifetime = \"4s\"\n".into();
    let (a, b) = (lab.node(0, 0), lab.node(1, 2));
    lab.start_both();
    let _b = SimBox::start(b);
    // Few packets over and over: the box must have some all the time.
    write_ethernet(&lab.path("one.pcap"), &(0..8u16).map(|i| udp(A, B, 1000 + i, 443, 10)).collect::<Vec<_>>());
    let port = free_port();
    let inside = format!("net_pcap0,rx_pcap={}/one.pcap,infinite_rx=1", lab.dir.path().display());
    config(&lab, "box", 0, &a, [&inside, "net_null1,no-rx=1"], port);
    let running = Running::start(lab.dir.path(), "box.toml", "box.log");
    let log_file = lab.path("box.log");
    let log = || std::fs::read_to_string(&log_file).unwrap_or_default();
    let is = |name: &str, value: f64| metric(port, name).is_some_and(|v| (v - value).abs() < f64::EPSILON);
    let added = || metric(port, "pdmv2_options_added_total{form=\"encrypted\"}").unwrap_or_default();
    let forwarded = || metric(port, "pdmv2_packets_forwarded_total{direction=\"outbound\"}").unwrap_or_default();
    wait_for("it seals", || is("pdmv2_sealing", 1.0) && is("pdmv2_registration_state", 1.0));
    wait_for("options", || added() > 0.0);
    let generation = metric(port, "pdmv2_generation").expect("a generation");
    wait_for("a roll-over by age", || metric(port, "pdmv2_generation").is_some_and(|g| g > generation));

    lab.kill(0);
    lab.kill(1);
    wait_for("it notices", || is("pdmv2_registration_state", 0.0));
    assert!(is("pdmv2_sealing", 1.0), "the keys at hand stay in use\n{}", log());
    let before = added();
    wait_for("it goes on sealing", || added() > before);
    assert!(metric(port, "pdmv2_registration_keys_expire_seconds").is_some_and(|s| s > 0.0 && s <= 4.0));
    wait_for("it stops when they expire", || is("pdmv2_sealing", 0.0));
    wait_for("it says so", || is("pdmv2_registration_out_of_touch", 1.0));
    assert!(log().contains("the keys have expired: packets pass without the option"));
    let before = forwarded();
    wait_for("packets flow", || forwarded() > before);

    lab.start_both();
    wait_for("it seals again", || is("pdmv2_sealing", 1.0) && is("pdmv2_registration_state", 1.0));
    wait_for("in touch", || is("pdmv2_registration_out_of_touch", 0.0));
    let counts = running.stop();
    assert_eq!(counts["registration"]["registered"], true);
    assert!(counts["outbound"]["passed"]["no_key"].as_u64() > Some(0));
    assert_eq!(counts["outbound"]["dropped_total"].as_u64(), Some(0));
    // Nothing of it is on the disk.
    let left: Vec<_> =
        std::fs::read_dir(lab.dir.path()).expect("a directory").flatten().map(|e| e.file_name()).collect();
    assert!(!left.iter().any(|n| n.to_string_lossy().starts_with("pdmv2-")), "{left:?}");
}
