//! Log lines, for all programs, and the section that says which: `[telemetry]`.

use crate::config::reader::Table;
use crate::config::report::Report;
use crate::config::section;
use std::io::{IsTerminal, stderr};
use std::net::SocketAddr;
use std::sync::OnceLock;
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

/// Least severe messages that are logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogLevel {
    /// What stops something from working.
    Error,
    /// What may soon.
    Warn,
    /// Starts, stops, changes.
    Info,
    /// More than that.
    Debug,
}

/// Shape of log lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Metrics and logs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Telemetry {
    /// Where Prometheus may ask; `None`: no HTTP.
    pub listen: Option<SocketAddr>,
    /// Whether what the admin interface answers can be read there too.
    pub admin: bool,
    /// Least severe messages that are logged.
    pub log_level: LogLevel,
    /// Shape of log lines.
    pub log_format: LogFormat,
}

/// Reads `[telemetry]`; with `admin` only of a program that answers more than metrics.
pub fn telemetry(root: &mut Table<'_>, admin: bool, report: &mut Report<'_>) -> Telemetry {
    const LEVELS: [(&str, LogLevel); 4] =
        [("error", LogLevel::Error), ("warn", LogLevel::Warn), ("info", LogLevel::Info), ("debug", LogLevel::Debug)];
    const FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let mut telemetry =
        Telemetry { listen: None, admin: false, log_level: LogLevel::Info, log_format: LogFormat::Text };
    if let Some(Some(mut table)) = section(root, "telemetry", report) {
        if let Some(listen) = table.text("listen", report) {
            telemetry.listen = listen.value.parse::<SocketAddr>().ok();
            if telemetry.listen.is_none() {
                let message = format!("'{}' is not an address to listen on", listen.value);
                report.error(listen.at, message, "write it like \"127.0.0.1:9469\" or \"[::1]:9469\"");
            }
        }
        if admin {
            read_admin(&mut telemetry, &mut table, report);
        }
        telemetry.log_level = table.choice("log_level", &LEVELS, report).map_or(LogLevel::Info, |l| l.value);
        telemetry.log_format = table.choice("log_format", &FORMATS, report).map_or(LogFormat::Text, |f| f.value);
        table.finish(report);
    }
    telemetry
}

fn read_admin(telemetry: &mut Telemetry, table: &mut Table<'_>, report: &mut Report<'_>) {
    telemetry.admin = table.boolean("admin", false, report);
    let at = table.value("admin").map_or(table.at, |value| value.span().start);
    match telemetry.listen {
        _ if !telemetry.admin => {}
        None if table.value("listen").is_none() => {
            report.error(at, "'telemetry.admin' is true, and nothing listens", "add listen = \"127.0.0.1:9469\"");
        }
        Some(listen) if !listen.ip().is_loopback() => {
            let message = format!("everybody who reaches {listen} may read who talks to whom");
            report.warn(at, message, "listen on 127.0.0.1 or [::1], or leave it to [admin]'s socket");
        }
        _ => {}
    }
}

/// The crates whose lines the configured level is for. Of libraries only what goes wrong is logged: below that some of
/// them write down what they send.
const OURS: [&str; 7] = ["common", "dpdk_ffi", "middlebox", "pipeline", "protocol", "registrar", "registration"];

/// What lets lines through, once there is one: it can be replaced.
static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

fn filter(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
    };
    Targets::new().with_targets(OURS.map(|t| (t, level))).with_default(level.min(Level::WARN))
}

/// From now on lines are logged from this level on. Says whether there is a log.
pub fn set_level(level: LogLevel) -> bool {
    FILTER.get().is_some_and(|handle| handle.reload(filter(level)).is_ok())
}

/// Sends log lines to standard error. Only the first call in a process counts.
pub fn start(telemetry: &Telemetry) {
    let (filter, handle) = reload::Layer::new(filter(telemetry.log_level));
    let lines = fmt::layer().with_writer(stderr).with_target(false);
    let lines = match telemetry.log_format {
        LogFormat::Text => lines.with_ansi(stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    // A second time in one process is a test's business.
    if tracing_subscriber::registry().with(lines.with_filter(filter)).try_init().is_ok() {
        let _ = FILTER.set(handle);
    }
}
