//! Servers that strangers can reach: bounded places, bounded waits, descriptors in reserve.

pub mod accepting;
pub mod descriptors;
pub mod http;
pub mod local;
pub mod places;
pub mod sparing;
