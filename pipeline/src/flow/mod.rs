//! Flows: what is known of each, and the table that all workers share.

pub mod figures;
pub mod hash;
pub mod index;
pub(crate) mod lookup;
pub mod memory;
pub mod quiescence;
pub mod record;
pub mod table;
pub mod tombstones;
