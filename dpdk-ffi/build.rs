//! Finds the system's libdpdk, compiles the shim, and makes the bindings.

use std::env;
use std::path::PathBuf;
use std::process::{Command, exit};

/// The oldest release that is tested. Later LTS releases keep the names used here.
const OLDEST: &str = "22.11";

fn main() {
    for file in ["build.rs", "shim.c", "shim.h"] {
        println!("cargo:rerun-if-changed={file}");
    }
    println!("cargo:rerun-if-env-changed=PKG_CONFIG_PATH");
    let flags = dpdk();
    let mut shim = cc::Build::new();
    shim.file("shim.c").warnings(false).opt_level(3);
    for flag in &flags {
        shim.flag(flag);
    }
    shim.compile("pdmv2_dpdk_shim");
    bindings(&flags);
}

/// Emits the linker's arguments, gives the compiler's.
fn dpdk() -> Vec<String> {
    if let Err(error) = pkg_config::Config::new().atleast_version(OLDEST).probe("libdpdk") {
        give_up(
            &format!("libdpdk {OLDEST} or later was not found with pkg-config"),
            "apt install libdpdk-dev pkg-config   (Debian 12 or later, Ubuntu 24.04 or later); with DPDK installed elsewhere, \
             set PKG_CONFIG_PATH to the directory of its libdpdk.pc",
            &error.to_string(),
        );
    }
    // The library above drops `-include rte_config.h` and `-march`, which DPDK's headers need.
    let pkg_config = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into());
    match Command::new(&pkg_config).args(["--cflags", "libdpdk"]).output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect()
        }
        other => {
            give_up("pkg-config --cflags libdpdk failed", "apt install pkg-config libdpdk-dev", &format!("{other:?}"))
        }
    }
}

fn bindings(flags: &[String]) {
    let builder = bindgen::Builder::default()
        .header("shim.h")
        .clang_args(flags)
        .allowlist_function("pdm_.*|rte_eal_iova_mode")
        .allowlist_function("rte_eal_(init|cleanup)|rte_strerror|rte_version|rte_get_tsc_hz|rte_thread_(un)?register")
        .allowlist_function("rte_pktmbuf_(pool_create|free_bulk)|rte_mempool_(avail_count|in_use_count)")
        .allowlist_function(
            "rte_eth_dev_(configure|start|stop|close|info_get|get_name_by_port|get_port_by_name|socket_id)",
        )
        .allowlist_function("rte_eth_dev_(set_mtu|get_mtu|set_link_up|set_link_down|adjust_nb_rx_tx_desc)")
        .allowlist_function(
            "rte_eth_(rx|tx)_queue_(setup|info_get)|rte_eth_find_next|rte_eth_macaddr_get|rte_eth_stats_(get|reset)|rte_eth_dev_(rx|tx)_offload_name",
        )
        .allowlist_function("rte_eth_(promiscuous|allmulticast)_(enable|disable|get)")
        .allowlist_function(
            "rte_eth_dev_(is_removed|is_valid_port|callback_register)|rte_dev_(name|event_callback_(register|process))",
        )
        .allowlist_function("rte_dev_(probe|bus)|rte_bus_name|rte_eal_hotplug_remove")
        .allowlist_function("rte_mbuf_dyn_rx_timestamp_register")
        .allowlist_function("rte_eth_dev_(conf_get|rss_hash_conf_get|rss_hash_update|rss_reta_query)")
        .allowlist_var("PDM_.*|RTE_MAX_ETHPORTS|RTE_ETH_NAME_MAX_LEN")
        .opaque_type("rte_mbuf|rte_mempool|rte_eth_rxseg_.*|rte_eth_fc_.*")
        .derive_default(true)
        .derive_debug(false)
        .layout_tests(false)
        .generate_comments(false);
    // Without libclang bindgen panics with a message that names no package.
    let silent = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| builder.generate()));
    std::panic::set_hook(silent);
    let remedy = "apt install libclang-dev clang   (or set LIBCLANG_PATH to the directory of libclang.so)";
    let bindings = match made {
        Ok(Ok(bindings)) => bindings,
        Ok(Err(error)) => give_up(
            "bindgen could not read DPDK's headers",
            "apt install libclang-dev clang libdpdk-dev",
            &error.to_string(),
        ),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            give_up("libclang, which bindgen needs, was not found", remedy, &text)
        }
    };
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("bindings.rs");
    if let Err(error) = bindings.write_to_file(&out) {
        give_up(&format!("{} could not be written", out.display()), "check the disk", &error.to_string());
    }
}

fn give_up(what: &str, remedy: &str, detail: &str) -> ! {
    eprintln!("\ndpdk-ffi: {what}.\n  Remedy: {remedy}\n  Detail: {detail}\n");
    exit(1)
}
