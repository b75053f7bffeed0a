//! What is counted: hot functions over plain buffers, without DPDK, every input the same in each run.
//!
//! A case first makes ready all [`PREPARED`] bursts, then works on as many as it is told. So two runs with different numbers
//! differ by the work on the bursts alone, and the set-up falls out of the difference.

use super::steps;
use crate::flow::table::find_burst;
use crate::measure::Random;
use crate::ports::box_state::{BoxState, Setting};
use crate::ports::frames;
use crate::ports::isa::Isa;
use anyhow::{Result, bail, ensure};
use arrayvec::ArrayVec;
use pipeline::packet::buffer::{PacketBuf, VecBuf};
use pipeline::packet::parse;
use pipeline::ports::{BURST, PortQueue};
use pipeline::state::policies::{InboundAction, Mode};
use pipeline::state::worker::Worker;
use pipeline::worker::{turn_inbound, turn_outbound};
use protocol::aead::{Batch, KeyState};
use protocol::suite::Aead;
use std::cell::Cell;
use std::hint::black_box;
use testkit::keyrings::Side;

/// Bursts that are made ready, however many are worked on.
pub const PREPARED: usize = 288;

/// Flows that the packets are of, in turn.
const FLOWS: u32 = 1024;

/// Octets of a frame.
const FRAME: usize = 80;

/// Something to count: works on burst `i` of those made ready.
type Work = Box<dyn FnMut(usize) -> Result<()>>;

/// One hot function.
pub struct Case {
    /// Its name, on the command line and in the kept figures.
    pub name: &'static str,
    /// What it is, for the report.
    pub what: &'static str,
    prepare: fn() -> Result<Work>,
}

/// All of them.
pub const CASES: &[Case] = &[
    Case {
        name: "outbound-sealed",
        what: "a worker seals an option into each packet",
        prepare: || out(Mode::Encrypted),
    },
    Case {
        name: "outbound-clear",
        what: "a worker puts a clear option into each packet",
        prepare: || out(Mode::Clear),
    },
    Case { name: "outbound-pdm", what: "a worker adds PDM", prepare: || out(Mode::Pdm) },
    Case { name: "outbound-off", what: "a worker passes packets that no policy names", prepare: || out(Mode::Off) },
    Case { name: "inbound-sealed", what: "a worker opens and takes out the option", prepare: || back(Mode::Encrypted) },
    Case { name: "inbound-clear", what: "a worker takes out a clear option", prepare: || back(Mode::Clear) },
    Case { name: "seal-128", what: "AES-128-GCM alone", prepare: || aead(Aead::Aes128Gcm, false) },
    Case { name: "open-128", what: "AES-128-GCM alone", prepare: || aead(Aead::Aes128Gcm, true) },
    Case { name: "seal-256", what: "AES-256-GCM alone", prepare: || aead(Aead::Aes256Gcm, false) },
    Case { name: "look-up", what: "the flow table alone, flows that are there", prepare: look_up },
    Case { name: "parse-plain", what: "IPv6 and UDP, the usual way", prepare: || Ok(parsing(true)) },
    Case {
        name: "parse-any",
        what: "the walk for every other chain, over IPv6 and UDP",
        prepare: || Ok(parsing(false)),
    },
];

/// Makes one case ready and works on `bursts` bursts by an instruction set; what callgrind counts.
///
/// # Errors
/// There is no such case, this CPU lacks the instruction set, or what it works on does not come out as it should.
pub fn run(name: &str, isa: Isa, bursts: usize) -> Result<()> {
    let work = prepared(name, isa, bursts)?;
    (0..bursts).try_for_each(work)
}

/// The same with marks around the bursts, behind `warm` bursts that do not count, for [`steps::count`].
///
/// # Errors
/// As [`run`]; or it may not be traced.
pub fn run_stepped(name: &str, isa: Isa, warm: usize, bursts: usize) -> Result<()> {
    let mut work = prepared(name, isa, warm + bursts)?;
    (0..warm).try_for_each(&mut work)?;
    steps::allow()?;
    steps::mark()?;
    // By reference: what it holds is given back behind the mark, which takes far longer.
    let done = (warm..warm + bursts).try_for_each(&mut work);
    steps::mark()?;
    done
}

fn prepared(name: &str, isa: Isa, bursts: usize) -> Result<Work> {
    ensure!(bursts <= PREPARED, "--bursts: at most {PREPARED} are made ready");
    let Some(case) = CASES.iter().find(|c| c.name == name) else {
        let names: Vec<_> = CASES.iter().map(|c| c.name).collect();
        bail!("there is no case '{name}'; there are: {}", names.join(", "));
    };
    isa.force()?;
    (case.prepare)()
}

fn burst(random: &mut Random) -> Vec<VecBuf> {
    let mut octets = [0; FRAME];
    let frame = |_| {
        frames::write(&mut octets, random.below(FLOWS as usize) as u32);
        VecBuf::new(&octets)
    };
    (0..BURST).map(frame).collect()
}

/// One packet of each flow, then those that count.
fn packets() -> (Vec<VecBuf>, Vec<VecBuf>) {
    let mut octets = [0; FRAME];
    let first = (0..FLOWS).map(|flow| {
        frames::write(&mut octets, flow);
        VecBuf::new(&octets)
    });
    let mut random = Random::new(11);
    (first.collect(), (0..PREPARED).flat_map(|_| burst(&mut random)).collect())
}

/// A port that gives out what it was given, and keeps what is sent.
struct Plain {
    arriving: std::vec::IntoIter<VecBuf>,
    sent: Vec<VecBuf>,
}

impl Plain {
    fn new(arriving: Vec<VecBuf>) -> Self {
        let sent = Vec::with_capacity(FLOWS as usize + PREPARED * BURST);
        Self { arriving: arriving.into_iter(), sent }
    }
}

impl PortQueue for Plain {
    type Packet = VecBuf;

    fn receive(&mut self, into: &mut ArrayVec<VecBuf, BURST>) {
        into.extend(self.arriving.by_ref().take(BURST));
    }

    fn transmit(&mut self, packets: &mut ArrayVec<VecBuf, BURST>) {
        self.sent.extend(packets.drain(..));
    }
}

fn worker(side: Side, mode: Mode) -> Worker {
    let setting = Setting { side, mode, inbound: InboundAction::Remove, flows: FLOWS, workers: 1, now: 0, boxes: 1 };
    Worker::new(BoxState::new(&setting).shared, 0)
}

/// Time goes on a little with every look at it.
fn clock() -> impl Fn() -> u64 {
    let now = Cell::new(1_000_000);
    move || {
        now.set(now.get() + 1000);
        now.get()
    }
}

/// Box A's worker, from the inside port to the outside port. Every flow has its record and key before it counts.
fn out(mode: Mode) -> Result<Work> {
    let mut worker = worker(Side::A, mode);
    let (known, packets) = packets();
    let (mut known, mut inside, mut outside) = (Plain::new(known), Plain::new(packets), Plain::new(Vec::new()));
    let clock = clock();
    while turn_outbound(&mut worker, &mut known, &mut outside, &clock) {}
    grown(&outside, mode)?;
    Ok(Box::new(move |_| {
        ensure!(turn_outbound(&mut worker, &mut inside, &mut outside, &clock), "there was no burst");
        grown(&outside, mode)
    }))
}

/// Box B's worker, from the outside port to the inside port, with what box A has sent.
fn back(mode: Mode) -> Result<Work> {
    let (mut a, mut b) = (worker(Side::A, mode), worker(Side::B, mode));
    let (known, packets) = packets();
    let clock = clock();
    // Hosts answer: box B knows the flows of what it sends, also where options in clear make no flow known.
    let mut answers = Plain::new(known.iter().map(frames::answer).collect());
    let mut sent = Plain::new(Vec::new());
    while turn_outbound(&mut b, &mut answers, &mut sent, &clock) {}
    grown(&sent, mode)?;
    let mut by_a = |packets: Vec<VecBuf>| {
        let (mut inside, mut outside) = (Plain::new(packets), Plain::new(Vec::new()));
        while turn_outbound(&mut a, &mut inside, &mut outside, &clock) {}
        grown(&outside, mode).map(|()| Plain::new(outside.sent))
    };
    let (mut known, mut outside, mut inside) = (by_a(known)?, by_a(packets)?, Plain::new(Vec::new()));
    while turn_inbound(&mut b, &mut known, &mut inside, &clock) {}
    grown(&inside, Mode::Off)?;
    Ok(Box::new(move |_| {
        ensure!(turn_inbound(&mut b, &mut outside, &mut inside, &clock), "there was no burst");
        grown(&inside, Mode::Off)
    }))
}

/// Whether the last packet sent is as long as one with an option of this form.
fn grown(sent: &Plain, mode: Mode) -> Result<()> {
    let more = mode.form().map_or(0, protocol::wire::option::Form::header_len);
    let len = sent.sent.last().map(PacketBuf::frame_len);
    ensure!(len == Some(FRAME + more), "the last packet has {len:?} octets, not {}", FRAME + more);
    Ok(())
}

fn aead(aead: Aead, open: bool) -> Result<Work> {
    let mut random = Random::new(5);
    let keys: Vec<KeyState> = (0..FLOWS)
        .map(|_| {
            let mut key = [0; 32];
            random.fill(&mut key);
            KeyState::new(aead, &key)
        })
        .collect();
    let mut bursts: Vec<(Vec<usize>, Batch)> = (0..PREPARED)
        .map(|_| {
            let mut batch = Batch::new();
            random.fill(batch.text.as_flattened_mut());
            ((0..BURST).map(|_| random.below(keys.len())).collect(), batch)
        })
        .collect();
    fn of<'k>(keys: &'k [KeyState], which: &[usize]) -> ArrayVec<&'k KeyState, BURST> {
        which.iter().take(BURST).map(|&k| &keys[k]).collect()
    }
    if open {
        bursts.iter_mut().for_each(|(which, batch)| batch.seal(aead, &of(&keys, which)));
    }
    Ok(Box::new(move |i| {
        let (which, batch) = &mut bursts[i];
        let keys = of(&keys, which);
        if open {
            ensure!(batch.open(aead, &keys) == u32::MAX, "what was sealed must open");
        } else {
            batch.seal(aead, &keys);
            black_box(batch);
        }
        Ok(())
    }))
}

fn look_up() -> Result<Work> {
    let setting = Setting {
        side: Side::A,
        mode: Mode::Clear,
        inbound: InboundAction::Remove,
        flows: FLOWS,
        workers: 1,
        now: 0,
        boxes: 1,
    };
    let shared = BoxState::new(&setting).shared;
    let (known, packets) = packets();
    let mut worker = Worker::new(std::sync::Arc::clone(&shared), 0);
    let (mut inside, mut outside) = (Plain::new(known), Plain::new(Vec::new()));
    while turn_outbound(&mut worker, &mut inside, &mut outside, &clock()) {}
    let keys: Vec<[u64; 5]> = packets.iter().filter_map(|p| parse::plain(p).map(|q| q.words)).collect();
    ensure!(keys.len() == PREPARED * BURST, "every packet is plain UDP");
    Ok(Box::new(move |i| {
        let mut found = [None; BURST];
        find_burst(&shared.table, &keys[i * BURST..(i + 1) * BURST], &mut found);
        ensure!(found.iter().all(Option::is_some), "a flow is missing");
        Ok(())
    }))
}

fn parsing(plain: bool) -> Work {
    let (_, packets) = packets();
    Box::new(move |i| {
        let burst = &packets[i * BURST..(i + 1) * BURST];
        let parsed = if plain {
            burst.iter().filter(|p| black_box(parse::plain(*p)).is_some()).count()
        } else {
            burst.iter().filter(|p| black_box(parse::parse(*p)).is_ok()).count()
        };
        ensure!(parsed == BURST, "{} packets were not parsed", BURST - parsed);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each case checks what it does; this one process may have chosen another AEAD path, which does not matter here.
    #[test]
    fn every_case_does_its_work_on_the_first_and_the_last_burst() {
        for case in CASES {
            let mut work = (case.prepare)().unwrap_or_else(|e| unreachable!("{}: {e:#}", case.name));
            for i in 0..PREPARED {
                work(i).unwrap_or_else(|e| unreachable!("{}, burst {i}: {e:#}", case.name));
            }
        }
        assert!(run("no-such", Isa::best(), 1).is_err_and(|e| e.to_string().contains("outbound-sealed")));
        assert!(run("look-up", Isa::best(), PREPARED + 1).is_err());
    }
}
