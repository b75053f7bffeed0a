//! `[keys] log`: secrets are written down when they come into use, for those who read captures. It is the control thread
//! that does it, behind the workers' key ring, so that no packet and no key waits for a disk.

use super::key_set::Keys;
use common::key_log::Writer;
use pipeline::state::keyring::KeyRing;
use protocol::generation_keys::GenerationKeys;
use protocol::suite::Scope;
use std::io;
use std::sync::atomic::Ordering;

/// Writes secrets down, or not.
#[derive(Debug, Default)]
pub struct Recorder {
    log: Option<Writer>,
    /// What is wrong has been said.
    failed: bool,
}

impl Recorder {
    /// Into this log; `None`: nowhere.
    #[must_use]
    pub fn new(log: Option<Writer>) -> Self {
        Self { log, failed: false }
    }

    /// Whether there is a log that lacks something that could not be written.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.failed
    }

    /// What a registrar has sent: what this box (`me`) seals with, and what it opens.
    pub fn key_set(&mut self, me: [u8; 16], keys: &Keys) {
        self.write(|log| {
            if let Some(sealing) = &keys.sealing {
                log.take(sealing.generation, keys.scope, me, &sealing.keys)?;
            }
            for opening in &keys.opening {
                for (generation, secret) in &opening.secrets {
                    log.take(*generation, keys.scope, opening.node.id, secret)?;
                }
            }
            Ok(())
        });
    }

    /// What is in use under a key file: what this box seals with, and what its peers have sealed with. The ring also holds
    /// what they may come to use; that is written down when they do. `peers` are the ids of the ring's peers.
    pub fn ring(&mut self, me: [u8; 16], scope: Scope, ring: &KeyRing, peers: &[[u8; 16]]) {
        self.write(|log| {
            if let Some(sealer) = &ring.sealer {
                log.take(sealer.generation, scope, me, &sealer.keys)?;
            }
            for (peer, &id) in ring.peers.iter().zip(peers) {
                let newest = peer.newest.load(Ordering::Relaxed);
                let used = |(g, _): &&(u32, GenerationKeys)| *g <= newest;
                peer.generations.iter().filter(used).try_for_each(|(g, keys)| log.take(*g, scope, id, keys))?;
            }
            Ok(())
        });
    }

    fn write(&mut self, take: impl FnOnce(&mut Writer) -> io::Result<()>) {
        let Some(log) = &mut self.log else { return };
        let written = take(log).and_then(|()| log.flush());
        match &written {
            Err(error) if !self.failed => {
                let file = log.path().display();
                tracing::error!(%error, "[keys] log: {file} cannot be written; it is tried again, and packets are not held up");
            }
            Ok(()) if self.failed => tracing::info!("[keys] log: {} can be written again", log.path().display()),
            _ => {}
        }
        self.failed = written.is_err();
    }
}
