//! What a machine has to have for a rig.

use anyhow::{Result, bail};
use std::path::Path;

/// Whether this process can make a rig at all.
///
/// # Errors
/// What is missing, and the remedy.
pub fn able() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("network namespaces and taps need root: run with sudo");
    }
    if !Path::new("/dev/net/tun").exists() {
        bail!("there is no /dev/net/tun: load the kernel module (modprobe tun), or give the container that device");
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = |program: &str| std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    for (program, package) in [
        ("ip", "iproute2"),
        ("setpriv", "util-linux"),
        ("ethtool", "ethtool"),
        ("sysctl", "procps"),
        ("ping", "iputils-ping"),
        ("iperf3", "iperf3"),
        ("tcpdump", "tcpdump"),
    ] {
        if !there(program) {
            bail!("the program '{program}' is missing: apt install {package}");
        }
    }
    Ok(())
}
