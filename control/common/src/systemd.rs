//! What a program tells systemd (`sd_notify`, where there is a socket for it): ready, how it stands, alive, stopping. A program that
//! stands still is told of no more, so that systemd starts it again (`WatchdogSec=` of the unit).
//!
//! A thread of its own: neither what waits for systemd nor what stands still is to hold up the other.

use sd_notify::NotifyState;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// It looks so often.
pub const STEP: Duration = Duration::from_millis(200);
/// What a program says of itself is said anew after this, if it has changed.
const SAY: Duration = Duration::from_secs(5);

/// Looks until it is dropped.
pub struct Watchdog {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Says that the program is ready, and looks from now on, every [`STEP`].
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(mut look: impl FnMut(Instant) + Send + 'static) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new().name("watchdog".into()).spawn(move || {
            tell(&[NotifyState::Ready]);
            let ended = loop {
                match stopped.recv_timeout(STEP) {
                    Err(RecvTimeoutError::Timeout) => look(Instant::now()),
                    ended => break ended,
                }
            };
            if ended.is_err() {
                tell(&[NotifyState::Stopping]);
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }

    /// Ends without a word: the program goes on in another process, and is not stopping.
    pub fn end_quietly(self) {
        if let Some(stop) = &self.stop {
            let _ = stop.send(()); // it has ended
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How long systemd waits for a sign of life; `None`: it waits for none.
#[must_use]
pub fn patience() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// From now on systemd hears that process of the program, and no longer this one.
pub fn main_process_is(process: u32) {
    tell(&[NotifyState::MainPid(process)]);
}

/// Nobody listens, or not at the moment: the program does its work all the same.
pub fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd cannot be told");
    }
}

/// Something that makes turns, and when it was last seen to.
#[derive(Clone, Copy, Debug)]
pub struct Turns {
    count: u64,
    /// When it was.
    pub since: Instant,
}

impl Turns {
    /// None yet.
    #[must_use]
    pub const fn from(now: Instant) -> Self {
        Self { count: 0, since: now }
    }

    /// So many turns have been made until now.
    pub fn look(&mut self, count: u64, now: Instant) {
        if count != self.count {
            *self = Self { count, since: now };
        }
    }

    /// Whether none has been made for so long.
    #[must_use]
    pub fn stand_still(&self, limit: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= limit
    }
}

/// What is told, and when.
#[derive(Debug)]
pub struct Telling {
    /// Who stands still for so long is not told of. Half of systemd's time: the other half is for the telling.
    pub limit: Option<Duration>,
    alive: Option<Instant>,
    still: bool,
    said: (Instant, String),
}

impl Telling {
    /// `patience`: as [`patience`] gives it.
    #[must_use]
    pub fn new(patience: Option<Duration>, now: Instant) -> Self {
        let limit = patience.map(|time| time / 2);
        Self { limit, alive: None, still: false, said: (now, String::new()) }
    }

    /// Tells that the program is alive, if it is time to, and how it stands; or who stands still, once.
    pub fn look(
        &mut self,
        now: Instant,
        still: Option<&str>,
        stands: impl FnOnce() -> String,
        tell: &dyn Fn(&[NotifyState<'_>]),
    ) {
        let Some(limit) = self.limit else { return self.say(now, stands, tell) };
        match still {
            None => {
                self.still = false;
                if self.alive.is_none_or(|last| now.saturating_duration_since(last) >= limit / 2) {
                    self.alive = Some(now);
                    tell(&[NotifyState::Watchdog]);
                }
                self.say(now, stands, tell);
            }
            Some(who) if !self.still => {
                self.still = true;
                let seconds = limit.as_secs_f64();
                tracing::error!("{who} has stood still for {seconds} s; systemd is no longer told that it is alive");
                tell(&[NotifyState::Status(&format!("{who} stands still"))]);
            }
            Some(_) => {}
        }
    }

    /// How the program stands, when that has changed.
    fn say(&mut self, now: Instant, stands: impl FnOnce() -> String, tell: &dyn Fn(&[NotifyState<'_>])) {
        let (last, before) = &mut self.said;
        if !before.is_empty() && now.saturating_duration_since(*last) < SAY {
            return;
        }
        *last = now;
        let says = stands();
        if says != *before {
            tell(&[NotifyState::Status(&says)]);
            *before = says;
        }
    }
}
