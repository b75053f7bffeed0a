//! The registrar's configuration: `pdmv2 registrar run --config FILE`. The types of the sections stand beside what they
//! configure; here they are read and checked.

mod etcd_section;
mod names;
mod node_sections;
mod peer_sections;

use crate::engine::{Generations, NodeConfig, PeerConfig};
use crate::etcd_client::{Etcd, EtcdConfig};
use common::config::Checks;
use common::config::reader::Table;
use common::config::report::{At, Errors, Problem, Report};
use common::config::{parsed, text_of};
use common::config::{path, section};
use common::identity::Kind;
use common::logging;
use common::logging::Telemetry;
use names::named;
use negotiation::static_keys::read_public_keys;
use registration::tls::{AuthorityFiles, CrlExpired, Tls, TlsFiles};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

/// A registrar.
#[derive(Debug)]
pub struct RegistrarConfig {
    /// Its name; its certificate must say the same.
    pub name: String,
    /// Where boxes and client primaries reach it.
    pub listen: SocketAddr,
    /// The store, when it is a file.
    pub state: Option<PathBuf>,
    /// The store, when it is etcd.
    pub etcd: Option<EtcdConfig>,
    /// File with the key that the store is sealed under.
    pub state_key: PathBuf,
    /// File with the seed of its static keys.
    pub static_key: PathBuf,
    /// Socket for `pdmv2 registrar status` and the others.
    pub admin: PathBuf,
    /// Certificates.
    pub tls: TlsFiles,
    /// The primaries of other sides.
    pub peers: Vec<PeerConfig>,
    /// The boxes of this side.
    pub nodes: Vec<NodeConfig>,
    /// Times of a generation's life.
    pub generations: Generations,
    /// Metrics and logs.
    pub telemetry: Telemetry,
    /// What works but is hardly meant.
    pub warnings: Vec<Problem>,
}

impl RegistrarConfig {
    /// Reads and checks a configuration, for a registrar that is to start here.
    ///
    /// # Errors
    /// Every problem found.
    pub fn load(path: &Path) -> Result<Self, Errors> {
        Self::parse(&text_of(path)?, path, Checks::Everything)
    }

    /// Checks the text of a configuration. `path` names it in errors; paths in it start at its directory.
    ///
    /// # Errors
    /// Every problem found.
    pub fn parse(text: &str, path: &Path, checks: Checks) -> Result<Self, Errors> {
        let (mut config, warnings) = parsed(text, path, |root, dir, report| read(root, dir, checks, report))?;
        config.warnings = warnings;
        Ok(config)
    }

    /// The socket alone, out of a configuration that need not be whole: for asking a registrar that runs.
    ///
    /// # Errors
    /// The file cannot be read, or names no socket.
    pub fn admin_of(path: &Path) -> Result<PathBuf, Errors> {
        let admin = parsed(&text_of(path)?, path, |mut root, dir, report| {
            let table = root.table("registrar", report);
            let admin = table.and_then(|mut table| self::path(&mut table, "admin", dir, report));
            if admin.is_none() {
                report.error(0, "no [registrar] admin", "name the registrar's own configuration");
            }
            admin
        });
        admin.map(|(admin, _)| admin.value)
    }
}

fn read(mut root: Table<'_>, dir: &Path, checks: Checks, report: &mut Report<'_>) -> Option<RegistrarConfig> {
    let main = registrar(&mut root, dir, report);
    let tls = registration::config::tls(&mut root, dir, report);
    let peers = peer_sections::peers(&mut root, dir, report);
    let nodes = node_sections::nodes(&mut root, &peers, report);
    let generations = generations(&mut root, report);
    let telemetry = logging::telemetry(&mut root, false, report);
    let etcd = etcd_section::etcd(&mut root, main.as_ref().map(|(name, _)| name.value), dir, report);
    let at = root.at;
    let has_etcd = root.value("etcd").is_some();
    root.finish(report);
    let (name, main) = main?;
    match (&main.state, has_etcd) {
        (None, false) => {
            let remedy = "add state = \"west.state\" (where it keeps what it must across a restart), or [etcd]";
            report.error(at, "'registrar.state' is missing", remedy);
        }
        (Some(_), true) => report.error(at, "both 'registrar.state' and [etcd]", "delete one of them"),
        _ => {}
    }
    for peer in peers.iter().filter(|p| p.value.0.name == name.value) {
        report.error(peer.at, format!("peer '{}' is this registrar", name.value), "name the other side's");
    }
    let mut tls = tls?;
    for At { value: (peer, authority), .. } in &peers {
        // Without an authority of its own it has this side's.
        tls.peers.push((peer.name.clone(), authority.clone().unwrap_or_else(|| tls.own.clone())));
    }
    let peers: Vec<_> = peers.into_iter().map(|p| p.value.0).collect();
    let config = RegistrarConfig { etcd, tls, peers, nodes, generations, telemetry, ..main };
    if checks == Checks::Everything {
        check_files(&config, name.at, report);
    }
    Some(config)
}

fn registrar<'t>(root: &mut Table<'t>, dir: &Path, report: &mut Report<'_>) -> Option<(At<&'t str>, RegistrarConfig)> {
    if !root.require("registrar", "[registrar] with name, listen, state_key, static_key and admin", report) {
        return None;
    }
    let mut table = root.table("registrar", report)?;
    table.require("name", "name = \"west\": as in its certificate", report);
    let name = table.text("name", report).filter(|name| named(name, report));
    table.require("listen", "listen = \"[::]:7447\"", report);
    let listen = table.text("listen", report).and_then(|listen| {
        let address = listen.value.parse::<SocketAddr>();
        if address.is_err() {
            let message = format!("'{}' is not an address to listen on", listen.value);
            report.error(listen.at, message, "write it like \"[::]:7447\" or \"192.0.2.1:7447\"");
        }
        address.ok()
    });
    let mut file = |key, example: &str| {
        table.require(key, example, report);
        path(&mut table, key, dir, report).map(|p| p.value)
    };
    let state_key = file("state_key", "state_key = \"west.state.key\" ('pdmv2 pki secret' makes one)");
    let static_key = file("static_key", "static_key = \"west.static\" ('pdmv2 pki issue' makes one)");
    let admin = file("admin", "admin = \"west.socket\": for 'pdmv2 registrar status'");
    let state = path(&mut table, "state", dir, report).map(|p| p.value);
    table.finish(report);
    let name = name?;
    let none = AuthorityFiles { ca: PathBuf::new(), crl: None };
    Some((
        name,
        RegistrarConfig {
            name: name.value.to_owned(),
            listen: listen?,
            state,
            etcd: None,
            state_key: state_key?,
            static_key: static_key?,
            admin: admin?,
            tls: TlsFiles {
                certificate: PathBuf::new(),
                key: PathBuf::new(),
                own: none,
                peers: Vec::new(),
                crl_expired: CrlExpired::default(),
            },
            peers: Vec::new(),
            nodes: Vec::new(),
            generations: Generations::default(),
            telemetry: Telemetry {
                listen: None,
                admin: false,
                log_level: common::logging::LogLevel::Info,
                log_format: common::logging::LogFormat::Text,
            },
            warnings: Vec::new(),
        },
    ))
}

fn generations(root: &mut Table<'_>, report: &mut Report<'_>) -> Generations {
    let mut times = Generations::default();
    let Some(Some(mut table)) = section(root, "generations", report) else { return times };
    let at = table.at;
    let mut set = |key, to: &mut Duration, least: Duration, most: Duration| {
        if let Some(duration) = table.duration(key, least..=most, report) {
            *to = duration.value;
        }
    };
    set("max_age", &mut times.max_age, SECOND, DAY * 365);
    set("lifetime", &mut times.lifetime, SECOND * 2, DAY * 3650);
    set("grace", &mut times.grace, SECOND, DAY);
    set("ack_timeout", &mut times.ack_timeout, Duration::from_millis(100), SECOND * 300);
    set("coalesce", &mut times.coalesce, Duration::from_millis(1), SECOND * 60);
    table.finish(report);
    if times.lifetime <= times.max_age {
        let message = "'generations.lifetime' is not above 'generations.max_age': boxes would stop sealing between";
        report.error(at, message, "make it several times 'max_age'");
    }
    times
}

/// What only this machine can tell: that the secrets are there, and theirs alone.
fn check_files(config: &RegistrarConfig, at: usize, report: &mut Report<'_>) {
    use common::private_file;
    let mut wrong = |error: anyhow::Error| report.error_in_files(at, format!("{error:#}"), "see docs/registration.md");
    for file in [&config.state_key, &config.static_key] {
        private_file::read_secret(file).map_or_else(&mut wrong, drop);
    }
    if let Some(Err(error)) = config.etcd.clone().map(Etcd::new) {
        wrong(error.context("[etcd]"));
    }
    for peer in &config.peers {
        read_public_keys(&peer.static_keys).map_or_else(&mut wrong, drop);
        if let Some((_, file)) = &peer.psk {
            private_file::read_secret(file).map_or_else(&mut wrong, drop);
        }
    }
    match Tls::load(config.tls.clone()) {
        Err(error) => wrong(error),
        Ok(tls) => {
            registration::config::late_lists(&tls, at, report);
            let material = tls.current();
            let me = material.me();
            if (me.kind, me.name.as_str()) != (Kind::Registrar, config.name.as_str()) {
                let message = format!("its certificate names {me}, but this is registrar '{}'", config.name);
                report.error(at, message, "correct [registrar] name, or [tls] certificate");
            }
        }
    }
}
