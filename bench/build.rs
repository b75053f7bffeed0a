//! Compiles the C side of the peers that benchmarks compare with, a function each, and looks for the C libraries of the AEAD
//! benchmark. None of those is needed: the benchmark says which are missing.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SHIM: &str = "src/aead/ipsec_mb.c";
/// Changes when a package comes or goes: then the libraries are looked for anew.
const PACKAGES: &str = "/var/lib/dpkg/status";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    compiler();
    aead_libraries();
    rte_hash();
}

/// OpenSSL and intel-ipsec-mb.
fn aead_libraries() {
    println!("cargo::rerun-if-changed={SHIM}");
    if Path::new(PACKAGES).exists() {
        println!("cargo::rerun-if-changed={PACKAGES}");
    }
    println!("cargo::rustc-check-cfg=cfg(have_ipsec_mb, have_openssl)");
    let openssl = "#include <openssl/evp.h>\nint main(void) { return EVP_CIPHER_fetch(0, \"AES-128-GCM\", 0) == 0; }\n";
    if links("openssl", openssl, "crypto") {
        println!("cargo::rustc-cfg=have_openssl");
        println!("cargo::rustc-link-lib=dylib=crypto");
    }
    let ipsec_mb = "#include <intel-ipsec-mb.h>\nint main(void) {\n\
         IMB_MGR *m = alloc_mb_mgr(0); return m == 0 || m->submit_burst_nocheck == 0;\n}\n";
    if links("ipsec_mb", ipsec_mb, "IPSec_MB") {
        println!("cargo::rustc-cfg=have_ipsec_mb");
        cc::Build::new().file(SHIM).opt_level(3).compile("bench_ipsec_mb");
        println!("cargo::rustc-link-lib=dylib=IPSec_MB");
    }
}

/// Whether a program with the library can be built for the target.
fn links(name: &str, program: &str, library: &str) -> bool {
    let Some(dir) = env::var_os("OUT_DIR").map(PathBuf::from) else { return false };
    let (source, output) = (dir.join(format!("{name}.c")), dir.join(name));
    let Ok(compiler) = cc::Build::new().cargo_metadata(false).try_get_compiler() else { return false };
    let mut command = compiler.to_command();
    command.arg(&source).arg("-o").arg(output).arg(format!("-l{library}"));
    fs::write(&source, program).is_ok() && command.output().is_ok_and(|o| o.status.success())
}

/// Which compiler counts of instructions are of: another one makes others.
fn compiler() {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("-V").output().ok().map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
    println!("cargo::rustc-env=BENCH_COMPILER={}", version.as_deref().unwrap_or("an unknown rustc").trim());
}

/// DPDK's rte_hash. `dpdk-ffi` has found libdpdk (or has said what is missing) and links it.
fn rte_hash() {
    const SOURCE: &str = "src/flow/rte_hash.c";
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-env-changed=PKG_CONFIG_PATH");
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
