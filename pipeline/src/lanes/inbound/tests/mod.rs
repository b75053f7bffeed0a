//! The stages against one another, and against the slow way's parser.

mod speed;

use super::{Head, Scratch, TAG, View, look, upper};
use crate::flow::record::FlowBack;
use crate::lanes::scratch::block_at;
use crate::lanes::tests::rig::{FLOWS, Packet, STATES, Shape, Spec, World, tuple};
use crate::lanes::{Set, inbound};
use crate::packet::buffer::{PacketBuf, VecBuf};
use crate::packet::parse;
use crate::ports::BURST;
use proptest::prelude::*;
use protocol::aead::Batch;
use protocol::wire::option::Form;

/// What is done to a packet after it was made.
#[derive(Clone, Copy, Debug)]
enum Damage {
    None,
    /// An octet becomes another one.
    Octet(usize, u8),
    /// It ends before its end.
    End(usize),
    /// It goes on behind it.
    Longer(usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        6 => Just(Damage::None),
        1 => (12usize..115, any::<u8>()).prop_map(|(at, octet)| Damage::Octet(at, octet)),
        // What is looked at one by one.
        2 => (prop::sample::select(&[12usize, 13, 14, 18, 19, 20, 54, 55, 56, 57, 58, 59, 60, 63, 107][..]), 0u8..3, any::<u8>())
            .prop_map(|(at, how, octet)| Damage::Octet(at, [0x81, 0x02, octet][usize::from(how)])),
        1 => (0usize..130).prop_map(Damage::End),
        1 => (0usize..10).prop_map(Damage::Longer),
    ]
}

/// The answer to a packet of the rig's, with an option.
fn answer(packet: &Packet, form: Form, damage: Damage) -> VecBuf {
    let mut frame = Packet { shape: Shape::Plain, ..*packet }.frame();
    let (mut swapped, payload) = (frame.clone(), (packet.payload + form.header_len()) as u16);
    swapped[22..38].copy_from_slice(&frame[38..54]);
    swapped[38..54].copy_from_slice(&frame[22..38]);
    swapped[54..56].copy_from_slice(&frame[56..58]);
    swapped[56..58].copy_from_slice(&frame[54..56]);
    frame = swapped;
    let next = core::mem::replace(&mut frame[20], 60);
    frame[18..20].copy_from_slice(&payload.to_be_bytes());
    let begin = [next, form.header_units(), 1, 0, 0x0F, form.data_len(), 0x20, 0];
    let rest = (8..form.header_len() as u8).map(|i| i.wrapping_mul(7) ^ packet.flow as u8);
    frame.splice(54..54, begin.into_iter().chain(rest));
    if packet.shape == Shape::Syn {
        frame[67 + form.header_len()] = 2;
    }
    if let Shape::Tagged(kind) = packet.shape {
        frame.splice(12..12, [kind[0], kind[1], 0, 7]);
    }
    match damage {
        Damage::None => {}
        Damage::Octet(at, octet) => frame.get_mut(at).into_iter().for_each(|o| *o = octet),
        Damage::End(at) => frame.truncate(at),
        Damage::Longer(n) => frame.resize(frame.len() + n, 0xEE),
    }
    VecBuf::new(&frame)
}

fn burst(form: Form) -> impl Strategy<Value = Vec<VecBuf>> {
    let shape = prop_oneof![
        5 => Just(Shape::Plain),
        2 => prop::sample::select(&[[0x81, 0], [0x88, 0xA8], [0x91, 0], [0x92, 0]][..]).prop_map(Shape::Tagged),
        1 => Just(Shape::Syn),
    ];
    let packet =
        (0..FLOWS, shape, prop_oneof![8usize..20, 8usize..100], damage()).prop_map(|(flow, shape, payload, damage)| {
            let flow = if shape == Shape::Syn { flow / 3 * 3 + 1 } else { flow } % FLOWS;
            // Of TCP the flags have to be there.
            (Packet { flow, shape, payload: payload.max(14) }, damage)
        });
    // A few have an option of the other form.
    let other = if form == Form::Clear { Form::Encrypted } else { Form::Clear };
    let packet = (packet, prop::sample::select(&[false, false, false, false, false, false, true][..]))
        .prop_map(move |((packet, damage), odd)| answer(&packet, if odd { other } else { form }, damage));
    prop::collection::vec(packet, 1..=BURST)
}

/// The forms that lanes know on their way back.
const FORMS: [Form; 2] = [Form::Encrypted, Form::Clear];

/// A burst, and the form that the lanes look for.
fn of_a_form() -> impl Strategy<Value = (Form, Vec<VecBuf>)> {
    prop::sample::select(&FORMS[..]).prop_flat_map(|form| (Just(form), burst(form)))
}

#[derive(PartialEq, Debug)]
struct Left {
    bits: [u32; 4],
    prints: Vec<[u8; 16]>,
    hashes: Vec<u64>,
    numbers: Vec<u32>,
}

/// The other part of a flow's record.
fn back(flow: usize) -> FlowBack {
    let back = FlowBack::default();
    back.prepare(&tuple(flow), 0, 0);
    back
}

/// What the stages leave.
fn front(set: Set, view: &View<'_>, heads: &[&Head; BURST], mut s: Scratch) -> Left {
    let mut backs = [&view.backs[0]; BURST];
    let known = set.known(view, heads, &mut backs, &mut s);
    let n = s.count;
    for (p, back) in backs.iter().enumerate().take(n) {
        let number = s.number.as_flattened()[p];
        let there = view.backs.get(number as usize).unwrap_or(&view.backs[0]);
        assert!(core::ptr::eq(*back, there), "packet {p}");
    }
    Left {
        bits: [s.measured, s.f & s.measured, s.found, known],
        prints: (0..n).map(|p| s.fingerprint.as_flattened()[block_at(p)]).collect(),
        hashes: s.hash.as_flattened()[..n].to_vec(),
        numbers: s.number.as_flattened()[..n].to_vec(),
    }
}

fn looked_at(packets: &[VecBuf], form: Form, batch: &mut Batch) -> (Scratch, [Vec<u8>; BURST]) {
    let mut s = Scratch { form, ..Scratch::NEW };
    let heads = look(packets, &mut s, batch).map(|head| head.to_vec());
    (s, heads)
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 300, ..ProptestConfig::with_cases(300) })]
    #[test]
    fn twins_leave_the_same_and_it_is_what_the_parser_says((form, packets) in of_a_form(), states in prop::collection::vec(0..STATES.len(), FLOWS)) {
        let specs: Vec<_> = states.iter().map(|&i| Spec { state: STATES[i], index: 0, psntp: 0 }).collect();
        let world = World::new(&specs);
        let backs: Vec<FlowBack> = (0..specs.len()).map(back).collect();
        let view = View { key: &world.key, index: &world.index, records: &world.records, backs: &backs, form };
        let mut all = Vec::new();
        for set in Set::available() {
            let (s, heads) = looked_at(&packets, form, &mut Batch::new());
            let heads = heads.each_ref().map(|head| head.first_chunk().expect("a head"));
            all.push(front(set, &view, &heads, s));
        }
        for other in &all[1..] {
            prop_assert_eq!(other, &all[0]);
        }
        let Left { bits: [measured, f, _, known], prints, .. } = &all[0];
        for (p, packet) in packets.iter().enumerate() {
            let frame = packet.data();
            let tagged = frame.len() > 16 && matches!([frame[12], frame[13]], [0x81 | 0x91 | 0x92, 0x00] | [0x88, 0xA8]);
            let untagged = if tagged { [&frame[..12], &frame[16..]].concat() } else { frame.to_vec() };
            let wanted = parse::measured(&VecBuf::new(&untagged)).filter(|(_, found)| *found == form);
            prop_assert_eq!(measured >> p & 1 != 0, wanted.is_some(), "packet {}", p);
            if let Some((quick, _)) = wanted {
                let print = world.key.fingerprint(&quick.words);
                prop_assert_eq!(prints[p], print.bits().to_le_bytes());
                prop_assert_eq!(f >> p & 1 != 0, untagged[63] & 1 != 0);
                let flow = world.records.iter().position(|r| {
                    let [lo, hi] = r.fingerprint.each_ref().map(|h| h.load(core::sync::atomic::Ordering::Relaxed));
                    (lo, hi) == (print.lo, print.hi)
                });
                let is_there = flow.is_some_and(|flow| {
                    use crate::lanes::tests::rig::State;
                    !matches!(specs[flow].state, State::Unknown | State::Impostor)
                });
                prop_assert_eq!(known >> p & 1 != 0, is_there, "packet {}", p);
            }
        }
    }

    /// The fields that are opened are the option's.
    #[test]
    fn options_are_taken_as_they_stand((form, packets) in of_a_form()) {
        let (mut batch, mut wanted) = (Batch::new(), Batch::new());
        let (s, _) = looked_at(&packets, form, &mut batch);
        for (p, packet) in packets.iter().enumerate().filter(|(p, _)| s.there >> p & 1 != 0) {
            let at = inbound::OPTION + if s.tagged >> p & 1 != 0 { TAG } else { 0 };
            let mut option = [0; Form::Encrypted.option_len()];
            option[..form.option_len()].copy_from_slice(&packet.data()[at..at + form.option_len()]);
            wanted.set_sealed(p, (0, 0), &option);
            prop_assert_eq!(batch.aad_of(p), wanted.aad_of(p));
            prop_assert_eq!(batch.text_of(p), wanted.text_of(p));
            if form == Form::Encrypted {
                prop_assert_eq!(batch.tag[p], wanted.tag[p]);
            }
        }
    }
}

/// A packet of the shape has all that is looked at, however short it is.
#[test]
fn the_shortest_packet_is_looked_at() {
    for (tag, form) in [None, Some([0x81, 0])].into_iter().flat_map(|tag| FORMS.map(|form| (tag, form))) {
        let shape = tag.map_or(Shape::Plain, Shape::Tagged);
        let packet = answer(&Packet { flow: 0, shape, payload: 8 }, form, Damage::None);
        assert_eq!(packet.data().len(), upper(form) + 8 + if tag.is_some() { TAG } else { 0 });
        let (s, _) = looked_at(&[packet], form, &mut Batch::new());
        assert_eq!((s.there, s.first_len[0][0] as usize), (1, upper(form) + 8));
    }
}
