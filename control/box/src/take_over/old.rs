//! The old process's part: it answers whoever wants to take over, one at a time, on a thread of its own.

use super::other::Other;
use super::sockets::Own;
use super::steps::{Act, Heard, Holds};
use super::talk::{Facts, FromNew, FromOld, Lost, Talk, readable};
use super::{Limits, now_ns};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// It looks so often whether it is to stop.
const LOOK: Duration = Duration::from_millis(100);
/// Between attempts to take the ports up again: the first pause, doubled each time, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(10)];

/// What a box can do with what it has.
pub trait Hands: Send {
    /// What the new one has to know, but for the sockets.
    fn facts(&self) -> Facts;
    /// Lets go of the keys' state, and goes on under the generation that it has.
    ///
    /// # Errors
    /// It cannot.
    fn let_keys_go(&self) -> anyhow::Result<()>;
    /// Takes the keys' state back, at once or as soon as that can be had.
    fn take_keys_back(&self);
    /// Gives the ports up.
    ///
    /// # Errors
    /// It cannot; half of it may be done.
    fn give_ports_up(&self) -> anyhow::Result<()>;
    /// Leaves the ports alone, which stay.
    ///
    /// # Errors
    /// It cannot.
    fn leave_ports_alone(&self) -> anyhow::Result<()>;
    /// Takes the ports up again, as far as it has not got them.
    ///
    /// # Errors
    /// It cannot.
    fn take_ports_up(&self) -> anyhow::Result<()>;
    /// A take-over has failed: for those who ask.
    fn failed(&self, why: &str);
    /// This process of the box ends: that one forwards. `keeps_socket`: it answers at the same admin socket.
    fn leave(&self, process: u32, gap_ns: u64, keeps_socket: bool);
}

/// A process that takes over, as far as the old one has to do with it.
pub trait Ends {
    /// Its number.
    fn process(&self) -> u32;
    /// Whether it has ended.
    fn has_ended(&self) -> bool;
    /// Sees to it that it ends: by itself, in this time, or by force. `false`: it lives all the same.
    fn end(&self, by_itself: Duration) -> bool;
}

impl Ends for Other {
    fn process(&self) -> u32 {
        self.process
    }

    fn has_ended(&self) -> bool {
        self.ends_within(Duration::ZERO)
    }

    fn end(&self, by_itself: Duration) -> bool {
        self.end(by_itself)
    }
}

/// Answers until it is dropped.
pub struct Giving {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Giving {
    /// At this socket, which does not block.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        listener: UnixListener,
        own: Own,
        hands: impl Hands + 'static,
        limits: Limits,
    ) -> std::io::Result<Self> {
        let stop = Arc::<AtomicBool>::default();
        let at = At { listener, own, hands, limits, stop: Arc::clone(&stop) };
        let thread = std::thread::Builder::new().name("take-over".into()).spawn(move || at.answer())?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Giving {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct At<H> {
    listener: UnixListener,
    own: Own,
    hands: H,
    limits: Limits,
    stop: Arc<AtomicBool>,
}

impl<H: Hands> At<H> {
    fn answer(&self) {
        while !self.stops() {
            if !readable(self.listener.as_fd(), LOOK) {
                continue;
            }
            let Ok((stream, _)) = self.listener.accept() else { continue };
            match Other::connected(stream.as_fd()) {
                Ok(other) => {
                    if Conversation::new(self, Talk::new(stream), other).hold() == Holds::Left {
                        return;
                    }
                }
                Err(error) => tracing::warn!("who wants to take over is refused: {error}"),
            }
        }
    }

    fn stops(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// While one takes over others are told so. `false`: this process is to stop.
    fn meanwhile(&self) -> bool {
        while let Ok((stream, _)) = self.listener.accept() {
            let why = "another process takes over at the moment; wait until that has come to its end".to_owned();
            let _ = Talk::new(stream).say(&FromOld::Refused { why }, &[]); // then it sees the end
        }
        !self.stops()
    }
}

/// With one new process.
struct Conversation<'a, H, O> {
    at: &'a At<H>,
    talk: Talk,
    other: O,
    holds: Holds,
    /// What the new one has said of its success.
    gap_ns: u64,
    keeps_socket: bool,
    /// It has said that it is to take over.
    asked: bool,
    /// Why it comes to nothing.
    why: Option<String>,
    /// It has said itself that it fails, and ends.
    ends_itself: bool,
}

impl<'a, H: Hands, O: Ends> Conversation<'a, H, O> {
    fn new(at: &'a At<H>, talk: Talk, other: O) -> Self {
        let (gap_ns, keeps_socket, asked, why, ends_itself) = (0, false, false, None, false);
        Self { at, talk, other, holds: Holds::Everything, gap_ns, keeps_socket, asked, why, ends_itself }
    }

    /// Until its end; what this process has then: all or nothing.
    fn hold(mut self) -> Holds {
        loop {
            let limit = match self.holds {
                Holds::Everything => self.at.limits.prepare,
                Holds::Ports => self.at.limits.give,
                Holds::Nothing | Holds::Left => self.at.limits.done,
            };
            let heard = self.hear(limit);
            if !self.answer(heard) {
                return self.holds;
            }
        }
    }

    fn hear(&mut self, limit: Duration) -> Heard {
        let heard = self.talk.hear::<FromNew>(limit, &mut || self.at.meanwhile());
        match heard {
            Ok(FromNew::Hello { version }) => {
                tracing::info!(process = self.other.process(), version, "a process prepares to take over");
                self.asked = true;
                Heard::Hello
            }
            Ok(FromNew::Prepare) => Heard::Prepare,
            Ok(FromNew::Give) => Heard::Give,
            Ok(FromNew::StepAside) => Heard::StepAside,
            // What was said last by one that is no more: nobody forwards.
            Ok(FromNew::Done { .. }) if self.other.has_ended() => {
                self.why = Some("it has forwarded, and has ended at once".to_owned());
                Heard::Lost
            }
            Ok(FromNew::Done { gap_ns, keeps_socket }) => {
                (self.gap_ns, self.keeps_socket) = (gap_ns, keeps_socket);
                Heard::Done
            }
            Ok(FromNew::Failed { why }) => {
                (self.why, self.ends_itself) = (Some(why), true);
                Heard::Lost
            }
            Err(lost) => {
                if lost == Lost::Stopped {
                    self.say(&FromOld::Refused { why: "the box is being stopped".to_owned() });
                }
                self.why = Some(lost.to_string());
                Heard::Lost
            }
        }
    }

    /// Does what follows. `false`: that was the end.
    fn answer(&mut self, heard: Heard) -> bool {
        let (next, acts) = self.holds.hear(heard);
        if self.asked && acts.contains(&Act::Close) && next != Holds::Left {
            let why = self.why.take().unwrap_or_else(|| "it has asked for what is not its turn".to_owned());
            tracing::error!(
                process = self.other.process(),
                "the take-over has failed, and this process goes on: {why}"
            );
            self.at.hands.failed(&why);
            self.asked = false; // once is enough
        }
        self.holds = next;
        for act in acts {
            match self.act(*act) {
                Ok(true) => {}
                Ok(false) => return false,
                Err(error) => {
                    let why = format!("{error:#}");
                    self.say(&FromOld::Refused { why: why.clone() });
                    (self.why, self.ends_itself) = (Some(why), true);
                    return self.answer(Heard::Lost);
                }
            }
        }
        true
    }

    fn act(&mut self, act: Act) -> anyhow::Result<bool> {
        let hands = &self.at.hands;
        match act {
            Act::Introduce => {
                let facts = hands.facts();
                self.at.own.with(|called, sockets| {
                    let here = FromOld::Here(Facts { sockets: called, ..facts });
                    let _ = self.talk.say(&here, sockets); // then it is heard no more
                });
            }
            Act::LetKeysGo => {
                hands.let_keys_go()?;
                self.say(&FromOld::Prepared);
            }
            Act::GivePortsUp | Act::LeavePortsAlone => {
                // From the last moment in which this process is known to have had them.
                let since_ns = now_ns();
                if act == Act::GivePortsUp { hands.give_ports_up() } else { hands.leave_ports_alone() }?;
                self.say(&FromOld::Given { since_ns });
            }
            Act::EndTheOther => {
                let by_itself = if self.ends_itself { self.at.limits.end } else { Duration::ZERO };
                while !self.other.end(by_itself) && !self.at.stops() {
                    tracing::error!(
                        process = self.other.process(),
                        "the process that took over does not end, so the ports stay with it; look whether it hangs in its \
                         driver ('cat /proc/{}/stack')",
                        self.other.process()
                    );
                }
            }
            Act::TakePortsUp => self.take_ports_up(),
            Act::TakeKeysBack => hands.take_keys_back(),
            Act::Leave => {
                hands.leave(self.other.process(), self.gap_ns, self.keeps_socket);
                self.say(&FromOld::Gone);
            }
            Act::Close => return Ok(false),
        }
        Ok(true)
    }

    /// There is nobody else who would: it is tried until it works.
    fn take_ports_up(&self) {
        let [mut pause, longest] = PAUSES;
        while let Err(error) = self.at.hands.take_ports_up() {
            tracing::error!(pause_ms = pause.as_millis() as u64, "the ports cannot be taken up again: {error:#}");
            if self.at.stops() {
                return;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(longest);
        }
        tracing::warn!("the ports are taken up again, and forward");
    }

    /// It may have gone; that is heard next.
    fn say(&self, what: &FromOld) {
        let _ = self.talk.say(what, &[]);
    }
}

#[cfg(test)]
mod tests;
