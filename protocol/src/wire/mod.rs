//! What the octets of a packet mean: what stands before IPv6, its header, extension-header chain, Destination Options, the PDM options.

pub mod dest_opts;
pub mod ethernet;
pub mod ext_chain;
pub mod ipv6;
pub mod option;
pub mod profile;
mod routing;
pub mod tlv;
mod walk_error;
