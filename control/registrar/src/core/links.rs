//! The streams of other primaries, one for each.

use super::{Chain, Core};
use crate::engine::Action;
use crate::messages::News;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::sync::mpsc;

/// Messages to another primary that may wait; one that reads so slowly is cut off, and gets everything anew.
const LINK_QUEUE: usize = 64;

/// The stream of another primary.
pub(super) struct Link {
    pub(super) id: u64,
    pub(super) chain: Chain,
    pub(super) news: mpsc::Sender<News>,
}

impl Core {
    /// The other primary's stream is open; an earlier one of its ends. What it is to be told comes through the receiver.
    pub fn link_up(&self, peer: &str, chain: Chain) -> (u64, mpsc::Receiver<News>) {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let (news, receiver) = mpsc::channel(LINK_QUEUE);
        let state = &mut *self.state();
        // Without an engine (this registrar follows) the receiver ends at once.
        if let Some(engine) = state.engines.get_mut(peer) {
            state.links.insert(peer.to_owned(), Link { id, chain, news });
            // What the one before was to be told is not for this one: it is told all anew.
            state.keeping.forget(|of, action| of == peer && matches!(action, Action::Tell(_)));
            let effects = engine.link_up(Instant::now());
            self.apply(state, peer, effects, None);
            tracing::info!(peer, "in touch with the other primary");
        }
        (id, receiver)
    }

    /// It has ended.
    pub fn link_down(&self, peer: &str, id: u64) {
        let state = &mut *self.state();
        // Replaced by a later one; or ended before, by who was first to notice.
        if state.links.get(peer).is_some_and(|link| link.id != id) {
            return;
        }
        state.links.remove(peer);
        if let Some(engine) = state.engines.get_mut(peer).filter(|engine| engine.is_linked()) {
            state.keeping.forget(|of, action| of == peer && matches!(action, Action::Tell(_)));
            let effects = engine.link_down(Instant::now());
            self.apply(state, peer, effects, None);
            tracing::warn!(peer, "no longer in touch with the other primary");
        }
    }

    /// The other primary says something on that stream, and what it takes itself.
    pub fn news(&self, peer: &str, id: u64, features: u32, news: News) {
        let state = &mut *self.state();
        if state.links.get(peer).is_some_and(|link| link.id == id)
            && let Some(engine) = state.engines.get_mut(peer)
        {
            engine.features(features);
            let effects = engine.news(Instant::now(), news);
            self.apply(state, peer, effects, None);
        }
    }

    /// Tells the other primary what this one could make nothing of.
    pub fn complain(&self, peer: &str, reason: &str) {
        if let Some(link) = self.state().links.get(peer) {
            let _ = link.news.try_send(News::trouble(reason)); // it does not read, and would not read this
        }
    }
}
