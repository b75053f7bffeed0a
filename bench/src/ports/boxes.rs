//! Two boxes' state, made in this process: what `control` makes of a configuration and a key file, without either.

use super::frames::{A, B};
use anyhow::{Context, Result};
use pipeline::flow::table::{FlowTable, TableSize};
use pipeline::state::keyring::{GenerationKeys, KeyRing, KeyRingCell, Peer, Sealer};
use pipeline::state::policies::{InboundAction, Mode, Policy};
use pipeline::state::shared::{Oversize, PathConfig, Shared};
use protocol::key_schedule::{Prk, ScopeId, SharedSecret, file_generation_secret};
use protocol::prefix::Prefix;
use protocol::prseq::MasterKey;
use protocol::suite::Suite;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

/// Generations that a box opens beyond the newest.
const AHEAD: u32 = 16;

/// No flow leaves while something is measured.
pub const TOMBSTONES: usize = 1024;

/// The table's capacity for so many flows: a quarter free, and never less than the default of the configuration.
#[must_use]
pub fn capacity(flows: u32) -> usize {
    (flows as usize * 5 / 4).max(131_072)
}

/// One box.
pub struct BoxState {
    /// What its workers share.
    pub shared: Arc<Shared>,
    /// Its keys, to be changed.
    pub cell: KeyRingCell,
    is_a: bool,
}

/// What a box is to be.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The box in front of the senders, or the one behind.
    pub is_a: bool,
    /// The option's form; `Off`: packets pass.
    pub mode: Mode,
    /// What becomes of options that arrive.
    pub inbound: InboundAction,
    /// Flows that must fit.
    pub flows: u32,
    /// Workers.
    pub workers: usize,
    /// Now, on the workers' clock.
    pub now: u64,
}

impl BoxState {
    /// A box with keys of generation 1.
    ///
    /// # Errors
    /// None that depends on anything but this file's constants.
    pub fn new(setting: &Setting) -> Result<Self> {
        let policy = Policy { inbound: setting.inbound, ..Policy::everything(setting.mode) };
        let config = PathConfig {
            policies: vec![policy],
            outside_mtu: 9000,
            oversize: Oversize::Pass,
            mss_clamp: true,
            started_ns: setting.now,
        };
        let size = TableSize { capacity: capacity(setting.flows), tombstones: TOMBSTONES };
        let table = FlowTable::new(size, [0x3D; 16]);
        let mut cell = KeyRingCell::default();
        cell.publish(ring(setting.is_a, 1)?);
        let ring = Arc::clone(&cell.current);
        let shared = Shared::new(config, table, ring, MasterKey::new([0x5C; 32]), setting.workers);
        Ok(Self { shared: Arc::new(shared), cell, is_a: setting.is_a })
    }

    /// The box seals under another generation, and opens the other box's around it, from now on.
    ///
    /// # Errors
    /// As [`BoxState::new`].
    pub fn generation(&mut self, generation: u32) -> Result<()> {
        self.cell.publish(ring(self.is_a, generation)?);
        Ok(())
    }
}

fn prefix(address: [u8; 16]) -> Result<Prefix> {
    Prefix::new(address, 48).context("a prefix of 48 bits")
}

/// The secret of a box's generation: that of a key file with scope "node".
fn keys(node: u8, generation: u32) -> Result<GenerationKeys> {
    let (suite, salt) = (Suite::default(), [5; 32]);
    let shared = file_generation_secret(suite, &salt, &SharedSecret::new(&[7; 32]), generation)?;
    Ok(GenerationKeys::Ready(Prk::new(suite, &salt, &shared)?.secret(&ScopeId::Node([node; 16]))))
}

fn ring(is_a: bool, generation: u32) -> Result<KeyRing> {
    let (me, mine, other, others) = if is_a { (0xA, A, 0xB, B) } else { (0xB, B, 0xA, A) };
    let aead = Suite::default().aead;
    let opened = generation.saturating_sub(1).max(1)..=generation + AHEAD;
    let peer = Peer {
        number: 1,
        aead,
        prefixes: vec![prefix(others)?].into(),
        generations: opened.map(|g| Ok((g, keys(other, g)?))).collect::<Result<_>>()?,
        newest: Arc::new(AtomicU32::new(generation)),
    };
    let sealer = Sealer { generation, aead, keys: keys(me, generation)?, prefixes: vec![prefix(mine)?].into() };
    Ok(KeyRing { sealer: Some(sealer), peers: vec![peer], ..KeyRing::default() })
}
