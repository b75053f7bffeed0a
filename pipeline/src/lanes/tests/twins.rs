//! The twins against the portable stages, stage by stage: each leaves the same for the next, octet for octet.

use super::rig::{FORMS, Spec, Step, World, buffers, run};
use crate::lanes::record::NOBODY;
use crate::lanes::scratch::{Scratch, block_at};
use crate::lanes::{NOWHERE, Record, Set, log, look, point};
use crate::packet::buffer::VecBuf;
use crate::ports::BURST;
use proptest::prelude::*;
use protocol::meter::Meter;
use protocol::wire::option::Form;
use std::sync::atomic::Ordering;

/// What a stage leaves of each packet: blocks, longs, words.
#[derive(PartialEq, Debug)]
struct Left {
    bits: u32,
    blocks: Vec<[u8; 16]>,
    longs: Vec<u64>,
    words: Vec<u32>,
}

type Blocks = [[[u8; 16]; 16]; 2];
type Longs = [[u64; 16]; 2];
type Words = [[u32; 16]; 2];

fn left(n: usize, bits: u32, blocks: &[&Blocks], longs: &[&Longs], words: &[&Words]) -> Left {
    Left {
        bits,
        blocks: blocks.iter().flat_map(|all| (0..n).map(|p| all.as_flattened()[block_at(p)])).collect(),
        longs: longs.iter().flat_map(|all| all.as_flattened()[..n].to_vec()).collect(),
        words: words.iter().flat_map(|all| all.as_flattened()[..n].to_vec()).collect(),
    }
}

/// Takes a burst through the stages; gives what each has left, and the packets.
fn stages(set: Set, form: Form, world: &World, step: &Step, now: u64) -> (Vec<(&'static str, Left)>, Vec<VecBuf>) {
    let mut packets = buffers(&step.packets);
    let (mut s, view) = (Scratch::new(), world.view(form, now));
    s.form = form;
    let mut all = Vec::new();
    let mut heads = [&NOWHERE; BURST];
    look(&mut packets, &mut s, &mut heads);
    set.parse(&world.key, &world.index, &heads, &mut s);
    let n = s.count;
    let words = [&s.len, &s.next];
    all.push(("parse", left(n, s.plain, &[&s.fingerprint], &[&s.hash, &s.patch], &words)));
    let mut records = [&NOBODY; BURST];
    set.find(&view, &mut records, &mut s);
    let place = |record: &Record| world.records.iter().position(|other| core::ptr::eq(other, record));
    let places = records.iter().map(|record| place(record).map_or(u32::MAX, |place| place as u32)).collect();
    all.push(("find", Left { words: places, ..left(n, 0, &[], &[], &[]) }));
    let fast = set.check(&view, &records, &mut s);
    all.push(("check", left(n, fast, &[], &[], &[&s.limit, &s.was])));
    s.pack(fast, &mut records);
    let n = s.packed;
    for (j, record) in records.iter().enumerate().take(n) {
        // As `Burst::number_until`.
        let word = record.meter.next.fetch_add(1 << 32 | 1 << 48, Ordering::Relaxed);
        s.numbers.as_flattened_mut()[j] = (word >> 32) as u32;
        s.held.as_flattened_mut()[j] = record.held.load(Ordering::Relaxed) as u32;
    }
    point(&mut s, fast, step.pointer, 0);
    set.times(&records, now + 700, &mut s);
    let words = [&s.order, &s.heard, &s.slot, &s.numbers, &s.held, &s.pointers];
    all.push(("times", left(n, 0, &[&s.head, &s.text], &[&s.patch], &words)));
    if form != Form::Pdm {
        set.seal(&records, &mut s);
    }
    all.push(("seal", left(n, 0, &[&s.text, &s.tag], &[], &[])));
    // The rest of `Burst::back`; times and AEAD once more make the same of what is still there.
    let done = set.back(&records, &mut packets, now + 700, &mut s);
    log(&records, now + 700, &s);
    all.push(("place", left(n, done, &[&s.text, &s.tag], &[], &[])));
    (all, packets)
}

fn words(record: &Record) -> Vec<u64> {
    let Record { fingerprint, vouched, held, nonce, nonce_end, order, .. } = record;
    let Meter { last_received, acknowledged, last_sent, next, log } = &record.meter;
    let ones = [vouched, held, nonce, nonce_end, last_received, acknowledged, last_sent, next];
    let many = fingerprint.iter().chain(order).chain(log);
    ones.into_iter().chain(many).map(|word| word.load(Ordering::Relaxed)).collect()
}

fn agree(form: Form, specs: &[Spec], steps: &[Step]) {
    for set in Set::available().filter(|&set| set != Set::PORTABLE) {
        let (one, other) = (World::new(specs), World::new(specs));
        let mut now = 1u64 << 50;
        for step in steps {
            now += step.pause_ns;
            for world in [&one, &other] {
                for &(flow, psntp, psnlr, before) in &step.back {
                    let time = (now.saturating_sub(before)) & ((1 << 47) - 1);
                    let record = &world.records[flow];
                    record.meter.last_received.store(1 << 63 | time << 16 | u64::from(psntp), Ordering::Relaxed);
                    // Any anchor will do.
                    let word = u64::from(psnlr) | 1 << 16 | u64::from(psntp) << 17;
                    record.meter.acknowledged.store(word, Ordering::Relaxed);
                }
            }
            let (wanted, packets) = stages(Set::PORTABLE, form, &one, step, now);
            let (made, others) = stages(set, form, &other, step, now);
            for ((stage, wanted), (_, made)) in wanted.iter().zip(&made) {
                assert_eq!(made, wanted, "{}: {stage}", set.name());
            }
            assert_eq!(others, packets, "{}", set.name());
            for (flow, (one, other)) in one.records.iter().zip(&other.records).enumerate() {
                assert_eq!(words(other), words(one), "{}: record {flow}", set.name());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..ProptestConfig::with_cases(64) })]
    #[test]
    fn every_stage_leaves_the_same((specs, steps) in run()) {
        FORMS.iter().for_each(|&form| agree(form, &specs, &steps));
    }
}

/// So that a log says what was not tested.
#[test]
fn twins_that_this_cpu_has() {
    let names: Vec<&str> = Set::available().map(Set::name).collect();
    println!("lanes: this CPU has {}", names.join(", "));
    assert_eq!(names[0], "portable");
}
