//! The lanes against the parts of `protocol` that they do the work of, and the twins against each other.

#[cfg(target_arch = "x86_64")]
pub(crate) mod constant_time;
mod model;
pub(super) mod rig;
mod speed;
mod twins;
