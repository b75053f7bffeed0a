//! The admin interface of a box, the program itself, on software ports; and the commands that ask it.

mod asking;
#[path = "../programs/mod.rs"]
mod programs;
mod schema;
mod terminal;
mod watching;

use asking::{connect, json, log, prints, refuses, rest, start, try_get};
use programs::{ENCRYPTED, Running, Site, wait_for};
use rig::free_port;
use rustix::process::Signal;
use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const ADMIN: &str = "[admin]\nsocket = \"box.sock\"\n";

fn direction<'s>(status: &'s Value, name: &str) -> &'s Value {
    let all = status["directions"].as_array().into_iter().flatten();
    all.clone().find(|direction| direction["direction"] == name).expect("a direction")
}

#[test]
fn every_answer_is_as_described_and_tells_what_the_box_tells_at_its_end() {
    let site = Site::new(ENCRYPTED);
    let (running, socket) = (start(&site, false, ADMIN), site.path("box.sock"));
    let received = |n: u64| direction(&json(&socket, "/v1/status", 200), "outbound")["received"] == n;
    wait_for("all packets", || received(1000));
    wait_for("an interval", || json(&socket, "/v1/status", 200)["interval_seconds"].is_number());
    let document = schema::document();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        // What is ordered is tried elsewhere.
        if methods.get("get").is_none() {
            continue;
        }
        // Streams are asked for elsewhere.
        let streams = ["/v1/trace", "/v1/capture"].contains(&path.as_str());
        let answer = if streams { Value::Null } else { json(&socket, path, 200) };
        if !streams {
            let wrong = schema::wrong(&document, schema::of_answer(&document, path, 200), &answer);
            assert!(wrong.is_empty(), "{path}: {}\n{answer}", wrong.join("\n"));
        }
        if path != "/v1/openapi.json" {
            let failure = json(&socket, &format!("{path}?nonsense=1"), 400);
            let wrong = schema::wrong(&document, schema::of_answer(&document, path, 400), &failure);
            assert!(wrong.is_empty(), "{path}: {}\n{failure}", wrong.join("\n"));
        } else {
            assert_eq!(answer, document);
        }
        for parameter in document["paths"][path]["get"]["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().expect("a name");
            let known = json(&socket, &format!("{path}?{name}=%00"), 400);
            assert!(
                known["error"].as_str().is_some_and(|e| e.starts_with(name)),
                "{path}: {name} is not known: {known}"
            );
        }
    }
    assert_eq!(json(&socket, "/v1/nothing", 404)["known"].as_array().map(Vec::len), Some(13));

    let [status, policies] = ["/v1/status", "/v1/policies"].map(|path| json(&socket, path, 200));
    let flows = json(&socket, "/v1/flows?port=443&policy=all&protocol=udp&limit=4", 200);
    assert_eq!((&flows["in_table"], &flows["matching"]), (&1000.into(), &1000.into()));
    let named: Vec<_> = flows["flows"].as_array().into_iter().flatten().map(|flow| &flow["policy"]).collect();
    assert_eq!(named, ["all"; 4]);
    let shown = prints(&site, &["status", "--socket", "box.sock"]);
    assert!(shown.starts_with("a: up ") && shown.contains("outbound       1000       1000        0"), "{shown}");
    let counts = running.stop();
    for name in ["outbound", "inbound"] {
        let direction = direction(&status, name);
        assert_eq!(
            (&direction["received"], &direction["forwarded"]),
            (&counts[name]["received"], &counts[name]["forwarded"])
        );
        assert_eq!(direction["dropped"], counts[name]["dropped_total"]);
    }
    assert_eq!((&status["node"], &status["keys"]["generation"]), (&counts["node"], &counts["generation"]));
    assert_eq!(status["ports"][0]["rx_packets"], counts["ports"]["inside"]["rx_packets"]);
    assert_eq!(status["workers"][0]["received"], counts["by_worker"][0]["received"]);
    assert_eq!(policies["policies"][0]["added"], counts["policies"][0]["added"]);
    assert_eq!(policies["policies"][0]["added"], 1000);
    assert!(!socket.exists(), "the socket ends with the box");
}

/// Policies are stopped and started while packets come; what becomes of these follows at once.
#[test]
fn a_policy_is_stopped_and_started_while_packets_come() {
    let site = Site::new(ENCRYPTED);
    let more = "[[pair]]\nname = \"to-all\"\noutside = [\"::/0\"]\n";
    let (running, socket) = (start(&site, true, &format!("{ADMIN}{more}")), site.path("box.sock"));
    let policy = || json(&socket, "/v1/policies", 200)["policies"][0].clone();
    let added = || policy()["added"].as_u64().expect("a count");
    wait_for("options", || added() > 1000);
    let stopped = prints(&site, &["policy", "stop", "all", "--socket", "box.sock"]);
    assert_eq!(stopped, "policy all has ended: it adds no more options\n");
    // What is in a burst by then may get its option.
    let before = {
        std::thread::sleep(Duration::from_millis(100));
        added()
    };
    let expired = || {
        let status = json(&socket, "/v1/status", 200);
        let reasons = status["reasons"].as_array().expect("reasons").clone();
        reasons.iter().find(|reason| reason["reason"] == "policy_expired").and_then(|r| r["packets"].as_u64())
    };
    wait_for("packets without it", || expired().is_some_and(|packets| packets > 1000));
    assert_eq!((added(), &policy()["ends_in_seconds"]), (before, &0.0.into()));
    let shown = prints(&site, &["status", "--socket", "box.sock"]);
    assert!(shown.contains("ENDED") && shown.contains("pdmv2 policy start"), "{shown}");
    let started = prints(&site, &["policy", "start", "all", "--for", "1h", "--socket", "box.sock"]);
    assert_eq!(started, "policy all adds options, and ends in 1 h 0 min\n");
    wait_for("options again", || added() > before + 1000);
    let listed = prints(&site, &["policy", "list", "--socket", "box.sock"]);
    assert!(listed.contains("59 min") || listed.contains("1 h 0 min"), "{listed}");
    let document = schema::document();
    let answer = asking::order(&socket, "/v1/policies/start?policy=all&for_seconds=1", 200);
    let wrong = schema::wrong(&document, schema::of_answer(&document, "/v1/policies/start", 200), &answer);
    assert!(wrong.is_empty(), "{wrong:?}");
    wait_for("its end", || policy()["ends_in_seconds"] == 0.0);
    let said = refuses(&site, &["policy", "start", "al", "--socket", "box.sock"]);
    assert!(said.contains("there is no policy 'al'") && said.contains("all"), "{said}");
    let counts = running.stop();
    assert_eq!(
        (&counts["pairs"][0]["name"], &counts["pairs"][0]["added"]),
        (&"to-all".into(), &counts["policies"][0]["added"])
    );
    assert!(
        log(&site).contains("a policy was stopped") && log(&site).contains("a policy was started"),
        "{}",
        log(&site)
    );
}

/// A configuration is read again under load, over and over: not a packet is lost, what changes is named, and what is wrong, or needs
/// a restart, changes nothing.
#[test]
fn a_configuration_is_read_again_while_packets_come() {
    let site = Site::new(ENCRYPTED);
    let (running, socket) = (start(&site, true, ADMIN), site.path("box.sock"));
    let text = std::fs::read_to_string(site.path("a.toml")).expect("configuration");
    let write = |text: &str| std::fs::write(site.path("a.toml"), text).expect("configuration");
    let reload = || prints(&site, &["reload", "--socket", "box.sock"]);
    assert_eq!(reload(), "nothing has changed\n");
    let policies = || json(&socket, "/v1/policies", 200)["policies"].clone();
    let clear = text.replace("mode = \"encrypted\"", "mode = \"clear\"");
    assert_ne!(clear, text, "the policy is encrypted at first");
    for turn in 0..20 {
        write(if turn % 2 == 0 { &clear } else { &text });
        assert_eq!(reload(), "changed: policy\n", "turn {turn}");
        let added = || policies()[0]["added"].as_u64().expect("a count");
        let before = added();
        wait_for("options under it", || added() > before);
        assert_eq!(policies()[0]["mode"], if turn % 2 == 0 { "clear" } else { "encrypted" });
    }
    // A signal does the same.
    write(&format!(
        "{text}[[policy]]\nname = \"more\"\nprotocol = \"sctp\"\nmode = \"off\"\n[telemetry]\nlog_level = \"debug\"\n"
    ));
    running.signal(Signal::HUP);
    wait_for("the signal", || policies()[1]["name"] == "more");
    wait_for("the log", || log(&site).contains("telemetry.log_level"));
    // Telemetry moves, with the page or without it; where it cannot, nothing changes.
    let ports = [free_port(), free_port()];
    let over_http = |port: u16, path: &str| {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    };
    let telemetry = |port: u16, more: &str| format!("{text}[telemetry]\nlisten = \"127.0.0.1:{port}\"\n{more}");
    write(&telemetry(ports[0], ""));
    assert_eq!(reload(), "changed: telemetry.listen, policy, telemetry.log_level\n");
    assert!(over_http(ports[0], "/metrics").is_some_and(|text| text.contains("pdmv2_up_seconds")));
    assert!(over_http(ports[0], "/v1/status").is_some_and(|text| text.starts_with("HTTP/1.0 404")));
    write(&telemetry(ports[0], "admin = true\n"));
    assert_eq!(reload(), "changed: telemetry.admin\n");
    assert!(over_http(ports[0], "/v1/status").is_some_and(|text| text.contains("\"node\":\"a\"")));
    let taken = std::net::TcpListener::bind(("127.0.0.1", ports[1])).expect("a port");
    write(&telemetry(ports[1], "").replace("mode = \"encrypted\"", "mode = \"clear\""));
    let said = refuses(&site, &["reload", "--socket", "box.sock"]);
    assert!(said.contains(&format!("cannot listen on 127.0.0.1:{}", ports[1])), "{said}");
    assert_eq!(policies()[0]["mode"], "encrypted", "nothing of it is taken");
    assert!(over_http(ports[0], "/v1/status").is_some());
    drop(taken);
    assert_eq!(reload(), "changed: telemetry.listen, telemetry.admin, policy\n");
    assert!(over_http(ports[0], "/healthz").is_none() && over_http(ports[1], "/healthz").is_some());
    let more = "[[policy]]\nname = \"more\"\nprotocol = \"sctp\"\nmode = \"off\"\n";
    write(&format!("{text}{more}"));
    assert!(reload().ends_with("changed: telemetry.listen, policy\n"));
    assert!(over_http(ports[1], "/healthz").is_none());
    write(&format!("{text}nonsense = 1\n"));
    let said = refuses(&site, &["reload", "--socket", "box.sock"]);
    assert!(said.contains("a.toml:") && said.contains("nonsense"), "{said}");
    write(&text.replace("idle = \"sleep\"", "idle = \"yield\""));
    let said = refuses(&site, &["reload", "--socket", "box.sock"]);
    assert!(
        said.contains("workers cannot change while the box runs") && said.contains("start the box again"),
        "{said}"
    );
    assert_eq!(policies()[1]["name"], "more", "all is as it was");
    let document = schema::document();
    write(&text);
    let answer = asking::order(&socket, "/v1/reload", 200);
    let wrong = schema::wrong(&document, schema::of_answer(&document, "/v1/reload", 200), &answer);
    assert!(wrong.is_empty() && answer["changed"] == serde_json::json!(["policy"]), "{wrong:?} {answer}");
    let counts = running.stop();
    let outbound = &counts["outbound"];
    assert!(outbound["received"].as_u64() > Some(1000), "{counts}");
    assert_eq!((&outbound["forwarded"], &outbound["dropped_total"]), (&outbound["received"], &0.into()), "{counts}");
}

#[test]
fn the_socket_is_for_whom_the_configuration_names_and_http_only_when_it_says_so() {
    let site = Site::new(ENCRYPTED);
    let port = free_port();
    let telemetry = format!("[telemetry]\nlisten = \"127.0.0.1:{port}\"\n");
    let socket = site.path("run/box.sock");
    let group = std::fs::metadata(site.0.path()).expect("a directory").gid();
    let of = |path: &Path| {
        let metadata = std::fs::symlink_metadata(path).expect("a socket");
        (metadata.permissions().mode() & 0o7777, metadata.gid())
    };
    let over_http = |path: &str| {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("telemetry");
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    };
    let running = start(&site, false, &format!("[admin]\nsocket = \"run/box.sock\"\n{telemetry}"));
    assert_eq!((of(&socket).0, of(&site.path("run")).0), (0o600, 0o755));
    assert!(over_http("/v1/status").starts_with("HTTP/1.0 404") && over_http("/healthz").ends_with("ok\n"));
    let page = over_http("/");
    assert!(page.starts_with("HTTP/1.0 200") && page.contains("admin = true") && !page.contains("2001:db8"), "{page}");
    // As kill -9: what is left behind is in nobody's way.
    running.kill();
    assert!(socket.exists());
    let said = refuses(&site, &["status", "--config", "a.toml"]);
    assert!(said.contains("run/box.sock") && said.contains("the box has ended"), "{said}");
    let more = format!("[admin]\nsocket = \"run/box.sock\"\ngroup = \"{group}\"\n{telemetry}admin = true\n");
    let running = start(&site, false, &more);
    assert_eq!(of(&socket), (0o660, group));
    assert!(over_http("/v1/status").contains("\"node\":\"a\""), "{}", over_http("/v1/status"));
    wait_for("flows on the page", || over_http("/").contains("10 of 1,000 flows"));
    let page = over_http("/?policy=all");
    assert!(page.contains("<h1>a</h1>") && page.contains("content-security-policy: default-src 'none'"), "{page}");
    assert!(prints(&site, &["status", "--config", "a.toml"]).starts_with("a: up "));
    // Another box is not let in its place.
    let second = Command::new(programs::BOX).args(["run", "--config", "a.toml"]).current_dir(site.0.path()).output();
    let said = String::from_utf8_lossy(&second.expect("box").stderr).into_owned();
    assert!(said.contains("another box answers there") || said.contains("listen"), "{said}");
    assert!(prints(&site, &["status", "--config", "a.toml"]).starts_with("a: up "));
    drop(running.stop());
}

/// Those who never ask, never read, or are too many: the box forwards all it gets, and others are answered.
#[test]
fn slow_and_many_readers_hold_up_nobody() {
    let site = Site::new(ENCRYPTED);
    let (running, socket) = (start(&site, true, ADMIN), site.path("box.sock"));
    wait_for("flows", || json(&socket, "/v1/flows", 200)["in_table"] == 1000);
    let forwarded = || {
        let (status, body) = try_get(&socket, "/v1/status")?;
        let status = (status == 200).then(|| serde_json::from_str::<Value>(&body).expect("JSON"))?;
        direction(&status, "outbound")["forwarded"].as_u64()
    };
    let before = forwarded().expect("an answer");
    let mut silent: Vec<_> = (0..40).map(|_| connect(&socket)).collect();
    let mut unread: Vec<_> = (0..40).map(|_| connect(&socket)).collect();
    for stream in &mut unread {
        // The connection may have been ended for a newer one.
        drop(write!(stream, "GET /v1/flows?limit=1000 HTTP/1.1\r\nHost: box\r\n\r\n"));
    }
    let mut many: Vec<_> = (0..200).filter_map(|_| std::os::unix::net::UnixStream::connect(&socket).ok()).collect();
    let files = || std::fs::read_dir(format!("/proc/{}/fd", running.0.id())).expect("a process").count();
    assert!(files() < 200, "{} files are open", files());
    wait_for("an answer among them all, and traffic meanwhile", || forwarded().is_some_and(|n| n > before + 10_000));
    for stream in silent.iter_mut().chain(&mut unread) {
        rest(stream); // it is ended
    }
    many.clear();
    let flows = json(&socket, "/v1/flows?sort=received&limit=10000", 200);
    assert_eq!(flows["matching"], 1000);
    let counts = running.stop();
    assert_eq!(counts["outbound"]["forwarded"], counts["outbound"]["received"], "{counts}");
    assert_eq!(counts["outbound"]["dropped_total"], 0);
}

#[test]
fn commands_say_what_is_wrong_and_what_to_do() {
    let site = Site::new(ENCRYPTED);
    let said = refuses(&site, &["status", "--socket", "none.sock"]);
    assert!(said.contains("none.sock: there is no box; start it with an [admin] section"), "{said}");
    let said = refuses(&site, &["flows", "--config", "a.toml"]);
    assert!(said.contains("a.toml") && said.contains("add [admin]"), "{said}");
    let said = refuses(&site, &["top", "--socket", "none.sock"]);
    assert!(said.contains("top needs a terminal") && said.contains("--watch"), "{said}");
    let running: Running = start(&site, false, ADMIN);
    let said = refuses(&site, &["flows", "--socket", "box.sock", "--address", "here"]);
    assert!(said.contains("address: 'here' is no value of it: write an IPv6 address"), "{said}");
    let said = refuses(&site, &["flows", "--socket", "box.sock", "--policy", "al"]);
    assert!(said.contains("there is no policy 'al'") && said.contains("all"), "{said}");
    wait_for("flows", || prints(&site, &["flows", "--socket", "box.sock", "--json"]).contains("\"in_table\":1000"));
    let table = prints(&site, &["flows", "--socket", "box.sock", "--sort", "idle", "-n", "3", "--port", "443"]);
    assert!(
        table.contains("udp     all") && table.ends_with("3 of 1000 flows that match, 1000 in the table\n"),
        "{table}"
    );
    assert!(prints(&site, &["flows", "--socket", "box.sock", "--sort", "rate"]).contains("packets/s"));
    // Whoever is not its user is told how to be let in.
    let as_nobody =
        Command::new(programs::TOOL).args(["status", "--socket"]).arg(site.path("box.sock")).uid(65534).output();
    match as_nobody {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success() && said.contains("you may not ask this box; do it as root"), "{said}");
        }
        Err(error) => eprintln!("permissions are not tried: {error}"),
    }
    drop(running.stop());
    assert!(log(&site).contains("admin"), "the log says where it listens");
}

#[test]
fn shells_complete_the_commands() {
    let site = Site::new(ENCRYPTED);
    for shell in ["bash", "zsh", "fish"] {
        let script = prints(&site, &["completions", shell]);
        assert!(
            ["capture", "flows", "status", "top", "trace"].iter().all(|command| script.contains(command)),
            "{shell}: {script}"
        );
        let of_the_box = Command::new(env!("CARGO_BIN_EXE_pdmv2-middlebox")).args(["completions", shell]).output();
        let of_the_box = String::from_utf8(of_the_box.expect("started").stdout).expect("text");
        assert!(["run", "replay", "check"].iter().all(|word| of_the_box.contains(word)), "{shell}: {of_the_box}");
        let path = site.path(shell);
        std::fs::write(&path, &script).expect("written");
        match Command::new(shell).arg("-n").arg(&path).output() {
            Ok(output) => assert!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr)),
            Err(error) => eprintln!("{shell} does not check its completions: {error}"),
        }
    }
}
