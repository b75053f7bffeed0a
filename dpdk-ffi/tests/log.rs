//! DPDK's own lines: each once, on standard error, and none that says that something is wrong when nothing is.

use dpdk_ffi::{Eal, Mempool, PortConfig};
use std::path::Path;
use std::process::Command;

/// The process that is looked at.
const CHILD: &str = "PDMV2_TEST_CHILD";

/// Stands before libc's functions, and writes down that they were called.
const SYSLOG: &str = r#"
#include <stdio.h>
#include <stdlib.h>
static void note(void) { FILE *f = fopen(getenv("PDMV2_TEST_SYSLOG"), "a"); if (f) { fputs("called\n", f); fclose(f); } }
void syslog(int priority, const char *format, ...) { (void)priority; (void)format; note(); }
void __syslog_chk(int priority, int flag, const char *format, ...) { (void)priority; (void)flag; (void)format; note(); }
"#;

fn a_port_is_used_and_stopped() {
    let arguments = "--no-huge -m 64 --no-pci --no-shconf --no-telemetry --iova-mode=va -l 0 --log-level=lib.*:debug \
                     --vdev=net_null0 --vdev=net_null1";
    let eal = Eal::init(&arguments.split_whitespace().collect::<Vec<_>>()).expect("EAL");
    let pool = Mempool::new(&eal, "p", 1023, 0, 2048 + 128, None).expect("pool");
    let config = PortConfig { queues: 1, rx_descriptors: 256, tx_descriptors: 256, mtu: None, promiscuous: true };
    for (name, stop) in [("net_null0", true), ("net_null1", false)] {
        let mut port = eal.port(name).expect("port");
        port.configure(&config, &pool).expect("configured");
        let port = port.start().expect("started");
        if stop {
            drop(port.stop().map_err(|(_, error)| error).expect("stopped"));
        }
    }
}

/// A library to be loaded before the others.
fn preload(dir: &Path) -> std::path::PathBuf {
    let (source, library) = (dir.join("syslog.c"), dir.join("syslog.so"));
    std::fs::write(&source, SYSLOG).expect("source");
    let cc = Command::new("cc").args(["-shared", "-fPIC", "-fno-builtin", "-o"]).arg(&library).arg(&source).output();
    let cc = cc.expect("a C compiler, which building needs too");
    assert!(cc.status.success(), "{}", String::from_utf8_lossy(&cc.stderr));
    library
}

#[test]
fn each_line_of_dpdks_comes_once_and_stopping_is_quiet() {
    if std::env::var_os(CHILD).is_some() {
        return a_port_is_used_and_stopped();
    }
    let dir = std::env::temp_dir().join(format!("pdmv2-log-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("directory");
    let syslog = dir.join("called");
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "each_line_of_dpdks_comes_once_and_stopping_is_quiet", "--nocapture"])
        .env(CHILD, "1")
        .env("LD_PRELOAD", preload(&dir))
        .env("PDMV2_TEST_SYSLOG", &syslog)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let called = syslog.exists();
    std::fs::remove_dir_all(&dir).expect("removed");
    assert!(output.status.success(), "{said}");
    let lines = said.matches("EAL: Detected NUMA nodes").count();
    assert_eq!(lines, 1, "{said}");
    assert!(!called, "syslog has them too: {said}");
    assert!(!said.contains("already stopped") && !said.contains("Cannot close"), "{said}");
}
