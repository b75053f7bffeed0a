//! Random numbers of the system.

use negotiation::rand_core::{CryptoRng, UnwrapErr};

/// A source of them. A system that gives none ends the task that asks: nothing that it would do without them is safe.
#[must_use]
pub fn rng() -> impl CryptoRng {
    UnwrapErr(getrandom::SysRng)
}
