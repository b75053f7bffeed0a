//! What cargo-fuzz and `fuzz-smoke` run is the same list.

use pdmv2_fuzz::TARGETS;
use std::path::Path;
use std::process::{Command, Output};

fn smoke(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fuzz-smoke")).args(arguments).output().expect("fuzz-smoke starts")
}

#[test]
fn each_target_has_its_program_for_cargo_fuzz() {
    let at = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read_to_string(at.join("Cargo.toml")).expect("read");
    for (name, _) in TARGETS {
        let text = std::fs::read_to_string(at.join(format!("fuzz_targets/{name}.rs"))).expect("a file for each target");
        assert!(text.contains(&format!("pdmv2_fuzz::{name}(")), "{name}.rs runs {name}");
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name} is in Cargo.toml");
    }
    assert_eq!(manifest.matches("path = \"fuzz_targets/").count(), TARGETS.len(), "and no program without a target");
}

#[test]
fn an_input_can_be_seen_again() {
    for (name, _) in TARGETS {
        let again = smoke(&["--target", name, "--input", "60ff00"]);
        assert!(again.status.success(), "{name}: {}", String::from_utf8_lossy(&again.stderr));
    }
}

#[test]
fn what_is_asked_for_and_is_not_there_is_an_error() {
    let unknown = smoke(&["--target", "wlak"]);
    assert!(!unknown.status.success());
    let says = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(TARGETS.iter().all(|(name, _)| says.contains(name)), "the targets are named: {says}");
    assert!(!smoke(&["--target", "walk", "--input", "xyz"]).status.success(), "not hex");
}
