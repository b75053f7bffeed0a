//! Registration (draft sections 4.1 to 4.4 and appendix B, profile section 8): primaries negotiate, boxes get their keys.

pub mod admin;
pub mod box_keys;
pub mod core;
pub mod engine;
pub mod entrance;
pub mod etcd;
pub mod forward;
pub mod metrics;
pub mod net;
pub mod node;
pub mod opening;
pub mod primary_client;
pub mod registrar;
pub mod seat;
pub mod service;
pub mod store;
pub mod tls;
pub mod wire;
