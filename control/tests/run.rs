//! `pdmv2-middlebox run`, the program itself, on software ports: several workers, restarts, telemetry, signals.

mod programs;

use programs::{ENCRYPTED, Running, Site, wait_for};
use rig::free_port;
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use testkit::captures::write_ethernet;
use testkit::frames::{A, B, udp};

const EAL: &str = "[eal]\nargs = [\"--no-huge\", \"-m\", \"256\", \"--no-shconf\", \"--no-telemetry\", \"--no-pci\", \"--iova-mode=va\", \"-l\", \"0\"]\n";

fn log(site: &Site, name: &str) -> String {
    std::fs::read_to_string(site.path(name)).unwrap_or_default()
}

/// A box with this inside port, on net_null outside.
fn config(site: &Site, inside: &str, workers: &str, more: &str) {
    let text = format!(
        "[node]\nname = \"a\"\n{EAL}[ports.inside]\ndevice = \"{inside}\"\n[ports.outside]\ndevice = \"net_null1,no-rx=1\"\n\
         [workers]\n{workers}\nidle = \"sleep\"\n{more}{ENCRYPTED}"
    );
    std::fs::write(site.path("a.toml"), text).expect("configuration");
}

#[test]
fn two_workers_share_flows_through_restarts_and_use_no_nonce_twice() {
    let site = Site::new(ENCRYPTED);
    // Both queues of the inside port bring packets of the same flows, as RSS might.
    let packets: Vec<_> = (0..20_000u16).map(|i| udp(A, B, 1000 + i % 3, 443, 10)).collect();
    write_ethernet(&site.path("one.pcap"), &packets);
    write_ethernet(&site.path("two.pcap"), &packets);
    let inside = format!("net_pcap0,rx_pcap={0}/one.pcap,rx_pcap={0}/two.pcap", site.0.path().display());
    let inside = format!("{inside},tx_pcap={0}/none1,tx_pcap={0}/none2", site.0.path().display());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores < 2 {
        eprintln!("one core only: this test needs two");
        return;
    }
    let port = free_port();
    let telemetry = format!("[telemetry]\nlisten = \"127.0.0.1:{port}\"\n");
    let more = format!("[keys]\nfile = \"pdmv2.keys\"\n[audit]\nfile = \"audit\"\n{telemetry}");
    config(&site, &inside, "cores = [0, 1]", &more);
    let audited = || std::fs::metadata(site.path("audit")).map_or(0, |m| m.len() / 28);
    let mut at_least = 0;
    for start in 1..=4 {
        let log_name = format!("log{start}");
        // Read before the start: the box may have been through all packets when its log is looked at.
        let before = audited();
        let running = Running::start(site.0.path(), "a.toml", &log_name);
        wait_for("the box's start", || log(&site, &log_name).contains("ready"));
        let said = log(&site, &log_name);
        assert!(said.contains(&format!("generation {start}")), "{said}");
        // Neither port spreads packets over two queues in a way that could be relied on.
        assert!(said.contains("'net_pcap' does not say that it spreads packets"), "{said}");
        assert!(said.contains("outside: 2 workers") && said.contains("use 1 worker(s)"), "{said}");
        if start == 4 {
            let all = "pdmv2_packets_received_total{direction=\"outbound\"} 40000\n";
            wait_for("all packets", || get(port, "/metrics").contains(all));
            let counts = running.stop();
            assert_eq!((&counts["workers"], &counts["generation"]), (&2.into(), &4.into()));
            // Between the workers some may have found a full ring, or a flow that had just moved.
            let out = &counts["outbound"];
            let number = |n: &serde_json::Value| n.as_u64().unwrap_or(0);
            let added = number(&out["added"]["encrypted"]);
            let without = ["hand_over_full", "owner_changed"].map(|reason| number(&out["passed"][reason]));
            assert_eq!(added + without.iter().sum::<u64>(), 40_000, "{counts}");
            at_least += added;
            assert_eq!(audited(), at_least);
            let by_worker = [&counts["by_worker"][0]["received"], &counts["by_worker"][1]["received"]];
            assert_eq!(by_worker, [&20_000, &20_000], "each worker has its queue");
        } else {
            wait_for("some packets", || audited() > before + 100);
            running.kill();
            at_least = audited();
            // A write that the kill has cut short had no packet sent yet.
            let audit = std::fs::File::options().write(true).open(site.path("audit")).expect("audit");
            audit.set_len(at_least * 28).expect("whole records");
        }
    }
    let audit = std::fs::read(site.path("audit")).expect("audit");
    assert_eq!(audit.len() % 28, 0);
    let pairs: HashSet<_> = audit.chunks(28).collect();
    assert_eq!(pairs.len(), audit.len() / 28, "a (key, nonce) pair was used twice");
}

fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("telemetry");
    write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").expect("request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answer");
    answer
}

#[test]
fn without_keys_it_forwards_and_says_so() {
    let site = Site::new(ENCRYPTED);
    write_ethernet(&site.path("one.pcap"), &vec![udp(A, B, 1, 2, 3); 1000]);
    let inside = format!("net_pcap0,rx_pcap={0}/one.pcap,tx_pcap={0}/none", site.0.path().display());
    let port = free_port();
    config(&site, &inside, "cores = [0]", &format!("[telemetry]\nlisten = \"127.0.0.1:{port}\"\n"));
    let running = Running::start(site.0.path(), "a.toml", "log");
    wait_for("the box's start", || log(&site, "log").contains("ready"));
    assert!(log(&site, "log").contains("no keys: packets pass without the option"));
    let passed = "pdmv2_packets_passed_total{direction=\"outbound\",reason=\"no_key\"} 1000\n";
    wait_for("the packets", || get(port, "/metrics").contains(passed));
    let metrics = get(port, "/metrics");
    for line in [
        "pdmv2_sealing 0\n",
        "pdmv2_generation 0\n",
        "pdmv2_port_received_packets_total{port=\"inside\"} 1000\n",
        "pdmv2_worker_packets_total{worker=\"0\"} 1000\n",
        "pdmv2_policy_added_total{policy=\"all\",mode=\"encrypted\"} 0\n",
        "pdmv2_flows 0\n",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    assert!(get(port, "/healthz").ends_with("ok\n"));
    let counts = running.stop();
    assert_eq!(
        (&counts["outbound"]["passed"]["no_key"], &counts["outbound"]["forwarded"]),
        (&1000.into(), &1000.into())
    );
}

#[test]
fn a_damaged_state_file_costs_measuring_and_no_packet_and_is_tried_again() {
    let site = Site::new(ENCRYPTED);
    config(&site, "net_null0,no-rx=1", "cores = [0]", "[keys]\nfile = \"pdmv2.keys\"\n");
    let running = Running::start(site.0.path(), "a.toml", "log1");
    wait_for("the box's start", || log(&site, "log1").contains("ready"));
    assert_eq!(running.stop()["generation"], 1);
    let mut state = std::fs::read_dir(site.0.path()).expect("directory").flatten().map(|e| e.path());
    let state = state.find(|p| p.extension().is_some_and(|e| e == "state")).expect("state file");
    let good = std::fs::read(&state).expect("state");
    std::fs::write(&state, &good[..good.len() / 2]).expect("damage");
    let running = Running::start(site.0.path(), "a.toml", "log2");
    wait_for("the box's start", || log(&site, "log2").contains("ready"));
    assert!(
        log(&site, "log2").contains("no key to seal with") && log(&site, "log2").contains("checksum"),
        "{}",
        log(&site, "log2")
    );
    std::fs::write(&state, &good).expect("repair");
    wait_for("another attempt", || log(&site, "log2").contains("sealing under a new generation"));
    assert_eq!(running.stop()["generation"], 2);
}

/// A defect in one worker does not end the box silently, nor the other workers: the process ends with a message and a failure,
/// which is what a supervisor starts it again for.
#[test]
fn a_worker_that_panics_ends_the_box_with_a_message() {
    let site = Site::new(ENCRYPTED);
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 || !cfg!(debug_assertions) {
        eprintln!("this test needs two cores, and a program with places for faults");
        return;
    }
    write_ethernet(&site.path("one.pcap"), &vec![udp(A, B, 1, 2, 3); 1000]);
    let inside = format!("net_pcap0,rx_pcap={0}/one.pcap,rx_pcap={0}/one.pcap", site.0.path().display());
    let inside = format!("{inside},tx_pcap={0}/none1,tx_pcap={0}/none2", site.0.path().display());
    config(&site, &inside, "cores = [0, 1]", "[keys]\nfile = \"pdmv2.keys\"\n");
    let output = std::process::Command::new(programs::BOX)
        .args(["run", "--json", "--config", "a.toml"])
        .env("PDMV2_FAULT", "worker-1-panics")
        .current_dir(site.0.path())
        .output()
        .expect("box");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let last = text.lines().last().unwrap_or_default();
    assert!(last.starts_with("pdmv2-middlebox: worker-1 panicked at control/common/src/fault.rs:"), "{text}");
    assert!(last.contains("a defect that a test asked for"), "{text}");
    assert!(text.contains("a thread has panicked") && text.contains("the box stops"), "in the log too: {text}");
    // Ports and counters are as at any other end; the other worker has handed on what it had taken.
    let counts = programs::last_json(&output.stdout);
    let out = &counts["outbound"];
    assert_eq!(out["forwarded"], out["received"], "{counts}");
    assert_eq!(counts["by_worker"][1]["received"], 0, "{counts}");
}

#[test]
fn a_pci_device_that_is_not_there_is_named_by_check_and_by_run() {
    let site = Site::new(ENCRYPTED);
    let text = format!(
        "[node]\nname = \"a\"\n[ports.inside]\ndevice = \"ff:1f.7\"\n[ports.outside]\ndevice = \"net_null1\"\n\
         {}{ENCRYPTED}",
        EAL.replace("\"--no-pci\", ", "")
    );
    std::fs::write(site.path("a.toml"), text).expect("configuration");
    for more in [&["--check"][..], &[]] {
        let mut run = std::process::Command::new(programs::BOX);
        let run = run.args(["run", "--config", "a.toml"]).args(more).current_dir(site.0.path()).output().expect("box");
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert_eq!(run.status.code(), Some(1), "{said}");
        let what = ["no PCI device has the address 0000:ff:1f.7; ", "this machine shows no PCI devices; "];
        assert!(said.contains("a.toml:4:10: ") && what.iter().any(|w| said.contains(w)), "{said}");
    }
}

#[test]
fn a_box_that_was_resumed_seals_nothing_until_it_has_a_new_generation() {
    let site = Site::new(ENCRYPTED);
    let port = free_port();
    let more = format!("[keys]\nfile = \"pdmv2.keys\"\n[telemetry]\nlisten = \"127.0.0.1:{port}\"\n");
    config(&site, "net_null0,no-rx=1", "cores = [0]", &more);
    let resumed = site.path("resumed");
    let running = Running::start_with(site.0.path(), "a.toml", "log", &[("PDMV2_RESUMED", &resumed)]);
    wait_for("the box's start", || log(&site, "log").contains("ready"));
    let resume = |cause: &str| {
        std::fs::write(site.path("cause"), cause).expect("written");
        std::fs::rename(site.path("cause"), &resumed).expect("in place as a whole");
    };
    let has = |line: &str| get(port, "/metrics").contains(line);
    wait_for("its first generation", || has("pdmv2_generation 1\n"));
    assert!(has("pdmv2_resumptions_total{cause=\"vm_generation\"} 0\n"));
    for (generation, cause) in [(2, "vm_generation"), (3, "hardware_clock")] {
        resume(cause);
        wait_for(cause, || has(&format!("pdmv2_generation {generation}\n")));
        assert!(has(&format!("pdmv2_resumptions_total{{cause=\"{cause}\"}} 1\n")));
    }
    // Without a new generation it does not go on under the old one.
    let mut files = std::fs::read_dir(site.0.path()).expect("directory").flatten().map(|e| e.path());
    let state = files.find(|p| p.extension().is_some_and(|e| e == "state")).expect("state file");
    std::fs::rename(&state, site.path("aside")).expect("moved");
    std::fs::create_dir(&state).expect("something else in its place");
    resume("wall_clock");
    wait_for("it stops sealing", || has("pdmv2_sealing 0\n"));
    assert!(log(&site, "log").contains("no keys: packets pass without the option"), "{}", log(&site, "log"));
    std::fs::remove_dir(&state).expect("removed");
    std::fs::rename(site.path("aside"), &state).expect("back");
    wait_for("it seals again", || has("pdmv2_generation 4\n"));
    assert_eq!(running.stop()["resumptions"]["wall_clock"], 1);
}

#[test]
fn a_box_on_a_copied_disk_seals_only_when_it_is_told_that_the_disk_was_moved() {
    let site = Site::new(ENCRYPTED);
    config(&site, "net_null0,no-rx=1", "cores = [0]", "[keys]\nfile = \"pdmv2.keys\"\n");
    let on = |machine: &str, name: &str| {
        let running = Running::start_with(site.0.path(), "a.toml", name, &[("PDMV2_MACHINE", Path::new(machine))]);
        wait_for("the box's start", || log(&site, name).contains("ready"));
        running
    };
    assert_eq!(on("the first", "log1").stop()["generation"], 1);
    let running = on("its copy", "log2");
    let said = log(&site, "log2");
    assert!(said.contains("no key to seal with") && said.contains("written on another machine"), "{said}");
    let adopt = std::process::Command::new(programs::TOOL)
        .args(["state", "adopt", "--keys", "pdmv2.keys", "--node", "a"])
        .env("PDMV2_MACHINE", "its copy")
        .current_dir(site.0.path())
        .output()
        .expect("pdmv2");
    let text = String::from_utf8_lossy(&adopt.stdout);
    assert!(adopt.status.success() && text.contains("generation 1 was the last"), "{adopt:?}");
    wait_for("it seals", || log(&site, "log2").contains("sealing under a new generation"));
    assert_eq!(running.stop()["generation"], 2);
}

#[test]
fn where_no_box_runs_take_over_is_an_ordinary_start() {
    let site = Site::new(ENCRYPTED);
    config(&site, "net_null0,no-rx=1", "cores = [0]", "[keys]\nfile = \"pdmv2.keys\"\n[admin]\nsocket = \"a.sock\"\n");
    for start in 1..=2 {
        let name = format!("log{start}");
        let running = Running::start_as(site.0.path(), &["--take-over", "--config", "a.toml"], &name);
        wait_for("the box's start", || log(&site, &name).contains("ready: forwarding"));
        assert!(log(&site, &name).contains("no box runs; this is an ordinary start"), "{}", log(&site, &name));
        assert!(site.path("a.take-over").exists());
        if start == 1 {
            running.kill(); // its sockets stay, and nobody answers there
        } else {
            assert_eq!(running.stop()["generation"], 2);
        }
    }
    assert!(!site.path("a.take-over").exists() && !site.path("a.sock").exists(), "the sockets go with the box");
}

#[test]
fn what_cannot_start_says_why() {
    let site = Site::new(ENCRYPTED);
    let busy = std::net::TcpListener::bind("127.0.0.1:0").expect("port");
    let address = busy.local_addr().expect("address");
    config(&site, "net_null0", "cores = [0]", &format!("[telemetry]\nlisten = \"{address}\"\n"));
    let output = std::process::Command::new(programs::BOX)
        .args(["run", "--config", "a.toml"])
        .current_dir(site.0.path())
        .output();
    let output = output.expect("box");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains(&address.to_string()), "{text}");
    config(&site, "net_nosuch0", "cores = [0]", "");
    let output = std::process::Command::new(programs::BOX)
        .args(["run", "--config", "a.toml"])
        .current_dir(site.0.path())
        .output();
    assert!(!output.expect("box").status.success());
    std::fs::write(site.path("bad.toml"), "[node]\nnmae = \"a\"\n").expect("configuration");
    let output = std::process::Command::new(programs::BOX)
        .args(["run", "--check", "--config", "bad.toml"])
        .current_dir(site.0.path())
        .output();
    let output = output.expect("box");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("bad.toml:2:1") && text.contains("name"), "{text}");
}
