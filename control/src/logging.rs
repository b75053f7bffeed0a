//! Log lines, for all programs.

use crate::config::{LogFormat, LogLevel, Telemetry};
use std::io::{IsTerminal, stderr};
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// The crates whose lines the configured level is for. Of libraries only what goes wrong is logged: below that some of
/// them write down what they send.
const OURS: [&str; 4] = ["control", "pipeline", "protocol", "dpdk_ffi"];

/// Sends log lines to standard error. Only the first call in a process counts.
pub fn start(telemetry: &Telemetry) {
    let level = match telemetry.log_level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
    };
    let filter = Targets::new().with_targets(OURS.map(|t| (t, level))).with_default(level.min(Level::WARN));
    let lines = fmt::layer().with_writer(stderr).with_target(false);
    let lines = match telemetry.log_format {
        LogFormat::Text => lines.with_ansi(stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let done = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
    let _ = done; // a second time in one process is a test's business
}
