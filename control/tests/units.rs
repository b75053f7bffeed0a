//! The systemd units in `configs/systemd`: what systemd makes of them, and whether the programs know their command lines.

mod programs;

use programs::{BOX, TOOL};
use std::path::Path;
use std::process::Command;

const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/systemd");
const UNITS: [&str; 2] = ["pdmv2-middlebox.service", "pdmv2-registrar.service"];
/// What systemd may find that a unit exposes, in tenths; 92 is a unit without any protection. systemd 252 finds 19 and 11; others
/// weigh a little differently.
const EXPOSURE: [u8; 2] = [21, 14];

/// A unit, with the programs where they are now.
fn unit(name: &str) -> String {
    let text = std::fs::read_to_string(Path::new(DIR).join(name)).expect("a unit");
    text.replace("=/usr/local/bin/pdmv2-middlebox ", &format!("={BOX} "))
        .replace("=/usr/local/bin/pdmv2 ", &format!("={TOOL} "))
}

/// The assignments of a unit, by section. Anything else but comments ends the test.
fn assignments(text: &str) -> Vec<(&str, &str, &str)> {
    let (mut all, mut section) = (Vec::new(), "");
    for line in text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            assert!(["Unit", "Service", "Install"].contains(&name), "{line}");
            section = name;
        } else {
            let (key, value) = line.split_once('=').expect("an assignment");
            assert!(!section.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric()), "{line}");
            all.push((section, key, value));
        }
    }
    all
}

#[test]
fn all_units_are_looked_at() {
    let mut names: Vec<_> =
        std::fs::read_dir(DIR).expect("units").flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort();
    assert_eq!(names, UNITS);
}

#[test]
fn systemd_finds_nothing_wrong() {
    let dir = tempfile::tempdir().expect("a directory");
    for name in UNITS {
        let path = dir.path().join(name);
        std::fs::write(&path, unit(name)).expect("written");
        let analyze = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output();
        match analyze {
            // Unknown keys are warnings only, and it exits with 0.
            Ok(output) => assert!(
                output.status.success() && output.stderr.is_empty() && output.stdout.is_empty(),
                "{name}: {}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ),
            Err(error) => eprintln!("{name} is not verified: systemd-analyze: {error}"),
        }
    }
}

#[test]
fn the_programs_know_their_command_lines() {
    for name in UNITS {
        let text = unit(name);
        let all = assignments(&text);
        let of = |key| all.iter().filter(move |(section, k, _)| *section == "Service" && *k == key).map(|(.., v)| *v);
        let (check, run) = (of("ExecStartPre").collect::<Vec<_>>(), of("ExecStart").collect::<Vec<_>>());
        assert_eq!(check, [format!("{} --check", run[0])], "{name}: what is checked is what is started");
        assert_eq!(of("LimitCORE").collect::<Vec<_>>(), ["0"], "{name}: no secret in a core dump");
        for line in [check[0], run[0]] {
            let dir = tempfile::tempdir().expect("a directory");
            let missing = dir.path().join("missing.toml");
            let mut words = line.split(' ');
            let mut command = Command::new(words.next().expect("a program"));
            command.args(words.map(|w| if w.ends_with(".toml") { missing.as_os_str() } else { w.as_ref() }));
            let output = command.output().expect("it runs");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            // 1: no configuration there; 2 would be a command line that it does not know.
            assert_eq!(output.status.code(), Some(1), "{name}: {line}: {said}");
            assert!(said.contains("missing.toml"), "{name}: {line}: {said}");
        }
    }
}

#[test]
fn they_start_without_the_network_and_never_give_up() {
    for name in UNITS {
        let text = unit(name);
        let all = assignments(&text);
        let of = |section, key| {
            all.iter().filter(move |(s, k, _)| *s == section && *k == key).map(|(.., v)| *v).collect::<Vec<_>>()
        };
        assert_eq!(of("Unit", "StartLimitIntervalSec"), ["0"], "{name}");
        assert_eq!(of("Service", "Restart"), ["on-failure"], "{name}");
        for (_, key, value) in &all {
            assert!(!value.contains("network-online.target"), "{name}: {key} waits for the management network");
        }
    }
}

#[test]
fn the_box_may_lock_memory_use_vfio_and_little_else() {
    let text = unit("pdmv2-middlebox.service");
    let all = assignments(&text);
    let of = |key| all.iter().filter(move |(_, k, _)| *k == key).map(|(.., v)| *v).collect::<Vec<_>>();
    assert_eq!(of("CapabilityBoundingSet"), ["CAP_IPC_LOCK"]);
    assert_eq!(of("LimitMEMLOCK"), ["infinity"]);
    assert_eq!((of("DevicePolicy"), of("DeviceAllow")), (vec!["closed"], vec!["/dev/vfio/vfio rw", "char-vfio rw"]));
    // These would take away what DPDK needs.
    assert!(of("PrivateDevices").is_empty() && of("PrivateUsers").is_empty() && of("ProcSubset").is_empty());
    // DPDK places its memory and its threads.
    assert!(of("SystemCallFilter").iter().all(|f| !f.contains("@resources")));
}

/// systemd gives a runtime directory to the unit's user, and removes it when the unit stops: what two units share would be lost.
#[test]
fn a_registrar_that_stops_takes_no_boxs_socket_with_it() {
    let text = unit("pdmv2-registrar.service");
    let directories: Vec<_> =
        assignments(&text).iter().filter(|(_, k, _)| *k == "RuntimeDirectory").map(|(.., v)| *v).collect();
    assert_eq!(directories, ["pdmv2-registrar"]);
    assert_ne!(format!("/run/{}", directories[0]), common::admin::config::DIRECTORY);
    for side in ["east", "west"] {
        let path = format!("{DIR}/../registrar-{side}.toml");
        let example = std::fs::read_to_string(&path).expect("an example");
        let admin = example.lines().find_map(|l| l.strip_prefix("admin = \"")).expect("an admin socket");
        assert!(admin.starts_with("/run/pdmv2-registrar/"), "{path}: {admin}");
    }
}

#[test]
fn what_they_expose_stays_small() {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, most) in UNITS.into_iter().zip(EXPOSURE) {
        let path = dir.path().join(name);
        std::fs::write(&path, unit(name)).expect("written");
        let mut analyze = Command::new("systemd-analyze");
        analyze.args(["security", "--no-pager", "--offline=true", &format!("--threshold={most}")]).arg(&path);
        match analyze.output() {
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                assert!(said.contains("Overall exposure level"), "{said}{}", String::from_utf8_lossy(&output.stderr));
                assert!(output.status.success(), "{name}: {}", said.lines().last().unwrap_or_default());
            }
            Err(error) => eprintln!("{name} is not looked at: systemd-analyze: {error}"),
        }
    }
}

#[test]
fn the_readme_makes_a_directory_that_both_users_can_enter() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).expect("README.md");
    let line = readme.lines().find(|l| l.trim_start().starts_with("sudo install -d")).expect("a line that makes it");
    let command = line.split('#').next().unwrap_or_default().trim_end();
    assert!(command.ends_with("-m 755 /etc/pdmv2"), "{line}");
}
