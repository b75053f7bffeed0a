//! What records are written in.

use super::record::FlowRecord;
use std::time::{Instant, SystemTime};

/// Puts records together into what is sent at once.
pub trait Format: Send {
    /// A new connection or file begins: what was put together is forgotten, and so is what an earlier one was told.
    fn begin(&mut self);
    /// Who hears this may have missed what was sent before.
    fn repeat(&mut self);
    /// Adds a record. `false`: there is no room, send first.
    fn add(&mut self, record: &FlowRecord, now: Instant) -> bool;
    /// Records that are in it.
    fn records(&self) -> u64;
    /// Makes ready what is to be sent now.
    fn finish(&mut self, now: SystemTime) -> &[u8];
    /// It was sent, or given up.
    fn clear(&mut self);
}
