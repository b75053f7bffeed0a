//! Looks whether the ports' devices are there: lets go of one that is lost, so that nobody waits for it, and takes it up when it is
//! back. A thread of its own, since a driver may take seconds for either.

use crate::ports::SIDES;
use crate::ports::interface::Now;
use crate::ports::pair::Pair;
use crate::ports::pci::Kernel;
use crate::ports::side::Loss;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// It looks so often whether a device is lost.
const STEP: Duration = Duration::from_millis(200);
/// And so often whether one is back.
const LOOK: Duration = Duration::from_secs(1);
/// After an attempt that failed it waits for twice as long as before the attempt, up to this.
const LONGEST: Duration = Duration::from_secs(30);

/// Looks until it is dropped.
pub struct Keeper {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Looks after these ports from now on.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(pair: Arc<Pair>) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new().name("ports".into()).spawn(move || {
            let (kernel, mut attempts) = (Kernel::default(), Attempts::default());
            while stopped.recv_timeout(STEP) == Err(RecvTimeoutError::Timeout) {
                look_after(&pair, &kernel, &mut attempts, Instant::now());
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn look_after(pair: &Pair, kernel: &Kernel, attempts: &mut Attempts, now: Instant) {
    pair.settle();
    let lost = pair.lost();
    if !attempts.is_due(now) {
        return;
    }
    if lost.iter().any(Option::is_some) {
        for (side, loss) in lost.iter().enumerate().filter_map(|(side, loss)| Some((side, loss.as_ref()?))) {
            if pair.note_loss(side) {
                tell_of(side, loss);
            }
        }
        match pair.lose(lost.map(|loss| loss.is_some())) {
            Ok(()) => *attempts = Attempts::after(now, LOOK),
            Err(error) => attempts.failed(now, "a lost port is not let go of yet", &error.to_string()),
        }
    } else if pair.is_without() {
        if let Some(missing) = pair.missing(kernel) {
            return attempts.wait(now, &missing);
        }
        match pair.take_up() {
            Ok(()) => {
                pair.tell();
                *attempts = Attempts::default();
                let [inside, outside] = pair.names();
                tracing::info!("{inside} and {outside} are taken up: the box forwards between them again");
            }
            Err(error) => attempts.failed(now, "a port that is back is not taken up yet", &format!("{error:#}")),
        }
    }
}

fn tell_of(side: usize, loss: &Loss) {
    let side = SIDES[side];
    let what = match loss {
        Loss::Device => "the kernel asks for this port's device back, or it is gone".to_owned(),
        Loss::Interface(name, Now::Another) => {
            format!("the kernel's interface '{name}' that this port stood on was deleted, and made again")
        }
        Loss::Interface(name, _) => format!("the kernel's interface '{name}' that this port stands on is gone"),
    };
    tracing::error!(
        "{side}: {what}: the box lets go of it and forwards nothing until it is back; then the port is taken up by itself"
    );
}

/// When something is tried next that may fail again and again, and what was said of it.
#[derive(Debug, Default)]
struct Attempts {
    next: Option<Instant>,
    pause: Duration,
    said: String,
}

impl Attempts {
    fn after(now: Instant, pause: Duration) -> Self {
        Self { next: Some(now + pause), ..Self::default() }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.next.is_none_or(|next| now >= next)
    }

    /// It is not time yet: what is missing is said once, and looked for again soon.
    fn wait(&mut self, now: Instant, missing: &str) {
        self.next = Some(now + LOOK);
        self.pause = Duration::ZERO;
        self.say(&format!("waiting for a port: {missing}"));
    }

    /// It was tried.
    fn failed(&mut self, now: Instant, what: &str, why: &str) {
        self.pause = (2 * self.pause).clamp(LOOK, LONGEST);
        self.next = Some(now + self.pause);
        self.say(&format!("{what}, which is tried again: {why}"));
    }

    /// Once per change of text.
    fn say(&mut self, text: &str) {
        if self.said != text {
            tracing::warn!("{text}");
            text.clone_into(&mut self.said);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_tried_again_with_growing_pauses_and_what_is_missing_is_looked_for_each_second() {
        let (mut attempts, mut now) = (Attempts::default(), Instant::now());
        assert!(attempts.is_due(now));
        let mut pauses = Vec::new();
        for _ in 0..8 {
            attempts.failed(now, "not taken up", "busy");
            assert_eq!(attempts.said, "not taken up, which is tried again: busy");
            let start = now;
            while !attempts.is_due(now) {
                now += Duration::from_millis(500);
            }
            pauses.push((now - start).as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
        attempts.wait(now, "no device");
        assert!(!attempts.is_due(now + LOOK / 2) && attempts.is_due(now + LOOK));
        attempts.failed(now, "not taken up", "busy");
        assert!(attempts.is_due(now + LOOK), "it has come, and gets its time anew");
        assert!(!Attempts::after(now, LOOK).is_due(now));
    }
}
