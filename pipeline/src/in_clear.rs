//! Tests of the forms that need no key: what keys do is nothing to them, and what hosts measure by themselves stays theirs.

use crate::buffer::{PacketBuf, VecBuf};
use crate::counters::Outcome;
use crate::keyring::KeyRing;
use crate::path::Worker;
use crate::policy::Mode;
use crate::testing::{self, SMALL, frame, out};
use protocol::wire::option::{Form, Metrics, Prefix6};
use std::sync::Arc;

const FORMS: [(Mode, Form); 2] = [(Mode::Pdm, Form::Pdm), (Mode::Clear, Form::Clear)];

/// Flows in clear go on with keys, without, and with others: every number and, in one Kri, every PRSEQ once.
#[test]
fn flows_in_clear_go_on_when_keys_come_change_and_expire() {
    for (mode, form) in FORMS {
        let mut side = testing::side(testing::config(vec![testing::policy(mode)]), KeyRing::default(), SMALL, 1);
        let mut worker = Worker::new(Arc::clone(&side.shared), 0);
        let mut seen: Vec<(u16, Option<u16>)> = Vec::new();
        for sealing in [None, Some(5), None, Some(6), Some(5000), None, Some(2)] {
            side.cell.publish(match sealing {
                Some(generation) => testing::ring(true, generation, 1),
                None => KeyRing { sealer: None, ..testing::ring(true, 1, 1) },
            });
            for i in 0..100 {
                // One flow for all of it, and one that begins now.
                for port in [1, 1000 + sealing.unwrap_or(0) as u16] {
                    let mut packet = VecBuf::new(&frame(port, 10));
                    assert_eq!(out(&mut worker, &mut packet, i), Outcome::Added(form), "{sealing:?}, packet {i}");
                    if port == 1 {
                        seen.push(numbers(&packet, form));
                    }
                }
            }
        }
        for pair in seen.windows(2) {
            assert_eq!(pair[1].0, pair[0].0.wrapping_add(1), "PSNTP goes on");
        }
        let prseqs: std::collections::HashSet<_> = seen.iter().map(|s| s.1).collect();
        assert_eq!(prseqs.len(), if form == Form::Clear { seen.len() } else { 1 }, "each PRSEQ once");
    }
}

/// PSNTP, and PRSEQ if the form has one.
fn numbers(packet: &VecBuf, form: Form) -> (u16, Option<u16>) {
    let option = &packet.data()[14 + 40 + form.option_at()..];
    match form {
        Form::Pdm => (Metrics::parse_pdm(option[2..].first_chunk().expect("metrics")).psntp, None),
        _ => {
            let head = Prefix6::parse(option.first_chunk().expect("a head")).expect("an option");
            (Metrics::parse(option[6..].first_chunk().expect("metrics")).psntp, Some(head.prseq))
        }
    }
}
