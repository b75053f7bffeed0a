//! What workers share and read: policies, keys, what is known of paths; and what each may spend.

pub mod keyring;
pub mod path_mtu;
pub mod policies;
pub mod prefixes;
pub mod resync;
pub mod ring_index;
pub mod shared;
