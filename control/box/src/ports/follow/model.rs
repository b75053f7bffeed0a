//! Links that take their time, drivers that do not do as they are told, and one or two boxes that follow.

use super::*;
use proptest::prelude::*;

/// A moment of the model.
const TICK: Duration = Duration::from_millis(50);
/// A box looks at its links once in so many.
const POLL: u64 = 4;

/// What a driver does when it is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Driver {
    Obeys,
    /// ENOTSUP.
    Refuses,
    /// Says yes, does nothing.
    Nods,
    /// Fails so often, then obeys.
    Fails(u32),
    /// Takes the link down, and fails so often to bring it up.
    FailsUp(u32),
    /// Takes the link down, and says so often that it brings it up without doing so.
    NodsUp(u32),
}

#[derive(Clone, Copy, Debug)]
struct Port {
    driver: Driver,
    admin: bool,
    gone: bool,
    /// The driver gives an error instead of the link, until then.
    mute: u64,
}

/// A cable and the ports at its ends; `None` is a host's, which is always on.
#[derive(Debug)]
struct Cable {
    ends: [Option<usize>; 2],
    plugged: bool,
    /// Since when there could be a link, and how long that takes this time.
    negotiating: Option<(u64, u64)>,
    up: bool,
}

struct World {
    now: u64,
    ports: Vec<Port>,
    cables: Vec<Cable>,
    boxes: Vec<Follower>,
    /// Ticks that the next links take to come up, over and over.
    delays: Vec<u64>,
    drawn: usize,
    /// Ticks between the looks of one box and the next.
    phase: u64,
    /// What was done: when, to which port.
    steps: Vec<(u64, usize, bool)>,
}

const fn seconds(s: u64) -> u64 {
    s * 20
}

impl World {
    /// `boxes` in a row, back to back, a host at either end. Box b has the ports 2b (inside) and 2b + 1; every second box
    /// stands the other way round, as in reality, which makes no difference here.
    fn new(boxes: usize, delays: Vec<u64>) -> Self {
        let port = Port { driver: Driver::Obeys, admin: true, gone: false, mute: 0 };
        let cable = |i: usize| Cable {
            ends: [i.checked_sub(1).map(|b| 2 * b + 1), (i < boxes).then_some(2 * i)],
            plugged: true,
            negotiating: None,
            up: false,
        };
        Self {
            now: 0,
            ports: vec![port; 2 * boxes],
            cables: (0..=boxes).map(cable).collect(),
            boxes: (0..boxes).map(|_| Follower::new(true)).collect(),
            delays,
            drawn: 0,
            phase: 1,
            steps: Vec::new(),
        }
    }

    fn up(&self, port: usize) -> bool {
        self.ports[port].admin && self.cables[port.div_ceil(2)].up
    }

    fn all_up(&self) -> bool {
        (0..self.ports.len()).all(|port| self.up(port))
    }

    fn tick(&mut self) {
        self.now += 1;
        for cable in &mut self.cables {
            let on = |end: &Option<usize>| end.is_none_or(|p| self.ports[p].admin && !self.ports[p].gone);
            if !(cable.plugged && cable.ends.iter().all(on)) {
                (cable.negotiating, cable.up) = (None, false);
                continue;
            }
            let (since, delay) = *cable.negotiating.get_or_insert_with(|| {
                self.drawn += 1;
                (self.now, self.delays[self.drawn % self.delays.len()])
            });
            cable.up = self.now - since >= delay;
        }
        for b in 0..self.boxes.len() {
            if (self.now + b as u64 * self.phase).is_multiple_of(POLL) {
                self.poll(b);
            }
        }
    }

    fn poll(&mut self, b: usize) {
        let now = TICK * u32::try_from(self.now).unwrap_or(u32::MAX);
        let seen = [2 * b, 2 * b + 1].map(|p| match self.ports[p] {
            Port { gone: true, .. } => Seen::Gone,
            Port { mute, .. } if mute > self.now => Seen::Unknown,
            _ if self.up(p) => Seen::Up,
            _ => Seen::Down,
        });
        let Some(step) = self.boxes[b].step(now, seen) else { return };
        let port = &mut self.ports[2 * b + step.port];
        assert!(!port.gone, "nothing is done to a device that is gone");
        self.steps.push((self.now, 2 * b + step.port, step.up));
        let done = match &mut port.driver {
            Driver::Refuses => Done::Unable,
            Driver::Fails(left @ 1..) => {
                *left -= 1;
                Done::Failed
            }
            Driver::FailsUp(left @ 1..) if step.up => {
                *left -= 1;
                Done::Failed
            }
            Driver::NodsUp(left @ 1..) if step.up => {
                *left -= 1;
                Done::Yes
            }
            Driver::Nods => Done::Yes,
            Driver::Obeys | Driver::Fails(_) | Driver::FailsUp(_) | Driver::NodsUp(_) => {
                port.admin = step.up;
                Done::Yes
            }
        };
        self.boxes[b].done(now, step, done);
    }

    /// A device that was gone is back, set up anew.
    fn brings_back(&mut self, port: usize) {
        if core::mem::replace(&mut self.ports[port].gone, false) {
            self.ports[port].admin = true;
        }
    }

    fn run(&mut self, ticks: u64) {
        for _ in 0..ticks {
            self.tick();
        }
    }

    /// Runs for so long, and says how many steps were taken meanwhile.
    fn steps_in(&mut self, ticks: u64) -> usize {
        let before = self.steps.len();
        self.run(ticks);
        self.steps.len() - before
    }

    fn until(&mut self, ticks: u64, holds: impl Fn(&Self) -> bool) -> bool {
        (0..ticks).any(|_| {
            self.tick();
            holds(self)
        })
    }

    /// All cables are in: all links come up, and stay up without another step.
    fn settles(&mut self) -> Result<(), TestCaseError> {
        for cable in &mut self.cables {
            cable.plugged = true;
        }
        prop_assert!(self.until(seconds(240), Self::all_up), "never all up: {:?} {:?}", self.boxes, self.steps);
        self.run(seconds(5));
        prop_assert_eq!(self.steps_in(seconds(300)), 0, "it does not rest: {:?}", self.steps);
        prop_assert!(self.all_up() && self.boxes.iter().all(|b| b.state() == State::Following));
        Ok(())
    }

    /// One cable stays out: in the end no port has a link, and nobody does anything more.
    fn goes_dark(&mut self, out: usize) -> Result<(), TestCaseError> {
        for (i, cable) in self.cables.iter_mut().enumerate() {
            cable.plugged = i != out;
        }
        self.run(seconds(400));
        prop_assert_eq!(self.steps_in(seconds(300)), 0, "it does not rest: {:?}", self.steps);
        let up: Vec<_> = (0..self.ports.len()).filter(|&p| self.up(p)).collect();
        prop_assert!(up.is_empty(), "still up: {:?}, {:?}", up, self.boxes);
        Ok(())
    }
}

/// Up to 5 s, each time another.
fn delays() -> impl Strategy<Value = Vec<u64>> {
    proptest::collection::vec(0..=seconds(5), 1..20)
}

proptest! {
    /// Cables are pulled and put back at any time, one or both, for moments or minutes; then all stay in, or one stays out.
    #[test]
    fn all_links_come_back_and_one_that_is_gone_shows_at_both_ends(
        boxes in 1usize..4,
        delays in delays(),
        events in proptest::collection::vec((0usize..4, any::<bool>(), prop_oneof![0..=20u64, 0..=seconds(40)]), 0..30),
        out in 0usize..4,
    ) {
        let mut w = World::new(boxes, delays);
        w.settles()?;
        for (cable, plugged, then) in events {
            let cable = cable % w.cables.len();
            w.cables[cable].plugged = plugged;
            w.run(then);
        }
        w.settles()?;
        let out = out % w.cables.len();
        w.goes_dark(out)?;
        w.settles()?;
    }

    /// A cable out and in again, with whatever pause: each box takes one port down and brings it up again.
    #[test]
    fn a_flap_is_followed_once(boxes in 1usize..4, delays in delays(), cable in 0usize..4, pause in POLL..seconds(60)) {
        let mut w = World::new(boxes, delays);
        w.settles()?;
        let (before, cable) = (w.steps.len(), cable % w.cables.len());
        w.cables[cable].plugged = false;
        w.run(pause);
        w.settles()?;
        let steps = &w.steps[before..];
        for b in 0..boxes {
            let of: Vec<_> = steps.iter().filter(|s| s.1 / 2 == b).collect();
            let both = of.len() == 2 && of[0].1 == of[1].1 && !of[0].2 && of[1].2;
            prop_assert!(both, "box {}: {:?}", b, of);
        }
    }

    /// A contact that bounces faster than a link takes to settle is one loss.
    #[test]
    fn bounces_are_one_loss(delays in delays(), bounces in 1usize..20, on in 1..10u64, off in POLL..20) {
        let mut w = World::new(1, vec![0]);
        w.settles()?;
        let before = w.steps.len();
        for _ in 0..bounces {
            w.cables[0].plugged = false;
            w.run(off);
            w.cables[0].plugged = true;
            w.run(on);
        }
        w.delays = delays;
        w.settles()?;
        prop_assert_eq!(w.steps.len() - before, 2, "{:?}", w.steps);
    }

    /// A loss is told at the next look.
    #[test]
    fn a_loss_is_followed_at_once(delays in delays(), cable in 0usize..2) {
        let mut w = World::new(1, delays);
        w.settles()?;
        w.cables[cable].plugged = false;
        w.run(2 * POLL);
        prop_assert!(!w.ports[1 - cable].admin);
        // Back, and lost again before the other port has its link.
        w.delays = vec![0, seconds(5)];
        w.drawn = 1;
        w.cables[cable].plugged = true;
        prop_assert!(w.until(seconds(10), |w| w.ports[1 - cable].admin) && !w.up(1 - cable));
        w.cables[cable].plugged = false;
        w.run(2 * POLL);
        prop_assert!(!w.ports[1 - cable].admin);
    }

    /// Started with one cable out, or none in: nothing is done until both links have been there.
    #[test]
    fn nothing_is_followed_before_both_links_were_up(delays in delays(), out in 0usize..3, later in 0..seconds(100)) {
        let mut w = World::new(1, delays);
        for (i, cable) in w.cables.iter_mut().enumerate() {
            cable.plugged = out < 2 && i != out;
        }
        prop_assert_eq!(w.steps_in(seconds(60) + later), 0);
        prop_assert_eq!(w.boxes[0].state(), State::Waiting);
        w.settles()?;
        prop_assert!(w.steps.is_empty());
    }

    /// Links that take longer than a port is given at first.
    #[test]
    fn slow_links_settle_too(
        boxes in 1usize..3,
        slow in proptest::collection::vec(seconds(5)..seconds(25), 1..5),
        cable in 0usize..3,
    ) {
        let mut w = World::new(boxes, slow);
        w.settles()?;
        let cable = cable % w.cables.len();
        w.cables[cable].plugged = false;
        w.run(seconds(10));
        w.settles()?;
    }

    /// Drivers that refuse, fail, or do nothing: what they can still do is done, nothing is tried for ever, and no link is
    /// lost by it.
    #[test]
    fn drivers_that_do_not_obey(
        delays in delays(),
        drivers in proptest::array::uniform2(prop_oneof![
            Just(Driver::Obeys), Just(Driver::Refuses), Just(Driver::Nods), (1u32..6).prop_map(Driver::Fails),
            (1u32..4).prop_map(Driver::FailsUp), (1u32..3).prop_map(Driver::NodsUp)
        ]),
        cable in 0usize..2,
        pause in seconds(1)..seconds(100),
    ) {
        let mut w = World::new(1, delays);
        for (port, driver) in w.ports.iter_mut().zip(drivers) {
            port.driver = driver;
        }
        w.settles()?;
        w.cables[cable].plugged = false;
        let steps = w.steps_in(pause);
        prop_assert!(steps <= 3, "{:?}", w.steps);
        match drivers[1 - cable] {
            Driver::Refuses | Driver::Nods => prop_assert!(w.ports[1 - cable].admin),
            Driver::Fails(_) => {}
            Driver::Obeys | Driver::FailsUp(_) | Driver::NodsUp(_) => prop_assert!(!w.ports[1 - cable].admin),
        }
        w.settles()?;
    }

    /// The driver does not say how the link is, for a moment or for good.
    #[test]
    fn a_driver_that_is_silent_for_a_moment_changes_nothing(delays in delays(), port in 0usize..2, ticks in 1..seconds(1)) {
        let mut w = World::new(1, delays);
        w.settles()?;
        w.ports[port].mute = w.now + ticks;
        prop_assert_eq!(w.steps_in(seconds(60)), 0);
        w.ports[port].mute = u64::MAX;
        w.run(seconds(60));
        prop_assert!(!w.ports[1 - port].admin, "in the end that is no link");
        w.ports[port].mute = 0;
        w.settles()?;
    }

    /// A device that is taken away, at any time: the other port shows it, and the device is left alone.
    #[test]
    fn a_device_that_is_gone_shows_at_the_other_port(
        delays in delays(),
        before in proptest::option::of((0usize..2, 0..seconds(20))),
        port in 0usize..2,
    ) {
        let mut w = World::new(1, delays);
        w.settles()?;
        if let Some((cable, ticks)) = before {
            w.cables[cable].plugged = false;
            w.run(ticks);
            w.cables[cable].plugged = true;
            w.run(ticks);
        }
        w.ports[port].gone = true;
        // The cable of the other port, which brings nothing back.
        for plugged in [false, true, false, true] {
            w.run(seconds(3));
            w.cables[1 - port].plugged = plugged;
        }
        w.run(seconds(120));
        prop_assert!(!w.up(0) && !w.up(1), "{:?}", w.boxes);
        prop_assert_eq!(w.steps_in(seconds(300)), 0);
        w.brings_back(port);
        w.settles()?;
    }

    /// Devices that go and return at any time, one or both, between losses of cables: in the end all links are up and nobody does
    /// anything more; and a port that returns while the other side has no link is told so.
    #[test]
    fn devices_that_return_are_followed_like_any_port(
        boxes in 1usize..3,
        delays in delays(),
        events in proptest::collection::vec((0usize..4, any::<bool>(), prop_oneof![0..=20u64, 0..=seconds(40)]), 0..30),
        out in 0usize..3,
    ) {
        let mut w = World::new(boxes, delays);
        w.settles()?;
        for (at, device, then) in events {
            let (port, cable) = (at % w.ports.len(), at % w.cables.len());
            match device {
                true if w.ports[port].gone => w.brings_back(port),
                true => w.ports[port].gone = true,
                false => w.cables[cable].plugged = !w.cables[cable].plugged,
            }
            w.run(then);
        }
        (0..w.ports.len()).for_each(|port| w.brings_back(port));
        w.settles()?;
        // The port that was taken down goes and returns.
        let out = out % w.cables.len();
        w.goes_dark(out)?;
        for port in 0..w.ports.len() {
            w.ports[port].gone = true;
            w.run(seconds(20));
            w.brings_back(port);
        }
        w.goes_dark(out)?;
        w.settles()?;
    }
}

/// Both boxes have taken down the ports that face each other; neither waits for the other.
#[test]
fn two_boxes_whose_facing_ports_are_both_down_come_back() {
    for (first, second) in [(0, 0), (0, 1), (0, 30), (0, 600), (30, 0), (600, 0)] {
        let mut w = World::new(2, vec![seconds(3), 1, seconds(5)]);
        w.phase = 0;
        w.settles().expect("up");
        (w.cables[0].plugged, w.cables[2].plugged) = (false, false);
        w.run(seconds(2));
        assert!(!w.ports[1].admin && !w.ports[2].admin, "they face each other, and both are down");
        w.run(first);
        w.cables[0].plugged = true;
        w.run(second);
        w.settles().expect("up again");
    }
}

/// What the first version did with links that take their time: in 3,000 looks never both up.
#[test]
fn links_that_come_up_one_after_the_other_are_left_alone() {
    for delays in [[0, 0], [4, 4], [40, 40], [40, 44], [40, 48], [20, 60]] {
        let mut w = World::new(1, delays.to_vec());
        assert!(w.until(seconds(5), World::all_up));
        assert_eq!(w.steps_in(3000 * POLL), 0, "{delays:?}");
        assert!(w.all_up());
    }
}
