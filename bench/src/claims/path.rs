//! Claims about the whole packet path.

use super::{Bound, Claim, Found};
use crate::ports::isa::Isa;
use crate::report::{Report, Row};

/// A row of `bench pipeline`, frames of the 64-octet class. What is not said is as usual.
#[derive(Clone, Copy)]
struct Of {
    workers: &'static str,
    program: &'static str,
    action: &'static str,
    form: &'static str,
    flows: &'static str,
    /// `None`: the best one that was measured.
    isa: Option<Isa>,
    odd: &'static str,
    strays: &'static str,
    boxes: &'static str,
}

const ADD: Of = Of {
    workers: "1",
    program: "ours",
    action: "add",
    form: "sealed",
    flows: "65536",
    isa: None,
    odd: "-",
    strays: "-",
    boxes: "1",
};
const REMOVE: Of = Of { action: "remove", ..ADD };
const FEW: Of = Of { flows: "1000", ..ADD };
const PASS: Of = Of { action: "pass-off", form: "-", ..ADD };
const PEER: Of = Of { form: "-", boxes: "-", ..ADD };
const IO: Of = Of { program: "testpmd", action: "io", ..PEER };
const MAC: Of = Of { program: "testpmd", action: "mac", ..PEER };
const ESP: Of = Of { program: "ipsec-secgw", action: "esp", ..PEER };
/// Rewritten at receipt, like all rows with a share of strays.
const REWRITTEN: Of = Of { strays: "0 %", ..ADD };

pub(super) fn claims() -> Vec<Claim> {
    let isa = |isa| Of { isa: Some(isa), ..ADD };
    let boxes = |boxes, of| Of { boxes, ..of };
    let least = |name: &str, of: Of, over: Of, bound| {
        Claim::new(format!("pipeline: {name}"), Bound::AtLeast(bound), move |r| Ok(of.rate(r)? / over.rate(r)?))
    };
    let odd = Of { odd: "1 in 100", ..ADD };
    vec![
        least("sealed add, of testpmd mac", ADD, MAC, 0.42),
        least("sealed add, 1000 flows, of testpmd mac", FEW, MAC, 0.48),
        least("sealed add, times ipsec-secgw", ADD, ESP, 3.0),
        least("sealed remove, of testpmd mac", REMOVE, MAC, 0.38),
        least("sealed add, 1000000 flows, of 1000 flows", Of { flows: "1000000", ..ADD }, FEW, 0.55),
        least("no policy, of testpmd io", PASS, IO, 0.75),
        least("sealed add, VAES-256, of AVX-512", isa(Isa::Vaes256), isa(Isa::Avx512), 0.7),
        least("sealed add, AES-NI, of AVX-512", isa(Isa::Aesni), isa(Isa::Avx512), 0.5),
        least("sealed add, two workers, times one", Of { workers: "2", ..ADD }, ADD, 1.85),
        least(
            "sealed add, two workers, 1 per cent handed over, times one",
            Of { workers: "2", strays: "1 %", ..ADD },
            REWRITTEN,
            1.8,
        ),
        Claim::new("pipeline: sealed add, 1 packet in 100 odd, time of all plain", Bound::AtMost(1.08), move |r| {
            Ok(ADD.rate(r)? / odd.rate(r)?)
        }),
        least("sealed add, of clear add", ADD, Of { form: "clear", ..ADD }, 0.85),
        least("sealed remove, of clear remove", REMOVE, Of { form: "clear", ..REMOVE }, 0.85),
        least("sealed add, 2000 boxes on the other side, of one", boxes("2000", ADD), ADD, 0.9),
        least("sealed add, 4000 boxes on the other side, of one", boxes("4000", ADD), ADD, 0.9),
        least("sealed remove, 2000 boxes on the other side, of one", boxes("2000", REMOVE), REMOVE, 0.9),
        least("sealed remove, 4000 boxes on the other side, of one", boxes("4000", REMOVE), REMOVE, 0.9),
    ]
}

impl Of {
    fn labels(self, isa: &'static str) -> [(&'static str, &'static str); 10] {
        [
            ("frame", "80"),
            ("workers", self.workers),
            ("program", self.program),
            ("action", self.action),
            ("form", self.form),
            ("flows", self.flows),
            ("isa", isa),
            ("odd", self.odd),
            ("strays", self.strays),
            ("boxes", self.boxes),
        ]
    }

    /// Names of the instruction sets to look for: those that are meant, the best first.
    fn names(self) -> Vec<&'static str> {
        match self.isa {
            Some(isa) => vec![isa.name()],
            None if self.program == "ours" => Isa::ALL.map(Isa::name).to_vec(),
            None => vec!["-"],
        }
    }

    /// Packets per second; or why there is no such figure.
    fn rate(self, report: &Report) -> Found {
        let found = self.names().into_iter().find_map(|isa| report.find(&self.labels(isa)));
        found.map(|row: &Row| row.figure.median).ok_or_else(|| self.reason(report))
    }

    fn reason(self, report: &Report) -> String {
        let all = self.names().into_iter().map(|isa| self.labels(isa));
        for labels in all.clone() {
            let same = |absent: &&crate::report::Absent| {
                labels.iter().all(|(k, v)| absent.labels.iter().any(|(name, label)| name == k && label == v))
            };
            if let Some(absent) = report.not_measured.iter().find(same) {
                return absent.reason.clone();
            }
        }
        let values: Vec<_> = all.take(1).flatten().map(|(k, v)| format!("{k} {v}")).collect();
        format!("there is no figure for {}", values.join(", "))
    }
}
