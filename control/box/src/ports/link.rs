//! The ports' links: what changes is logged and counted, and one port follows the other, so that what is beyond the box
//! learns of a cut cable on its far side.

use crate::observe::counts::PortLink;
use crate::ports::SIDES;
use crate::ports::follow::{Done, Follower, Seen, State, Step};
use std::time::Duration;

/// After this it is said that nothing is followed yet, or that a driver has not done what it said.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is known of both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStatus {
    /// The follower's state.
    pub state: State,
    /// Inside, outside.
    pub ports: [PortLink; 2],
}

/// What the links need of a port.
pub trait LinkPort {
    /// Its name.
    fn name(&self) -> &str;
    /// One look.
    fn look(&self) -> Seen;
    /// Brings the link up or takes it down.
    fn set(&self, up: bool) -> Result<(), dpdk_ffi::Error>;
}

/// Both ports, as far as their links go.
pub trait Linked {
    /// One look at both, `now` after the start; what `links` asks for is done.
    fn look(&self, links: &mut Links, now: Duration);
}

/// Looks at both links again and again.
#[derive(Debug)]
pub struct Links {
    follower: Follower,
    status: LinkStatus,
    /// Whether there was a look before.
    seen: bool,
    said_waiting: bool,
    /// Since when a port that was taken down is seen up.
    unheeded: [Option<Duration>; 2],
    said_unheeded: [bool; 2],
    said_failed: [bool; 2],
}

impl Links {
    /// `follow`: one port follows the other; otherwise they are only looked at.
    #[must_use]
    pub fn new(follow: bool) -> Self {
        Self {
            follower: Follower::new(follow),
            status: LinkStatus::default(),
            seen: false,
            said_waiting: false,
            unheeded: [None; 2],
            said_unheeded: [false; 2],
            said_failed: [false; 2],
        }
    }

    /// What is known.
    #[must_use]
    pub fn status(&self) -> LinkStatus {
        self.status
    }

    /// One look at both ports, inside first, `now` after the start; does what it asks for.
    pub fn look(&mut self, now: Duration, ports: [&impl LinkPort; 2]) {
        let seen = ports.map(LinkPort::look);
        let step = self.follower.step(now, seen);
        for (i, port) in ports.iter().enumerate() {
            self.note(i, port.name(), seen[i]);
        }
        self.seen = true;
        if let Some(step) = step {
            self.take(now, step, ports[step.port]);
        }
        self.complain(now, ports.map(LinkPort::name));
        self.status.state = self.follower.state();
        for (i, port) in self.status.ports.iter_mut().enumerate() {
            port.link_taken_down = self.follower.forced(i);
        }
    }

    /// Logs and counts a change of a port's link.
    fn note(&mut self, i: usize, name: &str, seen: Seen) {
        let (side, up) = (SIDES[i], self.follower.up(i));
        let port = &mut self.status.ports[i];
        // Who lets go of it says why.
        port.device_gone = seen == Seen::Gone;
        if self.seen && up == port.link_up {
            return;
        }
        port.link_changes += u64::from(self.seen);
        port.link_up = up;
        match (up, self.follower.forced(i)) {
            (true, _) => tracing::info!(port = name, "{side}: the link is up"),
            (false, true) => tracing::info!(port = name, "{side}: the link is down, as it was told"),
            (false, false) => tracing::warn!(port = name, "{side}: the link is down"),
        }
    }

    fn take(&mut self, now: Duration, step: Step, port: &impl LinkPort) {
        let (side, other) = (SIDES[step.port], SIDES[1 - step.port]);
        let done = match port.set(step.up) {
            Ok(()) if step.up => {
                tracing::info!(port = port.name(), "{side}: brought up, since {other} has its link back");
                Done::Yes
            }
            Ok(()) => {
                tracing::warn!(port = port.name(), "{side}: taken down, since {other} has no link");
                Done::Yes
            }
            Err(error) => {
                let unable = error.is_unsupported();
                let then = match (unable, step.up) {
                    (_, true) => "it is tried again every 10 s",
                    (true, false) => "this port does not follow the other; set link_follow = false to be rid of this",
                    (false, false) => "it is tried again a few times",
                };
                if !core::mem::replace(&mut self.said_failed[step.port], true) {
                    let what = if step.up { "brought up" } else { "taken down" };
                    tracing::warn!(%error, port = port.name(), "{side}: the link could not be {what}; {then}");
                }
                if unable { Done::Unable } else { Done::Failed }
            }
        };
        if done == Done::Yes {
            self.said_failed[step.port] = false;
        }
        self.follower.done(now, step, done);
    }

    /// Says, once, what an operator would wonder about.
    fn complain(&mut self, now: Duration, names: [&str; 2]) {
        if self.follower.state() == State::Waiting && now >= PATIENCE && !self.said_waiting {
            self.said_waiting = true;
            let without: Vec<_> = (0..2).filter(|&i| !self.follower.up(i)).map(|i| SIDES[i]).collect();
            tracing::warn!("no link yet: {}; links are followed once both ports have had one", without.join(" and "));
        }
        for i in 0..2 {
            if !(self.follower.forced(i) && self.follower.up(i) && self.follower.state() == State::Down(i)) {
                self.unheeded[i] = None;
                continue;
            }
            let since = *self.unheeded[i].get_or_insert(now);
            if now - since >= PATIENCE && !core::mem::replace(&mut self.said_unheeded[i], true) {
                let (side, other) = (SIDES[i], SIDES[1 - i]);
                tracing::warn!(
                    port = names[i],
                    "{side}: the driver says that it has taken the link down, and it is still up: what is beyond does not \
                     learn that {other} has none"
                );
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};

    /// A port whose link is as a test says.
    pub struct Fake {
        pub seen: Cell<Seen>,
        /// `None`: obeys.
        error: Option<i32>,
        told: RefCell<Vec<bool>>,
    }

    impl Fake {
        pub fn new(error: Option<i32>) -> Self {
            Self { seen: Cell::new(Seen::Up), error, told: RefCell::default() }
        }
    }

    impl LinkPort for Fake {
        fn name(&self) -> &str {
            "fake"
        }

        fn look(&self) -> Seen {
            self.seen.get()
        }

        fn set(&self, up: bool) -> Result<(), dpdk_ffi::Error> {
            self.told.borrow_mut().push(up);
            self.error.map_or(Ok(()), |number| {
                Err(dpdk_ffi::Error::Call { port: "fake".into(), call: "set", reason: "no".into(), number })
            })
        }
    }

    /// Looks every 200 ms for so many seconds.
    fn look(links: &mut Links, from: u64, seconds: u64, ports: [&Fake; 2]) {
        for i in 0..5 * seconds {
            links.look(Duration::from_secs(from) + Duration::from_millis(200) * i as u32, ports);
        }
    }

    #[test]
    fn changes_are_counted_once_each_and_the_other_port_follows() {
        let (inside, outside) = (Fake::new(None), Fake::new(None));
        let mut links = Links::new(true);
        look(&mut links, 0, 5, [&inside, &outside]);
        assert_eq!((links.status().state.name(), links.status().ports[0].link_changes), ("following", 0));
        inside.seen.set(Seen::Down);
        look(&mut links, 5, 5, [&inside, &outside]);
        let status = links.status();
        assert_eq!(*outside.told.borrow(), [false]);
        assert_eq!(status.state.name(), "down");
        assert_eq!((status.ports[0].link_up, status.ports[0].link_changes), (false, 1));
        assert_eq!((status.ports[0].link_taken_down, status.ports[1].link_taken_down), (false, true));
        outside.seen.set(Seen::Down);
        look(&mut links, 10, 1, [&inside, &outside]);
        inside.seen.set(Seen::Up);
        look(&mut links, 11, 3, [&inside, &outside]);
        assert_eq!((links.status().state.name(), &outside.told.borrow()[..]), ("rising", &[false, true][..]));
        outside.seen.set(Seen::Up);
        look(&mut links, 14, 2, [&inside, &outside]);
        let status = links.status();
        assert_eq!((status.state.name(), status.ports.map(|p| p.link_changes)), ("following", [2, 2]));
        assert!(inside.told.borrow().is_empty());
    }

    #[test]
    fn without_following_links_are_still_watched() {
        let ports = [&Fake::new(None), &Fake::new(None)];
        let mut links = Links::new(false);
        look(&mut links, 0, 1, ports);
        ports[1].seen.set(Seen::Down);
        look(&mut links, 1, 60, ports);
        ports[0].seen.set(Seen::Gone);
        look(&mut links, 61, 5, ports);
        let status = links.status();
        assert_eq!((status.state.name(), status.ports.map(|p| p.link_changes)), ("off", [1, 1]));
        assert_eq!(status.ports.map(|p| p.device_gone), [true, false]);
        ports[0].seen.set(Seen::Up);
        look(&mut links, 66, 1, ports);
        let status = links.status();
        assert_eq!(status.ports.map(|p| (p.device_gone, p.link_changes)), [(false, 2), (false, 1)], "it is back");
        assert!(ports.iter().all(|p| p.told.borrow().is_empty()));
    }

    #[test]
    fn a_driver_that_cannot_is_asked_once() {
        let ports = [&Fake::new(None), &Fake::new(Some(libc_enotsup()))];
        let mut links = Links::new(true);
        look(&mut links, 0, 1, ports);
        for from in [1, 101] {
            ports[0].seen.set(Seen::Down);
            look(&mut links, from, 50, ports);
            ports[0].seen.set(Seen::Up);
            look(&mut links, from + 50, 50, ports);
        }
        assert_eq!(*ports[1].told.borrow(), [false]);
        assert_eq!(links.status().state.name(), "following");
    }

    /// What `is_unsupported` looks for.
    fn libc_enotsup() -> i32 {
        rustix::io::Errno::NOTSUP.raw_os_error()
    }
}
