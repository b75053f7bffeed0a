//! `[etcd]`: several registrars of one side on one etcd.

use super::names::named;
use crate::etcd_client::EtcdConfig;
use common::config::reader::Table;
use common::config::report::{At, Report};
use common::config::{path, section};
use registration::config::host_and_port;
use std::path::Path;
use std::time::Duration;

/// The section; `None` when it is not there, or wrong.
pub fn etcd(root: &mut Table<'_>, name: Option<&str>, dir: &Path, report: &mut Report<'_>) -> Option<EtcdConfig> {
    let mut table = section(root, "etcd", report)??;
    let at = table.at;
    table.require("endpoints", "endpoints = [\"https://etcd-1.example.net:2379\"]", report);
    let mut endpoints = Vec::new();
    let mut secure = Vec::new();
    for text in table.texts("endpoints", report).unwrap_or_default() {
        let (scheme, rest) = text.value.split_once("://").unwrap_or_default();
        if !["http", "https"].contains(&scheme) || host_and_port(&At { value: rest, at: text.at }, report).is_none() {
            let message = format!("'{}' is not an endpoint of etcd", text.value.escape_debug());
            report.error(text.at, message, "write it like \"https://etcd-1.example.net:2379\"");
        }
        secure.push(scheme == "https");
        endpoints.push(text.value.to_owned());
    }
    let prefix = table.text("prefix", report).map(|t| t.value.trim_end_matches('/').to_owned());
    table.require("member", "member = \"west-1\": this registrar's own name among those of its side", report);
    let member = table.text("member", report).filter(|name| named(name, report));
    table.require("address", "address = \"west-1.example.net:7447\": where its fellows reach it", report);
    let address = table.text("address", report).and_then(|text| host_and_port(&text, report));
    let second = Duration::from_secs(1);
    let ttl = table.duration("ttl", second * 2..=second * 60, report).map_or(second * 3, |d| d.value);
    if ttl.subsec_nanos() != 0 {
        report.error(at, "'etcd.ttl' is not of whole seconds", "etcd counts in seconds: \"3s\"");
    }
    let timeout = table.duration("timeout", second / 10..=second * 10, report).map_or(second / 2, |d| d.value);
    let mut file = |key| path(&mut table, key, dir, report).map(|p| p.value);
    let (ca, certificate, key, password) = (file("ca"), file("certificate"), file("key"), file("password"));
    let user = table.text("user", report).map(|t| t.value.to_owned());
    table.finish(report);
    if secure.iter().any(|s| *s != ca.is_some()) {
        report.error(at, "[etcd] ca and https:// belong together", "use both, or http:// and no ca");
    }
    if certificate.is_some() != key.is_some() || (certificate.is_some() && ca.is_none()) {
        report.error(at, "[etcd] certificate and key belong together, and to ca", "name all three, or ca alone");
    }
    if user.is_some() != password.is_some() {
        report.error(at, "[etcd] user and password belong together", "name both (password is a file), or neither");
    }
    Some(EtcdConfig {
        endpoints,
        prefix: format!("{}/", prefix.unwrap_or_else(|| format!("/pdmv2/{}", name.unwrap_or_default()))),
        member: member?.value.to_owned(),
        address: address?,
        ttl,
        timeout,
        ca,
        identity: certificate.zip(key),
        user: user.zip(password),
    })
}
