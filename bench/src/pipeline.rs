//! `bench pipeline`: packets per second per core of the real worker loop through real DPDK ports, against
//! `dpdk-testpmd` on the same ports in the same run.

use crate::measure::{Figure, interleave_with_peers, not_measured};
use crate::plot::Plot;
use crate::ports::child::{self, Task};
use crate::ports::frames::{self, Frame};
use crate::ports::job::{Action, Job, OptionForm, Sample};
use crate::ports::testpmd::{self, Forwarding};
use crate::ports::{chain, secgw, worker_loop};
use crate::report::Report;
use anyhow::{Context, Result};
use clap::Args;
use rig::Directory;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Arguments of `bench pipeline`.
#[derive(Args, Clone, Debug)]
pub struct PipelineArgs {
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Every case instead of those that the claims need
    #[arg(long)]
    full: bool,
    /// Measurements of each program and case; the median is reported
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds per measurement
    #[arg(long, default_value_t = 0.6)]
    seconds: f64,
    /// Frame sizes: octets without checksum, or imix (7 of 80 to 4 of 590 to 1 of 1500)
    #[arg(long, value_delimiter = ',')]
    frames: Vec<Frame>,
    /// What is done with the packets
    #[arg(long, value_delimiter = ',', value_enum)]
    actions: Vec<Action>,
    /// Forms of the option
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
}

impl Task for Job {
    const NAME: &'static str = "pipeline";
    type Sample = Sample;

    fn measure(&self) -> Result<Sample> {
        if self.action.is_inbound() { chain::measure(self) } else { worker_loop::measure(self) }
    }
}

/// What is compared on one set of ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Program {
    Testpmd(Forwarding),
    Secgw,
    Ours(Action, OptionForm, u32),
}

impl Program {
    /// Its name, if it is only there to compare with.
    const fn peer(self) -> Option<&'static str> {
        match self {
            Self::Testpmd(_) => Some("dpdk-testpmd"),
            Self::Secgw => Some("DPDK's ipsec-secgw"),
            Self::Ours(..) => None,
        }
    }
}

/// A set of ports: what all its programs have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Ports {
    frame: Frame,
    workers: usize,
}

/// Where ipsec-secgw runs too.
const GATEWAY: Ports = Ports { frame: Frame::Octets(80), workers: 1 };

impl PipelineArgs {
    fn cases(&self) -> Vec<(Ports, Vec<Program>)> {
        use Action::{Add, Pass, PassIn, Remove, Verify};
        use OptionForm::{Clear, Sealed};
        let chosen = !(self.frames.is_empty()
            && self.actions.is_empty()
            && self.forms.is_empty()
            && self.flows.is_empty()
            && self.workers.is_empty());
        let mut cases: Vec<(Ports, Program)> = Vec::new();
        let mut add = |frame, workers, action: Action, form, flows| {
            let form = if action == Pass { Clear } else { form };
            // Boxes in a row are measured on one core.
            if !(action.is_inbound() && workers > 1) {
                cases.push((Ports { frame, workers }, Program::Ours(action, form, flows)));
            }
        };
        if self.full || chosen {
            fn or<T: Copy>(chosen: &[T], other: &[T]) -> Vec<T> {
                if chosen.is_empty() { other.to_vec() } else { chosen.to_vec() }
            }
            let full = self.full;
            let pick = |all: &'static [Frame], one: &'static [Frame]| if full { all } else { one };
            let frames =
                pick(&[Frame::Octets(80), Frame::Octets(256), Frame::Octets(1500), Frame::Imix], &[Frame::Octets(80)]);
            let actions: &[Action] = if full { &[Pass, Add, PassIn, Verify, Remove] } else { &[Add] };
            let forms: &[OptionForm] = if full { &[Sealed, Clear] } else { &[Sealed] };
            let flows: &[u32] = if full { &[1, 1000, 65_536, 1_000_000] } else { &[65_536] };
            let workers: &[u8] = if full { &[1, 2] } else { &[1] };
            for frame in or(&self.frames, frames) {
                for workers in or(&self.workers, workers) {
                    for action in or(&self.actions, actions) {
                        for form in or(&self.forms, forms) {
                            for flows in or(&self.flows, flows) {
                                add(frame, usize::from(workers), action, form, flows);
                            }
                        }
                    }
                }
            }
        } else {
            let small = Frame::Octets(80);
            add(small, 1, Pass, Clear, 65_536);
            for flows in [1, 1000, 65_536, 1_000_000] {
                add(small, 1, Add, Sealed, flows);
            }
            add(small, 1, Add, Clear, 65_536);
            add(small, 1, PassIn, Sealed, 65_536);
            add(small, 1, Verify, Sealed, 65_536);
            add(small, 1, Remove, Sealed, 65_536);
            add(small, 1, Remove, Clear, 65_536);
            add(small, 2, Add, Sealed, 65_536);
            add(Frame::Imix, 1, Add, Sealed, 65_536);
            add(Frame::Octets(1500), 1, Add, Sealed, 65_536);
        }
        let mut groups: Vec<(Ports, Vec<Program>)> = Vec::new();
        for (ports, program) in cases {
            let at = groups.iter().position(|(p, _)| *p == ports).unwrap_or(groups.len());
            if at == groups.len() {
                groups.push((ports, vec![Program::Testpmd(Forwarding::Io), Program::Testpmd(Forwarding::Mac)]));
                if ports == GATEWAY {
                    groups[at].1.push(Program::Secgw);
                }
            }
            if !groups[at].1.contains(&program) {
                groups[at].1.push(program);
            }
        }
        groups
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
    Plot { title, x: "flows", lines: &["program", "action", "form", "workers"], panels: "frame", log: false }
}

/// Measures.
///
/// # Errors
/// A program does not start, or packets did not get what they should.
pub fn report(args: &PipelineArgs) -> Result<Report> {
    let dir = Directory::scratch()?;
    let title = "Packets per second of the worker loop from net_pcap (a capture over and over) to net_null, per process; \
                 frames in octets without checksum";
    let mut report = Report::new("pipeline", title, "packets per second", "of testpmd mac");
    let there = testpmd::is_there();
    if !there {
        let error = anyhow::anyhow!("it is not there (apt install dpdk-dev)");
        report.notes.push(not_measured("dpdk-testpmd", &error));
    }
    let gateway = if args.no_secgw { Err(anyhow::anyhow!("--no-secgw")) } else { secgw::find() };
    if let Err(error) = &gateway {
        report.notes.push(not_measured("DPDK's ipsec-secgw", error));
    }
    for (ports, mut programs) in args.cases() {
        if !there {
            programs.retain(|p| !matches!(p, Program::Testpmd(_)));
        }
        if gateway.is_err() {
            programs.retain(|p| *p != Program::Secgw);
        }
        measure_group(args, ports, &mut programs, gateway.as_deref().ok(), &dir, &mut report)?;
    }
    notes(&mut report);
    Ok(report)
}

fn measure_group(
    args: &PipelineArgs,
    ports: Ports,
    programs: &mut [Program],
    gateway: Option<&Path>,
    dir: &Directory,
    report: &mut Report,
) -> Result<()> {
    let job = |program: Program, captures: &[PathBuf]| {
        let (action, form, flows) = match program {
            Program::Ours(action, form, flows) => (action, form, flows),
            Program::Testpmd(_) | Program::Secgw => (Action::Pass, OptionForm::Clear, 65_536),
        };
        let Ports { frame, workers } = ports;
        Job { frame, action, form, flows, workers, captures: captures.to_vec(), seconds: args.seconds }
    };
    let mut off_core = 0f64;
    let figures = interleave_with_peers(
        args.rounds,
        programs,
        |p| p.peer().is_some(),
        |program| {
            let mut job = job(*program, &[]);
            job.captures = captures(&job, dir.path())?;
            let sample = match *program {
                Program::Testpmd(forwarding) => testpmd::measure(&job, forwarding, dir.path()),
                Program::Secgw => secgw::measure(&job, gateway.unwrap_or(Path::new("ipsec-secgw")), dir.path()),
                Program::Ours(..) => {
                    let limit = Duration::from_secs_f64(job.seconds * 20.0 + 60.0);
                    child::measure("ours", &job, dir.path(), limit)
                }
            };
            let sample = sample.with_context(|| format!("{program:?} on {ports:?}"))?;
            off_core = off_core.max(1.0 - sample.on_core / sample.seconds);
            Ok(sample.rate())
        },
    )?;
    let mac = programs.iter().position(|p| *p == Program::Testpmd(Forwarding::Mac));
    let mac = mac.and_then(|i| figures.get(i)?.as_ref().ok().copied());
    for (program, figure) in programs.iter().zip(&figures) {
        match figure {
            Ok(figure) => push(report, ports, *program, *figure, mac),
            // Each in its own place: another one goes on.
            Err(error) => report.notes.push(not_measured(program.peer().unwrap_or("ours"), error)),
        }
    }
    if off_core > 0.02 {
        let (frame, percent) = (ports.frame, off_core * 100.0);
        report.notes.push(format!(
            "frames {frame}, {} worker(s): up to {percent:.0} per cent of a measurement other processes had the core; rates \
             are per second on the core.",
            ports.workers
        ));
    }
    Ok(())
}

fn push(report: &mut Report, ports: Ports, program: Program, figure: Figure, mac: Option<Figure>) {
    let (name, action, form, flows) = match program {
        Program::Testpmd(f) => ("testpmd", f.name(), "-", "65536".to_owned()),
        Program::Secgw => ("ipsec-secgw", "esp", "-", "65536".to_owned()),
        Program::Ours(Action::Pass, _, flows) => ("ours", "pass", "-", flows.to_string()),
        Program::Ours(action, form, flows) => ("ours", action.name(), form.name(), flows.to_string()),
    };
    let labels = [
        ("frame", ports.frame.to_string()),
        ("workers", ports.workers.to_string()),
        ("program", name.to_owned()),
        ("action", action.to_owned()),
        ("form", form.to_owned()),
        ("flows", flows),
    ];
    let ratio = mac.filter(|m| m.median > 0.0).map(|m| figure.median / m.median);
    report.push(&labels, figure, ratio);
}

/// The captures of a job, one per worker, made once.
fn captures(job: &Job, dir: &Path) -> Result<Vec<PathBuf>> {
    let frames = job.capture_frames();
    let flows = job.flows.min((frames * job.workers) as u32);
    (0..job.workers as u32)
        .map(|share| {
            let path = dir.join(format!("frames-{}-{flows}-{share}-of-{}.pcap", job.frame, job.workers));
            if !path.exists() {
                frames::capture(&path, job.frame, frames, flows, (share, job.workers as u32))?;
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
    if let (Some(io), Some(pass)) = (small(&[("action", "io")]), small(&[("action", "pass")])) {
        notes.push(format!(
            "Nanoseconds per packet of 80 octets on one core: drivers and an empty forwarder (testpmd io) {io:.1}, our loop \
             without a policy {pass:.1}."
        ));
    }
    notes.push(
        "pass-in, verify and remove: box A and box B by turns on one core, connected by net_ring; only B's turns count, timed by the \
         time stamp counter. pass-in is what their drivers and the loop cost without opening. Two workers: a capture, a queue and a core each; net_pcap is driver and generator in one, so \
         no third core is needed."
            .to_owned(),
    );
    report.notes.extend(notes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: PipelineArgs,
    }

    fn cases(line: &[&str]) -> Vec<(Ports, Vec<Program>)> {
        let line = core::iter::once("bench").chain(line.iter().copied());
        Line::try_parse_from(line).expect("arguments").args.cases()
    }

    #[test]
    fn a_chosen_case_is_alone_with_what_it_is_compared_with() {
        let [(ports, programs)] = &cases(&["--actions", "add", "--flows", "1000"])[..] else {
            unreachable!("one group")
        };
        assert_eq!((ports.frame, ports.workers), (Frame::Octets(80), 1));
        let ours = Program::Ours(Action::Add, OptionForm::Sealed, 1000);
        assert_eq!(
            programs[..],
            [Program::Testpmd(Forwarding::Io), Program::Testpmd(Forwarding::Mac), Program::Secgw, ours]
        );
    }

    #[test]
    fn the_whole_matrix_has_each_case_once() {
        let groups = cases(&["--full"]);
        assert_eq!(groups.len(), 8, "4 sizes of frames, 1 and 2 workers");
        for (ports, programs) in groups {
            // pass, and add, pass-in, verify and remove in two forms, each with 4 numbers of flows
            let ours = if ports.workers == 1 { 4 + 4 * 8 } else { 4 + 8 };
            let peers = if ports == GATEWAY { 3 } else { 2 };
            assert_eq!(programs.len(), peers + ours, "{ports:?}");
        }
    }
}
