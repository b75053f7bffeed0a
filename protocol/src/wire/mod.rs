//! What the octets of a packet mean: IPv6 header, extension-header chain, Destination Options, the PDM options.

pub mod dest_opts;
pub mod ext_chain;
pub mod ipv6;
pub mod option;
mod routing;
mod tlv;
