//! Both ports at work, for the threads that ask them something; and how they leave this process and return, while the workers
//! live on.

use crate::config::Device;
use crate::observe::counts::{MemoryCount, PortSettings, Ports};
use crate::ports::arriving::{Arriving, Laps};
use crate::ports::dpdk::Site;
use crate::ports::interface::Interface;
use crate::ports::link::{Linked, Links};
use crate::ports::pci::Kernel;
use crate::ports::side::{Loss, Side};
use anyhow::{anyhow, bail};
use dpdk_ffi::{Port, Started};
use pipeline::ports::dpdk::DpdkQueue;
use pipeline::ports::lending::{Borrower, Lender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// For so long workers may finish their bursts. They need microseconds; one that stands still is the watchdog's to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Both ports, wherever they are.
pub struct Pair {
    /// Held for a look only, never while a driver works on a port that comes or goes.
    sides: Mutex<[Side; 2]>,
    /// Held for as long as ports come or go.
    moving: Mutex<Moving>,
    buffers: MemoryCount,
}

/// What ports come and go by.
struct Moving {
    site: Site,
    lender: Lender<DpdkQueue>,
    /// Whether the workers have queues.
    lent: bool,
    /// Whether ports were given up on purpose: they are not taken up before somebody says so.
    given_up: bool,
    /// Those that are held beside another process, which has them at work.
    beside: Arriving,
}

impl Pair {
    /// Both ports, started, or none yet; and what each worker borrows its queues by.
    pub(super) fn new(
        site: Site,
        ports: Option<[Port<Started>; 2]>,
        interfaces: [Option<Interface>; 2],
        buffers: MemoryCount,
    ) -> (Self, Vec<Borrower<DpdkQueue>>) {
        let (lender, borrowers) = Lender::among(site.workers());
        let mut sides = [0, 1].map(|side| Side::new(site.device(side).name()));
        let mut moving = Moving { site, lender, lent: false, given_up: ports.is_none(), beside: Arriving::default() };
        if let Some(ports) = ports {
            for (side, (port, interface)) in ports.into_iter().zip(interfaces).enumerate() {
                sides[side].install(&moving.site, port, interface);
            }
            moving.lend(&mut sides);
            tell(&moving.site, &mut sides);
        }
        (Self { sides: Mutex::new(sides), moving: Mutex::new(moving), buffers }, borrowers)
    }

    fn sides(&self) -> MutexGuard<'_, [Side; 2]> {
        self.sides.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moving(&self) -> MutexGuard<'_, Moving> {
        self.moving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Their names, inside first.
    #[must_use]
    pub fn names(&self) -> [String; 2] {
        self.sides().each_ref().map(|side| side.name.clone())
    }

    /// What the devices count, and have counted before they went away and came back.
    #[must_use]
    pub fn counts(&self) -> Ports {
        let [inside, outside] = self.sides().each_mut().map(Side::counts);
        Ports { inside, outside }
    }

    /// What they were set up with, inside first.
    #[must_use]
    pub fn settings(&self) -> Vec<PortSettings> {
        self.sides().iter().map(|side| side.settings.clone()).collect()
    }

    /// What the packet buffers take.
    #[must_use]
    pub const fn buffers(&self) -> MemoryCount {
        self.buffers
    }

    /// Takes both ports from the workers at the end of a burst, stops and closes them, and gives their devices back, so that
    /// another process may have them. The workers live on, and wait.
    ///
    /// # Errors
    /// A worker does not hand its queues back: then all goes on as before. Or a driver does not stop or close its port: what can be
    /// had back is taken up by [`Pair::take_up`].
    pub fn give_up(&self) -> anyhow::Result<()> {
        self.leave([true; 2])
    }

    /// Takes both ports from the workers, and nothing more: another process has ports of its own beside them, and forwards.
    ///
    /// # Errors
    /// A worker does not hand its queues back: then all goes on as before.
    pub fn step_aside(&self) -> anyhow::Result<()> {
        self.leave([false; 2])
    }

    /// Takes the queues, and lets go of these ports, until they are taken up on purpose.
    fn leave(&self, which: [bool; 2]) -> anyhow::Result<()> {
        let mut moving = self.moving();
        self.let_go(&mut moving, which)?;
        moving.given_up = true;
        Ok(())
    }

    /// Has DPDK take both devices while another process forwards between them, where their drivers allow it: [`Pair::take_up`] is
    /// sooner done then. `false`: they do not, or do not at the moment, which is logged.
    pub fn hold_beside(&self) -> bool {
        let mut moving = self.moving();
        let Moving { site, beside, lent, .. } = &mut *moving;
        if *lent || !(0..2).all(|side| site.may_be_held_twice(side)) {
            return false;
        }
        let attached = beside.attach(site, [true; 2]);
        if let Err(error) = &attached {
            tracing::info!("the ports are opened when they are free, since they cannot be before: {error:#}");
            *beside = Arriving::default();
        }
        attached.is_ok()
    }

    /// Has DPDK take those devices that are away, sets up and starts their ports as they are configured, and gives the workers
    /// their queues. What had come to a port that stayed is dropped: it is old. Both ports are there: nothing is done.
    ///
    /// # Errors
    /// A device is not there, or a driver refuses something: with the place in the configuration. The ports are away as before.
    pub fn take_up(&self) -> anyhow::Result<()> {
        let mut moving = self.moving();
        moving.given_up = false;
        if moving.lent {
            return Ok(());
        }
        let mut laps = Laps::start();
        // One that could not be closed before.
        let half = self.sides().each_ref().map(|side| side.port.is_some() && side.queues.is_empty());
        self.let_go(&mut moving, half)?;
        let mut ports = core::mem::take(&mut moving.beside);
        let site = &moving.site;
        let away = self.sides().each_ref().map(|side| side.port.is_none());
        ports.attach(site, away)?;
        laps.done("attached");
        ports.set_up(site)?;
        laps.done("set up");
        ports.start(site)?;
        laps.done("started");
        let mut sides = self.sides();
        for (i, side) in sides.iter_mut().enumerate() {
            match ports.arrived(i) {
                Some((port, interface)) => side.install(site, port, interface),
                None => side.stays(site, i),
            }
        }
        moving.lend(&mut sides);
        laps.done("lent to the workers");
        tracing::info!("the ports are taken up: {laps}");
        Ok(())
    }

    /// Logs what those ports were set up with that have come since this was done last, and warns of what of both does not fit. Drivers
    /// take a while to say it: so the workers have the queues first.
    pub fn tell(&self) {
        tell(&self.moving().site, &mut self.sides());
    }

    /// Counts a loss, once. `false`: it was noted before.
    pub(super) fn note_loss(&self, side: usize) -> bool {
        let side = &mut self.sides()[side];
        side.before.lost += u64::from(!side.is_lost);
        !core::mem::replace(&mut side.is_lost, true)
    }

    /// What is missing of the ports that are away; `None`: nothing that is known of.
    pub(super) fn missing(&self, kernel: &Kernel) -> Option<String> {
        let moving = self.moving();
        let away = self.sides().each_ref().map(|side| side.port.is_none());
        let of = |side: usize| {
            let (device, place) = (moving.site.device(side), moving.site.place(side));
            let why = match device {
                Device::Pci(_) => kernel.examine(device.name()).err()?.to_string(),
                Device::Virtual(_) => {
                    let Interface { name, .. } = Interface::of(device).filter(|interface| interface.index.is_none())?;
                    format!("the kernel has no interface '{name}'; make it again, or start the box with another")
                }
            };
            Some(format!("{place}: {why}"))
        };
        (0..2).filter(|&side| away[side]).find_map(of)
    }

    /// Lets go of ports whose devices are lost; the other one stays as it is, without anybody who polls it.
    pub(super) fn lose(&self, which: [bool; 2]) -> anyhow::Result<()> {
        self.let_go(&mut self.moving(), which)
    }

    /// Whether ports are away that nobody has given up.
    pub(super) fn is_without(&self) -> bool {
        let moving = self.moving();
        !moving.lent && !moving.given_up
    }

    /// Which of the ports that are here stand on a device that is gone, and how it is known.
    pub(super) fn lost(&self) -> [Option<Loss>; 2] {
        self.sides().each_ref().map(Side::lost)
    }

    /// Lends workers anew what they handed back too late.
    pub(super) fn settle(&self) {
        let mut moving = self.moving();
        if moving.lent {
            moving.lender.settle();
        }
    }

    fn let_go(&self, moving: &mut Moving, which: [bool; 2]) -> anyhow::Result<()> {
        let mut laps = Laps::start();
        if moving.lent {
            self.call_in(moving)?;
        }
        laps.done("called in");
        let mut leaving = [None, None];
        for (i, side) in self.sides().iter_mut().enumerate().filter(|&(i, _)| which[i]) {
            side.queues.clear();
            side.counts();
            leaving[i] = side.port.take();
        }
        // Both are stopped before one is closed: a driver that lends its memory closes when no packet of its pool is out.
        let mut faults = Vec::new();
        let mut stopped = [None, None];
        for (i, port) in leaving.into_iter().enumerate() {
            match port.map(Port::stop) {
                None => {}
                Some(Ok(port)) => stopped[i] = Some(port),
                Some(Err((port, error))) => {
                    self.sides()[i].port = Some(port);
                    faults.push(format!("{}: {error}", moving.site.place(i)));
                }
            }
        }
        laps.done("stopped");
        let leave = stopped.iter().any(Option::is_some);
        for (i, port) in stopped.into_iter().enumerate() {
            let Some(port) = port else { continue };
            self.sides()[i].leave(&port);
            if let Err(error) = port.detach() {
                faults.push(format!("{}: {error}", moving.site.place(i)));
            }
        }
        laps.done("closed");
        if leave {
            tracing::info!("ports are given up: {laps}");
        }
        if faults.is_empty() { Ok(()) } else { Err(anyhow!(faults.join("; "))) }
    }

    /// Takes the workers' queues.
    fn call_in(&self, moving: &mut Moving) -> anyhow::Result<()> {
        let queues = match moving.lender.call_in(PATIENCE) {
            Ok(queues) => queues,
            Err(kept) => {
                moving.lender.settle();
                let why = if kept.ended { "has ended" } else { "stands still" };
                bail!("worker {} {why} and keeps its queues: the ports stay; start the box again", kept.worker);
            }
        };
        moving.lent = false;
        let mut sides = self.sides();
        for [inside, outside] in queues {
            sides[0].queues.push(inside);
            sides[1].queues.push(outside);
        }
        Ok(())
    }

    /// Stops both; a device that does not stop is logged.
    pub fn stop(self) {
        // What is lent and was not taken goes with the lender.
        drop(self.moving);
        for mut side in self.sides.into_inner().unwrap_or_else(PoisonError::into_inner) {
            side.queues.clear();
            if let Some(Err((port, error))) = side.port.map(Port::stop) {
                tracing::error!(%error, port = port.name(), "port not stopped");
            }
        }
    }
}

/// See [`Pair::tell`].
fn tell(site: &Site, sides: &mut [Side; 2]) {
    let mut news = false;
    for (i, side) in sides.iter_mut().enumerate() {
        news |= side.tell(site, i);
    }
    if !news {
        return;
    }
    if let [Some(inside), Some(outside)] = sides.each_ref().map(|side| side.port.as_ref()) {
        site.warn_of_misfits([inside, outside]);
    }
}

impl Moving {
    /// Gives the workers the queues of both sides.
    fn lend(&mut self, sides: &mut [Side; 2]) {
        let [inside, outside] = sides;
        let queues = inside.queues.drain(..).zip(outside.queues.drain(..));
        self.lender.lend(queues.map(|(inside, outside)| [inside, outside]));
        self.lent = true;
    }
}

impl Linked for Arc<Pair> {
    fn look(&self, links: &mut Links, now: Duration) {
        let sides = self.sides();
        links.look(now, [&sides[0], &sides[1]]);
    }
}
