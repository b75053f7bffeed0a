//! Certificates of open connections, which may cease to be good.

use super::{Core, Ending, Outgoing};
use std::sync::Arc;
use std::time::Instant;

impl Core {
    /// Ends the connections whose certificates are no longer good.
    pub fn check_certificates(&self) {
        let material = self.tls.current();
        let (sessions, links) = {
            let state = self.state();
            let sessions: Vec<_> = state.sessions.iter().map(|(&id, session)| (id, session.chains.clone())).collect();
            let links: Vec<_> =
                state.links.iter().map(|(peer, link)| (peer.clone(), link.id, Arc::clone(&link.chain))).collect();
            (sessions, links)
        };
        // Without the state: of many boxes it takes a while.
        for (id, chains) in sessions {
            let good = chains.iter().try_for_each(|c| material.still_good(None, c).map(drop));
            let Err(error) = good else { continue };
            let text = format!("{error:#}");
            tracing::warn!(error = text, "a box's certificate is no longer good");
            let state = &mut *self.state();
            let Some(session) = state.sessions.remove(&id) else { continue };
            session.outgoing.send_replace(Outgoing::Close(Ending::Certificate(text)));
            if let Some(engine) = state.engines.get_mut(&session.peer) {
                let effects = engine.gone(Instant::now(), id);
                self.apply(state, &session.peer, effects, None);
            }
        }
        for (peer, id, chain) in links {
            let Err(error) = material.still_good(Some(&peer), &chain) else { continue };
            tracing::warn!(peer, error = format!("{error:#}"), "the other primary's certificate is no longer good");
            let state = &mut *self.state();
            if state.links.get(&peer).is_some_and(|link| link.id == id) {
                state.links.remove(&peer);
            }
        }
    }
}
