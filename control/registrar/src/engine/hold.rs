//! A store that cannot be written: what the engine has decided is not kept yet, and it decides nothing more until it is. It
//! goes on to hear what happens. If it went on to decide, time would: that boxes are late to acknowledge what they were never
//! sent, that a generation which they still use is to be forgotten.

use super::{Effects, Engine};
use std::time::Instant;

impl Engine {
    /// Decides nothing from now on.
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// All is kept, and what follows from that is done: decides again. What boxes are given time for begins now.
    pub fn resume(&mut self, now: Instant) -> Effects {
        self.held = false;
        for generation in &mut self.generations {
            generation.pushed_since = now;
            generation.superseded = generation.superseded.map(|_| now);
        }
        self.settle(now)
    }
}
