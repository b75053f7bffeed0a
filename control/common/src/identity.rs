//! Who is who: names, ids, and what a certificate says of its holder.

use serde::{Deserialize, Serialize};
use std::net::Ipv6Addr;

/// Characters of a name.
const MAX_NAME: usize = 63;

/// Whom a certificate names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A box.
    Node,
    /// A registrar.
    Registrar,
}

impl Kind {
    /// The subject alternative name (a URI) that names it.
    #[must_use]
    pub fn uri(self, name: &str) -> String {
        match self {
            Self::Node => format!("pdmv2:node:{name}"),
            Self::Registrar => format!("pdmv2:registrar:{name}"),
        }
    }
}

/// Names go into metrics, JSON, file names and log lines: one plain word.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("an empty name".to_owned());
    }
    if name.len() > MAX_NAME {
        return Err(format!("a name of more than {MAX_NAME} characters"));
    }
    match name.chars().find(|c| !c.is_ascii_alphanumeric() && !"-_.".contains(*c)) {
        Some(c) => Err(format!("the name '{}' has a {c:?}", name.escape_debug())),
        None => Ok(()),
    }
}

/// What [`check_name`] wants.
pub const NAME_REMEDY: &str = "use 1 to 63 letters, digits, '-', '_' and '.'";

/// A node id: an IPv6 address, or 32 hex digits.
#[must_use]
pub fn parse_id(text: &str) -> Option<[u8; 16]> {
    let mut id = [0; 16];
    if hex::decode_to_slice(text, &mut id).is_ok() {
        return Some(id);
    }
    text.parse::<Ipv6Addr>().ok().map(|a| a.octets())
}
