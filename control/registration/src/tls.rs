//! TLS 1.3 between registrars and boxes, both sides with certificates. Whom a certificate names, and which authority
//! says so, is checked here; the files are read again when they change.
//!
//! Which files there are: `files`. What they hold, who a certificate's holder is, and what a connection is made with:
//! `material`, by the verifiers of `verifying`, the names of `names`, and the lists of `revocation`. As time passes:
//! `refresh`.

mod files;
mod material;
mod names;
mod pem;
mod refresh;
mod revocation;
mod verifying;

pub use files::{AuthorityFiles, CrlExpired, TlsFiles};
pub use material::{ALPN, Material, server_name, why};
pub use names::{Named, named};
pub use refresh::{Tls, keep_fresh, until_bad};
pub use revocation::Term;

#[cfg(test)]
pub(crate) mod tests;
