//! Leadership among the registrars of one side: one leads, the others follow it.

use serde::{Deserialize, Serialize};

/// Who leads, as etcd has it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Leader {
    /// Its member name.
    pub member: String,
    /// Host that its fellows reach it by.
    pub host: String,
    /// Port that its fellows reach it by.
    pub port: u16,
}

/// What this registrar knows of who leads its side.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Leadership {
    /// This registrar leads, or is the only one.
    Leads,
    /// Another leads; `None`: nobody is known to.
    Follows(Option<Leader>),
}
