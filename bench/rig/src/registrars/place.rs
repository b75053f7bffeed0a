//! Where registrars are, and what a box has to be told of it.

use std::path::Path;

/// The registrars' names, by side; the first is the client primary.
pub const NAMES: [&str; 2] = ["west", "east"];

/// Where a registrar is.
#[derive(Clone, Debug)]
pub struct Place {
    /// The address that it listens on, and is reached by.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The network namespace; `None`: this process's.
    pub namespace: Option<String>,
    /// The port of its metrics: on loopback, or on every address of its own namespace.
    pub telemetry: Option<u16>,
}

impl Place {
    /// On this machine's loopback.
    #[must_use]
    pub fn loopback(port: u16) -> Self {
        Self { host: "127.0.0.1".into(), port, namespace: None, telemetry: None }
    }

    /// Where its metrics listen. In a namespace nobody else is there.
    pub(crate) const fn telemetry_host(&self) -> &'static str {
        if self.namespace.is_some() { "0.0.0.0" } else { "127.0.0.1" }
    }

    /// As a configuration writes it.
    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// What a box's configuration says of registration: the files are those of [`Registrars::new`](super::Registrars::new)
/// and [`Registrars::add_node`](super::Registrars::add_node) in `dir`.
pub(crate) fn box_sections(dir: &Path, side: usize, places: &[Place], name: &str, id: &str) -> String {
    let at = dir.display();
    let registrars: Vec<_> = places.iter().map(|place| format!("\"{}\"", place.address())).collect();
    format!(
        "[registration]\nregistrars = [{}]\nid = \"{id}\"\n[tls]\nca = \"{at}/pki-{}/ca.crt\"\ncertificate = \
         \"{at}/{name}.crt\"\nkey = \"{at}/{name}.key\"\n",
        registrars.join(", "),
        NAMES[side]
    )
}
