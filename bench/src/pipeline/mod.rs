//! `bench pipeline`: packets per second per core of the real worker loop through real DPDK ports, against
//! `dpdk-testpmd` on the same ports in the same run.

mod cases;

use crate::measure::{Figure, interleave_with_peers, not_measured};
use crate::plot::Plot;
use crate::ports::child::{self, Task};
use crate::ports::frames::{self, Frame};
use crate::ports::isa::Isa;
use crate::ports::job::{Action, Job, OptionForm, Sample};
use crate::ports::testpmd::{self, Forwarding};
use crate::ports::{chain, environment, secgw, worker_loop};
use crate::report::Report;
use anyhow::{Context, Error, Result, anyhow, ensure};
use cases::{Candidate, Group, Program};
use clap::Args;
use rig::{Directory, Hugepages};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Arguments of `bench pipeline`.
#[derive(Args, Clone, Debug)]
pub struct PipelineArgs {
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// The whole matrix of frames, workers, actions, forms and flows beside what the claims need
    #[arg(long)]
    full: bool,
    /// Measurements of each program and case; the median is reported
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds per measurement
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// Frame sizes: octets without checksum, or imix (7 of 80 to 4 of 590 to 1 of 1500)
    #[arg(long, value_delimiter = ',')]
    frames: Vec<Frame>,
    /// What is done with the packets; pass-off is without a policy
    #[arg(long, value_delimiter = ',', value_enum)]
    actions: Vec<Action>,
    /// Forms of the option; 'encrypted' is 'sealed'
    #[arg(long, value_delimiter = ',', value_enum)]
    forms: Vec<OptionForm>,
    /// Numbers of flows
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=8_000_000))]
    flows: Vec<u32>,
    /// Leave DPDK's ipsec-secgw out
    #[arg(long)]
    no_secgw: bool,
    /// Workers, each on a core of its own
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u8).range(1..=8))]
    workers: Vec<u8>,
    /// Instruction sets of our own path [default: the best that this CPU has]
    #[arg(long, value_delimiter = ',', value_enum)]
    isa: Vec<Isa>,
    /// One packet in so many is off the plain shapes (TCP SYN, ICMPv6 echo, Hop-by-Hop Options, fragment); 0: none. Left
    /// out where a capture holds fewer frames than there are flows
    #[arg(long, value_delimiter = ',', value_name = "N")]
    odd: Vec<u32>,
    /// Per cent of the packets that come to another worker than their flow's others; also without any (0) frames are
    /// rewritten at receipt for this, so compare with 0, not with none given
    #[arg(long, value_delimiter = ',', value_name = "PER CENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    strays: Vec<u8>,
    /// Numbers of boxes on the other side; left out as odd packets are
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=8000))]
    boxes: Vec<u16>,
    /// Hugepages of 2 MiB that are to be free: taken for the time of the run and given back, when it is root; 0: as they are
    #[arg(long, default_value_t = 2048, value_name = "PAGES")]
    hugepages: u64,
}

impl Task for Job {
    const NAME: &'static str = "pipeline";
    type Sample = Sample;

    fn measure(&self) -> Result<Sample> {
        self.isa.force()?;
        if self.action.is_inbound() { chain::measure(self) } else { worker_loop::measure(self) }
    }
}

/// Measures and prints.
///
/// # Errors
/// As [`report`].
pub fn run(args: &PipelineArgs) -> Result<bool> {
    report(args)?.print(args.json)?;
    Ok(true)
}

/// What `bench all` draws.
#[must_use]
pub fn plot(report: &Report) -> Plot<'static> {
    let title = format!("Through DPDK ports, by size of frame ({})", report.machine.cpu);
    Plot {
        title,
        x: "flows",
        lines: &["program", "action", "form", "workers", "isa", "odd", "strays", "boxes"],
        panels: "frame",
        log: false,
    }
}

/// Measures. What a peer, or this CPU, cannot do is in the report as not measured.
///
/// # Errors
/// Nothing that was asked for can be measured, our own program does not start, or packets did not get what they should.
pub fn report(args: &PipelineArgs) -> Result<Report> {
    let groups = args.groups();
    ensure!(!groups.is_empty(), "there is no such case: 'bench pipeline --help' says what goes together");
    let dir = Directory::scratch()?;
    let title = "Packets per second of the worker loop from net_pcap (a capture over and over) to net_null, per process; \
                 frames in octets without checksum";
    let mut report = Report::new("pipeline", title, "packets per second", "of testpmd mac");
    // Half of the memory stays for the flow tables of those that get none.
    let pages = Hugepages::take(args.hugepages.min(environment::free_memory() / 2 / HUGEPAGE));
    report.notes.extend(pages.note().map(str::to_owned));
    let gateway = if args.no_secgw { Err(anyhow!("--no-secgw")) } else { secgw::find() };
    let there = There { testpmd: testpmd::is_there(), gateway };
    for group in groups {
        measure_group(args, group, &there, &dir, &mut report)?;
    }
    notes(&mut report);
    Ok(report)
}

/// The columns of every line that there would be.
#[cfg(test)]
pub(crate) fn lines(args: &PipelineArgs) -> Vec<[(&'static str, String); 10]> {
    args.groups().iter().flat_map(|(frame, all)| all.iter().map(|c| c.labels(*frame))).collect()
}

/// Octets of a hugepage.
const HUGEPAGE: u64 = 2 << 20;

/// Which peers there are.
struct There {
    testpmd: bool,
    gateway: Result<PathBuf>,
}

impl There {
    /// Why a candidate cannot run here.
    fn lacks(&self, program: Program) -> Option<Error> {
        match (program, &self.gateway) {
            (Program::Testpmd(_), _) if !self.testpmd => Some(anyhow!("it is not there (apt install dpdk-dev)")),
            (Program::Secgw, Err(error)) => Some(anyhow!("{error:#}")),
            (Program::Ours(case), _) if !case.isa.is_available() => {
                Some(anyhow!("this CPU does not have {}", case.isa.name()))
            }
            _ => None,
        }
    }
}

fn measure_group(
    args: &PipelineArgs,
    (frame, candidates): Group,
    there: &There,
    dir: &Directory,
    report: &mut Report,
) -> Result<()> {
    let (lacking, mut candidates): (Vec<_>, Vec<_>) =
        candidates.into_iter().partition(|c| there.lacks(c.program).is_some());
    let mut off_core = 0f64;
    let figures = interleave_with_peers(
        args.rounds,
        &mut candidates,
        |c| c.program.peer().is_some(),
        |candidate| {
            let mut job = candidate.job(frame, args.seconds);
            job.captures = captures(&job, dir.path())?;
            let sample = match (candidate.program, &there.gateway) {
                (Program::Testpmd(forwarding), _) => testpmd::measure(&job, forwarding, dir.path()),
                (Program::Secgw, gateway) => {
                    secgw::measure(&job, gateway.as_deref().unwrap_or(Path::new("ipsec-secgw")), dir.path())
                }
                (Program::Ours(_), _) => {
                    let limit = Duration::from_secs_f64(job.seconds * 20.0 + 60.0);
                    child::measure("ours", &job, dir.path(), limit)
                }
            };
            let sample = sample.with_context(|| format!("frames {frame}, {candidate:?}"))?;
            off_core = off_core.max(1.0 - sample.on_core / sample.seconds);
            Ok(sample.rate())
        },
    )?;
    let figures: Vec<(Candidate, Result<Figure>)> = candidates.into_iter().zip(figures).collect();
    for (candidate, figure) in &figures {
        let mac = Candidate { program: Program::Testpmd(Forwarding::Mac), workers: candidate.workers };
        let mac = figures.iter().find(|(c, _)| *c == mac).and_then(|(_, figure)| figure.as_ref().ok());
        match figure {
            Ok(figure) => {
                let ratio = mac.filter(|m| m.median > 0.0).map(|m| figure.median / m.median);
                report.push(&candidate.labels(frame), *figure, ratio);
            }
            // Each in its own place: another one goes on.
            Err(error) => absent(report, frame, *candidate, error),
        }
    }
    for candidate in lacking {
        if let Some(error) = there.lacks(candidate.program) {
            absent(report, frame, candidate, &error);
        }
    }
    if off_core > 0.02 {
        let percent = off_core * 100.0;
        report.notes.push(format!(
            "frames {frame}: up to {percent:.0} per cent of a measurement other processes had the core; rates are per second \
             on the core."
        ));
    }
    Ok(())
}

fn absent(report: &mut Report, frame: Frame, candidate: Candidate, error: &Error) {
    report.push_absent(&candidate.labels(frame), not_measured(candidate.program.peer().unwrap_or("ours"), error));
}

/// The captures of a job, one per worker, made once.
fn captures(job: &Job, dir: &Path) -> Result<Vec<PathBuf>> {
    let frames = job.capture_frames();
    let flows = job.flows.min((frames * job.workers) as u32);
    let (recipe, workers) = (job.recipe(), job.workers);
    let kind = format!("{}-{}-{}", recipe.frame, recipe.odd_every, recipe.boxes);
    (0..workers as u32)
        .map(|share| {
            let path = dir.join(format!("frames-{kind}-{flows}-{share}-of-{workers}.pcap"));
            if !path.exists() {
                frames::capture(&path, recipe, frames, flows, (share, workers as u32))?;
            }
            Ok(path)
        })
        .collect()
}

fn notes(report: &mut Report) {
    let rate = |labels: &[(&str, &str)]| report.find(labels).map(|r| r.figure.median).filter(|r| *r > 0.0);
    let small =
        |l: &[(&'static str, &'static str)]| rate(&[&[("frame", "80"), ("workers", "1")], l].concat()).map(|r| 1e9 / r);
    let mut notes = vec![
        "net_pcap copies every frame out of its capture, and net_null frees it: the drivers' cost, in every row but pass-in, \
         verify and remove, is that of testpmd io. Frames of 80 octets are Ethernet, IPv6, UDP and 18 octets."
            .to_owned(),
    ];
    if let (Some(io), Some(pass)) = (small(&[("action", "io")]), small(&[("action", "pass-off")])) {
        notes.push(format!(
            "Nanoseconds per packet of 80 octets on one core: drivers and an empty forwarder (testpmd io) {io:.1}, our loop \
             without a policy {pass:.1}."
        ));
    }
    let esp = report.find(&[("program", "ipsec-secgw")]).map(|r| r.figure.median).filter(|rate| *rate > 0.0);
    for (action, form) in [("add", "sealed"), ("add", "clear"), ("add", "pdm")] {
        let ours =
            report.find(&[("frame", "80"), ("workers", "1"), ("action", action), ("form", form), ("flows", "65536")]);
        if let (Some(esp), Some(ours)) = (esp, ours) {
            notes.push(format!(
                "{action}, {form}, 65536 flows, is {:.2} times as fast as ipsec-secgw, which encrypts under one key.",
                ours.figure.median / esp
            ));
        }
    }
    notes.push(
        "odd: one packet in so many is off the plain shapes, by turns a TCP SYN without options, an ICMPv6 echo request, UDP behind \
         Hop-by-Hop Options, a fragment. strays: per cent of the packets that come to another worker than their flow's others; \
         where the column has a number, 0 included, frames are rewritten at receipt. boxes: on the other side, \
         flows dealt out to them."
            .to_owned(),
    );
    notes.push(
        "pass-in, verify and remove: box A and box B by turns on one core, connected by net_ring; only B's turns count, timed by the \
         time stamp counter. pass-in is what their drivers and the loop cost without opening. Two workers: a capture, a queue and a core each; net_pcap is driver and generator in one, so \
         no third core is needed."
            .to_owned(),
    );
    report.notes.extend(notes);
}
