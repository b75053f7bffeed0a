//! Looks for the C libraries that the AEAD benchmark compares with. None is needed: the benchmark says which are missing.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

const SHIM: &str = "src/aead/ipsec_mb.c";
/// Changes when a package comes or goes: then the libraries are looked for anew.
const PACKAGES: &str = "/var/lib/dpkg/status";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
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
