//! A socket in systemd's place, and what a program says over it (`sd_notify`).

use anyhow::{Context, Result};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// All that came so far.
#[derive(Clone, Debug, Default)]
pub struct Notified(Arc<Mutex<Vec<String>>>);

impl Notified {
    /// Listens at this place, which is the program's `NOTIFY_SOCKET`, until this process ends.
    ///
    /// # Errors
    /// No socket can be made there.
    pub fn listen(place: &Path) -> Result<Self> {
        let socket = UnixDatagram::bind(place).with_context(|| format!("no socket at {}", place.display()))?;
        let this = Self::default();
        let into = this.clone();
        std::thread::spawn(move || {
            let mut octets = [0; 4096];
            while let Ok(n) = socket.recv(&mut octets) {
                let text = String::from_utf8_lossy(&octets[..n]).trim_end().to_owned();
                into.0.lock().unwrap_or_else(PoisonError::into_inner).push(text);
            }
        });
        Ok(this)
    }

    /// In their order.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many signs of life there were.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.lines().iter().filter(|line| *line == "WATCHDOG=1").count()
    }
}
