//! The packet path. Start reading at `outbound.rs`.
#![forbid(unsafe_code)]

pub mod policy;
