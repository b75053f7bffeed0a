//! What is measured: which programs, on which ports, with which packets.

use super::PipelineArgs;
use crate::ports::frames::Frame;
use crate::ports::isa::Isa;
use crate::ports::job::{Action, Job, Mix, OptionForm};
use crate::ports::recipe::Odd;
use crate::ports::testpmd::Forwarding;
use std::path::PathBuf;

/// What our worker loop does with which packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Case {
    pub action: Action,
    pub form: OptionForm,
    pub flows: u32,
    pub isa: Isa,
    pub mix: Mix,
}

/// What is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Program {
    Testpmd(Forwarding),
    Secgw,
    Ours(Case),
}

/// A program and how many workers it has, each with a queue and a core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Candidate {
    pub program: Program,
    pub workers: usize,
}

/// What runs in turns: all candidates for one size of frames.
pub(super) type Group = (Frame, Vec<Candidate>);

/// Where ipsec-secgw runs too, with one worker.
pub(super) const GATEWAY: Frame = Frame::Octets(80);
/// The flows of what is compared, where nothing else is said.
const FLOWS: u32 = 65_536;

impl Program {
    /// Its name, if it is only there to compare with.
    pub(super) const fn peer(self) -> Option<&'static str> {
        match self {
            Self::Testpmd(_) => Some("dpdk-testpmd"),
            Self::Secgw => Some("DPDK's ipsec-secgw"),
            Self::Ours(_) => None,
        }
    }
}

impl Candidate {
    /// The measurement, but for its captures.
    pub(super) fn job(self, frame: Frame, seconds: f64) -> Job {
        let case = match self.program {
            Program::Ours(case) => case,
            Program::Testpmd(_) | Program::Secgw => case(Action::PassOff, OptionForm::Clear, FLOWS),
        };
        let Case { action, form, flows, isa, mix } = case;
        Job { frame, action, form, flows, isa, mix, workers: self.workers, captures: Vec::<PathBuf>::new(), seconds }
    }

    /// Its columns.
    pub(super) fn labels(self, frame: Frame) -> [(&'static str, String); 10] {
        let none = || "-".to_owned();
        let (name, action, case) = match self.program {
            Program::Testpmd(f) => ("testpmd", f.name(), None),
            Program::Secgw => ("ipsec-secgw", "esp", None),
            Program::Ours(case) => ("ours", case.action.name(), Some(case)),
        };
        let form = case.filter(|c| c.action != Action::PassOff).map_or("-", |c| c.form.name());
        let odd = case.map(|c| c.mix.odd_every).filter(|every| *every > 0);
        let strays = case.and_then(|c| c.mix.strays);
        [
            ("frame", frame.to_string()),
            ("workers", self.workers.to_string()),
            ("program", name.to_owned()),
            ("action", action.to_owned()),
            ("form", form.to_owned()),
            ("flows", case.map_or(FLOWS, |c| c.flows).to_string()),
            ("isa", case.map_or("-", |c| c.isa.name()).to_owned()),
            ("odd", odd.map_or_else(none, |every| format!("1 in {every}"))),
            ("strays", strays.map_or_else(none, |share| format!("{share} %"))),
            ("boxes", case.map_or_else(none, |c| c.mix.boxes.to_string())),
        ]
    }
}

/// By the best instruction set of this CPU, nothing out of the ordinary.
pub(super) fn case(action: Action, form: OptionForm, flows: u32) -> Case {
    Case { action, form, flows, isa: Isa::best(), mix: Mix::default() }
}

/// Whether there is such a measurement.
fn is_possible(frame: Frame, workers: usize, case: &Case) -> bool {
    let Mix { odd_every, strays, boxes } = case.mix;
    let rewritten = Candidate { program: Program::Ours(*case), workers }.job(frame, 0.0).is_rewritten();
    // Boxes in a row are measured on one core, and packets that no policy names have no flows.
    let alone = case.action.is_inbound() || case.action == Action::PassOff;
    !(case.action.is_inbound() && workers > 1
        || strays.is_some() && alone
        || strays.is_some_and(|share| share > 0) && workers < 2
        // At receipt a frame gets another flow's address and port alone.
        || (odd_every > 0 || boxes > 1) && rewritten && !case.action.is_inbound()
        || odd_every > 0 && frame.shortest() < Odd::LEAST)
}

impl PipelineArgs {
    fn is_chosen(&self) -> bool {
        !(self.frames.is_empty()
            && self.actions.is_empty()
            && self.forms.is_empty()
            && self.flows.is_empty()
            && self.workers.is_empty()
            && self.isa.is_empty()
            && self.odd.is_empty()
            && self.strays.is_empty()
            && self.boxes.is_empty())
    }

    /// All of them, by frames.
    pub(super) fn groups(&self) -> Vec<Group> {
        let mut cases = if self.full || self.is_chosen() { self.matrix() } else { Vec::new() };
        if !self.is_chosen() {
            cases.extend(of_the_claims());
        }
        let mut groups: Vec<Group> = Vec::new();
        for (frame, workers, mut case) in cases {
            if case.action == Action::PassOff {
                case.form = OptionForm::Clear;
            }
            if !is_possible(frame, workers, &case) {
                continue;
            }
            let at = groups.iter().position(|(f, _)| *f == frame).unwrap_or(groups.len());
            if at == groups.len() {
                groups.push((frame, Vec::new()));
            }
            let group = &mut groups[at].1;
            let candidate = |program| Candidate { program, workers };
            let mut add = |program| {
                if !group.contains(&candidate(program)) {
                    group.push(candidate(program));
                }
            };
            add(Program::Testpmd(Forwarding::Io));
            add(Program::Testpmd(Forwarding::Mac));
            if frame == GATEWAY && workers == 1 {
                add(Program::Secgw);
            }
            add(Program::Ours(case));
        }
        groups
    }

    /// Everything that was chosen with everything else; what was not chosen is what is usual, or all of it with `--full`.
    fn matrix(&self) -> Vec<(Frame, usize, Case)> {
        fn or<T: Copy>(chosen: &[T], full: bool, all: &[T], usual: &[T]) -> Vec<T> {
            let other = if full { all } else { usual };
            if chosen.is_empty() { other.to_vec() } else { chosen.to_vec() }
        }
        use Action::{Add, PassIn, PassOff, Remove, Verify};
        use OptionForm::{Clear, Pdm, Sealed};
        let small = Frame::Octets(80);
        let sizes = [small, Frame::Octets(256), Frame::Octets(1500), Frame::Imix];
        let strays: Vec<Option<u8>> = self.strays.iter().copied().map(Some).collect();
        let mut cases = Vec::new();
        for frame in or(&self.frames, self.full, &sizes, &[small]) {
            for workers in or(&self.workers, self.full, &[1, 2], &[1]) {
                for action in or(&self.actions, self.full, &[PassOff, Add, PassIn, Verify, Remove], &[Add]) {
                    for form in or(&self.forms, self.full, &[Sealed, Clear, Pdm], &[Sealed]) {
                        for flows in or(&self.flows, self.full, &[1000, 65_536, 1_000_000], &[FLOWS]) {
                            let usual = Case { action, form, flows, ..case(action, form, flows) };
                            for isa in or(&self.isa, false, &[], &[usual.isa]) {
                                for odd_every in or(&self.odd, false, &[], &[0]) {
                                    for strays in or(&strays, false, &[], &[None]) {
                                        for boxes in or(&self.boxes, false, &[], &[1]) {
                                            let mix = Mix { odd_every, strays, boxes };
                                            cases.push((frame, usize::from(workers), Case { isa, mix, ..usual }));
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
        cases
    }
}

/// What the claims need, and a little more.
fn of_the_claims() -> Vec<(Frame, usize, Case)> {
    use Action::{Add, PassIn, PassOff, Remove, Verify};
    use OptionForm::{Clear, Pdm, Sealed};
    let small = Frame::Octets(80);
    let sealed = case(Add, Sealed, FLOWS);
    let mixed = |mix: Mix| Case { mix, ..sealed };
    let strays = |strays| mixed(Mix { strays: Some(strays), ..Mix::default() });
    let mut cases = vec![case(PassOff, Clear, FLOWS)];
    cases.extend([1000, FLOWS, 1_000_000].map(|flows| case(Add, Sealed, flows)));
    cases.extend([Clear, Pdm].map(|form| case(Add, form, FLOWS)));
    cases.extend([case(PassIn, Sealed, FLOWS), case(Verify, Sealed, FLOWS)]);
    cases.extend([1000, FLOWS].map(|flows| case(Remove, Sealed, flows)));
    cases.push(case(Remove, Clear, FLOWS));
    // One that this CPU lacks is in the report as not measured.
    cases.extend([Isa::Avx512, Isa::Vaes256, Isa::Aesni].map(|isa| Case { isa, ..sealed }));
    cases.extend([100, 20].map(|odd_every| mixed(Mix { odd_every, ..Mix::default() })));
    for boxes in [2000, 4000] {
        let mix = Mix { boxes, ..Mix::default() };
        cases.extend([mixed(mix), Case { mix, ..case(Remove, Sealed, FLOWS) }]);
    }
    let mut all: Vec<_> = cases.into_iter().map(|case| (small, 1, case)).collect();
    all.push((small, 2, sealed));
    all.push((small, 1, strays(0)));
    all.extend([0, 1, 50].map(|share| (small, 2, strays(share))));
    all.extend([Frame::Imix, Frame::Octets(1500)].map(|frame| (frame, 1, sealed)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::collections::HashSet;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: PipelineArgs,
    }

    fn groups(line: &[&str]) -> Vec<Group> {
        let line = core::iter::once("bench").chain(line.iter().copied());
        Line::try_parse_from(line).expect("arguments").args.groups()
    }

    fn ours(group: &Group) -> Vec<(usize, Case)> {
        let case = |c: &Candidate| match c.program {
            Program::Ours(case) => Some((c.workers, case)),
            _ => None,
        };
        group.1.iter().filter_map(case).collect()
    }

    #[test]
    fn a_chosen_case_is_alone_with_what_it_is_compared_with() {
        let [(frame, candidates)] = &groups(&["--actions", "add", "--flows", "1000"])[..] else {
            unreachable!("one group")
        };
        assert_eq!(*frame, Frame::Octets(80));
        let programs = [
            Program::Testpmd(Forwarding::Io),
            Program::Testpmd(Forwarding::Mac),
            Program::Secgw,
            Program::Ours(case(Action::Add, OptionForm::Sealed, 1000)),
        ];
        assert_eq!(candidates[..], programs.map(|program| Candidate { program, workers: 1 }));
    }

    #[test]
    fn the_whole_matrix_has_each_case_once_and_what_the_claims_need() {
        let groups = groups(&["--full"]);
        assert_eq!(groups.len(), 4, "sizes of frames");
        for group in &groups {
            let labels: HashSet<_> = group.1.iter().map(|c| c.labels(group.0)).collect();
            assert_eq!(labels.len(), group.1.len(), "{:?}", group.0);
            // pass-off, and add, pass-in, verify and remove in three forms, each with 3 numbers of flows; and those of two
            // workers.
            let plain = ours(group).into_iter().filter(|(_, c)| c.mix == Mix::default() && c.isa == Isa::best());
            assert_eq!(plain.count(), (3 + 4 * 9) + (3 + 9), "{:?}", group.0);
        }
        let needed = of_the_claims().into_iter().filter(|(_, workers, case)| is_possible(groups[0].0, *workers, case));
        for (frame, workers, case) in needed {
            let group = groups.iter().find(|g| g.0 == frame).expect("a group");
            assert!(ours(group).contains(&(workers, case)), "{frame}, {workers}, {case:?}");
        }
    }

    #[test]
    fn what_the_claims_need_can_all_be_measured() {
        for (frame, workers, case) in of_the_claims() {
            assert!(is_possible(frame, workers, &case), "{frame}, {workers}, {case:?}");
        }
    }

    #[test]
    fn what_has_no_meaning_is_left_out() {
        for line in [
            &["--strays", "1"][..],
            &["--strays", "0", "--actions", "remove"],
            &["--odd", "20", "--flows", "1000000"],
            &["--boxes", "2000", "--strays", "0"],
            &["--odd", "20", "--frames", "62"],
            &["--workers", "2", "--actions", "verify"],
        ] {
            assert!(groups(line).is_empty(), "{line:?}");
        }
        for (line, count) in [
            (&["--strays", "0,1,50", "--workers", "1,2"][..], 1 + 3),
            (&["--odd", "0,20,100", "--boxes", "1,2000"], 6),
            (&["--isa", "avx512,vaes256,aesni,portable", "--actions", "add,remove"], 8),
            (&["--forms", "encrypted,pdm", "--actions", "pass"], 1),
        ] {
            assert_eq!(groups(line).iter().flat_map(ours).count(), count, "{line:?}");
        }
    }
}
