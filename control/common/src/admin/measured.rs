//! What was measured of many flows: by policy, and by pair of prefixes.

use super::Quantiles;
use serde::{Deserialize, Serialize};

/// `/v1/policies`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Policies {
    /// In the configuration's order.
    pub policies: Vec<Policy>,
}

/// A policy, and what was measured under it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// `off`, `pdm`, `clear` or `encrypted`.
    pub mode: String,
    /// Seconds until it ends, and adds no more options; 0: it has ended. `null`: it does not end.
    pub ends_in_seconds: Option<f64>,
    /// What was measured.
    #[serde(flatten)]
    pub measured: Measured,
}

impl AsRef<Measured> for Policy {
    fn as_ref(&self) -> &Measured {
        &self.measured
    }
}

impl AsRef<Measured> for Pair {
    fn as_ref(&self) -> &Measured {
        &self.measured
    }
}

/// `/v1/pairs`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Pairs {
    /// In the configuration's order.
    pub pairs: Vec<Pair>,
}

/// A pair of prefixes, and what was measured of the flows between them, whatever their policies.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Pair {
    /// Its name.
    pub name: String,
    /// What was measured.
    #[serde(flatten)]
    pub measured: Measured,
}

/// What was measured of many flows.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Measured {
    /// Options added.
    pub added: u64,
    /// Options that verified.
    pub accepted: u64,
    /// Options that did not.
    pub failed: u64,
    /// Numbers of the other side that never came.
    pub lost: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Packets that came behind a later one.
    pub late: u64,
    /// The network between the boxes, there and back.
    pub round_trip: Quantiles,
    /// The other side's delay.
    pub server_delay: Quantiles,
    /// Both together.
    pub end_to_end: Quantiles,
}
