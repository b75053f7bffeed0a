//! Registration (draft sections 4.1 to 4.4 and appendix B, profile section 8): primaries negotiate, boxes get their keys.

pub mod engine;
pub mod store;
pub mod tls;
pub mod wire;
