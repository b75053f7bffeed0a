//! How things stand. It is published by the tick, now and then, and at once by who leads or steps down, who finds the store
//! behind or written again, and the operator's commands. Whoever asks sees what has changed since, but waits for nobody:
//! while somebody is at work on it, he reads what was published last.

use super::{Core, State, StoreStatus};
use crate::engine::EngineStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The tick publishes changes when the last time was so long ago: to look through thousands of boxes takes a while.
const PUBLISH: Duration = Duration::from_millis(200);
/// And without a change when it was so long ago: ages grow.
const AGES: Duration = Duration::from_secs(1);

/// How things stood when it was published.
#[derive(Debug, Default)]
pub struct Published {
    /// By peer; of a follower none.
    pub peers: Vec<EngineStatus>,
    /// The store of a registrar that leads.
    pub store: Option<StoreStatus>,
    at: Option<Instant>,
}

#[cfg(test)]
impl Published {
    /// As it would be published.
    pub fn of(peers: Vec<EngineStatus>, store: Option<StoreStatus>) -> Self {
        Self { peers, store, at: None }
    }
}

impl Core {
    /// How things stand; while somebody is at work on it, how they stood when that was published last.
    #[must_use]
    pub fn status(&self) -> Arc<Published> {
        if let Ok(mut state) = self.state.try_lock()
            && state.changed
        {
            self.publish(&mut state);
        }
        self.published.load_full()
    }

    /// How things stood when that was published last.
    #[must_use]
    pub fn published(&self) -> Arc<Published> {
        self.published.load_full()
    }

    /// Publishes how things stand, now.
    pub(super) fn publish(&self, state: &mut State) {
        let now = Instant::now();
        state.changed = false;
        let mut peers: Vec<_> = state.engines.values().map(|e| e.status(now)).collect();
        peers.sort_by(|a, b| a.peer.cmp(&b.peer));
        let store = state.store.as_ref().map(|store| state.keeping.status(store.name(), now));
        self.published.store(Arc::new(Published { peers, store, at: Some(now) }));
    }

    /// The tick's part.
    pub(super) fn publish_in_time(&self, state: &mut State) {
        let since = self.published.load().at.map_or(Duration::MAX, |at| at.elapsed());
        if since >= AGES || (state.changed && since >= PUBLISH) {
            self.publish(state);
        }
    }
}
