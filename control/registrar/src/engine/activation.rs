//! Where a generation becomes ready here, and active (profile section 7).

use super::{Engine, Theirs};
use std::time::{Duration, Instant};

/// A box that was in touch so recently is waited for, though it is not connected at the moment.
const ABSENT: Duration = Duration::from_secs(60);

impl Engine {
    /// Decides whether the newest generation is ready here: all boxes can open it, or have been waited for long enough.
    pub(super) fn decide_ready(&mut self, now: Instant) {
        let Some(newest) = self.generations.last_mut().filter(|g| !g.ready_here) else { return };
        // Without the other side's boxes nothing can be opened, whatever the number.
        if self.peer_nodes.is_none() {
            return;
        }
        let awaited = self.nodes.values().filter(|n| {
            let recent = n.last_seen.is_some_and(|at| now.saturating_duration_since(at) < ABSENT);
            !n.revoked && (n.session.is_some() || recent)
        });
        let missing: Vec<_> = awaited
            .filter(|n| n.session.as_ref().is_none_or(|s| s.opens < newest.number))
            .map(|n| n.config.name.as_str())
            .collect();
        let late = now.saturating_duration_since(newest.pushed_since) >= self.times.ack_timeout;
        if missing.is_empty() || late {
            newest.ready_here = true;
            if let Some(first) = missing.first() {
                tracing::warn!(
                    peer = self.peer.name,
                    generation = newest.number,
                    missing = missing.len(),
                    first,
                    "not all boxes have acknowledged in time; what they are sent under this generation they cannot open"
                );
            }
        }
    }

    /// Whether the other side's newest generation is this side's too.
    pub(super) fn is_common(&self, theirs: Theirs) -> bool {
        let own = self.generations.last();
        // Stores that were set back to different times may have two of one number.
        let differs = own.zip(theirs.fingerprint).is_some_and(|(own, theirs)| own.fingerprint != theirs);
        theirs.newest == self.newest() && !differs
    }

    /// Decides whether the newest generation is active: it is the other side's newest too, and that side is ready for it, so
    /// that whatever this side's boxes seal under it can be opened there.
    pub(super) fn decide_active(&mut self, now: Instant) {
        let Some(theirs) = self.theirs.filter(|&t| self.is_common(t)) else { return };
        let Some(newest) = self.generations.last_mut() else { return };
        newest.common = true;
        if newest.active || newest.number > theirs.ready {
            return;
        }
        newest.active = true;
        newest.active_at = Some(now);
        let number = newest.number;
        for older in self.generations.iter_mut().filter(|g| g.number < number) {
            older.superseded.get_or_insert(now);
        }
        let changed: Vec<_> = self.generations.iter().map(|g| g.persist(&self.peer.name)).collect();
        self.effects.batch.extend(changed);
        if self.rotation_request.as_ref().is_some_and(|request| request.above < number) {
            self.rotation_request = None;
        }
        tracing::info!(peer = self.peer.name, generation = number, "generation active");
    }
}
