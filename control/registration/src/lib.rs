//! What a box and a registrar both speak (draft sections 4.1 to 4.4, profile section 8): messages, TLS, connections.
#![forbid(unsafe_code)]

pub mod config;
pub mod net;
pub mod serving;
pub mod tls;
pub mod wire;
