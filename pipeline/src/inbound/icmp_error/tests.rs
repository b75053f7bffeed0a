//! Errors that quote packets of box A's flows, as routers and hosts beyond send them.

use super::{Finding, is_one};
use crate::observe::counters::Outcome;
use crate::observe::reasons::Reason;
use crate::packet::buffer::{PacketBuf, VecBuf};
use crate::packet::parse;
use crate::state::path_mtu::Known;
use crate::state::policies::{InboundAction, Mode, OutboundAction, Policy};
use crate::state::rules::{Oversize, PathConfig};
use crate::state::worker::Worker;
use crate::testing::{self, A, B, SMALL, Side};
use arrayvec::ArrayVec;
use proptest::prelude::*;
use protocol::sender::PACKETS_PER_KRI;
use protocol::wire::ext_chain::walk;
use protocol::wire::ipv6;
use protocol::wire::option::Form;
use std::sync::Arc;

mod forged;
mod words;

use forged::changes_nothing;

const ROUTER: [u8; 16] = [0x20, 1, 0xD, 0xB8, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const FORMS: [(Mode, Form); 3] =
    [(Mode::Pdm, Form::Pdm), (Mode::Clear, Form::Clear), (Mode::Encrypted, Form::Encrypted)];
/// A Destination Options header of the host's own, with an option in it that says nothing.
const HOSTS_OWN: [u8; 8] = [0, 0, 0x1E, 4, 1, 2, 3, 4];
const SECOND: u64 = 1_000_000_000;

fn config(mode: Mode) -> PathConfig {
    testing::config(vec![testing::policy(mode)])
}

fn box_a(config: PathConfig) -> Side {
    testing::side(config, testing::ring(true, 1, 1), SMALL, 1)
}

fn box_b(config: PathConfig) -> Side {
    testing::side(config, testing::ring(false, 1, 1), SMALL, 1)
}

fn out(worker: &mut Worker, frame: &[u8], now: u64) -> (Outcome, Vec<u8>) {
    let (mut packet, mut outcomes) = ([VecBuf::new(frame)], ArrayVec::new());
    worker.outbound(&mut packet, &mut outcomes, &|| now);
    (outcomes[0], packet[0].data().to_vec())
}

fn back(worker: &mut Worker, frame: &[u8], now: u64) -> (Outcome, Vec<u8>) {
    let (mut packet, mut outcomes) = ([VecBuf::new(frame)], ArrayVec::new());
    worker.inbound(&mut packet, &mut outcomes, &|| now);
    (outcomes[0], packet[0].data().to_vec())
}

fn found(worker: &Worker, finding: Finding) -> u64 {
    worker.counters.quotations[finding as usize].get()
}

fn ethernet(tags: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8];
    (0..tags).for_each(|i| frame.extend([[0x88, 0xA8], [0x81, 0]][i % 2].iter().chain(&[0, 5])));
    frame.extend([0x86, 0xDD]);
    frame
}

fn ip(src: [u8; 16], dst: [u8; 16], next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    packet.extend([src, dst].concat());
    packet.extend(payload);
    packet
}

/// A packet of the host behind box A, `len` octets long.
fn of_host(next: u8, own_header: bool, len: usize) -> Vec<u8> {
    let mut payload = Vec::new();
    if own_header {
        payload.extend(HOSTS_OWN);
        payload[0] = next;
    }
    let upper: Vec<u8> = (0..len - 40 - payload.len()).map(|i| (i * 7 + 1) as u8).collect();
    let begin = payload.len();
    payload.extend(upper);
    match next {
        ipv6::TCP => {
            payload[begin + 12] = 0x50;
            payload[begin + 13] = 0x10;
        }
        ipv6::ICMPV6 => payload[begin] = 128,
        _ => {}
    }
    ip(A, B, if own_header { ipv6::DEST_OPTS } else { next }, &payload)
}

/// The sum over an ICMPv6 message and its pseudo-header, octet by octet: 0xFFFF says that the checksum is right.
fn sum(packet: &[u8]) -> u16 {
    let chain = walk(packet, packet.len()).expect("a packet");
    let message = &packet[chain.upper_offset..chain.payload_end];
    let mut all = [&packet[8..40], &(message.len() as u32).to_be_bytes(), &[0, 0, 0, 58], message].concat();
    all.resize(all.len().next_multiple_of(2), 0);
    let mut sum = 0u32;
    for (i, &octet) in all.iter().enumerate() {
        sum += if i % 2 == 0 { u32::from(octet) << 8 } else { u32::from(octet) };
        if sum > 0xFFFF {
            sum -= 0xFFFF;
        }
    }
    sum as u16
}

/// An error with a checksum, as a frame.
fn error_from(src: [u8; 16], tags: usize, [kind, code]: [u8; 2], word: u32, quoted: &[u8]) -> Vec<u8> {
    let mut packet = ip(src, A, 58, &[&[kind, code, 0, 0][..], &word.to_be_bytes(), quoted].concat());
    let check = !sum(&packet);
    packet[42..44].copy_from_slice(&check.to_be_bytes());
    assert_eq!(sum(&packet), 0xFFFF);
    [ethernet(tags), packet].concat()
}

fn error(types: [u8; 2], word: u32, quoted: &[u8]) -> Vec<u8> {
    error_from(ROUTER, 0, types, word, quoted)
}

/// A Packet Too Big as a router says it: the whole of it takes no more than 1,280 octets.
fn too_big(mtu: u32, packet: &[u8]) -> Vec<u8> {
    error([2, 0], mtu, &packet[..packet.len().min(1232)])
}

fn mtu_of(frame: &[u8]) -> u32 {
    u32::from_be_bytes(frame[58..62].try_into().expect("four octets"))
}

/// Box A's worker, and a packet of the host's as it was and as it left the box.
fn sent(mode: Mode, next: u8, own_header: bool, len: usize) -> (Side, Worker, Vec<u8>, Vec<u8>) {
    let side = box_a(config(mode));
    let mut worker = Worker::new(Arc::clone(&side.shared), 0);
    let packet = of_host(next, own_header, len);
    let (outcome, frame) = out(&mut worker, &[ethernet(0), packet.clone()].concat(), 5);
    assert!(matches!(outcome, Outcome::Added(_)), "{outcome:?}");
    (side, worker, packet, frame[14..].to_vec())
}

/// The whole of it: every form, in a header of its own and appended, every upper layer, every type of error, tags, and
/// quotations cut off anywhere.
#[test]
fn the_host_hears_of_the_packet_that_it_sent() {
    for (mode, form) in FORMS {
        for own_header in [false, true] {
            for (next, ports) in [(ipv6::TCP, 4), (ipv6::UDP, 4), (ipv6::ICMPV6, 6), (ipv6::ESP, 0)] {
                if next == ipv6::ESP && form != Form::Encrypted {
                    continue;
                }
                let (_side, mut worker, packet, measured) = sent(mode, next, own_header, 1444);
                let chain = walk(&measured, measured.len()).expect("a packet");
                let enough = chain.upper_offset + ports;
                let mut now = SECOND;
                for cut in 0..=1232 {
                    let ([kind, code], word) = [([1, 4], 0), ([2, 0], 1400), ([3, 0], 0), ([4, 0], 7)][cut % 4];
                    let sent = error_from(ROUTER, cut % 3, [kind, code], word, &measured[..cut]);
                    now += SECOND;
                    let mended = found(&worker, Finding::Mended);
                    let (outcome, frame) = back(&mut worker, &sent, now);
                    assert_eq!(outcome, Outcome::Passed(Reason::NoOption), "{form:?} {next} cut at {cut}");
                    if cut < enough {
                        assert_eq!(frame, sent, "{form:?} {next} cut at {cut}: too little to know");
                        assert_eq!(found(&worker, Finding::Mended), mended);
                        continue;
                    }
                    assert_eq!(found(&worker, Finding::Mended), mended + 1, "{form:?} {next} cut at {cut}");
                    let l3 = 14 + cut % 3 * 4;
                    let got = &frame[l3..];
                    assert_eq!(frame[..l3], sent[..l3], "Ethernet and tags");
                    assert_eq!(got.len(), 48 + cut - form.header_len());
                    assert_eq!((ipv6::payload_len(got) + 40, sum(got)), (got.len(), 0xFFFF));
                    assert_eq!(got[48..], packet[..cut - form.header_len()], "the host's packet, as far as it goes");
                    let expected = if kind == 2 { 1400 - form.header_len() as u32 } else { word };
                    assert_eq!(mtu_of(&frame[l3 - 14..]), expected);
                }
                let few = Finding::ALL.iter().map(|&f| (f, found(&worker, f))).filter(|&(_, n)| n > 0);
                let few: Vec<_> = few.collect();
                assert_eq!(few, [(Finding::Mended, 1233 - enough as u64), (Finding::TooShort, enough as u64)]);
            }
        }
    }
}

#[test]
fn what_is_known_of_a_path_bounds_insertion_for_every_flow_and_ages() {
    for (mode, form) in FORMS {
        let (side, mut worker, packet, measured) = sent(mode, ipv6::UDP, false, 1400);
        let frame = |len, port: u8| {
            let mut packet = of_host(ipv6::UDP, false, len);
            packet[41] = port;
            [ethernet(0), packet].concat()
        };
        // Another flow, which is known before.
        assert!(matches!(out(&mut worker, &frame(1400, 77), 6).0, Outcome::Added(_)));
        let (_, heard) = back(&mut worker, &too_big(1400, &measured), 7);
        assert_eq!(mtu_of(&heard), 1400 - form.header_len() as u32);
        assert_eq!(side.shared.path_mtus.known(&B, 7), Some(Known::Mtu(1400)));
        let fits = 1400 - form.header_len();
        for port in [packet[41], 77, 78] {
            for now in [8, 9] {
                assert_eq!(out(&mut worker, &frame(fits, port), now).0, Outcome::Added(form), "{port}");
                let (outcome, same) = out(&mut worker, &frame(fits + 1, port), now);
                assert_eq!(outcome, Outcome::Passed(Reason::PathMtu), "{port}");
                assert_eq!(same, frame(fits + 1, port));
            }
        }
        let mut elsewhere = frame(1400, 1);
        elsewhere[14 + 39] = 99;
        assert_eq!(out(&mut worker, &elsewhere, 10).0, Outcome::Added(form), "another destination");
        let later = 700 * SECOND;
        side.shared.path_mtus.expire(later);
        assert_eq!(out(&mut worker, &frame(1400, 77), later).0, Outcome::Added(form), "it is tried again in time");
    }
}

#[test]
fn hosts_are_told_no_less_than_1280_and_packets_go_without_where_that_leaves_no_room() {
    for (mtu, told, room) in [(1320, 1280, true), (1319, 1280, false), (1280, 1280, false)] {
        let (_side, mut worker, _, measured) = sent(Mode::Encrypted, ipv6::UDP, false, 1300);
        let (_, heard) = back(&mut worker, &too_big(mtu, &measured), 7);
        assert_eq!(mtu_of(&heard), told);
        for len in [1280, 100] {
            let frame = [ethernet(0), of_host(ipv6::UDP, false, len)].concat();
            let expected = if room { Outcome::Added(Form::Encrypted) } else { Outcome::Passed(Reason::PathMtu) };
            assert_eq!(out(&mut worker, &frame, 8).0, expected, "MTU {mtu}, {len} octets");
        }
    }
}

/// TCP both ways: a SYN, and the one that answers it.
#[test]
fn segments_are_kept_small_enough_for_the_path_both_ways() {
    for (mtu, mss) in [(1400, 1300), (1300, 1220)] {
        let path = PathConfig { mss_clamp: true, outside_mtu: 1500, ..config(Mode::Encrypted) };
        let mut worker = Worker::new(box_a(path).shared, 0);
        let (outcome, frame) = out(&mut worker, &[ethernet(0), of_host(ipv6::UDP, false, 1460)].concat(), 5);
        assert_eq!(outcome, Outcome::Added(Form::Encrypted));
        let syn = |src, dst| {
            let tcp = [0, 80, 0xC0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0x60, 2, 0xFF, 0xFF, 0, 0, 0, 0, 2, 4, 5, 0xB4];
            [ethernet(0), ip(src, dst, ipv6::TCP, &tcp)].concat()
        };
        let mss_of = |frame: &[u8]| u16::from_be_bytes(frame[frame.len() - 2..].try_into().expect("two octets"));
        assert_eq!(mss_of(&out(&mut worker, &syn(A, B), 6).1), 1400);
        assert_eq!(mss_of(&back(&mut worker, &syn(B, A), 6).1), 1400);
        back(&mut worker, &too_big(mtu, &frame[14..]), 7);
        assert_eq!(mss_of(&out(&mut worker, &syn(A, B), 8).1), mss);
        assert_eq!(mss_of(&back(&mut worker, &syn(B, A), 8).1), mss);
        let other = [0x40; 16];
        assert_eq!(mss_of(&back(&mut worker, &syn(other, A), 8).1), 1400);
    }
}

#[test]
fn the_boxs_own_packet_too_big_knows_the_path() {
    let path = PathConfig { oversize: Oversize::PacketTooBig, outside_mtu: 1500, ..config(Mode::Encrypted) };
    let mut worker = Worker::new(box_a(path).shared, 0);
    let long = [ethernet(0), of_host(ipv6::UDP, false, 1440)].concat();
    let (_, frame) = out(&mut worker, &long, 5);
    back(&mut worker, &too_big(1400, &frame[14..]), 6);
    let (outcome, answer) = out(&mut worker, &long, 7);
    assert_eq!((outcome, mtu_of(&answer)), (Outcome::TooBig, 1360));
    back(&mut worker, &too_big(1300, &frame[14..]), 8);
    assert_eq!(out(&mut worker, &long, 9), (Outcome::Passed(Reason::PathMtu), long), "no host is told less than 1280");
}

#[test]
fn errors_are_known_again_over_rotations_and_only_late_ones() {
    for mode in [Mode::Encrypted, Mode::Clear] {
        let side = box_a(config(mode));
        let mut worker = Worker::new(Arc::clone(&side.shared), 0);
        let frame = [ethernet(0), of_host(ipv6::UDP, false, 1444)].concat();
        let mut kept = Vec::new();
        let words = parse::parse(&VecBuf::new(&frame)).expect("a packet").chain.five_tuple.words();
        for n in 0..=2 * PACKETS_PER_KRI + 10 {
            // Only some are of interest; of the others a number is taken, which is faster.
            if [0, 1, PACKETS_PER_KRI + 20, 2 * PACKETS_PER_KRI - 1, 2 * PACKETS_PER_KRI + 10].contains(&n) {
                kept.push(out(&mut worker, &frame, 5).1);
            } else {
                let flow = side.shared.table.find(side.shared.table.hash(&words), &words).expect("the flow");
                flow.take((mode == Mode::Encrypted).then_some(1)).expect("a number");
            }
        }
        let changed: Vec<_> = kept
            .iter()
            .map(|sent| {
                let error = too_big(1400, &sent[14..]);
                back(&mut worker, &error, SECOND).1 != error
            })
            .collect();
        assert_eq!(changed, [false, false, true, true, true], "{mode:?}: what was sent long ago proves nothing");
    }
}

/// From behind box B, which measures the errors of its hosts: the option of the error itself is dealt with as any other,
/// then its quotation.
#[test]
fn an_error_may_carry_an_option_itself() {
    for inbound in [InboundAction::Remove, InboundAction::Verify] {
        for (mode, form) in FORMS {
            let rule = Policy { inbound, ..testing::policy(mode) };
            let a = box_a(testing::config(vec![rule]));
            let (mut a, mut b) = (Worker::new(a.shared, 0), Worker::new(box_b(config(mode)).shared, 0));
            let packet = of_host(ipv6::UDP, false, 500);
            let (_, measured) = out(&mut a, &[ethernet(0), packet.clone()].concat(), 5);
            let plain = error_from(B, 0, [1, 4], 0, &measured[14..]);
            let (outcome, crossing) = out(&mut b, &plain, 6);
            assert_eq!(outcome, Outcome::Added(form));
            let (outcome, heard) = back(&mut a, &crossing, 7);
            let (expected, left) = match inbound {
                InboundAction::Verify => (Outcome::Verified(form), form.header_len()),
                _ => (Outcome::Removed(form), 0),
            };
            assert_eq!(outcome, expected);
            assert_eq!(heard[14 + 48 + left..], packet[..]);
            assert_eq!((sum(&heard[14..]), found(&a, Finding::Mended)), (0xFFFF, 1), "{mode:?}");
            assert_eq!(ipv6::payload_len(&heard[14..]) + 54, heard.len());
        }
    }
}

/// The error itself need not fall under a policy; that its quotation does is enough.
#[test]
fn errors_that_no_policy_measures_are_mended_too() {
    let udp = Policy {
        protocol: crate::state::policies::ProtocolMatch::Number(ipv6::UDP),
        ..testing::policy(Mode::Encrypted)
    };
    let mut worker = Worker::new(box_a(testing::config(vec![udp.clone()])).shared, 0);
    let packet = of_host(ipv6::UDP, false, 500);
    let (_, measured) = out(&mut worker, &[ethernet(0), packet.clone()].concat(), 5);
    let (outcome, heard) = back(&mut worker, &error([3, 0], 0, &measured[14..]), 6);
    assert_eq!(outcome, Outcome::Passed(Reason::Off));
    assert_eq!(heard[62..], packet[..]);
    // A policy that adds nothing has put nothing in.
    let rule = Policy { outbound: OutboundAction::Pass, ..udp };
    let mut worker = Worker::new(box_a(testing::config(vec![rule])).shared, 0);
    out(&mut worker, &[ethernet(0), packet].concat(), 5);
    let error = error([3, 0], 0, &measured[14..]);
    assert_eq!(back(&mut worker, &error, 6).1, error);
}

#[test]
fn only_errors_are_looked_at() {
    let (_, _, _, measured) = sent(Mode::Encrypted, ipv6::UDP, true, 400);
    for kind in 0..=255 {
        let mut frame = error([1, 0], 0, &measured[..]);
        frame[54] = kind;
        assert_eq!(is_one(&frame), (1..=4).contains(&kind), "{kind}");
    }
    for frame in [&[][..], &[0; 14], &ethernet(0), &[ethernet(0), measured].concat()] {
        assert!(!is_one(frame));
    }
    // Behind extension headers, as far as they are walked.
    let mut payload = [[60, 0, 1, 4, 0, 0, 0, 0]; 16].concat();
    payload[15 * 8] = 58;
    payload.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    assert!(is_one(&[ethernet(2), ip(B, A, 60, &payload)].concat()));
}

/// The inputs that went wrong, and what is right.
#[test]
fn a_router_of_1400_between_the_boxes() {
    let side = box_a(PathConfig { outside_mtu: 1500, ..config(Mode::Encrypted) });
    let mut worker = Worker::new(Arc::clone(&side.shared), 0);
    let mut frame = of_host(ipv6::UDP, false, 1448);
    frame[40..44].copy_from_slice(&[0, 5, 0, 6]);
    let frame = [ethernet(0), frame].concat();
    let (_, sealed) = out(&mut worker, &frame, 5);
    // An option of zeros: PRSEQ 0 was never sent.
    let mut zeros = sealed[14..].to_vec();
    zeros[46] = 0x20;
    zeros[47..80].fill(0);
    changes_nothing(&side, &mut worker, &too_big(1400, &zeros), Some(Finding::NotSent), "zeros");
    let (_, heard) = back(&mut worker, &too_big(1400, &sealed[14..]), 5);
    assert_eq!(mtu_of(&heard), 1360);
    assert_eq!(heard[62..], frame[14..14 + 1232 - 40]);
    let mut shorter = frame[..14 + 1400].to_vec();
    shorter[18..20].copy_from_slice(&1360u16.to_be_bytes());
    assert_eq!(out(&mut worker, &shorter, 6).0, Outcome::Passed(Reason::PathMtu));
    shorter.truncate(14 + 1360);
    shorter[18..20].copy_from_slice(&1320u16.to_be_bytes());
    assert_eq!(out(&mut worker, &shorter, 7).0, Outcome::Added(Form::Encrypted));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    /// Any octets behind an error's header, and a genuine quotation with any octet changed: what is not understood passes as
    /// it came, and what is changed has right lengths and a right checksum.
    #[test]
    fn any_quotation_is_mended_or_left(
        mode in 0usize..3, own_header: bool, kind in 1u8..=4, code in 0u8..12, word: u32,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3), cut in 0usize..500,
    ) {
        let (_side, mut worker, _, measured) = sent(FORMS[mode].0, ipv6::UDP, own_header, 400);
        let mut quoted = measured[..cut.min(measured.len())].to_vec();
        for (at, value) in edits {
            if !quoted.is_empty() {
                let at = at.index(quoted.len());
                quoted[at] = value;
            }
        }
        let sent = error([kind, code], word, &quoted);
        let (outcome, heard) = back(&mut worker, &sent, 7);
        if found(&worker, Finding::Mended) == 1 {
            prop_assert_eq!(ipv6::payload_len(&heard[14..]) + 54, heard.len());
            prop_assert_eq!(sum(&heard[14..]), 0xFFFF);
            prop_assert!(heard.len() <= sent.len());
        } else {
            prop_assert_eq!(&heard, &sent);
            prop_assert_eq!(matches!(outcome, Outcome::Dropped(_)), found(&worker, Finding::Refused) == 1);
        }
    }
}
