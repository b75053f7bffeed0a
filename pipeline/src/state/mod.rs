//! What workers share and read: keys, policies, what is known of paths; what they hand to each other; and what each may
//! spend.

pub(crate) mod budgets;
pub mod hand_over;
pub mod keyring;
pub mod newest;
pub mod pairs;
pub mod path_mtu;
pub mod policies;
pub mod prefixes;
pub mod resync;
pub mod resync_queue;
pub mod ring_index;
pub mod rules;
pub mod shared;
pub(crate) mod sieve;
pub mod snapshot;
pub mod standing;
pub mod watch;
#[cfg(not(loom))]
pub mod worker;
