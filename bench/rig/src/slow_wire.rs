//! A wire that takes its time, loses packets, or refuses those with options: a program between two interfaces, since not
//! every kernel has netem. In the wire's place, or between a box and its host.
//!
//! ```text
//!   [box A] w0 ── d0 [wire.py] d1 ── w1 [box B]          host A ── tA ── d0 [wire.py] d1 ── i0 [box A]
//! ```

use crate::capture::{Capturing, Limits};
use crate::namespace::Namespace;
use crate::running::{Running, START};
use crate::side::Side;
use crate::topology::{OFFLOADS, Rig};
use anyhow::{Context, Result, bail};
use std::time::Duration;

const PROGRAM: &str = include_str!("wire.py");
/// For an answer of the program.
const SOON: Duration = Duration::from_secs(10);

/// The program and its place. Gone when dropped: after the boxes, before the rig.
#[derive(Debug)]
pub struct SlowWire {
    running: Running,
    namespace: Namespace,
    /// Answers so far.
    told: usize,
}

/// What was done to the packets of one way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Disturbed {
    /// Not carried.
    pub lost: u64,
    /// Carried twice, one directly behind the other.
    pub twice: u64,
    /// Carried behind the next one.
    pub swapped: u64,
}

impl Rig {
    /// Puts it in the wire's place. Before the boxes start.
    ///
    /// # Errors
    /// The rights are missing, or python3.
    pub fn slow_wire(&self) -> Result<SlowWire> {
        let namespace = Namespace::new(format!("{}-wire", self.tag()))?;
        self.place(Side::A).ip("link del w0")?; // and with it the other end
        let ends = Side::BOTH.map(|side| (self.place(side), side.wire()));
        self.carry(namespace, ends, "wire")
    }

    /// Puts it between host A and its box, whose inside port then is [`INSIDE`](crate::forwarders::INSIDE). Before the box
    /// starts.
    ///
    /// # Errors
    /// The rights are missing, or python3.
    pub fn slow_inside(&self) -> Result<SlowWire> {
        let namespace = Namespace::new(format!("{}-inside", self.tag()))?;
        self.carry(namespace, [(self.host(Side::A), Side::A.tap()), (self.place(Side::A), "i0")], "inside")
    }

    fn carry(&self, namespace: Namespace, ends: [(&Namespace, &str); 2], name: &str) -> Result<SlowWire> {
        namespace.sysctl(&["net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"])?;
        for ((place, end), own) in ends.into_iter().zip(["d0", "d1"]) {
            place.ip(&format!("link add {end} type veth peer name {own} netns {}", namespace.name()))?;
            place.ip(&format!("link set {end} mtu {} promisc on up", self.options.wire_mtu))?;
            namespace.ip(&format!("link set {own} mtu {} promisc on up", self.options.wire_mtu))?;
            for (at, interface) in [(place, end), (&namespace, own)] {
                let line: Vec<_> = ["ethtool", "-K", interface].into_iter().chain(OFFLOADS.split(' ')).collect();
                // It exits 1 for one that cannot be changed, having changed the rest.
                at.run(&line, SOON).context("cannot run ethtool")?;
            }
        }
        let program = self.dir().join("wire.py");
        std::fs::write(&program, PROGRAM).with_context(|| format!("cannot write {}", program.display()))?;
        let running =
            namespace.start(name, &["python3", "-u", &program.display().to_string(), "d0", "d1"], self.dir())?;
        let mut wire = SlowWire { running, namespace, told: 0 };
        wire.tell("delay 0")?;
        Ok(wire)
    }
}

impl SlowWire {
    /// So long each way from now on.
    ///
    /// # Errors
    /// The program has ended.
    pub fn delay(&mut self, each_way: Duration) -> Result<()> {
        self.tell(&format!("delay {}", each_way.as_micros())).map(drop)
    }

    /// From now on every `n`th UDP packet from A to B is lost, counted from here; 0: none.
    ///
    /// # Errors
    /// The program has ended.
    pub fn lose(&mut self, n: u32) -> Result<()> {
        self.tell(&format!("lose {n}")).map(drop)
    }

    /// The same, of those from B to A.
    ///
    /// # Errors
    /// The program has ended.
    pub fn lose_answers(&mut self, n: u32) -> Result<()> {
        self.tell(&format!("lose {n} back")).map(drop)
    }

    /// From now on packets with a Destination Options header do not get through.
    ///
    /// # Errors
    /// The program has ended.
    pub fn refuse_options(&mut self) -> Result<()> {
        self.tell("refuse on").map(drop)
    }

    /// How many packets were lost, and how many refused.
    ///
    /// # Errors
    /// The program has ended.
    pub fn not_carried(&mut self) -> Result<[u64; 2]> {
        self.counts("count")
    }

    /// From now on, of the UDP packets to and from this port at the end of B, each way by itself: every so many-th is lost; of the
    /// others every so many-th comes twice; of the others every so many-th changes places with the next. 0: none.
    ///
    /// # Errors
    /// The program has ended.
    pub fn disturb(&mut self, port: u16, [lose, twice, swap]: [u32; 3]) -> Result<()> {
        self.tell(&format!("disturb {port} {lose} {twice} {swap}")).map(drop)
    }

    /// What was done to them since, from A and from B.
    ///
    /// # Errors
    /// The program has ended, or was not told to.
    pub fn disturbed(&mut self, port: u16) -> Result<[Disturbed; 2]> {
        let [lost, twice, swapped, lost_b, twice_b, swapped_b] = self.counts(&format!("disturbed {port}"))?;
        let from_b = Disturbed { lost: lost_b, twice: twice_b, swapped: swapped_b };
        Ok([Disturbed { lost, twice, swapped }, from_b])
    }

    /// Starts a capture of both directions at the far end, towards B, into `wire.pcap`.
    ///
    /// # Errors
    /// tcpdump does not start.
    pub fn capture(&self, rig: &Rig) -> Result<Capturing> {
        rig.capture(&self.namespace, "d1", "wire", Limits::default())
    }

    /// Starts a capture of both directions at the end of this side, into `wire-at-a.pcap` or `wire-at-b.pcap`.
    ///
    /// # Errors
    /// tcpdump does not start.
    pub fn capture_at(&self, rig: &Rig, side: Side) -> Result<Capturing> {
        let (end, name) = [("d0", "wire-at-a"), ("d1", "wire-at-b")][side.index()];
        rig.capture(&self.namespace, end, name, Limits::default())
    }

    /// The numbers of an answer.
    fn counts<const N: usize>(&mut self, line: &str) -> Result<[u64; N]> {
        let answer = self.tell(line)?;
        let numbers: Vec<u64> = answer.split(' ').skip(1).filter_map(|number| number.parse().ok()).collect();
        numbers.try_into().ok().with_context(|| format!("not {N} counts: {answer}"))
    }

    fn tell(&mut self, line: &str) -> Result<String> {
        self.running.say(line)?;
        self.told += 1;
        let answer = crate::command::until(START, || {
            if let Some(status) = self.running.poll()? {
                bail!("wire.py ended ({status}): {}", self.running.tail());
            }
            Ok(self.running.out().lines().nth(self.told - 1).map(str::to_owned))
        })?;
        answer.with_context(|| format!("wire.py does not answer '{line}': {}", self.running.tail()))
    }
}
