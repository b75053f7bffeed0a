//! As generated from the `.proto`, which is the documentation. Secrets are overwritten with their messages, and not shown.
#![allow(missing_docs, clippy::all, reason = "generated")]

use std::fmt;
use zeroize::Zeroize;

tonic::include_proto!("pdmv2.registration.v1");

impl Drop for Sealing {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl Drop for OpeningSecret {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl Drop for ClientSecret {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret(redacted)")
    }
}

impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealing(generation {}, redacted)", self.generation)
    }
}

impl fmt::Debug for OpeningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpeningSecret(generation {}, redacted)", self.generation)
    }
}
