//! Which port is to be taken down or brought up, given what was seen of both links: no port is touched here, and the time
//! comes in as an argument.

use crate::observe::counts::LINK_STATES;
use std::time::Duration;

/// A port that was told to come up has this long: copper negotiates for seconds.
const GRACE: Duration = Duration::from_secs(10);
/// More, for a port that was seen to need it: twice as long as it took, up to this.
const LONGEST_GRACE: Duration = Duration::from_secs(60);
/// A link has been back for this long before the other port is brought up: a contact that bounces is followed once.
const STEADY: Duration = Duration::from_secs(1);
/// For so long a driver may fail to say how the link is; then the link counts as down.
const UNKNOWN: Duration = Duration::from_secs(2);
/// What a driver failed to do is tried again after this.
const RETRY: Duration = Duration::from_secs(10);
/// So often a driver is asked to take a port down that fails to, and to bring one up that says it does.
const TRIES: u32 = 3;

/// A port's link, as one look found it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen {
    /// It has a link.
    Up,
    /// It has none.
    Down,
    /// The driver does not say.
    Unknown,
    /// The device is gone, or about to go.
    Gone,
}

/// What is to be done: bring this port's link up, or take it down. 0 is inside, 1 outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// The port.
    pub port: usize,
    /// Up or down.
    pub up: bool,
}

/// What came of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Done {
    /// The driver says that it has done it.
    Yes,
    /// The driver cannot do that at all.
    Unable,
    /// It could not this time.
    Failed,
}

/// Where the follower stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum State {
    /// Links are looked at, and not followed.
    #[default]
    Off,
    /// Not both ports have had a link since the start: nothing is followed.
    Waiting,
    /// Both have one.
    Following,
    /// This port was taken down, since the other has no link.
    Down(usize),
    /// The other port has its link back, and this one was told to come up: it has until then.
    Rising(usize, Duration),
    /// Both have lost their links at once: there is nobody to tell.
    Lost,
    /// The other port has its link back after both had lost them; this one has until then.
    Returning(usize, Duration),
}

impl State {
    /// The name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        LINK_STATES[match self {
            Self::Off => 0,
            Self::Waiting => 1,
            Self::Following => 2,
            Self::Down(_) => 3,
            Self::Rising(..) | Self::Returning(..) => 4,
            Self::Lost => 5,
        }]
    }
}

/// What is known of a port.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    up: bool,
    /// Since when it is so.
    since: Duration,
    /// Since when the driver does not say.
    unknown: Option<Duration>,
    gone: bool,
    /// Told to come up at this time, so often, and not seen up since.
    told: Option<(Duration, u32)>,
    /// How long it needed when it was told, if that was long.
    slow: Duration,
    /// The driver cannot take this port's link down.
    unable: bool,
    /// It was taken down, as far as the driver said, and not brought up since.
    forced: bool,
    /// A step that failed, or has yet to be done: what it is, when it is tried again, and how often it has been.
    failed: Option<(bool, Duration, u32)>,
}

impl Known {
    /// `taken_down`: it is to be down, since the other port has no link.
    fn see(&mut self, now: Duration, seen: Seen, taken_down: bool) {
        let gone = seen == Seen::Gone;
        if core::mem::replace(&mut self.gone, gone) && !gone {
            // It is back, set up anew: of what was done to it before nothing holds.
            let failed = taken_down.then_some((false, now, 0));
            *self = Self { up: self.up, since: self.since, slow: self.slow, failed, ..Self::default() };
        }
        let up = match seen {
            Seen::Up => true,
            Seen::Down | Seen::Gone => false,
            Seen::Unknown => self.up && now - *self.unknown.get_or_insert(now) < UNKNOWN,
        };
        if seen != Seen::Unknown {
            self.unknown = None;
        }
        if up != self.up {
            (self.up, self.since) = (up, now);
        }
        if up && let Some((told, _)) = self.told.take() {
            // After longer it was hardly the negotiation: a cable, or the other side.
            self.slow = self.slow.max(Some(now - told).filter(|&took| took <= LONGEST_GRACE).unwrap_or_default());
        }
    }

    fn grace(&self) -> Duration {
        (2 * self.slow).clamp(GRACE, LONGEST_GRACE)
    }
}

/// Decides; see [`Follower::step`].
#[derive(Debug)]
pub struct Follower {
    state: State,
    ports: [Known; 2],
}

impl Follower {
    /// Disabled, it only looks.
    #[must_use]
    pub fn new(enabled: bool) -> Self {
        Self { state: if enabled { State::Waiting } else { State::Off }, ports: Default::default() }
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether the link of this port counts as up.
    #[must_use]
    pub fn up(&self, port: usize) -> bool {
        self.ports[port].up
    }

    /// Whether this port was taken down.
    #[must_use]
    pub fn forced(&self, port: usize) -> bool {
        self.ports[port].forced
    }

    /// What the drivers say of both links at this time; gives what is to be done about it, if anything. What comes of that is
    /// handed to [`Follower::done`] before the next look.
    pub fn step(&mut self, now: Duration, seen: [Seen; 2]) -> Option<Step> {
        for (i, (port, seen)) in self.ports.iter_mut().zip(seen).enumerate() {
            port.see(now, seen, self.state == State::Down(i));
        }
        self.decide(now).or_else(|| self.again(now))
    }

    /// What came of a step.
    pub fn done(&mut self, now: Duration, step: Step, done: Done) {
        let port = &mut self.ports[step.port];
        let tries = port.failed.filter(|&(up, ..)| up == step.up).map_or(0, |(.., tries)| tries);
        port.failed = None;
        match done {
            Done::Yes => port.forced = !step.up,
            // It goes up again by all means: it is this box that has taken it down.
            Done::Unable | Done::Failed if step.up => port.failed = Some((true, now + RETRY, tries + 1)),
            Done::Unable => port.unable = true,
            Done::Failed => port.failed = Some((false, now + RETRY, tries + 1)),
        }
    }

    fn decide(&mut self, now: Duration) -> Option<Step> {
        let up = self.ports.map(|port| port.up);
        match self.state {
            State::Waiting if up == [true; 2] => self.enter(State::Following),
            State::Off | State::Waiting => None,
            State::Following => match up {
                [true, true] => None,
                [false, false] => self.enter(State::Lost),
                _ => self.take_down(usize::from(up[1])),
            },
            State::Down(port) => {
                let other = &self.ports[1 - port];
                if other.up && now - other.since >= STEADY { self.bring_up(now, port) } else { None }
            }
            State::Rising(port, _) | State::Returning(port, _) if up == [true; 2] => {
                let _ = port;
                self.enter(State::Following)
            }
            // The other one has lost its link once more.
            State::Rising(port, _) if !up[1 - port] => self.take_down(port),
            State::Returning(port, _) if !up[1 - port] => {
                if up[port] {
                    self.take_down(port)
                } else {
                    self.enter(State::Lost)
                }
            }
            // It has no link, and the other is told so in turn.
            State::Rising(port, until) | State::Returning(port, until) if now >= until => self.take_down(1 - port),
            State::Rising(..) | State::Returning(..) => None,
            State::Lost => match up {
                [true, true] => self.enter(State::Following),
                [false, false] => None,
                _ => {
                    let late = usize::from(up[0]);
                    self.enter(State::Returning(late, now + self.ports[late].grace()))
                }
            },
        }
    }

    fn enter(&mut self, state: State) -> Option<Step> {
        self.state = state;
        None
    }

    fn take_down(&mut self, port: usize) -> Option<Step> {
        self.state = State::Down(port);
        let known = &mut self.ports[port];
        (known.told, known.failed) = (None, None);
        (!known.unable && !known.gone).then_some(Step { port, up: false })
    }

    fn bring_up(&mut self, now: Duration, port: usize) -> Option<Step> {
        let known = &mut self.ports[port];
        self.state = State::Rising(port, now + known.grace());
        known.failed = None;
        if !known.forced || known.gone {
            return None;
        }
        known.told = Some((now, 1));
        Some(Step { port, up: true })
    }

    /// A step that failed before, or came to nothing, when its time has come.
    fn again(&mut self, now: Duration) -> Option<Step> {
        for (port, known) in self.ports.iter_mut().enumerate().filter(|(_, known)| !known.gone) {
            if let Some((up, at, tries)) = known.failed {
                if now >= at && (up || tries < TRIES) {
                    return Some(Step { port, up });
                }
            } else if let Some((told, times)) = known.told
                && times < TRIES
                && now - told >= known.grace() * (2 * times - 1)
            {
                known.told = Some((told, times + 1));
                return Some(Step { port, up: true });
            }
        }
        None
    }
}

#[cfg(test)]
mod model;
