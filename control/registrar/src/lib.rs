//! The registrar (draft sections 4.1 to 4.4 and appendix B, profile section 8): negotiates generations with the other
//! side's, and hands boxes their keys.
#![forbid(unsafe_code)]

pub mod admin;
pub mod command;
pub mod config;
pub mod core;
pub mod election;
pub mod engine;
pub mod entrance;
pub mod etcd_client;
pub mod forward;
pub mod handout;
pub mod leadership;
pub mod metrics;
pub mod primary_client;
pub mod random;
pub mod service;
pub mod store;
