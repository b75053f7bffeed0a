//! `[registration]` and `[tls]` of a box: how it gets its keys from a registrar.

use crate::keys::connection::{self, RegistrationSettings};
use common::config::Checks;
use common::config::reader::{self, Table};
use common::config::report::{At, Report};
use common::identity;
use registration::wire::MAX_PREFIXES;
use std::path::Path;

/// The section; `None` when it is not there, or wrong.
pub fn section(
    root: &mut Table<'_>,
    name: Option<&At<&str>>,
    dir: &Path,
    checks: Checks,
    report: &mut Report<'_>,
) -> Option<At<RegistrationSettings>> {
    if root.value("registration").is_none() {
        if let Some(tls) = root.value("tls") {
            report.error(tls.span().start, "[tls] without [registration]", "add [registration], or delete it");
        }
        return None;
    }
    let mut table = root.table("registration", report)?;
    let at = table.at;
    table.require("registrars", "registrars = [\"registrar.example.net:7447\"]", report);
    let registrars = table.texts("registrars", report).and_then(|texts| {
        let read: Vec<_> = texts.iter().map(|text| registration::config::host_and_port(text, report)).collect();
        read.into_iter().collect::<Option<Vec<_>>>()
    });
    table.require("id", "id: as the registrar's configuration has it for this node", report);
    let id = table.text("id", report).and_then(|text| {
        let id = identity::parse_id(text.value);
        if id.is_none() {
            let message = format!("'{}' is not a node id", text.value);
            report.error(text.at, message, "write an IPv6 address of the box, or 32 random hex digits");
        }
        id
    });
    // Without them: whatever the registrar grants.
    let prefixes = match table.value("prefixes") {
        Some(_) => reader::prefixes(&mut table, "prefixes", report),
        None => Some(Vec::new()),
    };
    if prefixes.as_ref().is_some_and(|p| p.len() > MAX_PREFIXES) {
        report.error(at, format!("more than {MAX_PREFIXES} prefixes"), "join some");
    }
    table.finish(report);
    let tls = registration::config::tls(root, dir, report);
    let settings = RegistrationSettings {
        name: name?.value.to_owned(),
        id: id?,
        prefixes: prefixes?,
        registrars: registrars?,
        tls: tls?,
    };
    if checks == Checks::Everything {
        match connection::check(&settings) {
            Ok(tls) => registration::config::late_lists(&tls, at, report),
            Err(error) => report.error_in_files(at, format!("{error:#}"), "see docs/registration.md"),
        }
    }
    Some(At { value: settings, at })
}
