//! The lanes against the parts of `protocol` that they do the work of, and the twins against each other.

mod model;
pub(super) mod rig;
mod speed;
mod twins;
