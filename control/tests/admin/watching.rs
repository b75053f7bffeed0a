//! Packets of a running box, step by step and in a capture.

use crate::asking::{pdmv2, prints, refuses, start};
use crate::programs::{ENCRYPTED, Site};
use crate::{ADMIN, schema};
use serde_json::Value;
use std::process::Command;

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
