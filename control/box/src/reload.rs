//! The configuration is read again while the box runs, on SIGHUP or when it is asked to at the admin socket.
//!
//! What can change then is taken as a whole, or nothing is: a file with errors, or with a change that needs a restart, leaves all as
//! it was, and says so. No packet is lost over it: settings of the path are replaced as one snapshot, between two bursts.

mod fixed;

use crate::config::Config;
use crate::observe::telemetry::Moves;
use crate::setup;
use anyhow::Context;
use common::admin::{Failure, Reloaded};
use common::logging::{self, Telemetry};
use fixed::Fixed;
use pipeline::ports::Clock;
use pipeline::state::rules::PathConfig;
use pipeline::state::shared::Shared;
use signal_hook::consts::SIGHUP;
use signal_hook::iterator::{Handle, Signals};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Which file, and what of it was in force at the start.
pub struct Origin {
    path: PathBuf,
    fixed: Fixed,
    telemetry: Telemetry,
}

impl Origin {
    /// Of this configuration, read from this file.
    #[must_use]
    pub fn new(path: &Path, config: &Config) -> Self {
        Self { path: path.to_owned(), fixed: Fixed::of(config), telemetry: config.telemetry }
    }
}

/// Reads it again.
pub struct Reloading {
    path: PathBuf,
    fixed: Fixed,
    shared: Arc<Shared>,
    now: Box<dyn Fn() -> u64 + Send + Sync>,
    /// Has telemetry answer elsewhere.
    moves: Moves,
    /// What is in force of that which the path does not hold. Held while a file is read and taken: one at a time.
    telemetry: Mutex<Telemetry>,
}

impl Reloading {
    /// For the box with this state, `clock` being its workers'.
    pub fn new(origin: Origin, shared: Arc<Shared>, clock: impl Clock + Send + Sync + 'static, moves: Moves) -> Self {
        let Origin { path, fixed, telemetry } = origin;
        Self { path, fixed, shared, now: Box::new(move || clock.now_ns()), moves, telemetry: Mutex::new(telemetry) }
    }

    /// Reads the file, and puts in force what it says. It may take as long as a disk does.
    ///
    /// # Errors
    /// The file has errors, or a change that needs a restart; all is as it was.
    pub fn reload(&self) -> Result<Reloaded, Failure> {
        let mut telemetry = self.telemetry.lock().unwrap_or_else(PoisonError::into_inner);
        let result = self.take(&mut telemetry);
        match &result {
            Ok(Reloaded { changed, warnings }) => {
                warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
                let changed = if changed.is_empty() { "nothing".to_owned() } else { changed.join(", ") };
                tracing::info!(changed, "the configuration was read again");
            }
            Err(Failure { error, remedy, .. }) => {
                tracing::error!(remedy, "the configuration is not taken; all stays as it was: {error}");
            }
        }
        result
    }

    fn take(&self, telemetry: &mut Telemetry) -> Result<Reloaded, Failure> {
        let failure =
            |error: String, remedy: &str, known: Vec<String>| Failure { error, remedy: remedy.to_owned(), known };
        let config = Config::load(&self.path)
            .map_err(|errors| failure(errors.to_string(), "correct it, and have it read again", Vec::new()))?;
        let needs_restart = self.fixed.differences(&Fixed::of(&config));
        if !needs_restart.is_empty() {
            let error =
                format!("{}: {} cannot change while the box runs", self.path.display(), needs_restart.join(", "));
            let remedy = "start the box again for these, or take them back and have it read again";
            return Err(failure(error, remedy, needs_restart.iter().map(ToString::to_string).collect()));
        }
        let moved = self.move_telemetry(telemetry, &config.telemetry);
        let mut changed = moved.map_err(|error| failure(format!("{error:#}"), "all stays as it was", Vec::new()))?;
        let before = self.shared.snapshots.rules();
        // The MTU is the port's, and no configuration's.
        let path = setup::path(&config, before.config.outside_mtu, (self.now)());
        let of_path = differences(&before.config, &path);
        if !of_path.is_empty() {
            self.shared.replace(path);
        }
        changed.extend(of_path);
        if telemetry.log_level != config.telemetry.log_level && logging::set_level(config.telemetry.log_level) {
            telemetry.log_level = config.telemetry.log_level;
            changed.push("telemetry.log_level".to_owned());
        }
        Ok(Reloaded { changed, warnings: config.warnings.iter().map(ToString::to_string).collect() })
    }
}

impl Reloading {
    /// What may fail comes first: then nothing has changed.
    fn move_telemetry(&self, before: &mut Telemetry, now: &Telemetry) -> anyhow::Result<Vec<String>> {
        let compared =
            [("telemetry.listen", before.listen == now.listen), ("telemetry.admin", before.admin == now.admin)];
        let changed: Vec<_> = compared.iter().filter(|(_, same)| !same).map(|(name, _)| (*name).to_owned()).collect();
        if !changed.is_empty() {
            self.moves.to(now)?;
            (before.listen, before.admin) = (now.listen, now.admin);
        }
        Ok(changed)
    }
}

/// What differs between settings of the path, as the configuration calls it.
fn differences(before: &PathConfig, now: &PathConfig) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |name: &str, same: bool| {
        if !same {
            found.push(name.to_owned());
        }
    };
    compare("policy", before.policies == now.policies);
    compare("pair", before.pairs == now.pairs);
    compare("flow_table.idle_timeout", before.timeouts == now.timeouts);
    compare("forwarding.oversize", before.oversize == now.oversize);
    compare("forwarding.mss_clamp", before.mss_clamp == now.mss_clamp);
    compare("diagnostics.flows", before.diagnostics == now.diagnostics);
    found
}

/// Hears SIGHUP, from early on: the signal would end a program that does not.
pub struct Hangups {
    signals: Signals,
}

impl Hangups {
    /// From now on.
    ///
    /// # Errors
    /// The system does not let it.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self { signals: Signals::new([SIGHUP]).context("cannot wait for signals")? })
    }

    /// Has the configuration read again at each, by a thread of its own: a disk may take its time.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn reload(mut self, reloading: Arc<Reloading>) -> anyhow::Result<Reloads> {
        let handle = self.signals.handle();
        let thread = std::thread::Builder::new().name("reload".into()).spawn(move || {
            for _ in self.signals.forever() {
                let _ = reloading.reload(); // the log has it
            }
        })?;
        Ok(Reloads { handle, thread: Some(thread) })
    }
}

/// Waits for signals until it is dropped.
pub struct Reloads {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Reloads {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
