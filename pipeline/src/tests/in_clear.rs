//! Tests of the forms that need no key: what keys do is nothing to them, and what hosts measure by themselves stays theirs.

use crate::observe::counters::Outcome;
use crate::observe::reasons::Reason;
use crate::packet::buffer::{PacketBuf, VecBuf};
use crate::state::keyring::KeyRing;
use crate::state::policies::Mode;
use crate::state::worker::Worker;
use crate::testing::{self, A, B, SMALL, back, frame, out};
use proptest::prelude::*;
use protocol::wire::dest_opts::insert_into_vec;
use protocol::wire::option::{self, Form, Metrics, Prefix6};
use std::sync::Arc;

const FORMS: [(Mode, Form); 2] = [(Mode::Pdm, Form::Pdm), (Mode::Clear, Form::Clear)];

/// Flows in clear go on with keys, without, and with others: every number and, in one Kri, every PRSEQ once.
#[test]
fn flows_in_clear_go_on_when_keys_come_change_and_expire() {
    for (mode, form) in FORMS {
        let side = testing::side(testing::config(vec![testing::policy(mode)]), KeyRing::default(), SMALL, 1);
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

/// A packet into which a host has put an option of its own, as a box would, or otherwise.
fn by_host(src: [u8; 16], dst: [u8; 16], ports: (u16, u16), form: Form, as_a_box: bool) -> Vec<u8> {
    let mut whole = testing::frame_between(src, dst, ports.0, ports.1, 10);
    let mut packet = whole.split_off(14);
    let metrics = Metrics { psntp: 7, ..Metrics::default() };
    let option = match form {
        Form::Pdm => option::emit_pdm(&metrics).to_vec(),
        Form::Clear => option::emit_clear(&Prefix6 { prseq: 1, ..Prefix6::default() }, &metrics).to_vec(),
        Form::Encrypted => [&[0x0F, 34, 0x20, 0, 0, 2][..], &[0xAB; 30]].concat(),
    };
    insert_into_vec(&mut packet, &option, form).expect("room");
    if !as_a_box {
        // The padding stands on the option's other side.
        let header = 40..40 + form.header_len();
        let (next, units) = (packet[40], packet[41]);
        let padding = form.header_len() - 2 - option.len();
        let before = if form == Form::Pdm { vec![0; padding] } else { vec![] };
        let behind = if form == Form::Pdm { vec![] } else { vec![0; padding] };
        packet.splice(header, [&[next, units][..], &before, &option, &behind].concat());
    }
    whole.extend(packet);
    whole
}

fn two(mode: Mode) -> (Worker, Worker) {
    let of = |is_a| testing::side(testing::config(vec![testing::policy(mode)]), testing::ring(is_a, 1, 1), SMALL, 1);
    (Worker::new(of(true).shared, 0), Worker::new(of(false).shared, 0))
}

const LEFT: Outcome = Outcome::Passed(Reason::HostsOwn);

/// An option that stands as no box places it is the host's, and reaches the other host.
#[test]
fn an_option_that_no_box_has_placed_is_left() {
    for (mode, form) in FORMS {
        let (mut a, mut b) = two(mode);
        let original = by_host(A, B, (1, 2), form, false);
        let mut packet = VecBuf::new(&original);
        assert_eq!(out(&mut a, &mut packet, 5), Outcome::Passed(Reason::AlreadyMeasured));
        assert_eq!(back(&mut b, &mut packet, 5), LEFT, "{form:?}");
        assert_eq!(packet.data(), &original[..]);
    }
}

/// Two hosts that measure by themselves: from the first packet on that a host has sent, what comes for it is left.
#[test]
fn what_hosts_measure_between_themselves_is_left() {
    for (mode, form) in [(Mode::Pdm, Form::Pdm), (Mode::Clear, Form::Clear), (Mode::Encrypted, Form::Encrypted)] {
        let (mut a, mut b) = two(mode);
        let request = by_host(A, B, (1000, 443), form, true);
        let answer = by_host(B, A, (443, 1000), form, true);
        // The server's box cannot know yet whose it is; the client's knows from here on.
        let mut packet = VecBuf::new(&request);
        assert_eq!(out(&mut a, &mut packet, 5), Outcome::Passed(Reason::AlreadyMeasured));
        assert_ne!(back(&mut b, &mut packet, 5), LEFT);
        for _ in 0..3 {
            let mut packet = VecBuf::new(&answer);
            assert_eq!(out(&mut b, &mut packet, 5), Outcome::Passed(Reason::AlreadyMeasured));
            assert_eq!(back(&mut a, &mut packet, 5), LEFT, "{form:?}");
            assert_eq!(packet.data(), &answer[..]);
            let mut packet = VecBuf::new(&request);
            assert_eq!(out(&mut a, &mut packet, 5), Outcome::Passed(Reason::AlreadyMeasured));
            assert_eq!(back(&mut b, &mut packet, 5), LEFT, "{form:?}");
            assert_eq!(packet.data(), &request[..]);
        }
        // Another flow of the same hosts is measured by the boxes.
        let mut packet = VecBuf::new(&frame(1001, 10));
        assert_eq!(out(&mut a, &mut packet, 5), Outcome::Added(form));
        assert_eq!(back(&mut b, &mut packet, 5), Outcome::Removed(form));
    }
}

/// A record of the flow table is all that it takes; without one the packet passes as ever.
#[test]
fn a_full_table_leaves_packets_of_hosts_that_measure_as_they_are() {
    let tiny = crate::flow::table::TableSize { capacity: 8, tombstones: 8 };
    let side = testing::side(testing::config(vec![testing::policy(Mode::Pdm)]), testing::ring(true, 1, 1), tiny, 1);
    let mut a = Worker::new(side.shared, 0);
    for port in 0..50 {
        let original = by_host(A, B, (port, 443), Form::Pdm, true);
        let mut packet = VecBuf::new(&original);
        assert_eq!(out(&mut a, &mut packet, 5), Outcome::Passed(Reason::AlreadyMeasured));
        assert_eq!(packet.data(), &original[..]);
    }
    assert_eq!(a.counters.flows_inserted.get(), 8);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// What one box counts and the other adds up, whoever put the options in: both ways.
    #[test]
    fn the_counts_of_two_boxes_add_up(
        clear: bool,
        packets in prop::collection::vec((any::<bool>(), 0u16..6, 0u8..4, any::<bool>()), 1..200),
    ) {
        let (mode, form) = FORMS[usize::from(clear)];
        let (mut a, mut b) = two(mode);
        let mut counts = [[0u64; 5]; 2];
        for (from_a, port, what, as_a_box) in packets {
            let (src, dst, ports) = if from_a { (A, B, (1000 + port, 443)) } else { (B, A, (443, 1000 + port)) };
            let original = match what {
                0 | 1 => testing::frame_between(src, dst, ports.0, ports.1, 10),
                2 => by_host(src, dst, ports, form, as_a_box),
                _ => by_host(src, dst, ports, FORMS[usize::from(!clear)].1, as_a_box),
            };
            let (sender, receiver) = if from_a { (&mut a, &mut b) } else { (&mut b, &mut a) };
            let mut packet = VecBuf::new(&original);
            let sent = out(sender, &mut packet, 5);
            let received = back(receiver, &mut packet, 5);
            let sum = &mut counts[usize::from(from_a)];
            sum[0] += u64::from(sent == Outcome::Added(form) || sent == Outcome::Passed(Reason::AlreadyMeasured));
            sum[1] += u64::from(received == Outcome::Removed(form) || received == LEFT);
            sum[2] += u64::from(sent == Outcome::Passed(Reason::OtherForm));
            sum[3] += u64::from(received == Outcome::Passed(Reason::OtherForm));
            // What a box has put in is never left to a host that does not measure, and else the packet arrives as it was.
            if received == Outcome::Removed(form) && sent == Outcome::Added(form) || what == 3 {
                prop_assert_eq!(packet.data(), &original[..]);
            }
            if received == LEFT && sent == Outcome::Passed(Reason::AlreadyMeasured) {
                prop_assert_eq!(packet.data(), &original[..]);
            }
            sum[4] += 1;
        }
        for sum in counts {
            prop_assert_eq!((sum[0], sum[2]), (sum[1], sum[3]));
            prop_assert_eq!(sum[0] + sum[2], sum[4]);
        }
    }
}
