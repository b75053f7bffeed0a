//! Packets of a running box, step by step and in a capture.

use crate::asking::{connect, json, pdmv2, prints, refuses, rest, start, start_with, try_get};
use crate::programs::{ENCRYPTED, Site, wait_for};
use crate::{ADMIN, schema};
use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use testkit::frames::{A, B, udp};

#[test]
fn a_running_box_tells_what_its_packets_go_through() {
    let site = Site::new(ENCRYPTED);
    let running = start(&site, true, ADMIN);
    let shown = prints(&site, &["trace", "--socket", "box.sock", "-n", "3", "--port", "1007"]);
    assert!(shown.ends_with("3 packets\n") || shown.contains("3 packets; "), "{shown}");
    for step in [
        "received      at the inside port",
        ":1007 > [",
        "policy        all",
        "sealed        PDMv2 encrypted",
        "sent          at the outside port",
    ] {
        assert_eq!(shown.matches(step).count(), 3, "{step}: {shown}");
    }
    let document = schema::document();
    let lines = prints(&site, &["trace", "--socket", "box.sock", "-n", "2", "--json"]);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for line in &lines {
        let wrong = schema::wrong(&document, &document["components"]["schemas"]["Line"], line);
        assert!(wrong.is_empty(), "{}\n{line}", wrong.join("\n"));
    }
    assert_eq!((lines.len(), &lines[0]["packet"]["outcome"]), (3, &"added".into()));
    assert_eq!(lines[2]["end"]["noted"], 2);
    let none = prints(&site, &["trace", "--socket", "box.sock", "--port", "9", "--seconds", "1"]);
    assert_eq!(none, "0 packets\n");
    let said = refuses(&site, &["trace", "--socket", "box.sock", "--policy", "nobody"]);
    assert!(said.contains("there is no policy 'nobody'"), "{said}");
    let counts = running.stop();
    assert_eq!(counts["outbound"]["forwarded"], counts["outbound"]["received"], "{counts}");
}

#[test]
fn a_capture_says_of_each_packet_what_became_of_it() {
    let site = Site::new(ENCRYPTED);
    let running = start(&site, true, ADMIN);
    for (point, option) in [("outside", true), ("inside", false)] {
        let file = format!("{point}.pcapng");
        let wanted = ["capture", "--socket", "box.sock", "--point", point, "-c", "50", "-w", &file];
        assert_eq!(prints(&site, &wanted), "");
        let mut capture = common::capture::Capture::open(&site.path(&file)).expect("a capture");
        let mut frames = 0;
        while let Some(frame) = capture.next_frame().expect("readable") {
            frames += 1;
            assert_eq!((frame.data[20] == 60, frame.missing()), (option, 0), "{point}");
        }
        assert_eq!(frames, 50, "{point}");
        match Command::new("tshark")
            .arg("-r")
            .arg(site.path(&file))
            .args(["-T", "fields", "-e", "frame.comment"])
            .output()
        {
            Ok(output) if output.status.success() => {
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                assert_eq!(
                    said.lines().filter(|line| line.contains("outbound added; policy all; PDMv2 encrypted")).count(),
                    50,
                    "{said}"
                );
            }
            other => eprintln!("tshark does not read it: {other:?}"),
        }
        let again = pdmv2(&site, &wanted);
        assert!(!again.status.success(), "a file that is there stays");
    }
    let counts = running.stop();
    assert_eq!(counts["outbound"]["forwarded"], counts["outbound"]["received"], "{counts}");
}

/// A packet of each form, one that is too long for its option, and one that no policy measures: the trace tells each step, the captures
/// show them at either port.
#[test]
fn every_form_is_told_and_what_is_answered_instead() {
    let case = |port: u16, mode, octets: usize, outcome, step, says, grown: usize| {
        (port, mode, octets, outcome, [step, says], grown)
    };
    // Port, mode, octets, what becomes of it, a step and what it says, and how many octets longer those leave that do.
    let cases = [
        case(1001, "pdm", 10, "added", "option", "PDM", 16),
        case(1002, "clear", 10, "added", "option", "PDMv2 in clear", 24),
        case(1003, "encrypted", 10, "added", "sealed", "PDMv2 encrypted", 40),
        case(1004, "encrypted", 1440, "too_big", "answered", "with ICMPv6 Packet Too Big", 0),
        case(1005, "off", 10, "passed", "reason", "off: ", 0),
    ];
    let site = Site::new(ENCRYPTED);
    let packets: Vec<_> = cases.iter().map(|&(port, _, octets, ..)| udp(A, B, port, 443, octets)).collect();
    let policies = cases
        .iter()
        .map(|(port, mode, ..)| format!("[[policy]]\nname = \"at-{port}\"\nports = [{port}]\nmode = \"{mode}\"\n"));
    let forwarding = format!("[forwarding]\noversize = \"ptb\"\n{ADMIN}");
    let running = start_with(&site, &packets, true, &forwarding, &policies.collect::<String>());
    for (port, _, octets, outcome, [step, says], grown) in cases {
        let at = port.to_string();
        // Most of what is too long passes: only so many are answered in a second.
        let mut packet = Value::Null;
        wait_for(outcome, || {
            let lines = prints(&site, &["trace", "--socket", "box.sock", "-n", "500", "--json", "--port", &at]);
            let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
            packet = lines
                .map(|mut line| line["packet"].take())
                .find(|packet| packet["outcome"] == outcome)
                .unwrap_or_default();
            !packet.is_null()
        });
        // What is not measured makes no flow.
        let policy = if outcome == "added" { Value::from(format!("at-{port}")) } else { Value::Null };
        assert_eq!(packet["policy"], policy, "{packet}");
        let steps = packet["steps"].as_array().expect("steps");
        let found = steps.iter().find(|one| one["step"] == step).unwrap_or(&Value::Null);
        assert!(found["says"].as_str().is_some_and(|said| said.starts_with(says)), "{port}: {packet}");
        let file = format!("{port}.pcapng");
        let capture = ["capture", "--socket", "box.sock", "-c", "3", "--port", &at, "-w", &file];
        assert_eq!(prints(&site, &capture), "");
        let mut capture = common::capture::Capture::open(&site.path(&file)).expect("a capture");
        let mut lengths = Vec::new();
        while let Some(frame) = capture.next_frame().expect("readable") {
            lengths.push(frame.original_len);
        }
        assert_eq!(lengths, [54 + 8 + octets + grown; 3], "{port}: what leaves at the outside port");
    }
    let counts = running.stop();
    assert_eq!(counts["outbound"]["received"], counts["outbound"]["forwarded"], "{counts}");
    assert!(counts["outbound"]["too_big"].as_u64() > Some(0), "{counts}");
}

/// Four may watch at once. A fifth is told so; one whose reader goes away makes room.
#[test]
fn watches_are_bounded_and_end_with_their_readers() {
    let site = Site::new(ENCRYPTED);
    let (running, socket) = (start(&site, true, ADMIN), site.path("box.sock"));
    // Of a port that no packet has: they last as long as they may.
    let begin = || -> UnixStream {
        let mut stream = connect(&socket);
        write!(stream, "GET /v1/trace?port=9&seconds=3600 HTTP/1.1\r\nHost: box\r\n\r\n").expect("asked");
        let mut head = [0; 12];
        stream.read_exact(&mut head).expect("an answer");
        assert_eq!(head, *b"HTTP/1.1 200");
        stream
    };
    let mut readers: Vec<_> = (0..4).map(|_| begin()).collect();
    for path in ["/v1/trace", "/v1/capture"] {
        let refused = json(&socket, path, 503);
        let error = refused["error"].as_str().expect("an error");
        assert!(error.starts_with("4 traces and captures are going on"), "{refused}");
        let document = schema::document();
        assert_eq!(schema::wrong(&document, schema::of_answer(&document, path, 503), &refused), Vec::<String>::new());
    }
    let said = refuses(&site, &["trace", "--socket", "box.sock", "-n", "1"]);
    assert!(said.contains("4 traces and captures are going on") && said.contains("end one of them"), "{said}");
    drop(readers.pop());
    wait_for("room for another", || try_get(&socket, "/v1/trace?n=1").is_some_and(|(status, _)| status == 200));
    // The others go on, until the box ends.
    let counts = running.stop();
    readers.iter_mut().for_each(|reader| drop(rest(reader)));
    assert_eq!(counts["outbound"]["forwarded"], counts["outbound"]["received"], "{counts}");
}
