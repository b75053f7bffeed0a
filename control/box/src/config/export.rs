//! `[export]`: where flows are told to.

use crate::export::{Settings, Target};
use common::config::reader::Table;
use common::config::report::{At, Report};
use common::config::section;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

const IPFIX_REMEDY: &str =
    "write it like \"udp://[2001:db8::1]:4739\", \"tcp://192.0.2.1:4739\" or \"file:/var/lib/pdmv2/flows.ipfix\"";
const JSON_REMEDY: &str = "write it like \"file:/var/log/pdmv2/flows.json\" or \"unix:/run/flows.sock\"";
/// Of biflows' reverse elements (RFC 5103): under it other elements mean something else.
const REVERSE: i64 = 29305;

pub fn export(root: &mut Table<'_>, dir: &Path, report: &mut Report<'_>) -> Settings {
    let mut settings = Settings::default();
    let Some(Some(mut table)) = section(root, "export", report) else { return settings };
    let at = table.at;
    settings.ipfix = target(&mut table, "ipfix", dir, IPFIX_REMEDY, report);
    settings.json = target(&mut table, "json", dir, JSON_REMEDY, report);
    let nowhere = ["ipfix", "json"].iter().all(|key| table.value(key).is_none());
    let range = Duration::from_secs(1)..=Duration::from_secs(3600);
    settings.active = table.duration("active", range, report).map_or(settings.active, |active| active.value);
    if let Some(enterprise) = table.integer("enterprise", 1..=i64::from(u32::MAX), report) {
        if enterprise.value == REVERSE {
            let message = format!("'export.enterprise' cannot be {REVERSE}: it stands for the reverse direction");
            report.error(enterprise.at, message, "write your organization's number, which IANA gives out");
        }
        settings.enterprise = Some(enterprise.value as u32);
    }
    settings.domain = table.integer("domain", 0..=i64::from(u32::MAX), report).map_or(0, |domain| domain.value as u32);
    if let Some(size) = table.integer("file_mebibytes", 1..=1 << 20, report) {
        settings.file_limit = (size.value as u64) << 20;
    }
    table.finish(report);
    if nowhere {
        report.error(at, "[export] does not say where to", "add ipfix = \"…\" or json = \"…\", or delete [export]");
    } else if settings.ipfix.is_some() && settings.ipfix == settings.json {
        report.error(at, "[export] ipfix and json are the same file", "give each its own");
    }
    settings
}

fn target(
    table: &mut Table<'_>,
    key: &'static str,
    dir: &Path,
    remedy: &str,
    report: &mut Report<'_>,
) -> Option<Target> {
    let At { value: text, at } = table.text(key, report)?;
    let (scheme, rest) = text.split_once(':').unwrap_or((text, ""));
    let address = || rest.strip_prefix("//")?.parse::<SocketAddr>().ok().filter(|address| address.port() > 0);
    let file = || (!rest.is_empty() && !rest.starts_with("//")).then(|| dir.join(rest));
    let target = match (key, scheme) {
        ("ipfix", "udp") => address().map(Target::Udp),
        ("ipfix", "tcp") => address().map(Target::Tcp),
        (_, "file") => file().map(Target::File),
        ("json", "unix") => file().map(Target::Unix),
        _ => None,
    };
    match &target {
        None => report.error(at, format!("'{text}' is not a place for '{}'", table.path(key)), remedy),
        Some(Target::File(path) | Target::Unix(path)) => report.names(path, at),
        Some(_) => {}
    }
    target
}
