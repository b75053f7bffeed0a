//! What the operator asks for.

use super::Core;
use crate::engine::Engine;
use anyhow::{anyhow, bail};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The answer to the operator waits for the store for so long.
const KEPT_WITHIN: Duration = Duration::from_secs(5);

impl Core {
    /// The operator wants a new generation, with one peer or with all.
    ///
    /// # Errors
    /// No such peer.
    pub fn rotate(&self, peer: Option<&str>) -> anyhow::Result<Vec<String>> {
        let of: Vec<_> =
            self.peers.iter().map(|p| p.config.name.clone()).filter(|p| peer.is_none_or(|n| n == p)).collect();
        self.must_lead()?;
        if of.is_empty() {
            let known: Vec<_> = self.peers.iter().map(|p| p.config.name.as_str()).collect();
            return Err(anyhow!("no peer '{}'; there is: {}", peer.unwrap_or_default(), known.join(", ")));
        }
        for peer in &of {
            self.with(peer, Engine::rotate);
        }
        self.publish(&mut self.state());
        if let Some(error) = self.status().store.as_ref().and_then(|store| store.error.clone()) {
            bail!("noted; but the store cannot be written ({error}): the new generation follows when it can be");
        }
        Ok(of)
    }

    /// The operator strikes a box out, or takes that back.
    ///
    /// # Errors
    /// No such box; or it is in force, but not kept yet.
    pub async fn revoke(&self, node: &str, revoked: bool) -> anyhow::Result<()> {
        self.must_lead()?;
        let (told, kept) = oneshot::channel();
        {
            let state = &mut *self.state();
            let found = state.engines.iter_mut().find(|(_, engine)| engine.has_node(node));
            let (peer, engine) =
                found.ok_or_else(|| anyhow!("no node '{node}' in the configuration of this registrar"))?;
            let peer = peer.clone();
            if let Some(effects) = engine.revoke(Instant::now(), node, revoked) {
                self.apply(state, &peer, effects, Some(told));
                self.publish(state);
            }
        }
        tracing::warn!(node, "{}", if revoked { "revoked" } else { "taken back" });
        match tokio::time::timeout(KEPT_WITHIN, kept).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => bail!("this registrar does not lead its side any more; ask the one that does"),
            Err(_) => bail!(
                "in force here, but not kept yet: the store cannot be written; it is tried again, and until then a restart \
                 would forget it; see 'pdmv2 registrar status'"
            ),
        }
    }
}
