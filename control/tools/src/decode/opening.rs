//! Opens sealed options: every key that may have sealed one is tried, the likeliest first, and the tag decides.

use super::DecodeArgs;
use anyhow::Context;
use common::key_file::KeyFile;
use common::key_log::{KeyLog, Known};
use common::state_file::known_generations;
use protocol::aead::{self, Slot};
use protocol::five_tuple::FiveTuple;
use protocol::generation_keys::GenerationKeys;
use protocol::key_schedule::{ScopeId, SessionKey};
use protocol::suite::Aead;
use protocol::wire::option::Prefix6;
use protocol::wire::profile::{AAD_LEN, TEXT_LEN};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

/// Generations tried around the last one known, or from 1 on when none is (profile section 9).
const AHEAD: u32 = 16;
/// Rotations ahead of the last one seen that are tried (profile section 6).
const KRI_AHEAD: i32 = 8;
/// Flows whose last key is remembered.
const MAX_FLOWS: usize = 1 << 18;
/// Secrets that opened something last, which are tried first in a flow that is new.
const RECENT: usize = 8;
/// After so many failures in a flow that nothing has opened, its packets are no longer tried with every key that there is,
/// but for each whose count is a power of two: a capture of other boxes' traffic must not take for ever.
const PATIENCE: u32 = 64;

/// The key that opened an option.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Opened {
    /// The box that sealed; of a key log its id, or whom the secret is for.
    #[serde(serialize_with = "as_text")]
    pub node: Arc<str>,
    /// Its generation.
    pub generation: u32,
    /// Key rotation index.
    pub kri: u32,
    /// Whether the key log has this secret under other names too, so that generation and box may be others.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ambiguous: bool,
}

fn as_text<S: serde::Serializer>(text: &Arc<str>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(text)
}

/// A sealed option of profile 1.
pub(super) struct Sealed {
    pub(super) prefix: Prefix6,
    pub(super) aad: [u8; AAD_LEN],
    pub(super) text: [u8; TEXT_LEN],
    pub(super) tag: [u8; 16],
}

/// A secret: of the key file by node (its place in it) and generation, of the key log by its place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum SecretAt {
    File(usize, u32),
    Log(usize),
}

/// What a flow's last packet was opened with.
struct Last {
    secret: SecretAt,
    kri: u32,
    aead: Aead,
    /// Boxed, so that a table that grows leaves no copies behind.
    session: Box<SessionKey>,
}

/// What is remembered of a flow.
enum FlowKey {
    Opened(Last),
    /// So many packets that nothing has opened.
    Failed(u32),
}

/// Opens sealed options by trying what fits.
pub(super) struct Opener {
    file: Option<OfFile>,
    log: KeyLog,
    /// What the log's secrets are called.
    log_names: Vec<Arc<str>>,
    kri_max: u32,
    flows: HashMap<FiveTuple, FlowKey>,
    recent: VecDeque<SecretAt>,
}

struct OfFile {
    keys: KeyFile,
    names: Vec<Arc<str>>,
    /// Newest generation per node id, from state files.
    known: BTreeMap<[u8; 16], u32>,
    generation_max: Option<u32>,
    secrets: HashMap<(usize, u32), GenerationKeys>,
}

impl Opener {
    /// With the keys that the arguments name; `None`: they name none.
    pub(super) fn load(args: &DecodeArgs) -> anyhow::Result<Option<Self>> {
        let file = args.keys.as_ref().map(|path| OfFile::load(path, args)).transpose()?;
        let log = args.key_log.as_ref().map(|path| KeyLog::load(path)).transpose();
        let log = log.context("the key log cannot be used")?;
        if file.is_none() && log.is_none() {
            return Ok(None);
        }
        let (log, kri_max) = (log.unwrap_or_default(), args.kri_max);
        let log_names = log.known.iter().map(|known| name_of(known).into()).collect();
        Ok(Some(Self { file, log, log_names, kri_max, flows: HashMap::new(), recent: VecDeque::new() }))
    }

    /// What is to be said of the keys when all has been read.
    pub(super) fn note(&self) -> Option<String> {
        let (line, why) = self.log.first_bad?;
        let bad = self.log.bad_lines;
        Some(format!("{bad} lines of the key log could not be used; the first is line {line}: {why}"))
    }

    pub(super) fn open(&mut self, tuple: &FiveTuple, sealed: &Sealed) -> Option<(Opened, [u8; TEXT_LEN])> {
        let mut failures = 0;
        match self.flows.get(tuple) {
            Some(FlowKey::Opened(last)) => {
                if last.kri & 1 == u32::from(sealed.prefix.f)
                    && let Some(text) = try_session(last.aead, &last.session, sealed)
                {
                    return Some((self.named(last.secret, last.kri)?, text));
                }
                // Most likely first: the neighbours, then as far ahead as a receiver looks.
                let (secret, kri) = (last.secret, last.kri);
                let near = [1, -1].into_iter().chain(2..=KRI_AHEAD);
                for kri in near.filter_map(|step| kri.checked_add_signed(step)) {
                    if let Some(found) = self.try_secret(secret, kri, tuple, sealed) {
                        return Some(found);
                    }
                }
            }
            Some(&FlowKey::Failed(n)) => failures = n,
            None => {}
        }
        if failures < PATIENCE || (failures + 1).is_power_of_two() {
            for secret in self.guesses(tuple) {
                for kri in 0..=self.kri_max {
                    if let Some(found) = self.try_secret(secret, kri, tuple, sealed) {
                        return Some(found);
                    }
                }
            }
        }
        // A flow that something has opened keeps its key: one packet may be damaged.
        if !matches!(self.flows.get(tuple), Some(FlowKey::Opened(_))) {
            self.remember(tuple, FlowKey::Failed(failures.saturating_add(1)));
        }
        None
    }

    fn remember(&mut self, tuple: &FiveTuple, key: FlowKey) {
        if let Some(known) = self.flows.get_mut(tuple) {
            *known = key;
        } else if self.flows.len() < MAX_FLOWS {
            self.flows.insert(*tuple, key);
        }
    }

    /// Every secret that may have sealed a packet of a flow not seen before.
    fn guesses(&self, tuple: &FiveTuple) -> Vec<SecretAt> {
        let mut guesses: Vec<_> = self.recent.iter().copied().filter(|&at| self.fits(at, tuple)).collect();
        let known = guesses.len();
        if let Some(file) = &self.file {
            for (index, node) in file.keys.nodes.iter().enumerate() {
                let generations = match (file.generation_max, file.known.get(&node.id)) {
                    (Some(max), _) => 1..=max,
                    (None, Some(&known)) => known.saturating_sub(AHEAD).max(1)..=known.saturating_add(AHEAD),
                    (None, None) => 1..=AHEAD,
                };
                guesses.extend(generations.map(|g| SecretAt::File(index, g)));
            }
        }
        guesses.extend((0..self.log.known.len()).map(SecretAt::Log));
        let (first, rest) = guesses.split_at(known);
        let rest = rest.iter().filter(|&at| !first.contains(at) && self.fits(*at, tuple));
        first.iter().chain(rest).copied().collect()
    }

    /// Whether who holds a secret may have sealed a packet of this flow.
    fn fits(&self, at: SecretAt, tuple: &FiveTuple) -> bool {
        match at {
            SecretAt::File(index, _) => {
                let node = self.file.as_ref().and_then(|f| f.keys.nodes.get(index));
                node.is_some_and(|n| n.prefixes.iter().any(|p| p.contains(&tuple.src)))
            }
            SecretAt::Log(index) => self.log.known.get(index).is_some_and(|known| {
                known.names.iter().any(|name| match name.scope {
                    ScopeId::Client(address) => address == tuple.src || address == tuple.dst,
                    // The log does not say which sources a box speaks for.
                    ScopeId::Node(_) | ScopeId::Shared => true,
                })
            }),
        }
    }

    fn try_secret(
        &mut self,
        at: SecretAt,
        kri: u32,
        tuple: &FiveTuple,
        sealed: &Sealed,
    ) -> Option<(Opened, [u8; TEXT_LEN])> {
        if kri & 1 != u32::from(sealed.prefix.f) {
            return None;
        }
        let (aead, session) = match at {
            SecretAt::File(index, generation) => self.file.as_mut()?.session(index, generation, tuple, kri)?,
            SecretAt::Log(index) => {
                let secret = &self.log.known.get(index)?.secret;
                (secret.suite().aead, secret.session(tuple, kri))
            }
        };
        let text = try_session(aead, &session, sealed)?;
        self.remember(tuple, FlowKey::Opened(Last { secret: at, kri, aead, session: Box::new(session) }));
        if self.recent.front() != Some(&at) {
            self.recent.retain(|known| *known != at);
            self.recent.push_front(at);
            self.recent.truncate(RECENT);
        }
        Some((self.named(at, kri)?, text))
    }

    fn named(&self, at: SecretAt, kri: u32) -> Option<Opened> {
        match at {
            SecretAt::File(index, generation) => {
                let node = Arc::clone(self.file.as_ref()?.names.get(index)?);
                Some(Opened { node, generation, kri, ambiguous: false })
            }
            SecretAt::Log(index) => {
                let (names, node) = (&self.log.known.get(index)?.names, Arc::clone(self.log_names.get(index)?));
                let generation = names.first()?.generation;
                Some(Opened { node, generation, kri, ambiguous: names.len() > 1 })
            }
        }
    }
}

/// The first of a secret's names.
fn name_of(known: &Known) -> String {
    match known.names.first().map(|name| name.scope) {
        Some(ScopeId::Node(id)) => hex::encode(id),
        Some(ScopeId::Client(address)) => format!("client {}", std::net::Ipv6Addr::from(address)),
        Some(ScopeId::Shared) | None => "shared".to_owned(),
    }
}

impl OfFile {
    fn load(path: &Path, args: &DecodeArgs) -> anyhow::Result<Self> {
        let keys = KeyFile::load(path).context("the key file cannot be used")?;
        let beside = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let known = known_generations(args.state_dir.as_deref().unwrap_or(beside), &keys);
        let names = keys.nodes.iter().map(|n| n.name.as_str().into()).collect();
        Ok(Self { keys, names, known, generation_max: args.generation_max, secrets: HashMap::new() })
    }

    fn session(&mut self, index: usize, g: u32, tuple: &FiveTuple, kri: u32) -> Option<(Aead, SessionKey)> {
        let keys = match self.secrets.entry((index, g)) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(self.keys.generation_keys(self.keys.nodes.get(index)?, g).ok()?)
            }
        };
        Some((self.keys.suite.aead, keys.session(tuple, kri)?))
    }
}

fn try_session(aead: Aead, session: &SessionKey, sealed: &Sealed) -> Option<[u8; TEXT_LEN]> {
    let mut slot = Slot::ZERO;
    slot.key = session.key;
    slot.nonce = session.nonce(sealed.prefix.prseq);
    slot.aad = sealed.aad;
    slot.text = sealed.text;
    slot.tag = sealed.tag;
    let slots = &mut [slot];
    let opened = aead::open(aead, slots) == 1;
    let text = slots[0].text;
    slots[0].key = [0; 32];
    opened.then_some(text)
}
