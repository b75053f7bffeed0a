//! `bench diagnostics`: what it costs to keep times by flow and by policy.
//!
//! Two boxes in memory, twice: of one pair the box that is measured keeps times, of the other it does not. Both get the same
//! packets in turns, a few bursts at a time, so that whatever the machine does meanwhile hits both. Without ports: their cost
//! would only make the difference smaller.

use crate::measure::{Figure, Random, cpu_time};
use crate::ports::box_state::{BoxState, Setting};
use crate::ports::frames;
use crate::report::Report;
use anyhow::{Result, ensure};
use arrayvec::ArrayVec;
use clap::Args;
use pipeline::observe::counters::Outcome;
use pipeline::packet::buffer::VecBuf;
use pipeline::ports::BURST;
use pipeline::state::policies::{InboundAction, Mode};
use pipeline::state::rules::Diagnostics;
use pipeline::state::worker::Worker;
use protocol::wire::option::Form;
use std::sync::Arc;
use std::time::{Duration, Instant};
use testkit::keyrings::Side;

/// The actions that are measured, as reports name them.
pub const REMOVE: &str = "remove";
/// Both ways of the same exchange.
pub const ADD_AND_REMOVE: &str = "add and remove";

/// Arguments of `bench diagnostics`.
#[derive(Args, Clone, Debug)]
pub struct DiagnosticsArgs {
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Flows that the packets are of
    #[arg(long, value_delimiter = ',', default_value = "1000,65536", value_parser = clap::value_parser!(u32).range(64..=4_194_304))]
    flows: Vec<u32>,
    /// Packets that come for each that is an answer
    #[arg(long, value_delimiter = ',', default_value = "1,4", value_parser = clap::value_parser!(u32).range(1..=64))]
    answers: Vec<u32>,
    /// Seconds for each
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
}

/// Measures and prints.
///
/// # Errors
/// A packet does not come out as it should.
pub fn run(args: &DiagnosticsArgs) -> Result<bool> {
    report(args)?.print(args.json)?;
    Ok(true)
}

/// Measures.
///
/// # Errors
/// A packet does not come out as it should.
pub fn report(args: &DiagnosticsArgs) -> Result<Report> {
    let title = "Times by flow and by policy: packets of 80 octets a second of one worker, sealed, without ports, in bursts of 32 of \
                 flows at random";
    let mut report = Report::new("diagnostics", title, "packets per second", "of off");
    for &flows in &args.flows {
        for &every in &args.answers {
            let seconds = Duration::from_secs_f64(args.seconds.clamp(0.1, 600.0));
            let measured = measure(flows, every, seconds)?;
            for (action, [off, on]) in [REMOVE, ADD_AND_REMOVE].into_iter().zip(measured) {
                let answers = if every == 1 { "all".to_owned() } else { format!("1 in {every}") };
                for (name, figure) in [("off", off), ("on", on)] {
                    let labels = [
                        ("action", action.to_owned()),
                        ("flows", flows.to_string()),
                        ("answers", answers.clone()),
                        ("diagnostics", name.to_owned()),
                    ];
                    report.push(&labels, figure, Some(figure.median / off.median));
                }
            }
        }
    }
    report.notes.push(
        "remove: packets that come back have their options opened and taken out. answers: those that name a packet which none \
         before has named, and so have times to tell; 'all' is the most that can be, one packet there and one back"
            .to_owned(),
    );
    Ok(report)
}

/// Bursts of one turn.
const BURSTS: usize = 16;

/// A pair of boxes.
struct Pair {
    /// The one that is measured.
    near: Worker,
    far: Worker,
    random: Random,
    now: u64,
}

/// CPU time of a turn, and its packets: out, and back.
type Turn = [(Duration, usize); 2];

impl Pair {
    fn new(flows: u32, diagnostics: Diagnostics) -> Result<Self> {
        let worker = |side| {
            let setting = Setting {
                side,
                mode: Mode::Encrypted,
                inbound: InboundAction::Remove,
                flows,
                workers: 1,
                now: 0,
                boxes: 1,
            };
            let state = BoxState::new(&setting);
            state.diagnostics(if side == Side::A { diagnostics } else { Diagnostics::Off });
            Worker::new(Arc::clone(&state.shared), 0)
        };
        let mut pair = Self { near: worker(Side::A), far: worker(Side::B), random: Random::new(17), now: 1 << 30 };
        let all: Vec<u32> = (0..flows).collect();
        for some in all.chunks(BURSTS * BURST) {
            pair.turn(some, 1)?;
        }
        Ok(pair)
    }

    fn drawn(&mut self, flows: u32) -> Vec<u32> {
        (0..BURSTS * BURST).map(|_| self.random.below(flows as usize) as u32).collect()
    }

    /// A packet of each of these flows, and so many back.
    fn turn(&mut self, flows: &[u32], every: u32) -> Result<Turn> {
        let mut octets = [0; 80];
        let mut there: Vec<VecBuf> = Vec::with_capacity(flows.len());
        for &flow in flows {
            frames::write(&mut octets, flow);
            there.push(VecBuf::new(&octets));
        }
        let mut back: Vec<VecBuf> = (0..every).flat_map(|_| there.iter().map(frames::answer)).collect();
        self.now += 1_000_000;
        let added = Outcome::Added(Form::Encrypted);
        let out = work(&mut self.near, &mut there, self.now, true, added)?;
        work(&mut self.far, &mut there, self.now + 50_000, false, Outcome::Removed(Form::Encrypted))?;
        work(&mut self.far, &mut back, self.now + 90_000, true, added)?;
        let taken = work(&mut self.near, &mut back, self.now + 140_000, false, Outcome::Removed(Form::Encrypted))?;
        Ok([(out, there.len()), (taken, back.len())])
    }
}

/// All of these packets through a worker, in bursts; how long it took.
fn work(worker: &mut Worker, packets: &mut [VecBuf], now: u64, out: bool, wanted: Outcome) -> Result<Duration> {
    let mut outcomes = ArrayVec::<Outcome, BURST>::new();
    let start = Instant::now();
    let mut others = 0;
    for burst in packets.chunks_mut(BURST) {
        outcomes.clear();
        if out {
            worker.outbound(burst, &mut outcomes, &|| now);
        } else {
            worker.inbound(burst, &mut outcomes, &|| now);
        }
        others += outcomes.iter().filter(|outcome| **outcome != wanted).count();
    }
    let taken = start.elapsed();
    ensure!(others == 0, "{others} packets did not come out as {wanted:?}");
    Ok(taken)
}

/// Figures of off and on: of packets that come back, and of those that go there and come back.
fn measure(flows: u32, every: u32, seconds: Duration) -> Result<[[Figure; 2]; 2]> {
    let mut pairs = [Pair::new(flows, Diagnostics::Off)?, Pair::new(flows, Diagnostics::Flows)?];
    let mut rates: [[Vec<f64>; 2]; 2] = Default::default();
    let (start, mut turn) = (cpu_time(), 0);
    // Half a thousand turns at least make quartiles; the first ones are not taken.
    while turn < 80 || cpu_time().saturating_sub(start) < seconds {
        for i in 0..2 {
            let at = (i + turn) % 2;
            let drawn = pairs[at].drawn(flows);
            let [(out, there), (taken, back)] = pairs[at].turn(&drawn, every)?;
            if turn >= 16 {
                rates[0][at].push(back as f64 / taken.as_secs_f64());
                rates[1][at].push((there + back) as f64 / (out + taken).as_secs_f64());
            }
        }
        turn += 1;
    }
    Ok(rates.map(|by_pair| by_pair.map(|samples| Figure::of(&samples))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_measured() {
        let args = DiagnosticsArgs { json: false, flows: vec![64], answers: vec![1, 4], seconds: 0.1 };
        let report = report(&args).expect("measured");
        assert_eq!(report.rows.len(), 8);
        assert!(report.rows.iter().all(|row| row.figure.median > 0.0), "{:?}", report.rows);
        let labels = [("action", REMOVE), ("answers", "1 in 4"), ("diagnostics", "on")];
        assert!(report.find(&labels).is_some_and(|row| row.ratio.is_some()));
    }

    #[test]
    fn what_is_measured_has_times_to_tell() {
        let mut pair = Pair::new(64, Diagnostics::Flows).expect("a pair");
        let drawn = pair.drawn(64);
        let before = pair.near.counters.server_delay.merge_into(&mut []);
        pair.turn(&drawn, 1).expect("a turn");
        let told = pair.near.counters.server_delay.merge_into(&mut []) - before;
        assert!(told > 39_000, "{told}");
    }
}
