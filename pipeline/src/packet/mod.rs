//! One packet: its buffer, its headers, and the octets that change in it.

pub mod buffer;
pub(crate) mod checksum;
pub mod encrypted;
pub mod finish;
pub mod mss;
pub mod parse;
pub mod rewrite;
