//! Audit mode: every (key, nonce) pair that seals a packet is written down before the packet leaves, so that a test can
//! show that none is used twice. It writes a file from the packet path, and so is for tests only.

use protocol::aead::{Batch, KeyState};
use siphasher::sip128::{Hasher128, SipHasher24};
use std::hash::Hasher;
use std::io::Write;

/// Octets per record: 16 of a fingerprint of the key, 12 of nonce.
pub const RECORD: usize = 28;

/// Writes the records of one worker. One `write` per burst: where that goes to a file opened for appending, several workers may
/// share it, and a killed process loses no record of a packet it has sent.
pub struct AuditSink {
    to: Box<dyn Write + Send>,
    records: Vec<u8>,
    /// Set when a write fails: the audit is then incomplete, and says so.
    pub failed: bool,
}

impl core::fmt::Debug for AuditSink {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "AuditSink(failed: {})", self.failed)
    }
}

impl AuditSink {
    /// Writes to a file (opened with `append`), or to whoever else looks at the records.
    #[must_use]
    pub fn new(to: impl Write + Send + 'static) -> Self {
        Self { to: Box::new(to), records: Vec::with_capacity(RECORD * 64), failed: false }
    }

    /// Records a batch that is about to be sealed. `false`: it could not be written, and nothing may be sealed.
    #[must_use]
    pub fn record(&mut self, keys: &[&KeyState], batch: &Batch) -> bool {
        for (key, [nonce @ .., _, _, _, _]) in keys.iter().zip(&batch.nonce) {
            self.note(key, nonce);
        }
        self.write()
    }

    /// Puts a pair on record that is about to be used; [`AuditSink::write`] is to be called before it is.
    pub fn note(&mut self, key: &KeyState, nonce: &[u8; 12]) {
        // A fingerprint without a secret: the same key must give the same one in every process.
        let mut hasher = SipHasher24::new_with_key(b"pdmv2 audit file");
        key.to_words().iter().for_each(|&w| hasher.write_u64(w));
        let print = hasher.finish128();
        self.records.extend_from_slice(&print.h1.to_be_bytes());
        self.records.extend_from_slice(&print.h2.to_be_bytes());
        self.records.extend_from_slice(nonce);
    }

    /// Writes what was noted. `false`: it could not be written, and nothing may be sealed.
    #[must_use]
    pub fn write(&mut self) -> bool {
        self.failed |= self.to.write_all(&self.records).is_err();
        self.records.clear();
        !self.failed
    }
}
