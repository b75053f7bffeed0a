//! Flows as collectors have them (nfdump's nfcapd, pmacct's nfacctd, tshark): the figures are the box's.

mod programs;

use programs::{Running, Site, frames, wait_for};
use rig::free_port;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use testkit::captures::write_ethernet;
use testkit::frames::{A, B, udp};

const EAL: &str = "[eal]\nargs = [\"--no-huge\", \"-m\", \"256\", \"--no-shconf\", \"--no-telemetry\", \"--no-pci\", \"--iova-mode=va\", \"-l\", \"0\"]\n";
const PDM: &str = "[[policy]]\nname = \"all\"\nmode = \"pdm\"\n";
const FLOWS: u16 = 5;
const ANSWERS: u16 = 2000;
/// Answers that the wire loses, all of them of one flow.
const LOST: [usize; 3] = [1000, 1005, 1500];
/// For examples (RFC 5612).
const ENTERPRISE: u32 = 32473;

/// Packets by the port behind the box.
type ByPort = BTreeMap<u16, u64>;

/// Captures of requests and of answers with options.
fn captures() -> Site {
    let site = Site::new(PDM);
    let requests: Vec<_> = (0..ANSWERS).map(|i| udp(A, B, 1000 + i % FLOWS, 443, 10)).collect();
    let answers: Vec<_> = (0..ANSWERS).map(|i| udp(B, A, 443, 1000 + i % FLOWS, 20)).collect();
    write_ethernet(&site.path("requests.pcap"), &requests);
    write_ethernet(&site.path("answers.pcap"), &answers);
    site.counters("b", &["--inside", "answers.pcap", "--out", "wire.pcap"]);
    let wire = frames(&site.path("wire.pcap")).into_iter().enumerate();
    let left: Vec<_> = wire.filter(|(i, _)| !LOST.contains(i)).map(|(_, frame)| frame).collect();
    assert_eq!(left.len(), usize::from(ANSWERS) - LOST.len());
    write_ethernet(&site.path("wire.pcap"), &left);
    site
}

/// Runs a box on the captures, and gives what its JSON lines say: packets of each flow.
fn exported(site: &Site, ipfix: &str) -> ByPort {
    let json = site.path("flows.json");
    let _ = std::fs::remove_file(&json); // an earlier run's
    let dir = site.0.path().display();
    let port = free_port();
    let text = format!(
        "[node]\nname = \"a\"\n{EAL}[ports.inside]\ndevice = \"net_pcap0,rx_pcap={dir}/requests.pcap,tx_pcap={dir}/out0\"\n\
         [ports.outside]\ndevice = \"net_pcap1,rx_pcap={dir}/wire.pcap,tx_pcap={dir}/out1\"\n[workers]\nidle = \"sleep\"\n\
         [telemetry]\nlisten = \"127.0.0.1:{port}\"\n\
         [export]\nipfix = \"{ipfix}\"\njson = \"file:flows.json\"\nenterprise = {ENTERPRISE}\ndomain = 5\nactive = \"1s\"\n{PDM}"
    );
    std::fs::write(site.path("a.toml"), text).expect("configuration");
    let running = Running::start(site.0.path(), "a.toml", "log");
    let received = |direction: &str, packets: usize| {
        format!("pdmv2_packets_received_total{{direction=\"{direction}\"}} {packets}\n")
    };
    let all = [received("outbound", ANSWERS.into()), received("inbound", usize::from(ANSWERS) - LOST.len())];
    wait_for("all packets", || all.iter().all(|line| metrics(port).contains(line)));
    // Some flows are told of while they last, all of them at the end.
    wait_for("a record", || !metrics(port).contains("pdmv2_export_records_sent_total{to=\"ipfix\"} 0\n"));
    let counts = running.stop();
    let text = std::fs::read_to_string(json).expect("JSON lines");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let number = |line: &Value, key: &str| line[key].as_u64().expect("a number");
    let mut packets = ByPort::new();
    for line in &lines {
        *packets.entry(number(line, "destination_port") as u16).or_default() += number(line, "packets");
    }
    let last = |key: &str| {
        let at_end = lines.iter().filter(|line| line["end_reason"] == "stop");
        at_end.map(|line| number(line, key)).sum::<u64>()
    };
    let policy = &counts["policies"][0];
    let accepted = number(policy, "accepted");
    assert!(accepted > u64::from(ANSWERS) / 2, "{counts}");
    assert_eq!([packets.values().sum(), last("received")], [accepted; 2], "{text}{counts}");
    assert_eq!((last("lost"), &policy["lost"]), (LOST.len() as u64, &LOST.len().into()), "{text}");
    for to in ["ipfix", "json"] {
        let export = &counts["export"][to];
        assert_eq!((number(export, "sent"), number(export, "unsent")), (lines.len() as u64, 0), "{to}");
    }
    packets
}

fn metrics(port: u16) -> String {
    use std::io::{Read, Write};
    let mut text = String::new();
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else { return text };
    let asked = stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: x\r\n\r\n");
    let _ = asked.and_then(|()| stream.read_to_string(&mut text)); // it is asked again
    text
}

/// Starts a collector; `None`: it is not there, and only CI insists on it.
fn collector(program: &str, package: &str, arguments: &[&str], dir: &Path) -> Option<Running> {
    let log = std::fs::File::create(dir.join(format!("{program}.log"))).expect("log");
    let second = log.try_clone().expect("the same");
    let mut command = Command::new(program);
    command.args(arguments).current_dir(dir).stdin(Stdio::null()).stdout(log).stderr(second);
    match command.spawn() {
        Ok(child) => Some(Running(child)),
        Err(error) => {
            let insists = std::env::var("CI").is_ok_and(|ci| ci == "true");
            assert!(!insists, "{program}: {error}; .ci/setup.sh installs it (package {package})");
            eprintln!("{program}: {error}: left out (package {package})");
            None
        }
    }
}

/// Octets that wait to be read at this UDP port; `None`: nobody has it.
fn waiting(port: u16) -> Option<u64> {
    let sockets = std::fs::read_to_string("/proc/net/udp6").expect("sockets");
    let local = format!(":{port:04X}");
    let line = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let line = line.into_iter().find(|fields| fields.get(1).is_some_and(|address| address.ends_with(&local)))?;
    u64::from_str_radix(line.get(4)?.split(':').nth(1)?, 16).ok()
}

/// Numbers of two columns, summed by the first.
fn sums(text: &str, separator: char, columns: [usize; 2]) -> ByPort {
    let mut sums = ByPort::new();
    for line in text.lines() {
        let fields: Vec<_> = line.split(separator).map(str::trim).filter(|field| !field.is_empty()).collect();
        let [port, packets] = columns.map(|column| fields.get(column).and_then(|field| field.parse::<u64>().ok()));
        if let (Some(port), Some(packets)) = (port, packets) {
            *sums.entry(port as u16).or_default() += packets;
        }
    }
    sums
}

fn end(mut collector: Running) {
    let pid = rustix::process::Pid::from_child(&collector.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signal");
    collector.0.wait().expect("its end");
}

#[test]
fn nfcapd_has_the_figures_of_the_box() {
    let (site, port) = (captures(), free_port());
    let at = port.to_string();
    let flows = site.path("nfcapd");
    std::fs::create_dir(&flows).expect("directory");
    let arguments = ["-6", "-b", "::1", "-p", &at, "-t", "3600", "-w", "nfcapd"];
    let Some(nfcapd) = collector("nfcapd", "nfdump", &arguments, site.0.path()) else { return };
    wait_for("nfcapd's start", || waiting(port).is_some());
    let wanted = exported(&site, &format!("udp://[::1]:{port}"));
    wait_for("that nfcapd has read all", || waiting(port) == Some(0));
    end(nfcapd);
    let files = std::fs::read_dir(&flows).expect("directory").flatten().map(|entry| entry.path());
    let mut seen = ByPort::new();
    for file in files.filter(|file| file.to_string_lossy().contains("nfcapd.2")) {
        let mut nfdump = Command::new("nfdump");
        nfdump.arg("-r").arg(file).args(["-q", "-N", "-o", "fmt:%dp %pkt"]);
        let output = nfdump.output().expect("nfdump");
        for (port, packets) in sums(&String::from_utf8_lossy(&output.stdout), ' ', [0, 1]) {
            *seen.entry(port).or_default() += packets;
        }
    }
    assert_eq!(seen, wanted);
    let said = std::fs::read_to_string(site.path("nfcapd.log")).expect("log");
    assert!(said.contains("Sequence Errors: 0, Bad Packets: 0"), "{said}");
}

#[test]
fn nfacctd_has_the_figures_of_the_box() {
    let (site, port) = (captures(), free_port());
    let file = site.path("flows.csv");
    let text = format!(
        "daemonize: false\nnfacctd_ip: ::1\nnfacctd_port: {port}\nplugins: print[x]\naggregate[x]: dst_port\n\
         print_output[x]: csv\nprint_refresh_time[x]: 1\nprint_output_file[x]: {}\nprint_output_file_append[x]: true\n",
        file.display()
    );
    std::fs::write(site.path("nfacctd.conf"), text).expect("configuration");
    let Some(nfacctd) = collector("nfacctd", "pmacct", &["-f", "nfacctd.conf"], site.0.path()) else { return };
    wait_for("nfacctd's start", || waiting(port).is_some());
    let wanted = exported(&site, &format!("udp://[::1]:{port}"));
    let seen = || sums(&std::fs::read_to_string(&file).unwrap_or_default(), ',', [0, 1]);
    wait_for("nfacctd's file", || seen().values().sum::<u64>() >= wanted.values().sum::<u64>());
    assert_eq!(seen(), wanted);
    // On SIGTERM it waits for its plugin for ever; the plugin ends by itself when its parent is gone.
    drop(nfacctd);
}

#[test]
fn tshark_reads_the_file() {
    let site = captures();
    let wanted = exported(&site, "file:flows.ipfix");
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(site.path("flows.ipfix")).args(["-T", "fields", "-e", "cflow.dstport"]);
    tshark.args(["-e", "cflow.packets", "-e", "_ws.malformed"]);
    let output = match tshark.output() {
        Ok(output) => output,
        Err(error) => {
            let insists = std::env::var("CI").is_ok_and(|ci| ci == "true");
            assert!(!insists, "tshark: {error}; .ci/setup.sh installs it");
            return eprintln!("tshark: {error}: left out");
        }
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let mut seen = ByPort::new();
    for line in text.lines() {
        let columns: Vec<_> = line.split('\t').collect();
        let numbers = |column: usize| columns[column].split(',').map(|n| n.parse::<u64>().expect("a number"));
        for (port, packets) in numbers(0).zip(numbers(1)) {
            *seen.entry(port as u16).or_default() += packets;
        }
        assert_eq!(columns.get(2).copied().unwrap_or_default(), "", "malformed: {line}");
    }
    assert_eq!(seen, wanted, "{text} {}", String::from_utf8_lossy(&output.stderr));
}
