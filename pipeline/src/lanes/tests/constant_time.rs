//! No branch and no address of the lanes depends on a key, on what is sealed, or on a comparison of tags. Two ways to see it.
//!
//! Under valgrind (`make secrets`) keys and texts are declared uninitialised, and memcheck reports what depends on such. It knows
//! neither VAES nor AVX-512: it sees the portable twin and that for AVX2, with the AES-NI kernel.
//!
//! On the emulated CPU that has AVX-512 (`make avx512`) the clock counts instructions: with `PDMV2_CLOCK_COUNTS` there are to be as
//! many for any keys, texts and tags. Elsewhere the clock says nothing, and nothing is asked of it. (`make avx512` does not set it yet.)

#[path = "../../../../protocol/src/aead/tests/valgrind.rs"]
mod valgrind;

use super::rig::{FLOWS, Packet, Shape, Spec, State, World, buffers};
use crate::lanes::inbound::Lanes as LanesBack;
use crate::lanes::record::NOBODY;
use crate::lanes::scratch::Scratch;
use crate::lanes::{Lanes, NOWHERE, Record, Set, look};
use crate::observe::counters::Outcome;
use crate::packet::buffer::VecBuf;
use crate::ports::BURST;
use crate::state::policies::Mode;
use crate::state::worker::Worker;
use crate::testing::{self, SMALL, frame, out};
use arrayvec::ArrayVec;
use protocol::aead::{Batch, KeyState};
use protocol::suite::Aead;
use protocol::wire::option::Form;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use valgrind::{declare_public, declare_secret, errors, sees_branches_on_secrets};

const NOW: u64 = 1 << 40;

/// What the inbound short way goes on with is no secret: which packets have opened, and what was in them.
pub(crate) fn told(mut opened: u32, batch: &mut Batch) -> u32 {
    declare_public(&raw mut opened);
    declare_public(&raw mut batch.text);
    core::hint::black_box(opened)
}

fn world() -> World {
    World::new(&[Spec { state: State::Fine, index: 5, psntp: 9 }; FLOWS])
}

fn burst(count: usize) -> Vec<VecBuf> {
    // The last packets are of one flow.
    let flow = |i: usize| if i < 20 { i } else { 20 };
    buffers(&(0..count).map(|i| Packet { flow: flow(i), shape: Shape::Plain, payload: 40 }).collect::<Vec<_>>())
}

/// The stages before `seal`, of plain packets.
fn before_seal<'a>(set: Set, world: &'a World, packets: &mut [VecBuf], s: &mut Scratch) -> [&'a Record; BURST] {
    let view = world.view(Form::Encrypted, NOW);
    s.form = Form::Encrypted;
    let mut heads = [&NOWHERE; BURST];
    look(packets, s, &mut heads);
    let mut records = [&NOBODY; BURST];
    set.parse(&world.key, &world.index, &heads, s);
    set.find(&view, &mut records, s);
    let fast = set.check(&view, &records, s);
    s.pack(fast, &mut records);
    assert_eq!(s.packed, packets.len());
    set.times(&records, NOW, s);
    records
}

/// The lanes towards the network, from a burst to options in packets; then `seal` alone, what it seals being secret too.
fn seals(set: Set, count: usize) {
    let world = world();
    for record in &world.records {
        declare_secret(&raw const record.key);
        declare_secret(&raw const record.nonce);
    }
    let (mut lanes, mut packets) = (Lanes::new(set), burst(count));
    let fast = lanes.front(&world.view(Form::Encrypted, NOW), &mut packets);
    assert_eq!(fast.back(&mut packets, 1, 0, NOW).count_ones() as usize, count);
    let (mut s, mut packets) = (Scratch::new(), burst(count));
    let records = before_seal(set, &world, &mut packets, &mut s);
    declare_secret(&raw mut s.text);
    set.seal(&records, &mut s);
}

/// The whole short way of packets that come back, up to what has opened.
fn opens(set: Set, count: u16) {
    let config = || testing::config(vec![testing::policy(Mode::Encrypted)]);
    let mut a = Worker::new(testing::side(config(), testing::ring(true, 1, 1), SMALL, 1).shared, 0);
    let side = testing::side(config(), testing::ring(false, 1, 1), SMALL, 1);
    let mut b = Worker::new(side.shared.clone(), 0);
    b.lanes_back = LanesBack::new(set);
    for round in 0..12 {
        let mut packets: Vec<_> = (0..count).map(|flow| VecBuf::new(&frame(1000 + flow % 20, 30))).collect();
        for packet in &mut packets {
            out(&mut a, packet, NOW);
        }
        if round == 11 {
            side.shared
                .table
                .iter()
                .for_each(|flow| declare_secret(core::ptr::from_ref(flow.back.receiver.key_line())));
            // One that does not open goes the slow way, to the same end.
            assert!(b.lanes_back.resting.taken > 0);
        }
        let (before, mut outcomes) = (b.lanes_back.resting.taken, ArrayVec::new());
        b.inbound(&mut packets, &mut outcomes, &|| NOW);
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Removed(Form::Encrypted)), "{outcomes:?}");
        assert!(round < 11 || b.lanes_back.resting.taken == before + u64::from(count));
    }
}

#[test]
fn nothing_depends_on_secrets() {
    sees_branches_on_secrets();
    let before = errors();
    for set in Set::available() {
        for count in [1, 4, 31, BURST] {
            seals(set, count);
            opens(set, count as u16);
        }
    }
    assert_eq!(errors(), before, "something depends on a secret: valgrind says where");
}

/// Octets that are all alike, and others.
fn octets(round: u8, at: usize) -> u8 {
    match round {
        0 => 0,
        1 => 0xFF,
        _ => (at as u32).wrapping_mul(0x9E37_79B9).rotate_left(u32::from(round) * 5) as u8 ^ round,
    }
}

/// How long sealing and opening take under the keys and texts of this round, and the first tag.
fn times_of(set: Set, round: u8) -> ([Duration; 2], [u8; 16]) {
    let (world, mut packets, mut s) = (world(), burst(BURST), Scratch::new());
    for (flow, record) in world.records.iter().enumerate() {
        let key = core::array::from_fn(|i| octets(round, flow * 32 + i));
        record.key.store(&KeyState::new(Aead::Aes128Gcm, &key));
        let nonce = core::array::from_fn(|i| octets(round, flow * 8 + i + 5));
        record.nonce.store(u64::from_le_bytes(nonce), Ordering::Relaxed);
    }
    let records = before_seal(set, &world, &mut packets, &mut s);
    for (at, octet) in s.text.as_flattened_mut().as_flattened_mut().iter_mut().enumerate() {
        *octet = octets(round, at);
    }
    let start = Instant::now();
    set.seal(&records, &mut s);
    let seal = start.elapsed();
    let mut batch = Batch::new();
    let keys: [KeyState; BURST] =
        core::array::from_fn(|i| KeyState::new(Aead::Aes128Gcm, &core::array::from_fn(|j| octets(round, i * 32 + j))));
    let refs = keys.each_ref();
    for i in 0..BURST {
        let nonce = core::array::from_fn(|j| octets(round, i + j));
        batch.set(i, &nonce, &core::array::from_fn(|j| j as u8), &core::array::from_fn(|j| octets(round, i * 3 + j)));
    }
    batch.seal(Aead::Aes128Gcm, &refs);
    for i in (0..BURST).filter(|i| round as usize >> (i % 3) & 1 != 0) {
        batch.tag[i][i % 16] ^= 1 << (i % 8);
    }
    let start = Instant::now();
    let opened = batch.open(Aead::Aes128Gcm, &refs);
    let open = start.elapsed();
    assert_eq!(opened == u32::MAX, round == 0 || round == 8, "{opened:x}");
    ([seal, open], s.tag.as_flattened()[0])
}

/// `PDMV2_CLOCK_COUNTS`: the clock counts instructions.
#[test]
fn as_many_instructions_whatever_the_keys_and_texts_are() {
    for set in Set::available() {
        // Whatever is done at the first call.
        times_of(set, 2);
        let rounds: Vec<_> = (0..9).map(|round| times_of(set, round)).collect();
        println!(
            "lanes: {}: sealing and opening took {:?}",
            set.name(),
            rounds.iter().map(|(times, _)| times).collect::<Vec<_>>()
        );
        assert!(rounds.windows(2).all(|two| two[0].1 != two[1].1), "the keys are different");
        if std::env::var_os("PDMV2_CLOCK_COUNTS").is_some() {
            assert!(rounds.iter().all(|(times, _)| *times == rounds[0].0), "{}", set.name());
        }
    }
}
