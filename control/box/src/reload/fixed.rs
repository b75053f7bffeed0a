//! What stays as it is while the box runs.

use crate::config::{Config, Port};
use crate::export;
use crate::keys::connection::RegistrationSettings;
use common::admin::config::Admin;
use common::key_file::Node;
use common::logging::LogFormat;
use std::path::PathBuf;
use std::time::Duration;

/// A key file's place, and what of it is no secret.
#[derive(PartialEq)]
struct Keys {
    file: PathBuf,
    state_dir: PathBuf,
    max_age: Option<Duration>,
    nodes: Vec<Node>,
}

/// See the module.
#[derive(PartialEq)]
pub struct Fixed {
    node: String,
    /// As it is written. What is chosen where it is not depends on the hugepages that are free at the moment.
    eal: Option<Vec<String>>,
    ports: [Port; 2],
    timestamps: bool,
    workers: crate::config::Workers,
    link_follow: bool,
    flow_table: [usize; 2],
    keys: Option<Keys>,
    key_log: Option<PathBuf>,
    registration: Option<RegistrationSettings>,
    log_format: LogFormat,
    admin: Option<Admin>,
    export: export::Settings,
    audit: Option<PathBuf>,
}

impl Fixed {
    /// Of this configuration, before anything was taken out of it.
    pub fn of(config: &Config) -> Self {
        // Where a port is named in the file says nothing of the port; and its time stamps are named elsewhere.
        let port = |port: &Port| Port { place: String::new(), timestamps: false, ..port.clone() };
        let nodes = |file: &Option<common::key_file::KeyFile>| file.as_ref().map_or_else(Vec::new, |f| f.nodes.clone());
        Self {
            node: config.node.clone(),
            eal: config.eal_args.clone(),
            ports: [port(&config.inside), port(&config.outside)],
            timestamps: config.outside.timestamps,
            workers: config.workers.clone(),
            link_follow: config.forwarding.link_follow,
            flow_table: [config.flow_table.capacity, config.flow_table.tombstones],
            keys: config.keys.as_ref().map(|keys| Keys {
                file: keys.file.clone(),
                state_dir: keys.state_dir.clone(),
                max_age: keys.max_age,
                nodes: nodes(&keys.key_file),
            }),
            key_log: config.key_log.clone(),
            registration: config.registration.clone(),
            log_format: config.telemetry.log_format,
            admin: config.admin.clone(),
            export: config.export.clone(),
            audit: config.audit.clone(),
        }
    }

    /// The settings that differ, as the configuration calls them.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let compared = [
            ("node.name", self.node == other.node),
            ("ports.inside", self.ports[0] == other.ports[0]),
            ("ports.outside", self.ports[1] == other.ports[1]),
            ("ports.timestamps", self.timestamps == other.timestamps),
            ("workers", self.workers == other.workers),
            ("eal.args", self.eal == other.eal),
            ("forwarding.link_follow", self.link_follow == other.link_follow),
            ("flow_table.capacity", self.flow_table[0] == other.flow_table[0]),
            ("flow_table.tombstones", self.flow_table[1] == other.flow_table[1]),
            ("keys", self.keys == other.keys),
            ("keys.log", self.key_log == other.key_log),
            ("registration", self.registration == other.registration),
            ("telemetry.log_format", self.log_format == other.log_format),
            ("admin", self.admin == other.admin),
            ("export", self.export == other.export),
            ("audit", self.audit == other.audit),
        ];
        compared.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
    }
}
