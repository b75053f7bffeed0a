//! What tests and benchmarks are made of, once: [`frames`] of hosts behind two boxes, [`captures`] of them, and
//! [`keyrings`] that the two boxes seal and open them with.
//!
//! It is for tests and benchmarks alone: what cannot fail with right arguments panics instead of giving an error.
#![deny(unsafe_code)]

pub mod captures;
pub mod frames;
pub mod keyrings;
