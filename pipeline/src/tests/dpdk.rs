//! Packets in buffers of DPDK's, as drivers hand them over.

use crate::observe::counters::Outcome;
use crate::observe::reasons::Reason;
use crate::packet::buffer::{PacketBuf, VecBuf};
use crate::state::policies::Mode;
use crate::state::worker::Worker;
use crate::testing::{self, SMALL, back, frame, out};
use dpdk_ffi::{Eal, Mbuf, Mempool, Unfinished};
use protocol::wire::option::Form;
use std::sync::Arc;

const MODES: [(Mode, Form); 3] =
    [(Mode::Pdm, Form::Pdm), (Mode::Clear, Form::Clear), (Mode::Encrypted, Form::Encrypted)];

/// One EAL per process, so one test.
#[test]
fn packets_in_buffers_of_every_kind_are_measured_or_passed_and_never_damaged() {
    let arguments = ["--no-huge", "-m", "64", "--no-pci", "--no-shconf", "--no-telemetry", "--iova-mode=va", "-l", "0"];
    let eal = Eal::init(&[&arguments[..], &["--log-level=error"]].concat()).expect("EAL");
    let pool = Mempool::new(&eal, "test", 63, 0, 2048 + 128, None).expect("pool");
    for (mode, form) in MODES {
        in_memory_of_a_device(&pool, mode, form);
        in_segments_on_the_way_out(&pool, mode, form);
        in_segments_on_the_way_back(&pool, mode, form);
        with_work_of_their_own(&pool, mode, form);
    }
    assert_eq!(pool.in_use(), 0);
}

fn boxes(mode: Mode) -> [Worker; 2] {
    [true, false].map(|is_a| {
        let config = testing::config(vec![testing::policy(mode)]);
        testing::worker(testing::side(config, testing::ring(is_a, 1, 1), SMALL, 1).shared, 0)
    })
}

/// A frame of the plain shape, a tagged one, and one with a header of its own.
fn shapes() -> [Vec<u8>; 3] {
    let mut tagged = frame(1000, 20);
    tagged.splice(12..12, [0x88, 0xA8, 0, 7, 0x81, 0, 0, 5]);
    let mut with_header = frame(1000, 20);
    with_header[20] = 60;
    with_header.splice(54..54, [17, 0, 1, 4, 0, 0, 0, 0]);
    with_header[18..20].copy_from_slice(&36u16.to_be_bytes());
    [frame(1000, 20), tagged, with_header]
}

fn plain(pool: &Arc<Mempool>, octets: &[u8]) -> Mbuf {
    let mut packet = Mbuf::from_pool(pool).expect("a buffer");
    packet.append(octets.len()).expect("room").copy_from_slice(octets);
    packet
}

/// The octets in as many segments as there are cuts, and one; those behind the first in buffers of the pool, in a device's, and
/// shared, in turn. What is given beside it shares octets with it.
fn in_segments(pool: &Arc<Mempool>, octets: &[u8], cuts: &[usize]) -> (Mbuf, Vec<Mbuf>) {
    let ends = cuts.iter().copied().chain([octets.len()]);
    let mut packet = plain(pool, &octets[..cuts[0]]);
    let mut sharing = Vec::new();
    for (i, (from, to)) in cuts.iter().zip(ends.skip(1)).enumerate() {
        let piece = &octets[*from..to];
        let tail = match (i + cuts[0]) % 3 {
            0 => plain(pool, piece),
            1 => Mbuf::outside_of_pool(pool, piece).expect("a buffer"),
            _ => {
                sharing.push(plain(pool, piece));
                sharing.last().and_then(|kept| kept.share(pool)).expect("a buffer")
            }
        };
        assert!(packet.chain(tail));
    }
    assert_eq!((packet.octets(), packet.segments()), (octets.to_vec(), cuts.len() + 1));
    (packet, sharing)
}

/// One cut at every place, and two around it.
fn cuts(len: usize) -> impl Iterator<Item = Vec<usize>> {
    (1..len).map(|at| vec![at]).chain((1..len - 1).map(|at| vec![at, at + 1]))
}

fn in_segments_on_the_way_out(pool: &Arc<Mempool>, mode: Mode, form: Form) {
    let [mut a, mut b] = boxes(mode);
    for original in shapes() {
        let mut added = 0;
        for cuts in cuts(original.len()) {
            let (mut packet, _sharing) = in_segments(pool, &original, &cuts);
            match out(&mut a, &mut packet, 5) {
                Outcome::Added(_) => {
                    added += 1;
                    let mut whole = VecBuf::new(&packet.octets());
                    assert_eq!(back(&mut b, &mut whole, 5), Outcome::Removed(form), "{cuts:?}");
                    assert_eq!(whole.data(), original, "{cuts:?}");
                }
                Outcome::Passed(_) => assert_eq!(packet.octets(), original, "{cuts:?}"),
                other => assert_eq!(other, Outcome::Added(form), "{cuts:?}"),
            }
        }
        assert!(added > original.len() / 4, "{added}: with the headers in the first segment it is measured");
    }
}

fn in_segments_on_the_way_back(pool: &Arc<Mempool>, mode: Mode, form: Form) {
    let [mut a, mut b] = boxes(mode);
    for original in shapes() {
        let mut removed = 0;
        for cuts in cuts(original.len() + form.header_len()) {
            let mut sent = VecBuf::new(&original);
            assert_eq!(out(&mut a, &mut sent, 5), Outcome::Added(form));
            let (mut packet, _sharing) = in_segments(pool, sent.data(), &cuts);
            match back(&mut b, &mut packet, 5) {
                Outcome::Removed(_) => {
                    removed += 1;
                    assert_eq!(packet.octets(), original, "{cuts:?}");
                }
                Outcome::Passed(_) => assert_eq!(packet.octets(), sent.data(), "{cuts:?}"),
                other => assert_eq!(other, Outcome::Removed(form), "{cuts:?}"),
            }
        }
        assert!(removed > original.len() / 4, "{removed}: with the option in the first segment it is taken out");
    }
}

/// What is to be cut up goes on as it came: each piece would have the option. A checksum that is left to be done does not keep a
/// packet from having one.
fn with_work_of_their_own(pool: &Arc<Mempool>, mode: Mode, form: Form) {
    let [mut a, mut b] = boxes(mode);
    let original = frame(1000, 20);
    for _ in 0..3 {
        let mut packet = plain(pool, &original);
        packet.set_unfinished(Some(Unfinished::CutUp));
        assert_eq!(out(&mut a, &mut packet, 5), Outcome::Passed(Reason::ReadOnly));
        assert_eq!((packet.octets(), packet.unfinished()), (original.clone(), Some(Unfinished::CutUp)));
        let mut packet = plain(pool, &original);
        packet.set_unfinished(Some(Unfinished::Checksum));
        assert_eq!(out(&mut a, &mut packet, 5), Outcome::Added(form));
        assert_eq!(back(&mut b, &mut packet, 5), Outcome::Removed(form));
        assert_eq!(packet.data(), original);
        let mut sent = plain(pool, &original);
        assert_eq!(out(&mut a, &mut sent, 5), Outcome::Added(form));
        sent.set_unfinished(Some(Unfinished::CutUp));
        let before = sent.octets();
        assert_eq!(back(&mut b, &mut sent, 5), Outcome::Passed(Reason::ReadOnly));
        assert_eq!(sent.octets(), before);
    }
}

/// Packets as some drivers hand them over (mlx5 with `mprq_en`): in memory that is not the pool's.
fn in_memory_of_a_device(pool: &Arc<Mempool>, mode: Mode, form: Form) {
    let [mut a, mut b] = boxes(mode);
    for i in 0..3 {
        let original = frame(1000, 10 + i);
        let mut packet = Mbuf::outside_of_pool(pool, &original).expect("a buffer");
        assert_eq!(out(&mut a, &mut packet, 5), Outcome::Added(form));
        let sealed = packet.data().to_vec();
        // On the way two hold it: a switch that copies packets to a third port, for one.
        let kept = packet.share(pool).expect("a buffer");
        assert_eq!(back(&mut b, &mut packet, 5), Outcome::Removed(form));
        assert_eq!((packet.data(), kept.data()), (&original[..], &sealed[..]));
        // With no buffer left the next one passes as it came.
        let mut packet = Mbuf::outside_of_pool(pool, &original).expect("a buffer");
        let rest: Vec<_> = core::iter::from_fn(|| Mbuf::from_pool(pool)).collect();
        assert_eq!(out(&mut a, &mut packet, 5), Outcome::Passed(Reason::ReadOnly));
        assert_eq!(packet.data(), &original[..]);
        drop(rest);
    }
    assert_eq!((a.counters.copied.get(), b.counters.copied.get()), (3, 3));
}
