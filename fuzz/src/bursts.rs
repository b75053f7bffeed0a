//! Bursts of mixed shapes, through twins of two boxes: with the lanes of each set of instructions that there is, and without
//! lanes. Whatever comes, all twins send the same octets with the same outcomes, in both directions.
//!
//! Input: settings (2), then steps: what (1), an argument (1), and of a burst's packets what each is and what becomes of it (1),
//! flow (1), length (1).

use crate::corpus;
use crate::two_boxes::{A, B, ETHERNET, Frame, GENERATIONS, Side, TWINS, policy};
use arrayvec::ArrayVec;
use pipeline::doors;
use pipeline::lanes::Set;
use pipeline::observe::counters::Outcome;
use pipeline::packet::buffer::{PacketBuf, VecBuf};
use pipeline::ports::BURST;
use pipeline::state::rules::PathConfig;
use protocol::five_tuple::FiveTuple;
use protocol::wire::ext_chain::{Chain, walk};
use protocol::wire::ipv6;
use protocol::wire::option::Form;
use std::collections::HashMap;
use std::sync::OnceLock;

/// Flows whose packets are plain. Those of other shapes have flows of their own, most of the time.
const FLOWS: u8 = 4;

/// A packet's shape is one of so many; the plain ones come first.
const SHAPES: u8 = 16;
const PLAIN: u8 = 9;

/// Where a frame's IPv6 packet begins, and what it is.
fn chain_of(frame: &Frame) -> Option<(usize, Chain)> {
    let data = frame.data();
    let tags = (12..).step_by(4).take(4);
    let l3 = tags.take_while(|&at| at + 2 <= data.len()).find(|&at| data[at..at + 2] == [0x86, 0xDD])? + 2;
    Some((l3, walk(&data[l3..], frame.frame_len() - l3).ok()?))
}

/// A frame from box A's host (0) or box B's (1).
fn packet(node: usize, shape: u8, flow: u8, len: u8, octets: &mut &[u8]) -> Frame {
    static FRAMES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let port = 1000 + u16::from(flow % FLOWS) + if shape < PLAIN || flow & 0x80 != 0 { 0 } else { 100 };
    let (mut ports, mut addresses) = ([port.to_be_bytes(), 443u16.to_be_bytes()], [A, B]);
    if node == 1 {
        ports.reverse();
        addresses.reverse();
    }
    let upper: Vec<u8> = ports.concat().into_iter().chain((0..4 + len % 100).map(|i| i ^ 0x5A)).collect();
    let mut next = ipv6::UDP;
    let mut payload = upper;
    let tcp = |payload: &mut Vec<u8>, flags: u8| {
        payload.resize(payload.len().max(20), 7);
        (payload[12], payload[13]) = (5 << 4, flags);
        ipv6::TCP
    };
    match shape {
        6 | 7 => next = tcp(&mut payload, 0x10),
        9 => next = tcp(&mut payload, 2),
        11 => {
            payload.splice(0..0, [next, 0, 1, 4, 0, 0, 0, 0]);
            next = 60;
        }
        12 => {
            payload.splice(0..0, [next, 0, 1, 4, 0, 0, 0, 0]);
            next = 0;
        }
        _ => {}
    }
    let mut frame = ETHERNET.to_vec();
    frame.extend([0x60, 0, 0, 0]);
    frame.extend((payload.len() as u16).to_be_bytes());
    frame.extend([next, 64]);
    frame.extend(addresses.concat());
    frame.extend(payload);
    let mut more = 0;
    match shape {
        8 => drop(frame.splice(12..12, [0x81, 0, 0, 7])),
        10 => drop(frame.splice(12..12, [0x88, 0xA8, 0, 7, 0x81, 0, 0, 5])),
        13 => frame.truncate(frame.len() - frame.len().min(usize::from(len % 64) + 1)),
        14 => {
            let first = frame.len() - frame.len().min(usize::from(len % 32));
            more = frame.len() - first;
            frame.truncate(first);
        }
        15 if flow & 0x80 != 0 => {
            let taken = octets.len().min(usize::from(len));
            frame = octets[..taken].to_vec();
            *octets = &octets[taken..];
        }
        15 => {
            let frames = FRAMES.get_or_init(corpus::frames);
            frame.clone_from(&frames[usize::from(len) % frames.len()]);
            if let (1, Some(both)) = (node, frame.iter().position(|&octet| octet == 0x20).map(|at| at..at + 32)) {
                // Turned round: the addresses are the first that have this octet.
                if let Some(both) = frame.get_mut(both) {
                    both.rotate_left(16);
                }
            }
        }
        _ => {}
    }
    Frame { first: VecBuf::new(&frame), more }
}

/// Twins of one box: the portable lanes first, no lanes last.
struct Twins {
    sides: Vec<Side>,
    /// Rules are given anew by the settings.
    config: PathConfig,
}

type Outcomes = Vec<Outcome>;

impl Twins {
    fn new(node: usize, settings: [u8; 2]) -> Self {
        let sets = Set::available().map(Some).chain([None]);
        let mut sides = Vec::new();
        for (twin, set) in sets.enumerate() {
            assert!(twin < TWINS, "more sets than there are rings for");
            let mut side = Side::new(node, twin, &policy(settings[1]), settings[0]);
            doors::use_lanes(&mut side.worker, set);
            sides.push(side);
        }
        let config = sides[0].shared.snapshots.rules().config.clone();
        Self { sides, config }
    }

    /// A burst goes through all of them. What the first one makes of it, and how others may differ.
    fn go(
        &mut self,
        inbound: bool,
        frames: &[Frame],
        now: u64,
        may_differ: impl Fn(usize, &[Outcome]) -> bool,
    ) -> (Vec<Frame>, Outcomes) {
        let last = self.sides.len() - 1;
        let mut first: Option<(Vec<Frame>, Outcomes)> = None;
        for (twin, side) in self.sides.iter_mut().enumerate() {
            let (mut frames, mut all) = (frames.to_vec(), Outcomes::new());
            while all.len() < frames.len() {
                let (rest, mut outcomes) = (&mut frames[all.len()..], ArrayVec::<Outcome, BURST>::new());
                let behind = rest.get(BURST..).map(<[Frame]>::to_vec).unwrap_or_default();
                if inbound {
                    side.worker.inbound(rest, &mut outcomes, &|| now);
                } else {
                    side.worker.outbound(rest, &mut outcomes, &|| now);
                }
                assert_eq!(outcomes.len(), rest.len().min(BURST), "one outcome per packet that was looked at");
                assert_eq!(rest.get(BURST..).unwrap_or_default(), behind, "the others are as they were");
                all.extend(outcomes);
            }
            let Some((ours, outcomes)) = &first else {
                first = Some((frames, all));
                continue;
            };
            assert_eq!(&all, outcomes, "twin {twin}, inbound: {inbound}");
            for (i, (theirs, ours)) in frames.iter().zip(ours).enumerate() {
                if twin == last && theirs != ours && may_differ(i, outcomes) {
                    assert_eq!(without_option(theirs), without_option(ours), "twin {twin}: packet {i}");
                } else {
                    assert_eq!(theirs, ours, "twin {twin}, inbound: {inbound}: packet {i} of {}", frames.len());
                }
            }
        }
        first.expect("there is one twin at least")
    }

    /// A burst towards the network. Of a flow's packets of one burst that go different ways, which carries the time since the
    /// last one is not laid down.
    fn out(&mut self, frames: &[Frame], plain: &[bool], now: u64) -> (Vec<Frame>, Outcomes) {
        let flows: Vec<Option<FiveTuple>> = frames.iter().map(|frame| Some(chain_of(frame)?.1.five_tuple)).collect();
        self.go(false, frames, now, |i, outcomes| {
            let at = i / BURST * BURST;
            let burst = at..(at + BURST).min(frames.len());
            let mut ways: HashMap<bool, usize> = HashMap::new();
            for other in burst.filter(|&other| flows[other] == flows[i] && matches!(outcomes[other], Outcome::Added(_)))
            {
                *ways.entry(plain[other]).or_default() += 1;
            }
            ways.values().sum::<usize>() > 1 && ways.contains_key(&false)
        })
    }
}

/// A frame with nothing in its option's place.
fn without_option(frame: &Frame) -> Vec<u8> {
    let mut data = frame.data().to_vec();
    if let Some((l3, Chain { option: Some(option), .. })) = chain_of(frame) {
        let at = l3 + option.offset;
        let end = (at + option.form.option_len()).min(data.len());
        // Of what stands in clear, PRSEQ and F are the same: they come of the packet's number. So does PDM's PSNTP, behind scales.
        data[(at + 6).min(end)..end].fill(0);
        if option.form == Form::Pdm {
            data[(at + 2).min(end)..(at + 4).min(end)].fill(0);
        }
    }
    data
}

/// What was sent, and what it had been.
struct Sent {
    wire: Frame,
    was: Frame,
    touched: bool,
}

/// What becomes of sent packets on their way.
fn on_the_way(sent: Vec<Sent>, fates: &[[u8; 2]], kept: &mut Vec<Frame>) -> Vec<Sent> {
    let mut arrive = Vec::new();
    for (mut sent, &[fate, by]) in sent.into_iter().zip(fates) {
        let data = sent.wire.data_mut();
        match fate {
            9 => {
                kept.push(sent.wire);
                continue;
            }
            10 => arrive.push(Sent { wire: sent.wire.clone(), was: sent.was.clone(), touched: false }),
            11 => {
                let at = usize::from(by) % data.len().max(1);
                data.iter_mut().skip(at).take(1).for_each(|octet| *octet ^= 1 << (by % 8));
            }
            12 => {
                let len = sent.wire.first.frame_len();
                sent.wire.first.truncate(len - len.min(usize::from(by % 64)));
            }
            13 if !kept.is_empty() => sent.wire = kept.swap_remove(usize::from(by) % kept.len()),
            14 => {
                let len = sent.wire.first.frame_len();
                let behind = len.min(usize::from(by % 48));
                if sent.wire.first.truncate(len - behind) {
                    sent.wire.more += behind;
                }
            }
            _ => {}
        }
        sent.touched = fate >= 9;
        arrive.push(sent);
    }
    arrive
}

/// A conversation under way.
struct World {
    boxes: [Twins; 2],
    kept: [Vec<Frame>; 2],
    now: u64,
}

impl World {
    /// A burst from a host behind box `from`, and on to the other one.
    fn burst(&mut self, from: usize, frames: &[Frame], plain: &[bool], fates: &[[u8; 2]]) {
        let (sent, outcomes) = self.boxes[from].out(frames, plain, self.now);
        let pairs = sent.into_iter().zip(frames).zip(&outcomes).zip(fates);
        let goes = pairs.filter(|((_, outcome), _)| !matches!(outcome, Outcome::Dropped(_) | Outcome::TooBig));
        let (sent, fates): (Vec<_>, Vec<_>) =
            goes.map(|(((wire, was), _), &fate)| (Sent { wire, was: was.clone(), touched: false }, fate)).unzip();
        let arrive = on_the_way(sent, &fates, &mut self.kept[from]);
        self.kept[from].truncate(64);
        self.now += 1000;
        for part in arrive.chunks(2 * BURST) {
            let wire: Vec<_> = part.iter().map(|sent| sent.wire.clone()).collect();
            let (got, outcomes) = self.boxes[1 - from].go(true, &wire, self.now, |_, _| false);
            let clamps = self.boxes[from].config.mss_clamp;
            for ((sent, got), outcome) in part.iter().zip(&got).zip(&outcomes) {
                if let (Outcome::Removed(Form::Encrypted), false) = (outcome, sent.touched || clamps) {
                    assert_eq!(got.data(), sent.was.data(), "add and remove is the identity");
                }
            }
        }
        self.now += 1000;
    }
}

/// Runs the steps; panics when something does not hold.
pub fn bursts(data: &[u8]) {
    let [settings, more, steps @ ..] = data else { return };
    let (mut rest, settings) = (steps, [*settings, *more]);
    let mut world =
        World { boxes: [0, 1].map(|node| Twins::new(node, settings)), kept: Default::default(), now: 1 << 30 };
    // Until the flows are known and the lanes do not rest.
    for i in 0..18 {
        let frames: Vec<_> = (0..FLOWS).map(|flow| packet(i % 2, 0, flow, 30, &mut &[][..])).collect();
        world.burst(i % 2, &frames, &[true; FLOWS as usize], &[[0; 2]; FLOWS as usize]);
    }
    for _ in 0..64 {
        let [what, x, tail @ ..] = rest else { break };
        rest = tail;
        let from = usize::from(what & 1);
        match what >> 1 & 15 {
            0 => world.now += u64::from(*x) << (what >> 5 << 3).min(40),
            1 => world.boxes[from].sides.iter_mut().for_each(|side| side.renew(1 + u32::from(*x) % GENERATIONS)),
            2 => {
                let Twins { sides, config } = &world.boxes[from];
                sides.iter().for_each(|side| side.shared.replace(config.clone()));
            }
            _ => {
                let count = if x % 33 == 32 { 2 * BURST } else { usize::from(x % 33) + 1 };
                let (mut frames, mut plain, mut fates) = (Vec::new(), Vec::new(), Vec::new());
                while let ([kind, flow, len, tail @ ..], true) = (rest, frames.len() < count) {
                    rest = tail;
                    let shape = kind % SHAPES;
                    frames.push(packet(from, shape, *flow, *len, &mut rest));
                    plain.push(shape < PLAIN);
                    fates.push([kind / SHAPES, flow.wrapping_mul(31) ^ len]);
                }
                world.burst(from, &frames, &plain, &fates);
            }
        }
    }
}

/// Bursts of every length to begin with, of all shapes and fates.
pub fn conversations() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for settings in [0, 5, 7, 0x40, 0x80] {
        for more in [0, 1 << 4, 2, 3, 4, 8] {
            for odd in [0u8, 20, 3] {
                let mut seed = vec![settings, more];
                for length in (0..33u8).step_by(if odd == 0 { 1 } else { 4 }) {
                    let count: u8 = if length == 32 { 64 } else { length + 1 };
                    seed.extend([6 + length % 3 / 2, length]);
                    for i in 0..count {
                        let mixed = i.wrapping_mul(37).wrapping_add(length);
                        let kind = if odd != 0 && mixed % odd == 0 { mixed } else { mixed % PLAIN };
                        seed.extend([kind, i.wrapping_mul(5) % 0x80, mixed]);
                    }
                }
                seed.extend([2, 1, 0, 200, 4, 0, 6, 4]);
                seed.extend([[0, 1, 2], [0, 1, 2], [8, 2, 9], [9, 3, 9], [0, 1, 2]].concat());
                seed.truncate(4096);
                all.push(seed);
            }
        }
    }
    all
}
