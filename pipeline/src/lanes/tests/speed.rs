//! How long a burst takes: `cargo test --release -p pipeline --lib lanes::tests::speed -- --ignored --nocapture`. On the
//! emulated CPU of `pipeline/tests/avx512` a nanosecond is an instruction; there few rounds and flows have to be enough
//! (`LANES_ROUNDS`, `LANES_FLOWS`).

use super::rig::{Packet, Shape, Spec, State, World};
use crate::flow::memory::TableMemory;
use crate::lanes::{Lanes, Set};
use crate::packet::buffer::{PacketBuf, VecBuf};
use crate::ports::BURST;
use protocol::wire::option::Form;
use std::sync::atomic::Ordering;
use std::time::Instant;

const BUFFERS: usize = 4096;

/// A number of the environment's.
fn from_environment(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

/// Nanoseconds per packet, the lowest tenth of many rounds, of `front` alone and of all.
fn measure(set: Set, flows: usize, rounds: usize) -> [f64; 2] {
    let world = World::new(&vec![Spec { state: State::Fine, index: 0, psntp: 0 }; flows]);
    let mut lanes = Lanes::new(set);
    let mut random = 0x1234_5678_9ABC_DEF1_u64;
    let (mut fronts, mut alls) = (Vec::new(), Vec::new());
    let mut now = 1 << 40;
    let frames: Vec<Vec<u8>> =
        (0..flows).map(|flow| Packet { flow, shape: Shape::Plain, payload: 26 }.frame()).collect();
    let mut buffers: Vec<VecBuf> = (0..BUFFERS).map(|_| VecBuf::new(&frames[0])).collect();
    for round in 0..rounds {
        for buffer in &mut buffers {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let frame = &frames[((u128::from(random) * flows as u128) >> 64) as usize];
            assert!(buffer.headroom() == 128 || buffer.trim_front(40));
            buffer.data_mut().copy_from_slice(frame);
        }
        for only_front in [true, false] {
            let mut done = 0;
            let start = Instant::now();
            for packets in buffers.chunks_mut(BURST) {
                now += 1000;
                let burst = lanes.front(&world.view(Form::Encrypted, now), packets);
                done += if only_front { burst.fast() } else { burst.back(packets, 1, 0, now) }.count_ones();
            }
            let took = start.elapsed().as_nanos() as f64 / BUFFERS as f64;
            assert_eq!(done as usize, BUFFERS);
            if only_front { fronts.push(took) } else { alls.push(took) }
        }
        if round % 16 == 15 {
            world.records.iter().for_each(|record| record.meter.next.store(0, Ordering::Relaxed));
        }
    }
    [fronts, alls].map(|mut all| {
        all.sort_by(f64::total_cmp);
        all[rounds / 10]
    })
}

#[test]
#[ignore = "a measurement"]
fn how_long_a_packet_takes() {
    let rounds = from_environment("LANES_ROUNDS").unwrap_or(300);
    let flows = from_environment("LANES_FLOWS").map_or_else(|| vec![1000, 65_536], |flows| vec![flows]);
    for set in Set::available() {
        for &flows in &flows {
            let [front, all] = measure(set, flows, rounds);
            println!("{}: {flows} flows: front {front:.1} ns a packet, all {all:.1}", set.name());
        }
    }
}

/// A record of so many octets, aligned to a cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Lines<const OCTETS: usize>([u8; OCTETS]);

impl<const OCTETS: usize> Default for Lines<OCTETS> {
    fn default() -> Self {
        Self([1; OCTETS])
    }
}

/// Nanoseconds per packet for a line of an index and a record at random, asked for a burst ahead and read.
fn lines<const OCTETS: usize>(records: usize) -> f64 {
    let index = TableMemory::<Lines<64>>::new(records / 4);
    let table = TableMemory::<Lines<OCTETS>>::new(records);
    let mut random = 88_u64;
    let mut burst = || -> [[usize; 2]; BURST] {
        core::array::from_fn(|_| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let at = |of: usize| ((u128::from(random) * of as u128) >> 64) as usize;
            [at(index.len()), at(table.len())]
        })
    };
    let (mut took, mut sum) = (Vec::new(), 0u64);
    for _ in 0..200 {
        let bursts: Vec<_> = (0..64).map(|_| burst()).collect();
        let start = Instant::now();
        for pair in bursts.windows(2) {
            for &[i, r] in &pair[1] {
                protocol::prefetch::line(&index[i]);
                (0..OCTETS / 64).for_each(|line| protocol::prefetch::line(&table[r].0[64 * line]));
            }
            for &[i, r] in &pair[0] {
                sum += u64::from(index[i].0[0]);
                (0..OCTETS / 64).for_each(|line| sum += u64::from(table[r].0[64 * line]));
            }
        }
        took.push(start.elapsed().as_nanos() as f64 / (63 * BURST) as f64);
    }
    assert_eq!(sum, 200 * 63 * (BURST * (1 + OCTETS / 64)) as u64);
    took.sort_by(f64::total_cmp);
    took[took.len() / 10]
}

/// What a record of two lines would save, at most: memory alone.
#[test]
#[ignore = "a measurement"]
fn what_the_lines_of_a_record_cost() {
    for records in [1000, 65_536, 1_000_000, 4_000_000] {
        let [two, three] = [lines::<128>(records), lines::<192>(records)];
        println!("{records} flows, ns a packet: two lines {two:.1}; three {three:.1}");
    }
}
