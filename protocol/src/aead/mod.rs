//! Sealing and opening batches of options: a few octets of text and of additional data (`wire::profile` says how many)
//! and a tag, each slot under a key of its own.
//!
//! Four paths, one of which is chosen once, by what the CPU has: VAES and VPCLMULQDQ on 512 bits, the same on 256 bits,
//! AES-NI and PCLMULQDQ, and the portable one, which is the oracle for the others. ChaCha20Poly1305 always takes the
//! portable path.

#[cfg(target_arch = "x86_64")]
mod aesni;
mod batch;
mod dispatch;
#[cfg(any(target_arch = "x86_64", all(test, target_arch = "aarch64")))]
mod kernel;
mod path;
mod portable;
mod slot;
#[cfg(all(test, not(loom)))]
mod tests;
#[cfg(target_arch = "x86_64")]
mod vaes256;
#[cfg(target_arch = "x86_64")]
mod vaes512;

pub use batch::{BATCH, Batch, KeyState, prefetch};
pub use path::Path;
pub use slot::{Slot, open, open_by, seal, seal_by};
