//! Where a running box has its keys from: a registrar, or a key file.

use super::connection::RegistrationSettings;
use super::from_file::{FileKeys, KeyFileSettings, NO_KEYS};
use super::from_registrar::RegisteredKeys;
use super::recorder::Recorder;
use crate::observe::counts::RegistrationCounts;
use crate::resumption::Cause;
use pipeline::state::shared::Shared;
use pipeline::state::snapshot::SnapshotCell;
use std::time::{Duration, Instant};

/// One of the two.
pub enum KeySource {
    /// A key file.
    File(Box<FileKeys>),
    /// Registrars.
    Registered(Box<RegisteredKeys>),
}

impl KeySource {
    /// The keys of the node of this name, from whichever is configured; `None`: neither is. A registration begins at once.
    ///
    /// # Errors
    /// Certificates that are not good, a node that the key file does not have.
    pub fn of(
        node: &str,
        registration: Option<RegistrationSettings>,
        key_file: Option<KeyFileSettings>,
        recorder: Recorder,
    ) -> anyhow::Result<Option<Self>> {
        if let Some(settings) = registration {
            return Ok(Some(Self::Registered(Box::new(RegisteredKeys::start(settings, recorder)?))));
        }
        let keys = key_file.map(|settings| FileKeys::new(settings, node, true, recorder)).transpose()?;
        Ok(keys.map(|keys| Self::File(Box::new(keys))))
    }

    /// Where it publishes its rings.
    #[must_use]
    pub fn cell(&self) -> SnapshotCell {
        match self {
            Self::File(keys) => keys.cell.clone(),
            Self::Registered(keys) => keys.cell.clone(),
        }
    }

    /// Takes keys into use, as far as there are some. The network goes on without measuring, rather than not at all.
    pub fn start(&mut self) {
        match self {
            Self::File(keys) => {
                if let Err(error) = keys.start() {
                    tracing::error!(%error, "{NO_KEYS}");
                }
            }
            Self::Registered(keys) => keys.tick(Instant::now()),
        }
    }

    /// Generation sealed under.
    #[must_use]
    pub fn generation(&self) -> Option<u32> {
        match self {
            Self::File(keys) => keys.generation(),
            Self::Registered(keys) => keys.generation(),
        }
    }

    /// How it stands with the registrars; `None`: there is none.
    #[must_use]
    pub fn registration(&self) -> Option<RegistrationCounts> {
        match self {
            Self::File(_) => None,
            Self::Registered(keys) => Some(RegistrationCounts {
                registered: keys.registered(),
                out_of_touch: keys.out_of_touch(),
                keys_expire_seconds: keys.expires_in(Instant::now()).map(|d| d.as_secs_f64()),
            }),
        }
    }

    /// Waits for so long, but not when there is something that must not wait.
    pub fn wait(&self, limit: Duration) {
        match self {
            Self::File(_) => std::thread::sleep(limit),
            Self::Registered(keys) => keys.wait(limit),
        }
    }

    /// What must not wait: keys that have come, or have expired.
    pub fn quick_tick(&mut self, now: Instant) {
        if let Self::Registered(keys) = self {
            keys.tick(now);
        }
    }

    /// What is done now and then.
    pub fn tick(&mut self, shared: &Shared, now: Instant) {
        match self {
            Self::File(keys) => keys.tick(shared),
            Self::Registered(keys) => keys.slow_tick(shared, now),
        }
    }

    /// This process was resumed from a snapshot, or is a clone: nothing is sealed any more under what another may have.
    pub fn resumed(&mut self, cause: Cause) {
        tracing::warn!(cause = cause.name(), "this machine was resumed, or its clocks say so: new keys are taken");
        match self {
            Self::File(keys) => keys.resumed(cause),
            Self::Registered(keys) => keys.process_is_new(),
        }
    }

    /// Lets a process that takes over have what only one process of a box may have of the keys. This one goes on under what it
    /// seals under at the moment, and under nothing new.
    pub fn let_go(&mut self, now: Instant) {
        match self {
            Self::File(keys) => keys.let_go(),
            Self::Registered(keys) => keys.let_go(now),
        }
    }

    /// The other did not take over.
    pub fn take_back(&mut self) {
        match self {
            Self::File(keys) => keys.take_back(),
            Self::Registered(keys) => keys.take_back(),
        }
    }

    /// At the end: what a key file's state wants written down.
    pub fn persist(&mut self) {
        if let Self::File(keys) = self {
            keys.persist();
        }
    }
}
