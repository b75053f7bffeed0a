//! The PDMv2 protocol profile: what goes on the wire and into the keys.
//!
//! Pure functions and small state machines: no DPDK, no I/O, no clock (time comes in as an argument).
#![deny(unsafe_code)]

pub mod aead;
pub mod delta_time;
pub mod five_tuple;
pub mod generation_keys;
pub mod key_line;
pub mod key_schedule;
pub mod meter;
pub mod nonce;
pub mod prefetch;
pub mod prefix;
pub mod prseq;
pub mod receiver;
pub mod replay;
pub mod sender;
pub mod suite;
pub mod sync;
pub mod wire;
