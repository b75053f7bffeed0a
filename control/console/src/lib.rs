//! What people ask a running box in the terminal: `pdmv2 status`, `policy`, `flows`, `top`, `trace`, `capture`,
//! `reload` and `upgrade`. They talk to its admin socket, and know nothing of the box but what it answers ([`common::admin`]).
#![forbid(unsafe_code)]

pub mod capture;
pub mod client;
pub mod flows;
pub mod policy;
pub mod reload;
pub mod status;
pub mod top;
pub mod trace;
pub mod units;
pub mod upgrade;
