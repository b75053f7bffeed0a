//! The packet path. Start reading at `outbound.rs`.
#![forbid(unsafe_code)]

pub mod buffer;
pub mod counters;
pub mod flow;
pub mod flow_index;
pub mod flow_table;
pub mod keyring;
pub mod policy;
pub mod quiescence;
pub mod tombstones;
