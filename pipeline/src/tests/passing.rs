//! What is not measured passes as it came, whether it was sifted out, looked up in vain, or never looked at.

use crate::observe::counters::Outcome;
use crate::observe::reasons::Reason;
use crate::packet::buffer::{PacketBuf, VecBuf};
use crate::packet::parse;
use crate::state::policies::{Mode, Policy, ProtocolMatch};
use crate::state::rules::{Oversize, PathConfig};
use crate::state::worker::Worker;
use crate::testing::{self, A, B, SMALL, back, frame, frame_between, out};
use protocol::wire::option::Form;

fn worker(policies: Vec<Policy>) -> Worker {
    let config = PathConfig { oversize: Oversize::PacketTooBig, mss_clamp: true, ..testing::config(policies) };
    Worker::new(testing::side(config, testing::ring(true, 1, 1), SMALL, 1).shared, 0)
}

/// Plain ones of several flows, one with an option, and others that are parsed the long way, or not at all.
fn frames(sealed: &[u8]) -> Vec<Vec<u8>> {
    let mut tagged = frame(1, 30);
    tagged.splice(12..12, [0x88, 0xA8, 0, 7]);
    let mut syn = frame(2, 30);
    (syn[20], syn[66], syn[67]) = (6, 0x50, 2);
    let mut tcp = syn.clone();
    tcp[67] = 0x10;
    let mut fragment = frame(1, 30);
    fragment[20] = 44;
    let mut echo = frame(1, 30);
    echo[20] = 58;
    let mut error = frame(1, 80);
    (error[20], error[54]) = (58, 2);
    let mut ipv4 = frame(1, 30);
    ipv4[13] = 0;
    let mut short = frame(1, 30);
    short.truncate(60);
    let others = [tagged, syn, tcp, fragment, echo, error, ipv4, short, vec![], sealed.to_vec()];
    (0..5).map(|i| frame(1000 + i, 20)).chain(others).chain([frame_between(B, A, 443, 7, 9)]).collect()
}

/// One packet that was sealed by a box whose policy names all.
fn sealed() -> Vec<u8> {
    let mut packet = VecBuf::new(&frame(1, 30));
    let mut box_b = testing::worker(
        testing::side(testing::config(vec![testing::policy(Mode::Encrypted)]), testing::ring(true, 1, 1), SMALL, 1)
            .shared,
        0,
    );
    assert_eq!(out(&mut box_b, &mut packet, 5), Outcome::Added(Form::Encrypted));
    packet.data().to_vec()
}

#[test]
fn without_a_policy_nothing_is_looked_at() {
    for policies in [vec![], vec![Policy::everything(Mode::Off); 2]] {
        let mut worker = worker(policies);
        for frame in frames(&sealed()) {
            for direction in [out::<VecBuf>, back::<VecBuf>] {
                let mut packet = VecBuf::new(&frame);
                assert_eq!(direction(&mut worker, &mut packet, 5), Outcome::Passed(Reason::Off), "{packet:?}");
                assert_eq!(packet.data(), &frame[..]);
            }
        }
        assert_eq!(worker.shared.table.used(), 0);
    }
}

/// Policies that name nothing of these frames, told apart in every way.
fn elsewhere() -> Vec<Policy> {
    let all = || Policy::everything(Mode::Encrypted);
    let far = testing::prefix([0xFD; 16]);
    vec![
        Policy { inside: vec![far], ..all() },
        Policy { outside: vec![far], ..all() },
        Policy {
            ports: vec![(2, 3), (500, 900)],
            inside: vec![testing::prefix(A)],
            protocol: ProtocolMatch::Number(132),
            ..all()
        },
        Policy { protocol: ProtocolMatch::Number(50), ..all() },
        // More of them than the sieve tells apart.
        Policy { inside: (0..20).map(|i| testing::prefix([0xF0 + i / 2; 16])).collect(), ..all() },
    ]
}

#[test]
fn what_no_policy_names_has_the_reason_it_has_without_a_sieve() {
    for policies in elsewhere().into_iter().map(|policy| vec![policy]).chain([elsewhere()]) {
        let mut worker = worker(policies);
        // Alone and in turn, sifted and not.
        for (frame, sifting) in frames(&sealed()).into_iter().flat_map(|frame| [(frame.clone(), false), (frame, true)])
        {
            worker.sifting = [sifting; 2];
            let mut packet = VecBuf::new(&frame);
            let expected = Outcome::Passed(parse::parse(&packet).map_or_else(|reason| reason, |_| Reason::Off));
            assert_eq!(out(&mut worker, &mut packet, 5), expected, "{packet:?}");
            assert_eq!(back(&mut worker, &mut packet, 5), expected, "{packet:?}");
            assert_eq!(packet.data(), &frame[..]);
        }
        assert_eq!(worker.shared.table.used(), 0);
    }
}

#[test]
fn a_burst_of_both_keeps_its_order() {
    // Every other port is measured.
    let ports = (1000..1032).step_by(2).map(|port| (port, port)).take(4).collect();
    let mut worker = worker(vec![Policy { ports, ..Policy::everything(Mode::Encrypted) }]);
    for sifted in [false, true, true] {
        assert_eq!(worker.sifting, [sifted, false]);
        let mut packets: Vec<_> = (1000..1012).map(|port| VecBuf::new(&frame(port, 40))).collect();
        let mut outcomes = arrayvec::ArrayVec::new();
        worker.outbound(&mut packets, &mut outcomes, &|| 5);
        let measured = |i: usize| i.is_multiple_of(2) && i < 8;
        let expected = |i| if measured(i) { Outcome::Added(Form::Encrypted) } else { Outcome::Passed(Reason::Off) };
        assert_eq!(outcomes.to_vec(), (0..12).map(expected).collect::<Vec<_>>());
        for (i, packet) in packets.iter().enumerate() {
            assert_eq!(packet.data().len(), frame(1, 40).len() + if measured(i) { 40 } else { 0 });
        }
    }
    assert_eq!(worker.shared.table.used(), 4);
}

/// Both directions in whole bursts: sifted from the second on, and no longer when what comes is measured.
#[test]
fn a_burst_that_no_policy_names_is_told_from_one_that_is_measured() {
    let mut worker = worker(elsewhere().split_off(2));
    let mut outcomes = arrayvec::ArrayVec::new();
    for _ in 0..3 {
        let mut packets = vec![VecBuf::new(&frame(1, 30)); 32];
        worker.outbound(&mut packets, &mut outcomes, &|| 5);
        assert_eq!(outcomes.to_vec(), vec![Outcome::Passed(Reason::Off); 32]);
        let mut packets = vec![VecBuf::new(&frame_between(B, A, 443, 1, 30)); 31];
        packets.push(VecBuf::new(&sealed()));
        worker.inbound(&mut packets, &mut outcomes, &|| 5);
        assert_eq!(outcomes.to_vec(), vec![Outcome::Passed(Reason::Off); 32]);
        assert_eq!(worker.sifting, [true, true]);
    }
    worker.shared.replace(testing::config(vec![Policy { ports: vec![(1, 1)], ..Policy::everything(Mode::Encrypted) }]));
    for _ in 0..2 {
        let mut packets = vec![VecBuf::new(&frame(1, 30)); 3];
        worker.outbound(&mut packets, &mut outcomes, &|| 5);
        assert_eq!(outcomes.to_vec(), vec![Outcome::Added(Form::Encrypted); 3]);
        assert_eq!(worker.sifting, [false, true]);
    }
}

#[test]
fn a_flow_whose_policy_is_gone_passes() {
    let mut worker = worker(vec![Policy::everything(Mode::Encrypted)]);
    assert_eq!(out(&mut worker, &mut VecBuf::new(&frame(1, 30)), 5), Outcome::Added(Form::Encrypted));
    for policies in [elsewhere(), vec![], elsewhere().split_off(4)] {
        worker.shared.replace(testing::config(policies));
        assert_eq!(out(&mut worker, &mut VecBuf::new(&frame(1, 30)), 5), Outcome::Passed(Reason::Off));
        assert_eq!(
            back(&mut worker, &mut VecBuf::new(&frame_between(B, A, 443, 1, 30)), 5),
            Outcome::Passed(Reason::Off)
        );
    }
    worker.shared.replace(testing::config(vec![Policy::everything(Mode::Encrypted)]));
    assert_eq!(out(&mut worker, &mut VecBuf::new(&frame(1, 30)), 5), Outcome::Added(Form::Encrypted));
    assert_eq!(worker.shared.table.used(), 1);
}
