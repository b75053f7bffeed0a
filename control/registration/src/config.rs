//! Sections that boxes and registrars both have: `[tls]`, and addresses of registrars.

use crate::tls::{AuthorityFiles, CrlExpired, Tls, TlsFiles};
use common::config::path;
use common::config::reader::Table;
use common::config::report::{At, Report};
use std::path::Path;

/// `[tls]`, of a registrar or a box.
pub fn tls(root: &mut Table<'_>, dir: &Path, report: &mut Report<'_>) -> Option<TlsFiles> {
    if !root.require("tls", "[tls] with ca, certificate and key ('pdmv2 pki' makes them)", report) {
        return None;
    }
    let mut table = root.table("tls", report)?;
    let mut file = |key, example: &str| {
        table.require(key, example, report);
        path(&mut table, key, dir, report).map(|p| p.value)
    };
    let ca = file("ca", "ca = \"ca.crt\"");
    let certificate = file("certificate", "certificate = \"NAME.crt\"");
    let key = file("key", "key = \"NAME.key\"");
    let crl = path(&mut table, "crl", dir, report).map(|p| p.value);
    let words = [CrlExpired::Warn, CrlExpired::Refuse].map(|e| (e.name(), e));
    let crl_expired = table.choice("crl_expired", &words, report).map_or(CrlExpired::default(), |e| e.value);
    table.finish(report);
    let own = AuthorityFiles { ca: ca?, crl };
    Some(TlsFiles { certificate: certificate?, key: key?, own, peers: Vec::new(), crl_expired })
}

/// `HOST:PORT`, `[ADDRESS]:PORT`.
pub fn host_and_port(text: &At<&str>, report: &mut Report<'_>) -> Option<(String, u16)> {
    let parsed = text.value.rsplit_once(':').and_then(|(host, port)| {
        let port = port.parse::<u16>().ok().filter(|&p| p > 0)?;
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let host = bare.or_else(|| Some(host).filter(|h| !h.contains(':')))?;
        crate::tls::server_name(host).ok()?;
        Some((host.to_owned(), port))
    });
    if parsed.is_none() {
        let message = format!("'{}' is not a host and a port", text.value.escape_debug());
        report.error(text.at, message, "write it like \"registrar.example.net:7447\" or \"[2001:db8::1]:7447\"");
    }
    parsed
}

/// Revocation lists that are near their end, or past it: the registrar or box starts, and takes a newer one when it comes.
pub fn late_lists(tls: &Tls, at: usize, report: &mut Report<'_>) {
    tls.late().into_iter().for_each(|text| report.warn(at, text, "see docs/registration.md"));
}
