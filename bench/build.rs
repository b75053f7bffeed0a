//! Compiles the C side of the peers that `bench` compares with, one function each.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    compiler();
    rte_hash();
}

/// Which compiler counts of instructions are of: another one makes others.
fn compiler() {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("-V").output().ok().map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
    println!("cargo:rustc-env=BENCH_COMPILER={}", version.as_deref().unwrap_or("an unknown rustc").trim());
}

/// DPDK's rte_hash. `dpdk-ffi` has found libdpdk (or has said what is missing) and links it.
fn rte_hash() {
    const SOURCE: &str = "src/flow/rte_hash.c";
    println!("cargo:rerun-if-changed={SOURCE}");
    if env::var_os("CARGO_FEATURE_DPDK").is_none() {
        return;
    }
    println!("cargo:rerun-if-env-changed=PKG_CONFIG_PATH");
    // Not by the pkg-config crate: it drops `-include rte_config.h` and `-march`, which DPDK's headers need.
    let pkg_config = env::var_os("PKG_CONFIG").unwrap_or_else(|| "pkg-config".into());
    let flags = Command::new(pkg_config).args(["--cflags", "libdpdk"]).output().map(|o| o.stdout).unwrap_or_default();
    let mut shim = cc::Build::new();
    shim.file(SOURCE).warnings(false).opt_level(3);
    for flag in String::from_utf8_lossy(&flags).split_whitespace() {
        shim.flag(flag);
    }
    shim.compile("bench_rte_hash");
}
